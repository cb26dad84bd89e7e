//! Gemma 2 (Gemma team, 2024), and what Gemma 3 has of it.

use super::super::common::{rotary, used_window};
use super::super::config::LayerRope;
use super::{DecoderConfig, Defaults, Family, Fields, Names};
use crate::transformer::{BlockNames, NormPlace};
use ff_ops::Activation;

pub(super) static FAMILY: Family = Family {
    name: "gemma2",
    architecture: "Gemma2ForCausalLM",
    positions: "max_position_embeddings",
    names: NAMES,
    read,
};

pub(super) const NAMES: Names = Names {
    block: BlockNames {
        feedforward_norm: "pre_feedforward_layernorm",
        second_norms: ["post_attention_layernorm", "post_feedforward_layernorm"],
        ..Names::LLAMA.block
    },
    ..Names::LLAMA
};

pub(super) const DEFAULTS: Defaults = Defaults {
    positions: 8192,
    head_dim: Some(256),
    kv_heads: Some(4),
    activation: ("hidden_activation", Activation::GeluTanh),
    tied: true,
    ..Defaults::QWEN
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    rotary(fields, config, &DEFAULTS);
    shared(fields, config, 2);
    config.score_cap = cap(fields, "attn_logit_softcapping", Some(50.0));
    config.logit_cap = cap(fields, "final_logit_softcapping", Some(30.0));
}

/// Reads what both families have beside their positions: norms, scales, and windows in all layers
/// but each `pattern`-th.
pub(super) fn shared(fields: &Fields<'_>, config: &mut DecoderConfig, pattern: usize) {
    config.norm_place = NormPlace::Around;
    config.norm_offset = 1.0;
    config.embedding_scale = (config.hidden_size as f64).sqrt();
    config.qkv_bias = fields.flag("attention_bias", false);
    config.out_bias = config.qkv_bias;
    if fields.flag("use_bidirectional_attention", false) {
        let message = "decoders whose tokens see later ones are not supported";
        fields.fail("use_bidirectional_attention", message);
    }
    let scalar = fields.positive(&["query_pre_attn_scalar"]).unwrap_or(256.0);
    let window = used_window(fields);
    let types = fields.layer_types(config.layers.len());
    for (i, layer) in config.layers.iter_mut().enumerate() {
        let listed = types.as_ref().map(|types| types.get(i) == Some(&true));
        let near = listed.unwrap_or(!(i + 1).is_multiple_of(pattern));
        layer.scale = Some(scalar.powf(-0.5));
        layer.window = window.filter(|_| near);
        if near && config.local_rope.is_some() {
            layer.rope = LayerRope::Local;
        }
    }
}

/// A soft bound; null stands for none.
pub(super) fn cap(fields: &Fields<'_>, key: &'static str, usual: Option<f64>) -> Option<f64> {
    if fields.is_stated(key) { fields.positive(&[key]) } else { usual }
}
