//! Reading a `config.json` field by field, with what is wrong said by its name.

use crate::ConfigError;
use serde_json::{Map, Value};

/// A part of a `config.json`, with where it stands for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'a str,
}

pub(crate) type Result<T> = std::result::Result<T, ConfigError>;

impl<'a> Fields<'a> {
    pub(crate) fn new(map: &'a Map<String, Value>, path: &'a str) -> Self {
        Self { map, path }
    }

    /// What is wrong with a field.
    pub(crate) fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::new(format!("{}{key}", self.path), message)
    }

    /// The first of these names that is there and not null: fields had other names at other times.
    fn get(&self, keys: &[&'a str]) -> Option<(&'a str, &'a Value)> {
        keys.iter().find_map(|&key| Some((key, self.map.get(key).filter(|v| !v.is_null())?)))
    }

    /// A field as it stands, null included.
    pub(crate) fn field(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    pub(crate) fn has(&self, key: &'a str) -> bool {
        self.get(&[key]).is_some()
    }

    fn expected(&self, key: &str, what: &str, found: &Value) -> ConfigError {
        let found = found.to_string();
        let shown: String = found.chars().take(60).collect();
        self.error(key, format!("expected {what}, found {shown}"))
    }

    /// A whole number from 1 to `most`, if it is there.
    pub(crate) fn size(&self, keys: &[&'a str], most: usize) -> Result<Option<usize>> {
        let Some((key, value)) = self.get(keys) else { return Ok(None) };
        let number = value.as_u64().filter(|&n| n >= 1 && n <= most as u64);
        match number {
            Some(number) => Ok(Some(number as usize)),
            None => Err(self.expected(key, &format!("a whole number from 1 to {most}"), value)),
        }
    }

    /// A whole number from 1 to `most` that must be there.
    pub(crate) fn required(&self, keys: &[&'a str], most: usize) -> Result<usize> {
        self.size(keys, most)?.ok_or_else(|| self.missing(keys[0]))
    }

    pub(crate) fn missing(&self, key: &str) -> ConfigError {
        self.error(key, "is missing; the model cannot be built without it")
    }

    /// A whole number from 0 up, if it is there.
    pub(crate) fn count(&self, key: &'a str) -> Result<Option<usize>> {
        let Some((key, value)) = self.get(&[key]) else { return Ok(None) };
        let number = value.as_u64().filter(|&n| n <= 1 << 40);
        match number {
            Some(number) => Ok(Some(number as usize)),
            None => Err(self.expected(key, "a whole number from 0 up", value)),
        }
    }

    /// A finite number, if it is there.
    pub(crate) fn number(&self, keys: &[&'a str]) -> Result<Option<f64>> {
        let Some((key, value)) = self.get(keys) else { return Ok(None) };
        match value.as_f64().filter(|v| v.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.expected(key, "a number", value)),
        }
    }

    /// A number above 0, if it is there.
    pub(crate) fn positive(&self, keys: &[&'a str]) -> Result<Option<f64>> {
        let number = self.number(keys)?;
        match (number, self.get(keys)) {
            (Some(n), Some((key, value))) if n <= 0.0 => {
                Err(self.expected(key, "a number above 0", value))
            }
            _ => Ok(number),
        }
    }

    pub(crate) fn flag(&self, key: &'a str, default: bool) -> Result<bool> {
        match self.get(&[key]) {
            None => Ok(default),
            Some((_, Value::Bool(flag))) => Ok(*flag),
            Some((key, value)) => Err(self.expected(key, "true or false", value)),
        }
    }

    pub(crate) fn text(&self, keys: &[&'a str]) -> Result<Option<&'a str>> {
        match self.get(keys) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text)),
            Some((key, value)) => Err(self.expected(key, "a text", value)),
        }
    }

    pub(crate) fn list(&self, key: &'a str) -> Result<Option<&'a [Value]>> {
        match self.get(&[key]) {
            None => Ok(None),
            Some((_, Value::Array(list))) => Ok(Some(list)),
            Some((key, value)) => Err(self.expected(key, "a list", value)),
        }
    }

    pub(crate) fn map(
        &self,
        keys: &[&'a str],
    ) -> Result<Option<(&'a str, &'a Map<String, Value>)>> {
        match self.get(keys) {
            None => Ok(None),
            Some((key, Value::Object(map))) => Ok(Some((key, map))),
            Some((key, value)) => Err(self.expected(key, "an object", value)),
        }
    }
}

/// The name among `known` that is likely to be meant.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|&k| (strsim::jaro_winkler(name, k), k));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.7).then_some(best.1)
}
