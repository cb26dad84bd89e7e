//! A table in memory, column by column.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use xxhash_rust::xxh3::xxh3_64;

use crate::rng::IdentityHash;

mod decimals;
mod origin;
mod values;

pub use decimals::Decimals;
pub(crate) use decimals::{Cell, MISSING, pack, pack_double, unpack};
pub(crate) use origin::Lines;
pub use origin::Origin;
pub use values::{Bits, Integers, Numbers, TextValues, Values};

/// Columns of equal length, and where their rows came from.
///
/// ```
/// use ff_table::{Column, Table, Values};
///
/// let table = Table::new(vec![
///     Column::new("age", Values::from(vec![22.0, f64::NAN])),
///     Column::new("name", Values::from_iter([Some("Ann"), None])),
/// ]).unwrap();
/// assert_eq!((table.rows(), table.width()), (2, 2));
/// assert!(table.column("age").unwrap().values.is_missing(1));
/// assert_eq!(table.column("name").unwrap().values.text(0), "Ann");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: usize,
    origin: Origin,
    /// The place of each name by its hash, made when a column of a wide table is first asked for.
    places: OnceLock<HashMap<u64, usize, IdentityHash>>,
}

/// Tables of fewer columns are searched name by name.
const WIDE: usize = 32;

/// A named column.
///
/// ```
/// let column = ff_table::Column::new("x", vec![1.0, 2.0].into());
/// assert_eq!(column.values.len(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Column {
    /// The name, unique in its table.
    pub name: String,
    /// One value a row.
    pub values: Values,
}

impl Column {
    /// A column.
    pub fn new(name: impl Into<String>, values: Values) -> Self {
        Self { name: name.into(), values }
    }
}

impl Table {
    /// A table of columns; `None` if they differ in length or share a name.
    pub fn new(columns: Vec<Column>) -> Option<Self> {
        let rows = columns.first().map_or(0, |column| column.values.len());
        let mut names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        names.sort_unstable();
        let unique = names.windows(2).all(|pair| pair[0] != pair[1]);
        let even = columns.iter().all(|column| column.values.len() == rows);
        (unique && even).then(|| Self { columns, rows, ..Self::default() })
    }

    pub(crate) fn with_origin(columns: Vec<Column>, rows: usize, origin: Origin) -> Self {
        debug_assert!(columns.iter().all(|column| column.values.len() == rows));
        Self { columns, rows, origin, places: OnceLock::new() }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The columns, in the file's order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The names of the columns, in the file's order.
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        if self.columns.len() < WIDE {
            return self.columns.iter().find(|column| column.name == name);
        }
        let places = self.places.get_or_init(|| {
            let hash = |column: &Column| xxh3_64(column.name.as_bytes());
            self.columns.iter().enumerate().map(|(i, column)| (hash(column), i)).collect()
        });
        let column = &self.columns[*places.get(&xxh3_64(name.as_bytes()))?];
        (column.name == name).then_some(column)
    }

    /// The file's name as a message shows it, such as `` `data.csv` ``.
    pub fn source_name(&self) -> String {
        self.origin.name(0)
    }

    /// Where a row came from, such as `` `data.csv`, line 17 ``.
    pub fn place(&self, row: usize) -> String {
        self.origin.place(row)
    }

    /// The line (text formats) or row (others) of the file that a row came from, from 1.
    pub fn line(&self, row: usize) -> u64 {
        self.origin.line(row)
    }

    /// Whether [`Table::line`] counts lines or, for binary formats, rows.
    pub fn line_word(&self) -> &'static str {
        self.origin.word(0)
    }

    /// One row as texts, missing values as "".
    pub fn row(&self, row: usize) -> Vec<Cow<'_, str>> {
        self.columns.iter().map(|column| column.values.text(row)).collect()
    }

    /// The bytes that the values take.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.values.bytes()).sum()
    }

    /// Adds a column at the end; gives it back if its length or name does not fit.
    ///
    /// # Errors
    /// The column itself.
    pub fn push(&mut self, column: Column) -> Result<(), Column> {
        if self.columns.is_empty() {
            self.rows = column.values.len();
        }
        if column.values.len() != self.rows || self.column(&column.name).is_some() {
            return Err(column);
        }
        self.columns.push(column);
        self.places.take();
        Ok(())
    }

    /// Turns the values of these columns into texts.
    pub(crate) fn make_texts(&mut self, names: &[String]) {
        let columns = self.columns.iter_mut().filter(|column| names.contains(&column.name));
        for column in columns.filter(|column| !matches!(column.values, Values::Text(_))) {
            let labels = (0..column.values.len()).map(|row| column.values.label(row));
            let labels: Vec<Option<Cow<'_, str>>> = labels.collect();
            column.values = labels.iter().map(Option::as_deref).collect();
        }
    }

    /// Turns the integers of this column into numbers.
    pub(crate) fn make_numbers(&mut self, name: &str) {
        let column = self.columns.iter_mut().find(|column| column.name == name);
        if let Some(Column { values, .. }) = column
            && matches!(values, Values::Integer(_))
        {
            let numbers = (0..values.len()).map(|row| values.number(row).unwrap_or(f64::NAN));
            *values = Values::Number(Numbers::F64(numbers.collect()).compact());
        }
    }

    /// The same table with other values in its columns, one item of `with` for each.
    pub(crate) fn map_values<T>(
        mut self,
        with: impl Iterator<Item = T>,
        mut map: impl FnMut(T, Values) -> Values,
    ) -> Self {
        for (column, with) in self.columns.iter_mut().zip(with) {
            let values = std::mem::replace(&mut column.values, Values::Bool(Vec::new()));
            column.values = map(with, values);
        }
        self
    }

    /// Keeps the first `rows` rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if rows < self.rows {
            self.rows = rows;
            for column in &mut self.columns {
                column.values.truncate(rows);
            }
        }
    }

    /// Gives columns other values, as many as they have.
    pub(crate) fn convert(&mut self, mut of: impl FnMut(&mut Column) -> Option<Values>) {
        for column in &mut self.columns {
            if let Some(values) = of(column) {
                debug_assert_eq!(values.len(), self.rows);
                column.values = values;
            }
        }
    }

    /// Takes the columns of these names out.
    pub(crate) fn leave_out(&mut self, out: impl Fn(&str) -> bool) {
        self.columns.retain(|column| !out(&column.name));
        self.places.take();
    }

    /// Appends the rows of another part of the same file.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (i, column) in self.columns.iter_mut().enumerate() {
            let same = other.columns.get(i).filter(|from| from.name == column.name);
            if let Some(from) = same.or_else(|| other.column(&column.name)) {
                column.values.append(&from.values);
            }
        }
        self.rows += other.rows;
    }

    /// The same table with every column of numbers in its narrowest form.
    pub(crate) fn compact(mut self) -> Self {
        for column in &mut self.columns {
            if let Values::Number(numbers) = &mut column.values {
                let taken = std::mem::replace(numbers, Numbers::U8(Vec::new()));
                *numbers = taken.compact();
            }
        }
        self
    }

    /// The same table as it came from a file.
    pub(crate) fn originating(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// The first `rows` rows, and the rest if there is one.
    pub(crate) fn split_at(mut self, rows: usize) -> (Self, Option<Self>) {
        if rows >= self.rows {
            return (self, None);
        }
        let columns = self
            .columns
            .iter()
            .map(|column| Column::new(column.name.clone(), column.values.slice(rows..self.rows)));
        let rest = Self {
            columns: columns.collect(),
            rows: self.rows - rows,
            origin: self.origin.after(rows),
            places: OnceLock::new(),
        };
        self.truncate(rows);
        (self, Some(rest))
    }

    /// Appends the rows of another table whose columns have the same names and types, in any order.
    pub(crate) fn append(&mut self, other: &Self) {
        self.origin.append(self.rows, &other.origin);
        self.extend(other);
    }
}
