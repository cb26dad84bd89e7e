//! The fields that most families of decoders share.

use super::config::{DecoderConfig, LayerConfig, MoeConfig};
use crate::transformer::fields::{
    Fields, MOST_EXPERTS, MOST_FEATURES, MOST_HEADS, MOST_HIDDEN, MOST_LAYERS, MOST_POSITIONS,
    MOST_TOKENS,
};
use crate::transformer::{Rope, RopeDefaults};
use ff_ops::Activation;

/// The defaults in which families with rotary positions differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub(super) positions: usize,
    /// The width shared evenly by the heads, unless the family has a number of its own.
    pub(super) head_dim: Option<usize>,
    /// The number of key-value heads if the config omits it: that of query heads, unless the family
    /// has a default of its own.
    pub(super) kv_heads: Option<usize>,
    pub(super) norm_eps: f64,
    pub(super) theta: f64,
    /// The key of the activation, and its default.
    pub(super) activation: (&'static str, Activation),
    pub(super) tied: bool,
    /// Whether a part of each head may be turned.
    pub(super) partial: bool,
    /// The number of positions before any scaling, where there is a default.
    pub(super) original: Option<usize>,
    /// The names of LongRoPE.
    pub(super) longrope: &'static [&'static str],
}

impl Defaults {
    pub(super) const QWEN: Self = Self {
        positions: 32_768,
        head_dim: None,
        kv_heads: None,
        norm_eps: 1e-6,
        theta: 1e4,
        activation: ("hidden_act", Activation::Silu),
        tied: false,
        partial: false,
        original: None,
        longrope: &["longrope"],
    };

    /// The rotary positions of these defaults.
    pub(super) fn rope(&self, config: &DecoderConfig) -> RopeDefaults {
        RopeDefaults {
            head_dim: config.head_dim,
            positions: config.max_positions,
            theta: ("rope_theta", self.theta),
            partial: self.partial,
            original: self.original,
            longrope: self.longrope,
        }
    }
}

/// Reads the fields that Llama and the families after it share.
pub(super) fn rotary(fields: &Fields<'_>, config: &mut DecoderConfig, defaults: &Defaults) {
    without_positions(fields, config, defaults);
    let rope = Rope::read(fields, &defaults.rope(config));
    config.max_positions = rope.reach(config.max_positions);
    config.rope = Some(rope);
}

/// The same, but for the settings of rotary positions.
pub(super) fn without_positions(
    fields: &Fields<'_>,
    config: &mut DecoderConfig,
    defaults: &Defaults,
) {
    config.vocab_size = fields.required(&["vocab_size"], MOST_TOKENS);
    config.hidden_size = fields.required(&["hidden_size"], MOST_FEATURES);
    config.intermediate_size = fields.required(&["intermediate_size"], MOST_HIDDEN);
    config.heads = fields.required(&["num_attention_heads"], MOST_HEADS);
    let stated = fields.is_stated("num_key_value_heads");
    let kv_heads = fields.size(&["num_key_value_heads"], MOST_HEADS);
    let usual = defaults.kv_heads.filter(|_| !stated);
    config.kv_heads = kv_heads.or(usual).unwrap_or(config.heads);
    if !config.heads.is_multiple_of(config.kv_heads) {
        let default = if stated { "" } else { ", this family's default" };
        let message = format!(
            "{} heads of queries cannot share {} heads of keys and values{default} evenly; choose \
             a divisor",
            config.heads, config.kv_heads
        );
        fields.fail("num_key_value_heads", message);
    }
    let stated = fields.size(&["head_dim"], MOST_HEADS).or(defaults.head_dim);
    config.head_dim = stated.unwrap_or_else(|| {
        fields.head_width("num_attention_heads", config.hidden_size, config.heads)
    });
    let positions = fields.size(&["max_position_embeddings"], MOST_POSITIONS);
    config.max_positions = positions.unwrap_or(defaults.positions);
    let (key, activation) = defaults.activation;
    config.activation = fields.activation(key, activation);
    config.norm_eps = fields.positive(&["rms_norm_eps"]).unwrap_or(defaults.norm_eps);
    config.tied = fields.flag("tie_word_embeddings", defaults.tied);
    config.initializer_range = fields.positive(&["initializer_range"]).unwrap_or(0.02);
    let layers = fields.required(&["num_hidden_layers"], MOST_LAYERS);
    config.layers = vec![LayerConfig::default(); layers];
}

/// Reads a mixture of experts in every layer, where `count` holds the names of their number, the
/// family's own first, and `width` is the key of an expert's hidden width.
pub(super) fn experts(
    fields: &Fields<'_>,
    config: &mut DecoderConfig,
    count: [&'static str; 2],
    width: &'static str,
) {
    let experts = fields.required(&count, MOST_EXPERTS);
    let top_k = fields.required(&["num_experts_per_tok"], MOST_EXPERTS);
    if top_k > experts {
        let message = format!("a token cannot go to {top_k} of {experts} experts");
        fields.fail("num_experts_per_tok", message);
    }
    let coefficient = |key| {
        let number = fields.number(&[key]);
        if number.is_some_and(|number| number < 0.0) {
            fields.fail(key, "expected a number from 0 up");
        }
        number
    };
    config.moe = Some(MoeConfig {
        experts,
        top_k,
        intermediate_size: fields.required(&[width], MOST_HIDDEN),
        normalize: true,
        shared: None,
        // As in `transformers`, a model whose file says no has none; the default is for new models.
        balance: if fields.flag("output_router_logits", true) {
            coefficient("router_aux_loss_coef").unwrap_or(0.001)
        } else {
            0.0
        },
        z_loss: coefficient("router_z_loss_coef").unwrap_or(0.0),
        clamp: None,
        stacked: false,
    });
    config.layers.iter_mut().for_each(|layer| layer.experts = true);
}

/// Reads which layers of a Qwen have experts, and how the experts' weights are normalised.
pub(super) fn sparse_experts(fields: &Fields<'_>, config: &mut DecoderConfig) {
    let count = ["num_experts", "num_local_experts"];
    experts(fields, config, count, "moe_intermediate_size");
    let normalize = fields.flag("norm_topk_prob", false);
    config.moe.iter_mut().for_each(|moe| moe.normalize = normalize);
    let step = fields.size(&["decoder_sparse_step"], MOST_LAYERS).unwrap_or(1);
    let dense = fields.list("mlp_only_layers").unwrap_or_default();
    for (i, layer) in config.layers.iter_mut().enumerate() {
        let dense = dense.iter().any(|layer| layer.as_u64() == Some(i as u64));
        layer.experts = !dense && (i + 1).is_multiple_of(step);
    }
}

/// The width of sliding windows; 0 and null stand for none.
pub(super) fn sliding_window(fields: &Fields<'_>) -> Option<usize> {
    fields.count("sliding_window").filter(|&window| window > 0)
}

/// The window width of a Qwen, by default 4096.
pub(super) fn used_window(fields: &Fields<'_>) -> Option<usize> {
    let unstated = (!fields.is_stated("sliding_window")).then_some(4096);
    sliding_window(fields).or(unstated)
}

/// Reads which layers of a Qwen attend within a window: those that `layer_types` lists, or those
/// that `windowed` picks by their number and `max_window_layers`.
pub(super) fn layer_windows(
    fields: &Fields<'_>,
    config: &mut DecoderConfig,
    windowed: impl Fn(usize, usize) -> bool,
) {
    let used = fields.flag("use_sliding_window", false);
    let window = used_window(fields).filter(|_| used);
    let from = fields.count("max_window_layers").unwrap_or(28);
    let types = fields.layer_types(config.layers.len());
    for (i, layer) in config.layers.iter_mut().enumerate() {
        let listed = types.as_ref().map(|types| types.get(i) == Some(&true));
        layer.window = window.filter(|_| listed.unwrap_or_else(|| windowed(i, from)));
    }
}
