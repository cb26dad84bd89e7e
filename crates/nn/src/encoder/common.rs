//! Names and fields shared by families of encoders.

use super::config::{EncoderConfig, EncoderFamily, EncoderHead, EncoderProblem, HeadNames};
use crate::transformer::fields::{
    Fields, MOST_FEATURES, MOST_HEADS, MOST_HIDDEN, MOST_LAYERS, MOST_TOKENS,
};
use crate::transformer::{BlockNames, NormPlace};
use ff_ops::Activation;

/// An output layer alone.
pub(super) const CLASSIFIER: HeadNames = HeadNames {
    dense: None,
    norm: None,
    reads_mean: false,
    weight: "classifier.weight",
    bias: "classifier.bias",
};

/// The names of the table of tokens and of its norm.
pub(super) const BERT_EMBEDDINGS: [&str; 2] = ["word_embeddings", "LayerNorm"];

/// The names within the blocks of BERT and RoBERTa.
pub(super) const BERT_BLOCK: BlockNames = BlockNames {
    attention: "attention",
    attention_norm: "attention.output.LayerNorm",
    projections: ["self.query", "self.key", "self.value", "output.dense"],
    cross: None,
    feedforward: "",
    feedforward_norm: "output.LayerNorm",
    second_norms: ["", ""],
    layers: ["", "intermediate.dense", "output.dense"],
};

/// The keys of sizes, with other names in DistilBERT.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    pub(super) hidden: &'static str,
    pub(super) heads: &'static str,
    pub(super) intermediate: &'static str,
    pub(super) layers: &'static str,
    pub(super) activation: &'static str,
}

impl Keys {
    pub(super) const BERT: Self = Self {
        hidden: "hidden_size",
        heads: "num_attention_heads",
        intermediate: "intermediate_size",
        layers: "num_hidden_layers",
        activation: "hidden_act",
    };
}

/// Reads the fields common to all families.
pub(super) fn common(
    fields: &Fields<'_>,
    family: &'static EncoderFamily,
    keys: &Keys,
) -> EncoderConfig {
    let hidden_size = fields.required(&[keys.hidden], MOST_FEATURES);
    let heads = fields.required(&[keys.heads], MOST_HEADS);
    fields.head_width(keys.heads, hidden_size, heads);
    if fields.flag("is_decoder", false) || fields.flag("add_cross_attention", false) {
        fields.fail("is_decoder", "encoders used as decoders are not supported");
    }
    let kind = fields.text(&["position_embedding_type"]).unwrap_or("absolute");
    if kind != "absolute" {
        let message = format!("\"{kind}\" is not supported; supported: \"absolute\"");
        fields.fail("position_embedding_type", message);
    }
    let classes = fields.map(&["id2label"]).map(|(_, map)| map.len()).filter(|&n| n > 0);
    let stated = fields.size(&["num_labels"], MOST_TOKENS);
    let labels = classes.or(stated).unwrap_or(2);
    let head = head(fields);
    let problem =
        if head == EncoderHead::Sequence { problem(fields, labels) } else { EncoderProblem::Class };
    let pooling = fields.text(&["classifier_pooling"]).unwrap_or("cls");
    if !matches!(pooling, "cls" | "mean") {
        let message = format!("\"{pooling}\" is not supported; supported: \"cls\", \"mean\"");
        fields.fail("classifier_pooling", message);
    }
    let layers = fields.required(&[keys.layers], MOST_LAYERS);
    let activation = fields.activation(keys.activation, Activation::Gelu);
    EncoderConfig {
        family,
        head,
        vocab_size: fields.required(&["vocab_size"], MOST_TOKENS),
        hidden_size,
        intermediate_size: fields.required(&[keys.intermediate], MOST_HIDDEN),
        layers,
        heads,
        max_positions: fields.required(&["max_position_embeddings"], MOST_TOKENS),
        token_types: 0,
        activation,
        gated: false,
        fused_qkv: false,
        attention_bias: true,
        mlp_bias: true,
        norm_place: NormPlace::After,
        norm_bias: true,
        rope: None,
        local_rope: None,
        windows: vec![None; layers],
        head_activation: activation,
        head_bias: true,
        masked_bias: true,
        norm_eps: 1e-12,
        pad_token: fields.count("pad_token_id").unwrap_or(0) as i32,
        positions_behind_padding: false,
        labels,
        problem,
        mean_pooled: pooling == "mean",
        tied: fields.flag("tie_word_embeddings", true),
        initializer_range: fields.positive(&["initializer_range"]).unwrap_or(0.02),
        json: serde_json::Map::new(),
    }
}

/// Reads the fields of BERT and RoBERTa.
pub(super) fn bert(fields: &Fields<'_>, family: &'static EncoderFamily) -> EncoderConfig {
    EncoderConfig {
        token_types: fields.size(&["type_vocab_size"], MOST_TOKENS).unwrap_or(2),
        norm_eps: fields.positive(&["layer_norm_eps"]).unwrap_or(1e-12),
        ..common(fields, family, &Keys::BERT)
    }
}

/// What the outputs of a sequence are: a number if there is one output, else one class, where
/// nothing else is said.
fn problem(fields: &Fields<'_>, labels: usize) -> EncoderProblem {
    let usual = if labels == 1 { "regression" } else { "single_label_classification" };
    match fields.text(&["problem_type"]).unwrap_or(usual) {
        "regression" => EncoderProblem::Numbers,
        "multi_label_classification" => EncoderProblem::Labels,
        "single_label_classification" if labels > 1 => EncoderProblem::Class,
        other => {
            let message = format!(
                "\"{other}\" with {labels} labels is not supported; supported are \
                 single_label_classification with two or more, multi_label_classification and \
                 regression"
            );
            fields.fail("problem_type", message);
            EncoderProblem::Class
        }
    }
}

/// The purpose given by the first of `architectures`.
fn head(fields: &Fields<'_>) -> EncoderHead {
    let name = fields.list("architectures").and_then(|list| list.first()?.as_str());
    let Some(name) = name else { return EncoderHead::None };
    let ends = [
        ("ForMaskedLM", EncoderHead::MaskedLm),
        ("ForPreTraining", EncoderHead::MaskedLm),
        ("ForSequenceClassification", EncoderHead::Sequence),
        ("ForTokenClassification", EncoderHead::Tokens),
        ("Model", EncoderHead::None),
    ];
    let known = ends.into_iter().find(|(end, _)| name.ends_with(end));
    known.map_or_else(
        || {
            let message = format!(
                "\"{name}\" is not supported; supported are masked language models, classification \
                 of sequences and of tokens, and embeddings (…Model)"
            );
            fields.fail("architectures", message);
            EncoderHead::None
        },
        |(_, head)| head,
    )
}
