//! Options of a layer: each that is read is known, any other is refused by name.

use crate::onnx::{DType, Error, Result};
use serde_json::{Map, Value as Json};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Options that change nothing in inference.
const IGNORED: &[&str] =
    &["name", "trainable", "dtype", "seed", "synchronized", "batch_input_shape"];
const IGNORED_ENDS: &[&str] = &["_initializer", "_regularizer", "_constraint", "_sharding"];

/// The options of a layer.
#[derive(Debug)]
pub(super) struct Config<'a> {
    /// The layer, for messages.
    pub(super) what: String,
    values: Option<&'a Map<String, Json>>,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Config<'a> {
    pub(super) fn new(what: String, values: Option<&'a Json>) -> Self {
        Self { what, values: values.and_then(Json::as_object), read: RefCell::default() }
    }

    /// An error that names the layer.
    pub(super) fn unsupported(&self, message: impl std::fmt::Display) -> Error {
        Error::Unsupported(format!("{}: {message}", self.what))
    }

    /// The same for what contradicts itself.
    pub(super) fn bad(&self, message: impl std::fmt::Display) -> Error {
        Error::Malformed(format!("{}: {message}", self.what))
    }

    /// An option; `None` also for null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Json> {
        self.read.borrow_mut().insert(key.to_owned());
        self.values?.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, key: &str, default: &'a str) -> Result<&'a str> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| self.wrong(key, "a text", value)),
        }
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false", value)),
        }
    }

    pub(super) fn number(&self, key: &str, default: f64) -> Result<f64> {
        Ok(self.maybe_number(key)?.unwrap_or(default))
    }

    pub(super) fn maybe_number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        number(value).map(Some).ok_or_else(|| self.wrong(key, "a number", value))
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok());
        size.map(Some).ok_or_else(|| self.wrong(key, "a count", value))
    }

    /// One integer or several.
    pub(super) fn integers(&self, key: &str) -> Result<Option<Vec<i64>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let all = match value {
            Json::Array(values) => values.iter().map(Json::as_i64).collect(),
            one => one.as_i64().map(|n| vec![n]),
        };
        all.map(Some).ok_or_else(|| self.wrong(key, "integers", value))
    }

    /// Integers, of which some may be null.
    pub(super) fn integers_or_null(&self, key: &str) -> Result<Vec<Option<i64>>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let all = match value {
            Json::Array(values) => values
                .iter()
                .map(|value| if value.is_null() { Some(None) } else { value.as_i64().map(Some) })
                .collect(),
            one => one.as_i64().map(|n| vec![Some(n)]),
        };
        all.ok_or_else(|| self.wrong(key, "integers", value))
    }

    /// One number or several, flattened.
    pub(super) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let mut all = Vec::new();
        if !flatten(value, &mut all, 0) {
            return Err(self.wrong(key, "numbers", value));
        }
        Ok(Some(all))
    }

    /// The type of the layer's computation; `None` where none is stated.
    pub(super) fn dtype(&self) -> Result<Option<DType>> {
        let Some(value) = self.get("dtype") else { return Ok(None) };
        let name = match value {
            Json::String(name) => name.as_str(),
            value if value["class_name"] == "DTypePolicy" || value["class_name"] == "Policy" => {
                value["config"]["name"].as_str().unwrap_or_default()
            }
            value => {
                let class = value["class_name"].as_str().unwrap_or("?");
                return Err(self.unsupported(format!("the dtype policy {class} is not evaluated")));
            }
        };
        dtype(name).map(Some).ok_or_else(|| {
            self.unsupported(format!(
                "computation in {name} is not evaluated, only float32, float64"
            ))
        })
    }

    fn wrong(&self, key: &str, expected: &str, value: &Json) -> Error {
        let mut shown = value.to_string();
        if shown.len() > 60 {
            shown = shown.chars().take(57).collect::<String>() + "…";
        }
        self.bad(format!("`{key}` should be {expected}, found {shown}"))
    }

    /// Refuses options that were not read.
    pub(super) fn finish(&self) -> Result<()> {
        let read = self.read.borrow();
        let unread = self.values.into_iter().flatten().find(|(key, value)| {
            !value.is_null()
                && !read.contains(*key)
                && !IGNORED.contains(&key.as_str())
                && !IGNORED_ENDS.iter().any(|end| key.ends_with(end))
        });
        match unread {
            Some((key, _)) => Err(self.unsupported(format!("the option `{key}` is not known"))),
            None => Ok(()),
        }
    }
}

/// A number, also as Keras writes NumPy's.
pub(super) fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Number(number) => number.as_f64(),
        Json::Object(_) if value["class_name"] == "__numpy__" => number(&value["config"]["value"]),
        Json::Array(values) if values.len() == 1 => number(&values[0]),
        _ => None,
    }
}

/// Collects the numbers of nested lists.
pub(super) fn flatten(value: &Json, all: &mut Vec<f64>, depth: usize) -> bool {
    match value {
        Json::Array(values) if depth < 16 => {
            values.iter().all(|value| flatten(value, all, depth + 1))
        }
        Json::Object(_) if depth < 16 && is_array(value) => {
            flatten(&value["config"]["value"], all, depth + 1)
        }
        Json::Bool(flag) => {
            all.push(f64::from(u8::from(*flag)));
            true
        }
        other => other.as_f64().map(|x| all.push(x)).is_some(),
    }
}

/// Whether a value is an array of NumPy or of a backend.
pub(super) fn is_array(value: &Json) -> bool {
    matches!(value["class_name"].as_str(), Some("__numpy__" | "__tensor__"))
}

/// The type of a name of Keras.
pub(super) fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "float32" => DType::F32,
        "float64" => DType::F64,
        "int8" => DType::I8,
        "int16" => DType::I16,
        "int32" => DType::I32,
        "int64" | "int" => DType::I64,
        "uint8" => DType::U8,
        "uint16" => DType::U16,
        "uint32" => DType::U32,
        "bool" => DType::Bool,
        "string" => DType::Text,
        _ => return None,
    })
}
