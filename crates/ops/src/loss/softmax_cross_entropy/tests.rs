use super::*;
use crate::loss::testing::{Data, P, Z, assert_close, assert_same_bits, fails, run};

const LOGITS: Data<'_> = Data::F64(&Z, &[4, 3]);
const IGNORING: Data<'_> = Data::I32(&[1, 2, -100, 0], &[4]);

fn plain() -> SoftmaxCrossEntropy {
    SoftmaxCrossEntropy::default()
}

fn sum() -> SoftmaxCrossEntropy {
    SoftmaxCrossEntropy { reduction: Reduction::Sum, ..plain() }
}

fn weighted(label_smoothing: f64) -> SoftmaxCrossEntropy {
    let class_weights = Some([0.5, 2.0, 1.25].into());
    SoftmaxCrossEntropy { label_smoothing, class_weights, ..plain() }
}

#[test]
fn values_of_pytorch() {
    // torch.nn.functional.cross_entropy with target [1, 2, -100, 0] …
    run(&plain().op(), &[LOGITS, IGNORING]).assert(
        1.1905426114466142,
        3.0,
        &[
            0.0845720605450084,
            -0.1034426379584988,
            0.018870577413490425,
            0.01968991919750341,
            0.005641256299874269,
            -0.025331175497377695,
            0.0,
            0.0,
            0.0,
            -0.3186297623366012,
            0.13950359746813729,
            0.17912616486846392,
        ],
    );
    // … with weight=[0.5, 2, 1.25], label_smoothing=0.2: the count is 2 + 1.25 + 0.5 …
    let gradient = [
        0.43604160269146336,
        -0.4574399740030017,
        0.021398371311538544,
        0.04050386365730446,
        -0.11217862220880483,
        0.07167475855150038,
        0.0,
        0.0,
        0.0,
        -0.4046613698897057,
        0.1386986817295344,
        0.2659626881601713,
    ];
    let mean = gradient.map(|d| d / 3.75);
    run(&weighted(0.2).op(), &[LOGITS, IGNORING]).assert(0.8461759959253095, 3.75, &mean);
    // … and the same with reduction="sum".
    let op = SoftmaxCrossEntropy { reduction: Reduction::Sum, ..weighted(0.2) };
    run(&op.op(), &[LOGITS, IGNORING]).assert(3.1731599847199106, 3.75, &gradient);
}

#[test]
fn values_of_pytorch_for_probabilities() {
    // torch.nn.functional.cross_entropy with probabilities, weight and label_smoothing=0.1: the
    // count is the number of rows.
    run(&weighted(0.1).op(), &[LOGITS, Data::F64(&P, &[4, 3])]).assert(
        1.2437770165026176,
        4.0,
        &[
            0.06546402178955187,
            0.008770509607293682,
            -0.07423453139684554,
            0.014292632580992781,
            -0.011377988885534538,
            -0.002914643695458276,
            0.13352810023546888,
            -0.16889657476929545,
            0.03536847453382656,
            -0.001632068857230298,
            0.06911795595971203,
            -0.06748588710248177,
        ],
    );
}

#[test]
fn sample_and_class_weights_multiply() {
    // (cross_entropy(z, t, weight=w, reduction="none") * s).sum() / (w[t] * s).sum() in torch's f64
    let (targets, samples) =
        (Data::I32(&[1, 2, 1, 0], &[4]), Data::F64(&[0.5, 2.0, 0.0, 1.5], &[4]));
    run(&weighted(0.0).op(), &[LOGITS, targets, samples]).assert(
        0.684686820276524,
        4.25,
        &[
            0.05969792509059417,
            -0.07301833267658739,
            0.013320407585993243,
            0.034746916230888374,
            0.009955158176248712,
            -0.04470207440713711,
            0.0,
            0.0,
            0.0,
            -0.1686863447664359,
            0.07385484571842561,
            0.0948314990480103,
        ],
    );
}

#[test]
fn one_hot_probabilities_are_indices() {
    let hot = [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0];
    let smooth = SoftmaxCrossEntropy { label_smoothing: 0.3, ..sum() };
    for op in [sum(), smooth] {
        let expected = run(&op.clone().op(), &[LOGITS, Data::I32(&[1, 2, 1, 0], &[4])]);
        let found = run(&op.op(), &[LOGITS, Data::F64(&hot, &[4, 3])]);
        found.assert(expected.loss, 4.0, &expected.gradient);
    }
}

#[test]
fn extreme_logits() {
    let z = Data::F32(&[1e4, -1e4, 0.0, 1e4, -1e4, 0.0], &[2, 3]);
    let found = run(&sum().op(), &[z, Data::I32(&[0, 1], &[2])]);
    assert_eq!(found.loss, 2e4);
    assert_eq!(found.gradient, [0.0, 0.0, 0.0, 1.0, -1.0, 0.0]);
    // Beside large logits, a difference of 1 keeps its digits: ln(1 + e⁻¹) to two roundings of an
    // f32.
    let z = Data::F32(&[8192.0, 8191.0], &[1, 2]);
    let found = run(&sum().op(), &[z, Data::I32(&[0], &[1])]);
    let exact = (-1.0f64).exp().ln_1p();
    assert!((found.loss / exact - 1.0).abs() < 1.2e-7, "{}", found.loss);
    let p = 1.0 / (1.0 + 1f64.exp());
    assert!((found.gradient[1] / p - 1.0).abs() < 4e-7, "{:?}", found.gradient);
    // A class predicted with probability 1 − 2e-9 still has a loss.
    let z = Data::F32(&[20.0, 0.0], &[1, 2]);
    let found = run(&sum().op(), &[z, Data::I32(&[0], &[1])]);
    assert!((found.loss / (-20.0f64).exp() - 1.0).abs() < 2e-7, "{}", found.loss);
}

#[test]
fn masked_classes_and_infinite_losses() {
    let z = Data::F64(&[0.0, f64::NEG_INFINITY, 0.0], &[1, 3]);
    let found = run(&plain().op(), &[z, Data::F64(&[0.5, 0.0, 0.5], &[1, 3])]);
    assert_close(found.loss, 2f64.ln());
    assert_eq!(found.gradient, [0.0; 3]);
    let found = run(&plain().op(), &[z, Data::I32(&[1], &[1])]);
    assert_eq!((found.loss, found.gradient), (f64::INFINITY, vec![0.5, -1.0, 0.5]));
}

#[test]
fn nan_reaches_the_loss() {
    let mut z = Z;
    z[4] = f64::NAN;
    let logits = Data::F64(&z, &[4, 3]);
    let smooth = SoftmaxCrossEntropy { label_smoothing: 0.1, ..plain() };
    for op in [plain(), smooth, weighted(0.0)] {
        let found = run(&op.op(), &[logits, IGNORING]);
        assert!(found.loss.is_nan());
        // Only in its own row.
        let nan: Vec<usize> = (0..12).filter(|&i| found.gradient[i].is_nan()).collect();
        assert_eq!(nan, [3, 4, 5]);
    }
    assert!(run(&plain().op(), &[logits, Data::F64(&P, &[4, 3])]).loss.is_nan());
    for bad in [f64::INFINITY, f64::NEG_INFINITY] {
        let found = run(&plain().op(), &[Data::F64(&[bad; 2], &[1, 2]), Data::I32(&[0], &[1])]);
        assert!(found.loss.is_nan());
    }
}

#[test]
fn rows_that_take_no_part_may_hold_anything() {
    let mut z = Z;
    z[6..9].fill(f64::NAN);
    let found = run(&plain().op(), &[Data::F64(&z, &[4, 3]), IGNORING]);
    assert_eq!(found, run(&plain().op(), &[LOGITS, IGNORING]));
    let targets = Data::I32(&[1, 2, 1, 0], &[4]);
    let samples = Data::F64(&[1.0, 1.0, 0.0, 1.0], &[4]);
    assert_eq!(found, run(&plain().op(), &[Data::F64(&z, &[4, 3]), targets, samples]));
    let class_weights = Some([1.0, 0.0, 1.0].into());
    let op = SoftmaxCrossEntropy { class_weights, ..plain() }.op();
    let found = run(&op, &[Data::F64(&z[6..], &[2, 3]), Data::I32(&[1, 0], &[2])]);
    assert!(found.loss.is_finite() && found.count == 1.0);
    assert_eq!(found.gradient[..3], [0.0; 3]);
}

#[test]
fn nothing_counted_is_no_loss() {
    let found = run(&plain().op(), &[LOGITS, Data::I32(&[-100; 4], &[4])]);
    assert_eq!((found.loss, found.count, found.gradient), (0.0, 0.0, vec![0.0; 12]));
    let found = run(&plain().op(), &[Data::F64(&[], &[0, 3]), Data::I32(&[], &[0])]);
    assert_eq!((found.loss, found.count), (0.0, 0.0));
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    let op = SoftmaxCrossEntropy { reduction: Reduction::Sum, ..weighted(0.1) }.op();
    let whole = run(&op, &[LOGITS, IGNORING]);
    let targets = [1, 2, -100, 0];
    let (mut loss, mut count, mut gradient) = (0.0, 0.0, Vec::new());
    for row in 0..4 {
        let z = Data::F64(&Z[3 * row..][..3], &[1, 3]);
        let part = run(&op, &[z, Data::I32(&targets[row..=row], &[1])]);
        loss += part.loss;
        count += part.count;
        gradient.extend(part.gradient);
    }
    assert_close(loss, whole.loss);
    assert_eq!((count, gradient), (whole.count, whole.gradient));
}

#[test]
fn leading_dimensions_are_folded() {
    let flat = run(&plain().op(), &[LOGITS, IGNORING]);
    let folded = [Data::F64(&Z, &[2, 2, 3]), Data::I32(&[1, 2, -100, 0], &[2, 2])];
    assert_eq!(run(&plain().op(), &folded), flat);
    assert_eq!(run(&plain().op(), &[folded[0], IGNORING]), flat);
    let single = [Data::F64(&Z[..3], &[3]), Data::I32(&[1], &[1])];
    assert_eq!(run(&plain().op(), &single).count, 1.0);
}

#[test]
fn any_number_of_threads() {
    let (n, classes) = (3_001, 7);
    let z: Vec<f32> = (0..n * classes).map(|i| ((i * 37) % 101) as f32 / 10.0 - 5.0).collect();
    let t: Vec<i32> = (0..n as i32).map(|i| i % 7).collect();
    let s: Vec<f32> = (0..n).map(|i| (i % 5) as f32).collect();
    let op = SoftmaxCrossEntropy { label_smoothing: 0.1, ..plain() }.op();
    let inputs = [Data::F32(&z, &[n, classes]), Data::I32(&t, &[n]), Data::F32(&s, &[n])];
    assert_same_bits(&op, &inputs);
}

#[test]
fn messages() {
    let check = |op: SoftmaxCrossEntropy, inputs: &[Data<'_>], message: &str| {
        fails(&op.op(), inputs, &format!("softmax_cross_entropy: {message}"));
    };
    check(
        plain(),
        &[LOGITS, Data::I32(&[1, 2, 0, 3], &[4])],
        "row 3 has target 3, which must lie between 0 and 2 (3 classes), or be -100 to be ignored",
    );
    check(
        plain(),
        &[LOGITS, Data::I32(&[1, 2], &[2])],
        "logits [4, 3] need one class index for each of their 4 rows, found [2]",
    );
    check(
        plain(),
        &[LOGITS, Data::F64(&[1.0; 4], &[4])],
        "logits [4, 3] need probabilities of the same shape, found [4]; class indices are i32",
    );
    check(
        plain(),
        &[LOGITS, Data::F32(&[1.0; 12], &[4, 3])],
        "values of type f32 are not supported here, expected class indices (i32) or probabilities \
         of the logits' type",
    );
    check(
        plain(),
        &[LOGITS, Data::F64(&Z, &[4, 3])],
        "row 0 has target 2 for output 1; probabilities must lie between 0 and 1",
    );
    check(plain(), &[Data::F64(&[], &[4, 0]), IGNORING], "logits [4, 0] have no classes");
    let class_weights = Some([1.0, -2.0, 1.0].into());
    check(
        SoftmaxCrossEntropy { class_weights, ..plain() },
        &[LOGITS, IGNORING],
        "class_weights is -2 for class 1; it must be finite and not negative",
    );
    check(
        SoftmaxCrossEntropy { label_smoothing: f64::NAN, ..plain() },
        &[LOGITS, IGNORING],
        "label_smoothing must lie between 0 and 1, found NaN",
    );
}
