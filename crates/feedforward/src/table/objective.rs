//! Rows of a table as batches: the [`Objective`] of [`Encoded`] data and a network.

use ff_graph::{Graph, Mode, Result, Value};
use ff_nn::Loss;
use ff_nn::models::{Mlp, MlpInput};
use ff_table::{Encoded, Target};
use ff_tensor::{Key, Rng};
use ff_train::{BatchLoss, Evaluation, Objective, TrainConfig};

mod gather;
mod mixup;

pub(crate) use gather::{Rows, TextTensors, gather_input, gather_target, gather_weights};
use gather::{data_row, gather_changed};
use mixup::{Mix, mixed_target};

/// Rows per evaluation batch: enough for speed, few enough for little memory.
const EVAL_ROWS: usize = 1024;
const NAME: &str = "table";

/// Trains a network on the rows of a table and evaluates it on others.
///
/// ```
/// use ff_table::Encoded;
/// use ff_nn::{Builder, Loss, LossConfig, models::{Mlp, MlpConfig}};
/// use feedforward::table::objective::TabularObjective;
/// use ff_train::{Objective, TrainConfig};
/// let config = MlpConfig { numeric: 2, outputs: 3, ..Default::default() };
/// let model = Mlp::new(&mut Builder::new(), &config);
/// let loss = Loss::new(&LossConfig::default(), Some(3), None)?;
/// let (train, valid) = (Encoded { rows: 5, ..Default::default() }, Encoded::default());
/// let objective = TabularObjective::new(&model, &loss, &train, &valid, &TrainConfig::default());
/// assert_eq!(objective.rows(), 5);
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct TabularObjective<'a> {
    model: &'a Mlp,
    loss: &'a Loss,
    train: &'a Encoded,
    valid: &'a Encoded,
    input_noise: f64,
    mixup: f64,
    unseen: Option<Unseen>,
    /// Memory for the rows of the members.
    own: Vec<u32>,
    /// The texts of the training part, once they were needed.
    texts: Option<TextTensors>,
}

/// How often ids are replaced by 0, the slot of unseen values.
#[derive(Debug, Clone, Copy)]
struct Unseen {
    share: f64,
    /// One key for all steps, for an optimiser that compares losses of different steps.
    fixed: Option<Key>,
}

impl<'a> TabularObjective<'a> {
    /// An objective over these parts.
    pub fn new(
        model: &'a Mlp,
        loss: &'a Loss,
        train: &'a Encoded,
        valid: &'a Encoded,
        config: &TrainConfig,
    ) -> Self {
        let (input_noise, mixup) = (config.input_noise, config.mixup);
        Self {
            model,
            loss,
            train,
            valid,
            input_noise,
            mixup,
            unseen: None,
            own: Vec::new(),
            texts: None,
        }
    }

    /// The same objective with this share of the training ids replaced by that of unseen values, so
    /// that its vector is learned: other cells at each step, or the same cells at all with `fixed`.
    #[must_use]
    pub fn with_unseen(mut self, share: f64, fixed: Option<Key>) -> Self {
        let any = share > 0.0 && self.categories() > 0;
        self.unseen = any.then_some(Unseen { share, fixed });
        self
    }

    /// The categories of a row.
    fn categories(&self) -> usize {
        self.train.n_categorical - self.train.texts.len()
    }

    /// Which ids of these rows are replaced, row by row.
    fn unseen(&self, rows: &[u32], key: Key) -> Vec<bool> {
        let Some(Unseen { share, fixed }) = self.unseen else { return Vec::new() };
        let width = self.categories();
        let row = |row: u32, key: Key| {
            let mut rng = Rng::new(key.with(u64::from(row)));
            (0..width).map(move |_| rng.uniform() < share)
        };
        if let Some(key) = fixed {
            return rows.iter().flat_map(|&i| row(i, key)).collect();
        }
        let mut rng = Rng::new(key.with_name("unseen"));
        (0..rows.len() * width).map(|_| rng.uniform() < share).collect()
    }

    /// The loss of some rows of a part, without noise or mixing.
    ///
    /// # Errors
    /// An operation failed.
    pub fn plain_loss(&self, graph: &mut Graph, data: &Encoded, rows: &[u32]) -> Result<BatchLoss> {
        let mut own = Vec::new();
        let rows = Rows::of_members(graph, self.model, data, rows, &mut own);
        let texts = TextTensors::new(graph.device(), data)?;
        let input = gather_input(graph, data, &texts, &rows, &[])?;
        self.loss_of(graph, data, &rows, &input)
    }

    fn loss_of(
        &self,
        graph: &mut Graph,
        data: &Encoded,
        rows: &Rows<'_>,
        input: &MlpInput,
    ) -> Result<BatchLoss> {
        let output = self.model.forward(graph, input)?;
        let target = gather_target(graph, self.loss, data, rows)?;
        let weights = gather_weights(graph, data, rows)?;
        let (sum, count) = self.loss.apply(graph, &output, &target, weights.as_ref())?;
        Ok(BatchLoss { sum, count, total: None })
    }

    /// The loss of rows as training changes them.
    fn training_loss(
        &self,
        graph: &mut Graph,
        texts: &TextTensors,
        rows: &Rows<'_>,
        key: Key,
    ) -> Result<BatchLoss> {
        let unseen = self.unseen(rows.rows, key);
        if self.input_noise == 0.0 && self.mixup == 0.0 {
            let input = gather_input(graph, self.train, texts, rows, &unseen)?;
            return self.loss_of(graph, self.train, rows, &input);
        }
        let mix =
            (self.mixup > 0.0).then(|| Mix::draw(rows.rows, self.mixup, key.with_name("mixup")));
        let mut noise = Rng::new(key.with_name("noise"));
        let data = self.train;
        let input = gather_changed(graph, data, texts, rows, &unseen, |i, x| {
            if let Some(mix) = &mix {
                let other = data_row(data, mix.partners[i]);
                x.iter_mut()
                    .zip(other)
                    .for_each(|(x, o)| *x = mix.share * *x + (1.0 - mix.share) * o);
            }
            if self.input_noise > 0.0 {
                for x in x {
                    *x += (self.input_noise * noise.normal()) as f32;
                }
            }
        })?;
        let output = self.model.forward(graph, &input)?;
        let target = match &mix {
            None => gather_target(graph, self.loss, data, rows)?,
            Some(mix) => mixed_target(graph, self.loss, data, rows, mix)?,
        };
        let weights = gather_weights(graph, data, rows)?;
        let (sum, count) = self.loss.apply(graph, &output, &target, weights.as_ref())?;
        Ok(BatchLoss { sum, count, total: None })
    }
}

impl Objective for TabularObjective<'_> {
    fn rows(&self) -> usize {
        self.train.rows
    }

    fn loss(&mut self, graph: &mut Graph, rows: &[u32], key: Key) -> Result<BatchLoss> {
        let mut own = std::mem::take(&mut self.own);
        let rows = Rows::of_members(graph, self.model, self.train, rows, &mut own);
        let texts = match self.texts.take() {
            Some(texts) => texts,
            None => TextTensors::new(graph.device(), self.train)?,
        };
        let loss = self.training_loss(graph, &texts, &rows, key);
        (self.own, self.texts) = (own, Some(texts));
        loss
    }

    fn evaluate(&mut self, graph: &mut Graph) -> Result<Option<Evaluation>> {
        if self.valid.rows == 0 {
            return Ok(None);
        }
        Ok(Some(evaluate(graph, self.model, self.loss, self.valid)?.0))
    }
}

/// Sets initial weights and biases from training rows at even distances: see
/// [`ff_nn::InitKind::Data`].
///
/// # Errors
/// An operation failed.
pub fn initialize(graph: &mut Graph, model: &Mlp, train: &Encoded, seed: u64) -> Result<()> {
    const ROWS: usize = 2048;
    let count = train.rows.min(ROWS);
    let rows: Vec<u32> = (0..count).map(|i| (i * train.rows / count) as u32).collect();
    graph.set_mode(Mode::Train);
    let texts = TextTensors::new(graph.device(), train)?;
    let input = gather_input(graph, train, &texts, &Rows::all(&rows), &[])?;
    model.initialize(graph, &input, seed)
}

/// Loss and score of a part, and the raw outputs `[rows, outputs]` of the network.
///
/// # Errors
/// An operation failed, or the part has no target.
pub fn evaluate(
    graph: &mut Graph,
    model: &Mlp,
    loss: &Loss,
    data: &Encoded,
) -> Result<(Evaluation, Vec<f32>)> {
    graph.set_mode(Mode::Eval);
    let (mut sum, mut count) = (0.0, 0.0);
    let mut outputs = Vec::with_capacity(data.rows * model.outputs());
    let rows: Vec<u32> = (0..data.rows as u32).collect();
    let texts = TextTensors::new(graph.device(), data)?;
    for rows in rows.chunks(EVAL_ROWS) {
        let (s, c, output) = evaluate_batch(graph, model, loss, data, &texts, rows)?;
        (sum, count) = (sum + s.item()?, count + c.item()?);
        outputs.extend_from_slice(output.slice::<f32>()?);
    }
    graph.reset();
    let mean = if count > 0.0 { sum / count } else { 0.0 };
    let score = score(&outputs, model.outputs(), data.target.as_ref());
    Ok((Evaluation { loss: mean, score }, outputs))
}

/// The raw outputs `[rows, outputs]` of the network.
///
/// # Errors
/// An operation failed.
pub fn outputs(graph: &mut Graph, model: &Mlp, data: &Encoded) -> Result<Vec<f32>> {
    graph.set_mode(Mode::Eval);
    let mut outputs = Vec::with_capacity(data.rows * model.outputs());
    let rows: Vec<u32> = (0..data.rows as u32).collect();
    let texts = TextTensors::new(graph.device(), data)?;
    for rows in rows.chunks(EVAL_ROWS) {
        graph.reset();
        let input = gather_input(graph, data, &texts, &Rows::all(rows), &[])?;
        let output = model.forward(graph, &input)?;
        outputs.extend_from_slice(output.slice::<f32>()?);
    }
    graph.reset();
    Ok(outputs)
}

/// The batches of each size that [`evaluate`] runs, on a device that only counts.
///
/// # Errors
/// The shapes do not fit.
pub fn plan_evaluation(graph: &mut Graph, model: &Mlp, loss: &Loss, data: &Encoded) -> Result<()> {
    graph.set_mode(Mode::Eval);
    let rows: Vec<u32> = (0..data.rows.min(EVAL_ROWS) as u32).collect();
    let rest = if data.rows > EVAL_ROWS { data.rows % EVAL_ROWS } else { 0 };
    let texts = TextTensors::new(graph.device(), data)?;
    for rows in [&rows[..], &rows[..rest]].into_iter().filter(|rows| !rows.is_empty()) {
        evaluate_batch(graph, model, loss, data, &texts, rows)?;
    }
    graph.reset();
    Ok(())
}

/// Loss, count and outputs of some rows.
fn evaluate_batch(
    graph: &mut Graph,
    model: &Mlp,
    loss: &Loss,
    data: &Encoded,
    texts: &TextTensors,
    rows: &[u32],
) -> Result<(Value, Value, Value)> {
    graph.reset();
    let rows = &Rows::all(rows);
    let input = gather_input(graph, data, texts, rows, &[])?;
    let output = model.forward(graph, &input)?;
    let target = gather_target(graph, loss, data, rows)?;
    let weights = gather_weights(graph, data, rows)?;
    let (sum, count) = loss.apply(graph, &output, &target, weights.as_ref())?;
    Ok((sum, count, output))
}

/// Class probabilities `[rows, classes]` from raw outputs z: softmax(z / T), or the two sides of
/// σ(z / T) for a single logit.
pub fn probabilities(outputs: &[f32], width: usize, temperature: f64) -> Vec<f64> {
    if width == 1 {
        return outputs
            .iter()
            .flat_map(|&z| {
                let p = 1.0 / (1.0 + (-f64::from(z) / temperature).exp());
                [1.0 - p, p]
            })
            .collect();
    }
    let mut probabilities = Vec::with_capacity(outputs.len());
    for row in outputs.chunks_exact(width.max(1)) {
        let largest = row.iter().fold(f32::NEG_INFINITY, |m, &z| m.max(z));
        let start = probabilities.len();
        probabilities.extend(row.iter().map(|&z| (f64::from(z - largest) / temperature).exp()));
        let sum: f64 = probabilities[start..].iter().sum();
        probabilities[start..].iter_mut().for_each(|p| *p /= sum);
    }
    probabilities
}

/// Accuracy for classes, R² for numbers.
pub(crate) fn score(outputs: &[f32], width: usize, target: Option<&Target>) -> f64 {
    match target {
        Some(Target::Class(classes)) => {
            let hits = classes.iter().zip(outputs.chunks_exact(width)).filter(|&(&class, row)| {
                let found = match row {
                    [z] => usize::from(*z > 0.0),
                    row => {
                        (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
                    }
                };
                found == class as usize
            });
            hits.count() as f64 / classes.len().max(1) as f64
        }
        Some(Target::Value(values)) => {
            let n = values.len().max(1) as f64;
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let total: f64 = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
            let rest: f64 = values
                .iter()
                .zip(outputs)
                .map(|(&v, &o)| (f64::from(v) - f64::from(o)).powi(2))
                .sum();
            if total > 0.0 { 1.0 - rest / total } else { 0.0 }
        }
        None => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_for_any_logits() {
        let p = probabilities(&[1e4, -1e4, 0.0, 0.0], 2, 1.0);
        assert_eq!(p, [1.0, 0.0, 0.5, 0.5]);
        assert_eq!(probabilities(&[0.0], 1, 3.0), [0.5, 0.5]);
    }

    #[test]
    fn a_temperature_divides_the_logits() {
        let z = [3.0, -1.0, 0.5];
        let half = z.map(|z| z / 2.0);
        assert_eq!(probabilities(&z, 3, 2.0), probabilities(&half, 3, 1.0));
        assert_eq!(probabilities(&z, 1, 2.0), probabilities(&half, 1, 1.0));
    }
}
