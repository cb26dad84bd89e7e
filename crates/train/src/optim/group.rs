//! Parameter groups: settings for parameters by name.

use ff_settings::ConfigError;
use ff_settings::Range;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings for the parameters whose names match a pattern.
///
/// ```
/// use ff_train::optim::GroupConfig;
/// let group: GroupConfig =
///     serde_json::from_str(r#"{ "match": "head.*", "lr_scale": 10, "weight_decay": 0 }"#)?;
/// assert!(group.matches("head.weight") && !group.matches("body.head.weight"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// A pattern for whole names: `*` matches any characters, including dots, and `?` matches one.
    #[serde(rename = "match")]
    pub pattern: String,
    /// The factor of the learning rate; 0 leaves these parameters unchanged. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr_scale: Option<f64>,
    /// The weight decay, whatever the kind of parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// The L1 penalty, whatever the kind of parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l1: Option<f64>,
    /// The L2 penalty, whatever the kind of parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<f64>,
    /// Muon: whether AdamW updates these parameters, as is usual for the last layer of a language
    /// model. Default: true for all but weight matrices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adamw: Option<bool>,
    /// Whether the pattern may match no parameter. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

impl GroupConfig {
    /// Whether a parameter's name matches.
    pub fn matches(&self, name: &str) -> bool {
        glob(self.pattern.as_bytes(), name.as_bytes())
    }

    pub(super) fn validate(&self, index: usize) -> Result<(), ConfigError> {
        let key = |name: &str| format!("groups[{index}].{name}");
        if self.pattern.is_empty() {
            let message = "must be a pattern of parameter names, such as \"head.*\"; it is empty";
            return Err(ConfigError::new(key("match"), message));
        }
        let checks = [
            ("lr_scale", self.lr_scale),
            ("weight_decay", self.weight_decay),
            ("l1", self.l1),
            ("l2", self.l2),
        ];
        if self.adamw == Some(false) {
            let message = "must be true or omitted: Muon updates weight matrices by default";
            return Err(ConfigError::new(key("adamw"), message));
        }
        checks.iter().try_for_each(|&(name, v)| Range::AtLeast(0.0).check(&key(name), v))
    }
}

/// Whether all of `name` matches `pattern`, with `*` for any characters and `?` for one byte.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to continue after a mismatch: past the last star, which then matches one more
    // character.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after_star, taken)) = retry else { return false };
                retry = Some((after_star, taken + 1));
                p = after_star;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("head.*", "head.weight", true),
            ("head.*", "head.", true),
            ("head.*", "head", false),
            ("head.*", "a.head.weight", false),
            ("*", "", true),
            ("*.bias", "layers.0.bias", true),
            ("*.bias", "layers.0.bias.x", false),
            ("layers.?.weight", "layers.3.weight", true),
            ("layers.?.weight", "layers.13.weight", false),
            ("*a*b*c", "xxaxbxbxc", true),
            ("*a*b*c", "xxaxcxbx", false),
            ("", "", true),
            ("", "x", false),
            ("**", "anything", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
