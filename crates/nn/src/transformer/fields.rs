//! Reads a `config.json` field by field.

use crate::ConfigError;
use ff_ops::Activation;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;

pub(crate) type Result<T> = std::result::Result<T, ConfigError>;

// Limits far above published models, which keep every product of sizes within the 2⁴⁸ values of a
// shape.
pub(crate) const MOST_TOKENS: usize = 1 << 24;
pub(crate) const MOST_FEATURES: usize = 1 << 18;
pub(crate) const MOST_HIDDEN: usize = 1 << 20;
pub(crate) const MOST_HEADS: usize = 1 << 12;
pub(crate) const MOST_LAYERS: usize = 1 << 11;
pub(crate) const MOST_POSITIONS: usize = 1 << 30;
pub(crate) const MOST_EXPERTS: usize = 1 << 10;

/// The activations under `transformers`' names.
const ACTIVATIONS: [(&str, Activation); 17] = [
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("relu", Activation::Relu),
    ("relu2", Activation::Relu2),
    ("relu6", Activation::Relu6),
    ("hardswish", Activation::HardSwish),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
    ("mish", Activation::Mish),
    ("linear", Activation::Identity),
];

/// An object of a `config.json`, with its path for messages.
///
/// Reading never stops: the first error is recorded, and a placeholder replaces the value. Reading
/// an empty object therefore requests every key, which is how [`keys`](Fields::keys) finds them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'a str,
    log: &'a Log,
}

/// The keys requested at the root, and the first error.
#[derive(Debug, Default)]
struct Log {
    keys: RefCell<BTreeSet<&'static str>>,
    error: RefCell<Option<ConfigError>>,
}

impl<'a> Fields<'a> {
    /// Reads the fields of an object.
    ///
    /// # Errors
    /// The first recorded error.
    pub(crate) fn read<T>(
        map: &Map<String, Value>,
        read: impl FnOnce(&Fields<'_>) -> T,
    ) -> Result<T> {
        let log = Log::default();
        let value = read(&Fields { map, path: "", log: &log });
        log.error.into_inner().map_or(Ok(value), Err)
    }

    /// Every key requested by `read`.
    pub(crate) fn keys(read: impl FnOnce(&Fields<'_>)) -> BTreeSet<&'static str> {
        let log = Log::default();
        read(&Fields { map: &Map::new(), path: "", log: &log });
        log.keys.into_inner()
    }

    /// The fields of a nested object; `path` ends in a dot.
    pub(crate) fn inside<'b>(&self, map: &'b Map<String, Value>, path: &'b str) -> Fields<'b>
    where
        'a: 'b,
    {
        Fields { map, path, log: self.log }
    }

    /// Records an error in a field.
    pub(crate) fn fail(&self, key: &str, message: impl Into<String>) {
        let mut error = self.log.error.borrow_mut();
        error.get_or_insert_with(|| ConfigError::new(format!("{}{key}", self.path), message));
    }

    fn expected(&self, key: &str, what: &str, found: &Value) {
        let found = found.to_string();
        let shown: String = found.chars().take(60).collect();
        self.fail(key, format!("expected {what}, found {shown}"));
    }

    pub(crate) fn missing(&self, key: &str) {
        self.fail(key, "is missing; the model cannot be built without it");
    }

    /// The first of these names that is present and not null: fields were renamed over time.
    fn get(&self, keys: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        if self.path.is_empty() {
            self.log.keys.borrow_mut().extend(keys);
        }
        keys.iter().find_map(|&key| Some((key, self.map.get(key).filter(|v| !v.is_null())?)))
    }

    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.get(&[key]).is_some()
    }

    /// Whether the file has a field, even if it is null.
    pub(crate) fn is_stated(&self, key: &'static str) -> bool {
        self.get(&[key]).is_some() || self.map.contains_key(key)
    }

    /// The value that `convert` returns for the first field present.
    fn value<T>(
        &self,
        keys: &[&'static str],
        what: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let (key, value) = self.get(keys)?;
        let converted = convert(value);
        if converted.is_none() {
            self.expected(key, what, value);
        }
        converted
    }

    /// An optional whole number from 1 to `most`.
    pub(crate) fn size(&self, keys: &[&'static str], most: usize) -> Option<usize> {
        self.value(keys, &format!("a whole number from 1 to {most}"), |value| {
            let number = value.as_u64().filter(|&n| n >= 1 && n <= most as u64)?;
            Some(number as usize)
        })
    }

    /// A required whole number from 1 to `most`.
    pub(crate) fn required(&self, keys: &[&'static str], most: usize) -> usize {
        if self.get(keys).is_none() {
            self.missing(keys[0]);
        }
        self.size(keys, most).unwrap_or(1)
    }

    /// An optional whole number from 0 up.
    pub(crate) fn count(&self, key: &'static str) -> Option<usize> {
        self.value(&[key], "a whole number from 0 up", |value| {
            Some(value.as_u64().filter(|&n| n <= 1 << 40)? as usize)
        })
    }

    /// An optional finite number.
    pub(crate) fn number(&self, keys: &[&'static str]) -> Option<f64> {
        self.value(keys, "a number", |value| value.as_f64().filter(|v| v.is_finite()))
    }

    /// An optional positive number.
    pub(crate) fn positive(&self, keys: &[&'static str]) -> Option<f64> {
        self.number(keys)?;
        self.value(keys, "a number above 0", |value| value.as_f64().filter(|&v| v > 0.0))
    }

    /// A share below 1, as dropout has it.
    pub(crate) fn share(&self, key: &'static str, usual: f64) -> f64 {
        let share = |value: &Value| value.as_f64().filter(|v| (0.0..1.0).contains(v));
        self.value(&[key], "a number from 0 up and below 1", share).unwrap_or(usual)
    }

    pub(crate) fn flag(&self, key: &'static str, default: bool) -> bool {
        self.value(&[key], "true or false", Value::as_bool).unwrap_or(default)
    }

    pub(crate) fn text(&self, keys: &[&'static str]) -> Option<&'a str> {
        self.value(keys, "a string", Value::as_str)
    }

    pub(crate) fn list(&self, key: &'static str) -> Option<&'a [Value]> {
        self.value(&[key], "a list", |value| value.as_array().map(Vec::as_slice))
    }

    /// An object that is not empty, with the name under which it was found.
    pub(crate) fn map(
        &self,
        keys: &[&'static str],
    ) -> Option<(&'static str, &'a Map<String, Value>)> {
        // Every name is asked for, so that all are known keys.
        self.get(keys)?;
        let full = |value: &Value| value.as_object().is_none_or(|map| !map.is_empty());
        let stated = |key: &&&'static str| self.get(&[**key]).is_some_and(|(_, value)| full(value));
        let &key = keys.iter().find(stated)?;
        Some((key, self.value(&[key], "an object", Value::as_object)?))
    }

    /// For each layer, whether it attends within a window, if the config lists them.
    pub(crate) fn layer_types(&self, count: usize) -> Option<Vec<bool>> {
        const KEY: &str = "layer_types";
        let list = self.list(KEY)?;
        if list.len() != count {
            let message = format!("lists {} layers, num_hidden_layers says {count}", list.len());
            self.fail(KEY, message);
        }
        let window = |value: &Value| match value.as_str() {
            Some("full_attention") => false,
            Some("sliding_attention") => true,
            _ => {
                let message = format!(
                    "{value} is not supported; supported: \"full_attention\", \"sliding_attention\""
                );
                self.fail(KEY, message);
                false
            }
        };
        Some(list.iter().map(window).collect())
    }

    /// An activation by its name in `transformers`.
    pub(crate) fn activation(&self, key: &'static str, default: Activation) -> Activation {
        self.text(&[key]).map_or(default, |name| self.activation_named(key, name, default))
    }

    /// The activation of a name that was found in a field.
    pub(crate) fn activation_named(
        &self,
        key: &'static str,
        name: &str,
        default: Activation,
    ) -> Activation {
        let known = ACTIVATIONS.iter().find(|(known, _)| *known == name);
        known.map_or_else(
            || {
                let names: Vec<&str> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
                self.fail(key, unsupported(name, &names));
                default
            },
            |(_, activation)| *activation,
        )
    }

    /// `transformers`' name for an activation.
    pub(crate) fn activation_name(activation: Activation) -> &'static str {
        let known = ACTIVATIONS.iter().find(|(_, known)| *known == activation);
        known.map_or(activation.name(), |(name, _)| name)
    }

    /// The features of a head if the config does not state them: the width, shared evenly.
    pub(crate) fn head_width(&self, key: &'static str, hidden: usize, heads: usize) -> usize {
        if !hidden.is_multiple_of(heads) {
            let message =
                format!("{heads} heads do not divide {hidden} features evenly; choose a divisor");
            self.fail(key, message);
        }
        hidden.div_ceil(heads)
    }
}

/// The object in the text of a `config.json`.
pub(crate) fn object(text: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(ConfigError::new("config.json", "expected an object")),
        Err(e) => Err(ConfigError::new("config.json", format!("is not valid JSON: {e}"))),
    }
}

/// The text of a `config.json`.
pub(crate) fn to_text(json: &Map<String, Value>) -> String {
    // A map of JSON values always serialises.
    serde_json::to_string_pretty(json).unwrap_or_default()
}

/// The family named by `model_type`; `name` returns the name of a family.
pub(crate) fn family<F>(
    json: &Map<String, Value>,
    all: &[&'static F],
    name: impl Fn(&F) -> &'static str,
) -> Result<&'static F> {
    const KEY: &str = "model_type";
    let names: Vec<&str> = all.iter().map(|family| name(family)).collect();
    let message = match json.get(KEY) {
        None | Some(Value::Null) => {
            format!("is missing; it states the family, one of {}", names.join(", "))
        }
        Some(Value::String(found)) => match all.iter().find(|family| name(family) == found) {
            Some(family) => return Ok(family),
            None => unsupported(found, &names),
        },
        Some(other) => format!("expected a string, found {other}"),
    };
    Err(ConfigError::new(KEY, message))
}

/// The message for an unsupported name: the supported names and the likely one.
fn unsupported(name: &str, known: &[&str]) -> String {
    let near = ff_settings::did_you_mean(name, known);
    format!("\"{name}\" is not supported; supported: {}{near}", known.join(", "))
}
