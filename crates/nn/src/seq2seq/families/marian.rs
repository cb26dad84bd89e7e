//! Marian (Junczys-Dowmunt et al., 2018).

use super::{
    EncoderDecoderConfig, EncoderDecoderDropout, EncoderDecoderFamily, Fields, Names, StackConfig,
    token,
};
use crate::transformer::fields::{
    MOST_FEATURES, MOST_HEADS, MOST_HIDDEN, MOST_LAYERS, MOST_TOKENS,
};
use crate::transformer::{BlockNames, NormPlace, TransformerNorm};
use ff_ops::Activation;

pub(super) static FAMILY: EncoderDecoderFamily = EncoderDecoderFamily {
    name: "marian",
    beams: 4,
    is_closed: true,
    has_one_dropout: false,
    names: Names {
        body: "model",
        layers: ["encoder.layers", "decoder.layers"],
        blocks: [
            BLOCK,
            BlockNames { cross: Some(["encoder_attn", "encoder_attn_layer_norm"]), ..BLOCK },
        ],
        ungated: "fc1",
        final_norms: None,
        distances: "",
        // Positions are computed.
        ignored: &["embed_tokens.weight", "embed_positions.weight"],
    },
    read,
};

const BLOCK: BlockNames = BlockNames {
    attention: "self_attn",
    attention_norm: "self_attn_layer_norm",
    projections: ["q_proj", "k_proj", "v_proj", "out_proj"],
    cross: None,
    feedforward: "",
    feedforward_norm: "final_layer_norm",
    second_norms: ["", ""],
    layers: ["", "", "fc2"],
};

fn read(fields: &Fields<'_>, config: &mut EncoderDecoderConfig) {
    if !fields.flag("share_encoder_decoder_embeddings", true) {
        let message = "separate vocabularies per language are not supported";
        fields.fail("share_encoder_decoder_embeddings", message);
    }
    if !fields.flag("tie_word_embeddings", true) {
        let message = "a separate output layer is not supported";
        fields.fail("tie_word_embeddings", message);
    }
    let features = fields.required(&["d_model"], MOST_FEATURES);
    if !features.is_multiple_of(2) {
        fields.fail("d_model", "must be even for sinusoidal positions");
    }
    let part = |layers, heads, hidden| {
        let count = fields.required(&[heads], MOST_HEADS);
        StackConfig {
            heads: count,
            head_dim: fields.head_width(heads, features, count),
            layers: fields.required(&[layers], MOST_LAYERS),
            hidden: fields.required(&[hidden], MOST_HIDDEN),
        }
    };
    config.features = features;
    config.encoder = part("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim");
    config.decoder = part("decoder_layers", "decoder_attention_heads", "decoder_ffn_dim");
    config.max_positions = Some(fields.required(&["max_position_embeddings"], MOST_TOKENS));
    config.activation = fields.activation("activation_function", Activation::Gelu);
    config.biases = true;
    config.norm = TransformerNorm::Layer;
    config.norm_place = NormPlace::After;
    config.scaled = fields.flag("scale_embedding", false);
    // As in `transformers`, although the padding token also starts translations.
    config.padding_is_fixed = true;
    config.output_bias = true;
    config.vocab_size = super::vocabulary(fields);
    let token = |key| token(fields, key, config.vocab_size, None);
    config.pad_token = token("pad_token_id");
    config.start_token = token("decoder_start_token_id");
    config.end_token = token("eos_token_id");
    config.dropout = EncoderDecoderDropout {
        hidden: fields.share("dropout", 0.1),
        attention: fields.share("attention_dropout", 0.0),
        activation: fields.share("activation_dropout", 0.0),
    };
    config.initializer_range = fields.positive(&["init_std"]).unwrap_or(0.02);
}
