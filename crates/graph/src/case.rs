use crate::Op;
use std::sync::Arc;

/// The values of an input of a [`Case`].
#[derive(Debug, Clone, PartialEq)]
pub enum Fill {
    /// Normally distributed, with this standard deviation.
    Normal(f64),
    /// Uniformly distributed between two bounds.
    Uniform(f64, f64),
    /// Integers from 0 up to this bound, exclusive.
    Integers(usize),
    /// These numbers, repeated as needed.
    Values(Vec<f64>),
    /// These integers, repeated as needed.
    Indices(Vec<i32>),
    /// Rows of positive numbers that sum to 1.
    Probabilities,
}

/// One input of a [`Case`].
#[derive(Debug, Clone, PartialEq)]
pub struct CaseInput {
    /// The sizes of the dimensions.
    pub dims: Vec<usize>,
    /// Its values.
    pub fill: Fill,
    /// Whether its gradient is checked.
    pub grad: bool,
}

impl CaseInput {
    /// An input whose gradient is checked.
    pub fn new(dims: impl Into<Vec<usize>>, fill: Fill) -> Self {
        Self { dims: dims.into(), fill, grad: true }
    }

    /// A standard normal input whose gradient is checked.
    pub fn normal(dims: impl Into<Vec<usize>>) -> Self {
        Self::new(dims, Fill::Normal(1.0))
    }

    /// An input without a gradient.
    pub fn constant(dims: impl Into<Vec<usize>>, fill: Fill) -> Self {
        Self { dims: dims.into(), fill, grad: false }
    }
}

/// An operation with the inputs that check it; also compared with stored fixtures of its name.
#[derive(Debug, Clone)]
pub struct Case {
    /// `operation/variant`.
    pub name: String,
    /// The operation.
    pub op: Arc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<CaseInput>,
}

impl Case {
    /// A case of this name.
    pub fn new(name: impl Into<String>, op: Arc<dyn Op>, inputs: Vec<CaseInput>) -> Self {
        Self { name: name.into(), op, inputs }
    }
}
