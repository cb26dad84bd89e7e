//! An operation of the library on NumPy arrays, with its backward pass.

use crate::arrays::{Array, ArrayMut, numpy_name, shape};
use crate::errors::of_graph;
use crate::gradient::{Backward, Mode, Recorded};
use crate::interpreter::compute;
use crate::{DEVICE, operations};
use feedforward::graph::{Contract, Cx, Error, Op, OpError, OpResult, Spec};
use feedforward::tensor::{DType, Key, Tensor, TensorMut, TensorRef};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::sync::Arc;

/// An operation with its attributes: `Operation("rms_norm", 2, eps=1e-6)` for two inputs.
#[pyclass(frozen, module = "feedforward._core")]
pub(crate) struct Operation {
    op: Arc<dyn Op>,
    arguments: (String, usize, Py<PyDict>),
}

/// The mode of operations that draw no random numbers.
fn training() -> Mode {
    (true, Key::new(0))
}

/// A result of one array, or of several.
fn unpacked<'py>(
    py: Python<'py>,
    mut arrays: Vec<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    match (arrays.len(), arrays.pop()) {
        (1, Some(only)) => Ok(only),
        (_, last) => {
            arrays.extend(last);
            Ok(PyTuple::new(py, arrays)?.into_any())
        }
    }
}

/// The inputs of a call.
struct Call<'py> {
    arrays: Vec<Array<'py>>,
    specs: Vec<Spec>,
}

impl Operation {
    fn call<'py>(&self, inputs: &Bound<'py, PyTuple>) -> PyResult<Call<'py>> {
        let expected = self.arguments.1;
        if inputs.len() != expected {
            let (name, found) = (self.op.name(), inputs.len());
            let message = format!("{name}: expected {expected} inputs, found {found}");
            return Err(PyTypeError::new_err(message));
        }
        let read = |(i, value): (usize, Bound<'py, PyAny>)| match Array::read("", &value) {
            Ok(array) => Ok(array),
            // Named only where it is needed, since formatting costs more than a small call.
            Err(_) => Array::read(&format!("{}: input {i}", self.op.name()), &value),
        };
        let arrays: Vec<_> = inputs.iter().enumerate().map(read).collect::<PyResult<_>>()?;
        let specs: Vec<Spec> = arrays.iter().map(Array::spec).collect::<PyResult<_>>()?;
        self.check_types(&specs)?;
        Ok(Call { arrays, specs })
    }

    /// Refuses a mixture of f32 and f64.
    fn check_types(&self, specs: &[Spec]) -> PyResult<()> {
        let mut floats = specs.iter().enumerate().filter(|(_, spec)| spec.dtype != DType::I32);
        let Some((first, Spec { dtype, .. })) = floats.next() else { return Ok(()) };
        match floats.find(|(_, spec)| spec.dtype != *dtype) {
            None => Ok(()),
            Some((other, spec)) => Err(PyTypeError::new_err(format!(
                "{}: input {first} holds {}, input {other} {}; convert one with .astype",
                self.op.name(),
                numpy_name(*dtype),
                numpy_name(spec.dtype)
            ))),
        }
    }

    fn check_need(&self, need: &[bool]) -> PyResult<()> {
        let expected = self.arguments.1;
        if need.len() == expected {
            return Ok(());
        }
        Err(PyValueError::new_err(format!("need: expected {expected} values, one per input")))
    }

    fn contract(&self, specs: &[Spec], need: &[bool]) -> PyResult<Contract> {
        self.op.contract(specs, need).map_err(|error| self.failed(error))
    }

    /// Runs the operation into new arrays.
    fn forward<'py>(
        &self,
        py: Python<'py>,
        call: &Call<'py>,
        contract: &Contract,
        saved: &mut [TensorMut<'_>],
        (training, key): Mode,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut y: Vec<ArrayMut<'py>> = Vec::with_capacity(contract.outputs.len());
        for spec in &contract.outputs {
            y.push(ArrayMut::zeros(py, &spec.shape, spec.dtype)?);
        }
        let x: Vec<TensorRef<'_>> = call.arrays.iter().map(Array::view).collect::<PyResult<_>>()?;
        let mut out: Vec<TensorMut<'_>> =
            y.iter_mut().map(ArrayMut::view).collect::<PyResult<_>>()?;
        let run = || -> OpResult {
            let cx = Cx { device: &DEVICE, training, key, progress: 0.0 };
            self.op.forward(&cx, &x, &mut out, saved)
        };
        compute(py, run)?.map_err(|error| self.failed(error))?;
        Ok(y.into_iter().map(ArrayMut::into_object).collect())
    }

    fn failed(&self, error: OpError) -> PyErr {
        of_graph(&Error::of(self.op.name())(error))
    }
}

#[pymethods]
impl Operation {
    #[new]
    #[pyo3(signature = (name, inputs, **attributes))]
    fn new(
        py: Python<'_>,
        name: &str,
        inputs: usize,
        attributes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let op = operations::build(name, inputs, attributes)?;
        let attributes = attributes.map_or_else(|| Ok(PyDict::new(py)), PyDictMethods::copy)?;
        Ok(Self { op, arguments: (name.to_owned(), inputs, attributes.unbind()) })
    }

    /// Its name in the library.
    #[getter]
    fn name(&self) -> &'static str {
        self.op.name()
    }

    /// The output, or the outputs as a tuple; nothing is kept for a backward pass.
    #[pyo3(signature = (*inputs))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let call = self.call(inputs)?;
        let need = [false; NEED];
        let need = need.get(..call.specs.len()).ok_or_else(too_many)?;
        let contract = self.contract(&call.specs, need)?;
        unpacked(py, self.forward(py, &call, &contract, &mut [], (false, Key::new(0)))?)
    }

    /// The output or outputs, and what their backward pass needs. `need` says which inputs want a
    /// gradient, by default those of floats; `training` and `seed` are for operations that draw
    /// random numbers.
    #[pyo3(signature = (*inputs, need=None, training=true, seed=0))]
    fn record<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyTuple>,
        need: Option<Vec<bool>>,
        training: bool,
        seed: u64,
    ) -> PyResult<(Bound<'py, PyAny>, Recorded)> {
        let call = self.call(inputs)?;
        let floats = || call.specs.iter().map(|spec| spec.dtype != DType::I32).collect();
        let need: Vec<bool> = need.unwrap_or_else(floats);
        self.check_need(&need)?;
        let contract = self.contract(&call.specs, &need)?;
        let memory = |spec: &Spec| {
            Tensor::uninit(&DEVICE, spec.shape, spec.dtype).map_err(|e| self.failed(e.into()))
        };
        let mut saved = contract.saved.iter().map(memory).collect::<PyResult<Vec<_>>>()?;
        let mode = (training, Key::new(seed));
        let views = saved.iter_mut().map(Tensor::view_mut);
        let mut views: Vec<TensorMut<'_>> =
            views.collect::<Result<_, _>>().map_err(|e| self.failed(e.into()))?;
        let outputs = self.forward(py, &call, &contract, &mut views, mode)?;
        drop(views);
        let recorded = Recorded {
            op: Arc::clone(&self.op),
            specs: call.specs,
            need,
            inputs: call.arrays.into_iter().map(|a| a.into_object().unbind()).collect(),
            outputs: outputs.iter().map(|y| y.clone().unbind()).collect(),
            saved,
            mode,
        };
        Ok((unpacked(py, outputs)?, recorded))
    }

    /// The outputs, and what the backward pass reads besides inputs and outputs, all as arrays:
    /// for frameworks that keep these themselves.
    fn compute<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyTuple>,
        need: Vec<bool>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let call = self.call(inputs)?;
        self.check_need(&need)?;
        let contract = self.contract(&call.specs, &need)?;
        let zeros = |spec: &Spec| ArrayMut::zeros(py, &spec.shape, spec.dtype);
        let mut saved: Vec<_> = contract.saved.iter().map(zeros).collect::<PyResult<_>>()?;
        let mut views: Vec<_> = saved.iter_mut().map(ArrayMut::view).collect::<PyResult<_>>()?;
        let mut arrays = self.forward(py, &call, &contract, &mut views, training())?;
        drop(views);
        arrays.extend(saved.into_iter().map(ArrayMut::into_object));
        Ok(arrays)
    }

    /// The shapes of what `compute` gives besides the outputs, for float inputs of these shapes.
    fn saved(&self, shapes: Vec<Vec<usize>>, need: Vec<bool>) -> PyResult<Vec<Vec<usize>>> {
        let spec = |dims: &Vec<usize>| Ok(Spec::new(shape(dims)?, DType::F32));
        let specs: Vec<Spec> = shapes.iter().map(spec).collect::<PyResult<_>>()?;
        self.check_need(&need)?;
        let contract = self.contract(&specs, &need)?;
        Ok(contract.saved.iter().map(|spec| spec.shape.dims().to_vec()).collect())
    }

    /// The gradient of each input, `None` for those without, from what `compute` gave; `outputs`
    /// may be empty for an operation whose backward pass reads none.
    fn gradients<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyTuple>,
        outputs: Vec<Bound<'py, PyAny>>,
        saved: Vec<Bound<'py, PyAny>>,
        dy: &Bound<'py, PyTuple>,
        need: Vec<bool>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let call = self.call(inputs)?;
        self.check_need(&need)?;
        let contract = self.contract(&call.specs, &need)?;
        let read = |array: &Bound<'py, PyAny>| Array::read("", array);
        let outputs: Vec<Array<'py>> = outputs.iter().map(read).collect::<PyResult<_>>()?;
        let saved: Vec<Array<'py>> = saved.iter().map(read).collect::<PyResult<_>>()?;
        let saved: Vec<_> = saved.iter().map(Array::view).collect::<PyResult<_>>()?;
        let like = |(a, b): (&TensorRef<'_>, &Spec)| *a.shape() == b.shape && a.dtype() == b.dtype;
        if saved.len() != contract.saved.len() || !saved.iter().zip(&contract.saved).all(like) {
            let message = format!("{}: `saved` is not what compute gave", self.op.name());
            return Err(PyValueError::new_err(message));
        }
        Backward {
            op: &*self.op,
            specs: &call.specs,
            results: &contract.outputs,
            need: &need,
            inputs: &call.arrays,
            outputs: &outputs,
            saved: &saved,
            mode: training(),
        }
        .run(py, dy)
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let (name, inputs, attributes) = &slf.get().arguments;
        let make = py.import("feedforward._operation")?.getattr("operation")?;
        Ok((make, (name, inputs, attributes.bind(py)).into_pyobject(py)?))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (name, inputs, attributes) = &self.arguments;
        let mut text = format!("Operation({name:?}, {inputs}");
        for (key, value) in attributes.bind(py) {
            text.extend([
                ", ".to_owned(),
                key.to_string(),
                "=".to_owned(),
                value.repr()?.to_string(),
            ]);
        }
        Ok(text + ")")
    }
}

/// More inputs than any operation has.
const NEED: usize = 64;

fn too_many() -> PyErr {
    PyTypeError::new_err(format!("an operation has at most {NEED} inputs"))
}
