//! How the mean prediction moves with one column.

use super::super::columns;
use super::{group, outputs};
use crate::error::Result;
use crate::table::model::{Predictions, TableModel};
use ff_metrics::explain::{
    EncodedRows, ExplainOptions, frequent_rows, partial_dependence, quantile_rows,
};
use ff_report::{Dependence, Distribution, Grid};
use ff_table::{Encoded, FeatureRange, Kind, Prepared, Role, Values};

/// Points of a grid, categories of one, and rows that are averaged over.
const POINTS: usize = 20;
const CATEGORIES: usize = 10;
const AVERAGED: usize = 400;

/// Rows that a grid is taken from.
const DONORS: usize = 4_000;

/// Rows of the training part, evenly spread, whose values make the grids.
pub(super) struct Sample {
    encoded: Encoded,
    /// Their indices in the table.
    rows: Vec<usize>,
}

impl Sample {
    pub(super) fn draw(prepared: &Prepared) -> Self {
        let train = &prepared.train;
        let stride = train.rows.div_ceil(DONORS).max(1);
        let kept = (0..train.rows).step_by(stride);
        let mut encoded = Encoded {
            n_numeric: train.n_numeric,
            n_categorical: train.n_categorical,
            texts: train.texts.clone(),
            ..Encoded::default()
        };
        let mut rows = Vec::new();
        for i in kept {
            let row = |width: usize| i * width..(i + 1) * width;
            encoded.numeric.extend_from_slice(&train.numeric[row(train.n_numeric)]);
            encoded.categorical.extend_from_slice(&train.categorical[row(train.n_categorical)]);
            rows.push(prepared.parts.train[i]);
        }
        encoded.rows = rows.len();
        Self { encoded, rows }
    }
}

/// How the mean prediction moves with one column; `None` where the column has no grid.
pub(super) fn dependence(
    model: &mut TableModel,
    feature: &FeatureRange,
    prepared: &Prepared,
    sample: &Sample,
) -> Result<Option<Dependence>> {
    let Some(schema) = prepared.schema.column(&feature.column) else { return Ok(None) };
    let Some(values) = prepared.table.column(&feature.column).map(|c| &c.values) else {
        return Ok(None);
    };
    let Some((donors, grid)) = grid(values, schema.kind, &sample.rows) else { return Ok(None) };
    if schema.role != Role::Feature || donors.len() < 2 {
        return Ok(None);
    }
    let data = &sample.encoded;
    let encoded =
        EncodedRows::new(&data.numeric, data.n_numeric, &data.categorical, data.n_categorical)?;
    let options = ExplainOptions {
        max_rows: AVERAGED,
        max_predictions: usize::MAX,
        ..ExplainOptions::default()
    };
    // Every answer is kept, for the band: the mean alone would hide how rows differ.
    let mut answers: Vec<Vec<f64>> = Vec::with_capacity(donors.len());
    partial_dependence::<crate::Error>(&encoded, &group(feature), &donors, &options, |n, c| {
        let raw = outputs(model, data, n, c)?;
        answers.push(match model.interpret(&raw) {
            Predictions::Classes { probabilities, .. } => probabilities,
            Predictions::Values(values) => values,
        });
        Ok(raw)
    })?;
    let classes = &model.file().classes;
    let width = classes.len().max(1);
    let means: Vec<Vec<f64>> = answers.iter().map(|rows| means(rows, width)).collect();
    let shown = match model.file().positive {
        Some(positive) => positive,
        None => most_moved(&means, width),
    };
    let column = |rows: &[f64]| -> Vec<f64> {
        let mut column: Vec<f64> = rows.iter().skip(shown).step_by(width).copied().collect();
        column.sort_unstable_by(f64::total_cmp);
        column
    };
    let (mut low, mut high) = (Vec::new(), Vec::new());
    // The probabilities of a sure model lie at 0 and 1, so that a band over the rows would hide the
    // curve.
    for rows in answers.iter().filter(|_| classes.is_empty()) {
        let sorted = column(rows);
        let at = |q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
        low.push(at(0.1));
        high.push(at(0.9));
    }
    Ok(Some(Dependence {
        column: feature.column.clone(),
        output: match classes.get(shown) {
            Some(class) => format!("probability of {class}"),
            None => prepared.target.column.clone(),
        },
        grid,
        mean: means.iter().map(|row| row[shown]).collect(),
        low,
        high,
        distribution: match &schema.stats.number {
            Some(number) if matches!(schema.kind, Kind::Number) => columns::histogram(number),
            _ => Distribution::Unknown,
        },
    }))
}

fn means(rows: &[f64], width: usize) -> Vec<f64> {
    let mut means = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        means.iter_mut().zip(row).for_each(|(mean, x)| *mean += x);
    }
    let n = (rows.len() / width).max(1) as f64;
    means.iter().map(|sum| sum / n).collect()
}

/// Of several classes the one that the column moves most.
fn most_moved(means: &[Vec<f64>], width: usize) -> usize {
    let span = |class: usize| {
        let values = means.iter().map(|row| row[class]);
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
        high - low
    };
    (1..width).fold(0, |best, class| if span(class) > span(best) { class } else { best })
}

/// The range between the first and the last per cent, which single far values would stretch.
fn inner(numbers: &[f64]) -> (f64, f64) {
    let mut sorted: Vec<f64> = numbers.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let cut = sorted.len() / 100;
    match sorted.get(cut..sorted.len() - cut) {
        Some([low, .., high]) => (*low, *high),
        Some([one]) => (*one, *one),
        _ => (0.0, 0.0),
    }
}

/// Rows whose values make a grid, by their place in the sample, and the values.
fn grid(values: &Values, kind: Kind, rows: &[usize]) -> Option<(Vec<usize>, Grid)> {
    match kind {
        Kind::Number => {
            let text = |row: usize| values.text(row).trim().parse().unwrap_or(f64::NAN);
            let numbers: Vec<f64> =
                rows.iter().map(|&row| values.number(row).unwrap_or_else(|| text(row))).collect();
            let (low, high) = inner(&numbers);
            let finite: Vec<f64> = numbers
                .iter()
                .map(|x| if (low..=high).contains(x) { *x } else { f64::NAN })
                .collect();
            let donors = quantile_rows(&finite, POINTS);
            let grid = donors.iter().map(|&i| finite[i]).collect();
            Some((donors, Grid::Numbers(grid)))
        }
        Kind::Category | Kind::Boolean => {
            let label = |&row: &usize| {
                let text = values.text(row);
                if values.is_missing(row) { "missing".into() } else { text.trim().to_owned() }
            };
            let labels: Vec<String> = rows.iter().map(label).collect();
            let donors = frequent_rows(&labels, CATEGORIES);
            let grid = donors.iter().map(|&i| labels[i].clone()).collect();
            Some((donors, Grid::Labels(grid)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_that_moves_most_is_shown() {
        let means = [vec![0.5, 0.3, 0.2], vec![0.4, 0.1, 0.5]];
        assert_eq!(most_moved(&means, 3), 2);
        assert_eq!(super::means(&[1.0, 2.0, 3.0, 6.0], 2), [2.0, 4.0]);
    }

    #[test]
    fn a_grid_has_the_columns_own_values() {
        let rows = [0, 1, 2, 3];
        let values: Values = vec![3.0, f64::NAN, 1.0, 1.0].into();
        let (donors, grid) = grid(&values, Kind::Number, &rows).unwrap();
        assert_eq!((donors.len(), grid), (2, Grid::Numbers(vec![1.0, 3.0])));
        let texts = Values::from_iter([Some("b"), Some("a"), None, Some("a ")]);
        let (donors, grid) = super::grid(&texts, Kind::Category, &rows).unwrap();
        assert_eq!(donors, [1, 0, 2]);
        assert_eq!(grid, Grid::Labels(["a", "b", "missing"].map(String::from).to_vec()));
    }
}
