use super::{Mlp, MlpConfig};
use crate::layers::Embedding;
use crate::layers::{Code, NAME, Program};
use crate::{Builder, Layer, Precision};
use ff_graph::{Error, OpError, Params, Result};
use ff_tensor::{DType, Device};
use std::sync::{Mutex, PoisonError};

/// The most rows that go through all layers at a time: enough to use each weight often, few enough
/// to stay in the cache.
const ROWS: usize = 96;
/// About this many values of a layer stay in the second-level cache beside its weights.
const CACHED: usize = 1 << 16;
/// Below this many rows each, or this many multiply-adds together, threads share the columns of a
/// layer, not the rows.
const ROWS_EACH: usize = 8;
const WORTH_A_THREAD: usize = 1 << 17;
/// A trained network prepared for fast inference: weights packed once, memory allocated once, no
/// tape.
///
/// Outputs equal those of [`Mlp`](super::Mlp) on a graph in evaluation mode up to rounding: a batch
/// normalisation is folded into the weights before it. A call allocates nothing, and its bits do
/// not depend on the number of threads. Parameters are copied, so that later training has no
/// effect.
///
/// # Shapes
/// numbers `[N, numeric]`, ids `[N, cardinalities]` → `[N, outputs]`
///
/// ```
/// use ff_nn::{Builder, ModelConfig, models::{Mlp, MlpConfig, Predictor}};
/// use ff_tensor::{DType, Device};
/// let device = Device::default();
/// let network = ModelConfig { hidden: vec![8], ..Default::default() };
/// let config = MlpConfig { numeric: 2, outputs: 3, network, ..Default::default() };
/// let mut builder = Builder::new();
/// Mlp::new(&mut builder, &config);
/// let params = builder.build(&device, DType::F32, 0, false)?;
///
/// let mut predictor = Predictor::new(&config, &params, &device)?;
/// let mut logits = [0.0; 6];
/// predictor.predict(&[1.0, 2.0, 3.0, 4.0], &mut logits)?; // two rows of two numbers
/// assert!(logits.iter().any(|&y| y != 0.0));
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Predictor {
    network: Network,
    /// One for each thread.
    places: Vec<Mutex<Place>>,
}

/// The constants of all calls.
#[derive(Debug)]
struct Network {
    device: Device,
    numeric: usize,
    tables: Vec<Table>,
    code: Code,
    inputs: usize,
    outputs: usize,
    /// Multiply-adds of a row.
    work: usize,
    /// The most rows at a time.
    rows: usize,
}

#[derive(Debug)]
struct Table {
    values: Vec<f32>,
    ids: usize,
    dim: usize,
}

/// A thread's memory: rows with the vectors of their ids, what steps write, and the last outputs.
#[derive(Debug)]
struct Place {
    input: Vec<f32>,
    buffers: Vec<Vec<f32>>,
    outputs: Vec<f32>,
    error: Option<Error>,
}

impl Predictor {
    /// Packs the parameters of a network, under the names of [`Mlp::new`](super::Mlp::new).
    ///
    /// # Errors
    /// A parameter is missing or of another shape, the parameters are not f32, the network computes
    /// in bf16, or memory is short.
    pub fn new(config: &MlpConfig, params: &Params, device: &Device) -> Result<Self> {
        let network = Network::new(config, params, device)?;
        let place = || {
            let buffer = |width: usize| vec![0.0; network.rows * width];
            let embedded = if network.tables.is_empty() { 0 } else { network.inputs };
            let buffers = vec![buffer(network.code.widest); network.code.buffers];
            let (input, outputs) = (buffer(embedded), buffer(network.outputs));
            Mutex::new(Place { input, buffers, outputs, error: None })
        };
        let places = std::iter::repeat_with(place).take(device.cpu().threads().count()).collect();
        Ok(Self { network, places })
    }

    /// The number of numeric inputs of a row.
    pub fn numeric(&self) -> usize {
        self.network.numeric
    }

    /// The number of category ids of a row.
    pub fn categorical(&self) -> usize {
        self.network.tables.len()
    }

    /// The number of outputs of a row.
    pub fn outputs(&self) -> usize {
        self.network.outputs
    }

    /// The outputs of rows of numbers, row by row; the number of rows follows from `y`.
    ///
    /// # Errors
    /// The lengths do not fit, or the network wants categories too: see
    /// [`Predictor::predict_with_ids`].
    pub fn predict(&mut self, x: &[f32], y: &mut [f32]) -> Result<()> {
        self.predict_with_ids(x, &[], y)
    }

    /// The outputs of rows of numbers and category ids, row by row.
    ///
    /// # Errors
    /// The lengths do not fit, or an id is not one of its column's.
    pub fn predict_with_ids(&mut self, x: &[f32], ids: &[i32], y: &mut [f32]) -> Result<()> {
        let network = &self.network;
        let rows = network.check(x, ids, y)?;
        let threads = network.device.cpu().threads();
        let share = self.places.len() > 1
            && rows >= self.places.len() * ROWS_EACH
            && rows * network.work >= 2 * WORTH_A_THREAD;
        // Chunks are of nearly equal size, so that none has a single row, whose sums have another
        // order.
        let least = if share { self.places.len() } else { 1 };
        let chunks = rows.div_ceil(network.rows).next_multiple_of(least).max(1);
        let chunk = |i: usize| i * rows / chunks..(i + 1) * rows / chunks;
        let part = |i: usize| {
            let rows = chunk(i);
            (
                &x[rows.start * network.numeric..rows.end * network.numeric],
                &ids[rows.start * network.tables.len()..rows.end * network.tables.len()],
            )
        };
        if !share {
            let place = self.places[0].get_mut().unwrap_or_else(PoisonError::into_inner);
            for i in 0..chunks {
                let (x, ids) = part(i);
                let rows = chunk(i);
                let y = &mut y[rows.start * network.outputs..rows.end * network.outputs];
                network.run(&mut place.input, &mut place.buffers, x, ids, y)?;
            }
            return Ok(());
        }
        for first in (0..chunks).step_by(self.places.len()) {
            let places = &self.places;
            threads.run(places.len(), &|t| {
                let mut place = places[t].lock().unwrap_or_else(PoisonError::into_inner);
                let Place { input, buffers, outputs, error } = &mut *place;
                let (x, ids) = part(first + t);
                let outputs = &mut outputs[..chunk(first + t).len() * network.outputs];
                *error = network.run(input, buffers, x, ids, outputs).err();
            });
            for (t, place) in self.places.iter_mut().enumerate() {
                let place = place.get_mut().unwrap_or_else(PoisonError::into_inner);
                if let Some(error) = place.error.take() {
                    return Err(error);
                }
                let rows = chunk(first + t);
                let y = &mut y[rows.start * network.outputs..rows.end * network.outputs];
                y.copy_from_slice(&place.outputs[..y.len()]);
            }
        }
        Ok(())
    }
}

impl Network {
    fn new(config: &MlpConfig, params: &Params, device: &Device) -> Result<Self> {
        if params.dtype() != DType::F32 {
            return Err(Error::dtype(NAME, "f32", params.dtype()));
        }
        if config.network.precision == Precision::Bf16 {
            return Err(Error::dtype(NAME, "f32", DType::BF16));
        }
        let mut builder = Builder::new();
        let network = Mlp::new(&mut builder, config);
        let planned = builder.plan()?;
        let (mut program, x) = Program::new(params, &planned, config.in_features())?;
        let table = |embedding: &Embedding| {
            let (values, shape) = program.values(embedding.weight())?;
            Ok(Table { values: values.to_vec(), ids: shape.rows(), dim: shape.last() })
        };
        let tables = network.embeddings.iter().map(table).collect::<Result<_>>()?;
        let y = network.layers.compile(&mut program, x)?;
        let code = program.finish(y, device)?;
        let widest = code.products().map(|(k, n)| k.max(n)).max().unwrap_or(1).max(1);
        Ok(Self {
            device: device.clone(),
            numeric: config.numeric,
            tables,
            inputs: config.in_features(),
            outputs: config.outputs,
            work: code.products().map(|(k, n)| k * n).sum(),
            rows: (CACHED / widest).clamp(ROWS / 8, ROWS),
            code,
        })
    }

    /// The number of rows.
    fn check(&self, x: &[f32], ids: &[i32], y: &[f32]) -> Result<usize> {
        let rows = y.len() / self.outputs.max(1);
        let columns = self.tables.len();
        if y.len() != rows * self.outputs
            || x.len() != rows * self.numeric
            || ids.len() != rows * columns
        {
            let message = format!(
                "a row has {} numbers, {columns} ids and {} outputs; found {} numbers and {} ids for \
                 {} outputs",
                self.numeric,
                self.outputs,
                x.len(),
                ids.len(),
                y.len()
            );
            return Err(Error::shape(NAME, message));
        }
        for (i, &id) in ids.iter().enumerate() {
            let allowed = self.tables[i % columns].ids;
            if usize::try_from(id).map_or(true, |id| id >= allowed) {
                let (row, column) = (i / columns, i % columns);
                let message =
                    format!("id {id} in row {row} of category {column} is not in 0..{allowed}");
                return Err(Error::of(NAME)(OpError::domain(message)));
            }
        }
        Ok(rows)
    }

    /// Some rows through all layers; `input` and `buffers` are memory.
    fn run(
        &self,
        input: &mut [f32],
        buffers: &mut [Vec<f32>],
        x: &[f32],
        ids: &[i32],
        outputs: &mut [f32],
    ) -> Result<()> {
        let rows = outputs.len() / self.outputs.max(1);
        if rows == 0 {
            return Ok(());
        }
        // Numbers alone are read in place.
        let x = if self.tables.is_empty() {
            x
        } else {
            let input = &mut input[..rows * self.inputs];
            self.embed(input, x, ids);
            input
        };
        self.code.run(&self.device, buffers, rows, x, outputs)
    }

    /// Rows of numbers with the vectors of their ids behind them.
    fn embed(&self, out: &mut [f32], x: &[f32], ids: &[i32]) {
        for (i, row) in out.chunks_exact_mut(self.inputs).enumerate() {
            let (numbers, mut rest) = row.split_at_mut(self.numeric);
            numbers.copy_from_slice(&x[i * self.numeric..][..self.numeric]);
            for (table, &id) in self.tables.iter().zip(&ids[i * self.tables.len()..]) {
                let (part, tail) = rest.split_at_mut(table.dim);
                part.copy_from_slice(&table.values[id as usize * table.dim..][..table.dim]);
                rest = tail;
            }
        }
    }
}
