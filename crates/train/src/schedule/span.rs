//! Spans of training.

use crate::keys::{Setting, Value};
use ff_settings::{ConfigError, Range};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A span of training: an integer counts steps, a fraction such as 0.1 is relative to all steps.
///
/// ```
/// use ff_train::schedule::Span;
/// assert_eq!(serde_json::from_str::<Span>("100")?, Span::Steps(100));
/// assert_eq!(serde_json::from_str::<Span>("0.1")?.steps(2000), 200);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Span {
    /// A number of steps.
    Steps(u64),
    /// A fraction of all steps.
    Fraction(f64),
}

impl Span {
    /// The number of steps out of a total, rounded to the nearest.
    pub fn steps(self, total: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Fraction(fraction) => (fraction * total as f64).round() as u64,
        }
    }

    fn is_zero(self) -> bool {
        matches!(self, Self::Steps(0)) || self == Self::Fraction(0.0)
    }

    pub(super) fn check_valid(self, key: &str) -> Result<(), ConfigError> {
        if self.is_valid() {
            return Ok(());
        }
        let message = format!("must be steps or a fraction between 0.0 and 1.0, found {self}");
        Err(ConfigError::new(key, message))
    }

    fn is_valid(self) -> bool {
        match self {
            Self::Steps(_) => true,
            Self::Fraction(fraction) => (0.0..=1.0).contains(&fraction),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps}"),
            Self::Fraction(fraction) => write!(f, "{fraction:?}"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Steps(steps) => serializer.serialize_u64(*steps),
            Self::Fraction(fraction) => serializer.serialize_f64(*fraction),
        }
    }
}

impl Setting for Span {
    const EXPECTED: &'static str =
        "a number of steps, such as 100, or a fraction of all steps between 0.0 and 1.0";

    fn of(value: &Value) -> Option<Self> {
        let span = match value {
            Value::Integer(steps) => Self::Steps(u64::try_from(*steps).ok()?),
            Value::Number(fraction) => Self::Fraction(*fraction),
            _ => return None,
        };
        Some(span).filter(|span| span.is_valid())
    }

    fn value(&self) -> Option<Value> {
        match self {
            Self::Steps(steps) => steps.value(),
            Self::Fraction(fraction) => fraction.value(),
        }
    }

    fn check(&self, key: &str, range: Range) -> Result<(), ConfigError> {
        if range == Range::Above(0.0) && self.is_zero() {
            return Err(ConfigError::new(key, "must be at least one step, found 0"));
        }
        self.check_valid(key)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Span::EXPECTED)
    }

    fn visit_u64<E: Error>(self, steps: u64) -> Result<Span, E> {
        Ok(Span::Steps(steps))
    }

    fn visit_i64<E: Error>(self, steps: i64) -> Result<Span, E> {
        let found = || E::invalid_value(Unexpected::Signed(steps), &self);
        u64::try_from(steps).map(Span::Steps).map_err(|_| found())
    }

    fn visit_f64<E: Error>(self, fraction: f64) -> Result<Span, E> {
        let span = Span::Fraction(fraction);
        let found = || E::invalid_value(Unexpected::Float(fraction), &self);
        span.is_valid().then_some(span).ok_or_else(found)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of steps, or a fraction of all steps between 0.0 and 1.0.",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "number", "minimum": 0, "maximum": 1 }
            ]
        })
    }
}
