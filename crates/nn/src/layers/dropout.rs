use super::{Layer, Program, Slot};
use crate::Builder;
use ff_graph::{Graph, Op, Result, Value};
use std::sync::Arc;

/// Drops values at random in training and scales up the others, `torch.nn.Dropout` (Srivastava et
/// al., 2014); the identity in evaluation.
///
/// The choice depends only on seed, step, micro-batch and the path of the layer.
///
/// # Shapes
/// `[…] → […]`
///
/// ```
/// use ff_nn::{Builder, layers::Dropout};
/// let mut builder = Builder::new();
/// let layer = builder.scope("layers.0", |b| Dropout::new(b, 0.5));
/// assert_eq!(builder.plan()?.len(), 0);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Dropout {
    op: Arc<dyn Op>,
}

impl Dropout {
    /// A layer with drop probability `p`, in [0, 1).
    pub fn new(builder: &mut Builder, p: f64) -> Self {
        Self { op: ff_ops::Dropout::op(p, builder.path()) }
    }

    /// The same with a probability that falls to 0 over the second half of training.
    pub fn fading(builder: &mut Builder, p: f64) -> Self {
        Self { op: ff_ops::Dropout::fading(p, builder.path()) }
    }
}

impl Layer for Dropout {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        if graph.training() { graph.apply(&self.op, &[&x]) } else { Ok(x) }
    }

    fn compile(&self, _program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        Ok(x)
    }
}
