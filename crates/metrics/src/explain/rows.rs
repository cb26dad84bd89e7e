//! Encoded rows, the features of a column, and the sample changed by an explanation.

use std::ops::Range;

use ff_tensor::{Key, Rng};
use thiserror::Error;

use super::ExplainOptions;

/// Encoded rows: the input of a model.
///
/// # Shapes
/// `numeric` is `[N, numeric_width]`, `categorical` is `[N, categorical_width]`, both row-major.
///
/// ```
/// use ff_metrics::explain::EncodedRows;
/// let rows = EncodedRows::new(&[0.5, 1.0, -0.5, 0.0], 2, &[3, 1], 1)?;
/// assert_eq!(rows.len(), 2);
/// # Ok::<(), ff_metrics::explain::ExplainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct EncodedRows<'a> {
    numeric: &'a [f32],
    numeric_width: usize,
    categorical: &'a [i32],
    categorical_width: usize,
    rows: usize,
}

/// The encoded features of one original column.
///
/// ```
/// use ff_metrics::explain::FeatureGroup;
/// // A standardised number at 3 whose missing flag stands at 10.
/// let age = FeatureGroup::new("age").numeric(3..4).numeric(10..11);
/// assert_eq!(age.name(), "age");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureGroup {
    name: String,
    numeric: Vec<Range<usize>>,
    categorical: Vec<Range<usize>>,
}

/// An error in an explanation.
///
/// ```
/// use ff_metrics::explain::{EncodedRows, ExplainError};
/// let torn = EncodedRows::new(&[0.5, 1.0, -0.5], 2, &[], 0);
/// assert!(matches!(torn, Err(ExplainError::Shape { .. })));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// There are no rows.
    #[error("there are no rows for explaining the model")]
    Empty,
    /// Values do not fill whole rows, or the two parts differ in the number of rows.
    #[error(
        "{numeric} numeric values in rows of {numeric_width} and {categorical} categorical values \
         in rows of {categorical_width} do not form the same number of whole rows"
    )]
    Shape {
        /// Numeric values.
        numeric: usize,
        /// Numeric features per row.
        numeric_width: usize,
        /// Categorical values.
        categorical: usize,
        /// Categorical features per row.
        categorical_width: usize,
    },
    /// A group has no features, or one missing from the rows.
    #[error("column `{name}`: {problem}")]
    Group {
        /// The original column.
        name: String,
        /// The problem with its features.
        problem: String,
    },
    /// A grid point is not a row.
    #[error("grid point {row} is not one of the {rows} rows")]
    Donor {
        /// The requested row.
        row: usize,
        /// The number of rows.
        rows: usize,
    },
    /// The number of scores is not the same for every row.
    #[error(
        "the model returned {found} scores for {rows} rows; it must return the same number for \
         each row, at least one"
    )]
    Scores {
        /// The number of rows.
        rows: usize,
        /// The number of scores.
        found: usize,
    },
}

impl FeatureGroup {
    /// The group of an original column, without features yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), numeric: Vec::new(), categorical: Vec::new() }
    }

    /// Adds features among the numeric ones.
    #[must_use]
    pub fn numeric(mut self, features: Range<usize>) -> Self {
        self.numeric.push(features);
        self
    }

    /// Adds features among the categorical ones.
    #[must_use]
    pub fn categorical(mut self, features: Range<usize>) -> Self {
        self.categorical.push(features);
        self
    }

    /// The original column.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<'a> EncodedRows<'a> {
    /// Builds rows from their values.
    ///
    /// # Errors
    /// If values do not fill whole rows, the parts differ in length, or there are no rows.
    pub fn new(
        numeric: &'a [f32],
        numeric_width: usize,
        categorical: &'a [i32],
        categorical_width: usize,
    ) -> Result<Self, ExplainError> {
        let count = |values: usize, width: usize| match width {
            0 => (values == 0).then_some(None),
            _ => values.is_multiple_of(width).then(|| Some(values / width)),
        };
        let rows = match (
            count(numeric.len(), numeric_width),
            count(categorical.len(), categorical_width),
        ) {
            (Some(a), Some(b)) if a.is_none() || b.is_none() || a == b => a.or(b).unwrap_or(0),
            _ => {
                return Err(ExplainError::Shape {
                    numeric: numeric.len(),
                    numeric_width,
                    categorical: categorical.len(),
                    categorical_width,
                });
            }
        };
        if rows == 0 {
            return Err(ExplainError::Empty);
        }
        Ok(Self { numeric, numeric_width, categorical, categorical_width, rows })
    }

    /// The number of rows, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "rows that are empty cannot be made")]
    pub fn len(&self) -> usize {
        self.rows
    }

    pub(super) fn check(&self, group: &FeatureGroup) -> Result<(), ExplainError> {
        let error =
            |problem: String| Err(ExplainError::Group { name: group.name.clone(), problem });
        let all = group.numeric.iter().chain(&group.categorical);
        if all.clone().all(Range::is_empty) {
            return error("it has no encoded feature".into());
        }
        for (kind, ranges, width) in [
            ("numeric", &group.numeric, self.numeric_width),
            ("categorical", &group.categorical, self.categorical_width),
        ] {
            if let Some(range) = ranges.iter().find(|range| range.end > width) {
                return error(format!("{kind} features {range:?} exceed the {width} available"));
            }
        }
        Ok(())
    }
}

/// The sampled rows, copied once; each change only overwrites the features of one column.
pub(super) struct Sample {
    /// Their indices among all rows, ascending.
    pub(super) indices: Vec<usize>,
    numeric: Vec<f32>,
    categorical: Vec<i32>,
}

impl Sample {
    /// The number of rows within budget for `passes` predictions over them.
    pub(super) fn draw(rows: &EncodedRows<'_>, passes: usize, options: &ExplainOptions) -> Self {
        const FEWEST: usize = 100;
        let affordable = (options.max_predictions / passes.max(1)).max(FEWEST);
        let wanted = rows.rows.min(options.max_rows.max(1)).min(affordable);
        let mut indices: Vec<usize> = (0..rows.rows).collect();
        if wanted < rows.rows {
            Rng::new(Key::new(options.seed).with_name("explained rows")).shuffle(&mut indices);
            indices.truncate(wanted);
            indices.sort_unstable();
        }
        let take = |width: usize, row: usize| row * width..(row + 1) * width;
        Self {
            numeric: indices
                .iter()
                .flat_map(|&row| &rows.numeric[take(rows.numeric_width, row)])
                .copied()
                .collect(),
            categorical: indices
                .iter()
                .flat_map(|&row| &rows.categorical[take(rows.categorical_width, row)])
                .copied()
                .collect(),
            indices,
        }
    }

    /// Copies the group's features to each row from the sampled row given by `source`.
    pub(super) fn change(
        &mut self,
        rows: &EncodedRows<'_>,
        group: &FeatureGroup,
        source: impl Fn(usize) -> usize,
    ) {
        for row in 0..self.indices.len() {
            self.copy(rows, group, row, self.indices[source(row)]);
        }
    }

    /// Copies the group's features to every row from one row of the data.
    pub(super) fn give(&mut self, rows: &EncodedRows<'_>, group: &FeatureGroup, donor: usize) {
        for row in 0..self.indices.len() {
            self.copy(rows, group, row, donor);
        }
    }

    fn copy(&mut self, rows: &EncodedRows<'_>, group: &FeatureGroup, to: usize, from: usize) {
        let at = |width: usize, row: usize, range: &Range<usize>| {
            row * width + range.start..row * width + range.end
        };
        for range in group.numeric.iter().filter(|range| !range.is_empty()) {
            let width = rows.numeric_width;
            self.numeric[at(width, to, range)]
                .copy_from_slice(&rows.numeric[at(width, from, range)]);
        }
        for range in group.categorical.iter().filter(|range| !range.is_empty()) {
            let width = rows.categorical_width;
            self.categorical[at(width, to, range)]
                .copy_from_slice(&rows.categorical[at(width, from, range)]);
        }
    }

    pub(super) fn predict<E: From<ExplainError>>(
        &self,
        predict: &mut impl FnMut(&[f32], &[i32]) -> Result<Vec<f32>, E>,
    ) -> Result<Vec<f32>, E> {
        let scores = predict(&self.numeric, &self.categorical)?;
        let rows = self.indices.len();
        if scores.is_empty() || !scores.len().is_multiple_of(rows) {
            return Err(ExplainError::Scores { rows, found: scores.len() }.into());
        }
        Ok(scores)
    }
}
