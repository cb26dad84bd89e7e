mod predictor;

pub use predictor::{Bags, Predictor};

use crate::layers::{
    Activate, BagInput, BatchEnsemble, Dropout, Embedding, EmbeddingBag, Feedforward, HiddenLayer,
    MeanOfMembers, MemberLinear, ParametricActivation, Periodic, PiecewiseLinear, Prelu, Residual,
    ScaleFeatures, Sequence,
};
use crate::{
    ActivationKind, Builder, DropoutSchedule, Init, Layer, ModelConfig, NormKind, Precision,
};
use ff_graph::{Error, Graph, Op, ParamId, Result, Value};
use ff_ops::{Activation, Add, Concat, MemberMean};
use ff_tensor::{DType, Key};
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
    /// The number of n-grams of each text input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<usize>,
    /// The number of outputs of a row.
    pub outputs: usize,
    /// The bins of each numeric input, 0 for one that enters as it is; empty where all do. Any
    /// number of bins stands for a periodic vector, where `network.numeric` says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bins: Vec<usize>,
    /// Whether outputs are logits, whose probabilities the members of an ensemble average.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logits: bool,
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

    /// The values that the numbers of a row become.
    pub fn numeric_width(&self) -> usize {
        let embedded = self.bins.iter().filter(|&&bins| bins > 0).count();
        self.numeric - embedded + embedded * self.network.number_dim()
    }

    /// The width of the vector of a text: that of the outputs, from 2 to 64, beside other inputs,
    /// unless the recipe states one.
    pub fn text_dim(&self) -> usize {
        if self.texts_alone() {
            return self.outputs;
        }
        self.network.text_dim.unwrap_or(self.outputs.clamp(2, 64))
    }

    /// Whether the n-grams of texts are the only inputs, of a linear model.
    pub fn texts_alone(&self) -> bool {
        let others = self.numeric + self.cardinalities.len();
        !self.texts.is_empty() && others == 0 && self.network.text_dim.is_none()
    }

    /// The members of the ensemble, where it is one.
    pub fn members(&self) -> Option<usize> {
        self.network.members.filter(|_| !self.texts_alone())
    }

    /// The width of the first layer's input.
    pub fn in_features(&self) -> usize {
        self.numeric_width()
            + self.cardinalities.iter().map(|&n| self.embedding_dim(n)).sum::<usize>()
            + self.texts.len() * self.text_dim()
    }
}

/// A batch of rows: numbers `[N, numeric]` and, for each category input, ids `[N]`; rows of their
/// own for each member of an ensemble `[N, members, numeric]` and `[N, members]`.
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
    /// The texts.
    pub texts: Vec<BagInput>,
}

/// A feedforward network over numbers and categories: embeddings, hidden layers, an output layer.
///
/// Hidden layer i is `activation(norm(x Wᵀ + b))` with dropout, plus x if `residual` is set and the
/// widths agree, and then the layers whose tables the recipe has. Parameters:
/// `embeddings.i.weight`, `layers.i.weight`, `layers.i.bias`, `layers.i.norm.*`,
/// `layers.i.activation.weight` (PReLU), `layers.i.TABLE.*`, `output.weight`, `output.bias`, and
/// `numeric.*` where numbers become vectors, `layers.i.activation.share` of parametric activations,
/// and `input.scale` of the first layer's inputs. A text is a sparse row of weights of n-grams,
/// which `texts.i.weight` and `texts.i.bias` make a vector beside the other inputs; texts alone are
/// a linear model, the sum of these vectors, without layers.
///
/// With `members` the network is a batch ensemble (Gorishniy et al., "TabM", 2025): members share
/// weights, embeddings, norms and gated blocks, and each has its own `layers.i.r`, `layers.i.s` and
/// `layers.i.bias` and its own output layer. The first r are random signs, which tell the members
/// apart; the others and s start at 1. The first layer has no residual connection.
///
/// # Shapes
/// numbers `[N, numeric]`, ids `[N]` each → `[N, outputs]`; in the training of an ensemble
/// `[N, members, outputs]`
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
    numbers: Option<Numbers>,
    embeddings: Vec<Embedding>,
    texts: Vec<EmbeddingBag>,
    /// Whether the sum of the vectors of texts is the output.
    texts_alone: bool,
    concat: Arc<dyn Op>,
    layers: Sequence,
    /// Of the members of an ensemble.
    mean: Option<MeanOfMembers>,
    outputs: usize,
    members: Option<usize>,
}

/// How numbers become vectors.
#[derive(Debug)]
enum Numbers {
    Piecewise(PiecewiseLinear),
    Periodic(Periodic),
}

impl Numbers {
    fn new(builder: &mut Builder, config: &MlpConfig) -> Self {
        let (network, d) = (&config.network, config.network.number_dim());
        let Some(form) = network.numeric.periodic() else {
            return Self::Piecewise(PiecewiseLinear::new(builder, &config.bins, d));
        };
        let embedded: Vec<bool> = config.bins.iter().map(|&bins| bins > 0).collect();
        let sizes = [network.frequencies(), d];
        Self::Periodic(Periodic::new(builder, &embedded, form, sizes, network.sigma()))
    }

    fn forward(&self, graph: &mut Graph, x: &Value) -> Result<Value> {
        match self {
            Self::Piecewise(layer) => layer.forward(graph, x),
            Self::Periodic(layer) => layer.forward(graph, x),
        }
    }

    /// The operation with its parameters.
    fn parts(&self) -> (&Arc<dyn Op>, &[ParamId]) {
        match self {
            Self::Piecewise(layer) => layer.parts(),
            Self::Periodic(layer) => layer.parts(),
        }
    }
}

impl Mlp {
    /// Makes the layers and registers their parameters.
    pub fn new(builder: &mut Builder, config: &MlpConfig) -> Self {
        let network = &config.network;
        let any = config.bins.iter().any(|&bins| bins > 0);
        let numbers = any.then(|| builder.scope("numeric", |b| Numbers::new(b, config)));
        let embeddings: Vec<Embedding> = config
            .cardinalities
            .iter()
            .enumerate()
            .map(|(i, &n)| {
                let dim = config.embedding_dim(n);
                let std = network.embedding_std;
                builder.scope(&format!("embeddings.{i}"), |b| Embedding::with_std(b, n, dim, std))
            })
            .collect();
        // A linear model starts at 0, where n-grams that it has not met stay; layers behind need a
        // direction.
        let texts_alone = config.texts_alone();
        let init = if texts_alone { Init::Zeros } else { Init::Normal { std: 0.02 } };
        let texts: Vec<EmbeddingBag> = config
            .texts
            .iter()
            .enumerate()
            .map(|(i, &n)| {
                let dim = config.text_dim();
                builder.scope(&format!("texts.{i}"), |b| EmbeddingBag::new(b, n, dim, init))
            })
            .collect();
        let mut layers = Sequence::new();
        if texts_alone {
            return Self::of(numbers, embeddings, texts, layers, config);
        }
        if network.input_dropout > 0.0 {
            layers.push(builder.scope("input", |b| dropout(b, network, network.input_dropout)));
        }
        let mut width = config.in_features();
        if network.front_scale {
            layers.push(builder.scope("input", |b| ScaleFeatures::new(b, width)));
        }
        for (i, &next) in network.hidden.iter().enumerate() {
            let block =
                builder.scope(&format!("layers.{i}"), |b| hidden(b, network, i, [width, next]));
            // The first layer's members start from one row.
            let same = width == next && (i > 0 || network.members.is_none());
            if network.residual && same {
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
        let init = network.init_for(Activation::Identity);
        if let Some(members) = network.members {
            let sizes = [members, width, config.outputs];
            layers.push(builder.scope("output", |b| MemberLinear::new(b, sizes, init)));
            return Self::of(numbers, embeddings, texts, layers, config);
        }
        layers.push(builder.scope("output", |b| {
            let f = Activation::Identity;
            let layer = Feedforward::with_init(b, width, config.outputs, f, network.bias, init);
            match network.precision {
                Precision::F32 => layer,
                Precision::Bf16 => layer.in_bf16(DType::F32),
            }
        }));
        Self::of(numbers, embeddings, texts, layers, config)
    }

    fn of(
        numbers: Option<Numbers>,
        embeddings: Vec<Embedding>,
        texts: Vec<EmbeddingBag>,
        layers: Sequence,
        config: &MlpConfig,
    ) -> Self {
        let (outputs, members) = (config.outputs, config.members());
        let texts_alone = config.texts_alone();
        let mean =
            members.map(|_| MeanOfMembers::new(MemberMean::of(config.logits, config.outputs)));
        let concat = Concat::op();
        Self { numbers, embeddings, texts, texts_alone, concat, layers, mean, outputs, members }
    }

    /// The members of the ensemble, where it is one.
    pub fn members(&self) -> Option<usize> {
        self.members
    }

    /// The vectors of numbers, where they have bins.
    pub fn numbers(&self) -> Option<&PiecewiseLinear> {
        match &self.numbers {
            Some(Numbers::Piecewise(layer)) => Some(layer),
            _ => None,
        }
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
        let x = self.inputs(graph, input)?;
        if self.texts_alone {
            return Ok(x);
        }
        let y = self.layers.forward(graph, x)?;
        match &self.mean {
            Some(mean) => mean.forward(graph, y),
            None => Ok(y),
        }
    }

    /// Sets initial weights and biases from the rows of a batch: see
    /// [`InitKind::Data`](crate::InitKind::Data).
    ///
    /// # Errors
    /// As [`Mlp::forward`].
    pub fn initialize(&self, graph: &mut Graph, input: &MlpInput, seed: u64) -> Result<()> {
        if !self.texts_alone {
            let x = self.inputs(graph, input)?;
            let key = Key::new(seed).with_name("data init");
            self.layers.initialize(graph, x, key)?;
        }
        graph.reset();
        Ok(())
    }

    /// What the first layer reads, or the output of a model of texts alone.
    fn inputs(&self, graph: &mut Graph, input: &MlpInput) -> Result<Value> {
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
        if input.texts.len() != self.texts.len() {
            let (texts, found) = (self.texts.len(), input.texts.len());
            let message = format!("expected {texts} text inputs, found {found}");
            return Err(Error::shape("network", message));
        }
        let mut parts: SmallVec<[Value; 8]> = input.numeric.iter().cloned().collect();
        if let (Some(numbers), Some(x)) = (&self.numbers, parts.first_mut()) {
            *x = numbers.forward(graph, x)?;
        }
        for (embedding, ids) in self.embeddings.iter().zip(&input.categorical) {
            parts.push(embedding.forward(graph, ids.clone())?);
        }
        for (layer, x) in self.texts.iter().zip(&input.texts) {
            parts.push(layer.forward(graph, x)?);
        }
        if self.texts_alone {
            let mut parts = parts.into_iter();
            let first = parts.next();
            let first = first.ok_or_else(|| Error::shape("network", "a row has no inputs"))?;
            return parts.try_fold(first, |sum, part| graph.apply(&Add::op(), &[&sum, &part]));
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
        parts.pop().ok_or_else(|| Error::shape("network", "a row has no inputs"))
    }
}

/// Dropout as a recipe has it.
fn dropout(b: &mut Builder, network: &ModelConfig, p: f64) -> Dropout {
    match network.dropout_schedule {
        DropoutSchedule::Constant => Dropout::new(b, p),
        DropoutSchedule::FlatCos => Dropout::fading(b, p),
    }
}

/// f(x Wᵀ + b).
fn product(
    b: &mut Builder,
    network: &ModelConfig,
    [width, next]: [usize; 2],
    f: Activation,
    init: Init,
) -> Feedforward {
    let layer = Feedforward::with_init(b, width, next, f, network.bias, init);
    // The output is bf16 if another product reads it, and f32 for other operations.
    let direct = network.norm == NormKind::None && network.element_wise().is_some();
    let direct = direct && network.dropout == 0.0 && !network.residual;
    let direct = direct && network.layers().next().is_none() && !network.parametric_activation;
    match network.precision {
        Precision::F32 => layer,
        Precision::Bf16 => layer.in_bf16(if direct { DType::BF16 } else { DType::F32 }),
    }
}

/// One hidden layer: product, norm, activation, dropout.
fn hidden(b: &mut Builder, network: &ModelConfig, i: usize, [width, next]: [usize; 2]) -> Sequence {
    let mut block = Sequence::new();
    let activation = network.element_wise();
    // PReLU starts as a leaky ReLU.
    let for_init = activation.unwrap_or(Activation::LeakyRelu { slope: network.prelu_slope() });
    let init = network.init_for(for_init);
    let fused = match (network.norm, activation) {
        (NormKind::None, Some(activation)) if !network.parametric_activation => activation,
        _ => Activation::Identity,
    };
    if let Some(members) = network.members {
        let r = if i == 0 { Init::Signs } else { Init::Constant(1.0) };
        block.push(BatchEnsemble::new(b, [members, width, next], fused, init, r));
    } else {
        block.push(product(b, network, [width, next], fused, init));
    }
    if let Some(norm) = b.scope("norm", |b| network.norm.layer(b, next)) {
        block.push(norm);
    }
    match (network.activation, activation) {
        (ActivationKind::Prelu, _) => {
            block.push(b.scope("activation", |b| Prelu::new(b, 1, network.prelu_slope())));
        }
        (_, Some(activation)) if network.parametric_activation => {
            let layer = |b: &mut Builder| ParametricActivation::new(b, next, activation);
            block.push(b.scope("activation", layer));
        }
        (_, Some(activation)) if network.norm != NormKind::None => {
            block.push(Activate::new(activation));
        }
        _ => {}
    }
    if network.dropout > 0.0 {
        block.push(dropout(b, network, network.dropout));
    }
    block
}
