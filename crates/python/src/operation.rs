//! An operation of the library on NumPy arrays, with its backward pass.

use crate::arrays::{Array, ArrayMut, numpy_name};
use crate::errors::{compute, of_graph};
use crate::{DEVICE, operations};
use feedforward::graph::{Contract, Cx, Error, Kept, Op, OpError, OpResult, Slot, Spec};
use feedforward::tensor::{DType, Key, Slice, Tensor, TensorMut, TensorRef};
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

/// Whether this is training, and the key of random numbers.
type Mode = (bool, Key);

/// What the backward pass of an operation reads.
#[pyclass(frozen, module = "feedforward._core")]
pub(crate) struct Recorded {
    op: Arc<dyn Op>,
    specs: Vec<Spec>,
    need: Vec<bool>,
    inputs: Vec<Py<PyAny>>,
    outputs: Vec<Py<PyAny>>,
    saved: Vec<Tensor>,
    mode: Mode,
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
        let spec = |a: &Array<'py>| Ok(Spec { shape: *a.view()?.shape(), dtype: a.dtype() });
        let specs: Vec<Spec> = arrays.iter().map(spec).collect::<PyResult<_>>()?;
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

    fn contract(&self, specs: &[Spec], need: &[bool]) -> PyResult<Contract> {
        self.op.contract(specs, need).map_err(|error| self.failed(error))
    }

    /// Runs the operation into new arrays.
    fn forward<'py>(
        &self,
        py: Python<'py>,
        call: &Call<'py>,
        contract: &Contract,
        saved: &mut [Tensor],
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
            let views = saved.iter_mut().map(Tensor::view_mut);
            let mut saved: Vec<TensorMut<'_>> = views.collect::<Result<_, _>>()?;
            self.op.forward(&cx, &x, &mut out, &mut saved)
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
        if need.len() != call.specs.len() {
            let message = format!("need: expected {} values, one per input", call.specs.len());
            return Err(PyValueError::new_err(message));
        }
        let contract = self.contract(&call.specs, &need)?;
        let memory = |spec: &Spec| {
            Tensor::uninit(&DEVICE, spec.shape, spec.dtype).map_err(|e| self.failed(e.into()))
        };
        let mut saved = contract.saved.iter().map(memory).collect::<PyResult<Vec<_>>>()?;
        let mode = (training, Key::new(seed));
        let outputs = self.forward(py, &call, &contract, &mut saved, mode)?;
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

#[pymethods]
impl Recorded {
    /// The gradient of each input from that of each output, `None` for those without; an output
    /// without a gradient is `None`.
    #[pyo3(signature = (*dy))]
    fn backward<'py>(
        &self,
        py: Python<'py>,
        dy: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let failed = |error: OpError| of_graph(&Error::of(self.op.name())(error));
        if dy.is_empty() || dy.len() > self.outputs.len() {
            let (name, most) = (self.op.name(), self.outputs.len());
            let message = format!("{name}: backward takes 1 to {most} gradients of outputs");
            return Err(PyTypeError::new_err(message));
        }
        let read = |array: &Py<PyAny>| Array::read("", array.bind(py));
        let inputs: Vec<Array<'py>> = self.inputs.iter().map(read).collect::<PyResult<_>>()?;
        let outputs: Vec<Array<'py>> = self.outputs.iter().map(read).collect::<PyResult<_>>()?;
        let mut gradients = Vec::with_capacity(outputs.len());
        for (i, output) in outputs.iter().enumerate() {
            let given = dy.get_item(i).ok().filter(|dy| !dy.is_none());
            let given = given.map(|dy| Array::read("dy", &dy)).transpose()?;
            if let Some(dy) = &given {
                self.check_gradient(output, dy)?;
            }
            gradients.push(given);
        }
        if gradients.iter().all(Option::is_none) {
            return Err(PyValueError::new_err("dy: every gradient is None"));
        }
        let mut dx: Vec<Option<ArrayMut<'py>>> = Vec::with_capacity(inputs.len());
        for (spec, &need) in self.specs.iter().zip(&self.need) {
            let zeros = || ArrayMut::zeros(py, &spec.shape, spec.dtype);
            dx.push(need.then(zeros).transpose()?);
        }
        let x: Vec<TensorRef<'_>> = inputs.iter().map(Array::view).collect::<PyResult<_>>()?;
        let y: Vec<TensorRef<'_>> = outputs.iter().map(Array::view).collect::<PyResult<_>>()?;
        let dy: Vec<Option<TensorRef<'_>>> = gradients
            .iter()
            .map(|dy| dy.as_ref().map(Array::view).transpose())
            .collect::<PyResult<_>>()?;
        let mut slots: Vec<Slot<'_>> = Vec::with_capacity(dx.len());
        for dx in &mut dx {
            slots.push(dx.as_mut().map_or(Ok(Slot::Skip), |dx| dx.view().map(Slot::Write))?);
        }
        let run = || -> OpResult {
            // The operation may overwrite dy.
            let mut own: Vec<Option<Tensor>> = Vec::with_capacity(dy.len());
            for dy in dy {
                own.push(dy.map(|dy| copied(&dy)).transpose()?);
            }
            let views = own.iter_mut().map(|dy| dy.as_mut().map(Tensor::view_mut).transpose());
            let mut dy: Vec<Option<TensorMut<'_>>> = views.collect::<Result<_, _>>()?;
            let saved: Vec<TensorRef<'_>> = self.saved.iter().map(Tensor::view).collect();
            let kept = Kept::of_views(&self.specs, &x, &y, &saved);
            let (training, key) = self.mode;
            let cx = Cx { device: &DEVICE, training, key, progress: 0.0 };
            self.op.backward(&cx, &kept, &mut dy, &mut slots)
        };
        compute(py, run)?.map_err(failed)?;
        PyTuple::new(py, dx.into_iter().map(|dx| dx.map(ArrayMut::into_object)))
    }
}

impl Recorded {
    fn check_gradient(&self, output: &Array<'_>, dy: &Array<'_>) -> PyResult<()> {
        let name = self.op.name();
        let (y, given) = (output.view()?, dy.view()?);
        if y.shape() != given.shape() {
            let message = format!("{name}: dy has shape {}, y {}", given.shape(), y.shape());
            return Err(PyValueError::new_err(message));
        }
        if y.dtype() != given.dtype() {
            let (y, dy) = (numpy_name(y.dtype()), numpy_name(given.dtype()));
            return Err(PyTypeError::new_err(format!("{name}: dy holds {dy}, y {y}")));
        }
        Ok(())
    }
}

/// A copy in the pool's memory.
fn copied(from: &TensorRef<'_>) -> OpResult<Tensor> {
    let dims = from.shape().dims();
    Ok(match from.data() {
        Slice::F32(values) => Tensor::from_slice(&DEVICE, values, dims)?,
        Slice::F64(values) => Tensor::from_slice(&DEVICE, values, dims)?,
        Slice::I32(values) => Tensor::from_slice(&DEVICE, values, dims)?,
        _ => return Err(OpError::dtype("float32 or float64", from.dtype())),
    })
}
