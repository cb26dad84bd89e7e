//! Errors as Python exceptions, and computing with the interpreter released.

use feedforward::{graph, tensor, trainer};
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work` with the interpreter released; a panic becomes a `RuntimeError`.
pub(crate) fn compute<R: Send>(py: Python<'_>, work: impl Send + FnOnce() -> R) -> PyResult<R> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work))).map_err(|panic| defect(&*panic))
}

fn defect(panic: &(dyn Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    PyRuntimeError::new_err(format!("a defect of feedforward, please report it: {text}"))
}

/// The exception of an operation's error.
pub(crate) fn of_graph(error: &graph::Error) -> PyErr {
    let message = error.to_string();
    match error {
        graph::Error::Op { source, .. } => match source {
            graph::OpError::DType { .. } => PyTypeError::new_err(message),
            graph::OpError::Tensor(error) => of_tensor(error, message),
            _ => PyValueError::new_err(message),
        },
        _ => PyValueError::new_err(message),
    }
}

fn of_tensor(error: &tensor::Error, message: String) -> PyErr {
    match error {
        tensor::Error::DType { .. } => PyTypeError::new_err(message),
        tensor::Error::OutOfMemory { .. } => PyMemoryError::new_err(message),
        _ => PyValueError::new_err(message),
    }
}

/// The exception of an error of training.
pub(crate) fn of_train(error: &trainer::Error) -> PyErr {
    match error {
        trainer::Error::Op(error) => of_graph(error),
        trainer::Error::Tensor(inner) => of_tensor(inner, error.to_string()),
        trainer::Error::Diverged { .. } => PyRuntimeError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}
