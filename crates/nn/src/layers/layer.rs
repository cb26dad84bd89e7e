use super::program::{Program, Slot};
use crate::{Builder, ConfigError, Init};
use ff_graph::{Error, Graph, Result, Value};
use ff_ops::Activation;
use std::fmt;

/// A function of a value on the tape: an operation with the ids of its parameters. The backward
/// pass comes with the operation.
///
/// ```
/// use ff_nn::{Builder, Layer};
/// use ff_graph::{Graph, Result, Value};
/// use ff_ops::Mul;
/// use ff_tensor::{DType, Device, Tensor};
/// /// x ⊙ x.
/// #[derive(Debug)]
/// struct Square;
/// impl Layer for Square {
///     fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
///         graph.apply(&Mul::op(), &[&x, &x])
///     }
/// }
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Builder::new().build(&device, DType::F32, 0, true)?);
/// let x = graph.input(Tensor::from_slice(&device, &[3.0f32], &[1, 1]).unwrap());
/// assert_eq!(Square.forward(&mut graph, x)?.item()?, 9.0);
/// # Ok::<(), ff_graph::Error>(())
/// ```
pub trait Layer: fmt::Debug + Send + Sync {
    /// The layer's output.
    ///
    /// # Errors
    /// The input's shape does not fit, or memory is short.
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value>;

    /// Writes the layer's computation in evaluation into a program without a tape, for the
    /// [`Predictor`](crate::models::Predictor).
    ///
    /// # Errors
    /// The layer has no such computation; that is the default.
    fn compile(&self, _program: &mut Program<'_>, _x: Slot) -> Result<Slot> {
        let message = format!("{self:?} does not implement `Layer::compile`; run it on a graph");
        Err(Error::shape("predictor", message))
    }
}

impl Layer for Box<dyn Layer> {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        (**self).forward(graph, x)
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        (**self).compile(program, x)
    }
}

/// The hidden layer that a [`RecipeLayer`] stands behind.
#[derive(Clone, Copy)]
pub struct HiddenLayer<'a> {
    /// The number of its features.
    pub features: usize,
    /// Whether layers have biases.
    pub bias: bool,
    /// Whether products are of bf16; what the layer reads and gives is f32 all the same.
    pub bf16: bool,
    /// The initialiser of a weight in front of an activation.
    pub init: &'a dyn Fn(Activation) -> Init,
}

/// A layer that recipes reach: its keys are a table of `[model]`, and it stands behind each hidden
/// layer of a network whose recipe has that table.
pub trait RecipeLayer: fmt::Debug {
    /// Checks every value's domain; errors name the key within the layer's table.
    ///
    /// # Errors
    /// The first key whose value is not allowed.
    fn validate(&self) -> std::result::Result<(), ConfigError>;

    /// Makes the layer behind a hidden layer.
    fn build(&self, b: &mut Builder, hidden: &HiddenLayer<'_>) -> Box<dyn Layer>;

    /// The layer in a few words, for reports.
    fn summary(&self) -> String;
}
