//! A `config.json` with every key that a default could change.

use super::config::{DecoderConfig, LayerConfig, LayerRope};
use crate::transformer::TransformerNorm;
use crate::transformer::fields::Fields;
use ff_ops::LongAngles;
use serde_json::{Map, Value, json};

impl DecoderConfig {
    /// The same config with every key stated: defaults differ between families, and between
    /// versions of `transformers`.
    ///
    /// ```
    /// let json = r#"{"model_type": "mistral", "vocab_size": 8, "hidden_size": 16,
    ///     "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 8}"#;
    /// let config = ff_nn::models::DecoderConfig::parse(json)?.explicit();
    /// assert_eq!(config.field("num_key_value_heads").unwrap(), 8);
    /// assert_eq!(config.field("sliding_window").unwrap(), 4096);
    /// # Ok::<(), ff_nn::ConfigError>(())
    /// ```
    #[must_use]
    pub fn explicit(&self) -> Self {
        let mut config = self.clone();
        let known = self.family.keys();
        let missing = self.stated().into_iter().filter(|(key, _)| known.contains(key.as_str()));
        for (key, value) in missing {
            // Not every family reads null as the number of heads.
            if key == "num_key_value_heads" {
                config.json.insert(key, value);
            } else {
                config.json.entry(key).or_insert(value);
            }
        }
        config
    }

    /// The values of this model under the names of its family.
    fn stated(&self) -> Map<String, Value> {
        let eps = match self.norm {
            TransformerNorm::Layer => "layer_norm_epsilon",
            TransformerNorm::Rms => "rms_norm_eps",
        };
        let activation = Fields::activation_name(self.activation);
        let mut values = vec![
            ("tie_word_embeddings", json!(self.tied)),
            ("initializer_range", json!(self.initializer_range)),
            (eps, json!(self.norm_eps)),
            ("bos_token_id", Value::Null),
            ("eos_token_id", Value::Null),
            ("pad_token_id", Value::Null),
        ];
        if self.rope.is_none() {
            values.extend([
                ("n_positions", json!(self.max_positions)),
                ("n_embd", json!(self.hidden_size)),
                ("n_layer", json!(self.layers.len())),
                ("n_head", json!(self.heads)),
                ("n_inner", json!(self.intermediate_size)),
                ("activation_function", json!(activation)),
            ]);
            return owned(values);
        }
        values.extend([
            ("num_key_value_heads", json!(self.kv_heads)),
            ("max_position_embeddings", json!(self.stated_positions())),
            ("hidden_act", json!(activation)),
            ("hidden_activation", json!(activation)),
            ("qkv_bias", json!(self.qkv_bias)),
            ("attention_bias", json!(self.qkv_bias)),
            ("mlp_bias", json!(self.mlp_bias)),
        ]);
        // Not every family has the key; those that need it read it.
        if self.head_dim * self.heads != self.hidden_size {
            values.push(("head_dim", json!(self.head_dim)));
        }
        if !self.states_theta("full_attention")
            && let Some(rope) = &self.rope
        {
            values.push(("rope_theta", json!(rope.theta)));
        }
        if let Some(local) = &self.local_rope
            && !self.states_theta("sliding_attention")
        {
            values.push(("rope_local_base_freq", json!(local.theta)));
        }
        values.extend([
            ("attn_logit_softcapping", json!(self.score_cap)),
            ("final_logit_softcapping", json!(self.logit_cap)),
        ]);
        if let Some(scale) = self.layers.first().and_then(|layer| layer.scale) {
            // A whole number in every config.
            values.push(("query_pre_attn_scalar", json!(scale.powi(-2).round() as u64)));
        }
        if !self.family.keys().contains("use_sliding_window") {
            let near =
                |layer: &LayerConfig| layer.window.is_some() || layer.rope == LayerRope::Local;
            let kind = |layer| if near(layer) { "sliding_attention" } else { "full_attention" };
            let kinds: Vec<&str> = self.layers.iter().map(kind).collect();
            values.push(("layer_types", json!(kinds)));
        }
        let turned = |layer: &LayerConfig| u8::from(layer.rope != LayerRope::None);
        let turned: Vec<u8> = self.layers.iter().map(turned).collect();
        values.push(("no_rope_layers", json!(turned)));
        // Where windows are a choice of the layers, leaving all keys out means none.
        let window = self.layers.iter().find_map(|layer| layer.window);
        values.push(("sliding_window", json!(window)));
        values.push(("use_sliding_window", json!(window.is_some())));
        if let Some(moe) = &self.moe {
            // Two names of one key; a file keeps the one that it has.
            let local = moe.stacked || self.family.names.experts[0] == "w1";
            if self.field("num_local_experts").is_none() && self.field("num_experts").is_none() {
                let count = if local { "num_local_experts" } else { "num_experts" };
                values.push((count, json!(moe.experts)));
            }
            if let Some([alpha, limit]) = moe.clamp {
                values.extend([("swiglu_alpha", json!(alpha)), ("swiglu_limit", json!(limit))]);
            }
            values.extend([
                ("norm_topk_prob", json!(moe.normalize)),
                ("output_router_logits", json!(moe.balance > 0.0)),
                ("router_aux_loss_coef", json!(moe.balance)),
            ]);
            if self.field("mlp_only_layers").is_none()
                && self.field("decoder_sparse_step").is_none()
            {
                values.push(("mlp_only_layers", json!([])));
                values.push(("decoder_sparse_step", json!(1)));
            }
        }
        owned(values)
    }

    /// The number of positions in a file, which a base that grows exceeds.
    fn stated_positions(&self) -> usize {
        match self.rope.as_ref().and_then(|rope| rope.long.as_ref()) {
            Some(LongAngles::Base { above, .. }) => *above,
            _ => self.max_positions,
        }
    }

    /// Whether the file states the base of rotary positions with their other settings, those of a
    /// kind of layers or of all.
    fn states_theta(&self, kind: &str) -> bool {
        let inside = |key| {
            let map = self.field(key);
            let own = map.and_then(|map| map.get(kind)).or(map);
            own.is_some_and(|map| map.get("rope_theta").is_some())
        };
        ["rope_parameters", "rope_scaling"].into_iter().any(inside)
    }
}

fn owned(values: Vec<(&str, Value)>) -> Map<String, Value> {
    values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
