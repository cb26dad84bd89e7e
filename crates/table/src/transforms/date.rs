//! Dates: year, month, day, weekday, hour and days since 1970, each standardised.

use serde::{Deserialize, Serialize};

use super::Scaler;
use super::tile::{Met, Tile, Unreadable};
use crate::config::Scaling;
use crate::date::{PART_NAMES, PARTS, parse, parts};
use crate::table::Values;

/// How a date is encoded: the parts that differ among the training rows, each standardised; gaps
/// are filled with each part's mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DateEncoder {
    /// How texts are read: `iso`, or a pattern of `strptime`.
    pub text_format: String,
    /// The parts and their scalings.
    pub parts: Vec<(String, Scaler)>,
    /// Whether a last number says that the value is missing.
    pub flag: bool,
    /// The first and the last moment of the training rows, in seconds since 1970; models of before
    /// have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// Whether training rows had gaps; not known of models of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gaps: Option<bool>,
    /// Texts that were read as missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_texts: Vec<String>,
}

impl DateEncoder {
    /// Fits to the training rows; cells that cannot be read are noted and left out.
    pub(crate) fn fit(
        values: &Values,
        rows: &[usize],
        text_format: &str,
        missing_texts: &[String],
        flag: bool,
        unreadable: &mut Option<Unreadable>,
    ) -> Self {
        let mut encoder = Self {
            text_format: text_format.into(),
            parts: Vec::new(),
            flag: false,
            range: None,
            gaps: Some(false),
            missing_texts: missing_texts.to_vec(),
        };
        let mut columns: [Vec<f64>; PARTS] = Default::default();
        for &row in rows {
            match encoder.seconds(values, row) {
                Ok(Some((seconds, found))) => {
                    let [first, last] = encoder.range.unwrap_or([seconds; 2]);
                    encoder.range = Some([seconds.min(first), seconds.max(last)]);
                    for (column, x) in columns.iter_mut().zip(found) {
                        column.push(x);
                    }
                }
                Ok(None) => (encoder.flag, encoder.gaps) = (flag, Some(true)),
                Err(text) => Unreadable::note(unreadable, row, &text),
            }
        }
        for (name, mut column) in PART_NAMES.iter().zip(columns) {
            if column.windows(2).any(|pair| pair[0] != pair[1]) {
                let scaler = Scaler::fit(Scaling::Standard, &mut column);
                encoder.parts.push(((*name).into(), scaler));
            }
        }
        encoder
    }

    /// The moment of a cell and its parts.
    pub(super) fn seconds(
        &self,
        values: &Values,
        row: usize,
    ) -> Result<Option<(f64, [f64; PARTS])>, String> {
        let seconds = match values {
            Values::Date(_) => values.number(row),
            _ => match values.label(row) {
                None => None,
                Some(text) => match parse(&text, &self.text_format) {
                    Some(seconds) => Some(seconds),
                    None if self.missing_texts.iter().any(|odd| *odd == text) => None,
                    None => return Err(text.into_owned()),
                },
            },
        };
        Ok(seconds.and_then(|seconds| Some((seconds, parts(seconds)?))))
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.parts
            .iter()
            .all(|(name, scaler)| PART_NAMES.contains(&name.as_str()) && scaler.is_valid())
    }

    pub(super) fn numeric_names(&self, column: &str) -> Vec<String> {
        self.parts.iter().map(|(part, _)| format!("{column}.{part}")).collect()
    }

    pub(super) fn encode(
        &self,
        values: &Values,
        rows: &[usize],
        out: &mut Tile<'_>,
        met: &mut Met,
    ) {
        let index = |name: &String| PART_NAMES.iter().position(|part| part == name);
        let columns: Vec<Option<usize>> = self.parts.iter().map(|(name, _)| index(name)).collect();
        for (i, &row) in rows.iter().enumerate() {
            let found = self.seconds(values, row).unwrap_or_else(|text| {
                Unreadable::note(&mut met.unreadable, row, &text);
                None
            });
            match (found, self.range) {
                (Some((seconds, _)), Some([first, last])) if seconds < first || seconds > last => {
                    met.outside += 1;
                    met.example(values, row);
                }
                (None, _) => met.gaps += usize::from(self.gaps == Some(false)),
                _ => {}
            }
            let found = found.map(|(_, parts)| parts);
            for (feature, (column, (_, scaler))) in columns.iter().zip(&self.parts).enumerate() {
                // A standardised part has mean 0, which is what stands in for a gap.
                let x = found.and_then(|parts| column.map(|column| scaler.apply(parts[column])));
                out.set(i, feature, x.unwrap_or(0.0) as f32);
            }
            if self.flag {
                out.set(i, self.parts.len(), f32::from(u8::from(found.is_none())));
            }
        }
    }
}
