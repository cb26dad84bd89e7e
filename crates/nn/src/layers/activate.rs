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

/// An activation of which each feature takes a learned share, with the parameter `share` `[C]`, 1
/// at the start: x + a ⊙ (f(x) − x).
///
/// # Shapes
/// `[…, C] → […, C]`
///
/// ```
/// use ff_nn::{Builder, layers::ParametricActivation};
/// let mut builder = Builder::new();
/// ParametricActivation::new(&mut builder, 8, ff_ops::Activation::Selu);
/// assert_eq!(builder.plan()?.len(), 8);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct ParametricActivation {
    op: Arc<dyn Op>,
    share: ParamId,
}

impl ParametricActivation {
    /// A share per feature.
    pub fn new(builder: &mut Builder, features: usize, activation: Activation) -> Self {
        let share = builder.param("share", [features], ParamKind::Gain, Init::Constant(1.0));
        Self { op: ff_ops::ParametricActivation::op(activation), share }
    }
}

impl Layer for ParametricActivation {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let share = graph.param(self.share);
        graph.apply(&self.op, &[&x, &share])
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        program.op(x, &self.op, &[self.share])
    }
}

/// A learned factor for each feature, with the parameter `scale` `[C]`, 1 at the start.
///
/// # Shapes
/// `[…, C] → […, C]`
///
/// ```
/// use ff_nn::{Builder, layers::ScaleFeatures};
/// let mut builder = Builder::new();
/// ScaleFeatures::new(&mut builder, 8);
/// assert_eq!(builder.plan()?.len(), 8);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct ScaleFeatures {
    op: Arc<dyn Op>,
    scale: ParamId,
}

impl ScaleFeatures {
    /// A factor per feature.
    pub fn new(builder: &mut Builder, features: usize) -> Self {
        let scale = builder.param("scale", [features], ParamKind::Gain, Init::Constant(1.0));
        Self { op: ff_ops::Mul::op(), scale }
    }
}

impl Layer for ScaleFeatures {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let scale = graph.param(self.scale);
        graph.apply(&self.op, &[&x, &scale])
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        program.op(x, &self.op, &[self.scale])
    }
}
