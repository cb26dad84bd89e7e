use super::Layer;
use ff_ops::{Graph, Result, Value};

/// Layers one after the other, `torch.nn.Sequential`.
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
    /// No layer: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer at the end.
    pub fn push(&mut self, layer: impl Layer + 'static) {
        self.layers.push(Box::new(layer));
    }

    /// How many layers there are.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Layer for Sequence {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        self.layers.iter().try_fold(x, |x, layer| layer.forward(graph, x))
    }
}
