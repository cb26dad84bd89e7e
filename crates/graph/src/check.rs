//! Checks shared by many contracts, with uniform messages.

use crate::{OpError, OpResult, Spec};

/// Checks the number of inputs.
///
/// # Errors
/// If it differs from `expected`.
pub fn inputs(x: &[Spec], expected: usize, names: &'static str) -> OpResult {
    if x.len() == expected {
        return Ok(());
    }
    let message = format!(
        "expected {expected} input{} ({names}), found {}",
        if expected == 1 { "" } else { "s" },
        x.len()
    );
    Err(OpError::shape(message))
}

/// Checks that the values are floats.
///
/// # Errors
/// If they are not.
pub fn float(x: &Spec) -> OpResult {
    if x.dtype.is_float() { Ok(()) } else { Err(OpError::dtype("f32 or f64", x.dtype)) }
}

/// Checks that an input has the type of the first one.
///
/// # Errors
/// If the types differ.
pub fn same_dtype(what: &str, spec: &Spec, x: &Spec) -> OpResult {
    if spec.dtype == x.dtype {
        return Ok(());
    }
    let message = format!("{what} is of type {}, the first input of type {}", spec.dtype, x.dtype);
    Err(OpError::shape(message))
}

/// Checks that an input is a vector of the type of x, with one value for each of its features.
///
/// # Errors
/// If its shape or type differs.
pub fn per_feature(what: &str, spec: &Spec, x: &Spec) -> OpResult {
    let features = x.shape.last();
    if spec.shape.dims() != [features] {
        let message = format!(
            "{what} must be [{features}], one value per feature of x {}, found {}",
            x.shape, spec.shape
        );
        return Err(OpError::shape(message));
    }
    same_dtype(what, spec, x)
}

/// Checks the number added under a square root.
///
/// # Errors
/// If it is negative or not finite.
pub fn eps(eps: f64) -> OpResult {
    if eps >= 0.0 && eps.is_finite() {
        return Ok(());
    }
    Err(OpError::shape(format!("eps must be a number from 0 up, usually 1e-5, found {eps}")))
}

/// Whether the second of two inputs is a single row for all rows of the first, rather than of its
/// shape.
///
/// # Errors
/// If it is neither, or of another type.
pub fn is_row(x: &[Spec]) -> OpResult<bool> {
    inputs(x, 2, "a, b")?;
    float(&x[0])?;
    same_dtype("b", &x[1], &x[0])?;
    if x[0].shape == x[1].shape {
        return Ok(false);
    }
    if x[0].shape.rank() > 0 && x[1].shape.dims() == [x[0].shape.last()] {
        return Ok(true);
    }
    let message = format!(
        "b must have the shape of a, {}, or be a row of it, [{}]; found {}",
        x[0].shape,
        x[0].shape.last(),
        x[1].shape
    );
    Err(OpError::shape(message))
}
