//! Explanations of a model: permutation importance and partial dependence, for any model that maps
//! encoded rows to scores.
//!
//! Both evaluate the model on rows with one original column changed. A column may span several
//! encoded features (a number and its missing flag, the columns of a one-hot code): a
//! [`FeatureGroup`] lists them, and they always change together, so the model never sees an
//! impossible encoding.

mod rows;

use ff_tensor::{Key, Rng};
use serde::{Deserialize, Serialize};

pub use rows::{EncodedRows, ExplainError, FeatureGroup};

use crate::Direction;
use rows::Sample;

/// The amount of data and the number of repetitions of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplainOptions {
    /// The number of permutations of each column; 0 counts as 1.
    pub repeats: usize,
    /// The maximum number of rows; a larger set is sampled without replacement.
    pub max_rows: usize,
    /// The maximum number of predictions over all columns; many columns get fewer rows, but at
    /// least 100.
    pub max_predictions: usize,
    /// The seed of the sample and of the permutations.
    pub seed: u64,
}

impl Default for ExplainOptions {
    fn default() -> Self {
        Self { repeats: 5, max_rows: 5000, max_predictions: 5_000_000, seed: 0 }
    }
}

/// The loss in quality from shuffling one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// The original column.
    pub name: String,
    /// The mean loss in the metric over the repeats; near or below 0, the column is useless.
    pub mean: f64,
    /// The standard deviation over the repeats.
    pub std: f64,
    /// The loss of each repeat.
    pub values: Vec<f64>,
}

/// The importance of columns, in the order of their groups.
///
/// ```
/// use ff_metrics::Direction;
/// use ff_metrics::explain::{
///     EncodedRows, ExplainError, ExplainOptions, FeatureGroup, permutation_importance,
/// };
///
/// // The model looks at the first feature only.
/// let numeric: Vec<f32> = (0..40).map(|i| (i * 7 % 40) as f32).collect();
/// let rows = EncodedRows::new(&numeric, 2, &[], 0)?;
/// let importances = permutation_importance::<ExplainError>(
///     &rows,
///     &[FeatureGroup::new("used").numeric(0..1), FeatureGroup::new("ignored").numeric(1..2)],
///     Direction::LowerIsBetter,
///     &ExplainOptions::default(),
///     |numeric, _| Ok(numeric.chunks(2).map(|row| row[0]).collect()),
///     |scores, rows| {
///         let error = |(score, row): (&f32, &usize)| f64::from((score - numeric[2 * row]).abs());
///         Ok(scores.iter().zip(rows).map(error).sum::<f64>() / rows.len() as f64)
///     },
/// )?;
/// assert_eq!(importances.reference, 0.0);
/// assert!(importances.columns[0].mean > 5.0);
/// assert_eq!(importances.columns[1].mean, 0.0);
/// # Ok::<(), ExplainError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Importances {
    /// The metric on the same rows without permutation.
    pub reference: f64,
    /// The number of rows used.
    pub rows: usize,
    /// The columns, in the order of their groups.
    pub columns: Vec<Importance>,
}

impl Importances {
    /// The columns by descending importance; ties keep their order.
    pub fn ranked(&self) -> Vec<&Importance> {
        let mut ranked: Vec<&Importance> = self.columns.iter().collect();
        ranked.sort_by(|a, b| b.mean.total_cmp(&a.mean));
        ranked
    }
}

/// The mean prediction with one value of a column in every row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DependencePoint {
    /// The row that provides the value.
    pub donor: usize,
    /// The mean of each score of the model.
    pub mean: Vec<f64>,
}

/// Permutation importance (Breiman 2001; scikit-learn's `permutation_importance`): the loss in a
/// metric when a column is shuffled among the rows, which preserves its distribution but breaks its
/// relation to the target.
///
/// `predict` gets the numeric and categorical values of whole rows and returns the scores of each
/// row; `metric` gets those scores and the indices of their rows. Each repeat uses one permutation
/// for all columns, so that columns are compared under the same permutation, and the result of a
/// column does not depend on the others.
///
/// # Errors
/// [`ExplainError`] for mismatched groups and scores, and the errors of `predict` and `metric`.
pub fn permutation_importance<E: From<ExplainError>>(
    rows: &EncodedRows<'_>,
    groups: &[FeatureGroup],
    direction: Direction,
    options: &ExplainOptions,
    mut predict: impl FnMut(&[f32], &[i32]) -> Result<Vec<f32>, E>,
    mut metric: impl FnMut(&[f32], &[usize]) -> Result<f64, E>,
) -> Result<Importances, E> {
    groups.iter().try_for_each(|group| rows.check(group))?;
    let repeats = options.repeats.max(1);
    let mut sample = Sample::draw(rows, groups.len() * repeats + 1, options);
    let reference = metric(&sample.predict(&mut predict)?, &sample.indices)?;
    let permutations: Vec<Vec<usize>> = (0..repeats)
        .map(|repeat| {
            let key = Key::new(options.seed).with_name("permutation importance");
            let mut permutation: Vec<usize> = (0..sample.indices.len()).collect();
            Rng::new(key.with(repeat as u64)).shuffle(&mut permutation);
            permutation
        })
        .collect();
    let mut columns = Vec::with_capacity(groups.len());
    for group in groups {
        let mut values = Vec::with_capacity(repeats);
        for permutation in &permutations {
            sample.change(rows, group, |row| permutation[row]);
            let permuted = metric(&sample.predict(&mut predict)?, &sample.indices)?;
            values.push(direction.gain(reference, permuted));
        }
        sample.change(rows, group, |row| row);
        let mean = values.iter().sum::<f64>() / repeats as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / repeats as f64;
        columns.push(Importance {
            name: group.name().to_owned(),
            mean,
            std: variance.sqrt(),
            values,
        });
    }
    Ok(Importances { reference, rows: sample.indices.len(), columns })
}

/// Partial dependence (Friedman 2001; scikit-learn's `partial_dependence` by brute force): the mean
/// prediction over the rows with one column set to the same value in all of them, for each value of
/// a grid.
///
/// A value of the grid is given by a row that has it, the donor: every row gets the donor's encoded
/// features, whatever the encoding. [`quantile_rows`] and [`frequent_rows`] choose donors.
///
/// # Errors
/// [`ExplainError`] for a mismatched group, donors or scores, and the errors of `predict`.
///
/// ```
/// use ff_metrics::explain::{
///     EncodedRows, ExplainError, ExplainOptions, FeatureGroup, partial_dependence,
/// };
/// let numeric = [0.0_f32, 1.0, 2.0, 5.0];
/// let rows = EncodedRows::new(&numeric, 1, &[], 0)?;
/// let group = FeatureGroup::new("x").numeric(0..1);
/// let square = |x: &[f32], _: &[i32]| Ok::<_, ExplainError>(x.iter().map(|x| x * x).collect());
/// let points = partial_dependence(&rows, &group, &[0, 3], &ExplainOptions::default(), square)?;
/// assert_eq!((points[0].mean[0], points[1].mean[0]), (0.0, 25.0));
/// # Ok::<(), ExplainError>(())
/// ```
pub fn partial_dependence<E: From<ExplainError>>(
    rows: &EncodedRows<'_>,
    group: &FeatureGroup,
    donors: &[usize],
    options: &ExplainOptions,
    mut predict: impl FnMut(&[f32], &[i32]) -> Result<Vec<f32>, E>,
) -> Result<Vec<DependencePoint>, E> {
    rows.check(group)?;
    if let Some(&row) = donors.iter().find(|&&row| row >= rows.len()) {
        return Err(ExplainError::Donor { row, rows: rows.len() }.into());
    }
    let mut sample = Sample::draw(rows, donors.len(), options);
    let mut points = Vec::with_capacity(donors.len());
    for &donor in donors {
        sample.give(rows, group, donor);
        let scores = sample.predict(&mut predict)?;
        let outputs = scores.len() / sample.indices.len();
        let mut mean = vec![0.0; outputs];
        for row in scores.chunks_exact(outputs) {
            for (sum, score) in mean.iter_mut().zip(row) {
                *sum += f64::from(*score);
            }
        }
        for sum in &mut mean {
            *sum /= sample.indices.len() as f64;
        }
        points.push(DependencePoint { donor, mean });
    }
    Ok(points)
}

/// Rows with values at evenly spaced ranks from the least to the greatest, at most `points` and
/// each value once: a grid for a number. NaN (missing) is ignored.
///
/// ```
/// use ff_metrics::explain::quantile_rows;
/// assert_eq!(quantile_rows(&[3.0, f64::NAN, 1.0, 2.0, 2.0], 3), [2, 3, 0]);
/// ```
pub fn quantile_rows(values: &[f64], points: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).filter(|&row| !values[row].is_nan()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    if order.is_empty() || points == 0 {
        return Vec::new();
    }
    let last = order.len() - 1;
    let steps = points.max(2) - 1;
    let mut rows: Vec<usize> = (0..points).map(|i| order[i * last / steps]).collect();
    rows.dedup_by(|a, b| values[*a] == values[*b]);
    rows
}

/// The first row of each category, by descending frequency, at most `points`: a grid for a
/// category.
///
/// ```
/// use ff_metrics::explain::frequent_rows;
/// assert_eq!(frequent_rows(&["b", "a", "a", "c"], 2), [1, 0]);
/// ```
pub fn frequent_rows<T: Ord>(values: &[T], points: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].cmp(&values[b]));
    let mut categories: Vec<(usize, usize)> =
        order.chunk_by(|&a, &b| values[a] == values[b]).map(|rows| (rows.len(), rows[0])).collect();
    categories.sort_by_key(|&(count, first)| (std::cmp::Reverse(count), first));
    categories.into_iter().take(points).map(|(_, first)| first).collect()
}
