//! T5 (Raffel et al., 2020); T5 1.1, Flan-T5 and UL2 have the same keys, and mT5 other defaults.

use super::{
    EncoderDecoderConfig, EncoderDecoderDropout, EncoderDecoderFamily, Fields, Names, StackConfig,
    token,
};
use crate::transformer::fields::{
    MOST_FEATURES, MOST_HEADS, MOST_HIDDEN, MOST_LAYERS, MOST_POSITIONS,
};
use crate::transformer::{BlockNames, NormPlace, TransformerNorm};
use ff_ops::Activation;

pub(super) static FAMILY: EncoderDecoderFamily = T5;

const T5: EncoderDecoderFamily = EncoderDecoderFamily {
    name: "t5",
    beams: 1,
    is_closed: false,
    has_one_dropout: true,
    names: Names {
        body: "",
        layers: ["encoder.block", "decoder.block"],
        blocks: [block(false), block(true)],
        ungated: "wi",
        final_norms: Some(["encoder.final_layer_norm", "decoder.final_layer_norm"]),
        distances: "layer.0.SelfAttention.relative_attention_bias",
        ignored: &[
            "embed_tokens.weight",
            // Early files have it; attention over the encoder's output does without.
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
        ],
    },
    read: |fields, config| {
        // A model whose output layer is not its table of embeddings, as that of T5 1.1, does not
        // divide; newer files say so apart from it.
        let tied = fields.flag("tie_word_embeddings", true);
        config.scaled_output = fields.flag("scale_decoder_outputs", tied);
        read(fields, config, "relu");
    },
};

pub(super) static MULTILINGUAL: EncoderDecoderFamily = EncoderDecoderFamily {
    name: "mt5",
    read: |fields, config| {
        config.scaled_output = false;
        read(fields, config, "gated-gelu");
    },
    ..T5
};

const fn block(decoder: bool) -> BlockNames {
    let cross =
        if decoder { Some(["layer.1.EncDecAttention", "layer.1.layer_norm"]) } else { None };
    let [feedforward, feedforward_norm] = if decoder {
        ["layer.2.DenseReluDense", "layer.2.layer_norm"]
    } else {
        ["layer.1.DenseReluDense", "layer.1.layer_norm"]
    };
    BlockNames {
        attention: "layer.0.SelfAttention",
        attention_norm: "layer.0.layer_norm",
        projections: ["q", "k", "v", "o"],
        cross,
        feedforward,
        feedforward_norm,
        second_norms: ["", ""],
        layers: ["wi_0", "wi_1", "wo"],
    }
}

fn read(fields: &Fields<'_>, config: &mut EncoderDecoderConfig, usual: &str) {
    let alone = !fields.flag("is_encoder_decoder", true) || fields.flag("is_decoder", false);
    if alone {
        fields.fail("is_encoder_decoder", "an encoder or a decoder alone is not supported");
    }
    let layers = fields.required(&["num_layers"], MOST_LAYERS);
    config.encoder = StackConfig {
        layers,
        heads: fields.required(&["num_heads"], MOST_HEADS),
        head_dim: fields.required(&["d_kv"], MOST_HEADS),
        hidden: fields.required(&["d_ff"], MOST_HIDDEN),
    };
    let layers = fields.size(&["num_decoder_layers"], MOST_LAYERS).unwrap_or(layers);
    config.decoder = StackConfig { layers, ..config.encoder };
    config.features = fields.required(&["d_model"], MOST_FEATURES);
    config.distances = Some(distances(fields));
    config.score_scale = Some(1.0);
    let kind = fields.text(&["feed_forward_proj"]).unwrap_or(usual);
    (config.gated, config.activation) = feedforward(fields, kind);
    config.norm = TransformerNorm::Rms;
    config.norm_place = NormPlace::Before;
    config.norm_eps = fields.positive(&["layer_norm_epsilon"]).unwrap_or(1e-6);
    config.tied = fields.flag("tie_word_embeddings", true);
    config.vocab_size = super::vocabulary(fields);
    let token = |key, usual| token(fields, key, config.vocab_size, Some(usual));
    config.pad_token = token("pad_token_id", 0);
    config.start_token = token("decoder_start_token_id", config.pad_token);
    config.end_token = token("eos_token_id", 1);
    let share = fields.share("dropout_rate", 0.1);
    config.dropout = EncoderDecoderDropout { hidden: share, attention: share, activation: share };
    let factor = fields.positive(&["initializer_factor"]).unwrap_or(1.0);
    config.initializer_range = factor / (config.features as f64).sqrt();
}

/// The buckets of distances, and the distance from which on all share one.
fn distances(fields: &Fields<'_>) -> [usize; 2] {
    let count = fields.size(&["relative_attention_num_buckets"], 1 << 16).unwrap_or(32);
    let far = fields.size(&["relative_attention_max_distance"], MOST_POSITIONS).unwrap_or(128);
    if count < 4 {
        let message = format!("{count} are too few for distances in both directions; at least 4");
        fields.fail("relative_attention_num_buckets", message);
    }
    if far <= count / 2 {
        let message = format!(
            "{far} is no more than the {} distances that have a bucket each in the decoder",
            count / 2
        );
        fields.fail("relative_attention_max_distance", message);
    }
    [count, far]
}

/// Whether there is a gate, and the activation.
fn feedforward(fields: &Fields<'_>, kind: &str) -> (bool, Activation) {
    const KEY: &str = "feed_forward_proj";
    let gated = kind.strip_prefix("gated-");
    // The gated one is an approximation, for what was trained with it.
    let name = if kind == "gated-gelu" { "gelu_new" } else { gated.unwrap_or(kind) };
    (gated.is_some(), fields.activation_named(KEY, name, Activation::Relu))
}
