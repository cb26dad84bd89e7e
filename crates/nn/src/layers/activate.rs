use super::{Layer, Program, Slot};
use crate::{Builder, Init};
use ff_graph::{Graph, Op, ParamId, ParamKind, Result, Value};
use ff_ops::Activation;
use std::sync::Arc;

/// An activation on its own, not directly after a feedforward layer.
///
/// # Shapes
/// `[…] → […]`
///
/// ```
/// use ff_nn::layers::Activate;
/// let layer = Activate::new(ff_ops::Activation::Gelu);
/// assert!(format!("{layer:?}").contains("Gelu"));
/// ```
#[derive(Debug)]
pub struct Activate {
    op: Arc<dyn Op>,
    activation: Activation,
}

impl Activate {
    /// A layer without parameters.
    pub fn new(activation: Activation) -> Self {
        Self { op: ff_ops::Activate::op(activation), activation }
    }
}

impl Layer for Activate {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        graph.apply(&self.op, &[&x])
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        Ok(program.activate(x, self.activation))
    }
}

/// ReLU with a learned slope for negative inputs, `torch.nn.PReLU` (He et al., 2015), with the
/// parameter `weight`.
///
/// # Shapes
/// `[…, C] → […, C]`, weight `[1]` or `[C]`
///
/// ```
/// use ff_nn::{Builder, layers::Prelu};
/// let mut builder = Builder::new();
/// let layer = Prelu::new(&mut builder, 1, 0.25);
/// assert_eq!(builder.plan()?.len(), 1);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Prelu {
    op: Arc<dyn Op>,
    weight: ParamId,
}

impl Prelu {
    /// One slope for all features, or one per feature.
    pub fn new(builder: &mut Builder, slopes: usize, first: f64) -> Self {
        let weight = builder.param("weight", [slopes], ParamKind::Gain, Init::Constant(first));
        Self { op: ff_ops::Prelu::op(), weight }
    }
}

impl Layer for Prelu {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let weight = graph.param(self.weight);
        graph.apply(&self.op, &[&x, &weight])
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        program.op(x, &self.op, &[self.weight])
    }
}
