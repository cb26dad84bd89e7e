use crate::Snake;
use ff_graph::{Graph, Op, ParamId, ParamKind, Result, Value};
use ff_nn::{Builder, Init, Layer};
use std::sync::Arc;

/// The layer of [`Snake`], with the parameter `alpha` `[features]`.
///
/// A layer keeps its operation and the ids of its parameters; the backward pass comes with the
/// operation.
///
/// # Shapes
/// `[…, features] → […, features]`
///
/// ```
/// use custom_layer::SnakeLayer;
/// use ff_nn::{Builder, layers::{Feedforward, Sequence}};
/// use ff_ops::Activation;
/// let mut builder = Builder::new();
/// let mut network = Sequence::new();
/// network.push(builder.scope("layers.0", |b| Feedforward::new(b, 1, 32, Activation::Identity)));
/// network.push(builder.scope("layers.1", |b| SnakeLayer::new(b, 32, 1.0)));
/// network.push(builder.scope("layers.2", |b| Feedforward::new(b, 32, 1, Activation::Identity)));
/// assert_eq!(network.len(), 3);
/// ```
#[derive(Debug)]
pub struct SnakeLayer {
    op: Arc<dyn Op>,
    alpha: ParamId,
}

impl SnakeLayer {
    /// A layer with all frequencies starting at `alpha`.
    pub fn new(builder: &mut Builder, features: usize, alpha: f64) -> Self {
        // A gain, as in normalisations: exempt from weight decay.
        let init = Init::Constant(alpha);
        Self { op: Snake::op(), alpha: builder.param("alpha", [features], ParamKind::Gain, init) }
    }
}

impl Layer for SnakeLayer {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let alpha = graph.param(self.alpha);
        graph.apply(&self.op, &[&x, &alpha])
    }
}
