use super::{Layer, Program, Slot};
use crate::adapter::LowRank;
use crate::{Builder, Init};
use ff_graph::{Error, Graph, Op, ParamId, ParamKind, Params, Result, Value, for_float};
use ff_kernels::Float;
use ff_ops::Activation;
use ff_tensor::{DType, Key, Rng, Tensor};
use std::sync::Arc;

/// The feedforward layer y = f(x Wᵀ + b), with parameters `weight` `[out, in]` and `bias` `[out]`.
///
/// # Shapes
/// `[…, in] → […, out]`
///
/// ```
/// use ff_nn::{Builder, Layer, layers::Feedforward};
/// use ff_graph::Graph;
/// use ff_ops::Activation;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut builder = Builder::new();
/// let layer = Feedforward::new(&mut builder, 2, 3, Activation::Relu);
/// let mut graph = Graph::new(&device, builder.build(&device, DType::F32, 0, true)?);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0], &[1, 2]).unwrap());
/// assert_eq!(layer.forward(&mut graph, x)?.shape().dims(), [1, 3]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Feedforward {
    op: Arc<dyn Op>,
    activation: Activation,
    weight: ParamId,
    bias: Option<ParamId>,
    adapter: Option<LowRank>,
}

impl Feedforward {
    /// A layer with a zero bias and the usual initialiser for its activation.
    pub fn new(
        builder: &mut Builder,
        in_features: usize,
        out_features: usize,
        activation: Activation,
    ) -> Self {
        let init = Init::for_activation(activation);
        Self::with_init(builder, in_features, out_features, activation, true, init)
    }

    /// A layer with this initialiser, with or without bias.
    pub fn with_init(
        builder: &mut Builder,
        in_features: usize,
        out_features: usize,
        activation: Activation,
        bias: bool,
        init: Init,
    ) -> Self {
        let weight = builder.param("weight", [out_features, in_features], ParamKind::Weight, init);
        let bias =
            bias.then(|| builder.param("bias", [out_features], ParamKind::Bias, Init::Zeros));
        let adapter = builder.low_rank(out_features, in_features);
        let op = ff_ops::Feedforward::op(activation, bias.is_some());
        Self { op, activation, weight, bias, adapter }
    }

    /// The same layer with bf16 products and an output of this type: bf16 before another such
    /// layer, else f32.
    #[must_use]
    pub fn in_bf16(mut self, output: DType) -> Self {
        self.op = ff_ops::FeedforwardBf16::op(self.activation, self.bias.is_some(), output);
        self.adapter = self.adapter.map(|adapter| adapter.in_bf16(output));
        self
    }
}

/// Scales the weights of each unit so that its products z, over the rows of a batch, have a
/// variance of 1, and sets its bias to minus a random convex combination of five of them ("he+5",
/// Steinwart 2019).
fn data_init<T: Float>(
    params: &mut Params,
    (weight, bias): (ParamId, Option<ParamId>),
    z: &Value,
    key: Key,
) -> Result<()> {
    const PICKS: usize = 5;
    let z = z.slice::<T>()?;
    let spec = &params.info(weight).spec;
    let (units, width, name) = (spec.shape.rows(), spec.shape.last(), spec.name.clone());
    let rows = z.len() / units.max(1);
    if rows == 0 {
        return Ok(());
    }
    let column = |unit: usize| z[unit..].iter().step_by(units).map(|z| z.f64());
    let scales: Vec<f64> = (0..units)
        .map(|unit| {
            let mean = column(unit).sum::<f64>() / rows as f64;
            let squares = column(unit).map(|z| (z - mean).powi(2)).sum::<f64>();
            let deviation = (squares / rows as f64).sqrt();
            if deviation > 1e-30 && deviation.is_finite() { 1.0 / deviation } else { 1.0 }
        })
        .collect();
    let values = params.values_mut::<T>(weight)?;
    for (w, &scale) in values.chunks_exact_mut(width.max(1)).zip(&scales) {
        for w in w {
            *w = T::of(w.f64() * scale);
        }
    }
    let Some(bias) = bias else { return Ok(()) };
    let mut rng = Rng::new(key.with_name(&name));
    for (unit, b) in params.values_mut::<T>(bias)?.iter_mut().enumerate() {
        let (mut sum, mut total) = (0.0, 0.0);
        for _ in 0..PICKS {
            let row = ((rng.uniform() * rows as f64) as usize).min(rows - 1);
            let share = -(1.0 - rng.uniform()).ln();
            sum += share * z[row * units + unit].f64();
            total += share;
        }
        *b = T::of(if total > 0.0 { -scales[unit] * sum / total } else { 0.0 });
    }
    Ok(())
}

impl Layer for Feedforward {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        if let Some(adapter) = &self.adapter {
            return adapter.forward(graph, &x, (self.weight, self.bias), self.activation);
        }
        let weight = graph.param(self.weight);
        match self.bias {
            Some(bias) => {
                let bias = graph.param(bias);
                graph.apply(&self.op, &[&x, &weight, &bias])
            }
            None => graph.apply(&self.op, &[&x, &weight]),
        }
    }

    fn initialize(&self, graph: &mut Graph, x: Value, key: Key) -> Result<Value> {
        let weight = graph.param(self.weight);
        let z =
            graph.apply(&ff_ops::Feedforward::op(Activation::Identity, false), &[&x, &weight])?;
        if !z.tensor().is_none_or(Tensor::is_planned) {
            for_float!("init", graph.params().dtype(), T => {
                data_init::<T>(graph.params_mut(), (self.weight, self.bias), &z, key)
            })?;
        }
        self.forward(graph, x)
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        if self.adapter.is_some() {
            return Err(Error::shape("predictor", "a layer with an adapter runs on a graph"));
        }
        program.product(x, self.weight, self.bias, self.activation)
    }
}
