//! Rows of a table as batches: what turns [`Encoded`] data and a network into an [`Objective`].

use ff_graph::{Error, Graph, Mode, Result, Value};
use ff_kernels::for_rows;
use ff_nn::models::{Mlp, MlpInput};
use ff_nn::{Loss, LossTarget};
use ff_table::{Encoded, Target};
use ff_tensor::{DType, Key, Rng, Tensor};
use ff_train::{BatchLoss, Evaluation, Objective, TrainConfig};

/// Rows evaluated at a time: enough to be quick, few enough to take no memory to speak of.
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
        Self { model, loss, train, valid, input_noise: config.input_noise, mixup: config.mixup }
    }

    /// The loss of some rows of a part, without noise or mixing.
    ///
    /// # Errors
    /// An operation failed.
    pub fn plain_loss(&self, graph: &mut Graph, data: &Encoded, rows: &[u32]) -> Result<BatchLoss> {
        let input = gather_input(graph, data, rows)?;
        let output = self.model.forward(graph, &input)?;
        let target = gather_target(graph, self.loss, data, rows)?;
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
        if self.input_noise == 0.0 && self.mixup == 0.0 {
            return self.plain_loss(graph, self.train, rows);
        }
        let mix = (self.mixup > 0.0).then(|| Mix::draw(rows, self.mixup, key.with_name("mixup")));
        let mut noise = Rng::new(key.with_name("noise"));
        let data = self.train;
        let input = gather_changed(graph, data, rows, |i, x| {
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

    fn evaluate(&mut self, graph: &mut Graph) -> Result<Option<Evaluation>> {
        if self.valid.rows == 0 {
            return Ok(None);
        }
        Ok(Some(evaluate(graph, self.model, self.loss, self.valid)?.0))
    }
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
    for rows in rows.chunks(EVAL_ROWS) {
        let (s, c, output) = evaluate_batch(graph, model, loss, data, rows)?;
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
    for rows in rows.chunks(EVAL_ROWS) {
        graph.reset();
        let input = gather_input(graph, data, rows)?;
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
    for rows in [&rows[..], &rows[..rest]].into_iter().filter(|rows| !rows.is_empty()) {
        evaluate_batch(graph, model, loss, data, rows)?;
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
    rows: &[u32],
) -> Result<(Value, Value, Value)> {
    graph.reset();
    let input = gather_input(graph, data, rows)?;
    let output = model.forward(graph, &input)?;
    let target = gather_target(graph, loss, data, rows)?;
    let weights = gather_weights(graph, data, rows)?;
    let (sum, count) = loss.apply(graph, &output, &target, weights.as_ref())?;
    Ok((sum, count, output))
}

/// Class probabilities `[rows, classes]` from raw outputs: softmax, or the two sides of a sigmoid
/// for a single logit.
pub fn probabilities(outputs: &[f32], width: usize) -> Vec<f64> {
    if width == 1 {
        return outputs
            .iter()
            .flat_map(|&z| {
                let p = 1.0 / (1.0 + (-f64::from(z)).exp());
                [1.0 - p, p]
            })
            .collect();
    }
    let mut probabilities = Vec::with_capacity(outputs.len());
    for row in outputs.chunks_exact(width.max(1)) {
        let largest = row.iter().fold(f32::NEG_INFINITY, |m, &z| m.max(z));
        let start = probabilities.len();
        probabilities.extend(row.iter().map(|&z| f64::from(z - largest).exp()));
        let sum: f64 = probabilities[start..].iter().sum();
        probabilities[start..].iter_mut().for_each(|p| *p /= sum);
    }
    probabilities
}

/// Accuracy for classes, R² for numbers.
fn score(outputs: &[f32], width: usize, target: Option<&Target>) -> f64 {
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

fn data_row(data: &Encoded, row: u32) -> &[f32] {
    &data.numeric[row as usize * data.n_numeric..][..data.n_numeric]
}

fn tensor(graph: &Graph, dims: &[usize], dtype: DType) -> Result<Tensor> {
    let shape = ff_tensor::Shape::new(dims).map_err(Error::of(NAME))?;
    Tensor::uninit(graph.device(), shape, dtype).map_err(Error::of(NAME))
}

/// Fills a tensor unless it only belongs to a plan.
fn fill<T: ff_tensor::Element>(tensor: &mut Tensor, write: impl FnOnce(&mut [T])) -> Result<()> {
    if !tensor.is_planned() {
        write(tensor.slice_mut::<T>().map_err(Error::of(NAME))?);
    }
    Ok(())
}

/// The inputs of some rows.
fn gather_input(graph: &Graph, data: &Encoded, rows: &[u32]) -> Result<MlpInput> {
    let cpu = graph.device().cpu();
    gather_by(graph, data, rows, |x| {
        let width = data.n_numeric;
        // Rows lie anywhere in memory: several threads wait for it together.
        for_rows(cpu, rows.len(), 4 * width, [(x, width)], |i, [x]| {
            x.copy_from_slice(data_row(data, rows[i]));
        });
    })
}

/// The inputs of some rows, each changed as it is gathered.
fn gather_changed(
    graph: &Graph,
    data: &Encoded,
    rows: &[u32],
    mut change: impl FnMut(usize, &mut [f32]),
) -> Result<MlpInput> {
    gather_by(graph, data, rows, |x| {
        for (i, (x, &row)) in x.chunks_exact_mut(data.n_numeric).zip(rows).enumerate() {
            x.copy_from_slice(data_row(data, row));
            change(i, x);
        }
    })
}

fn gather_by(
    graph: &Graph,
    data: &Encoded,
    rows: &[u32],
    gather: impl FnOnce(&mut [f32]),
) -> Result<MlpInput> {
    let mut input = MlpInput::default();
    if data.n_numeric > 0 {
        let mut x = tensor(graph, &[rows.len(), data.n_numeric], DType::F32)?;
        fill::<f32>(&mut x, gather)?;
        input.numeric = Some(graph.input(x));
    }
    for column in 0..data.n_categorical {
        let mut ids = tensor(graph, &[rows.len()], DType::I32)?;
        fill::<i32>(&mut ids, |ids| {
            for (id, &row) in ids.iter_mut().zip(rows) {
                *id = data.categorical[row as usize * data.n_categorical + column];
            }
        })?;
        input.categorical.push(graph.input(ids));
    }
    Ok(input)
}

fn gather_weights(graph: &Graph, data: &Encoded, rows: &[u32]) -> Result<Option<Value>> {
    let Some(weights) = &data.weights else { return Ok(None) };
    let mut w = tensor(graph, &[rows.len()], DType::F32)?;
    fill::<f32>(&mut w, |w| {
        w.iter_mut().zip(rows).for_each(|(w, &row)| *w = weights[row as usize]);
    })?;
    Ok(Some(graph.input(w)))
}

fn no_target() -> Error {
    Error::shape(NAME, "the rows have no target to compare with")
}

fn gather_target(graph: &Graph, loss: &Loss, data: &Encoded, rows: &[u32]) -> Result<Value> {
    let target = data.target.as_ref().ok_or_else(no_target)?;
    match (loss.target(), target) {
        (LossTarget::Classes, Target::Class(classes)) => {
            let mut y = tensor(graph, &[rows.len()], DType::I32)?;
            fill::<i32>(&mut y, |y| {
                y.iter_mut().zip(rows).for_each(|(y, &row)| *y = classes[row as usize]);
            })?;
            Ok(graph.input(y))
        }
        (LossTarget::Probabilities(width), Target::Class(classes)) => {
            let mut y = tensor(graph, &[rows.len(), width], DType::F32)?;
            fill::<f32>(&mut y, |y| {
                for (y, &row) in y.chunks_exact_mut(width).zip(rows) {
                    add_class(y, classes[row as usize], 1.0, true);
                }
            })?;
            Ok(graph.input(y))
        }
        (LossTarget::Values, target) => {
            let mut y = tensor(graph, &[rows.len(), 1], DType::F32)?;
            fill::<f32>(&mut y, |y| {
                y.iter_mut().zip(rows).for_each(|(y, &row)| *y = value(target, row));
            })?;
            Ok(graph.input(y))
        }
        (LossTarget::Classes | LossTarget::Probabilities(_), Target::Value(_)) => {
            Err(Error::shape(
                NAME,
                "this loss needs classes, the target is numbers; use mse, mae or huber",
            ))
        }
    }
}

fn value(target: &Target, row: u32) -> f32 {
    match target {
        Target::Class(classes) => classes[row as usize] as f32,
        Target::Value(values) => values[row as usize],
    }
}

/// Adds a class's share to a row of probabilities; a row of one holds the probability of class 1.
fn add_class(row: &mut [f32], class: i32, share: f32, fresh: bool) {
    if fresh {
        row.fill(0.0);
    }
    match row {
        [p] => *p += share * class as f32,
        row => row[class as usize] += share,
    }
}

/// Which rows are mixed, and how much (Zhang et al., "mixup", 2017). Category ids cannot be mixed:
/// a row keeps its own, which is why its share is never the smaller one.
struct Mix {
    partners: Vec<u32>,
    share: f32,
}

impl Mix {
    fn draw(rows: &[u32], alpha: f64, key: Key) -> Self {
        let mut rng = Rng::new(key);
        let (a, b) = (gamma(&mut rng, alpha), gamma(&mut rng, alpha));
        let share = if a + b > 0.0 { a / (a + b) } else { 1.0 };
        let mut partners = rows.to_vec();
        rng.shuffle(&mut partners);
        Self { partners, share: share.max(1.0 - share) as f32 }
    }
}

/// A number of the Gamma distribution with scale 1 (Marsaglia and Tsang, 2000).
fn gamma(rng: &mut Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        let boost = rng.uniform().powf(1.0 / shape);
        return gamma(rng, shape + 1.0) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let z = rng.normal();
        let v = (1.0 + c * z).powi(3);
        if v > 0.0 && (1.0 - rng.uniform()).ln() < 0.5 * z * z + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

fn mixed_target(
    graph: &Graph,
    loss: &Loss,
    data: &Encoded,
    rows: &[u32],
    mix: &Mix,
) -> Result<Value> {
    let target = data.target.as_ref().ok_or_else(no_target)?;
    let (share, rest) = (mix.share, 1.0 - mix.share);
    let pairs = rows.iter().zip(&mix.partners);
    match (loss.target(), target) {
        (LossTarget::Values, target) => {
            let mut y = tensor(graph, &[rows.len(), 1], DType::F32)?;
            fill::<f32>(&mut y, |y| {
                for (y, (&a, &b)) in y.iter_mut().zip(pairs) {
                    *y = share * value(target, a) + rest * value(target, b);
                }
            })?;
            Ok(graph.input(y))
        }
        (_, Target::Class(classes)) => {
            let width = loss.classes();
            let mut y = tensor(graph, &[rows.len(), width], DType::F32)?;
            fill::<f32>(&mut y, |y| {
                for (y, (&a, &b)) in y.chunks_exact_mut(width).zip(pairs) {
                    add_class(y, classes[a as usize], share, true);
                    add_class(y, classes[b as usize], rest, false);
                }
            })?;
            Ok(graph.input(y))
        }
        _ => Err(no_target()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_shares_follow_the_beta_distribution() {
        // Beta(α, α) folded at 1/2: its mean is known for α = 1, uniform: 3/4.
        let n = 4000;
        let mean =
            (0..n).map(|i| f64::from(Mix::draw(&[0, 1], 1.0, Key::new(i)).share)).sum::<f64>()
                / n as f64;
        // Uniform on [1/2, 1] has a standard deviation of 0.144; five standard errors.
        assert!((mean - 0.75).abs() < 5.0 * 0.1443 / (n as f64).sqrt(), "{mean}");
    }

    #[test]
    fn probabilities_add_up_for_any_logits() {
        let p = probabilities(&[1e4, -1e4, 0.0, 0.0], 2);
        assert_eq!(p, [1.0, 0.0, 0.5, 0.5]);
        assert_eq!(probabilities(&[0.0], 1), [0.5, 0.5]);
    }

    #[test]
    fn gamma_has_its_mean_and_variance() {
        for shape in [0.3, 1.0, 4.5] {
            let mut rng = Rng::new(Key::new(9));
            let n = 40_000;
            let draws: Vec<f64> = (0..n).map(|_| gamma(&mut rng, shape)).collect();
            let mean = draws.iter().sum::<f64>() / f64::from(n);
            assert!((mean - shape).abs() < 5.0 * (shape / f64::from(n)).sqrt(), "{shape}: {mean}");
        }
    }
}
