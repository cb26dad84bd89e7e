use super::*;
use crate::loss::testing::{B, Data, X, assert_close, assert_same_bits, fails, run};

const INPUTS: [Data<'_>; 2] = [Data::F64(&X, &[3, 2]), Data::F64(&B, &[3, 2])];

#[test]
fn values_of_pytorch() {
    // torch.nn.functional.binary_cross_entropy_with_logits, then with pos_weight = [3, 0.5]
    let plain = BinaryCrossEntropyWithLogits::default();
    run(&plain.clone().op(), &INPUTS).assert(
        0.9488120368316482,
        6.0,
        &[
            0.10374322186697577,
            -0.12184309643833414,
            0.09679951299631373,
            -0.007904312196261106,
            -0.1131964498625655,
            1.0 / 12.0,
        ],
    );
    let op = BinaryCrossEntropyWithLogits { positive_weight: Some([3.0, 0.5].into()), ..plain };
    run(&op.op(), &INPUTS).assert(
        1.2269744200499149,
        6.0,
        &[
            0.10374322186697577,
            -0.06092154821916707,
            0.08487922079410193,
            -0.003952156098130553,
            -0.3395893495876965,
            1.0 / 12.0,
        ],
    );
}

#[test]
fn smoothing_moves_the_targets() {
    let op = BinaryCrossEntropyWithLogits { label_smoothing: 0.2, ..Default::default() }.op();
    let targets = B.map(|t| 0.8 * t + 0.1);
    let moved = [INPUTS[0], Data::F64(&targets, &[3, 2])];
    let expected = run(&BinaryCrossEntropyWithLogits::default().op(), &moved);
    run(&op, &INPUTS).assert(expected.loss, 6.0, &expected.gradient);
}

#[test]
fn labels_are_targets() {
    let z = Data::F64(&X, &[3, 2]);
    let op = BinaryCrossEntropyWithLogits { reduction: Reduction::Sum, ..Default::default() }.op();
    let labels = run(&op, &[z, Data::I32(&[0, 1, 0, 1, 1, 0], &[3, 2])]);
    let floats = run(&op, &[z, Data::F64(&[0.0, 1.0, 0.0, 1.0, 1.0, 0.0], &[3, 2])]);
    assert_eq!(labels, floats);
}

#[test]
fn extreme_logits() {
    let op = BinaryCrossEntropyWithLogits { reduction: Reduction::Sum, ..Default::default() }.op();
    let z = [1e4f32, -1e4, 1e4, -1e4, f32::INFINITY, f32::NEG_INFINITY];
    let found = run(&op, &[Data::F32(&z, &[6, 1]), Data::I32(&[1, 0, 0, 1, 1, 0], &[6])]);
    assert_eq!(found.loss, 2e4);
    assert_eq!(found.gradient, [0.0, 0.0, 1.0, -1.0, 0.0, 0.0]);
    // A confident correct prediction still has a loss of 2e-9, which 1 − σ(20) in f32 would lose.
    let found = run(&op, &[Data::F32(&[-20.0], &[1, 1]), Data::I32(&[0], &[1])]);
    assert!((found.loss / (-20.0f64).exp() - 1.0).abs() < 2e-7, "{}", found.loss);
}

#[test]
fn nan_reaches_the_loss_unless_its_row_weighs_nothing() {
    let op = BinaryCrossEntropyWithLogits::default().op();
    let z = Data::F64(&[f64::NAN, 0.0], &[2, 1]);
    let t = Data::I32(&[0, 1], &[2]);
    let found = run(&op, &[z, t]);
    assert!(found.loss.is_nan() && found.gradient[0].is_nan());
    let found = run(&op, &[z, t, Data::F64(&[0.0, 3.0], &[2])]);
    assert_close(found.loss, 2f64.ln());
    assert_eq!((found.count, found.gradient), (3.0, vec![0.0, -0.5]));
}

#[test]
fn nothing_counted_is_no_loss() {
    let op = BinaryCrossEntropyWithLogits::default().op();
    let found = run(&op, &[Data::F64(&[], &[0, 3]), Data::F64(&[], &[0, 3])]);
    assert_eq!((found.loss, found.count), (0.0, 0.0));
    let found = run(&op, &[INPUTS[0], INPUTS[1], Data::F64(&[0.0; 3], &[3])]);
    assert_eq!((found.loss, found.count, found.gradient), (0.0, 0.0, vec![0.0; 6]));
}

#[test]
fn any_number_of_threads() {
    let n = 30_000;
    let z: Vec<f32> = (0..n).map(|i| ((i * 37) % 101) as f32 / 10.0 - 5.0).collect();
    let t: Vec<i32> = (0..n as i32).map(|i| i % 2).collect();
    let op = BinaryCrossEntropyWithLogits::default().op();
    assert_same_bits(&op, &[Data::F32(&z, &[n / 3, 3]), Data::I32(&t, &[n / 3, 3])]);
}

#[test]
fn messages() {
    let plain = BinaryCrossEntropyWithLogits::default();
    let targets = Data::F64(&[0.0, 1.0, 0.5, -0.25, 1.0, 1.0], &[3, 2]);
    fails(
        &plain.clone().op(),
        &[INPUTS[0], targets],
        "binary_cross_entropy_with_logits: row 1 has target -0.25 for output 1; targets must lie \
         between 0 and 1",
    );
    fails(
        &plain.clone().op(),
        &[INPUTS[0], Data::I32(&[0, 1, 2, 0, 1, 1], &[3, 2])],
        "binary_cross_entropy_with_logits: row 1 has target 2 for output 0; targets must lie \
         between 0 and 1",
    );
    let op =
        BinaryCrossEntropyWithLogits { positive_weight: Some([1.0; 3].into()), ..plain.clone() };
    fails(
        &op.op(),
        &INPUTS,
        "binary_cross_entropy_with_logits: positive_weight has 3 values, expected 1 or 2",
    );
    let op = BinaryCrossEntropyWithLogits { label_smoothing: 1.5, ..plain };
    fails(
        &op.op(),
        &INPUTS,
        "binary_cross_entropy_with_logits: label_smoothing must lie between 0 and 1, found 1.5",
    );
}
