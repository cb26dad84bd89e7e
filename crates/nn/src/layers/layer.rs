use super::program::{Program, Slot};
use crate::{Builder, ConfigError, Init};
use ff_graph::{Error, Graph, Result, Value};
use ff_ops::Activation;
use ff_tensor::Key;
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
    /// The output of the layer.
    ///
    /// # Errors
    /// If the shape of the input does not match, or memory is exhausted.
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value>;

    /// Sets initial values from the rows of a batch (see
    /// [`InitKind::Data`](crate::InitKind::Data)), and gives their output; a layer with nothing to
    /// set only computes, as by default.
    ///
    /// # Errors
    /// As [`Layer::forward`].
    fn initialize(&self, graph: &mut Graph, x: Value, key: Key) -> Result<Value> {
        let _ = key;
        self.forward(graph, x)
    }

    /// Adds the layer's computation in evaluation mode to a program without a tape, for the
    /// [`Predictor`](crate::models::Predictor).
    ///
    /// # Errors
    /// If the layer has no such computation, as by default.
    fn compile(&self, _program: &mut Program<'_>, _x: Slot) -> Result<Slot> {
        let message = format!("{self:?} does not implement `Layer::compile`; run it on a graph");
        Err(Error::shape("predictor", message))
    }
}

impl Layer for Box<dyn Layer> {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        (**self).forward(graph, x)
    }

    fn initialize(&self, graph: &mut Graph, x: Value, key: Key) -> Result<Value> {
        (**self).initialize(graph, x, key)
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        (**self).compile(program, x)
    }
}

/// The hidden layer followed by a [`RecipeLayer`].
#[derive(Clone, Copy)]
pub struct HiddenLayer<'a> {
    /// The number of features.
    pub features: usize,
    /// Whether layers have biases.
    pub bias: bool,
    /// Whether products are in bf16; the input and output of the layer are f32 nevertheless.
    pub bf16: bool,
    /// The initialiser of a weight before an activation.
    pub init: &'a dyn Fn(Activation) -> Init,
}

/// A layer available in recipes: its keys are a table of `[model]`, and it follows each hidden
/// layer of a network with that table in its recipe.
pub trait RecipeLayer: fmt::Debug {
    /// Checks the range of every value; errors name the key within the layer's table.
    ///
    /// # Errors
    /// The first key with a value out of range.
    fn validate(&self) -> std::result::Result<(), ConfigError>;

    /// Builds the layer after a hidden layer.
    fn build(&self, b: &mut Builder, hidden: &HiddenLayer<'_>) -> Box<dyn Layer>;

    /// The layer in a few words, for reports.
    fn summary(&self) -> String;
}
