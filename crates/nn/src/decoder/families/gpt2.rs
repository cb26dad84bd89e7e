//! GPT-2 (Radford et al., 2019).

use super::super::config::LayerConfig;
use super::{DecoderConfig, Family, Fields, Names};
use crate::transformer::fields::{
    MOST_FEATURES, MOST_HEADS, MOST_HIDDEN, MOST_LAYERS, MOST_TOKENS,
};
use crate::transformer::{BlockNames, TransformerNorm};
use ff_ops::Activation;

pub(super) static FAMILY: Family = Family {
    name: "gpt2",
    architecture: "GPT2LMHeadModel",
    positions: "n_positions",
    names: Names {
        body: "transformer",
        embedding: "wte",
        positions: "wpe",
        layers: "h",
        block: BlockNames {
            attention: "attn",
            attention_norm: "ln_1",
            projections: ["c_attn", "", "", "c_proj"],
            cross: None,
            feedforward: "mlp",
            feedforward_norm: "ln_2",
            second_norms: ["", ""],
            layers: ["", "c_fc", "c_proj"],
        },
        norm: "ln_f",
        // Its linear layers were convolutions of width 1.
        transposed: &["c_attn.weight", "c_proj.weight", "c_fc.weight"],
        // Masks, which old versions stored.
        ignored: &[".attn.bias", ".attn.masked_bias"],
        ..Names::LLAMA
    },
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    config.vocab_size = fields.required(&["vocab_size"], MOST_TOKENS);
    config.hidden_size = fields.required(&["n_embd", "hidden_size"], MOST_FEATURES);
    config.heads = fields.required(&["n_head", "num_attention_heads"], MOST_HEADS);
    config.kv_heads = config.heads;
    config.head_dim = fields.head_width("n_head", config.hidden_size, config.heads);
    let positions = ["n_positions", "max_position_embeddings", "n_ctx"];
    config.max_positions = fields.required(&positions, MOST_TOKENS);
    let inner = fields.size(&["n_inner"], MOST_HIDDEN);
    config.intermediate_size = inner.unwrap_or(4 * config.hidden_size);
    config.activation = fields.activation("activation_function", Activation::GeluTanh);
    config.gated = false;
    config.fused_qkv = true;
    config.norm = TransformerNorm::Layer;
    config.norm_eps = fields.positive(&["layer_norm_epsilon"]).unwrap_or(1e-5);
    config.tied = fields.flag("tie_word_embeddings", true);
    (config.qkv_bias, config.out_bias, config.mlp_bias) = (true, true, true);
    // As in nanoGPT, `"bias": false` leaves biases at zero.
    config.trains_biases = fields.flag("bias", true);
    config.initializer_range = fields.positive(&["initializer_range"]).unwrap_or(0.02);
    config.scaled_init = true;
    if fields.flag("add_cross_attention", false) {
        let message = "a decoder that reads an encoder is not supported for this family";
        fields.fail("add_cross_attention", message);
    }
    let scaled = fields.flag("scale_attn_weights", true);
    let by_layer = fields.flag("scale_attn_by_inverse_layer_idx", false);
    let layers = fields.required(&["n_layer", "num_hidden_layers"], MOST_LAYERS);
    let usual = if scaled { (config.head_dim as f64).powf(-0.5) } else { 1.0 };
    let scale = |i: usize| if by_layer { usual / (i + 1) as f64 } else { usual };
    let scale = |i| (!scaled || by_layer).then(|| scale(i));
    config.layers =
        (0..layers).map(|i| LayerConfig { scale: scale(i), ..Default::default() }).collect();
}
