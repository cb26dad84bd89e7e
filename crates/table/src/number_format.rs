//! Numbers as people and offices write them: decimal commas, groups of thousands, currencies,
//! units.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::number::parse_number;
use crate::table::TextValues;

mod detect;
mod parts;

pub(crate) use detect::read_columns;
use parts::Parts;

/// How a column writes its numbers, where that is not plain.
///
/// ```
/// use ff_table::NumberFormat;
/// let format = NumberFormat { currency: Some("€".into()), ..NumberFormat::new(',', '.') };
/// assert_eq!(format.plain("1.234,50 €").as_deref(), Some("1234.50"));
/// assert_eq!(format.plain("-0,5").as_deref(), Some("-0.5"));
/// assert_eq!(format.plain("$5"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NumberFormat {
    /// The character before decimals: a point or a comma.
    pub decimal: char,
    /// The character between thousands. A space stands for every kind of space, `'` for `’` too.
    pub thousands: char,
    /// The currency that may stand before or behind a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The unit or per cent sign that may stand behind a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Texts that were read as missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_texts: Vec<String>,
}

impl NumberFormat {
    /// A format without a currency or unit.
    pub fn new(decimal: char, thousands: char) -> Self {
        Self { decimal, thousands, currency: None, unit: None, missing_texts: Vec::new() }
    }

    /// The number that a text stands for, as every program reads it; `None` where it is none.
    pub fn plain(&self, text: &str) -> Option<String> {
        let parts = Parts::of(text)?;
        let fits = |found: Option<&str>, own: &Option<String>| {
            found.is_none_or(|found| own.as_deref() == Some(found))
        };
        if !fits(parts.currency, &self.currency) || !fits(parts.unit, &self.unit) {
            return None;
        }
        parts.plain(self.decimal, self.thousands)
    }

    /// The same texts with plain numbers; those that are none stay as they are.
    pub(crate) fn convert(&self, texts: &TextValues) -> TextValues {
        let mut found = TextValues::default();
        for row in 0..texts.len() {
            match texts.get(row) {
                None => found.push_missing(texts.raw(row)),
                Some(text) if self.missing_texts.iter().any(|odd| odd == text.trim()) => {
                    found.push_missing(text);
                }
                Some(text) => found.push(&self.plain(text).map_or(Cow::Borrowed(text), Cow::Owned)),
            }
        }
        found
    }
}

/// The different texts of a column that stand for no number, few enough to be missing values.
fn odd_texts(texts: &TextValues, format: &NumberFormat) -> Option<Vec<String>> {
    let (mut odd, mut unknown, mut numbers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut count, mut rows) = (0, 0);
    for text in (0..texts.len()).filter_map(|row| texts.get(row)).map(str::trim) {
        count += 1;
        if format.plain(text).is_some() {
            if numbers.len() < 10 {
                numbers.insert(text);
            }
            continue;
        }
        odd.insert(text);
        if !crate::schema::MARKERS.contains(&text) {
            unknown.insert(text);
            rows += 1;
            if unknown.len() > crate::schema::MAX_ODD {
                return None;
            }
        }
    }
    let few =
        unknown.is_empty() || (numbers.len() >= 10 && f64::from(rows) <= 0.2 * f64::from(count));
    (few && !numbers.is_empty()).then(|| odd.into_iter().map(String::from).collect())
}

/// Whether a text is a number as it stands.
fn is_plain(text: &str) -> bool {
    parse_number(text.as_bytes()).is_some()
}
