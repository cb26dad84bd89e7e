//! Encoders: every token attends to every other one.

mod block;
mod common;
mod config;
mod families;
mod names;
mod read;

pub use config::{EncoderConfig, EncoderFamily, EncoderHead, EncoderOutputs, EncoderProblem};
pub use names::{EncoderHeadLayers, EncoderLayerNames};

use crate::layers::{Dropout, Embedding, Feedforward, LayerNorm};
use crate::transformer::{Block, BlockContext, LanguageOptions, Output};
use crate::{Builder, Init, Layer};
use ff_graph::{Error, Graph, Op, ParamId, ParamKind, Result, Value};
use ff_ops::{Add, PoolTokens};
use ff_tensor::DType;
use std::sync::Arc;

/// A batch of sequences for an encoder.
#[derive(Debug, Clone)]
pub struct EncoderBatch {
    /// The tokens `[B, T]` (i32).
    pub ids: Value,
    /// The position of each token `[B, T]` (i32), see [`EncoderConfig::positions`].
    pub positions: Value,
    /// The sequence type of each token `[B, T]` (i32), for families that have it.
    pub types: Option<Value>,
    /// 0, or a negative number for padding `[B, T]` (i32).
    pub segments: Option<Value>,
}

/// An encoder with the head of its config.
///
/// Parameters have the names of Hugging Face.
///
/// # Shapes
/// tokens `[B, T]` → vectors `[B, T, features]`; logits `[B, T, vocabulary]`, `[B, T, labels]` or
/// `[B, labels]`
///
/// ```
/// use ff_nn::{Builder, models::{Encoder, EncoderConfig}};
/// let json = r#"{"model_type": "distilbert", "vocab_size": 30, "dim": 8, "hidden_dim": 16,
///     "n_layers": 1, "n_heads": 2, "max_position_embeddings": 20,
///     "architectures": ["DistilBertForMaskedLM"]}"#;
/// let config = EncoderConfig::parse(json).unwrap();
/// let mut builder = Builder::new();
/// let encoder = Encoder::new(&mut builder, &config, &Default::default());
/// assert!(builder.plan()?.id("vocab_projector.bias").is_some());
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Encoder {
    words: Embedding,
    /// The table of learned positions, unless they are rotary.
    positions: Option<Embedding>,
    types: Option<Embedding>,
    norm: LayerNorm,
    blocks: Vec<Block>,
    final_norm: Option<LayerNorm>,
    head: Option<Head>,
    add: Arc<dyn Op>,
    pools: [Arc<dyn Op>; 3],
    /// Dropout of the embeddings and of the head's input.
    dropout: [Option<Dropout>; 2],
}

/// The shares of values that training drops, scaling up the others; attention weights are never
/// dropped.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EncoderDropout {
    /// Of the embeddings and of each residual branch (`hidden_dropout_prob` in `transformers`).
    pub hidden: f64,
    /// Of the input of the last layer of a head (`classifier_dropout`).
    pub head: f64,
}

#[derive(Debug)]
struct Head {
    /// How the tokens of a sequence become one vector, for its class: whether by their mean.
    pooled: Option<bool>,
    dense: Option<Feedforward>,
    norm: Option<LayerNorm>,
    output: Output,
}

impl Encoder {
    /// Builds the layers and registers their parameters.
    pub fn new(b: &mut Builder, config: &EncoderConfig, options: &LanguageOptions) -> Self {
        Self::with_dropout(b, config, options, EncoderDropout::default())
    }

    /// The same with dropout in training.
    pub fn with_dropout(
        b: &mut Builder,
        config: &EncoderConfig,
        options: &LanguageOptions,
        dropout: EncoderDropout,
    ) -> Self {
        let init = Init::Normal { std: config.initializer_range };
        let table = |b: &mut Builder, name: &str, rows| {
            b.scope(name, |b| Embedding::with_init(b, rows, config.hidden_size, init))
        };
        let names = &config.family.names;
        let norm = |b: &mut Builder, name: &str| {
            let (features, eps) = (config.hidden_size, config.norm_eps);
            b.scope(name, |b| LayerNorm::with_bias(b, features, eps, config.norm_bias))
        };
        let make = |b: &mut Builder| {
            let (words, positions, types, first) = b.scope("embeddings", |b| {
                let [words, norm_name] = names.embeddings;
                let words = table(b, words, config.vocab_size);
                let learned = config.rope.is_none();
                let positions =
                    learned.then(|| table(b, "position_embeddings", config.max_positions));
                let types = (config.token_types > 0)
                    .then(|| table(b, "token_type_embeddings", config.token_types));
                (words, positions, types, norm(b, norm_name))
            });
            let layer = |i| {
                let block = config.block(i, options, dropout.hidden);
                b.scope(&format!("{}.{i}", names.layers), |b| Block::new(b, &block))
            };
            let blocks: Vec<Block> = (0..config.layers).map(layer).collect();
            let last = names.final_norm.map(|name| norm(b, name));
            ((words, positions, types), (first, blocks, last))
        };
        let alone = config.head == EncoderHead::None;
        let scope = if alone { "" } else { names.body };
        let ((words, positions, types), (norm, blocks, final_norm)) = b.scope(scope, make);
        let head = head(b, config, options, words.weight());
        let pool = |mean, segments| PoolTokens { mean, segments }.op();
        let pools = [pool(false, false), pool(true, false), pool(true, true)];
        let drop = |b: &mut Builder, name: &str, p: f64| {
            (p > 0.0).then(|| b.scope(name, |b| Dropout::new(b, p)))
        };
        let dropout = [drop(b, "embeddings", dropout.hidden), drop(b, "classifier", dropout.head)];
        let add = Add::op();
        Self { words, positions, types, norm, blocks, final_norm, head, add, pools, dropout }
    }

    /// The vector of each token `[B, T, features]`.
    ///
    /// # Errors
    /// If an id is outside the vocabulary, a position is too large, or memory is exhausted.
    pub fn hidden(&self, graph: &mut Graph, batch: &EncoderBatch) -> Result<Value> {
        let mut x = self.words.forward(graph, batch.ids.clone())?;
        if let Some(types) = &self.types {
            let ids = batch.types.as_ref().ok_or_else(|| {
                Error::shape("encoder", "this family needs the sequence type of each token")
            })?;
            let kind = types.forward(graph, ids.clone())?;
            x = graph.apply(&self.add, &[&x, &kind])?;
        }
        if let Some(positions) = &self.positions {
            let at = positions.forward(graph, batch.positions.clone())?;
            x = graph.apply(&self.add, &[&x, &at])?;
        }
        x = self.norm.forward(graph, x)?;
        if let Some(dropout) = &self.dropout[0] {
            x = dropout.forward(graph, x)?;
        }
        for block in &self.blocks {
            let context = BlockContext {
                positions: Some(&batch.positions),
                segments: batch.segments.as_ref(),
                ..BlockContext::default()
            };
            x = block.forward(graph, &x, context)?.0;
        }
        match &self.final_norm {
            Some(norm) => norm.forward(graph, x),
            None => Ok(x),
        }
    }

    /// The vector of each sequence `[B, features]`: that of its first token, or the mean over its
    /// tokens without padding.
    ///
    /// # Errors
    /// As [`Encoder::hidden`].
    pub fn embed(&self, graph: &mut Graph, batch: &EncoderBatch, mean: bool) -> Result<Value> {
        let x = self.hidden(graph, batch)?;
        self.pool(graph, &x, batch, mean)
    }

    fn pool(
        &self,
        graph: &mut Graph,
        x: &Value,
        batch: &EncoderBatch,
        mean: bool,
    ) -> Result<Value> {
        match (&batch.segments, mean) {
            (_, false) => graph.apply(&self.pools[0], &[x]),
            (None, true) => graph.apply(&self.pools[1], &[x]),
            (Some(segments), true) => graph.apply(&self.pools[2], &[x, segments]),
        }
    }

    /// The logits of the head.
    ///
    /// # Errors
    /// As [`Encoder::hidden`], or if the model has no head.
    pub fn logits(&self, graph: &mut Graph, batch: &EncoderBatch) -> Result<Value> {
        let (head, x) = self.head(graph, batch)?;
        head.output.logits(graph, &x)
    }

    /// The sum of the losses `[1]` and their count `[1]`; targets are `[B, T]`, or `[B]` for the
    /// class of a sequence, and −100 is ignored.
    ///
    /// # Errors
    /// As [`Encoder::logits`], or if a target is not a class.
    pub fn loss(
        &self,
        graph: &mut Graph,
        batch: &EncoderBatch,
        targets: &Value,
    ) -> Result<[Value; 2]> {
        let (head, x) = self.head(graph, batch)?;
        head.output.loss(graph, &x, targets)
    }

    /// The logits `[B, labels]` of a head over sequences, from their vectors `[B, features]` as
    /// [`Encoder::pooled`] gives them.
    ///
    /// # Errors
    /// If shapes do not match, or the model has no head.
    pub fn logits_of(&self, graph: &mut Graph, pooled: Value) -> Result<Value> {
        let head = self.own_head()?;
        let x = self.before_output(graph, head, pooled)?;
        head.output.logits(graph, &x)
    }

    /// The vectors `[B, features]` that a head over sequences reads.
    ///
    /// # Errors
    /// As [`Encoder::hidden`], or if the model has no head.
    pub fn pooled(&self, graph: &mut Graph, batch: &EncoderBatch) -> Result<Value> {
        let mean = self.own_head()?.pooled.unwrap_or_default();
        self.embed(graph, batch, mean)
    }

    fn own_head(&self) -> Result<&Head> {
        self.head.as_ref().ok_or_else(|| {
            Error::shape(
                "encoder",
                "this model has no logits, only vectors: see `architectures` in its config.json",
            )
        })
    }

    /// The head, and the input of its output layer.
    fn head(&self, graph: &mut Graph, batch: &EncoderBatch) -> Result<(&Head, Value)> {
        let head = self.own_head()?;
        let mut x = self.hidden(graph, batch)?;
        if let Some(mean) = head.pooled {
            x = self.pool(graph, &x, batch, mean)?;
        }
        Ok((head, self.before_output(graph, head, x)?))
    }

    fn before_output(&self, graph: &mut Graph, head: &Head, mut x: Value) -> Result<Value> {
        if let Some(dense) = &head.dense {
            x = dense.forward(graph, x)?;
        }
        if let Some(norm) = &head.norm {
            x = norm.forward(graph, x)?;
        }
        match &self.dropout[1] {
            Some(dropout) => dropout.forward(graph, x),
            None => Ok(x),
        }
    }
}

/// The layers after the encoder.
fn head(
    b: &mut Builder,
    config: &EncoderConfig,
    options: &LanguageOptions,
    words: ParamId,
) -> Option<Head> {
    let (init, features) = (Init::Normal { std: config.initializer_range }, config.hidden_size);
    let names = config.head_names()?;
    let masked = config.head == EncoderHead::MaskedLm;
    let outputs = if masked { config.vocab_size } else { config.labels };
    let sequence = config.head == EncoderHead::Sequence;
    // The mean of tokens has no place for a layer that was trained on the first one.
    let dense = names.dense.filter(|_| names.reads_mean || !(sequence && config.mean_pooled));
    let dense = dense.map(|(name, activation)| {
        let (f, bias) = (activation.unwrap_or(config.head_activation), config.head_bias);
        let layer = b.scope(name, |b| Feedforward::with_init(b, features, features, f, bias, init));
        if options.bf16() { layer.in_bf16(DType::F32) } else { layer }
    });
    let norm = names.norm.map(|name| {
        let (eps, bias) = (config.norm_eps, config.norm_bias);
        b.scope(name, |b| LayerNorm::with_bias(b, features, eps, bias))
    });
    let tied = config.head == EncoderHead::MaskedLm && config.tied;
    let weight = if tied {
        words
    } else {
        b.param(names.weight, [outputs, features], ParamKind::Weight, init)
    };
    let biased = config.head != EncoderHead::MaskedLm || config.masked_bias;
    let bias = biased.then(|| b.param(names.bias, [outputs], ParamKind::Bias, Init::Zeros));
    // Encoders use the plain loss.
    let options = LanguageOptions { z_loss: 0.0, label_smoothing: 0.0, ..*options };
    let pooled = sequence.then_some(config.mean_pooled);
    Some(Head {
        pooled,
        dense,
        norm,
        output: Output::new(crate::layers::Table::new(weight), bias, None, &options),
    })
}
