//! One column's way to numbers, whatever its kind.

use serde::{Deserialize, Serialize};

use super::tile::{Met, Tile};
use super::{BooleanEncoder, CategoryEncoder, Coding, DateEncoder, NumberEncoder, TextEncoder};
use crate::date::format_seconds;
use crate::number::format_number;
use crate::table::Values;

/// How a column is encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Encoder {
    /// A quantity.
    Number(NumberEncoder),
    /// True or false.
    Boolean(BooleanEncoder),
    /// One of some values.
    Category(CategoryEncoder),
    /// A day or a moment.
    Date(DateEncoder),
    /// Words.
    Text(TextEncoder),
}

impl Encoder {
    /// The kind of column it encodes, as messages name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Boolean(_) => "boolean",
            Self::Category(_) => "category",
            Self::Date(_) => "date",
            Self::Text(_) => "text",
        }
    }

    /// The numbers it gives for a row.
    pub fn numeric_width(&self) -> usize {
        match self {
            Self::Number(e) => 1 + usize::from(e.flag),
            Self::Boolean(e) => 1 + usize::from(e.flag),
            Self::Category(e) => e.numeric_width(),
            Self::Date(e) => e.parts.len() + usize::from(e.flag),
            Self::Text(_) => 0,
        }
    }

    /// The ids it gives for a row.
    pub fn categorical_width(&self) -> usize {
        match self {
            Self::Category(e) => usize::from(e.coding == Coding::Embedding),
            Self::Text(_) => 1,
            _ => 0,
        }
    }

    /// The names of its numbers for a column of this name.
    pub fn numeric_names(&self, column: &str) -> Vec<String> {
        let flag = |flag: bool| flag.then(|| format!("{column}_missing"));
        match self {
            Self::Number(e) => [column.to_owned()].into_iter().chain(flag(e.flag)).collect(),
            Self::Boolean(e) => [column.to_owned()].into_iter().chain(flag(e.flag)).collect(),
            Self::Category(e) => e.numeric_names(column),
            Self::Date(e) => e.numeric_names(column).into_iter().chain(flag(e.flag)).collect(),
            Self::Text(_) => Vec::new(),
        }
    }

    pub(super) fn expected(&self) -> String {
        match self {
            Self::Number(_) => "numbers".into(),
            Self::Boolean(e) => format!("`{}` or `{}`", e.no, e.yes),
            Self::Category(_) => "categories".into(),
            Self::Date(_) => "dates".into(),
            Self::Text(_) => "texts".into(),
        }
    }

    /// Encodes rows into a tile of numbers of width `stride` from column `at` on.
    pub(super) fn encode(
        &self,
        values: &Values,
        rows: &[usize],
        out: &mut Tile<'_>,
        met: &mut Met,
    ) {
        match self {
            Self::Number(e) => e.encode(values, rows, out, met),
            Self::Boolean(e) => e.encode(values, rows, out, met),
            Self::Category(e) => e.encode(values, rows, out, met),
            Self::Date(e) => e.encode(values, rows, out, met),
            // All rows at a time: see `Transforms::encode_rows`.
            Self::Text(_) => {}
        }
    }

    /// The range of the training values in words, where one is kept.
    pub(super) fn range(&self) -> Option<String> {
        match self {
            Self::Number(e) => {
                let [low, high] = e.range?;
                Some(format!("{} to {}", format_number(low), format_number(high)))
            }
            Self::Date(e) => {
                let [first, last] = e.range?;
                Some(format!("{} to {}", format_seconds(first), format_seconds(last)))
            }
            Self::Boolean(_) | Self::Category(_) | Self::Text(_) => None,
        }
    }
}
