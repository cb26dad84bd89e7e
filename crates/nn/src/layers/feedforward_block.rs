use super::{Dropout, Layer, Program, Slot};
use crate::adapter::LowRank;
use crate::{Builder, Init};
use ff_graph::{Error, Graph, Op, ParamId, ParamKind, Result, Segment, Value};
use ff_ops::{Activate, Activation, Gate, Split};
use ff_tensor::DType;
use smallvec::SmallVec;
use std::sync::Arc;

/// The feedforward block of a transformer, two layers or three if gated, as one operation with few
/// kept values.
///
/// Parameters, in this order: `gate_proj.weight` if gated, `up_proj.weight` `[hidden, in]`,
/// `down_proj.weight` `[in, hidden]` (Llama's names), then their `bias`es, if any. Gate and up may
/// be one matrix `[2 · hidden, in]`.
///
/// # Shapes
/// `[…, in] → […, in]`
///
/// ```
/// use ff_nn::{Builder, Init, Layer, layers::FeedforwardBlock};
/// use ff_graph::Graph;
/// use ff_ops::Activation;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut builder = Builder::new();
/// let activation = Activation::Silu;
/// let swiglu = ff_ops::FeedforwardBlock { activation, gated: true, ..Default::default() };
/// let layer = FeedforwardBlock::new(&mut builder, swiglu, 2, 6, Init::Normal { std: 0.02 });
/// let mut graph = Graph::new(&device, builder.build(&device, DType::F32, 0, true)?);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0], &[1, 2]).unwrap());
/// assert_eq!(layer.forward(&mut graph, x)?.shape().dims(), [1, 2]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct FeedforwardBlock {
    op: Arc<dyn Op>,
    spec: ff_ops::FeedforwardBlock,
    params: SmallVec<[ParamId; 6]>,
    layers: Separate,
}

/// The layers one by one, where some of them have an adapter or weights in the form of their file,
/// gate and up are one matrix, or training drops values between them.
#[derive(Debug)]
struct Separate {
    adapters: SmallVec<[Option<LowRank>; 3]>,
    /// The layers without one: those before the activation, and the last.
    plain: [Arc<dyn Op>; 2],
    activate: Arc<dyn Op>,
    gate: Arc<dyn Op>,
    /// Takes gate and up apart, if they are one matrix.
    split: Option<Arc<dyn Op>>,
    /// Dropout of the input of the last layer.
    dropout: Option<Dropout>,
}

impl Separate {
    fn new(
        op: ff_ops::FeedforwardBlock,
        adapters: SmallVec<[Option<LowRank>; 3]>,
        dropout: Option<Dropout>,
    ) -> Self {
        let (f, last) = (Activation::Identity, adapters.len() - 1);
        let (plain, adapters) = if op.bf16 {
            // Gates alone take bf16; activations and dropout take f32.
            let inner = if op.gated && dropout.is_none() { DType::BF16 } else { DType::F32 };
            let types = |i: usize| if i == last { DType::F32 } else { inner };
            let plain = [0, last].map(|i| ff_ops::FeedforwardBf16::op(f, op.bias, types(i)));
            let adapters = adapters.into_iter().enumerate();
            (plain, adapters.map(|(i, a)| a.map(|a| a.in_bf16(types(i)))).collect())
        } else {
            ([0; 2].map(|_| ff_ops::Feedforward::op(f, op.bias)), adapters)
        };
        let (activate, gate) = (Activate::op(op.activation), Gate::op(op.activation));
        Self { adapters, plain, activate, gate, split: None, dropout }
    }

    fn is_adapted(&self) -> bool {
        self.adapters.iter().any(Option::is_some)
    }
}

impl FeedforwardBlock {
    /// A block with this initialiser of weights, and zero biases.
    pub fn new(
        builder: &mut Builder,
        op: ff_ops::FeedforwardBlock,
        features: usize,
        hidden: usize,
        init: Init,
    ) -> Self {
        let names = ["gate_proj", "up_proj", "down_proj"];
        Self::with_names(builder, op, (features, hidden), names, [init, init])
    }

    /// The same over `(features, hidden features)`, with the names of gate, up and down, and the
    /// initialisers of the input layers and of the output layer. Without a name of up, gate and up
    /// are one matrix, the rows of gate first.
    pub fn with_names(
        builder: &mut Builder,
        op: ff_ops::FeedforwardBlock,
        (features, hidden): (usize, usize),
        [gate, up, down]: [&str; 3],
        inits: [Init; 2],
    ) -> Self {
        Self::with_dropout(builder, op, (features, hidden), [gate, up, down], inits, 0.0)
    }

    /// The same with dropout in training of this share of the output layer's input.
    pub fn with_dropout(
        builder: &mut Builder,
        op: ff_ops::FeedforwardBlock,
        (features, hidden): (usize, usize),
        [gate, up, down]: [&str; 3],
        [init, out_init]: [Init; 2],
        dropout: f64,
    ) -> Self {
        let fused = op.gated && up.is_empty();
        let (up, width) = if fused { (gate, 2 * hidden) } else { (up, hidden) };
        let gate = (op.gated && !fused).then_some((gate, hidden, features, init));
        let layers = gate
            .into_iter()
            .chain([(up, width, features, init), (down, features, hidden, out_init)]);
        let (mut params, mut biases) = (SmallVec::new(), SmallVec::<[ParamId; 3]>::new());
        let mut adapters = SmallVec::new();
        for (name, to, from, init) in layers {
            builder.scope(name, |b| {
                params.push(b.param("weight", [to, from], ParamKind::Weight, init));
                if op.bias {
                    biases.push(b.param("bias", [to], ParamKind::Bias, Init::Zeros));
                }
                adapters.push(b.low_rank(to, from));
            });
        }
        params.extend(biases);
        let split = fused.then(|| Split::op(&[hidden, hidden]));
        let dropout = (dropout > 0.0)
            .then(|| builder.scope(&format!("{down}.input"), |b| Dropout::new(b, dropout)));
        let layers = Separate { split, ..Separate::new(op, adapters, dropout) };
        Self { op: op.op(), spec: op, params, layers }
    }

    /// The weight and the bias of a layer.
    fn layer(&self, i: usize) -> (ParamId, Option<ParamId>) {
        let count = if self.spec.bias { self.params.len() / 2 } else { self.params.len() };
        (self.params[i], self.spec.bias.then(|| self.params[count + i]))
    }

    /// Layer by layer.
    fn forward_separate(&self, graph: &mut Graph, x: &Value) -> Result<Value> {
        let separate = &self.layers;
        let last = separate.adapters.len() - 1;
        let linear = |graph: &mut Graph, i: usize, x: &Value| {
            let (weight, bias) = self.layer(i);
            if let Some(adapter) = &separate.adapters[i] {
                return adapter.forward(graph, x, (weight, bias), Activation::Identity);
            }
            let params = [Some(weight), bias].into_iter().flatten();
            let params: SmallVec<[Value; 2]> = params.map(|id| graph.param(id)).collect();
            let inputs: SmallVec<[&Value; 3]> = std::iter::once(x).chain(&params).collect();
            graph.apply(&separate.plain[usize::from(i == last)], &inputs)
        };
        let z = linear(graph, 0, x)?;
        let mut h = if let Some(split) = &separate.split {
            let parts = graph.apply_all(split, &[&z])?;
            drop(z);
            let [z, u] = parts.as_slice() else {
                return Err(Error::shape("feedforward_block", "expected gate and up"));
            };
            graph.apply(&separate.gate, &[z, u])?
        } else if self.spec.gated {
            let u = linear(graph, 1, x)?;
            graph.apply(&separate.gate, &[&z, &u])?
        } else {
            graph.apply(&separate.activate, &[&z])?
        };
        if let Some(dropout) = &separate.dropout {
            h = dropout.forward(graph, h)?;
        }
        linear(graph, last, &h)
    }
}

impl Layer for FeedforwardBlock {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let in_file = |&id: &ParamId| graph.params().info(id).spec.segment == Segment::File;
        let layers = &self.layers;
        let drops = layers.dropout.is_some() && graph.training();
        let separate = layers.is_adapted() || layers.split.is_some() || drops;
        if separate || self.params.iter().any(in_file) {
            return self.forward_separate(graph, &x);
        }
        let params: SmallVec<[Value; 6]> = self.params.iter().map(|&id| graph.param(id)).collect();
        let mut inputs: SmallVec<[&Value; 8]> = SmallVec::new();
        inputs.push(&x);
        inputs.extend(&params);
        graph.apply(&self.op, &inputs)
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        if self.layers.is_adapted() || self.layers.split.is_some() {
            let message = "a block with an adapter, or with gate and up in one, runs on a graph";
            return Err(Error::shape("predictor", message));
        }
        let count = if self.spec.bias { self.params.len() / 2 } else { self.params.len() };
        let layer = |i: usize| self.layer(i);
        let kept = self.spec.gated.then(|| program.keep(&x));
        let (weight, bias) = layer(0);
        let mut h = program.product(x, weight, bias, self.spec.activation)?;
        if let Some(x) = kept {
            let (weight, bias) = layer(1);
            let up = program.product(x, weight, bias, Activation::Identity)?;
            h = program.multiply(h, up);
        }
        let (weight, bias) = layer(count - 1);
        program.product(h, weight, bias, Activation::Identity)
    }
}
