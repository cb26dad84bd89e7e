//! The values of a column, kept in the smallest form that loses nothing.

use std::borrow::Cow;

use super::{Decimals, unpack};
use crate::number::{format_number, is_code, is_long, parse_number};

/// The values of a column.
///
/// ```
/// use ff_table::Values;
///
/// let values = Values::from(vec![1.5, f64::NAN]);
/// assert_eq!(values.number(0), Some(1.5));
/// assert_eq!(values.number(1), None);
/// ```
#[derive(Clone, Debug)]
pub enum Values {
    /// Texts as they stand in the file.
    Text(TextValues),
    /// Numbers; NaN is missing.
    Number(Numbers),
    /// Integers of 64 bits, as Parquet and JSON hold them.
    Integer(Integers),
    /// Truth values; `None` is missing.
    Bool(Vec<Option<bool>>),
    /// Seconds since 1970-01-01T00:00:00Z; NaN is missing.
    Date(Vec<f64>),
}

/// Numbers in one of four forms: the narrowest that holds all of them exactly.
///
/// ```
/// use ff_table::Numbers;
///
/// assert!(matches!(Numbers::F64(vec![0.0, 16.0]).compact(), Numbers::U8(_)));
/// assert!(matches!(Numbers::F64(vec![0.5, f64::NAN]).compact(), Numbers::F32(_)));
/// assert!(matches!(Numbers::F64(vec![0.1]).compact(), Numbers::Decimal(_)));
/// assert!(matches!(Numbers::F64(vec![1.0 / 3.0]).compact(), Numbers::F64(_)));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// 64-bit floats.
    F64(Vec<f64>),
    /// 32-bit floats.
    F32(Vec<f32>),
    /// Integers from 0 to 255, none missing.
    U8(Vec<u8>),
    /// Decimal numbers of few digits.
    Decimal(Decimals),
}

impl Numbers {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F64(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::Decimal(v) => v.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One value; NaN is missing.
    #[inline]
    pub fn get(&self, row: usize) -> f64 {
        match self {
            Self::F64(v) => v[row],
            Self::F32(v) => f64::from(v[row]),
            Self::U8(v) => f64::from(v[row]),
            Self::Decimal(v) => v.get(row),
        }
    }

    /// Calls `visit` with every value in turn, NaN for a missing one.
    pub(crate) fn for_each(&self, visit: impl FnMut(f64)) {
        self.for_range(0..self.len(), visit);
    }

    /// Calls `visit` with the values of neighbouring rows in turn.
    #[inline]
    pub(crate) fn for_range(&self, rows: std::ops::Range<usize>, visit: impl FnMut(f64)) {
        match self {
            Self::F64(v) => v[rows].iter().copied().for_each(visit),
            Self::F32(v) => v[rows].iter().map(|&x| f64::from(x)).for_each(visit),
            Self::U8(v) => v[rows].iter().map(|&x| f64::from(x)).for_each(visit),
            Self::Decimal(v) => v.cells()[rows].iter().map(|&x| unpack(x)).for_each(visit),
        }
    }

    /// Calls `visit` with the values of some rows in turn.
    #[inline]
    pub(crate) fn for_rows(&self, rows: &[usize], visit: impl FnMut(f64)) {
        let rows = rows.iter();
        match self {
            Self::F64(v) => rows.map(|&row| v[row]).for_each(visit),
            Self::F32(v) => rows.map(|&row| f64::from(v[row])).for_each(visit),
            Self::U8(v) => rows.map(|&row| f64::from(v[row])).for_each(visit),
            Self::Decimal(v) => rows.map(|&row| v.get(row)).for_each(visit),
        }
    }

    /// The same numbers in the narrowest form that holds every one exactly.
    #[must_use]
    pub fn compact(self) -> Self {
        let byte = |x: f64| x.fract() == 0.0 && (0.0..=255.0).contains(&x) && x.is_sign_positive();
        let single = |x: f64| x.is_nan() || f64::from(x as f32) == x;
        let all = |fits: &dyn Fn(f64) -> bool| (0..self.len()).all(|row| fits(self.get(row)));
        if let Self::U8(_) | Self::F32(_) = self {
            return self;
        }
        if all(&byte) {
            return Self::U8(self.map(|x| x as u8));
        }
        if all(&single) {
            return Self::F32(self.map(|x| x as f32));
        }
        match self {
            Self::F64(mut values) => {
                if let Some(decimals) = Decimals::of(&values) {
                    return Self::Decimal(decimals);
                }
                values.shrink_to_fit();
                Self::F64(values)
            }
            Self::Decimal(mut decimals) => {
                decimals.shrink_to_fit();
                Self::Decimal(decimals)
            }
            other => other,
        }
    }

    fn map<T>(&self, of: impl Fn(f64) -> T) -> Vec<T> {
        let mut values = Vec::with_capacity(self.len());
        self.for_each(|x| values.push(of(x)));
        values
    }

    fn push_all(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::F64(a), Self::F64(b)) => a.extend_from_slice(b),
            (Self::F32(a), Self::F32(b)) => a.extend_from_slice(b),
            (Self::U8(a), Self::U8(b)) => a.extend_from_slice(b),
            (Self::Decimal(a), Self::Decimal(b)) => a.extend(b.cells()),
            _ => {
                let all = (0..self.len()).map(|i| self.get(i));
                *self = Self::F64(all.chain((0..other.len()).map(|i| other.get(i))).collect());
            }
        }
    }
}

/// A set of rows, without memory as long as it is empty.
///
/// ```
/// let mut bits = ff_table::Bits::default();
/// assert!(!bits.get(70));
/// bits.set(70);
/// assert!(bits.get(70) && !bits.get(69));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Whether a row is in the set.
    #[inline]
    pub fn get(&self, row: usize) -> bool {
        self.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Takes out the rows from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.words.truncate(rows.div_ceil(64));
        if !rows.is_multiple_of(64)
            && let Some(last) = self.words.get_mut(rows / 64)
        {
            *last &= (1 << (rows % 64)) - 1;
        }
    }

    /// Adds a row.
    pub fn set(&mut self, row: usize) {
        if self.words.len() <= row / 64 {
            self.words.resize(row / 64 + 1, 0);
        }
        self.words[row / 64] |= 1 << (row % 64);
    }
}

/// Integers of 64 bits, some of them missing.
///
/// ```
/// let integers = ff_table::Integers::from_iter([Some(9_007_199_254_740_993), None]);
/// assert_eq!(integers.get(0), Some(9_007_199_254_740_993));
/// assert_eq!(integers.get(1), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Integers {
    values: Vec<i64>,
    missing: Bits,
}

impl Integers {
    /// One value; `None` is missing.
    #[inline]
    pub fn get(&self, row: usize) -> Option<i64> {
        (!self.missing.get(row)).then(|| self.values[row])
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Adds a value.
    pub fn push(&mut self, value: Option<i64>) {
        if value.is_none() {
            self.missing.set(self.values.len());
        }
        self.values.push(value.unwrap_or(0));
    }
}

impl FromIterator<Option<i64>> for Integers {
    fn from_iter<I: IntoIterator<Item = Option<i64>>>(values: I) -> Self {
        let mut integers = Self::default();
        values.into_iter().for_each(|value| integers.push(value));
        integers
    }
}

/// Texts end to end in one buffer, some of them missing; a missing text still knows how the file
/// wrote it.
///
/// ```
/// let mut texts = ff_table::TextValues::default();
/// texts.push("red");
/// texts.push_missing("NA");
/// assert_eq!((texts.get(0), texts.get(1), texts.raw(1)), (Some("red"), None, "NA"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextValues {
    buffer: String,
    ends: Vec<usize>,
    missing: Bits,
}

impl TextValues {
    /// The number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One text; `None` is missing.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&str> {
        (!self.missing.get(row)).then(|| self.raw(row))
    }

    /// One text as the file wrote it, missing or not.
    #[inline]
    pub fn raw(&self, row: usize) -> &str {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.buffer[start..self.ends[row]]
    }

    /// Adds a text.
    pub fn push(&mut self, text: &str) {
        self.buffer.push_str(text);
        self.ends.push(self.buffer.len());
    }

    /// Adds a missing value that the file wrote as `raw`.
    pub fn push_missing(&mut self, raw: &str) {
        self.missing.set(self.ends.len());
        self.push(raw);
    }

    /// Adds the texts of another column.
    pub(crate) fn extend(&mut self, other: &Self) {
        let (rows, start) = (self.ends.len(), self.buffer.len());
        self.buffer.push_str(&other.buffer);
        self.ends.extend(other.ends.iter().map(|end| start + end));
        for (i, word) in other.missing.words.iter().enumerate().filter(|(_, word)| **word != 0) {
            let bits = (0..64).filter(|bit| word >> bit & 1 == 1);
            bits.for_each(|bit| self.missing.set(rows + 64 * i + bit));
        }
    }

    /// Keeps the first `rows` texts.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.missing.truncate(rows);
        self.buffer.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// The same texts, those missing that are among `nulls`.
    pub(crate) fn with_nulls(&self, nulls: &[String]) -> Self {
        let mut texts = Self::default();
        for row in 0..self.len() {
            let raw = self.raw(row);
            texts.push_if(raw, nulls.iter().any(|null| null == raw.trim()));
        }
        texts
    }

    /// The same values as numbers where each is one: integers where all are whole and one is too
    /// long for a double, texts where one takes more than 64 bits.
    pub(crate) fn numbers(self) -> Values {
        let present = || (0..self.len()).filter_map(|row| self.get(row)).map(str::trim);
        let number =
            |text: &str| parse_number(text.as_bytes()).filter(|_| !is_code(text.as_bytes()));
        if self.is_empty() || !present().all(|text| number(text).is_some()) {
            return Values::Text(self);
        }
        if present().any(|text| is_long(text.as_bytes())) {
            if present().any(|text| text.contains(['.', 'e', 'E'])) {
                return self.doubles();
            }
            let read = |row| self.get(row).map(|text| text.trim().parse::<i64>());
            return match (0..self.len()).map(|row| read(row).transpose()).collect() {
                Ok(integers) => Values::Integer(integers),
                Err(_) => Values::Text(self),
            };
        }
        self.doubles()
    }

    fn doubles(&self) -> Values {
        let read = |row| self.get(row).and_then(|text| parse_number(text.as_bytes()));
        let values = (0..self.len()).map(|row| read(row).unwrap_or(f64::NAN)).collect();
        Values::Number(Numbers::F64(values).compact())
    }

    /// The same values as integers where all fit 64 bits.
    pub(crate) fn integers(self) -> Values {
        let read = |row| self.get(row).map(str::parse::<i64>);
        match (0..self.len()).map(|row| read(row).transpose()).collect() {
            Ok(integers) => Values::Integer(integers),
            Err(_) => Values::Text(self),
        }
    }

    /// Adds a value and how the file wrote it.
    pub(crate) fn push_if(&mut self, raw: &str, missing: bool) {
        if missing {
            self.push_missing(raw);
        } else {
            self.push(raw);
        }
    }
}

impl Values {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(v) => v.len(),
            Self::Number(v) => v.len(),
            Self::Integer(v) => v.values.len(),
            Self::Bool(v) => v.len(),
            Self::Date(v) => v.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a value is missing.
    #[inline]
    pub fn is_missing(&self, row: usize) -> bool {
        match self {
            Self::Text(v) => v.missing.get(row),
            Self::Number(v) => v.get(row).is_nan(),
            Self::Integer(v) => v.missing.get(row),
            Self::Bool(v) => v[row].is_none(),
            Self::Date(v) => v[row].is_nan(),
        }
    }

    /// The value as a number, without reading texts: truth values are 0 and 1, dates are seconds
    /// since 1970.
    #[inline]
    pub fn number(&self, row: usize) -> Option<f64> {
        let value = match self {
            Self::Text(_) => None,
            Self::Number(v) => Some(v.get(row)),
            Self::Integer(v) => v.get(row).map(|x| x as f64),
            Self::Bool(v) => v[row].map(|b| f64::from(u8::from(b))),
            Self::Date(v) => Some(v[row]),
        };
        value.filter(|x| !x.is_nan())
    }

    /// Whether every value is a number that a double holds exactly.
    pub(crate) fn are_exact_numbers(&self) -> bool {
        match self {
            Self::Number(_) => true,
            Self::Integer(v) => v.values.iter().all(|x| x.unsigned_abs() <= 1 << 53),
            Self::Text(_) | Self::Bool(_) | Self::Date(_) => false,
        }
    }

    /// The value as text, "" if missing; a text as the file wrote it.
    pub fn text(&self, row: usize) -> Cow<'_, str> {
        match self {
            Self::Text(v) => Cow::Borrowed(v.raw(row)),
            Self::Number(Numbers::F32(v)) if !v[row].is_nan() => {
                Cow::Owned(crate::number::format_single(v[row]))
            }
            Self::Integer(v) => v.get(row).map_or(Cow::Borrowed(""), |x| Cow::Owned(x.to_string())),
            Self::Bool(v) => Cow::Borrowed(match v[row] {
                Some(true) => "true",
                Some(false) => "false",
                None => "",
            }),
            Self::Date(v) => Cow::Owned(crate::date::format_seconds(v[row])),
            Self::Number(v) => {
                let x = v.get(row);
                if x.is_nan() { Cow::Borrowed("") } else { Cow::Owned(format_number(x)) }
            }
        }
    }

    /// The value as text with the spaces around it removed; `None` is missing.
    pub(crate) fn label(&self, row: usize) -> Option<Cow<'_, str>> {
        if self.is_missing(row) {
            return None;
        }
        match self {
            Self::Text(v) => Some(Cow::Borrowed(v.raw(row).trim())),
            _ => Some(self.text(row)),
        }
    }

    /// The bytes that the values take.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(v) => v.buffer.len() + v.ends.len() * 8 + v.missing.words.len() * 8,
            Self::Number(Numbers::F64(v)) | Self::Date(v) => v.len() * 8,
            Self::Number(Numbers::F32(v)) => v.len() * 4,
            Self::Number(Numbers::U8(v)) => v.len(),
            Self::Number(Numbers::Decimal(v)) => v.len() * 4,
            Self::Integer(v) => v.values.len() * 8 + v.missing.words.len() * 8,
            Self::Bool(v) => v.len(),
        }
    }

    /// Whether two columns hold values of the same type, so that one can follow the other.
    pub(crate) fn same_type(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Text(v) => v.truncate(rows),
            Self::Number(Numbers::F64(v)) | Self::Date(v) => v.truncate(rows),
            Self::Number(Numbers::F32(v)) => v.truncate(rows),
            Self::Number(Numbers::U8(v)) => v.truncate(rows),
            Self::Number(Numbers::Decimal(v)) => v.truncate(rows),
            Self::Integer(v) => {
                v.values.truncate(rows);
                v.missing.truncate(rows);
            }
            Self::Bool(v) => v.truncate(rows),
        }
    }

    /// A copy of some rows.
    pub(crate) fn slice(&self, rows: std::ops::Range<usize>) -> Self {
        match self {
            Self::Text(v) => {
                let mut texts = TextValues::default();
                rows.for_each(|i| texts.push_if(v.raw(i), v.missing.get(i)));
                Self::Text(texts)
            }
            Self::Number(Numbers::F64(v)) => Self::Number(Numbers::F64(v[rows].to_vec())),
            Self::Number(Numbers::F32(v)) => Self::Number(Numbers::F32(v[rows].to_vec())),
            Self::Number(Numbers::U8(v)) => Self::Number(Numbers::U8(v[rows].to_vec())),
            Self::Number(Numbers::Decimal(v)) => Self::Number(Numbers::Decimal(v.slice(rows))),
            Self::Integer(v) => Self::Integer(rows.map(|i| v.get(i)).collect()),
            Self::Bool(v) => Self::Bool(v[rows].to_vec()),
            Self::Date(v) => Self::Date(v[rows].to_vec()),
        }
    }

    /// Appends values of the same type; other types are left out by the caller's check.
    pub(crate) fn append(&mut self, other: &Self) {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.extend(b),
            (Self::Number(a), Self::Number(b)) => a.push_all(b),
            (Self::Integer(a), Self::Integer(b)) => {
                (0..b.values.len()).for_each(|i| a.push(b.get(i)));
            }
            (Self::Bool(a), Self::Bool(b)) => a.extend_from_slice(b),
            (Self::Date(a), Self::Date(b)) => a.extend_from_slice(b),
            _ => debug_assert!(false, "columns of different types are not appended"),
        }
    }
}

impl From<Vec<f64>> for Values {
    fn from(values: Vec<f64>) -> Self {
        Self::Number(Numbers::F64(values))
    }
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Self {
        Self::Number(Numbers::F32(values))
    }
}

impl<'a> FromIterator<Option<&'a str>> for Values {
    fn from_iter<I: IntoIterator<Item = Option<&'a str>>>(texts: I) -> Self {
        let mut values = TextValues::default();
        for text in texts {
            values.push_if(text.unwrap_or(""), text.is_none());
        }
        Self::Text(values)
    }
}
