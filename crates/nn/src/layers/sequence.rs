use super::{Layer, Program, Slot};
use ff_graph::{Graph, Op, Result, Value};
use ff_tensor::Key;
use std::sync::Arc;

/// Layers in sequence, `torch.nn.Sequential`.
///
/// # Shapes
/// The input of the first layer → the output of the last one
///
/// ```
/// use ff_nn::{Builder, layers::{Feedforward, Sequence}};
/// use ff_ops::Activation;
/// let mut builder = Builder::new();
/// let mut network = Sequence::new();
/// network.push(builder.scope("layers.0", |b| Feedforward::new(b, 4, 8, Activation::Relu)));
/// network.push(builder.scope("layers.1", |b| Feedforward::new(b, 8, 3, Activation::Identity)));
/// assert_eq!(network.len(), 2);
/// ```
#[derive(Debug, Default)]
pub struct Sequence {
    layers: Vec<Box<dyn Layer>>,
}

impl Sequence {
    /// No layers: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer at the end.
    pub fn push(&mut self, layer: impl Layer + 'static) {
        self.layers.push(Box::new(layer));
    }

    /// The number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Layer for Sequence {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        self.layers.iter().try_fold(x, |x, layer| layer.forward(graph, x))
    }

    fn initialize(&self, graph: &mut Graph, x: Value, key: Key) -> Result<Value> {
        self.layers.iter().try_fold(x, |x, layer| layer.initialize(graph, x, key))
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        self.layers.iter().try_fold(x, |x, layer| layer.compile(program, x))
    }
}

/// A layer with its input added to its output, y = x + f(x) (He et al., 2016).
///
/// # Shapes
/// `[…, C] → […, C]`
///
/// ```
/// use ff_nn::{Builder, layers::{Feedforward, Residual}};
/// let mut builder = Builder::new();
/// let layer = Residual::new(Feedforward::new(&mut builder, 8, 8, ff_ops::Activation::Relu));
/// assert_eq!(builder.plan()?.len(), 8 * 8 + 8);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Residual {
    layer: Box<dyn Layer>,
    add: Arc<dyn Op>,
}

impl Residual {
    /// Adds the input of `layer` to its output.
    pub fn new(layer: impl Layer + 'static) -> Self {
        Self { layer: Box::new(layer), add: ff_ops::Add::op() }
    }
}

impl Layer for Residual {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let y = self.layer.forward(graph, x.clone())?;
        graph.apply(&self.add, &[&x, &y])
    }

    fn initialize(&self, graph: &mut Graph, x: Value, key: Key) -> Result<Value> {
        let y = self.layer.initialize(graph, x.clone(), key)?;
        graph.apply(&self.add, &[&x, &y])
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        let kept = program.keep(&x);
        let y = self.layer.compile(program, x)?;
        Ok(program.add(y, kept))
    }
}
