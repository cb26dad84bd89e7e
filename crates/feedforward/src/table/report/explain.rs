//! What the model looks at: permutation importance and partial dependence, at a bounded cost.

use super::columns;
use super::facts::Part;
use crate::error::Result;
use crate::table::model::{Predictions, TableModel};
use crate::table::objective;
use crate::table::recipe::Recipe;
use ff_metrics::explain::{
    EncodedRows, ExplainOptions, FeatureGroup, frequent_rows, partial_dependence,
    permutation_importance, quantile_rows,
};
use ff_metrics::{Direction, Metric};
use ff_nn::models::MlpConfig;
use ff_report::{
    Decision, DecisionKind, Dependence, Distribution, Grid, Importance, ImportanceItem,
};
use ff_table::{Encoded, FeatureRange, Kind, Prepared, Role, Target, Values};

/// Floating-point operations that importance may cost, a fraction of a second of work.
const BUDGET: f64 = 4e9;

/// Rows that importance asks about at most, and at least.
const MOST_ROWS: usize = 2_000;
const FEWEST_ROWS: usize = 100;

/// Columns whose partial dependence is shown.
const PANELS: usize = 6;

/// Points of a grid, categories of one, and rows that are averaged over.
const POINTS: usize = 20;
const CATEGORIES: usize = 10;
const AVERAGED: usize = 400;

/// Rows that a grid is taken from.
const DONORS: usize = 4_000;

/// What was found out about the columns.
#[derive(Debug, Default)]
pub(super) struct Explained {
    pub(super) importance: Option<Importance>,
    pub(super) dependence: Vec<Dependence>,
    /// What was left out to bound the cost.
    pub(super) decision: Option<Decision>,
    /// The names of the columns, the most important first.
    ranked: Vec<String>,
}

impl Explained {
    /// The columns that the model gets, the most important first where that is known.
    pub(super) fn columns_of(&self, prepared: &Prepared) -> Vec<String> {
        let known = self.ranked.iter().cloned();
        let others = prepared.schema.features().map(|c| c.name.clone());
        known.chain(others.filter(|name| !self.ranked.contains(name))).collect()
    }
}

pub(super) fn gather(
    model: &mut TableModel,
    recipe: &Recipe,
    prepared: &Prepared,
    part: Part<'_>,
) -> Result<Explained> {
    let repeats = recipe.evaluate.importance;
    if repeats == 0 || part.data.rows < 2 {
        return Ok(Explained::default());
    }
    let features = model.transforms().feature_ranges();
    let features: Vec<FeatureRange> = features
        .into_iter()
        .filter(|f| !(f.numeric.is_empty() && f.categorical.is_empty()))
        .collect();
    let all = features.len();
    let row = flop_of_a_row(&model.file().network);
    let most = ((BUDGET / (row * FEWEST_ROWS as f64)) as usize).max(20);
    let features = heaviest(model, features, most)?;
    let passes = features.len() * repeats;
    let affordable = (BUDGET / (row * passes as f64)) as usize;
    let repeats = if affordable < FEWEST_ROWS { 1 } else { repeats };
    let rows = ((BUDGET / (row * (features.len() * repeats) as f64)) as usize)
        .clamp(FEWEST_ROWS, MOST_ROWS);

    let mut explained = Explained::default();
    if features.len() < all {
        explained.decision = Some(Decision {
            kind: DecisionKind::Chosen,
            what: format!("{} of {all} columns are weighed for importance", features.len()),
            why: "those with the largest weights in the first layer; all of them would take long"
                .into(),
            undo: String::new(),
        });
    }
    let found = importance(model, &features, part, repeats, rows, recipe.train.seed)?;
    let mut ranked: Vec<(&str, f64)> =
        found.items.iter().map(|item| (item.name.as_str(), item.mean)).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    explained.ranked = ranked.into_iter().map(|(name, _)| name.to_owned()).collect();
    explained.importance = Some(found);

    let sample = Sample::draw(prepared);
    for name in &explained.ranked {
        if explained.dependence.len() == PANELS {
            break;
        }
        let Some(feature) = features.iter().find(|f| f.column == *name) else { continue };
        explained.dependence.extend(dependence(model, feature, prepared, &sample)?);
    }
    Ok(explained)
}

/// Operations of the forward pass of one row.
fn flop_of_a_row(network: &MlpConfig) -> f64 {
    let mut width = network.in_features();
    let mut flop = 0;
    for &next in network.network.hidden.iter().chain([&network.outputs]) {
        flop += 2 * width * next + next;
        width = next;
    }
    // What comes around the layers: gathering, softmax, the metric.
    (flop + 100 * network.outputs + 20 * network.in_features()) as f64
}

/// The columns whose inputs have the largest weights: inputs are scaled, so weights can be
/// compared. Columns of ids are always kept.
fn heaviest(
    model: &mut TableModel,
    features: Vec<FeatureRange>,
    most: usize,
) -> Result<Vec<FeatureRange>> {
    if features.len() <= most {
        return Ok(features);
    }
    let (_, graph) = model.parts();
    let params = graph.params();
    let Some(id) = params.id("layers.0.weight").or_else(|| params.id("output.weight")) else {
        return Ok(features);
    };
    let width = params.info(id).spec.shape.dims().get(1).copied().unwrap_or(1);
    let mut norms = vec![0.0; width];
    for row in params.values::<f32>(id)?.chunks_exact(width) {
        for (norm, &w) in norms.iter_mut().zip(row) {
            *norm += f64::from(w * w);
        }
    }
    let weigh = |f: &FeatureRange| {
        let ids = if f.categorical.is_empty() { 0.0 } else { f64::INFINITY };
        norms[f.numeric.clone()].iter().sum::<f64>() + ids
    };
    let mut order: Vec<usize> = (0..features.len()).collect();
    order.sort_by(|&a, &b| weigh(&features[b]).total_cmp(&weigh(&features[a])));
    order.truncate(most);
    order.sort_unstable();
    Ok(order.into_iter().map(|i| features[i].clone()).collect())
}

fn group(feature: &FeatureRange) -> FeatureGroup {
    let mut group = FeatureGroup::new(&feature.column);
    if !feature.numeric.is_empty() {
        group = group.numeric(feature.numeric.clone());
    }
    if !feature.categorical.is_empty() {
        group = group.categorical(feature.categorical.clone());
    }
    group
}

/// The raw outputs for rows like those of `like`.
fn outputs(
    model: &mut TableModel,
    like: &Encoded,
    numeric: &[f32],
    categorical: &[i32],
) -> Result<Vec<f32>> {
    let rows = match numeric.len().checked_div(like.n_numeric) {
        Some(rows) => rows,
        None => categorical.len() / like.n_categorical.max(1),
    };
    let encoded = Encoded {
        rows,
        numeric: numeric.to_vec(),
        n_numeric: like.n_numeric,
        categorical: categorical.to_vec(),
        n_categorical: like.n_categorical,
        ..Encoded::default()
    };
    let (network, graph) = model.parts();
    Ok(objective::outputs(graph, network, &encoded)?)
}

fn importance(
    model: &mut TableModel,
    features: &[FeatureRange],
    part: Part<'_>,
    repeats: usize,
    rows: usize,
    seed: u64,
) -> Result<Importance> {
    let data = part.data;
    let encoded =
        EncodedRows::new(&data.numeric, data.n_numeric, &data.categorical, data.n_categorical)?;
    let groups: Vec<FeatureGroup> = features.iter().map(group).collect();
    let options = ExplainOptions { repeats, max_rows: rows, max_predictions: usize::MAX, seed };
    let classes = model.file().classes.len();
    let width = model.parts().0.outputs();
    let target = model.transforms().target.clone();
    let (metric, direction) = if classes > 0 {
        (Metric::LogLoss, Direction::LowerIsBetter)
    } else {
        (Metric::R2, Direction::HigherIsBetter)
    };
    let judge = |outputs: &[f32], rows: &[usize]| -> Result<f64> {
        let weight = |row: usize| data.weights.as_ref().map_or(1.0, |w| f64::from(w[row]));
        Ok(match &data.target {
            Some(Target::Class(labels)) => {
                let probabilities = objective::probabilities(outputs, width);
                let (mut sum, mut total) = (0.0, 0.0);
                for (p, &row) in probabilities.chunks_exact(classes.max(1)).zip(rows) {
                    sum -= weight(row) * p[labels[row] as usize].max(f64::EPSILON).ln();
                    total += weight(row);
                }
                sum / total
            }
            Some(Target::Value(values)) => {
                let pairs = || {
                    let pairs = outputs.iter().zip(rows);
                    pairs.map(|(&o, &row)| {
                        (target.inverse(values[row]), target.inverse(o), weight(row))
                    })
                };
                let (sum, total) = pairs().fold((0.0, 0.0), |(s, t), (y, _, w)| (s + w * y, t + w));
                let mean = sum / total;
                let (rest, spread) = pairs().fold((0.0, 0.0), |(r, s), (y, p, w)| {
                    (r + w * (y - p).powi(2), s + w * (y - mean).powi(2))
                });
                1.0 - rest / spread
            }
            None => f64::NAN,
        })
    };
    let found = permutation_importance::<crate::Error>(
        &encoded,
        &groups,
        direction,
        &options,
        |numeric, categorical| outputs(model, data, numeric, categorical),
        judge,
    )?;
    let items = found.columns.into_iter();
    Ok(Importance {
        split: part.name.into(),
        metric: metric.label().into(),
        repeats: repeats as u64,
        items: items
            .map(|c| ImportanceItem { name: c.name, mean: c.mean, deviation: c.std })
            .collect(),
    })
}

/// Rows of the training part, evenly spread, whose values make the grids.
struct Sample {
    encoded: Encoded,
    /// Their indices in the table.
    rows: Vec<usize>,
}

impl Sample {
    fn draw(prepared: &Prepared) -> Self {
        let train = &prepared.train;
        let stride = train.rows.div_ceil(DONORS).max(1);
        let kept = (0..train.rows).step_by(stride);
        let mut encoded = Encoded {
            n_numeric: train.n_numeric,
            n_categorical: train.n_categorical,
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
fn dependence(
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
