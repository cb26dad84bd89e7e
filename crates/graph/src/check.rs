//! What the contracts of many operations check, with one wording.

use crate::{Error, Result, Spec};

/// There are as many inputs as expected.
pub fn inputs(op: &'static str, x: &[Spec], expected: usize, names: &'static str) -> Result<()> {
    if x.len() == expected {
        return Ok(());
    }
    let message = format!(
        "expected {expected} input{} ({names}), found {}",
        if expected == 1 { "" } else { "s" },
        x.len()
    );
    Err(Error::shape(op, message))
}

/// The values are floats.
pub fn float(op: &'static str, x: &Spec) -> Result<()> {
    if x.dtype.is_float() {
        Ok(())
    } else {
        Err(Error::DType { op, expected: "f32 or f64", found: x.dtype })
    }
}

/// Two inputs have the same type.
pub fn same_dtype(op: &'static str, what: &str, spec: &Spec, x: &Spec) -> Result<()> {
    if spec.dtype == x.dtype {
        return Ok(());
    }
    let message = format!("{what} is of type {}, the first input of type {}", spec.dtype, x.dtype);
    Err(Error::shape(op, message))
}

/// An input is a vector with one value for each feature of x, of the same type.
pub fn per_feature(op: &'static str, what: &str, spec: &Spec, x: &Spec) -> Result<()> {
    let features = x.shape.last();
    if spec.shape.dims() != [features] {
        let message = format!(
            "{what} must be [{features}], one value per feature of x {}, found {}",
            x.shape, spec.shape
        );
        return Err(Error::shape(op, message));
    }
    same_dtype(op, what, spec, x)
}

/// The small number under a square root is one that can be added.
pub fn eps(op: &'static str, eps: f64) -> Result<()> {
    if eps >= 0.0 && eps.is_finite() {
        return Ok(());
    }
    Err(Error::shape(op, format!("eps must be a number from 0 up, usually 1e-5, found {eps}")))
}

/// Two inputs of one shape (false), or a second one that is added to or multiplied with every row of the first (true).
pub fn is_row(op: &'static str, x: &[Spec]) -> Result<bool> {
    inputs(op, x, 2, "a, b")?;
    float(op, &x[0])?;
    same_dtype(op, "b", &x[1], &x[0])?;
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
    Err(Error::shape(op, message))
}
