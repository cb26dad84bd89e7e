//! What the model looks at: permutation importance and partial dependence, at a bounded cost.

use super::snapshot::Part;
use crate::error::Result;
use crate::table::model::TableModel;
use crate::table::objective;
use crate::table::recipe::Recipe;
use ff_metrics::explain::{EncodedRows, ExplainOptions, FeatureGroup, permutation_importance};
use ff_metrics::{Direction, Metric};
use ff_nn::models::MlpConfig;
use ff_report::{Decision, DecisionKind, Dependence, Importance, ImportanceItem};
use ff_table::{Encoded, FeatureRange, Prepared, Target};

mod dependence;

use dependence::{Sample, dependence};

/// Floating-point operations that importance may cost, a fraction of a second of work.
const BUDGET: f64 = 4e9;

/// Rows that importance asks about at most, and at least.
const MOST_ROWS: usize = 2_000;
const FEWEST_ROWS: usize = 100;

/// Columns whose partial dependence is shown.
const PANELS: usize = 6;

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
    // A text has a few hundred n-grams.
    flop += 400 * network.texts.len() * network.text_dim();
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
        texts: like.texts.clone(),
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
    let (width, temperature) = (model.parts().0.outputs(), model.file().temperature());
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
                let probabilities = objective::probabilities(outputs, width, temperature);
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
                        (target.inverse(values[row]), target.predicted(o), weight(row))
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
