//! What a recipe may say about a single column.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Missing, Scaling};
use crate::schema::Kind;

/// What a recipe says about one column: a kind alone, or a table of options.
///
/// ```
/// use ff_table::{DataConfig, Kind, Scaling};
///
/// let config: DataConfig = toml::from_str(r#"
///     [columns]
///     pclass = "number"
///     fare = { kind = "number", scaling = "quantile_normal", missing = "constant", fill = 0.0 }
/// "#).unwrap();
/// assert_eq!(config.columns["pclass"].kind, Some(Kind::Number));
/// assert_eq!(config.columns["fare"].scaling, Some(Scaling::QuantileNormal));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnConfig {
    options: ColumnOptions,
}

/// The options of one column; what is not given follows the `[data]` table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnOptions {
    /// What the column is; inferred by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// How missing numbers are filled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// The number for `missing = "constant"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fill: Option<f64>,
    /// How numbers are scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Take log(1 + x) before scaling (x > -1).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub log: bool,
    /// The most categories coded as 0/1 columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_hot_max: Option<usize>,
    /// The fewest training rows of a category of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_frequency: Option<usize>,
    /// Texts of the column that stand for a missing value; those of `data.null_values` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_values: Option<Vec<String>>,
    /// The character before decimals, `.` or `,`; found in the column by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimal: Option<char>,
    /// The character between thousands: `,`, `.`, `'` or a space; found in the column by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thousands: Option<char>,
    /// How dates are written, such as `%d/%m/%Y`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

impl From<Kind> for ColumnConfig {
    fn from(kind: Kind) -> Self {
        Self { options: ColumnOptions { kind: Some(kind), ..ColumnOptions::default() } }
    }
}

impl From<ColumnOptions> for ColumnConfig {
    fn from(options: ColumnOptions) -> Self {
        Self { options }
    }
}

impl std::ops::Deref for ColumnConfig {
    type Target = ColumnOptions;

    fn deref(&self) -> &ColumnOptions {
        &self.options
    }
}

impl Serialize for ColumnConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.options.kind {
            Some(kind) if *self == Self::from(kind) => kind.serialize(serializer),
            _ => self.options.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ColumnConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KindOrOptions;

        impl<'de> Visitor<'de> for KindOrOptions {
            type Value = ColumnConfig;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a kind of column such as \"number\", or a table of options")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ColumnConfig, E> {
                Kind::deserialize(StrDeserializer::new(text)).map(Into::into)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ColumnConfig, A::Error> {
                ColumnOptions::deserialize(MapAccessDeserializer::new(map)).map(Into::into)
            }
        }

        deserializer.deserialize_any(KindOrOptions)
    }
}

impl JsonSchema for ColumnConfig {
    fn schema_name() -> Cow<'static, str> {
        "ColumnConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let kind = generator.subschema_for::<Kind>();
        let options = generator.subschema_for::<ColumnOptions>();
        json_schema!({
            "description": "What a column is: a kind alone, or a table of options.",
            "anyOf": [kind, options]
        })
    }
}
