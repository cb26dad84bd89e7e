//! NumPy arrays as tensors, without copies where the layout allows.

use crate::errors::of_graph;
use crate::interpreter::{called, calling};
use feedforward::graph::{self, Spec};
use feedforward::tensor::{DType, Shape, TensorMut, TensorRef};
use numpy::prelude::*;
use numpy::{BorrowError, PyArrayDyn, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray};
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// An array to read: C-contiguous, of a type that operations take.
pub(crate) enum Array<'py> {
    F32(PyReadonlyArrayDyn<'py, f32>),
    F64(PyReadonlyArrayDyn<'py, f64>),
    I32(PyReadonlyArrayDyn<'py, i32>),
}

macro_rules! each {
    ($array:expr, $a:ident => $body:expr) => {
        match $array {
            Self::F32($a) => $body,
            Self::F64($a) => $body,
            Self::I32($a) => $body,
        }
    };
}

impl<'py> Array<'py> {
    /// A NumPy array as it is; anything else as `numpy.asarray` or DLPack reads it. Copied only if
    /// it is not C-contiguous or aligned, or holds integers of another width.
    pub(crate) fn read(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        match Self::as_is(value)? {
            Some(array) => Ok(array),
            None => Self::as_is(&converted(name, value)?)?.ok_or_else(|| {
                PyTypeError::new_err(format!("{name} cannot be read as an array of numbers"))
            }),
        }
    }

    fn as_is(value: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        macro_rules! typed {
            ($t:ty, $Type:ident) => {
                if let Ok(array) = value.cast::<PyArrayDyn<$t>>() {
                    return if array.is_c_contiguous() && array.data().is_aligned() {
                        Ok(Some(Self::$Type(shared(array)?)))
                    } else {
                        Ok(None)
                    };
                }
            };
        }
        typed!(f32, F32);
        typed!(f64, F64);
        typed!(i32, I32);
        Ok(None)
    }

    pub(crate) fn view(&self) -> PyResult<TensorRef<'_>> {
        each!(self, a => {
            let values = a.as_slice().map_err(|error| PyTypeError::new_err(error.to_string()))?;
            Ok(TensorRef::new(values.into(), shape(a.shape())?))
        })
    }

    pub(crate) fn spec(&self) -> PyResult<Spec> {
        Ok(each!(self, a => Spec::new(shape(a.shape())?, self.dtype())))
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
            Self::I32(_) => DType::I32,
        }
    }

    /// The array itself.
    pub(crate) fn into_object(self) -> Bound<'py, PyAny> {
        each!(self, a => a.as_any().clone())
    }
}

fn shared<'py, T: numpy::Element>(
    array: &Bound<'py, PyArrayDyn<T>>,
) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    array.try_readonly().map_err(|_| {
        PyBufferError::new_err("the array is being written by another call of feedforward")
    })
}

/// An array of the caller to write to.
pub(crate) fn writable<'py, T: numpy::Element>(
    name: &str,
    array: &Bound<'py, PyArrayDyn<T>>,
) -> PyResult<PyReadwriteArrayDyn<'py, T>> {
    array.try_readwrite().map_err(|error| match error {
        BorrowError::NotWriteable => PyValueError::new_err(format!("{name} is read-only")),
        _ => PyBufferError::new_err(format!(
            "{name} is in use: it was given twice, or another call of feedforward reads or writes it"
        )),
    })
}

/// `value` as a contiguous array of f32, f64 or i32.
fn converted<'py>(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let numpy = py.import(intern!(py, "numpy"))?;
    let is_array = value.cast::<PyUntypedArray>().is_ok();
    let array = if !is_array && value.hasattr(intern!(py, "__dlpack__"))? {
        called(&numpy.getattr(intern!(py, "from_dlpack"))?, &PyTuple::new(py, [value])?)?
    } else {
        called(&numpy.getattr(intern!(py, "asarray"))?, &PyTuple::new(py, [value])?)?
    };
    let dtype = array.getattr(intern!(py, "dtype"))?;
    let kind: String = dtype.getattr(intern!(py, "kind"))?.extract()?;
    let bytes: usize = dtype.getattr(intern!(py, "itemsize"))?.extract()?;
    let to = match (kind.as_str(), bytes) {
        ("f", 4) => "f4",
        ("f", 8) => "f8",
        ("i" | "u", _) if !is_array => "f8",
        ("b" | "i" | "u", _) => "i4",
        _ => {
            let message = format!(
                "{name} holds {dtype}; expected float32 or float64, or integers where the operation \
                 takes ids: convert it with .astype(numpy.float32)"
            );
            return Err(PyTypeError::new_err(message));
        }
    };
    let convert = numpy.getattr(intern!(py, "require"))?;
    let result = called(&convert, &(&array, to, "CA").into_pyobject(py)?)?;
    // Contiguous arrays have at least one dimension.
    let result = result.call_method1("reshape", (array.getattr("shape")?,))?;
    if to == "i4" && bytes > 4 {
        let same = numpy.call_method1("array_equal", (&array, &result))?;
        if !same.is_truthy()? {
            let message = format!("{name} holds integers beyond 32 bits");
            return Err(pyo3::exceptions::PyOverflowError::new_err(message));
        }
    }
    Ok(result)
}

/// An array to write.
pub(crate) enum ArrayMut<'py> {
    F32(PyReadwriteArrayDyn<'py, f32>),
    F64(PyReadwriteArrayDyn<'py, f64>),
    I32(PyReadwriteArrayDyn<'py, i32>),
}

/// Up to so many values, a new array is asked of NumPy's C interface, which is quicker but panics
/// where memory is short.
const SMALL: usize = 1 << 18;

impl<'py> ArrayMut<'py> {
    /// A new array of zeros.
    pub(crate) fn zeros(py: Python<'py>, shape: &Shape, dtype: DType) -> PyResult<Self> {
        Ok(match dtype {
            DType::F32 => Self::F32(own(&zeros(py, shape)?)?),
            DType::F64 => Self::F64(own(&zeros(py, shape)?)?),
            DType::I32 => Self::I32(own(&zeros(py, shape)?)?),
            other => {
                let message = format!("values of type {other} have no NumPy array");
                return Err(PyTypeError::new_err(message));
            }
        })
    }

    pub(crate) fn view(&mut self) -> PyResult<TensorMut<'_>> {
        each!(self, a => {
            let shape = shape(a.shape())?;
            let values = a.as_slice_mut().map_err(|e| PyTypeError::new_err(e.to_string()))?;
            Ok(TensorMut::new(values.into(), shape))
        })
    }

    pub(crate) fn into_object(self) -> Bound<'py, PyAny> {
        each!(self, a => a.as_any().clone())
    }
}

fn zeros<'py, T: numpy::Element>(
    py: Python<'py>,
    shape: &Shape,
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let dims = shape.dims();
    if shape.len() <= SMALL {
        return Ok(calling(|| PyArrayDyn::zeros(py, dims, false)));
    }
    let make = py.import(intern!(py, "numpy"))?.getattr(intern!(py, "zeros"))?;
    let dims = PyTuple::new(py, dims)?;
    Ok(called(&make, &(dims, numpy::dtype::<T>(py)).into_pyobject(py)?)?.cast_into()?)
}

fn own<'py, T: numpy::Element>(
    array: &Bound<'py, PyArrayDyn<T>>,
) -> PyResult<PyReadwriteArrayDyn<'py, T>> {
    array.try_readwrite().map_err(|error| PyBufferError::new_err(error.to_string()))
}

/// The dimensions of an array.
pub(crate) fn shape(dims: &[usize]) -> PyResult<Shape> {
    Shape::new(dims).map_err(|error| of_graph(&graph::Error::of("array")(error)))
}

/// A NumPy type by name or object, as f32 or f64.
pub(crate) fn float_dtype(dtype: &Bound<'_, PyAny>) -> PyResult<DType> {
    let py = dtype.py();
    let name: String =
        py.import("numpy")?.call_method1("dtype", (dtype,))?.getattr("name")?.extract()?;
    match name.as_str() {
        "float32" => Ok(DType::F32),
        "float64" => Ok(DType::F64),
        _ => Err(PyTypeError::new_err(format!("dtype {name}: expected float32 or float64"))),
    }
}

/// NumPy's name of a type.
pub(crate) fn numpy_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F64 => "float64",
        DType::I32 => "int32",
        DType::U8 => "uint8",
        _ => "bfloat16",
    }
}
