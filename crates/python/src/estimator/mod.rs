//! The trained part of a scikit-learn estimator.

mod network;
mod objective;
mod observer;

use crate::DEVICE;
use crate::arrays::{Array, ArrayMut};
use crate::attributes::activation;
use crate::errors::{of_graph, of_train, parsed};
use crate::interpreter::compute;
use feedforward::graph::{Graph, Mode, Op, Params};
use feedforward::kernels::Float;
use feedforward::nn::Builder;
use feedforward::ops::{
    Activation, BinaryCrossEntropyWithLogits, Reduction, RegressionLoss, SoftmaxCrossEntropy,
};
use feedforward::tensor::{DType, Element, Shape};
use feedforward::trainer::optim::{Optimizer, OptimizerConfig};
use feedforward::trainer::schedule::{Schedule, ScheduleConfig};
use feedforward::trainer::{self, TrainConfig, Trainer};
use network::NetworkConfig;
use objective::{Fit, Rows, Target, dtype_of};
use observer::Listener;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a network is, as an estimator states it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    network: NetworkConfig,
    loss: String,
    dtype: String,
    seed: u64,
}

/// How it is trained.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Training {
    optimizer: OptimizerConfig,
    schedule: ScheduleConfig,
    epochs: usize,
    batch_size: usize,
    patience: usize,
    min_delta: f64,
    seed: u64,
}

/// A network with its parameters, for one call at a time.
#[pyclass(frozen, module = "feedforward._core")]
pub(crate) struct Network {
    config: Config,
    layers: network::Network,
    loss: Arc<dyn Op>,
    dtype: DType,
    state: Mutex<State>,
}

/// What training changes.
#[derive(Default)]
struct State {
    /// Absent only while it is trained, or after a panic.
    graph: Option<Graph>,
    /// That of the last training, to be resumed.
    optimizer: Option<Optimizer>,
}

/// The arrays of a validation part: X, y and weights.
type Part<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);
/// The function that makes a network again, and its arguments.
type Reduced<'py> = (Bound<'py, PyAny>, (String, Bound<'py, PyBytes>));

/// What an epoch left: its training loss, and its validation loss.
type History = Vec<(f64, Option<f64>)>;

fn loss(name: &str) -> PyResult<Arc<dyn Op>> {
    let reduction = Reduction::Sum;
    Ok(match name {
        "cross_entropy" => SoftmaxCrossEntropy { reduction, ..Default::default() }.op(),
        "binary_cross_entropy" => {
            BinaryCrossEntropyWithLogits { reduction, ..Default::default() }.op()
        }
        _ => {
            let loss = RegressionLoss::ALL.iter().find(|loss| loss.name() == name);
            let loss = loss.ok_or_else(|| {
                let names: Vec<&str> = RegressionLoss::ALL.iter().map(|l| l.name()).collect();
                let names = names.join(", ");
                PyValueError::new_err(format!("unknown loss `{name}`; expected one of {names}"))
            })?;
            loss.op(reduction)
        }
    })
}

#[pymethods]
impl Network {
    /// A network with initial values, from its configuration as JSON.
    #[new]
    fn new(config: &str) -> PyResult<Self> {
        let config: Config = parsed(config)?;
        let activations: Vec<Activation> = config
            .network
            .hidden
            .iter()
            .map(|l| activation(&l.activation))
            .collect::<PyResult<_>>()?;
        if config.network.hidden.iter().any(|layer| layer.width == 0) {
            return Err(PyValueError::new_err("a hidden layer needs at least one unit"));
        }
        if config.network.hidden.iter().any(|layer| !(0.0..1.0).contains(&layer.dropout)) {
            return Err(PyValueError::new_err("dropout must lie in [0, 1)"));
        }
        let dtype = dtype_of(&config.dtype)
            .ok_or_else(|| PyTypeError::new_err("dtype: expected float32 or float64"))?;
        let loss = loss(&config.loss)?;
        let mut builder = Builder::new();
        let layers = network::Network::new(&mut builder, &config.network, &activations);
        let params = builder.build(&DEVICE, dtype, config.seed, true);
        let graph = Graph::new(&DEVICE, params.map_err(|error| of_graph(&error))?);
        let state = Mutex::new(State { graph: Some(graph), optimizer: None });
        Ok(Self { config, layers, loss, dtype, state })
    }

    /// Trains on rows and returns the training and validation losses of each epoch.
    #[pyo3(signature = (x, y, weights, training, *, valid=None, resume=false, callback=None))]
    #[allow(clippy::too_many_arguments)]
    fn fit(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        y: &Bound<'_, PyAny>,
        weights: Option<&Bound<'_, PyAny>>,
        training: &str,
        valid: Option<Part<'_>>,
        resume: bool,
        callback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<History> {
        let training: Training = parsed(training)?;
        let data = Data::read(x, y, weights)?;
        let valid = valid.map(|(x, y, w)| Data::read(&x, &y, w.as_ref())).transpose()?;
        let callback = callback.map(|callback| callback.clone().unbind());
        let mut listener = Listener::new(callback.as_ref());
        let result = match self.dtype {
            DType::F64 => {
                self.train::<f64>(py, (&data, valid.as_ref()), &training, resume, &mut listener)
            }
            _ => self.train::<f32>(py, (&data, valid.as_ref()), &training, resume, &mut listener),
        };
        match listener.raised {
            Some(error) => Err(error),
            None => result,
        }
    }

    /// The outputs of rows, or with `layers` those of so many hidden layers.
    #[pyo3(signature = (x, layers=None))]
    fn outputs<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        layers: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let x = Array::read("X", x)?;
        let view = x.view()?;
        let hidden = &self.config.network.hidden;
        let inputs = self.config.network.inputs;
        if view.shape().rank() != 2 || view.shape().last() != inputs {
            let message = format!("X must be [N, {inputs}], found {}", view.shape());
            return Err(PyValueError::new_err(message));
        }
        let width = match layers {
            None => self.config.network.outputs,
            Some(0) => inputs,
            Some(n) => match hidden.get(n - 1) {
                Some(layer) => layer.width,
                None => return Err(PyValueError::new_err("there are fewer hidden layers")),
            },
        };
        let shape = Shape::from([view.shape().rows(), width]);
        let mut out = ArrayMut::zeros(py, &shape, self.dtype)?;
        let mut to = out.view()?;
        let run = || {
            let mut state = self.state();
            let graph = state.graph.as_mut().ok_or_else(lost)?;
            graph.set_mode(Mode::Eval);
            match self.dtype {
                DType::F64 => self.run::<f64>(graph, layers, view.slice(), to.slice_mut(), inputs),
                _ => self.run::<f32>(graph, layers, view.slice(), to.slice_mut(), inputs),
            }
        };
        compute(py, run)??;
        Ok(out.into_object())
    }

    /// Names and values of the parameters.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
        let state = self.state();
        let params = state.graph.as_ref().ok_or_else(lost)?.params();
        let mut all = Vec::new();
        for (id, info) in params.iter() {
            let mut array = ArrayMut::zeros(py, &info.spec.shape, self.dtype)?;
            let failed = |error| of_graph(&error);
            match &mut array {
                ArrayMut::F32(a) => copy(a.as_slice_mut(), params.values(id).map_err(failed)?)?,
                ArrayMut::F64(a) => copy(a.as_slice_mut(), params.values(id).map_err(failed)?)?,
                ArrayMut::I32(_) => {}
            }
            all.push((info.spec.name.clone(), array.into_object()));
        }
        Ok(all)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        let (py, this) = (slf.py(), slf.get());
        let config = serde_json::to_string(&this.config)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let state = this.state();
        let params = state.graph.as_ref().ok_or_else(lost)?.params();
        let bytes = match this.dtype {
            DType::F64 => bytes::<f64, 8>(params, f64::to_le_bytes),
            _ => bytes::<f32, 4>(params, f32::to_le_bytes),
        };
        let bytes = PyBytes::new(py, &bytes.map_err(|error| of_graph(&error))?);
        let make = py.get_type::<Self>().getattr("_restored")?;
        Ok((make, (config, bytes)))
    }

    /// The network of a pickle.
    #[staticmethod]
    fn _restored(config: &str, values: &[u8]) -> PyResult<Self> {
        let network = Self::new(config)?;
        {
            let mut state = network.state();
            let params = state.graph.as_mut().ok_or_else(lost)?.params_mut();
            let restored = match network.dtype {
                DType::F64 => restore::<f64, 8>(params, values, f64::from_le_bytes),
                _ => restore::<f32, 4>(params, values, f32::from_le_bytes),
            };
            restored.map_err(|error| of_graph(&error))?;
        }
        Ok(network)
    }
}

fn lost() -> PyErr {
    PyRuntimeError::new_err("the network was lost when its training failed; fit it again")
}

fn copy<T: Copy, E: std::fmt::Display>(to: Result<&mut [T], E>, from: &[T]) -> PyResult<()> {
    let to = to.map_err(|error| PyTypeError::new_err(error.to_string()))?;
    to.copy_from_slice(from);
    Ok(())
}

/// The values of all parameters and statistics.
fn bytes<T: Element, const N: usize>(
    params: &Params,
    to: fn(T) -> [u8; N],
) -> Result<Vec<u8>, feedforward::graph::Error> {
    let (values, state) = (params.flat::<T>()?, params.state::<T>()?);
    Ok(values.iter().chain(state).flat_map(|&v| to(v)).collect())
}

fn restore<T: Element, const N: usize>(
    params: &mut Params,
    from: &[u8],
    of: fn([u8; N]) -> T,
) -> Result<(), feedforward::graph::Error> {
    let (chunks, rest) = from.as_chunks::<N>();
    let all = params.flat::<T>()?.len() + params.state::<T>()?.len();
    if chunks.len() != all || !rest.is_empty() {
        let message = "the values of a pickled network do not fit its configuration";
        return Err(feedforward::graph::Error::shape("estimator", message));
    }
    let mut values = chunks.iter().map(|&chunk| of(chunk));
    params.flat_mut::<T>()?.iter_mut().zip(&mut values).for_each(|(to, v)| *to = v);
    params.state_mut::<T>()?.iter_mut().zip(&mut values).for_each(|(to, v)| *to = v);
    Ok(())
}

/// Arrays of rows.
struct Data<'py> {
    x: Array<'py>,
    y: Array<'py>,
    weights: Option<Array<'py>>,
}

impl<'py> Data<'py> {
    fn read(
        x: &Bound<'py, PyAny>,
        y: &Bound<'py, PyAny>,
        weights: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let weights = weights.map(|w| Array::read("sample_weight", w)).transpose()?;
        Ok(Self { x: Array::read("X", x)?, y: Array::read("y", y)?, weights })
    }

    fn rows<T: Float>(&self) -> PyResult<Rows<'_, T>> {
        let failed = |e| of_graph(&feedforward::graph::Error::of("estimator")(e));
        let (x, y) = (self.x.view()?, self.y.view()?);
        let target = match y.dtype() {
            DType::I32 => Target::Classes(y.slice::<i32>().map_err(failed)?),
            _ => Target::Values(y.slice::<T>().map_err(failed)?, y.shape().last()),
        };
        let weights = match &self.weights {
            Some(weights) => Some(weights.view()?.slice::<T>().map_err(failed)?),
            None => None,
        };
        let rows =
            Rows { x: x.slice::<T>().map_err(failed)?, width: x.shape().last(), target, weights };
        let n = x.shape().rows();
        if rows.len() != n || weights.is_some_and(|w| w.len() != n) {
            return Err(PyValueError::new_err("X, y and sample_weight must have as many rows"));
        }
        Ok(rows)
    }
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T: Float>(
        &self,
        graph: &mut Graph,
        layers: Option<usize>,
        x: feedforward::tensor::Result<&[T]>,
        out: feedforward::tensor::Result<&mut [T]>,
        inputs: usize,
    ) -> PyResult<()> {
        let failed = |e| of_graph(&feedforward::graph::Error::of("estimator")(e));
        let (x, out) = (x.map_err(failed)?, out.map_err(failed)?);
        let done = objective::outputs(graph, &self.layers, layers, (x, inputs), out);
        done.map_err(|error| of_graph(&error))
    }

    fn train<T: Float>(
        &self,
        py: Python<'_>,
        (data, valid): (&Data<'_>, Option<&Data<'_>>),
        training: &Training,
        resume: bool,
        listener: &mut Listener<'_>,
    ) -> PyResult<History> {
        let train = data.rows::<T>()?;
        let valid = valid.map(Data::rows::<T>).transpose()?;
        let inputs = self.config.network.inputs;
        if train.width != inputs || valid.is_some_and(|rows| rows.width != inputs) {
            return Err(PyValueError::new_err(format!("X must be [N, {inputs}]")));
        }
        let (network, loss) = (&self.layers, &self.loss);
        let mut fit = Fit { network, loss, train, valid, epoch: (0.0, 0.0), best: None };
        let run = || -> trainer::Result<Option<History>> {
            let mut state = self.state();
            let Some(graph) = state.graph.take() else { return Ok(None) };
            let optimizer = match state.optimizer.take().filter(|_| resume) {
                Some(optimizer) => optimizer,
                None => Optimizer::new(&training.optimizer, graph.params(), &DEVICE)?,
            };
            let lr = training.optimizer.lr();
            let schedule =
                Schedule::new(&training.schedule, lr).map_err(|e| e.inside("schedule"))?;
            let config = TrainConfig {
                epochs: training.epochs,
                batch_size: training.batch_size,
                patience: training.patience,
                min_delta: training.min_delta,
                seed: training.seed,
                ..TrainConfig::default()
            };
            let mut trainer = Trainer::new(graph, optimizer, schedule, config).without_best();
            let fitted = trainer.fit(&mut fit, listener, None);
            let history = trainer.progress().history.iter();
            let of_valid = |loss: Option<f64>| loss.filter(|_| fit.valid.is_some());
            let history = history.map(|r| (r.train_loss, of_valid(r.valid_loss))).collect();
            let (mut graph, optimizer) = trainer.into_parts();
            if let Some((values, statistics)) = &fit.best {
                graph.params_mut().flat_mut::<T>()?.copy_from_slice(values);
                graph.params_mut().state_mut::<T>()?.copy_from_slice(statistics);
            }
            *state = State { graph: Some(graph), optimizer: Some(optimizer) };
            fitted?;
            Ok(Some(history))
        };
        compute(py, run)?.map_err(|error| of_train(&error))?.ok_or_else(lost)
    }
}
