//! One object: its keys and values in order, repeated keys included.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The keys and values of an object, in the order of the file.
pub(super) struct Row(pub(super) Vec<(String, Cell)>);

/// A value under a key.
#[derive(Clone)]
pub(super) enum Cell {
    /// A value of JSON.
    Json(Value),
    /// An infinite number, which JSON has not.
    Number(f64),
}

/// Stands before `+` or `-` for an infinite number.
const INFINITE: &str = "\u{0}inf";

impl Cell {
    /// The value as a number; NaN where it is none.
    pub(super) fn number(&self) -> f64 {
        match self {
            Self::Number(x) => *x,
            Self::Json(value) => value.as_f64().unwrap_or(f64::NAN),
        }
    }

    /// The value as JSON, which has no infinite numbers.
    pub(super) fn json(self) -> Value {
        match self {
            Self::Json(value) => value,
            Self::Number(_) => Value::Null,
        }
    }
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        match value.as_str().and_then(|text| text.strip_prefix(INFINITE)) {
            Some("+") => Self::Number(f64::INFINITY),
            Some("-") => Self::Number(f64::NEG_INFINITY),
            _ => Self::Json(value),
        }
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Cells;

        impl<'de> Visitor<'de> for Cells {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut cells = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    cells.push((key, value.into()));
                }
                Ok(Row(cells))
            }
        }

        from.deserialize_map(Cells)
    }
}

/// The same JSON with NaN as null and infinite numbers as marked texts; `None` where there are
/// neither.
pub(super) fn without_nan(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [(&[u8], &[u8]); 3] =
        [(b"NaN", b"null"), (b"-Infinity", b"\"\\u0000inf-\""), (b"Infinity", b"\"\\u0000inf+\"")];
    let mut plain = Vec::with_capacity(bytes.len() + 16);
    let (mut at, mut in_text, mut found) = (0, false, false);
    while at < bytes.len() {
        let word = WORDS.iter().find(|(word, _)| !in_text && bytes[at..].starts_with(word));
        if let Some((word, with)) = word {
            plain.extend_from_slice(with);
            at += word.len();
            found = true;
            continue;
        }
        if in_text && bytes[at] == b'\\' {
            plain.push(b'\\');
            at += 1;
        } else if bytes[at] == b'"' {
            in_text = !in_text;
        }
        plain.extend(bytes.get(at));
        at += 1;
    }
    found.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_has_not() {
        let line =
            br#"{"NaN": NaN, "a": "Infinity \" NaN", "b": [NaN], "c": -Infinity, "d": Infinity}"#;
        let Row(cells) = serde_json::from_slice(&without_nan(line).unwrap()).unwrap();
        let found: Vec<_> = cells.iter().map(|(key, cell)| (key.as_str(), cell.number())).collect();
        assert_eq!(found[3..], [("c", f64::NEG_INFINITY), ("d", f64::INFINITY)]);
        assert!(found[0].1.is_nan() && found[0].0 == "NaN");
        assert_eq!(cells[1].1.clone().json(), "Infinity \" NaN");
        assert!(without_nan(br#"{"a": "NaN"}"#).is_none());
    }
}
