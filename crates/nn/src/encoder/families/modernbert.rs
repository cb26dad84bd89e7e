//! ModernBERT (Warner et al., 2024).

use super::super::common::{Keys, common};
use super::{Activation, CLASSIFIER, EncoderConfig, EncoderFamily, Fields, HeadNames, Names};
use crate::transformer::fields::MOST_LAYERS;
use crate::transformer::{BlockNames, NormPlace, Rope, RopeDefaults};

pub(super) static FAMILY: EncoderFamily = EncoderFamily {
    name: "modernbert",
    class: "ModernBert",
    names: Names {
        body: "model",
        embeddings: ["tok_embeddings", "norm"],
        final_norm: Some("final_norm"),
        layers: "layers",
        block: BlockNames {
            attention: "attn",
            attention_norm: "attn_norm",
            projections: ["Wqkv", "", "", "Wo"],
            cross: None,
            feedforward: "mlp",
            feedforward_norm: "mlp_norm",
            second_norms: ["", ""],
            layers: ["Wi", "", "Wo"],
        },
        masked: HeadNames { weight: "decoder.weight", bias: "decoder.bias", ..HEAD },
        sequence: HEAD,
        tokens: HEAD,
    },
    read,
};

const HEAD: HeadNames = HeadNames {
    dense: Some(("head.dense", None)),
    norm: Some("head.norm"),
    reads_mean: true,
    ..CLASSIFIER
};

const KEYS: Keys = Keys { activation: "hidden_activation", ..Keys::BERT };

fn read(fields: &Fields<'_>) -> EncoderConfig {
    let mut config = common(fields, &FAMILY, &KEYS);
    let global = RopeDefaults {
        head_dim: config.hidden_size / config.heads,
        positions: config.max_positions,
        theta: ("global_rope_theta", 160_000.0),
        partial: false,
        original: None,
        longrope: &["longrope"],
    };
    let local = RopeDefaults { theta: ("local_rope_theta", 10_000.0), ..global };
    let [global, local] = Rope::read_by_layer(fields, [&global, &local], true);
    (config.rope, config.local_rope) = (Some(global), Some(local));
    let every = fields.size(&["global_attn_every_n_layers"], MOST_LAYERS).unwrap_or(3);
    let types = fields.layer_types(config.layers);
    // Half of the tokens on each side.
    let window = fields.count("local_attention").unwrap_or(128) / 2;
    let near = |i: usize| match &types {
        Some(types) => types.get(i) == Some(&true),
        None => !i.is_multiple_of(every),
    };
    config.windows = (0..config.layers).map(|i| near(i).then_some(window)).collect();
    config.gated = true;
    config.fused_qkv = true;
    config.attention_bias = fields.flag("attention_bias", false);
    config.mlp_bias = fields.flag("mlp_bias", false);
    config.norm_place = NormPlace::Before;
    config.norm_bias = fields.flag("norm_bias", false);
    config.norm_eps = fields.positive(&["norm_eps"]).unwrap_or(1e-5);
    config.pad_token = fields.count("pad_token_id").unwrap_or(50_283) as i32;
    config.head_activation = fields.activation("classifier_activation", Activation::Gelu);
    config.head_bias = fields.flag("classifier_bias", false);
    config.masked_bias = fields.flag("decoder_bias", true);
    config
}
