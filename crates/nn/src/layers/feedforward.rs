use super::{Layer, Program, Slot};
use crate::adapter::LowRank;
use crate::{Builder, Init};
use ff_graph::{Error, Graph, Op, ParamId, ParamKind, Result, Value};
use ff_ops::Activation;
use ff_tensor::DType;
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

    fn compile(&self, program: &mut Program<'_>, x: Slot) -> Result<Slot> {
        if self.adapter.is_some() {
            return Err(Error::shape("predictor", "a layer with an adapter runs on a graph"));
        }
        program.product(x, self.weight, self.bias, self.activation)
    }
}
