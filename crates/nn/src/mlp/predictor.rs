use super::MlpConfig;
use crate::layers::NORM_EPS;
use crate::{ActivationKind, ModelConfig, NormKind, Precision};
use ff_graph::{Cx, Error, Op, OpError, Params, Result};
use ff_kernels::{Float, MatRef, PackedMatrix};
use ff_ops::{Activate, Activation, LayerNorm, Prelu, RmsNorm};
use ff_tensor::{DType, Device, Key, Shape, TensorMut, TensorRef};
use std::sync::{Arc, Mutex, PoisonError};

const NAME: &str = "predictor";
/// The most rows that go through all layers at a time: enough to use each weight often, few enough to stay in the cache.
const ROWS: usize = 96;
/// About so many values of a layer stay in the second-level cache beside its weights.
const CACHED: usize = 1 << 16;
/// Below so many rows each, or so many multiply-adds together, threads share the columns of a layer, not the rows.
const ROWS_EACH: usize = 8;
const WORTH_A_THREAD: usize = 1 << 17;

/// A trained network made ready to answer quickly: weights packed once, memory taken once, no tape.
///
/// It computes what [`Mlp`](super::Mlp) computes on a graph in evaluation mode, to rounding: a batch normalisation is
/// folded into the weights before it. A call allocates nothing, and its bits do not depend on the number of threads. The
/// parameters are copied, so what is trained afterwards does not show.
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

/// What does not change from call to call.
#[derive(Debug)]
struct Network {
    device: Device,
    numeric: usize,
    tables: Vec<Table>,
    layers: Vec<Layer>,
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

/// y = then(f(x Wᵀ + b)), and x added where it is residual.
#[derive(Debug)]
struct Layer {
    weight: PackedMatrix<f32>,
    bias: Option<Vec<f32>>,
    fused: Fused,
    then: Vec<Then>,
    residual: bool,
}

/// The activations that cost nothing where the sums are still in registers.
#[derive(Debug, Clone, Copy)]
enum Fused {
    Identity,
    Relu,
    LeakyRelu(f32),
}

/// An operation behind a layer's product, with its parameters.
#[derive(Debug)]
struct Then {
    op: Arc<dyn Op>,
    params: Vec<Vec<f32>>,
}

/// A thread's memory: what a layer reads, what it writes, what an operation behind it writes; and the last outputs.
#[derive(Debug)]
struct Place {
    x: Vec<f32>,
    y: Vec<f32>,
    other: Vec<f32>,
    outputs: Vec<f32>,
    error: Option<Error>,
}

impl Predictor {
    /// Packs the parameters of a network of this config, as [`Mlp::new`](super::Mlp::new) names them.
    ///
    /// # Errors
    /// A parameter is missing or of another shape, the parameters are not f32, the network computes in bf16, or memory is
    /// short.
    pub fn new(config: &MlpConfig, params: &Params, device: &Device) -> Result<Self> {
        let network = Network::new(config, params, device)?;
        let widest = network.layers.iter().map(|layer| layer.weight.shape().1);
        let widest = widest.max().unwrap_or(0).max(network.inputs);
        let place = || {
            let buffer = || vec![0.0; network.rows * widest];
            let outputs = vec![0.0; network.rows * network.outputs];
            Mutex::new(Place { x: buffer(), y: buffer(), other: buffer(), outputs, error: None })
        };
        let places = std::iter::repeat_with(place).take(device.cpu().threads().count()).collect();
        Ok(Self { network, places })
    }

    /// How many numbers a row has.
    pub fn numeric(&self) -> usize {
        self.network.numeric
    }

    /// How many category ids a row has.
    pub fn categorical(&self) -> usize {
        self.network.tables.len()
    }

    /// How many outputs a row has.
    pub fn outputs(&self) -> usize {
        self.network.outputs
    }

    /// The outputs of rows of numbers, one row behind the other; how many rows there are follows from `y`.
    ///
    /// # Errors
    /// The lengths do not fit, or the network wants categories too: see [`Predictor::predict_with_ids`].
    pub fn predict(&mut self, x: &[f32], y: &mut [f32]) -> Result<()> {
        self.predict_with_ids(x, &[], y)
    }

    /// The outputs of rows of numbers and category ids, each one row behind the other.
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
        // All chunks are about as large, so that none has a single row, whose sums are in another order.
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
                network.run(&mut place.x, &mut place.y, &mut place.other, x, ids, y)?;
            }
            return Ok(());
        }
        for first in (0..chunks).step_by(self.places.len()) {
            let places = &self.places;
            threads.run(places.len(), &|t| {
                let mut place = places[t].lock().unwrap_or_else(PoisonError::into_inner);
                let Place { x: a, y: b, other, outputs, error } = &mut *place;
                let (x, ids) = part(first + t);
                let outputs = &mut outputs[..chunk(first + t).len() * network.outputs];
                *error = network.run(a, b, other, x, ids, outputs).err();
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
        let read = Reader { params };
        let mut tables = Vec::new();
        for (i, &ids) in config.cardinalities.iter().enumerate() {
            let dim = config.embedding_dim(ids);
            let values = read.values(&format!("embeddings.{i}.weight"), &[ids, dim])?;
            tables.push(Table { values, ids, dim });
        }
        let network = &config.network;
        let mut layers = Vec::new();
        let mut width = config.in_features();
        for (i, &next) in network.hidden.iter().enumerate() {
            layers.push(read.hidden(device, network, &format!("layers.{i}"), width, next)?);
            width = next;
        }
        let (weight, bias) = read.linear("output", network.bias, width, config.outputs)?;
        layers.push(Layer {
            weight: pack(device, &weight, width, config.outputs)?,
            bias,
            fused: Fused::Identity,
            then: Vec::new(),
            residual: false,
        });
        let widths = layers.iter().map(|layer| layer.weight.shape());
        let widest = widths.clone().map(|(k, n)| k.max(n)).max().unwrap_or(1).max(1);
        Ok(Self {
            device: device.clone(),
            numeric: config.numeric,
            tables,
            inputs: config.in_features(),
            outputs: config.outputs,
            work: widths.map(|(k, n)| k * n).sum(),
            rows: (CACHED / widest).clamp(ROWS / 8, ROWS),
            layers,
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
                "a row has {} numbers, {columns} ids and {} outputs; found {} numbers and {} ids for {} outputs",
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

    /// Some rows through all layers; the first three are memory.
    fn run<'a>(
        &self,
        mut a: &'a mut Vec<f32>,
        mut b: &'a mut Vec<f32>,
        mut other: &'a mut Vec<f32>,
        x: &[f32],
        ids: &[i32],
        outputs: &mut [f32],
    ) -> Result<()> {
        let rows = outputs.len() / self.outputs.max(1);
        if rows == 0 {
            return Ok(());
        }
        // Numbers alone are read where they are.
        let mut direct = Some(x);
        if !self.tables.is_empty() {
            self.embed(&mut a[..rows * self.inputs], x, ids);
            direct = None;
        }
        let Some((last, hidden)) = self.layers.split_last() else { return Ok(()) };
        for layer in hidden {
            let (k, n) = layer.weight.shape();
            let x = direct.take().unwrap_or(&a[..rows * k]);
            layer.product(&self.device, x, &mut b[..rows * n]);
            for then in &layer.then {
                then.run(&self.device, &b[..rows * n], &mut other[..rows * n], n)?;
                std::mem::swap(&mut b, &mut other);
            }
            if layer.residual {
                b.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
            }
            std::mem::swap(&mut a, &mut b);
        }
        let x = direct.unwrap_or(&a[..rows * last.weight.shape().0]);
        last.product(&self.device, x, outputs);
        Ok(())
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

impl Layer {
    fn product(&self, device: &Device, x: &[f32], y: &mut [f32]) {
        let (cpu, bias) = (device.cpu(), self.bias.as_deref());
        match self.fused {
            Fused::Identity => self.weight.product(cpu, x, bias, y, |v| v),
            Fused::Relu => self.weight.product(cpu, x, bias, y, |v| Float::maximum(v, 0.0)),
            Fused::LeakyRelu(slope) => {
                self.weight.product(cpu, x, bias, y, |v| if v <= 0.0 { v * slope } else { v });
            }
        }
    }
}

impl Then {
    /// The operation's own forward pass, without a graph around it.
    fn run(&self, device: &Device, x: &[f32], y: &mut [f32], width: usize) -> Result<()> {
        let shape = Shape::from([x.len() / width.max(1), width]);
        // As many as any of the operations below has.
        let mut inputs = [TensorRef::new(x.into(), shape); 3];
        for (input, values) in inputs[1..].iter_mut().zip(&self.params) {
            *input = TensorRef::new(values.as_slice().into(), [values.len()].into());
        }
        let cx = Cx { device, training: false, key: Key::new(0) };
        let (inputs, y) = (&inputs[..=self.params.len()], TensorMut::new(y.into(), shape));
        self.op.forward(&cx, inputs, &mut [y], &mut []).map_err(Error::of(self.op.name()))
    }
}

fn pack(device: &Device, weight: &[f32], width: usize, next: usize) -> Result<PackedMatrix<f32>> {
    PackedMatrix::pack(device, MatRef::new(weight, next, width).t()).map_err(Error::of(NAME))
}

/// Finds parameters by name.
struct Reader<'a> {
    params: &'a Params,
}

impl Reader<'_> {
    fn values(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let wrong = |message: String| Error::Param { name: name.into(), message };
        let id = self.params.id(name).ok_or_else(|| wrong("is not among the parameters".into()))?;
        let found = self.params.info(id).spec.shape;
        if found.dims() != dims {
            return Err(wrong(format!("has shape {found}, the network expects {dims:?}")));
        }
        Ok(self.params.values::<f32>(id)?.to_vec())
    }

    fn linear(
        &self,
        path: &str,
        bias: bool,
        width: usize,
        next: usize,
    ) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        let weight = self.values(&format!("{path}.weight"), &[next, width])?;
        let bias = bias.then(|| self.values(&format!("{path}.bias"), &[next])).transpose()?;
        Ok((weight, bias))
    }

    /// Hidden layer `path`, as [`Mlp`](super::Mlp) builds it.
    fn hidden(
        &self,
        device: &Device,
        network: &ModelConfig,
        path: &str,
        width: usize,
        next: usize,
    ) -> Result<Layer> {
        let (mut weight, mut bias) = self.linear(path, network.bias, width, next)?;
        let of_norm = |name: &str| self.values(&format!("{path}.norm.{name}"), &[next]);
        let mut then = Vec::new();
        match network.norm {
            NormKind::None => {}
            NormKind::Batch => {
                let (gain, shift) = (of_norm("weight")?, of_norm("bias")?);
                let (mean, var) = (of_norm("running_mean")?, of_norm("running_var")?);
                bias = Some(fold(&mut weight, bias.as_deref(), [&gain, &shift, &mean, &var]));
            }
            NormKind::Layer => then.push(Then {
                op: LayerNorm::op(NORM_EPS, true, true),
                params: vec![of_norm("weight")?, of_norm("bias")?],
            }),
            NormKind::Rms => then
                .push(Then { op: RmsNorm::op(NORM_EPS, true), params: vec![of_norm("weight")?] }),
        }
        let mut fused = Fused::Identity;
        match network.element_wise() {
            None => {
                debug_assert_eq!(network.activation, ActivationKind::Prelu);
                let slope = self.values(&format!("{path}.activation.weight"), &[1])?;
                then.push(Then { op: Prelu::op(), params: vec![slope] });
            }
            Some(Activation::Identity) => {}
            Some(Activation::Relu) if then.is_empty() => fused = Fused::Relu,
            Some(Activation::LeakyRelu { slope }) if then.is_empty() => {
                fused = Fused::LeakyRelu(slope as f32);
            }
            Some(other) => then.push(Then { op: Activate::op(other), params: Vec::new() }),
        }
        let residual = network.residual && width == next;
        let weight = pack(device, &weight, width, next)?;
        Ok(Layer { weight, bias, fused, then, residual })
    }
}

/// Scales the rows of a weight by what a batch normalisation behind it does, (z − mean) · gain / √(var + ε) + shift, and
/// gives the new bias.
fn fold(weight: &mut [f32], bias: Option<&[f32]>, norm: [&[f32]; 4]) -> Vec<f32> {
    let [gain, shift, mean, var] = norm;
    let width = weight.len() / gain.len().max(1);
    let mut folded = Vec::with_capacity(gain.len());
    for j in 0..gain.len() {
        let scale = f64::from(gain[j]) / (f64::from(var[j]) + NORM_EPS).sqrt();
        for w in &mut weight[j * width..][..width] {
            *w = (f64::from(*w) * scale) as f32;
        }
        let from = f64::from(bias.map_or(0.0, |bias| bias[j])) - f64::from(mean[j]);
        folded.push((from * scale + f64::from(shift[j])) as f32);
    }
    folded
}
