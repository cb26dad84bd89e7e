//! The specification of an encoder with a decoder, read from Hugging Face's `config.json`.

use crate::Init;
use crate::layers::AttentionConfig;
use crate::transformer::fields::{self, Fields, Result};
use crate::transformer::{
    BlockConfig, BlockDropout, BlockNames, FeedforwardConfig, LanguageOptions, NormConfig,
    NormPlace, TransformerNorm,
};
use ff_graph::ParamId;
use ff_ops::{Activation, DistanceBuckets};
use serde_json::{Map, Value as Json};
use std::fmt;

/// A family of encoders with decoders: the meaning of its `config.json` and the tensors of its
/// files.
///
/// ```
/// use ff_nn::models::EncoderDecoderFamily;
/// let names: Vec<&str> = EncoderDecoderFamily::all().iter().map(|family| family.name).collect();
/// assert_eq!(names, ["marian", "t5", "mt5"]);
/// ```
pub struct EncoderDecoderFamily {
    /// Its `model_type` in a `config.json`.
    pub name: &'static str,
    /// The beams that it writes with unless its folder says otherwise.
    pub beams: usize,
    /// Whether padding is never written, and a text that must end is ended by its end token.
    pub is_closed: bool,
    /// Whether its config has one share of dropout for all places.
    pub(super) has_one_dropout: bool,
    pub(super) names: Names,
    pub(super) read: fn(&Fields<'_>, &mut EncoderDecoderConfig),
}

/// The tensors of a family's files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// Everything but the output layer.
    pub(super) body: &'static str,
    /// The layers of the encoder and of the decoder, before their numbers.
    pub(super) layers: [&'static str; 2],
    pub(super) blocks: [BlockNames; 2],
    /// The first layer of a feedforward block without a gate.
    pub(super) ungated: &'static str,
    /// The last norms of both, if there are any.
    pub(super) final_norms: Option<[&'static str; 2]>,
    /// The scores by distance, in the first layer of either.
    pub(super) distances: &'static str,
    /// The ends of the names of tensors that carry no parameter.
    pub(super) ignored: &'static [&'static str],
}

impl fmt::Debug for EncoderDecoderFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncoderDecoderFamily({})", self.name)
    }
}

impl PartialEq for EncoderDecoderFamily {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl EncoderDecoderFamily {
    /// Whether a tensor of a file carries no parameter of its own.
    pub fn is_ignored(&self, name: &str) -> bool {
        name == OUTPUT || self.names.ignored.iter().any(|end| name.ends_with(end))
    }
}

/// The output layer, where it has a matrix of its own.
pub(super) const OUTPUT: &str = "lm_head.weight";

/// The layers of an encoder or a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StackConfig {
    /// Their number.
    pub layers: usize,
    /// The heads of attention.
    pub heads: usize,
    /// The features of a head.
    pub head_dim: usize,
    /// The hidden width of the feedforward blocks.
    pub hidden: usize,
}

/// The shares of values that training drops, scaling up the others.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EncoderDecoderDropout {
    /// Of embeddings with their positions, of each residual branch, and of what the last norms of
    /// encoder and decoder give, where there are any.
    pub hidden: f64,
    /// Of the weights of attention.
    pub attention: f64,
    /// Of what the activation of the feedforward blocks gives.
    pub activation: f64,
}

/// The specification of an encoder with a decoder, read from a `config.json`.
///
/// ```
/// let json = r#"{"model_type": "marian", "vocab_size": 30, "d_model": 8,
///     "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
///     "decoder_attention_heads": 4, "encoder_ffn_dim": 16, "decoder_ffn_dim": 12,
///     "max_position_embeddings": 20, "pad_token_id": 29, "decoder_start_token_id": 29,
///     "eos_token_id": 0}"#;
/// let config = ff_nn::models::EncoderDecoderConfig::parse(json)?;
/// assert_eq!((config.start_token, config.end_token, config.decoder.heads), (29, 0, 4));
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct EncoderDecoderConfig {
    /// The family, `model_type` in the config.
    pub family: &'static EncoderDecoderFamily,
    /// The vocabulary size of source and target together.
    pub vocab_size: usize,
    /// The width of a token's vector.
    pub features: usize,
    /// The layers of the encoder.
    pub encoder: StackConfig,
    /// The layers of the decoder.
    pub decoder: StackConfig,
    /// The number of positions, which are sinusoidal; without it there are none, and any number of
    /// tokens can be read.
    pub max_positions: Option<usize>,
    /// The buckets of distances with learned scores, and the distance from which on all share one.
    pub distances: Option<[usize; 2]>,
    /// The factor of attention's scores; `None` for 1/√head_dim.
    pub score_scale: Option<f64>,
    /// The activation of the feedforward blocks.
    pub activation: Activation,
    /// Whether the feedforward blocks have a gate.
    pub gated: bool,
    /// Whether linear layers have biases.
    pub biases: bool,
    /// The kind of the norms.
    pub norm: TransformerNorm,
    /// The place of the norms.
    pub norm_place: NormPlace,
    /// The ε of the norms.
    pub norm_eps: f64,
    /// Whether embeddings are multiplied by √features.
    pub scaled: bool,
    /// Whether the embedding of the padding token is never learned.
    pub padding_is_fixed: bool,
    /// Whether the output layer is the table of embeddings.
    pub tied: bool,
    /// Whether the input of the output layer is divided by √features.
    pub scaled_output: bool,
    /// Whether there is a bias of the logits, which is not trained.
    pub output_bias: bool,
    /// The padding token.
    pub pad_token: u32,
    /// The token that every target starts with.
    pub start_token: u32,
    /// The end token of texts.
    pub end_token: u32,
    /// What was dropped when the model was made.
    pub dropout: EncoderDecoderDropout,
    /// The standard deviation of new weights.
    pub initializer_range: f64,
    pub(super) json: Map<String, Json>,
}

impl EncoderDecoderConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If the text is not JSON, the family is not supported, or a field is missing, out of range or
    /// contradicts another one.
    pub fn parse(text: &str) -> Result<Self> {
        Self::try_from(fields::object(text)?)
    }

    /// The same with an output layer of its own, whatever the config says.
    #[must_use]
    pub fn with_output(mut self, own: bool) -> Self {
        self.tied = !own;
        self
    }

    /// The shares that training drops, with others in place of the config's: those of hidden
    /// values, of attention and of activations. Where a family has one share for all, the first is
    /// that of all that are not given.
    pub fn dropout_with(&self, shares: [Option<f64>; 3]) -> EncoderDecoderDropout {
        let [hidden, attention, activation] = shares;
        let all = hidden.filter(|_| self.family.has_one_dropout);
        EncoderDecoderDropout {
            hidden: hidden.unwrap_or(self.dropout.hidden),
            attention: attention.or(all).unwrap_or(self.dropout.attention),
            activation: activation.or(all).unwrap_or(self.dropout.activation),
        }
    }

    /// The text of a `config.json`, with every field that was read.
    pub fn to_json(&self) -> String {
        fields::to_text(&self.json)
    }

    /// The names of the embeddings and of the output layer in files.
    pub fn tied_tensors(&self) -> [String; 2] {
        let body = self.family.names.body;
        let dot = if body.is_empty() { "" } else { "." };
        [format!("{body}{dot}shared.weight"), OUTPUT.into()]
    }

    /// Whether a parameter is no factor of a product: its values are read one by one.
    pub fn is_read_by_value(&self, parameter: &str) -> bool {
        let distances = self.family.names.distances;
        self.distances.is_some()
            && parameter.strip_suffix(".weight").is_some_and(|name| name.ends_with(distances))
    }

    pub(super) fn of(family: &'static EncoderDecoderFamily) -> Self {
        Self {
            family,
            vocab_size: 1,
            features: 1,
            encoder: StackConfig::default(),
            decoder: StackConfig::default(),
            max_positions: None,
            distances: None,
            score_scale: None,
            activation: Activation::Relu,
            gated: false,
            biases: false,
            norm: TransformerNorm::Layer,
            norm_place: NormPlace::Before,
            norm_eps: 1e-5,
            scaled: false,
            padding_is_fixed: false,
            tied: true,
            scaled_output: false,
            output_bias: false,
            pad_token: 0,
            start_token: 0,
            end_token: 0,
            dropout: EncoderDecoderDropout::default(),
            initializer_range: 0.02,
            json: Map::new(),
        }
    }

    /// The norm of the blocks and the last one.
    pub(super) fn norms(&self) -> NormConfig {
        NormConfig {
            kind: self.norm,
            place: self.norm_place,
            features: self.features,
            eps: self.norm_eps,
            offset: 0.0,
            bias: true,
        }
    }

    /// The layers of the encoder, or of the decoder.
    pub(super) fn stack(&self, decoder: bool) -> StackConfig {
        if decoder { self.decoder } else { self.encoder }
    }

    /// The specification of a layer of the encoder or the decoder, with their scores by distance.
    pub(super) fn block(
        &self,
        decoder: bool,
        distances: Option<ParamId>,
        options: &LanguageOptions,
        dropout: EncoderDecoderDropout,
    ) -> BlockConfig {
        let (bf16, init) = (options.bf16(), Init::Normal { std: self.initializer_range });
        let StackConfig { heads, head_dim, hidden, .. } = self.stack(decoder);
        let mut names = self.family.names.blocks[usize::from(decoder)];
        if !self.gated {
            names.layers[1] = self.family.names.ungated;
        }
        let buckets = |[count, far]: [usize; 2]| DistanceBuckets { count, far, both: !decoder };
        let heads = ff_ops::Attention {
            causal: decoder,
            scale: self.score_scale,
            distances: self.distances.map(buckets),
            ..ff_ops::Attention::new(heads, heads, head_dim)
        };
        let attention = AttentionConfig {
            qkv_bias: self.biases,
            out_bias: self.biases,
            distances,
            names: names.projections,
            init,
            out_init: init,
            dropout: dropout.attention,
            bf16,
            ..AttentionConfig::new(heads, self.features)
        };
        let op = ff_ops::FeedforwardBlock {
            activation: self.activation,
            gated: self.gated,
            bias: self.biases,
            recompute: false,
            bf16,
        };
        BlockConfig {
            norm: self.norms(),
            attention,
            feedforward: FeedforwardConfig::Dense { op, hidden },
            init: [init; 2],
            names,
            dropout: BlockDropout { branch: dropout.hidden, activation: dropout.activation },
        }
    }
}
