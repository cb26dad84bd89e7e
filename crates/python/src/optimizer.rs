//! Optimiser steps and learning-rate schedules over NumPy arrays.

use crate::DEVICE;
use crate::arrays::{Array, numpy_name, writable};
use crate::errors::{of_graph, of_library, of_train, parsed};
use crate::interpreter::compute;
use feedforward::graph::{ParamId, ParamKind, ParamSpec, Params};
use feedforward::tensor::{self, DType, Element, Shape};
use feedforward::trainer;
use feedforward::trainer::optim::{self, OptimizerConfig};
use feedforward::trainer::schedule::{self, ScheduleConfig};
use numpy::{PyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

/// The state of an optimiser for some arrays.
#[pyclass(frozen, module = "feedforward._core")]
pub(crate) struct Optimizer {
    state: Mutex<(optim::Optimizer, Params)>,
    shapes: Vec<Shape>,
    dtype: DType,
    lr: f64,
}

fn optim_error(error: optim::Error) -> PyErr {
    of_train(&trainer::Error::from(error))
}

#[pymethods]
impl Optimizer {
    /// An optimiser by its settings as JSON, for arrays of these names. Matrices are weights, which
    /// decay; vectors are biases, which do not.
    #[new]
    fn new(settings: &str, arrays: Vec<(String, Bound<'_, PyAny>)>) -> PyResult<Self> {
        let config: OptimizerConfig = parsed(settings)?;
        config.validate().map_err(|error| of_library(error.inside("optimizer").into()))?;
        let mut specs = Vec::with_capacity(arrays.len());
        let mut dtype = None;
        for (name, array) in &arrays {
            let array = Array::read(name, array)?;
            if dtype.replace(array.dtype()).is_some_and(|before| before != array.dtype()) {
                return Err(PyTypeError::new_err("all arrays must have one dtype"));
            }
            let shape = *array.view()?.shape();
            let kind = if shape.rank() > 1 { ParamKind::Weight } else { ParamKind::Bias };
            specs.push(ParamSpec::new(name.as_str(), shape, kind));
        }
        let dtype = dtype.ok_or_else(|| PyValueError::new_err("there is no array to train"))?;
        let shapes = specs.iter().map(|spec| spec.shape).collect();
        let failed = |error| of_graph(&error);
        let params = Params::allocate(&DEVICE, dtype, specs, true).map_err(failed)?;
        let optimizer = optim::Optimizer::new(&config, &params, &DEVICE).map_err(optim_error)?;
        Ok(Self { state: Mutex::new((optimizer, params)), shapes, dtype, lr: config.lr() })
    }

    /// Its learning rate.
    #[getter]
    fn lr(&self) -> f64 {
        self.lr
    }

    /// Updates arrays in place from their gradients; the norm of the whole gradient.
    fn step(
        &self,
        py: Python<'_>,
        arrays: Vec<Bound<'_, PyAny>>,
        gradients: Vec<Bound<'_, PyAny>>,
        lr: f64,
        count: f64,
    ) -> PyResult<f64> {
        match self.dtype {
            DType::F64 => self.step_in::<f64>(py, &arrays, &gradients, lr, count),
            _ => self.step_in::<f32>(py, &arrays, &gradients, lr, count),
        }
    }
}

impl Optimizer {
    fn step_in<T: Element + numpy::Element>(
        &self,
        py: Python<'_>,
        arrays: &[Bound<'_, PyAny>],
        gradients: &[Bound<'_, PyAny>],
        lr: f64,
        count: f64,
    ) -> PyResult<f64> {
        let n = self.shapes.len();
        if arrays.len() != n || gradients.len() != n {
            let (a, g) = (arrays.len(), gradients.len());
            let message = format!("expected {n} arrays and gradients, found {a} and {g}");
            return Err(PyValueError::new_err(message));
        }
        let mut arrays_of = Vec::with_capacity(n);
        let mut read = Vec::with_capacity(n);
        for (i, (array, gradient)) in arrays.iter().zip(gradients).enumerate() {
            let array = array.cast::<PyArrayDyn<T>>().map_err(|_| self.other("array", i))?;
            let gradient = Array::read("gradient", gradient)?;
            let fits = array.shape() == self.shapes[i].dims();
            if !fits
                || *gradient.view()?.shape() != self.shapes[i]
                || gradient.dtype() != self.dtype
            {
                return Err(self.other("array or gradient", i));
            }
            arrays_of.push(writable(&format!("array {i}"), array)?);
            read.push(gradient);
        }
        let tensors = read.iter().map(Array::view).collect::<PyResult<Vec<_>>>()?;
        let failed = |error: tensor::Error| of_train(&error.into());
        let gradients = tensors.iter().map(|view| view.slice::<T>().map_err(failed));
        let gradients = gradients.collect::<PyResult<Vec<&[T]>>>()?;
        let mut arrays: Vec<_> = arrays_of.iter_mut().map(|array| array.as_array_mut()).collect();
        // The lock is taken without the interpreter: who waits for it must not hold that.
        let step = || -> trainer::Result<f64> {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let (optimizer, params) = &mut *state;
            for (i, (array, gradient)) in arrays.iter().zip(gradients).enumerate() {
                let values = params.values_mut::<T>(ParamId::new(i))?;
                values.iter_mut().zip(array).for_each(|(to, &v)| *to = v);
                let range = params.infos()[i].range();
                params.gradients::<T>()?[range].copy_from_slice(gradient);
            }
            let report = optimizer.step(params, count, lr)?;
            if report.skipped.is_none() {
                for (i, array) in arrays.iter_mut().enumerate() {
                    let values = params.values::<T>(ParamId::new(i))?;
                    array.iter_mut().zip(values).for_each(|(to, &v)| *to = v);
                }
            }
            Ok(report.grad_norm)
        };
        compute(py, step)?.map_err(|error| of_train(&error))
    }

    fn other(&self, what: &str, i: usize) -> PyErr {
        let (shape, dtype) = (self.shapes[i], numpy_name(self.dtype));
        PyValueError::new_err(format!("{what} {i}: expected {shape} of {dtype}"))
    }
}

/// A learning rate over time.
#[pyclass(frozen, module = "feedforward._core")]
pub(crate) struct Schedule(Mutex<schedule::Schedule>);

#[pymethods]
impl Schedule {
    /// A schedule by its settings as JSON.
    #[new]
    fn new(settings: &str, lr: f64) -> PyResult<Self> {
        let config: ScheduleConfig = parsed(settings)?;
        let schedule = schedule::Schedule::new(&config, lr);
        let schedule = schedule.map_err(|error| of_library(error.inside("schedule").into()))?;
        Ok(Self(Mutex::new(schedule)))
    }

    /// The rate of a step, from 0, of so many.
    fn rate(&self, step: u64, total: u64) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lr_at(step, total)
    }

    /// Records a score of an evaluation.
    fn observe(&self, score: f64, higher_is_better: bool) -> Option<f64> {
        let mut schedule = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        schedule.observe(score, higher_is_better)
    }
}
