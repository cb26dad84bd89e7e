use super::{Layer, Program, Slot};
use crate::{Builder, Init};
use ff_graph::{Graph, Op, ParamId, ParamKind, Result, Value};
use ff_ops::Activation;
use smallvec::SmallVec;
use std::sync::Arc;

/// The feedforward block of a transformer, two layers or three if gated, as one operation with few
/// kept values.
///
/// Parameters, in this order: `gate_proj.weight` if gated, `up_proj.weight` `[hidden, in]`,
/// `down_proj.weight` `[in, hidden]` (Llama's names), then their `bias`es, if any.
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
    /// initialisers of the input layers and of the output layer.
    pub fn with_names(
        builder: &mut Builder,
        op: ff_ops::FeedforwardBlock,
        (features, hidden): (usize, usize),
        [gate, up, down]: [&str; 3],
        [init, out_init]: [Init; 2],
    ) -> Self {
        let gate = op.gated.then_some((gate, hidden, features, init));
        let layers = gate
            .into_iter()
            .chain([(up, hidden, features, init), (down, features, hidden, out_init)]);
        let (mut params, mut biases) = (SmallVec::new(), SmallVec::<[ParamId; 3]>::new());
        for (name, to, from, init) in layers {
            builder.scope(name, |b| {
                params.push(b.param("weight", [to, from], ParamKind::Weight, init));
                if op.bias {
                    biases.push(b.param("bias", [to], ParamKind::Bias, Init::Zeros));
                }
            });
        }
        params.extend(biases);
        Self { op: op.op(), spec: op, params }
    }
}

impl Layer for FeedforwardBlock {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let params: SmallVec<[Value; 6]> = self.params.iter().map(|&id| graph.param(id)).collect();
        let mut inputs: SmallVec<[&Value; 8]> = SmallVec::new();
        inputs.push(&x);
        inputs.extend(&params);
        graph.apply(&self.op, &inputs)
    }

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        let count = if self.spec.bias { self.params.len() / 2 } else { self.params.len() };
        let layer = |i: usize| (self.params[i], self.spec.bias.then(|| self.params[count + i]));
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
