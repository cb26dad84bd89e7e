use super::*;
use crate::testing::{Run, tensor};
use ff_kernels::Float;
use ff_tensor::Tensor;

/// x, weight and bias of small multiples of 1/4, so that both ways of running give the same sums.
fn inputs<T: Float>(rows: usize, features: usize, classes: usize) -> Vec<Tensor> {
    let values = |n: usize, step: usize| -> Vec<T> {
        (0..n).map(|i| T::of(((i * step) % 17) as f64 / 4.0 - 2.0)).collect()
    };
    let targets: Vec<i32> =
        (0..rows).map(|i| if i % 5 == 3 { -100 } else { (i * 7 % classes) as i32 }).collect();
    vec![
        tensor(&values(rows * features, 5), &[rows, features]),
        tensor(&values(classes * features, 7), &[classes, features]),
        tensor(&values(classes, 3), &[classes]),
        tensor(&targets, &[rows]),
    ]
}

fn full(chunk_bytes: usize) -> LinearCrossEntropy {
    LinearCrossEntropy {
        label_smoothing: 0.1,
        z_loss: 1e-3,
        bias: true,
        chunk_bytes,
        whole_weights: 0,
        ..Default::default()
    }
}

fn run<T: Float>(op: LinearCrossEntropy, inputs: &[Tensor], dy: f64) -> (f64, f64, Vec<Vec<T>>) {
    let run = Run::new(&op.op(), inputs).unwrap();
    let (loss, count) = (run.output::<T>(0)[0].f64(), run.output::<T>(1)[0].f64());
    (loss, count, run.backward(&[T::of(dy)]))
}

#[test]
fn chunks_and_the_whole_batch_agree() {
    let x = inputs::<f64>(40, 6, 23);
    for cap in [None, Some(2.5)] {
        let whole = LinearCrossEntropy { soft_cap: cap, ..full(1 << 20) };
        for dy in [1.0, -0.75] {
            let (loss, count, gradients) = run::<f64>(whole, &x, dy);
            assert_eq!(count, 32.0);
            for chunk_bytes in [0, 23 * 8 * 3, 23 * 8 * 39] {
                let found = run::<f64>(LinearCrossEntropy { chunk_bytes, ..whole }, &x, dy);
                assert!((found.0 - loss).abs() < 1e-13 * loss && found.1 == count);
                for (a, b) in found.2.iter().flatten().zip(gradients.iter().flatten()) {
                    // Sums of 40 terms below 10, in another order.
                    assert!((a - b).abs() < 1e-13, "{a} for {b}");
                }
            }
        }
    }
}

#[test]
fn products_of_bf16_are_near_those_of_f32() {
    // Inputs are exact in bf16; dz is rounded to 8 bits, with errors that accumulate like a random
    // walk over 40 rows or 23 classes.
    let x = inputs::<f32>(40, 6, 23);
    let exact = run::<f32>(full(1 << 20), &x, 1.0);
    for chunk_bytes in [1 << 20, 23 * 4 * 7] {
        let found = run::<f32>(LinearCrossEntropy { bf16: true, ..full(chunk_bytes) }, &x, 1.0);
        assert!((found.0 - exact.0).abs() < 1e-5 * exact.0 && found.1 == 32.0);
        let largest = exact.2.iter().flatten().fold(0f32, |m, g| m.max(g.abs()));
        for (a, b) in found.2.iter().flatten().zip(exact.2.iter().flatten()) {
            assert!((a - b).abs() < 2f32.powi(-8) * largest, "{a} for {b}");
        }
    }
}

#[test]
fn certain_and_extreme_logits() {
    // A class predicted with probability 1 − 2e-9 still has a loss, beside logits with overflowing
    // exponentials.
    let x = [
        tensor(&[1.0f32, 400.0], &[2, 1]),
        tensor(&[20.0f32, 0.0], &[2, 1]),
        tensor(&[0i32, 1], &[2]),
    ];
    let op = LinearCrossEntropy::default();
    let (loss, _, gradients) = run::<f32>(op, &x[..], 1.0);
    assert_eq!(loss, 8000.0);
    assert_eq!(gradients[1], [400.0, -400.0]);
    let first = [tensor(&[1.0f32], &[1, 1]), x[1].clone(), tensor(&[0i32], &[1])];
    let (loss, ..) = run::<f32>(op, &first, 1.0);
    assert!((loss / (-20f64).exp() - 1.0).abs() < 2e-7, "{loss}");
}

#[test]
fn nan_stays_in_its_row_and_ignored_rows_may_hold_anything() {
    let x = [
        tensor(&[1.0f64, f64::NAN, 2.0], &[3, 1]),
        tensor(&[0.5f64, -1.0], &[2, 1]),
        tensor(&[0i32, -100, 1], &[3]),
    ];
    let op = LinearCrossEntropy::default();
    let (loss, count, gradients) = run::<f64>(op, &x, 1.0);
    assert!(loss.is_finite() && count == 2.0);
    assert!(gradients[0][1] == 0.0 && gradients[0].iter().all(|g| g.is_finite()));
    let counted = [x[0].clone(), x[1].clone(), tensor(&[0i32, 1, 1], &[3])];
    let (loss, _, gradients) = run::<f64>(op, &counted, 1.0);
    assert!(loss.is_nan());
    assert_eq!(gradients[0].iter().map(|g| g.is_nan()).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn nothing_counted_is_no_loss() {
    let mut x = inputs::<f64>(4, 3, 5);
    x[3] = tensor(&[-100i32; 4], &[4]);
    for chunk_bytes in [0, 1 << 20] {
        let (loss, count, gradients) = run::<f64>(full(chunk_bytes), &x, 1.0);
        assert_eq!((loss, count), (0.0, 0.0));
        assert!(gradients.iter().flatten().all(|&g| g == 0.0));
    }
}

#[test]
fn logits_of_the_whole_batch_are_never_held() {
    let spec = |dims: &[usize], dtype| Spec::new(Shape::new(dims).unwrap(), dtype);
    let x = [
        spec(&[4, 1024, 768], DType::F32),
        spec(&[50_257, 768], DType::F32),
        spec(&[4096], DType::I32),
    ];
    let op = LinearCrossEntropy::default();
    let contract = op.contract(&x, &[true, true, false]).unwrap();
    assert!(contract.saved.is_empty());
    let most = contract.scratch_bytes().max();
    assert!(most.is_some_and(|most| most <= op.chunk_bytes && most > op.chunk_bytes / 2));
}

#[test]
fn logits_are_kept_where_a_trained_weight_is_half_as_large() {
    let spec = |dims: &[usize], dtype| Spec::new(Shape::new(dims).unwrap(), dtype);
    let op = LinearCrossEntropy::default();
    let kept = |tokens: usize, trained: bool| {
        let x = [
            spec(&[tokens, 768], DType::F32),
            spec(&[50_257, 768], DType::F32),
            spec(&[tokens], DType::I32),
        ];
        let contract = op.contract(&x, &[true, trained, false]).unwrap();
        contract.saved.iter().map(|saved| saved.shape.rows()).sum::<usize>()
    };
    assert_eq!([333, 1024, 1536, 1537].map(|tokens| kept(tokens, true)), [333, 1024, 1536, 0]);
    assert_eq!([333, 1024].map(|tokens| kept(tokens, false)), [333, 0]);
}

#[test]
fn both_ways_to_keep_a_whole_batch_agree() {
    let x = inputs::<f64>(12, 6, 23);
    let (loss, count, gradients) = run::<f64>(full(1 << 20), &x, 0.5);
    let op = LinearCrossEntropy { whole_weights: 2, ..full(0) };
    assert_eq!(run::<f64>(op, &x, 0.5), (loss, count, gradients));
}

#[test]
fn messages() {
    let x = inputs::<f64>(4, 3, 5);
    let check = |op: LinearCrossEntropy, inputs: &[Tensor], message: &str| {
        let error = Run::new(&op.op(), inputs).err().unwrap().to_string();
        assert_eq!(error, format!("{NAME}: {message}"));
    };
    let plain = LinearCrossEntropy::default();
    let three = [x[0].clone(), x[1].clone(), tensor(&[0i32, 1, 5, 0], &[4])];
    check(
        plain,
        &three,
        "row 2 has target 5, which must lie between 0 and 4 (5 classes), or be -100 to be ignored",
    );
    check(plain, &x, "expected 3 inputs (x, weight, targets), found 4");
    check(
        plain,
        &[x[0].clone(), x[2].clone(), x[3].clone()],
        "x of shape [4, 3] needs a weight [classes, 3], found [5]",
    );
    check(
        LinearCrossEntropy { z_loss: -1.0, ..plain },
        &three,
        "z_loss must be finite and at least 0, found -1",
    );
    check(
        LinearCrossEntropy { soft_cap: Some(0.0), ..plain },
        &three,
        "soft_cap must be finite and greater than 0, found 0",
    );
    check(
        LinearCrossEntropy { label_smoothing: 2.0, ..plain },
        &three,
        "label_smoothing must lie between 0 and 1, found 2",
    );
}
