//! Gemma 3 without images (Gemma team, 2025).

use super::super::common::without_positions;
use super::gemma2::{DEFAULTS, NAMES, cap, shared};
use super::{DecoderConfig, Defaults, Family, Fields, QueryKeyNorm};
use crate::transformer::fields::MOST_LAYERS;
use crate::transformer::{Rope, RopeDefaults};

pub(super) static FAMILY: Family = Family {
    name: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    positions: "max_position_embeddings",
    names: NAMES,
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    let defaults = Defaults { positions: 131_072, theta: 1e6, ..DEFAULTS };
    without_positions(fields, config, &defaults);
    let global = defaults.rope(config);
    let local = RopeDefaults { theta: ("rope_local_base_freq", 1e4), ..global };
    let [global, local] = Rope::read_by_layer(fields, [&global, &local], false);
    config.max_positions = global.reach(config.max_positions);
    (config.rope, config.local_rope) = (Some(global), Some(local));
    config.qk_norm = Some(QueryKeyNorm::Head);
    let pattern = fields.size(&["sliding_window_pattern"], MOST_LAYERS).unwrap_or(6);
    shared(fields, config, pattern);
    // As in `transformers`, scores have no bound, whatever `attn_logit_softcapping` says.
    cap(fields, "attn_logit_softcapping", None);
    config.logit_cap = cap(fields, "final_logit_softcapping", None);
}
