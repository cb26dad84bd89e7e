//! Numbers and truth values: gaps filled, scaled, a flag for what was missing.

use serde::{Deserialize, Serialize};

use super::Scaler;
use super::tile::{Met, Tile, Unreadable};
use crate::config::{Missing, Scaling};
use crate::number::parse_number;
use crate::statistics::{median, moments};
use crate::table::Values;

/// How a column of numbers is encoded: `scale(log?(x))`, with gaps filled and, if there were gaps
/// at training, a flag.
///
/// Infinite values count as missing, and so do those that rasters, netCDF and databases write where
/// there is no value, such as the largest of `f32` and `f64`. A value farther from the training
/// range than `FAR` times its width is taken for the value at that distance, so that no layer
/// overflows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NumberEncoder {
    /// The substitute for a missing value, in the column's own unit.
    pub fill: f64,
    /// Whether a second number says that the value is missing.
    pub flag: bool,
    /// Whether log(1 + x) is taken before scaling.
    #[serde(default)]
    pub log: bool,
    /// The scaling.
    pub scaler: Scaler,
    /// Scaled values beyond ± this are cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// Texts that were read as missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_texts: Vec<String>,
    /// The smallest and the largest training value; models of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// Whether training rows had gaps; not known of models of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gaps: Option<bool>,
}

/// The widths of the training range beyond which a number is cut off.
const FAR: f64 = 1e3;

/// How a truth value is encoded: 0 or 1, gaps filled with the share of true values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BooleanEncoder {
    /// The text of false, in any case.
    pub no: String,
    /// The text of true, in any case.
    pub yes: String,
    /// The substitute for a missing value.
    pub fill: f64,
    /// Whether a second number says that the value is missing.
    pub flag: bool,
    /// Whether training rows had gaps; not known of models of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gaps: Option<bool>,
}

/// The settings that a number is fitted with.
pub(crate) struct RawFit {
    pub(crate) missing: Missing,
    pub(crate) fill: f64,
    pub(crate) flag: bool,
    pub(crate) log: bool,
    pub(crate) scaling: Scaling,
    pub(crate) clip: Option<f64>,
    pub(crate) missing_texts: Vec<String>,
}

impl NumberEncoder {
    /// Fits to the training rows; cells that cannot be read are noted and left out.
    pub(crate) fn fit(
        values: &Values,
        rows: &[usize],
        settings: RawFit,
        unreadable: &mut Option<Unreadable>,
    ) -> Self {
        let RawFit { missing, fill, flag, log, scaling, clip, missing_texts } = settings;
        let scaler = Scaler::None;
        let (range, gaps) = (None, None);
        let mut encoder = Self { fill, flag: false, log, scaler, clip, missing_texts, range, gaps };
        let mut present: Vec<f64> = Vec::with_capacity(rows.len());
        if let Values::Number(numbers) = values {
            numbers.for_rows(rows, |x| {
                if encoder.usable(x) {
                    present.push(x);
                }
            });
        } else {
            for &row in rows {
                match encoder.read(values, row) {
                    Ok(Some(x)) => present.push(x),
                    Ok(None) => {}
                    Err(text) => Unreadable::note(unreadable, row, &text),
                }
            }
        }
        let gaps = present.len() < rows.len();
        (encoder.flag, encoder.gaps) = (flag && gaps, Some(gaps));
        encoder.range = present.iter().fold(None, |range, &x| {
            let [low, high] = range.unwrap_or([x, x]);
            Some([x.min(low), x.max(high)])
        });
        encoder.fill = match missing {
            Missing::Constant => fill,
            Missing::Mean => moments(present.iter().copied()).0,
            Missing::Median => {
                if present.is_empty() {
                    0.0
                } else {
                    median(&mut present)
                }
            }
        };
        if encoder.log {
            for x in &mut present {
                *x = x.ln_1p();
            }
        }
        encoder.scaler = Scaler::fit(scaling, &mut present);
        encoder
    }

    /// The finite value of a cell that `log` can be taken of; `None` if missing or infinite.
    fn read(&self, values: &Values, row: usize) -> Result<Option<f64>, String> {
        Ok(self.raw(values, row)?.filter(|x| self.usable(*x)))
    }

    /// The value of a cell as it is; `None` if missing.
    pub(super) fn raw(&self, values: &Values, row: usize) -> Result<Option<f64>, String> {
        Ok(match values {
            Values::Text(texts) => match texts.get(row) {
                None => None,
                Some(text) => match parse_number(text.as_bytes()) {
                    Some(x) => Some(x),
                    None if self.missing_texts.iter().any(|odd| odd == text.trim()) => None,
                    None => return Err(text.to_owned()),
                },
            },
            _ => values.number(row),
        })
    }

    #[inline]
    fn usable(&self, x: f64) -> bool {
        x.is_finite() && !stands_for_nothing(x) && !(self.log && x <= -1.0)
    }

    /// The values that are told apart: farther ones are cut off.
    pub fn bounds(&self) -> [f64; 2] {
        let Some([low, high]) = self.range else { return [f64::NEG_INFINITY, f64::INFINITY] };
        let width = if high > low { high - low } else { low.abs().max(1.0) };
        [low - FAR * width, high + FAR * width]
    }

    #[inline]
    fn scale(&self, x: f64) -> f32 {
        let scaled = self.scaler.apply(if self.log { x.ln_1p() } else { x });
        let limit = self.clip.unwrap_or(f64::from(f32::MAX));
        scaled.clamp(-limit, limit) as f32
    }

    pub(super) fn encode(
        &self,
        values: &Values,
        rows: &[usize],
        out: &mut Tile<'_>,
        met: &mut Met,
    ) {
        let fill = self.scale(self.fill);
        let [low, high] = self.range.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
        let [least, most] = self.bounds();
        let (mut gaps, mut outside, mut first) = (0, 0, None);
        let mut set = |i: usize, value: Option<f64>| {
            let scaled = value.map_or(fill, |x| self.scale(x.clamp(least, most)));
            match value {
                None => gaps += 1,
                Some(x) if x < low || x > high => {
                    outside += 1;
                    first.get_or_insert(rows[i]);
                }
                Some(_) => {}
            }
            out.set(i, 0, scaled);
            if self.flag {
                out.set(i, 1, f32::from(u8::from(value.is_none())));
            }
        };
        if let Values::Number(numbers) = values {
            let mut i = 0;
            numbers.for_rows(rows, |x| {
                set(i, Some(x).filter(|x| self.usable(*x)));
                i += 1;
            });
        } else {
            for (i, &row) in rows.iter().enumerate() {
                let value = self.read(values, row).unwrap_or_else(|text| {
                    Unreadable::note(&mut met.unreadable, row, &text);
                    None
                });
                set(i, value);
            }
        }
        met.outside += outside;
        if let Some(row) = first {
            met.example(values, row);
        }
        if self.gaps == Some(false) {
            met.gaps += gaps;
        }
    }

    pub(crate) fn is_valid(&self) -> bool {
        let range =
            self.range.is_none_or(|[low, high]| low.is_finite() && high.is_finite() && low <= high);
        range && self.scaler.is_valid()
    }
}

/// What netCDF writes where there is no value.
const NETCDF_FILL: f32 = 9.969_21e36;

/// Whether a finite number is one of those that stand for no value: the limits of `f32` and `f64`,
/// and netCDF's.
#[inline]
pub(crate) fn stands_for_nothing(x: f64) -> bool {
    let size = x.abs();
    let single = size as f32;
    size > 9e36 && (size == f64::MAX || single == f32::MAX || single == NETCDF_FILL)
}

impl BooleanEncoder {
    /// Fits to the training rows; cells that cannot be read are noted and left out.
    pub(crate) fn fit(
        values: &Values,
        rows: &[usize],
        (no, yes): (&str, &str),
        flag: bool,
        unreadable: &mut Option<Unreadable>,
    ) -> Self {
        let (no, yes) = (no.to_owned(), yes.to_owned());
        let mut encoder = Self { no, yes, fill: 0.0, flag: false, gaps: Some(false) };
        let (mut present, mut sum) = (0.0, 0.0);
        for &row in rows {
            match encoder.read(values, row) {
                Ok(Some(x)) => {
                    present += 1.0;
                    sum += x;
                }
                Ok(None) => (encoder.flag, encoder.gaps) = (flag, Some(true)),
                Err(text) => Unreadable::note(unreadable, row, &text),
            }
        }
        encoder.fill = if present > 0.0 { sum / present } else { 0.0 };
        encoder
    }

    pub(super) fn read(&self, values: &Values, row: usize) -> Result<Option<f64>, String> {
        let Some(label) = values.label(row) else { return Ok(None) };
        if label.eq_ignore_ascii_case(&self.yes) {
            return Ok(Some(1.0));
        }
        if label.eq_ignore_ascii_case(&self.no) {
            return Ok(Some(0.0));
        }
        // `1.0` and `True` mean what 1 means, whichever of them the file was trained with.
        match parse_number(label.as_bytes()) {
            Some(x) if x == 0.0 || x == 1.0 => Ok(Some(x)),
            _ if label.eq_ignore_ascii_case("true") => Ok(Some(1.0)),
            _ if label.eq_ignore_ascii_case("false") => Ok(Some(0.0)),
            _ => Err(label.into_owned()),
        }
    }

    pub(super) fn encode(
        &self,
        values: &Values,
        rows: &[usize],
        out: &mut Tile<'_>,
        met: &mut Met,
    ) {
        for (i, &row) in rows.iter().enumerate() {
            let value = self.read(values, row).unwrap_or_else(|text| {
                Unreadable::note(&mut met.unreadable, row, &text);
                None
            });
            met.gaps += usize::from(value.is_none() && self.gaps == Some(false));
            out.set(i, 0, value.unwrap_or(self.fill) as f32);
            if self.flag {
                out.set(i, 1, f32::from(u8::from(value.is_none())));
            }
        }
    }
}

impl RawFit {
    /// Settings that only read.
    pub(crate) fn plain(missing_texts: Vec<String>) -> Self {
        Self {
            missing: Missing::Constant,
            fill: 0.0,
            flag: false,
            log: false,
            scaling: Scaling::None,
            clip: None,
            missing_texts,
        }
    }
}
