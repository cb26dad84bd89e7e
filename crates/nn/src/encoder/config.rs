//! The specification of an encoder, read from Hugging Face's `config.json`.

use crate::ConfigError;
use crate::transformer::fields::{self, Fields};
use crate::transformer::{BlockNames, NormPlace, Rope};
use ff_ops::Activation;
use serde_json::{Map, Value};
use std::fmt;

/// A family of encoders: the reading of its `config.json`, and the names in its files.
///
/// ```
/// use ff_nn::models::EncoderFamily;
/// let names: Vec<&str> = EncoderFamily::all().iter().map(|family| family.name).collect();
/// assert_eq!(names, ["bert", "roberta", "distilbert", "modernbert"]);
/// ```
pub struct EncoderFamily {
    /// The `model_type` in a `config.json`.
    pub name: &'static str,
    /// What the names of `transformers`' classes begin with.
    pub(super) class: &'static str,
    pub(super) names: Names,
    /// Reads the specification of a model over the defaults of [`common`].
    pub(super) read: fn(&Fields<'_>) -> EncoderConfig,
}

/// The tensors of a family's files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// The encoder within a larger model.
    pub(super) body: &'static str,
    /// The table of tokens and the norm of embeddings.
    pub(super) embeddings: [&'static str; 2],
    /// The norm behind the last layer, if there is one.
    pub(super) final_norm: Option<&'static str>,
    pub(super) layers: &'static str,
    pub(super) block: BlockNames,
    pub(super) masked: HeadNames,
    pub(super) sequence: HeadNames,
    pub(super) tokens: HeadNames,
}

/// The layers after the encoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadNames {
    /// A hidden layer with its activation, by default that of the feedforward blocks.
    pub(super) dense: Option<(&'static str, Option<Activation>)>,
    pub(super) norm: Option<&'static str>,
    /// Whether the hidden layer also reads the mean of a sequence's tokens.
    pub(super) reads_mean: bool,
    pub(super) weight: &'static str,
    pub(super) bias: &'static str,
}

impl fmt::Debug for EncoderFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for EncoderFamily {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// The purpose of an encoder's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncoderHead {
    /// Vectors alone: embeddings.
    None,
    /// The masked tokens.
    MaskedLm,
    /// A class per sequence.
    Sequence,
    /// A class per token.
    Tokens,
}

/// What the outputs of a head over sequences are: `problem_type` in a `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncoderProblem {
    /// One class of several (`single_label_classification`).
    Class,
    /// Any number of labels, each true or false (`multi_label_classification`).
    Labels,
    /// Numbers (`regression`).
    Numbers,
}

/// What a new head over an encoder predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncoderOutputs<'a> {
    /// Nothing: vectors.
    Vectors,
    /// The masked tokens.
    MaskedTokens,
    /// One class of a sequence.
    Class(&'a [String]),
    /// Any number of labels of a sequence.
    Labels(&'a [String]),
    /// Numbers of a sequence, by name.
    Numbers(&'a [String]),
    /// A tag of each token.
    Tags(&'a [String]),
}

/// The specification of an encoder, read from a `config.json`.
///
/// ```
/// let json = r#"{"model_type": "bert", "vocab_size": 30, "hidden_size": 8,
/// "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
/// "max_position_embeddings": 20, "architectures": ["BertForTokenClassification"],
/// "id2label": {"0": "O", "1": "PER", "2": "LOC"}}"#;
/// let config = ff_nn::models::EncoderConfig::parse(json)?;
/// assert_eq!((config.head, config.labels), (ff_nn::models::EncoderHead::Tokens, 3));
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    /// The family.
    pub family: &'static EncoderFamily,
    /// The purpose of its outputs.
    pub head: EncoderHead,
    /// The number of tokens.
    pub vocab_size: usize,
    /// The width of a token's vector.
    pub hidden_size: usize,
    /// The hidden width of the feedforward blocks.
    pub intermediate_size: usize,
    /// The number of layers.
    pub layers: usize,
    /// The number of heads.
    pub heads: usize,
    /// The number of positions.
    pub max_positions: usize,
    /// The number of sequence types; 0 if the family has none.
    pub token_types: usize,
    /// The activation of the feedforward blocks.
    pub activation: Activation,
    /// Whether the feedforward blocks are gated.
    pub gated: bool,
    /// Whether queries, keys and values come from one product.
    pub fused_qkv: bool,
    /// Whether attention's layers have biases.
    pub attention_bias: bool,
    /// Whether the feedforward blocks have biases.
    pub mlp_bias: bool,
    /// The place of a block's norms; before its parts, the first layer's attention has none.
    pub norm_place: NormPlace,
    /// Whether norms have biases.
    pub norm_bias: bool,
    /// Rotary positions of layers that see all tokens; learned ones if there are none.
    pub rope: Option<Rope>,
    /// Rotary positions of the other layers.
    pub local_rope: Option<Rope>,
    /// For each layer, the number of tokens that attention sees on each side; all if there is none.
    pub windows: Vec<Option<usize>>,
    /// The activation of a head's hidden layer, where the family has none of its own.
    pub head_activation: Activation,
    /// Whether a head's hidden layer has a bias.
    pub head_bias: bool,
    /// Whether the output layer of masked tokens has a bias.
    pub masked_bias: bool,
    /// The ε under the square roots of norms.
    pub norm_eps: f64,
    /// The padding token.
    pub pad_token: i32,
    /// Whether positions start after the id of the padding token.
    pub positions_behind_padding: bool,
    /// The number of classes, labels or numbers.
    pub labels: usize,
    /// What the outputs of a head over sequences are.
    pub problem: EncoderProblem,
    /// Whether a sequence's class is predicted from the mean of its tokens' vectors, without the
    /// family's hidden layer; otherwise from the first token.
    pub mean_pooled: bool,
    /// Whether the output layer of masked tokens is the table of embeddings.
    pub tied: bool,
    /// The standard deviation of new weights.
    pub initializer_range: f64,
    pub(super) json: Map<String, Value>,
}

impl EncoderConfig {
    /// The text of a `config.json`, with every field that was read.
    pub fn to_json(&self) -> String {
        fields::to_text(&self.json)
    }

    /// The names of the classes, from `id2label`.
    pub fn label_names(&self) -> Vec<String> {
        let named = self.json.get("id2label").and_then(Value::as_object);
        let name = |i: usize| named?.get(&i.to_string())?.as_str().map(str::to_owned);
        (0..self.labels).map(|i| name(i).unwrap_or_else(|| format!("LABEL_{i}"))).collect()
    }

    /// Whether the outputs of a sequence are numbers and not classes or labels.
    pub fn is_regression(&self) -> bool {
        self.head == EncoderHead::Sequence && self.problem == EncoderProblem::Numbers
    }

    /// The same encoder under a new head that predicts a class of each sequence, or a number if
    /// there are none.
    ///
    /// # Errors
    /// As [`EncoderConfig::with_outputs`].
    pub fn for_sequences(&self, classes: &[String], mean_pooled: bool) -> fields::Result<Self> {
        let number = ["LABEL_0".to_owned()];
        let outputs = if classes.is_empty() {
            EncoderOutputs::Numbers(&number)
        } else {
            EncoderOutputs::Class(classes)
        };
        self.with_outputs(outputs, mean_pooled)
    }

    /// The same encoder under a new head, or none: as `transformers` describes
    /// `…ForSequenceClassification`, `…ForTokenClassification`, `…ForMaskedLM` and `…Model`, but
    /// for `mean_pooled` of sequences, which it does not know and which becomes
    /// `classifier_pooling`.
    ///
    /// ```
    /// use ff_nn::models::{EncoderConfig, EncoderHead, EncoderOutputs, EncoderProblem};
    /// let json = r#"{"model_type": "bert", "vocab_size": 30, "hidden_size": 8,
    /// "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    /// "max_position_embeddings": 20, "architectures": ["BertModel"]}"#;
    /// let names = ["late".to_owned(), "broken".to_owned()];
    /// let outputs = EncoderOutputs::Labels(&names);
    /// let config = EncoderConfig::parse(json)?.with_outputs(outputs, false)?;
    /// assert_eq!((config.head, config.problem), (EncoderHead::Sequence, EncoderProblem::Labels));
    /// assert!(config.to_json().contains("BertForSequenceClassification"));
    /// # Ok::<(), ff_nn::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If there is one class only, or no label, number or tag.
    pub fn with_outputs(
        &self,
        outputs: EncoderOutputs<'_>,
        mean_pooled: bool,
    ) -> fields::Result<Self> {
        let (end, problem, names) = match outputs {
            EncoderOutputs::Vectors => ("Model", None, None),
            EncoderOutputs::MaskedTokens => ("ForMaskedLM", None, None),
            EncoderOutputs::Class(names) => {
                ("ForSequenceClassification", Some("single_label_classification"), Some(names))
            }
            EncoderOutputs::Labels(names) => {
                ("ForSequenceClassification", Some("multi_label_classification"), Some(names))
            }
            EncoderOutputs::Numbers(names) => {
                ("ForSequenceClassification", Some("regression"), Some(names))
            }
            EncoderOutputs::Tags(names) => ("ForTokenClassification", None, Some(names)),
        };
        let least = if matches!(outputs, EncoderOutputs::Class(_)) { 2 } else { 1 };
        if names.is_some_and(|names| names.len() < least) {
            let message = if least == 2 { "two or more classes are needed" } else { "no output" };
            return Err(ConfigError::new("id2label", message));
        }
        let mut json = self.json.clone();
        let of_heads = ["num_labels", "classifier_pooling", "id2label", "label2id", "problem_type"];
        for key in of_heads {
            json.remove(key);
        }
        json.insert("architectures".into(), vec![format!("{}{end}", self.family.class)].into());
        json.insert("model_type".into(), self.family.name.into());
        if let Some(names) = names {
            let ids = names.iter().enumerate();
            let id2label: Map<String, Value> =
                ids.clone().map(|(i, name)| (i.to_string(), name.clone().into())).collect();
            let label2id: Map<String, Value> =
                ids.map(|(i, name)| (name.clone(), i.into())).collect();
            json.insert("id2label".into(), id2label.into());
            json.insert("label2id".into(), label2id.into());
        }
        if let Some(problem) = problem {
            json.insert("problem_type".into(), problem.into());
            if mean_pooled {
                json.insert("classifier_pooling".into(), "mean".into());
            }
        }
        Self::parse(&fields::to_text(&json))
    }

    /// The depth of a parameter: 0 for the embeddings, 1 for the first layer, one past the last
    /// layer for the head.
    pub fn depth_of(&self, parameter: &str) -> usize {
        let names = &self.family.names;
        let inside = parameter.strip_prefix(names.body).and_then(|s| s.strip_prefix('.'));
        let inside = inside.unwrap_or(parameter);
        if inside.starts_with("embeddings.") {
            return 0;
        }
        if names.final_norm.is_some_and(|norm| inside.starts_with(norm)) {
            return self.layers;
        }
        let layer = inside.strip_prefix(names.layers);
        let number = layer.and_then(|s| s.strip_prefix('.')?.split('.').next()?.parse().ok());
        number.map_or(self.layers + 1, |i: usize| i + 1)
    }

    /// The pattern of the names of parameters at a depth, 0 for the embeddings.
    pub fn scope_of(&self, depth: usize) -> String {
        let alone = self.head == EncoderHead::None;
        let prefix = if alone { String::new() } else { format!("{}.", self.family.names.body) };
        match depth {
            0 => format!("{prefix}embeddings.*"),
            depth => format!("{prefix}{}.{}.*", self.family.names.layers, depth - 1),
        }
    }

    /// The names of the head's tensors, if there is one.
    pub(super) fn head_names(&self) -> Option<&HeadNames> {
        let names = &self.family.names;
        match self.head {
            EncoderHead::None => None,
            EncoderHead::MaskedLm => Some(&names.masked),
            EncoderHead::Sequence => Some(&names.sequence),
            EncoderHead::Tokens => Some(&names.tokens),
        }
    }

    /// Patterns of the names of the head's parameters.
    pub fn head_scopes(&self) -> Vec<String> {
        let Some(names) = self.head_names() else { return Vec::new() };
        let parts = names.dense.map(|(name, _)| name).into_iter().chain(names.norm);
        let parts = parts.map(|name| format!("{name}.*"));
        parts.into_iter().chain([names.weight.to_owned(), names.bias.to_owned()]).collect()
    }

    /// Whether a parameter is of the head's last layer.
    pub fn is_output(&self, parameter: &str) -> bool {
        self.head_names().is_some_and(|names| [names.weight, names.bias].contains(&parameter))
    }

    /// The most tokens of a sequence.
    pub fn longest(&self) -> usize {
        let behind = if self.positions_behind_padding { self.pad_token as usize + 1 } else { 0 };
        self.max_positions.saturating_sub(behind)
    }

    /// The position of each token of a sequence: 0, 1, …, or counted from one past the id of the
    /// padding token, where padding itself has that id.
    pub fn positions(&self, ids: &[i32]) -> Vec<i32> {
        if !self.positions_behind_padding {
            return (0..ids.len() as i32).collect();
        }
        let pad = self.pad_token;
        let mut at = pad;
        let mut next = |&id: &i32| {
            if id == pad {
                return pad;
            }
            at += 1;
            at
        };
        ids.iter().map(&mut next).collect()
    }
}
