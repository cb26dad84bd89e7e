//! Losses over the softmax of each row's logits.

use super::{first_bad, is_per_row, put, put_zeros};
use crate::narrow::{NARROW, Narrow, PerRow, ROWS};
use ff_graph::{OpError, OpResult, Spec};
use ff_kernels::{Float, maximum, sum_of};
use ff_tensor::TensorMut;
use std::ops::Range;
use std::sync::Arc;

/// The number of rows computed at a time, at most [`ROWS`]: fewer for many classes, so that threads
/// can share them.
pub(crate) fn rows_at_a_time(classes: usize) -> usize {
    const LOGITS: usize = 1024;
    if classes <= NARROW { ROWS } else { (LOGITS / classes).clamp(1, ROWS) }
}

/// m = max z and ln Σ exp(z − m) of each row. Both are needed: their sum, ln Σ exp z, would lose
/// digits of log-probabilities beside large logits.
///
/// The term of the greatest logit, 1, is left to ln(1 + …), so that small other terms lose no
/// digits.
#[inline(always)]
pub(crate) fn log_sum_exp<T: Float>(
    z: &[T],
    rows: Range<usize>,
    classes: usize,
) -> (PerRow<T>, PerRow<T>) {
    let (mut greatest, mut logs) = ([T::ZERO; ROWS], [T::ZERO; ROWS]);
    if classes <= NARROW {
        let mut block = Narrow::new(z, rows.clone(), classes);
        greatest = block.greatest();
        block.combine(&greatest, |z, m| z - m);
        block.exp();
        for (log, sum) in logs.iter_mut().zip(block.sums()) {
            *log = T::of(sum - 1.0);
        }
    } else {
        for (r, row) in rows.clone().enumerate() {
            let z = &z[row * classes..][..classes];
            let m = maximum(z);
            let sum = sum_of(
                z,
                #[inline(always)]
                |z| (z - m).exp().f64(),
            );
            (greatest[r], logs[r]) = (m, T::of(sum - 1.0));
        }
    }
    for log in &mut logs[..rows.len()] {
        *log = log.ln_1p();
    }
    (greatest, logs)
}

/// dz = scale · p of each row, or dz += if `accumulate` is set, with the probabilities p = exp(z −
/// m − log_sum); rows without a scale are excluded.
#[inline(always)]
pub(crate) fn softmax_backward<T: Float>(
    z: &[T],
    rows: Range<usize>,
    log_sums: &[T],
    scales: &PerRow<Option<T>>,
    dz: &mut [T],
    accumulate: bool,
) {
    let classes = dz.len() / rows.len();
    if classes <= NARROW {
        let mut block = Narrow::new(z, rows.clone(), classes);
        let (mut logs, mut factors) = ([T::ZERO; ROWS], [T::ZERO; ROWS]);
        for (r, row) in rows.enumerate() {
            match scales[r] {
                Some(scale) => (logs[r], factors[r]) = (log_sums[row], scale),
                // 0 · exp(0 − 0 − 0)
                None => block.clear(r),
            }
        }
        let greatest = block.greatest();
        block.subtract(&greatest, &logs);
        block.exp();
        block.combine(&factors, |p, factor| p * factor);
        return block.put(dz, accumulate);
    }
    for ((r, row), dz) in rows.enumerate().zip(dz.chunks_exact_mut(classes)) {
        let Some(scale) = scales[r] else {
            put_zeros(dz, accumulate);
            continue;
        };
        let z = &z[row * classes..][..classes];
        let (m, log) = (maximum(z), log_sums[row]);
        for (dz, &z) in dz.iter_mut().zip(z) {
            put(dz, accumulate, scale * (z - m - log).exp());
        }
    }
}

/// Checks class weights: one per class, finite and not negative.
pub(crate) fn check_class_weights(
    what: &str,
    weights: Option<&Arc<[f64]>>,
    classes: usize,
) -> OpResult {
    let Some(weights) = weights else { return Ok(()) };
    if weights.len() != classes {
        return Err(OpError::shape(format!(
            "{what} has {} weights, the logits have {classes} classes",
            weights.len()
        )));
    }
    weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)).map_or(Ok(()), |class| {
        Err(OpError::shape(format!(
            "{what} is {} for class {class}; it must be finite and not negative",
            weights[class]
        )))
    })
}

/// The weight of a class; 1 without class weights.
#[inline(always)]
pub(crate) fn class_weight(weights: Option<&Arc<[f64]>>, class: usize) -> f64 {
    match weights {
        None => 1.0,
        Some(weights) => weights[class],
    }
}

/// The destination of ln Σ of each row; `None` if no gradient is needed.
pub(crate) fn saved_row<'a, T: Float>(saved: &'a mut [TensorMut<'_>]) -> OpResult<&'a mut [T]> {
    Ok(match saved {
        [saved, ..] => saved.slice_mut::<T>()?,
        [] => &mut [],
    })
}

/// Checks logits against class indices (i32, one per row) and returns the number of classes.
pub(crate) fn check_index_shapes(logits: &Spec, target: &Spec) -> OpResult<usize> {
    if !is_per_row(&target.shape, &logits.shape) {
        return Err(OpError::shape(format!(
            "logits {} need one class index for each of their {} rows, found {}",
            logits.shape,
            logits.shape.rows(),
            target.shape
        )));
    }
    check_classes(logits)
}

/// Checks logits against probabilities and returns the number of classes; `expected` describes the
/// allowed targets.
pub(crate) fn check_probability_shapes(
    expected: &'static str,
    logits: &Spec,
    target: &Spec,
) -> OpResult<usize> {
    if target.dtype != logits.dtype {
        return Err(OpError::dtype(expected, target.dtype));
    }
    if target.shape != logits.shape {
        return Err(OpError::shape(format!(
            "logits {} need probabilities of the same shape, found {}; class indices are i32",
            logits.shape, target.shape
        )));
    }
    check_classes(logits)
}

fn check_classes(logits: &Spec) -> OpResult<usize> {
    match logits.shape.last() {
        0 => Err(OpError::shape(format!("logits {} have no classes", logits.shape))),
        classes => Ok(classes),
    }
}

/// Checks that every class index is a class or the ignored index.
pub(crate) fn check_indices(target: &[i32], classes: usize, ignore_index: i32) -> OpResult {
    // As u32, a negative index exceeds any number of classes.
    let most = u32::try_from(classes).unwrap_or(u32::MAX);
    let known = |t: &i32| *t == ignore_index || (*t as u32) < most;
    first_bad(target, known).map_or(Ok(()), |row| {
        Err(OpError::domain(format!(
            "row {row} has target {}, which must lie between 0 and {} ({classes} classes), or \
                 be {ignore_index} to be \
                 ignored",
            target[row],
            classes - 1
        )))
    })
}
