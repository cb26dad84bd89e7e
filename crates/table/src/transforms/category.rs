//! Categories: one 0/1 column each, or ids for an embedding.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::tile::Met;
use super::{Scaler, Tile};
use crate::config::Scaling;
use crate::error::{DataError, Result};
use crate::number::canonical;
use crate::table::Values;

/// How a category is coded: values that were frequent at training have a slot each; rare ones share
/// a slot, which unseen values use too; missing has a slot of its own if it was met at training.
///
/// One-hot coding has a column for each slot that training rows fill. An unseen value where no rare
/// one was met is the share of each slot, the mean of the training rows, as a missing number is
/// their median. Ids are 0 for rare and unseen values, 1 to n for the values in their order, n + 1
/// for missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CategoryEncoder {
    /// The values with a slot of their own, sorted.
    pub values: Vec<String>,
    /// Whether values are numbers, so that `1` and `1.0` are the same.
    pub numeric: bool,
    /// Whether rare values were met.
    pub rare: bool,
    /// Whether missing values were met.
    pub missing: bool,
    /// How slots become numbers.
    pub coding: Coding,
    /// The share of the training rows in each column of one-hot coding, for an unseen value where
    /// no rare one was met; models of before have none and take zeros.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<f32>,
    /// The numbers of one-hot coding where they are scaled: of each column, the one of other values
    /// and that of its own. Two values share one column, for which the second value has the
    /// opposite of the first, before scaling.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<OneHotLevel>,
}

/// The scaled numbers of a one-hot column.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneHotLevel {
    /// Of a cell that is none of the column's values.
    pub off: f32,
    /// Of the column's value.
    pub on: f32,
    /// Of the second value, in a column of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<f32>,
}

/// How slots become numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// A 0/1 column for each slot.
    OneHot,
    /// An id for an embedding.
    Embedding,
}

/// The settings that a category is fitted with.
pub(crate) struct CategoryFit {
    pub(crate) one_hot_max: usize,
    pub(crate) min_frequency: usize,
    pub(crate) max: usize,
    /// The scaling of one-hot columns, where they have one.
    pub(crate) scaling: Option<Scaling>,
}

impl CategoryEncoder {
    /// Fits to the training rows.
    pub(crate) fn fit(
        name: &str,
        values: &Values,
        rows: &[usize],
        numeric: bool,
        settings: &CategoryFit,
    ) -> Result<Self> {
        let mut counts: HashMap<Cow<'_, str>, usize> = HashMap::new();
        let mut missing = false;
        for &row in rows {
            match label(values, row, numeric) {
                None => missing = true,
                Some(label) => *counts.entry(label).or_insert(0) += 1,
            }
            if counts.len() > settings.max {
                return Err(DataError::TooManyCategories {
                    column: name.into(),
                    limit: settings.max,
                });
            }
        }
        let distinct = counts.len();
        let frequent = counts.into_iter().filter(|(_, n)| *n >= settings.min_frequency);
        let mut frequent: Vec<_> = frequent.map(|(label, n)| (label.into_owned(), n)).collect();
        frequent.sort_unstable();
        let (known, counts): (Vec<String>, Vec<usize>) = frequent.into_iter().unzip();
        let rare = known.len() < distinct;
        let slots = known.len() + usize::from(rare) + usize::from(missing);
        let coding = if slots <= settings.one_hot_max { Coding::OneHot } else { Coding::Embedding };
        let mut encoder =
            Self { values: known, numeric, rare, missing, coding, shares: vec![], levels: vec![] };
        if let (Coding::OneHot, Some(scaling)) = (coding, settings.scaling) {
            let mut met = Met::default();
            let slots: Vec<usize> =
                rows.iter().map(|&row| encoder.slot(encoder.id(values, row, &mut met))).collect();
            encoder.levels = levels(&slots, encoder.slots(), scaling);
        } else if coding == Coding::OneHot && !rare {
            let present: usize = counts.iter().sum();
            let gaps = missing.then_some(rows.len() - present);
            encoder.shares =
                counts.into_iter().chain(gaps).map(|n| n as f32 / rows.len() as f32).collect();
        }
        Ok(encoder)
    }

    /// The columns of one-hot coding without scaling: the values, rare ones, missing.
    fn slots(&self) -> usize {
        self.values.len() + usize::from(self.rare) + usize::from(self.missing)
    }

    /// The slot of an id among the one-hot columns: the values, rare ones, missing; beyond the last
    /// one for a value that has none.
    pub fn slot(&self, id: usize) -> usize {
        let n = self.values.len();
        match id {
            0 if self.rare => n,
            0 => self.slots(),
            // Where no value was missing, neither has such a cell one.
            id if id > n => n + usize::from(self.rare),
            id => id - 1,
        }
    }

    /// The number of ids: rare or unseen, the values, missing.
    pub fn cardinality(&self) -> usize {
        self.values.len() + 1 + usize::from(self.missing)
    }

    /// The id of a cell.
    fn id(&self, values: &Values, row: usize, met: &mut Met) -> usize {
        match label(values, row, self.numeric) {
            None if self.missing => self.values.len() + 1,
            None => {
                met.gaps += 1;
                0
            }
            Some(label) => {
                let place = self.values.binary_search_by(|value| value.as_str().cmp(&label));
                place.map_or_else(
                    |_| {
                        met.unseen += 1;
                        met.example(values, row);
                        0
                    },
                    |i| i + 1,
                )
            }
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        let sorted = self.values.windows(2).all(|pair| pair[0] < pair[1]);
        let shares = self.shares.len() == self.numeric_width() || self.shares.is_empty();
        let columns = if self.slots() == 2 { 1 } else { self.slots() };
        let levels = self.levels.is_empty() || self.levels.len() == columns;
        let finite = |level: &OneHotLevel| {
            let second = level.second.unwrap_or_default();
            level.off.is_finite() && level.on.is_finite() && second.is_finite()
        };
        let finite = self.levels.iter().all(finite);
        sorted && shares && levels && finite && self.shares.iter().all(|share| share.is_finite())
    }

    pub(super) fn numeric_width(&self) -> usize {
        match self.coding {
            Coding::OneHot if !self.levels.is_empty() => self.levels.len(),
            Coding::OneHot => self.slots(),
            Coding::Embedding => 0,
        }
    }

    pub(super) fn numeric_names(&self, column: &str) -> Vec<String> {
        if self.coding == Coding::Embedding {
            return Vec::new();
        }
        let values = self.values.iter().map(|value| format!("{column}={value}"));
        let rare = self.rare.then(|| format!("{column}=(other)"));
        let missing = self.missing.then(|| format!("{column}=(missing)"));
        values.chain(rare).chain(missing).take(self.numeric_width()).collect()
    }

    pub(super) fn encode(
        &self,
        values: &Values,
        rows: &[usize],
        out: &mut Tile<'_>,
        met: &mut Met,
    ) {
        let n = self.values.len();
        for (i, &row) in rows.iter().enumerate() {
            let id = self.id(values, row, met);
            match (self.coding, id) {
                (Coding::Embedding, id) => out.set_id(i, id),
                (Coding::OneHot, id) if !self.levels.is_empty() => {
                    let slot = self.slot(id);
                    for (column, level) in self.levels.iter().enumerate() {
                        out.set(i, column, level.at(column, slot));
                    }
                }
                (Coding::OneHot, 0) if self.rare => out.set(i, n, 1.0),
                (Coding::OneHot, 0) => {
                    self.shares.iter().enumerate().for_each(|(slot, &x)| out.set(i, slot, x));
                }
                (Coding::OneHot, id) if id > n => out.set(i, n + usize::from(self.rare), 1.0),
                (Coding::OneHot, id) => out.set(i, id - 1, 1.0),
            }
        }
    }
}

impl OneHotLevel {
    /// The number of a cell of this slot in a column.
    pub fn at(&self, column: usize, slot: usize) -> f32 {
        match self.second {
            _ if slot == column => self.on,
            Some(second) if slot == 1 => second,
            _ => self.off,
        }
    }
}

/// The scaled numbers of one-hot columns, from the slot of each training row.
fn levels(slots: &[usize], count: usize, scaling: Scaling) -> Vec<OneHotLevel> {
    if count == 2 {
        let mut raw: Vec<f64> = slots.iter().map(|&s| [1.0, -1.0, 0.0][s.min(2)]).collect();
        let scaler = Scaler::fit(scaling, &mut raw);
        let [off, on, second] = [0.0, 1.0, -1.0].map(|x| scaler.apply(x) as f32);
        return vec![OneHotLevel { off, on, second: Some(second) }];
    }
    let column = |column| {
        let mut raw: Vec<f64> = slots.iter().map(|&s| f64::from(u8::from(s == column))).collect();
        let scaler = Scaler::fit(scaling, &mut raw);
        let [off, on] = [0.0, 1.0].map(|x| scaler.apply(x) as f32);
        OneHotLevel { off, on, second: None }
    };
    (0..count).map(column).collect()
}

/// The category of a cell; `None` if missing.
pub(super) fn label(values: &Values, row: usize, numeric: bool) -> Option<Cow<'_, str>> {
    let label = values.label(row)?;
    let number = if numeric { canonical(&label) } else { None };
    Some(number.map_or(label, Cow::Owned))
}
