//! Encoders: every token sees every other one.

mod config;

pub use config::{EncoderConfig, EncoderFamily, EncoderHead};

use crate::layers::{Embedding, Feedforward, LayerNorm};
use crate::transformer::LanguageOptions;
use crate::transformer::block::{PostNormBlock, PostNormConfig, PostNormContext, PostNormNames};
use crate::{Builder, Init, Layer};
use ff_ops::{
    Activation, Add, Error, FeedforwardBf16, Graph, LinearCrossEntropy, Op, ParamId, ParamKind,
    PoolTokens, Result, Value,
};
use ff_tensor::DType;
use std::sync::Arc;

/// A batch of sequences for an encoder.
///
/// ```
/// fn tokens(batch: &ff_nn::models::EncoderBatch) -> usize { batch.ids.shape().len() }
/// ```
#[derive(Debug, Clone)]
pub struct EncoderBatch {
    /// The tokens `[B, T]` (i32).
    pub ids: Value,
    /// Each one's position `[B, T]` (i32), see [`EncoderConfig::positions`].
    pub positions: Value,
    /// Which of two sequences each one belongs to `[B, T]` (i32); for the families that have it.
    pub types: Option<Value>,
    /// 0, or a negative number for padding `[B, T]` (i32).
    pub segments: Option<Value>,
}

/// BERT, RoBERTa or DistilBERT, with what its config says the outputs are for.
///
/// Parameters carry Hugging Face's names.
///
/// # Shapes
/// tokens `[B, T]` → vectors `[B, T, features]`; logits `[B, T, vocabulary]`, `[B, T, labels]` or `[B, labels]`
///
/// ```
/// use ff_nn::{Builder, models::{Encoder, EncoderConfig}};
/// let config = EncoderConfig::parse(r#"{"model_type": "distilbert", "vocab_size": 30, "dim": 8, "hidden_dim": 16,
///     "n_layers": 1, "n_heads": 2, "max_position_embeddings": 20, "architectures": ["DistilBertForMaskedLM"]}"#).unwrap();
/// let mut builder = Builder::new();
/// let encoder = Encoder::new(&mut builder, &config, &Default::default());
/// ```
#[derive(Debug)]
pub struct Encoder {
    words: Embedding,
    positions: Embedding,
    types: Option<Embedding>,
    norm: LayerNorm,
    blocks: Vec<PostNormBlock>,
    head: Option<Head>,
    add: Arc<dyn Op>,
    pools: [Arc<dyn Op>; 3],
}

#[derive(Debug)]
struct Head {
    /// The first token, for the class of a sequence.
    first: Option<Arc<dyn Op>>,
    dense: Option<Feedforward>,
    norm: Option<LayerNorm>,
    weight: ParamId,
    bias: ParamId,
    logits: Arc<dyn Op>,
    loss: Arc<dyn Op>,
}

fn names(family: EncoderFamily) -> PostNormNames {
    if family == EncoderFamily::DistilBert {
        return PostNormNames {
            attention: "attention",
            projections: ["q_lin", "k_lin", "v_lin", "out_lin"],
            attention_norm: "sa_layer_norm",
            layers: ["ffn.lin1", "ffn.lin2"],
            feedforward_norm: "output_layer_norm",
        };
    }
    PostNormNames {
        attention: "attention",
        projections: ["self.query", "self.key", "self.value", "output.dense"],
        attention_norm: "attention.output.LayerNorm",
        layers: ["intermediate.dense", "output.dense"],
        feedforward_norm: "output.LayerNorm",
    }
}

impl Encoder {
    /// Makes the layers and registers their parameters.
    pub fn new(b: &mut Builder, config: &EncoderConfig, options: &LanguageOptions) -> Self {
        let init = Init::Normal { std: config.initializer_range };
        let table = |b: &mut Builder, name: &str, rows| {
            b.scope(name, |b| Embedding::with_init(b, rows, config.hidden_size, init))
        };
        let block = PostNormConfig {
            features: config.hidden_size,
            hidden: config.intermediate_size,
            heads: config.heads,
            causal: false,
            cross: false,
            activation: config.activation,
            eps: config.norm_eps,
            init,
            bf16: options.bf16(),
            names: names(config.family),
        };
        let distil = config.family == EncoderFamily::DistilBert;
        let make = |b: &mut Builder| {
            let (words, positions, types, norm) = b.scope("embeddings", |b| {
                let words = table(b, "word_embeddings", config.vocab_size);
                let positions = table(b, "position_embeddings", config.max_positions);
                let types = (config.token_types > 0)
                    .then(|| table(b, "token_type_embeddings", config.token_types));
                let norm = b.scope("LayerNorm", |b| {
                    LayerNorm::with_eps(b, config.hidden_size, config.norm_eps)
                });
                (words, positions, types, norm)
            });
            let list = if distil { "transformer.layer" } else { "encoder.layer" };
            let layer = |i| b.scope(&format!("{list}.{i}"), |b| PostNormBlock::new(b, &block));
            let blocks: Vec<PostNormBlock> = (0..config.layers).map(layer).collect();
            (words, positions, types, norm, blocks)
        };
        let (words, positions, types, norm, blocks) = if config.head == EncoderHead::None {
            make(b)
        } else {
            b.scope(config.family.name(), make)
        };
        let head = head(b, config, options, words.weight());
        let pool = |mean, segments| PoolTokens { mean, segments }.op();
        let pools = [pool(false, false), pool(true, false), pool(true, true)];
        Self { words, positions, types, norm, blocks, head, add: Add::op(), pools }
    }

    /// The vector of each token `[B, T, features]`.
    ///
    /// # Errors
    /// An id is not in the vocabulary, a position is too large, or memory is short.
    pub fn hidden(&self, graph: &mut Graph, batch: &EncoderBatch) -> Result<Value> {
        let mut x = self.words.forward(graph, batch.ids.clone())?;
        if let Some(types) = &self.types {
            let ids = batch.types.as_ref().ok_or_else(|| {
                Error::shape("encoder", "this family needs to know which sequence each token is of")
            })?;
            let kind = types.forward(graph, ids.clone())?;
            x = graph.apply(&self.add, &[&x, &kind])?;
        }
        let at = self.positions.forward(graph, batch.positions.clone())?;
        x = graph.apply(&self.add, &[&x, &at])?;
        x = self.norm.forward(graph, x)?;
        for block in &self.blocks {
            let context =
                PostNormContext { segments: batch.segments.as_ref(), ..Default::default() };
            x = block.forward(graph, &x, context)?;
        }
        Ok(x)
    }

    /// A vector for each sequence `[B, features]`: that of its first token, or the mean of those that are no padding.
    ///
    /// # Errors
    /// As [`Encoder::hidden`].
    pub fn embed(&self, graph: &mut Graph, batch: &EncoderBatch, mean: bool) -> Result<Value> {
        let x = self.hidden(graph, batch)?;
        match (&batch.segments, mean) {
            (_, false) => graph.apply(&self.pools[0], &[&x]),
            (None, true) => graph.apply(&self.pools[1], &[&x]),
            (Some(segments), true) => graph.apply(&self.pools[2], &[&x, segments]),
        }
    }

    /// The logits of what the outputs are for.
    ///
    /// # Errors
    /// As [`Encoder::hidden`]; the outputs are for nothing.
    pub fn logits(&self, graph: &mut Graph, batch: &EncoderBatch) -> Result<Value> {
        let (head, x) = self.head(graph, batch)?;
        let (weight, bias) = (graph.param(head.weight), graph.param(head.bias));
        graph.apply(&head.logits, &[&x, &weight, &bias])
    }

    /// The sum of the losses `[1]` and how many they are `[1]`; targets `[B, T]`, or `[B]` for the class of a sequence, and
    /// −100 is not counted.
    ///
    /// # Errors
    /// As [`Encoder::logits`]; a target is no class.
    pub fn loss(
        &self,
        graph: &mut Graph,
        batch: &EncoderBatch,
        targets: &Value,
    ) -> Result<[Value; 2]> {
        let (head, x) = self.head(graph, batch)?;
        let (weight, bias) = (graph.param(head.weight), graph.param(head.bias));
        let outputs = graph.apply_all(&head.loss, &[&x, &weight, &bias, targets])?;
        match outputs.as_slice() {
            [sum, count] => Ok([sum.clone(), count.clone()]),
            _ => Err(Error::shape("encoder", "expected a loss and a count")),
        }
    }

    /// What the last layer reads.
    fn head(&self, graph: &mut Graph, batch: &EncoderBatch) -> Result<(&Head, Value)> {
        let head = self.head.as_ref().ok_or_else(|| {
            Error::shape(
                "encoder",
                "this model gives vectors only, no logits: see `architectures` in its config.json",
            )
        })?;
        let mut x = self.hidden(graph, batch)?;
        if let Some(first) = &head.first {
            x = graph.apply(first, &[&x])?;
        }
        if let Some(dense) = &head.dense {
            x = dense.forward(graph, x)?;
        }
        if let Some(norm) = &head.norm {
            x = norm.forward(graph, x)?;
        }
        Ok((head, x))
    }
}

/// What follows the encoder, by the names that each family has for it.
fn head(
    b: &mut Builder,
    config: &EncoderConfig,
    options: &LanguageOptions,
    words: ParamId,
) -> Option<Head> {
    use EncoderFamily::{Bert, DistilBert, Roberta};
    let (init, features) = (Init::Normal { std: config.initializer_range }, config.hidden_size);
    let dense = |b: &mut Builder, name: &str, activation| {
        let layer = b
            .scope(name, |b| Feedforward::with_init(b, features, features, activation, true, init));
        if options.bf16() { layer.in_bf16(DType::F32) } else { layer }
    };
    let (masked, sequence) =
        (config.head == EncoderHead::MaskedLm, config.head == EncoderHead::Sequence);
    let (dense, norm) = match (config.head, config.family) {
        (EncoderHead::None, _) => return None,
        (EncoderHead::Tokens, _) => (None, None),
        (EncoderHead::MaskedLm, family) => {
            let (layer, norm, activation) = match family {
                Bert => (
                    "cls.predictions.transform.dense",
                    "cls.predictions.transform.LayerNorm",
                    config.activation,
                ),
                Roberta => ("lm_head.dense", "lm_head.layer_norm", Activation::Gelu),
                DistilBert => ("vocab_transform", "vocab_layer_norm", config.activation),
            };
            let layer = dense(b, layer, activation);
            (
                Some(layer),
                Some(b.scope(norm, |b| LayerNorm::with_eps(b, features, config.norm_eps))),
            )
        }
        (EncoderHead::Sequence, family) => {
            let (layer, activation) = match family {
                Bert => ("bert.pooler.dense", Activation::Tanh),
                Roberta => ("classifier.dense", Activation::Tanh),
                DistilBert => ("pre_classifier", Activation::Relu),
            };
            (Some(dense(b, layer, activation)), None)
        }
    };
    let (weight, bias) = match config.family {
        Bert if masked => ("cls.predictions.decoder.weight", "cls.predictions.bias"),
        Roberta if masked => ("lm_head.decoder.weight", "lm_head.bias"),
        DistilBert if masked => ("vocab_projector.weight", "vocab_projector.bias"),
        Roberta if sequence => ("classifier.out_proj.weight", "classifier.out_proj.bias"),
        _ => ("classifier.weight", "classifier.bias"),
    };
    let outputs = if masked { config.vocab_size } else { config.labels };
    let weight = if masked && config.tied {
        words
    } else {
        b.param(weight, [outputs, features], ParamKind::Weight, init)
    };
    let bias = b.param(bias, [outputs], ParamKind::Bias, Init::Zeros);
    let logits = if options.bf16() {
        FeedforwardBf16::op(Activation::Identity, true, DType::F32)
    } else {
        ff_ops::Feedforward::op(Activation::Identity, true)
    };
    let loss =
        LinearCrossEntropy { bias: true, bf16: options.bf16(), ..LinearCrossEntropy::default() };
    let first = sequence.then(|| PoolTokens { mean: false, segments: false }.op());
    Some(Head { first, dense, norm, weight, bias, logits, loss: loss.op() })
}
