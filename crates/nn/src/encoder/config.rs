//! What an encoder is made from: Hugging Face's `config.json`.

use crate::ConfigError;
use crate::decoder::families::{
    MOST_FEATURES, MOST_HEADS, MOST_HIDDEN, MOST_LAYERS, MOST_TOKENS, activation, shared_width,
};
use crate::transformer::fields::{Fields, Result, nearest};
use ff_ops::Activation;
use serde_json::{Map, Value};

/// A family of encoders.
///
/// ```
/// assert_eq!(ff_nn::models::EncoderFamily::Roberta.name(), "roberta");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncoderFamily {
    /// Devlin et al., 2019.
    Bert,
    /// Liu et al., 2019.
    Roberta,
    /// Sanh et al., 2019.
    DistilBert,
}

impl EncoderFamily {
    /// Every family.
    pub const ALL: [Self; 3] = [Self::Bert, Self::Roberta, Self::DistilBert];

    /// Its `model_type` in a `config.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Roberta => "roberta",
            Self::DistilBert => "distilbert",
        }
    }
}

/// What an encoder's outputs are for.
///
/// ```
/// use ff_nn::models::EncoderHead;
/// assert_ne!(EncoderHead::MaskedLm, EncoderHead::Tokens);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncoderHead {
    /// Nothing but vectors: embeddings.
    None,
    /// The tokens that were masked.
    MaskedLm,
    /// A class for a sequence.
    Sequence,
    /// A class for each token.
    Tokens,
}

/// What an encoder is made from, read from a `config.json`: `bert`, `roberta` or `distilbert`.
///
/// ```
/// let json = r#"{"model_type": "bert", "vocab_size": 30, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
///     "num_attention_heads": 2, "max_position_embeddings": 20, "architectures": ["BertForTokenClassification"],
///     "id2label": {"0": "O", "1": "PER", "2": "LOC"}}"#;
/// let config = ff_nn::models::EncoderConfig::parse(json)?;
/// assert_eq!((config.head, config.labels), (ff_nn::models::EncoderHead::Tokens, 3));
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    /// The family.
    pub family: EncoderFamily,
    /// What its outputs are for.
    pub head: EncoderHead,
    /// How many tokens there are.
    pub vocab_size: usize,
    /// The width of a token's vector.
    pub hidden_size: usize,
    /// The hidden width of the feedforward blocks.
    pub intermediate_size: usize,
    /// How many layers there are.
    pub layers: usize,
    /// How many heads.
    pub heads: usize,
    /// How many rows the table of positions has.
    pub max_positions: usize,
    /// How many kinds of sequences; 0 where the family has none.
    pub token_types: usize,
    /// The feedforward blocks' activation.
    pub activation: Activation,
    /// What is added under the norms' square root.
    pub norm_eps: f64,
    /// The token that fills up a batch.
    pub pad_token: i32,
    /// How many classes there are.
    pub labels: usize,
    /// Whether the output layer of masked tokens is the table of embeddings.
    pub tied: bool,
    /// The standard deviation of new weights.
    pub initializer_range: f64,
    json: Map<String, Value>,
}

impl EncoderConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// It is not JSON; the family is not supported; a field is missing, not in its domain or contradicts another one.
    pub fn parse(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text)
            .map_err(|e| ConfigError::new("config.json", format!("is not valid JSON: {e}")))?;
        let Value::Object(json) = json else {
            return Err(ConfigError::new("config.json", "expected an object"));
        };
        let mut config = read(&Fields::new(&json, ""))?;
        config.json = json;
        Ok(config)
    }

    /// What was read, as the text of a `config.json`.
    pub fn to_json(&self) -> String {
        // A map of JSON values always has a text.
        serde_json::to_string_pretty(&self.json).unwrap_or_default()
    }

    /// The position of each token of a sequence: those of RoBERTa count from behind the padding token's id, and all of its
    /// padding has that one.
    pub fn positions(&self, ids: &[i32]) -> Vec<i32> {
        if self.family != EncoderFamily::Roberta {
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

fn read(fields: &Fields<'_>) -> Result<EncoderConfig> {
    let names: Vec<&str> = EncoderFamily::ALL.iter().map(|family| family.name()).collect();
    let name = fields.text(&["model_type"])?.unwrap_or_default();
    let family = EncoderFamily::ALL.into_iter().find(|family| family.name() == name);
    let Some(family) = family else {
        let near = nearest(name, &names);
        let near = near.map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
        let supported = names.join(", ");
        let message = format!("\"{name}\" is no encoder that is supported: {supported}{near}");
        return Err(fields.error("model_type", message));
    };
    let distil = family == EncoderFamily::DistilBert;
    let hidden = fields.required(&[if distil { "dim" } else { "hidden_size" }], MOST_FEATURES)?;
    let heads_key = if distil { "n_heads" } else { "num_attention_heads" };
    let heads = fields.required(&[heads_key], MOST_HEADS)?;
    shared_width(fields, heads_key, hidden, heads)?;
    if fields.flag("is_decoder", false)? || fields.flag("add_cross_attention", false)? {
        return Err(
            fields.error("is_decoder", "an encoder that is used as a decoder is not supported")
        );
    }
    let kind = fields.text(&["position_embedding_type"])?.unwrap_or("absolute");
    if kind != "absolute" {
        let message = format!("\"{kind}\" is not supported; supported: \"absolute\"");
        return Err(fields.error("position_embedding_type", message));
    }
    let act = if distil { "activation" } else { "hidden_act" };
    let types = fields.size(&["type_vocab_size"], MOST_TOKENS)?.unwrap_or(2);
    let eps = fields.positive(&["layer_norm_eps"])?.unwrap_or(1e-12);
    let pad = fields.count("pad_token_id")?;
    let usual_pad = usize::from(family == EncoderFamily::Roberta);
    let classes = fields.map(&["id2label"])?.map(|(_, map)| map.len()).filter(|&n| n > 0);
    let labels = match classes {
        Some(labels) => labels,
        None => fields.size(&["num_labels"], MOST_TOKENS)?.unwrap_or(2),
    };
    let head = head(fields)?;
    if head == EncoderHead::Sequence {
        let problem = fields.text(&["problem_type"])?.unwrap_or("single_label_classification");
        if problem != "single_label_classification" || labels == 1 {
            let message = "only one class for each sequence is supported: single_label_classification with two labels or more";
            return Err(fields.error("problem_type", message));
        }
    }
    Ok(EncoderConfig {
        family,
        head,
        vocab_size: fields.required(&["vocab_size"], MOST_TOKENS)?,
        hidden_size: hidden,
        intermediate_size: fields
            .required(&[if distil { "hidden_dim" } else { "intermediate_size" }], MOST_HIDDEN)?,
        layers: fields
            .required(&[if distil { "n_layers" } else { "num_hidden_layers" }], MOST_LAYERS)?,
        heads,
        max_positions: fields.required(&["max_position_embeddings"], MOST_TOKENS)?,
        token_types: if distil { 0 } else { types },
        activation: activation(fields, act, Activation::Gelu)?,
        norm_eps: if distil { 1e-12 } else { eps },
        pad_token: pad.unwrap_or(usual_pad) as i32,
        labels,
        tied: fields.flag("tie_word_embeddings", true)?,
        initializer_range: fields.positive(&["initializer_range"])?.unwrap_or(0.02),
        json: Map::new(),
    })
}

/// What the first of `architectures` is for.
fn head(fields: &Fields<'_>) -> Result<EncoderHead> {
    let name = fields.list("architectures")?.and_then(|list| list.first()?.as_str());
    let Some(name) = name else { return Ok(EncoderHead::None) };
    let ends = [
        ("ForMaskedLM", EncoderHead::MaskedLm),
        ("ForPreTraining", EncoderHead::MaskedLm),
        ("ForSequenceClassification", EncoderHead::Sequence),
        ("ForTokenClassification", EncoderHead::Tokens),
        ("Model", EncoderHead::None),
    ];
    let known = ends.into_iter().find(|(end, _)| name.ends_with(end));
    known.map(|(_, head)| head).ok_or_else(|| {
        let message = format!(
            "\"{name}\" is not supported; supported are those for masked language models, the classification of sequences \
             and of tokens, and embeddings (…Model)"
        );
        fields.error("architectures", message)
    })
}
