//! The frequencies of rotary positions and how they are scaled for longer contexts.

use super::fields::{Fields, Result};
use std::f64::consts::PI;

/// How fast the pairs of a head turn with the position.
///
/// Pair i turns by `inv_freq[i]` radians a position: θ^(−2i/d), scaled as `rope_scaling` (or `rope_parameters`) of a
/// `config.json` says: `linear` (Chen et al., 2023), `llama3`, `yarn` (Peng et al., 2023), for the first
/// `partial_rotary_factor` of a head's features.
///
/// ```
/// let json = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
///     "num_hidden_layers": 1, "num_attention_heads": 2, "rope_theta": 100.0}"#;
/// let config = ff_nn::models::DecoderConfig::parse(json)?;
/// assert_eq!(config.rope.unwrap().inv_freq, [1.0, 0.1]);
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// How many of a head's features are turned, an even number.
    pub rotary_dim: usize,
    /// Radians a position for each pair.
    pub inv_freq: Vec<f64>,
    /// What sine and cosine are multiplied with.
    pub scaling: f64,
}

const SUPPORTED: [&str; 4] = ["default", "linear", "llama3", "yarn"];

impl Rope {
    /// From a config's fields, where `theta` is what the family takes if nothing is said.
    pub(crate) fn parse(
        root: &Fields<'_>,
        head_dim: usize,
        positions: usize,
        theta: f64,
    ) -> Result<Self> {
        let empty = serde_json::Map::new();
        let (name, map) =
            root.map(&["rope_parameters", "rope_scaling"])?.unwrap_or(("rope_parameters", &empty));
        let path = format!("{name}.");
        let fields = Fields::new(map, &path);
        let kind = fields.text(&["rope_type", "type"])?.unwrap_or("default");
        let theta = match fields.positive(&["rope_theta"])? {
            Some(theta) => theta,
            None => root.positive(&["rope_theta"])?.unwrap_or(theta),
        };
        let partial = match fields.positive(&["partial_rotary_factor"])? {
            Some(partial) => partial,
            None => root.positive(&["partial_rotary_factor"])?.unwrap_or(1.0),
        };
        let rotary_dim = (head_dim as f64 * partial) as usize;
        if partial > 1.0 || rotary_dim == 0 || !rotary_dim.is_multiple_of(2) {
            let message = format!(
                "{partial} of a head's {head_dim} features are {rotary_dim}; rotary positions turn pairs, so that must be \
                 an even number from 2 to {head_dim}"
            );
            return Err(root.error("partial_rotary_factor", message));
        }
        let pairs = rotary_dim / 2;
        let exponent = |i: usize| 2.0 * i as f64 / rotary_dim as f64;
        let plain: Vec<f64> = (0..pairs).map(|i| theta.powf(-exponent(i))).collect();
        let factor = || fields.positive(&["factor"])?.ok_or_else(|| fields.missing("factor"));
        let original = match fields.size(&["original_max_position_embeddings"], 1 << 40)? {
            Some(original) => original,
            None => root.size(&["original_max_position_embeddings"], 1 << 40)?.unwrap_or(positions),
        };
        let (inv_freq, scaling) = match kind {
            "default" => (plain, 1.0),
            "linear" => {
                let factor = factor()?;
                (plain.iter().map(|f| f / factor).collect(), 1.0)
            }
            "llama3" => (llama3(&fields, &plain, factor()?, original as f64)?, 1.0),
            "yarn" => {
                let factor = match fields.positive(&["factor"])? {
                    Some(factor) => factor,
                    None => positions as f64 / original as f64,
                };
                yarn(&fields, &plain, factor, original as f64, theta)?
            }
            other => {
                let message = format!(
                    "positions of type \"{other}\" are not supported; supported: {}",
                    SUPPORTED.join(", ")
                );
                return Err(fields.error("rope_type", message));
            }
        };
        Ok(Self { rotary_dim, inv_freq, scaling })
    }
}

/// Slow pairs are divided by the factor, fast ones stay, those between go over smoothly.
fn llama3(fields: &Fields<'_>, plain: &[f64], factor: f64, original: f64) -> Result<Vec<f64>> {
    let need = |key| fields.positive(&[key])?.ok_or_else(|| fields.missing(key));
    let (low, high) = (need("low_freq_factor")?, need("high_freq_factor")?);
    if high <= low {
        let message = format!("{high} must be above low_freq_factor, {low}");
        return Err(fields.error("high_freq_factor", message));
    }
    Ok(plain
        .iter()
        .map(|&f| {
            // How often the pair turns within the original context.
            let turns = original * f / (2.0 * PI);
            let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 - smooth) * f / factor + smooth * f
        })
        .collect())
}

/// The same idea with a ramp over the pairs' numbers, and attention that is a little sharper.
fn yarn(
    fields: &Fields<'_>,
    plain: &[f64],
    factor: f64,
    original: f64,
    theta: f64,
) -> Result<(Vec<f64>, f64)> {
    let dim = 2.0 * plain.len() as f64;
    let sharper = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
    let scaling = match (
        fields.positive(&["attention_factor"])?,
        fields.number(&["mscale"])?.filter(|&m| m != 0.0),
        fields.number(&["mscale_all_dim"])?.filter(|&m| m != 0.0),
    ) {
        (Some(scaling), ..) => scaling,
        (None, Some(mscale), Some(all)) => sharper(mscale) / sharper(all),
        _ => sharper(1.0),
    };
    let fast = fields.positive(&["beta_fast"])?.unwrap_or(32.0);
    let slow = fields.positive(&["beta_slow"])?.unwrap_or(1.0);
    // The number of the pair that turns so often within the original context.
    let pair = |turns: f64| dim * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (mut from, mut to) = (pair(fast), pair(slow));
    if fields.flag("truncate", true)? {
        (from, to) = (from.floor(), to.ceil());
    }
    let (from, mut to) = (from.max(0.0), to.min(dim - 1.0));
    if from == to {
        to += 0.001;
    }
    let inv_freq = plain.iter().enumerate().map(|(i, &f)| {
        let ramp = ((i as f64 - from) / (to - from)).clamp(0.0, 1.0);
        f / factor * ramp + f * (1.0 - ramp)
    });
    Ok((inv_freq.collect(), scaling))
}
