use crate::Op;
use std::sync::Arc;

/// How an input of a [`Case`] is filled.
#[derive(Debug, Clone, PartialEq)]
pub enum Fill {
    /// Normal numbers of this standard deviation.
    Normal(f64),
    /// Evenly from the first to the second.
    Uniform(f64, f64),
    /// Integers from 0 to this, exclusive.
    Integers(usize),
    /// These numbers, repeated as often as needed.
    Values(Vec<f64>),
    /// These integers, repeated as often as needed.
    Indices(Vec<i32>),
    /// Rows of positive numbers that add up to 1.
    Probabilities,
}

/// One input of a [`Case`].
#[derive(Debug, Clone, PartialEq)]
pub struct CaseInput {
    /// The sizes of the dimensions.
    pub dims: Vec<usize>,
    /// How it is filled.
    pub fill: Fill,
    /// Whether its gradient is checked.
    pub grad: bool,
}

impl CaseInput {
    /// An input whose gradient is checked.
    pub fn new(dims: impl Into<Vec<usize>>, fill: Fill) -> Self {
        Self { dims: dims.into(), fill, grad: true }
    }

    /// Standard normal numbers whose gradient is checked.
    pub fn normal(dims: impl Into<Vec<usize>>) -> Self {
        Self::new(dims, Fill::Normal(1.0))
    }

    /// An input without a gradient.
    pub fn constant(dims: impl Into<Vec<usize>>, fill: Fill) -> Self {
        Self { dims: dims.into(), fill, grad: false }
    }
}

/// An operation with attributes and inputs to check it on. Where the stored fixtures hold the case's name, they are
/// compared too.
#[derive(Debug, Clone)]
pub struct Case {
    /// `operation/variant`.
    pub name: String,
    /// The operation.
    pub op: Arc<dyn Op>,
    /// What to feed it with.
    pub inputs: Vec<CaseInput>,
}

impl Case {
    /// A case of this name.
    pub fn new(name: impl Into<String>, op: Arc<dyn Op>, inputs: Vec<CaseInput>) -> Self {
        Self { name: name.into(), op, inputs }
    }
}
