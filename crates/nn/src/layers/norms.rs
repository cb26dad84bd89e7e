use super::{Layer, Program, Slot};
use crate::{Builder, Init};
use ff_graph::{Error, Graph, Op, ParamId, ParamKind, Result, Value};
use ff_ops::Statistics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A normalisation by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// None.
    #[default]
    None,
    /// Over the batch.
    Batch,
    /// Over the features.
    Layer,
    /// Over the features, without centring.
    Rms,
}

impl NormKind {
    /// The layer, if any.
    pub(crate) fn layer(self, b: &mut Builder, features: usize) -> Option<Box<dyn Layer>> {
        Some(match self {
            NormKind::None => return None,
            NormKind::Batch => Box::new(BatchNorm::new(b, features)),
            NormKind::Layer => Box::new(LayerNorm::new(b, features)),
            NormKind::Rms => Box::new(RmsNorm::new(b, features)),
        })
    }
}

/// PyTorch's default ε, which also keeps constant features finite.
const NORM_EPS: f64 = 1e-5;

/// Batch normalisation, `torch.nn.BatchNorm1d` (Ioffe and Szegedy, 2015): each feature by the mean
/// and variance of the batch in training, by their running averages in evaluation. Parameters
/// `weight`, `bias`; statistics `running_mean`, `running_var`.
///
/// # Shapes
/// `[…, C] → […, C]`
///
/// ```
/// use ff_nn::{Builder, layers::BatchNorm};
/// let mut builder = Builder::new();
/// let layer = builder.scope("layers.0.norm", |b| BatchNorm::new(b, 64));
/// assert_eq!(builder.plan()?.len(), 4 * 64);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchNorm {
    training: Arc<dyn Op>,
    evaluation: Arc<dyn Op>,
    weight: ParamId,
    bias: ParamId,
    running_mean: ParamId,
    running_var: ParamId,
    momentum: f64,
}

impl BatchNorm {
    /// A layer with momentum 0.1 of the running averages.
    pub fn new(builder: &mut Builder, features: usize) -> Self {
        let statistic = ParamKind::Statistic;
        Self {
            training: ff_ops::BatchNorm::op(NORM_EPS, true, Statistics::Batch),
            evaluation: ff_ops::BatchNorm::op(NORM_EPS, true, Statistics::Running),
            weight: builder.param("weight", [features], ParamKind::Gain, Init::Constant(1.0)),
            bias: builder.param("bias", [features], ParamKind::Bias, Init::Zeros),
            running_mean: builder.param("running_mean", [features], statistic, Init::Zeros),
            running_var: builder.param("running_var", [features], statistic, Init::Constant(1.0)),
            momentum: 0.1,
        }
    }
}

impl Layer for BatchNorm {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let (weight, bias) = (graph.param(self.weight), graph.param(self.bias));
        if !graph.training() {
            let (mean, var) = (graph.param(self.running_mean), graph.param(self.running_var));
            return graph.apply(&self.evaluation, &[&x, &weight, &bias, &mean, &var]);
        }
        let outputs = graph.apply_all(&self.training, &[&x, &weight, &bias])?;
        let [y, mean, var] = outputs.as_slice() else {
            return Err(Error::shape("batch_norm", "expected y, mean and variance"));
        };
        graph.update_state(self.running_mean, mean, self.momentum)?;
        graph.update_state(self.running_var, var, self.momentum)?;
        Ok(y.clone())
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        let params = [self.weight, self.bias, self.running_mean, self.running_var];
        program.batch_norm(x, &self.evaluation, &params, NORM_EPS)
    }
}

/// Layer normalisation, `torch.nn.LayerNorm` over the last dimension (Ba et al., 2016), with
/// parameters `weight` and, unless it is without, `bias`.
///
/// # Shapes
/// `[…, C] → […, C]`
///
/// ```
/// use ff_nn::{Builder, layers::LayerNorm};
/// let mut builder = Builder::new();
/// let layer = LayerNorm::new(&mut builder, 64);
/// assert_eq!(builder.plan()?.len(), 2 * 64);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct LayerNorm {
    op: Arc<dyn Op>,
    weight: ParamId,
    bias: Option<ParamId>,
}

impl LayerNorm {
    /// A layer with gain 1 and bias 0.
    pub fn new(builder: &mut Builder, features: usize) -> Self {
        Self::with_eps(builder, features, NORM_EPS)
    }

    /// The same layer with another ε.
    pub fn with_eps(builder: &mut Builder, features: usize, eps: f64) -> Self {
        Self::with_bias(builder, features, eps, true)
    }

    /// The same layer with another ε, with or without a bias.
    pub fn with_bias(builder: &mut Builder, features: usize, eps: f64, bias: bool) -> Self {
        let weight = builder.param("weight", [features], ParamKind::Gain, Init::Constant(1.0));
        let param = |b: &mut Builder| b.param("bias", [features], ParamKind::Bias, Init::Zeros);
        let op = ff_ops::LayerNorm::op(eps, true, bias);
        Self { op, weight, bias: bias.then(|| param(builder)) }
    }
}

impl Layer for LayerNorm {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let weight = graph.param(self.weight);
        match self.bias.map(|bias| graph.param(bias)) {
            Some(bias) => graph.apply(&self.op, &[&x, &weight, &bias]),
            None => graph.apply(&self.op, &[&x, &weight]),
        }
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        match self.bias {
            Some(bias) => program.op(x, &self.op, &[self.weight, bias]),
            None => program.op(x, &self.op, &[self.weight]),
        }
    }
}

/// Root-mean-square normalisation, `torch.nn.RMSNorm` over the last dimension (Zhang and Sennrich,
/// 2019), with the parameter `weight`.
///
/// # Shapes
/// `[…, C] → […, C]`
///
/// ```
/// use ff_nn::{Builder, layers::RmsNorm};
/// let mut builder = Builder::new();
/// let layer = RmsNorm::new(&mut builder, 64);
/// assert_eq!(builder.plan()?.len(), 64);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct RmsNorm {
    op: Arc<dyn Op>,
    weight: ParamId,
}

impl RmsNorm {
    /// A layer with gain 1.
    pub fn new(builder: &mut Builder, features: usize) -> Self {
        Self::with_eps(builder, features, NORM_EPS)
    }

    /// The same layer with another ε.
    pub fn with_eps(builder: &mut Builder, features: usize, eps: f64) -> Self {
        Self::with_op(builder, features, ff_ops::RmsNorm { eps, weight: true, offset: 0.0 })
    }

    /// The layer of an operation with a weight.
    pub fn with_op(builder: &mut Builder, features: usize, op: ff_ops::RmsNorm) -> Self {
        let gain = Init::Constant(1.0 - op.offset);
        let weight = builder.param("weight", [features], ParamKind::Gain, gain);
        Self { op: Arc::new(op), weight }
    }
}

impl Layer for RmsNorm {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let weight = graph.param(self.weight);
        graph.apply(&self.op, &[&x, &weight])
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        program.op(x, &self.op, &[self.weight])
    }
}
