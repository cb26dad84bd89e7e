//! The backward pass of an operation on NumPy arrays.

use crate::DEVICE;
use crate::arrays::{Array, ArrayMut, numpy_name};
use crate::errors::of_graph;
use crate::interpreter::compute;
use feedforward::graph::{Cx, Error, Kept, Op, OpError, OpResult, Slot, Spec};
use feedforward::tensor::{Key, Slice, Tensor, TensorMut, TensorRef};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::Arc;

/// Whether this is training, and the key of random numbers.
pub(crate) type Mode = (bool, Key);

/// What the backward pass of an operation reads.
#[pyclass(frozen, module = "feedforward._core")]
pub(crate) struct Recorded {
    pub(crate) op: Arc<dyn Op>,
    pub(crate) specs: Vec<Spec>,
    pub(crate) need: Vec<bool>,
    pub(crate) inputs: Vec<Py<PyAny>>,
    pub(crate) outputs: Vec<Py<PyAny>>,
    pub(crate) saved: Vec<Tensor>,
    pub(crate) mode: Mode,
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
        let read = |array: &Py<PyAny>| Array::read("", array.bind(py));
        let inputs: Vec<Array<'py>> = self.inputs.iter().map(read).collect::<PyResult<_>>()?;
        let outputs: Vec<Array<'py>> = self.outputs.iter().map(read).collect::<PyResult<_>>()?;
        let results: Vec<Spec> = outputs.iter().map(Array::spec).collect::<PyResult<_>>()?;
        let saved: Vec<TensorRef<'_>> = self.saved.iter().map(Tensor::view).collect();
        Backward {
            op: &*self.op,
            specs: &self.specs,
            results: &results,
            need: &self.need,
            inputs: &inputs,
            outputs: &outputs,
            saved: &saved,
            mode: self.mode,
        }
        .run(py, dy)
    }
}

/// The values that a backward pass reads, and the gradients that are wanted.
pub(crate) struct Backward<'a, 'py> {
    pub(crate) op: &'a dyn Op,
    pub(crate) specs: &'a [Spec],
    /// Shapes and types of the outputs.
    pub(crate) results: &'a [Spec],
    pub(crate) need: &'a [bool],
    pub(crate) inputs: &'a [Array<'py>],
    pub(crate) outputs: &'a [Array<'py>],
    pub(crate) saved: &'a [TensorRef<'a>],
    pub(crate) mode: Mode,
}

impl<'py> Backward<'_, 'py> {
    /// The gradient of each input, from that of each output.
    pub(crate) fn run(
        &self,
        py: Python<'py>,
        dy: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let gradients = self.read(dy)?;
        let mut dx: Vec<Option<ArrayMut<'py>>> = Vec::with_capacity(self.specs.len());
        for (spec, &need) in self.specs.iter().zip(self.need) {
            let zeros = || ArrayMut::zeros(py, &spec.shape, spec.dtype);
            dx.push(need.then(zeros).transpose()?);
        }
        let x: Vec<TensorRef<'_>> = self.inputs.iter().map(Array::view).collect::<PyResult<_>>()?;
        let y: Vec<TensorRef<'_>> =
            self.outputs.iter().map(Array::view).collect::<PyResult<_>>()?;
        let dy: Vec<Option<TensorRef<'_>>> = gradients
            .iter()
            .map(|dy| dy.as_ref().map(Array::view).transpose())
            .collect::<PyResult<_>>()?;
        let mut slots: Vec<Slot<'_>> = Vec::with_capacity(dx.len());
        for dx in &mut dx {
            slots.push(dx.as_mut().map_or(Ok(Slot::Skip), |dx| dx.view().map(Slot::Write))?);
        }
        let (op, specs, saved, (training, key)) = (self.op, self.specs, self.saved, self.mode);
        let run = || -> OpResult {
            // The operation may overwrite dy.
            let mut own: Vec<Option<Tensor>> = Vec::with_capacity(dy.len());
            for dy in dy {
                own.push(dy.map(|dy| copied(&dy)).transpose()?);
            }
            let views = own.iter_mut().map(|dy| dy.as_mut().map(Tensor::view_mut).transpose());
            let mut dy: Vec<Option<TensorMut<'_>>> = views.collect::<Result<_, _>>()?;
            let kept = Kept::of_views(specs, &x, &y, saved);
            let cx = Cx { device: &DEVICE, training, key, progress: 0.0 };
            op.backward(&cx, &kept, &mut dy, &mut slots)
        };
        compute(py, run)?.map_err(|error: OpError| of_graph(&Error::of(op.name())(error)))?;
        PyTuple::new(py, dx.into_iter().map(|dx| dx.map(ArrayMut::into_object)))
    }

    /// The gradients of the outputs.
    fn read(&self, dy: &Bound<'py, PyTuple>) -> PyResult<Vec<Option<Array<'py>>>> {
        let (name, most) = (self.op.name(), self.results.len());
        if dy.is_empty() || dy.len() > most {
            let message = format!("{name}: backward takes 1 to {most} gradients of outputs");
            return Err(PyTypeError::new_err(message));
        }
        let mut gradients = Vec::with_capacity(most);
        for (i, result) in self.results.iter().enumerate() {
            let given = dy.get_item(i).ok().filter(|dy| !dy.is_none());
            let given = given.map(|dy| Array::read("dy", &dy)).transpose()?;
            if let Some(dy) = &given {
                check(name, result, &dy.spec()?)?;
            }
            gradients.push(given);
        }
        if gradients.iter().all(Option::is_none) {
            return Err(PyValueError::new_err("dy: every gradient is None"));
        }
        Ok(gradients)
    }
}

fn check(name: &str, y: &Spec, dy: &Spec) -> PyResult<()> {
    if y.shape != dy.shape {
        let message = format!("{name}: dy has shape {}, y {}", dy.shape, y.shape);
        return Err(PyValueError::new_err(message));
    }
    if y.dtype != dy.dtype {
        let (y, dy) = (numpy_name(y.dtype), numpy_name(dy.dtype));
        return Err(PyTypeError::new_err(format!("{name}: dy holds {dy}, y {y}")));
    }
    Ok(())
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
