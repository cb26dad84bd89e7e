//! Rows of arrays as the batches of a trainer.

use super::network::Network;
use feedforward::graph::{Error, Graph, Op, Result, Value};
use feedforward::kernels::Float;
use feedforward::tensor::{DType, Element, Key, Shape, Tensor};
use feedforward::trainer::{self, BatchLoss, EpochRecord, Evaluation, Objective};
use std::sync::Arc;

/// The most rows of an evaluation at a time.
const EVAL_ROWS: usize = 1024;
const NAME: &str = "estimator";

/// Inputs `[N, width]`, targets and weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) width: usize,
    pub(crate) target: Target<'a, T>,
    pub(crate) weights: Option<&'a [T]>,
}

/// Classes `[N]`, or values `[N, K]`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a, T> {
    Classes(&'a [i32]),
    Values(&'a [T], usize),
}

impl<T: Float> Rows<'_, T> {
    pub(crate) fn len(&self) -> usize {
        match self.target {
            Target::Classes(classes) => classes.len(),
            Target::Values(values, width) => values.len() / width.max(1),
        }
    }
}

/// Some rows of an array.
pub(crate) fn gather<T: Element>(
    graph: &Graph,
    from: &[T],
    width: Option<usize>,
    rows: &[u32],
) -> Result<Value> {
    let n = width.unwrap_or(1);
    let shape: Shape = width.map_or([rows.len()].into(), |width| [rows.len(), width].into());
    let mut tensor = Tensor::uninit(graph.device(), shape, T::DTYPE).map_err(Error::of(NAME))?;
    let to = tensor.slice_mut::<T>().map_err(Error::of(NAME))?;
    for (to, &row) in to.chunks_exact_mut(n.max(1)).zip(rows) {
        to.copy_from_slice(&from[row as usize * n..][..n]);
    }
    Ok(graph.input(tensor))
}

/// Trains a network on rows, and evaluates it on others or, without them, by its training loss.
pub(crate) struct Fit<'a, T> {
    pub(crate) network: &'a Network,
    pub(crate) loss: &'a Arc<dyn Op>,
    pub(crate) train: Rows<'a, T>,
    pub(crate) valid: Option<Rows<'a, T>>,
    /// The losses of the epoch so far, and their count.
    pub(crate) epoch: (f64, f64),
    /// The best parameters and statistics on the validation part.
    pub(crate) best: Option<(Vec<T>, Vec<T>)>,
}

impl<T: Float> Fit<'_, T> {
    fn loss_of(&self, graph: &mut Graph, data: &Rows<'_, T>, rows: &[u32]) -> Result<BatchLoss> {
        let x = gather(graph, data.x, Some(data.width), rows)?;
        let output = self.network.forward(graph, x, None)?;
        let target = match data.target {
            Target::Classes(classes) => gather(graph, classes, None, rows)?,
            Target::Values(values, width) => gather(graph, values, Some(width), rows)?,
        };
        let weights = data.weights.map(|w| gather(graph, w, None, rows)).transpose()?;
        let mut outputs = match &weights {
            Some(weights) => graph.apply_all(self.loss, &[&output, &target, weights])?,
            None => graph.apply_all(self.loss, &[&output, &target])?,
        };
        let missing = || Error::shape(NAME, "a loss has two outputs, loss and count");
        let count = outputs.pop().ok_or_else(missing)?;
        let sum = outputs.pop().ok_or_else(missing)?;
        Ok(BatchLoss { sum, count, total: None })
    }
}

impl<T: Float> Objective for Fit<'_, T> {
    fn rows(&self) -> usize {
        self.train.len()
    }

    fn loss(&mut self, graph: &mut Graph, rows: &[u32], _: Key) -> Result<BatchLoss> {
        let loss = self.loss_of(graph, &self.train, rows)?;
        self.epoch.0 += loss.sum.item()?;
        self.epoch.1 += loss.count.item()?;
        Ok(loss)
    }

    fn evaluate(&mut self, graph: &mut Graph) -> Result<Option<Evaluation>> {
        let (mut sum, mut count) = std::mem::take(&mut self.epoch);
        if let Some(valid) = self.valid {
            (sum, count) = (0.0, 0.0);
            let rows: Vec<u32> = (0..valid.len() as u32).collect();
            for rows in rows.chunks(EVAL_ROWS) {
                graph.reset();
                let loss = self.loss_of(graph, &valid, rows)?;
                sum += loss.sum.item()?;
                count += loss.count.item()?;
            }
        }
        let loss = if count > 0.0 { sum / count } else { 0.0 };
        Ok(Some(Evaluation { loss, score: -loss }))
    }

    fn after_epoch(
        &mut self,
        graph: &mut Graph,
        _: &EpochRecord,
        is_best: bool,
    ) -> trainer::Result<()> {
        if self.valid.is_some() && is_best {
            let (values, state) = (graph.params().flat::<T>()?, graph.params().state::<T>()?);
            self.best = Some((values.to_vec(), state.to_vec()));
        }
        Ok(())
    }
}

/// The outputs `[N, outputs]` of rows, in evaluation mode.
pub(crate) fn outputs<T: Float>(
    graph: &mut Graph,
    network: &Network,
    layers: Option<usize>,
    x: (&[T], usize),
    out: &mut [T],
) -> Result<()> {
    let (x, width) = x;
    let rows = x.len() / width.max(1);
    let outputs = out.len() / rows.max(1);
    for start in (0..rows).step_by(EVAL_ROWS) {
        graph.reset();
        let n = EVAL_ROWS.min(rows - start);
        let part =
            Tensor::from_slice(graph.device(), &x[start * width..][..n * width], &[n, width]);
        let part = graph.input(part.map_err(Error::of(NAME))?);
        let y = network.forward(graph, part, layers)?;
        out[start * outputs..][..n * outputs].copy_from_slice(y.slice::<T>()?);
    }
    graph.reset();
    Ok(())
}

/// The type of values as a NumPy name.
pub(crate) fn dtype_of(name: &str) -> Option<DType> {
    match name {
        "float32" => Some(DType::F32),
        "float64" => Some(DType::F64),
        _ => None,
    }
}
