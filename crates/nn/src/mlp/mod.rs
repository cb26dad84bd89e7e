mod predictor;

pub use predictor::Predictor;

use crate::layers::{
    Activate, Dropout, Embedding, Feedforward, HiddenLayer, Prelu, Residual, Sequence,
};
use crate::{ActivationKind, Builder, Layer, ModelConfig, NormKind, Precision};
use ff_graph::{Error, Graph, Op, Result, Value};
use ff_ops::{Activation, Concat};
use ff_tensor::DType;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::sync::Arc;

/// The specification of a feedforward network; together with its parameters, the whole network.
///
/// ```
/// let config = ff_nn::models::MlpConfig { numeric: 64, outputs: 10, ..Default::default() };
/// assert_eq!(config.in_features(), 64);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// The number of numeric inputs of a row.
    pub numeric: usize,
    /// The number of ids of each category input.
    pub cardinalities: Vec<usize>,
    /// The number of outputs of a row.
    pub outputs: usize,
    /// The hidden layers.
    pub network: ModelConfig,
}

impl MlpConfig {
    /// The width of the embedding of n ids: √n rounded up, from 2 to 64, unless the recipe states
    /// one.
    pub fn embedding_dim(&self, cardinality: usize) -> usize {
        let usual = ((cardinality as f64).sqrt().ceil() as usize).clamp(2, 64);
        self.network.embedding_dim.unwrap_or(usual)
    }

    /// The width of the first layer's input.
    pub fn in_features(&self) -> usize {
        self.numeric + self.cardinalities.iter().map(|&n| self.embedding_dim(n)).sum::<usize>()
    }
}

/// A batch of rows: numbers `[N, numeric]` and, for each category input, ids `[N]`.
///
/// ```
/// assert!(ff_nn::models::MlpInput::default().numeric.is_none());
/// ```
#[derive(Debug, Default, Clone)]
pub struct MlpInput {
    /// The numbers, if there are any.
    pub numeric: Option<Value>,
    /// The ids.
    pub categorical: SmallVec<[Value; 4]>,
}

/// A feedforward network over numbers and categories: embeddings, hidden layers, an output layer.
///
/// Hidden layer i is `activation(norm(x Wᵀ + b))` with dropout, plus x if `residual` is set and the
/// widths agree, and then the layers whose tables the recipe has. Parameters:
/// `embeddings.i.weight`, `layers.i.weight`, `layers.i.bias`, `layers.i.norm.*`,
/// `layers.i.activation.weight` (PReLU), `layers.i.TABLE.*`, `output.weight`, `output.bias`.
///
/// # Shapes
/// numbers `[N, numeric]`, ids `[N]` each → `[N, outputs]`
///
/// ```
/// use ff_nn::{Builder, ModelConfig, models::{Mlp, MlpConfig, MlpInput}};
/// use ff_graph::Graph;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let network = ModelConfig { hidden: vec![8], ..Default::default() };
/// let config = MlpConfig { numeric: 2, outputs: 3, network, ..Default::default() };
/// let mut builder = Builder::new();
/// let model = Mlp::new(&mut builder, &config);
/// let mut graph = Graph::new(&device, builder.build(&device, DType::F32, 0, false)?);
/// let x = Tensor::from_slice(&device, &[1.0f32, 2.0], &[1, 2]).unwrap();
/// let input = MlpInput { numeric: Some(graph.input(x)), ..Default::default() };
/// assert_eq!(model.forward(&mut graph, &input)?.shape().dims(), [1, 3]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Mlp {
    embeddings: Vec<Embedding>,
    concat: Arc<dyn Op>,
    layers: Sequence,
    outputs: usize,
}

impl Mlp {
    /// Makes the layers and registers their parameters.
    pub fn new(builder: &mut Builder, config: &MlpConfig) -> Self {
        let network = &config.network;
        let embeddings: Vec<Embedding> = config
            .cardinalities
            .iter()
            .enumerate()
            .map(|(i, &n)| {
                let dim = config.embedding_dim(n);
                builder.scope(&format!("embeddings.{i}"), |b| Embedding::new(b, n, dim))
            })
            .collect();
        let mut layers = Sequence::new();
        if network.input_dropout > 0.0 {
            layers.push(builder.scope("input", |b| Dropout::new(b, network.input_dropout)));
        }
        let mut width = config.in_features();
        for (i, &next) in network.hidden.iter().enumerate() {
            let block = builder.scope(&format!("layers.{i}"), |b| hidden(b, network, width, next));
            if network.residual && width == next {
                layers.push(Residual::new(block));
            } else {
                layers.push(block);
            }
            for (name, layer) in network.layers() {
                let name = format!("layers.{i}.{name}");
                let hidden = HiddenLayer {
                    features: next,
                    bias: network.bias,
                    bf16: network.precision == Precision::Bf16,
                    init: &|activation| network.init_for(activation),
                };
                layers.push(builder.scope(&name, |b| layer.build(b, &hidden)));
            }
            width = next;
        }
        layers.push(builder.scope("output", |b| {
            let (f, init) = (Activation::Identity, network.init_for(Activation::Identity));
            let layer = Feedforward::with_init(b, width, config.outputs, f, network.bias, init);
            match network.precision {
                Precision::F32 => layer,
                Precision::Bf16 => layer.in_bf16(DType::F32),
            }
        }));
        Self { embeddings, concat: Concat::op(), layers, outputs: config.outputs }
    }

    /// The number of outputs of a row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The outputs of a batch: logits, or values.
    ///
    /// # Errors
    /// The input's shape does not fit, an id is out of range, or memory is short.
    pub fn forward(&self, graph: &mut Graph, input: &MlpInput) -> Result<Value> {
        if input.categorical.len() != self.embeddings.len() {
            return Err(Error::shape(
                "network",
                format!(
                    "expected {} category inputs, found {}",
                    self.embeddings.len(),
                    input.categorical.len()
                ),
            ));
        }
        let mut parts: SmallVec<[Value; 8]> = input.numeric.iter().cloned().collect();
        for (embedding, ids) in self.embeddings.iter().zip(&input.categorical) {
            parts.push(embedding.forward(graph, ids.clone())?);
        }
        // The operation takes a few inputs at a time; a wide table is joined in rounds.
        while parts.len() > 1 {
            let mut joined: SmallVec<[Value; 8]> = SmallVec::new();
            for group in parts.chunks(Concat::MAX) {
                let group: SmallVec<[&Value; 8]> = group.iter().collect();
                joined.push(graph.apply(&self.concat, &group)?);
            }
            parts = joined;
        }
        let x = parts.pop().ok_or_else(|| Error::shape("network", "a row has no inputs"))?;
        self.layers.forward(graph, x)
    }
}

/// One hidden layer: product, norm, activation, dropout.
fn hidden(b: &mut Builder, network: &ModelConfig, width: usize, next: usize) -> Sequence {
    let mut block = Sequence::new();
    let activation = network.element_wise();
    // PReLU starts as a leaky ReLU.
    let for_init = activation.unwrap_or(Activation::LeakyRelu { slope: network.prelu_slope() });
    let init = network.init_for(for_init);
    let fused = match (network.norm, activation) {
        (NormKind::None, Some(activation)) => activation,
        _ => Activation::Identity,
    };
    let layer = Feedforward::with_init(b, width, next, fused, network.bias, init);
    // The output is bf16 if another product reads it, and f32 for other operations.
    let direct = network.norm == NormKind::None && activation.is_some();
    let direct = direct && network.dropout == 0.0 && !network.residual;
    let direct = direct && network.layers().next().is_none();
    block.push(match network.precision {
        Precision::F32 => layer,
        Precision::Bf16 => layer.in_bf16(if direct { DType::BF16 } else { DType::F32 }),
    });
    if let Some(norm) = b.scope("norm", |b| network.norm.layer(b, next)) {
        block.push(norm);
    }
    match (network.activation, activation) {
        (ActivationKind::Prelu, _) => {
            block.push(b.scope("activation", |b| Prelu::new(b, 1, network.prelu_slope())));
        }
        (_, Some(activation)) if network.norm != NormKind::None => {
            block.push(Activate::new(activation));
        }
        _ => {}
    }
    if network.dropout > 0.0 {
        block.push(Dropout::new(b, network.dropout));
    }
    block
}
