//! Columns as they are before their encoders: what a model outside of this program takes.

use super::category::label;
use super::{Encoder, Transforms};
use crate::error::{DataError, Result};
use crate::table::{Table, Values};

/// The cells of a column without its encoding.
///
/// ```
/// let cells = ff_table::Cells::Texts(vec!["red".into(), String::new()]);
/// assert_ne!(cells, ff_table::Cells::Numbers(vec![f64::NAN]));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// Numbers, and dates as seconds since 1970; NaN where the cell is missing.
    Numbers(Vec<f64>),
    /// Texts without the spaces around them; "" where the cell is missing.
    Texts(Vec<String>),
}

impl Encoder {
    /// Whether [`Transforms::cells`] gives its column as numbers: truth values and categories whose
    /// texts are all numbers are numbers, too.
    pub fn takes_numbers(&self) -> bool {
        let number = |text: &String| crate::number::parse_number(text.as_bytes()).is_some();
        match self {
            Self::Number(_) | Self::Date(_) => true,
            Self::Boolean(e) => number(&e.no) && number(&e.yes),
            Self::Category(e) => e.numeric && e.values.iter().all(number),
            Self::Text(_) => false,
        }
    }

    fn cells(&self, values: &Values, rows: usize) -> std::result::Result<Cells, (usize, String)> {
        let texts = |label: &dyn Fn(usize) -> Option<String>| {
            Cells::Texts((0..rows).map(|row| label(row).unwrap_or_default()).collect())
        };
        let numbers = |read: &dyn Fn(usize) -> std::result::Result<Option<f64>, String>| {
            let cell = |row| read(row).map(|x| x.unwrap_or(f64::NAN)).map_err(|text| (row, text));
            (0..rows).map(cell).collect::<std::result::Result<_, _>>().map(Cells::Numbers)
        };
        // A text that is no number is a category like any other that was not met.
        let number =
            |text: String| crate::number::parse_number(text.as_bytes()).unwrap_or(f64::MIN);
        let plain = |row: usize| values.label(row).map(std::borrow::Cow::into_owned);
        match self {
            Self::Number(e) => numbers(&|row| e.raw(values, row)),
            Self::Date(e) => {
                numbers(&|row| Ok(e.seconds(values, row)?.map(|(seconds, _)| seconds)))
            }
            // `True`, `1.0` and `yes` are one truth value: see `BooleanEncoder`.
            Self::Boolean(e) => {
                let own = |x: f64| if x == 0.0 { e.no.clone() } else { e.yes.clone() };
                let found = (0..rows).map(|row| e.read(values, row).map_err(|text| (row, text)));
                let found: Vec<Option<f64>> = found.collect::<std::result::Result<_, _>>()?;
                if self.takes_numbers() {
                    return numbers(&|row| Ok(found[row].map(|x| number(own(x)))));
                }
                Ok(texts(&|row| found[row].map(own)))
            }
            Self::Category(_) if self.takes_numbers() => numbers(&|row| Ok(plain(row).map(number))),
            Self::Category(e) => {
                Ok(texts(&|row| label(values, row, e.numeric).map(std::borrow::Cow::into_owned)))
            }
            Self::Text(_) => Ok(texts(&plain)),
        }
    }
}

impl Transforms {
    /// The columns of a table as they are before their encoders, by name, for a model that encodes
    /// them itself.
    ///
    /// # Errors
    /// A column is missing, or a cell is of another kind.
    pub fn cells(&self, table: &Table) -> Result<Vec<(String, Cells)>> {
        let table = &*self.plain(table);
        self.check_columns(&table.source_name(), &table.names())?;
        let columns = self.columns.iter().filter_map(|own| Some((own, table.column(&own.name)?)));
        columns
            .map(|(own, column)| {
                let cells = own.encoder.cells(&column.values, table.rows());
                let cells = cells.map_err(|(row, text)| DataError::Mismatch {
                    place: table.source_name(),
                    problems: vec![format!(
                        "column `{}` should hold {}, but {} {} holds `{text}`",
                        own.name,
                        own.encoder.expected(),
                        table.line_word(),
                        table.line(row)
                    )],
                })?;
                Ok((own.name.clone(), cells))
            })
            .collect()
    }
}
