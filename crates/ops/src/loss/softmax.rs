//! Losses over the softmax of each row's logits.

use super::{is_per_row, put, sum_by};
use crate::{Error, Result, Spec};
use ff_kernels::Float;
use ff_tensor::TensorMut;
use std::sync::Arc;

/// (m, ln Σ exp(z − m)) with m = max z. Both are needed: their sum, ln Σ exp z, would lose the digits of log-probabilities
/// next to large logits.
#[inline(always)]
pub(crate) fn log_sum_exp<T: Float>(z: &[T]) -> (T, T) {
    let max = maximum(z);
    let sum = sum_by(z.len(), |c| (z[c] - max).exp().f64());
    (max, T::of(sum.ln()))
}

/// dz = scale · p − minus(c), with the probabilities p = exp(z − m − log_sum).
#[inline(always)]
pub(crate) fn softmax_backward<T: Float>(
    z: &[T],
    log_sum: T,
    scale: T,
    dz: &mut [T],
    accumulate: bool,
    minus: impl Fn(usize) -> T,
) {
    let max = maximum(z);
    for (c, (dz, &z)) in dz.iter_mut().zip(z).enumerate() {
        let p = (z - max - log_sum).exp();
        put(dz, accumulate, scale * p - minus(c));
    }
}

/// NaN where any value is.
#[inline(always)]
pub(crate) fn maximum<T: Float>(z: &[T]) -> T {
    z.iter().fold(T::NEG_INFINITY, |max, &z| max.maximum(z))
}

/// One weight for each class, finite and not negative.
pub(crate) fn check_class_weights(
    name: &'static str,
    what: &str,
    weights: Option<&Arc<[f64]>>,
    classes: usize,
) -> Result<()> {
    let Some(weights) = weights else { return Ok(()) };
    if weights.len() != classes {
        return Err(Error::shape(
            name,
            format!("{what} has {} weights, the logits have {classes} classes", weights.len()),
        ));
    }
    weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)).map_or(Ok(()), |class| {
        Err(Error::shape(
            name,
            format!(
                "{what} is {} for class {class}; it must be finite and not negative",
                weights[class]
            ),
        ))
    })
}

/// The weight of a class; 1 where there are none.
#[inline(always)]
pub(crate) fn class_weight(weights: Option<&Arc<[f64]>>, class: usize) -> f64 {
    weights.map_or(1.0, |weights| weights[class])
}

/// Where forward leaves ln Σ of each row; nowhere where no gradient is needed.
pub(crate) fn saved_row<'a, T: Float>(
    name: &'static str,
    saved: &'a mut [TensorMut<'_>],
) -> Result<&'a mut [T]> {
    match saved {
        [saved, ..] => saved.slice_mut::<T>().map_err(Error::of(name)),
        [] => Ok(&mut []),
    }
}

/// Checks logits against class indices (i32, one for each row) and gives the number of classes.
pub(crate) fn check_index_shapes(
    name: &'static str,
    logits: &Spec,
    target: &Spec,
) -> Result<usize> {
    if !is_per_row(&target.shape, &logits.shape) {
        return Err(Error::shape(
            name,
            format!(
                "logits {} need one class index for each of their {} rows, found {}",
                logits.shape,
                logits.shape.rows(),
                target.shape
            ),
        ));
    }
    check_classes(name, logits)
}

/// Checks logits against probabilities and gives the number of classes; `expected` says which targets are taken.
pub(crate) fn check_probability_shapes(
    name: &'static str,
    expected: &'static str,
    logits: &Spec,
    target: &Spec,
) -> Result<usize> {
    if target.dtype != logits.dtype {
        return Err(Error::DType { op: name, expected, found: target.dtype });
    }
    if target.shape != logits.shape {
        return Err(Error::shape(
            name,
            format!(
                "logits {} need probabilities of the same shape, found {}; class indices are i32",
                logits.shape, target.shape
            ),
        ));
    }
    check_classes(name, logits)
}

fn check_classes(name: &'static str, logits: &Spec) -> Result<usize> {
    match logits.shape.last() {
        0 => Err(Error::shape(name, format!("logits {} have no classes", logits.shape))),
        classes => Ok(classes),
    }
}

/// Every class index must be one of the classes, or the ignored one.
pub(crate) fn check_indices(
    name: &'static str,
    target: &[i32],
    classes: usize,
    ignore_index: i32,
) -> Result<()> {
    let known = |&t: &i32| t == ignore_index || usize::try_from(t).is_ok_and(|t| t < classes);
    target.iter().position(|t| !known(t)).map_or(Ok(()), |row| {
        Err(Error::domain(
            name,
            format!(
                "row {row} has target {}, which must lie between 0 and {} ({classes} classes), or be {ignore_index} to be \
                 ignored",
                target[row],
                classes - 1
            ),
        ))
    })
}
