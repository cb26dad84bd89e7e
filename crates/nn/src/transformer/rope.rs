//! The frequencies of rotary positions, and their scaling for longer contexts.

use super::fields::Fields;
use ff_ops::{LongAngles, Rotary};
use serde_json::{Map, Value};
use std::f64::consts::PI;

/// The rotation of the pairs of a head per position.
///
/// Pair i rotates by `inv_freq[i]` radians per position, θ^(−2i/d), scaled by `rope_scaling` or
/// `rope_parameters` of a `config.json`: `linear` (Chen et al., 2023), `dynamic`, `llama3`, `yarn`
/// (Peng et al., 2023), `longrope` (Ding et al., 2024). As in `transformers`,
/// `partial_rotary_factor` has no effect on the default positions of most families, and `dynamic`
/// changes none of a model's own positions: it adds as many more as its factor says.
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
    /// The number of a head's rotated features, which is even.
    pub rotary_dim: usize,
    /// Radians per position for each pair.
    pub inv_freq: Vec<f64>,
    /// The factor of sine and cosine.
    pub scaling: f64,
    /// θ, the base.
    pub theta: f64,
    /// The angles of long sequences, where they differ.
    pub long: Option<LongAngles>,
}

/// What the rotary positions of a family have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RopeDefaults {
    pub(crate) head_dim: usize,
    /// The number of positions.
    pub(crate) positions: usize,
    /// The key of θ beside the other settings, and its default.
    pub(crate) theta: (&'static str, f64),
    /// Whether `partial_rotary_factor` leaves the last features of heads as they are.
    pub(crate) partial: bool,
    /// The number of positions before any scaling, where the family has a default of its own.
    pub(crate) original: Option<usize>,
    /// The names of LongRoPE.
    pub(crate) longrope: &'static [&'static str],
}

const SUPPORTED: [&str; 6] = ["default", "linear", "dynamic", "llama3", "yarn", "longrope"];

impl Rope {
    /// Reads the fields of a config.
    pub(crate) fn read(root: &Fields<'_>, defaults: &RopeDefaults) -> Self {
        let empty = Map::new();
        let (name, map) =
            root.map(&["rope_scaling", "rope_parameters"]).unwrap_or(("rope_parameters", &empty));
        Self::of(root, &root.inside(map, &format!("{name}.")), defaults)
    }

    /// The same with settings of the family's own where the config has none.
    pub(crate) fn read_or(
        root: &Fields<'_>,
        defaults: &RopeDefaults,
        usual: &Map<String, Value>,
    ) -> Self {
        if root.map(&["rope_scaling", "rope_parameters"]).is_some() {
            return Self::read(root, defaults);
        }
        Self::of(root, &root.inside(usual, "rope_parameters."), defaults)
    }

    /// Reads the positions of layers that see all tokens, and of those that see near ones:
    /// `rope_parameters` holds the settings of both, `rope_scaling` the first's, or those of both
    /// with `scales_both`.
    pub(crate) fn read_by_layer(
        root: &Fields<'_>,
        defaults: [&RopeDefaults; 2],
        scales_both: bool,
    ) -> [Self; 2] {
        const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];
        let empty = Map::new();
        let (_, both) = root.map(&["rope_parameters"]).unwrap_or(("", &empty));
        if !both.is_empty() && !KINDS.iter().any(|kind| both.contains_key(*kind)) {
            let message = format!("expected the settings of {} and of {}", KINDS[0], KINDS[1]);
            root.fail("rope_parameters", message);
        }
        let both = root.inside(both, "rope_parameters.");
        let of = |i: usize| both.map(&KINDS[i..=i]).map_or_else(Map::new, |(_, map)| map.clone());
        let [mut global, mut local] = [of(0), of(1)];
        if let Some((_, scaling)) = root.map(&["rope_scaling"]) {
            global.extend(scaling.clone());
            if scales_both {
                local.extend(scaling.clone());
            }
        }
        let read = |i: usize, map: &Map<String, Value>| {
            Self::of(
                root,
                &root.inside(map, &format!("rope_parameters.{}.", KINDS[i])),
                defaults[i],
            )
        };
        [read(0, &global), read(1, &local)]
    }

    /// Reads the settings `fields` of one kind of positions.
    fn of(root: &Fields<'_>, fields: &Fields<'_>, defaults: &RopeDefaults) -> Self {
        let RopeDefaults { head_dim, positions, theta: (theta_key, theta), .. } = *defaults;
        let outer = root.positive(&[theta_key]);
        let theta = fields.positive(&["rope_theta"]).or(outer).unwrap_or(theta);
        let either = |key: &'static str| {
            let outer = root.positive(&[key]);
            fields.positive(&[key]).or(outer)
        };
        let kind = fields.text(&["rope_type", "type"]).unwrap_or("default");
        let partial = either("partial_rotary_factor").unwrap_or(1.0);
        let kind = if defaults.longrope.contains(&kind) { "longrope" } else { kind };
        if kind != "default" && partial != 1.0 && !defaults.partial {
            let message = format!(
                "{partial} with positions of type \"{kind}\" rotates a part of each head, which no \
                 model of this family does; remove it"
            );
            root.fail("partial_rotary_factor", message);
        }
        if !head_dim.is_multiple_of(2) {
            let message = format!(
                "a head of {head_dim} features is odd, and rotary positions turn pairs; choose an \
                 even number"
            );
            root.fail("head_dim", message);
        }
        let rotary_dim = if defaults.partial {
            let turned = (head_dim as f64 * partial) as usize;
            if partial > 1.0 || turned < 2 || !turned.is_multiple_of(2) {
                let message = format!(
                    "{partial} of {head_dim} features would be turned, and positions turn pairs of \
                     them; choose a fraction that gives an even number"
                );
                root.fail("partial_rotary_factor", message);
            }
            turned.clamp(2, head_dim.max(2))
        } else {
            head_dim
        };
        let exponent = |i: usize| 2.0 * i as f64 / rotary_dim as f64;
        let plain: Vec<f64> = (0..rotary_dim / 2).map(|i| theta.powf(-exponent(i))).collect();
        let inner = fields.size(&["original_max_position_embeddings"], 1 << 40);
        let outer = root.size(&["original_max_position_embeddings"], 1 << 40);
        let original = outer.or(defaults.original).or(inner).unwrap_or(positions);
        let (above, original) = (original, original as f64);
        let mut long = None;
        let (inv_freq, scaling) = match kind {
            "default" => (plain, 1.0),
            "dynamic" => {
                let factor = need(fields, "factor");
                if rotary_dim == 2 {
                    root.fail("head_dim", "a base that grows needs heads of 4 features or more");
                }
                long = Some(LongAngles::Base { above: positions, base: theta, factor });
                (plain, 1.0)
            }
            "longrope" => {
                let factor = fields.positive(&["factor"]).unwrap_or(positions as f64 / original);
                let usual = (1.0 + factor.max(1.0).ln() / original.max(2.0).ln()).sqrt();
                let divided = |key| -> Vec<f64> {
                    let factors = factors(fields, key, plain.len());
                    plain.iter().zip(factors).map(|(f, by)| f / by).collect()
                };
                let inv_freq = divided("long_factor").into();
                long = Some(LongAngles::Table { above, inv_freq });
                let scaling = fields.positive(&["attention_factor"]).unwrap_or(usual);
                (divided("short_factor"), scaling)
            }
            "linear" => {
                let factor = need(fields, "factor");
                (plain.iter().map(|f| f / factor).collect(), 1.0)
            }
            "llama3" => (llama3(fields, &plain, need(fields, "factor"), original), 1.0),
            "yarn" => {
                let factor = fields.positive(&["factor"]).unwrap_or(positions as f64 / original);
                yarn(fields, &plain, factor, original, theta)
            }
            other => {
                let message = format!(
                    "positions of type \"{other}\" are not supported; supported: {}",
                    SUPPORTED.join(", ")
                );
                fields.fail("rope_type", message);
                (plain, 1.0)
            }
        };
        Self { rotary_dim, inv_freq, scaling, theta, long }
    }

    /// The operation on heads of so many features.
    pub(crate) fn rotary(&self, head_dim: usize) -> Rotary {
        Rotary {
            head_dim,
            rotary_dim: self.rotary_dim,
            interleaved: false,
            inv_freq: self.inv_freq.as_slice().into(),
            scaling: self.scaling,
            long: self.long.clone(),
        }
    }

    /// The number of positions of a model that has so many before its base grows.
    pub(crate) fn reach(&self, positions: usize) -> usize {
        match self.long {
            Some(LongAngles::Base { above, factor, .. }) => {
                ((above as f64 * factor) as usize).max(above)
            }
            _ => positions,
        }
    }
}

/// A required list of one positive number per pair.
fn factors(fields: &Fields<'_>, key: &'static str, pairs: usize) -> Vec<f64> {
    let Some(list) = fields.list(key) else {
        fields.missing(key);
        return vec![1.0; pairs];
    };
    let numbers: Vec<f64> =
        list.iter().filter_map(Value::as_f64).filter(|x| x.is_finite() && *x > 0.0).collect();
    if list.len() != pairs || numbers.len() != pairs {
        let message = format!(
            "expected {pairs} numbers above 0, one for each turned pair of features, found {} of {}",
            numbers.len(),
            list.len()
        );
        fields.fail(key, message);
    }
    numbers
}

/// A required positive number.
fn need(fields: &Fields<'_>, key: &'static str) -> f64 {
    if !fields.has(key) {
        fields.missing(key);
    }
    fields.positive(&[key]).unwrap_or(1.0)
}

/// Divides slow pairs by the factor, keeps fast ones, and blends smoothly between them.
fn llama3(fields: &Fields<'_>, plain: &[f64], factor: f64, original: f64) -> Vec<f64> {
    let (low, high) = (need(fields, "low_freq_factor"), need(fields, "high_freq_factor"));
    if high <= low {
        let message = format!("{high} must be above low_freq_factor, {low}");
        fields.fail("high_freq_factor", message);
    }
    let scale = |&f: &f64| {
        // The number of turns of the pair within the original context.
        let turns = original * f / (2.0 * PI);
        let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 - smooth) * f / factor + smooth * f
    };
    plain.iter().map(scale).collect()
}

/// Blends with a ramp over the pair numbers, and sharpens attention slightly.
fn yarn(
    fields: &Fields<'_>,
    plain: &[f64],
    factor: f64,
    original: f64,
    theta: f64,
) -> (Vec<f64>, f64) {
    let dim = 2.0 * plain.len() as f64;
    let sharper = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
    let scaling = match (
        fields.positive(&["attention_factor"]),
        fields.number(&["mscale"]).filter(|&m| m != 0.0),
        fields.number(&["mscale_all_dim"]).filter(|&m| m != 0.0),
    ) {
        (Some(scaling), ..) => scaling,
        (None, Some(mscale), Some(all)) => sharper(mscale) / sharper(all),
        _ => sharper(1.0),
    };
    let fast = fields.positive(&["beta_fast"]).unwrap_or(32.0);
    let slow = fields.positive(&["beta_slow"]).unwrap_or(1.0);
    // The number of the pair with this many turns within the original context.
    let pair = |turns: f64| dim * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (mut from, mut to) = (pair(fast), pair(slow));
    if fields.flag("truncate", true) {
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
    (inv_freq.collect(), scaling)
}
