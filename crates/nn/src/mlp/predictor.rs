use super::{Mlp, MlpConfig};
use crate::layers::{Code, NAME, Program};
use crate::layers::{Embedding, EmbeddingBag};
use crate::{Builder, Layer, Precision};
use ff_graph::{Cx, Error, Op, OpError, Params, Result};
use ff_tensor::{DType, Device, Key, Shape, TensorMut, TensorRef};
use smallvec::SmallVec;
use std::sync::{Arc, Mutex, PoisonError};

/// The most rows that go through all layers at a time: enough to use each weight often, few enough
/// to stay in the cache.
const ROWS: usize = 96;
/// About this many values of a layer stay in the second-level cache beside its weights.
const CACHED: usize = 1 << 16;
/// Below this many rows each, threads share the columns of a layer, not the rows.
const ROWS_EACH: usize = 8;
/// The entries that a text is taken to have where work is shared out.
const ENTRIES: usize = 100;

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
    workspaces: Vec<Mutex<Workspace>>,
}

/// The constants of all calls.
#[derive(Debug)]
struct Network {
    device: Device,
    numeric: usize,
    numbers: Option<Numbers>,
    tables: Vec<Table>,
    texts: Vec<BagTable>,
    /// The layers; none where the sum of the vectors of texts is the output.
    code: Option<Code>,
    inputs: usize,
    outputs: usize,
    /// Multiply-adds of a row.
    work: usize,
    /// The most rows at a time.
    rows: usize,
}

/// How numbers become vectors.
#[derive(Debug)]
struct Numbers {
    op: Arc<dyn Op>,
    params: Vec<(Vec<f32>, Shape)>,
    /// The values of a row's vectors.
    width: usize,
}

#[derive(Debug)]
struct Table {
    values: Vec<f32>,
    ids: usize,
    dim: usize,
}

/// The weight and bias of a layer on sparse rows.
#[derive(Debug)]
struct BagTable {
    values: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

/// The sparse rows of a text input: bag i has the entries from `offsets[i]` up to `offsets[i + 1]`.
#[derive(Debug, Clone, Copy)]
pub struct Bags<'a> {
    /// The first entry of each bag, and the number of entries.
    pub offsets: &'a [i32],
    /// The input of each entry.
    pub indices: &'a [i32],
    /// Its value.
    pub values: &'a [f32],
}

impl Bags<'_> {
    /// Whether each bag is a range of the entries, and each entry one of so many inputs.
    fn is_valid(&self, inputs: usize) -> bool {
        let end = self.offsets.last().copied().unwrap_or(0);
        self.offsets.first() == Some(&0)
            && self.offsets.is_sorted()
            && usize::try_from(end) == Ok(self.indices.len())
            && self.indices.len() == self.values.len()
            && self.indices.iter().all(|&j| usize::try_from(j).is_ok_and(|j| j < inputs))
    }
}

/// A thread's memory: rows with the vectors of their ids, what steps write, and the last outputs.
#[derive(Debug)]
struct Workspace {
    input: Vec<f32>,
    /// The vectors of numbers.
    numbers: Vec<f32>,
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
        Ok(Self::run_by(Network::new(config, params, device, false)?))
    }

    /// The same for the outputs of each member of an ensemble, `[N, members · outputs]`, whose mean
    /// [`Predictor::new`] gives.
    ///
    /// # Errors
    /// As [`Predictor::new`].
    pub fn of_members(config: &MlpConfig, params: &Params, device: &Device) -> Result<Self> {
        Ok(Self::run_by(Network::new(config, params, device, true)?))
    }

    fn run_by(network: Network) -> Self {
        let workspace = || {
            let buffer = |width: usize| vec![0.0; network.rows * width];
            let embedded = if network.reads_in_place() { 0 } else { network.inputs };
            let (widest, count) = network.code.as_ref().map_or((0, 0), |c| (c.widest, c.buffers));
            let buffers = vec![buffer(widest); count];
            let (input, outputs) = (buffer(embedded), buffer(network.outputs));
            let numbers = buffer(network.numbers.as_ref().map_or(0, |numbers| numbers.width));
            Mutex::new(Workspace { input, numbers, buffers, outputs, error: None })
        };
        let workspaces = std::iter::repeat_with(workspace)
            .take(network.device.cpu().threads().count())
            .collect();
        Self { network, workspaces }
    }

    /// The number of numeric inputs of a row.
    pub fn numeric(&self) -> usize {
        self.network.numeric
    }

    /// The number of ids of a row: of categories, then of texts.
    pub fn categorical(&self) -> usize {
        self.network.tables.len() + self.network.texts.len()
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
        self.predict_with_texts(x, ids, &[], y)
    }

    /// The outputs of rows of numbers and ids, of categories and then of texts, row by row.
    ///
    /// # Errors
    /// The lengths do not fit, or an id is not one of its column's.
    pub fn predict_with_texts(
        &mut self,
        x: &[f32],
        ids: &[i32],
        texts: &[Bags<'_>],
        y: &mut [f32],
    ) -> Result<()> {
        let network = &self.network;
        let rows = network.check(x, ids, texts, y)?;
        let columns = network.tables.len() + network.texts.len();
        let (threads, tuning) = (network.device.cpu().threads(), network.device.cpu().tuning());
        let share = self.workspaces.len() > 1
            && rows >= self.workspaces.len() * ROWS_EACH
            && rows * network.work >= 2 * tuning.layer_work;
        // Chunks are of nearly equal size, so that none has a single row, whose sums have another
        // order.
        let least = if share { self.workspaces.len() } else { 1 };
        let chunks = rows.div_ceil(network.rows).next_multiple_of(least).max(1);
        let chunk = |i: usize| i * rows / chunks..(i + 1) * rows / chunks;
        let part = |i: usize| {
            let rows = chunk(i);
            (
                &x[rows.start * network.numeric..rows.end * network.numeric],
                &ids[rows.start * columns..rows.end * columns],
            )
        };
        if !share {
            let workspace = self.workspaces[0].get_mut().unwrap_or_else(PoisonError::into_inner);
            for i in 0..chunks {
                let (x, ids) = part(i);
                let rows = chunk(i);
                let y = &mut y[rows.start * network.outputs..rows.end * network.outputs];
                network.run(workspace, x, ids, texts, y)?;
            }
            return Ok(());
        }
        for first in (0..chunks).step_by(self.workspaces.len()) {
            let workspaces = &self.workspaces;
            threads.run(workspaces.len(), &|t| {
                let mut workspace = workspaces[t].lock().unwrap_or_else(PoisonError::into_inner);
                let (x, ids) = part(first + t);
                let mut outputs = std::mem::take(&mut workspace.outputs);
                let y = &mut outputs[..chunk(first + t).len() * network.outputs];
                workspace.error = network.run(&mut workspace, x, ids, texts, y).err();
                workspace.outputs = outputs;
            });
            for (t, workspace) in self.workspaces.iter_mut().enumerate() {
                let workspace = workspace.get_mut().unwrap_or_else(PoisonError::into_inner);
                if let Some(error) = workspace.error.take() {
                    return Err(error);
                }
                let rows = chunk(first + t);
                let y = &mut y[rows.start * network.outputs..rows.end * network.outputs];
                y.copy_from_slice(&workspace.outputs[..y.len()]);
            }
        }
        Ok(())
    }
}

impl Numbers {
    /// The vectors y of rows x of numbers.
    fn run(&self, device: &Device, dims: [usize; 2], x: &[f32], y: &mut [f32]) -> Result<()> {
        let mut inputs: SmallVec<[TensorRef<'_>; 8]> = SmallVec::new();
        inputs.push(TensorRef::new(x.into(), dims.into()));
        let params = self.params.iter();
        inputs.extend(params.map(|(v, shape)| TensorRef::new(v.as_slice().into(), *shape)));
        let cx = Cx { device, training: false, key: Key::new(0), progress: 0.0 };
        let y = TensorMut::new(y.into(), [dims[0], self.width].into());
        self.op.forward(&cx, &inputs, &mut [y], &mut []).map_err(Error::of(self.op.name()))
    }
}

impl BagTable {
    /// Adds the vector of a bag.
    fn add(&self, bags: &Bags<'_>, id: i32, y: &mut [f32]) {
        y.iter_mut().zip(&self.bias).for_each(|(y, &b)| *y += b);
        let [from, to] = [0, 1].map(|i| bags.offsets[id as usize + i] as usize);
        for (&j, &v) in bags.indices[from..to].iter().zip(&bags.values[from..to]) {
            let row = &self.values[j as usize * self.bias.len()..];
            y.iter_mut().zip(row).for_each(|(y, &w)| *y += v * w);
        }
    }
}

impl Network {
    /// Whether a row of numbers is all that layers read.
    fn reads_in_place(&self) -> bool {
        self.tables.is_empty() && self.texts.is_empty()
    }

    fn new(
        config: &MlpConfig,
        params: &Params,
        device: &Device,
        each_member: bool,
    ) -> Result<Self> {
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
        let bags = |layer: &EmbeddingBag| {
            let [weight, bias] = layer.params().map(|id| program.values(id));
            let ((values, shape), (bias, _)) = (weight?, bias?);
            let (values, bias) = (values.to_vec(), bias.to_vec());
            Ok(BagTable { values, bias, inputs: shape.rows() })
        };
        let texts: Vec<BagTable> = network.texts.iter().map(bags).collect::<Result<_>>()?;
        let numbers = network.numbers.as_ref().map(|numbers| {
            let (op, params) = numbers.parts();
            let of = |&id| program.values(id).map(|(values, shape)| (values.to_vec(), shape));
            Ok(Numbers {
                op: Arc::clone(op),
                params: params.iter().map(of).collect::<Result<_>>()?,
                width: config.numeric_width(),
            })
        });
        let numbers = numbers.transpose()?;
        let mut outputs = config.outputs;
        let code = if network.texts_alone {
            None
        } else {
            let mut y = network.layers.compile(&mut program, x)?;
            match &network.mean {
                Some(_) if each_member => outputs *= config.network.members.unwrap_or(1),
                Some(mean) => y = mean.compile(&mut program, y)?,
                None => {}
            }
            Some(program.finish(y, device)?)
        };
        let products = || code.iter().flat_map(Code::products);
        let widest = products().map(|(k, n)| k.max(n)).max().unwrap_or(1).max(1);
        Ok(Self {
            device: device.clone(),
            numeric: config.numeric,
            numbers,
            tables,
            texts,
            inputs: config.in_features(),
            outputs,
            work: products().map(|(k, n)| k * n).sum::<usize>()
                + config.texts.len() * config.text_dim() * ENTRIES,
            rows: (CACHED / widest).clamp(ROWS / 8, ROWS),
            code,
        })
    }

    /// The number of rows.
    fn check(&self, x: &[f32], ids: &[i32], texts: &[Bags<'_>], y: &[f32]) -> Result<usize> {
        let rows = y.len() / self.outputs.max(1);
        let columns = self.tables.len() + self.texts.len();
        let fit = |(bags, table): (&Bags<'_>, &BagTable)| bags.is_valid(table.inputs);
        if texts.len() != self.texts.len() || !texts.iter().zip(&self.texts).all(fit) {
            let message = format!("the texts are not those of {} inputs", self.texts.len());
            return Err(Error::shape(NAME, message));
        }
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
            let column = i % columns;
            let allowed = match self.tables.get(column) {
                Some(table) => table.ids,
                None => texts[column - self.tables.len()].offsets.len() - 1,
            };
            if usize::try_from(id).map_or(true, |id| id >= allowed) {
                let row = i / columns;
                let message =
                    format!("id {id} in row {row} of category {column} is not in 0..{allowed}");
                return Err(Error::of(NAME)(OpError::domain(message)));
            }
        }
        Ok(rows)
    }

    /// Some rows through all layers; `workspace` is memory.
    fn run(
        &self,
        workspace: &mut Workspace,
        x: &[f32],
        ids: &[i32],
        texts: &[Bags<'_>],
        outputs: &mut [f32],
    ) -> Result<()> {
        let rows = outputs.len() / self.outputs.max(1);
        if rows == 0 {
            return Ok(());
        }
        let Workspace { input, numbers, buffers, .. } = workspace;
        let (x, width) = match &self.numbers {
            Some(vectors) => {
                let y = &mut numbers[..rows * vectors.width];
                vectors.run(&self.device, [rows, self.numeric], x, y)?;
                (&*y, vectors.width)
            }
            None => (x, self.numeric),
        };
        // Numbers alone are read in place.
        let Some(code) = &self.code else {
            outputs.fill(0.0);
            for (row, ids) in outputs.chunks_exact_mut(self.outputs).zip(ids.chunks(texts.len())) {
                for ((table, bags), &id) in self.texts.iter().zip(texts).zip(ids) {
                    table.add(bags, id, row);
                }
            }
            return Ok(());
        };
        let x = if self.reads_in_place() {
            x
        } else {
            let input = &mut input[..rows * self.inputs];
            self.embed(input, x, width, ids, texts);
            input
        };
        code.run(&self.device, buffers, rows, x, outputs)
    }

    /// Rows of numbers with the vectors of their ids behind them.
    fn embed(&self, out: &mut [f32], x: &[f32], width: usize, ids: &[i32], texts: &[Bags<'_>]) {
        let columns = self.tables.len() + self.texts.len();
        for (i, row) in out.chunks_exact_mut(self.inputs).enumerate() {
            let (numbers, mut rest) = row.split_at_mut(width);
            numbers.copy_from_slice(&x[i * width..][..width]);
            let ids = &ids[i * columns..][..columns];
            for (table, &id) in self.tables.iter().zip(ids) {
                let (part, tail) = rest.split_at_mut(table.dim);
                part.copy_from_slice(&table.values[id as usize * table.dim..][..table.dim]);
                rest = tail;
            }
            let ids = &ids[self.tables.len()..];
            for ((table, bags), &id) in self.texts.iter().zip(texts).zip(ids) {
                let (part, tail) = rest.split_at_mut(table.bias.len());
                part.fill(0.0);
                table.add(bags, id, part);
                rest = tail;
            }
        }
    }
}
