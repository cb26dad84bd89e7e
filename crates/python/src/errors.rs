//! Errors as Python exceptions.

use feedforward::table::DataError;
use feedforward::{Error, formats, graph, tensor, trainer};
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::any::Any;
use std::io;

/// The exception of a panic, which is a defect of the library.
pub(crate) fn defect(panic: &(dyn Any + Send)) -> PyErr {
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

/// The exception of an error of the library: a class of `feedforward._errors` with the message and
/// the help that the program prints.
pub(crate) fn of_library(error: Error) -> PyErr {
    let made = Python::attach(|py| -> PyResult<PyErr> {
        let values = PyDict::new(py);
        let (mut message, mut help) = (error.to_string(), error.hint());
        if let Error::Recipe(recipe) = &error {
            let problems = recipe.problems();
            if let [problem] = problems {
                message = problem.to_string();
                help = problem.help.clone().unwrap_or_default();
            }
            if let Some(problem) = problems.first() {
                values.set_item("file", problem.source.as_ref().map(|source| &source.name))?;
                let (line, column) = problem.line_column().unzip();
                values.set_item("line", line)?;
                values.set_item("column", column)?;
                values.set_item("key", &problem.key)?;
            }
        }
        values.set_item("help", help)?;
        let class = py.import("feedforward._errors")?.getattr(class(&error))?;
        Ok(PyErr::from_value(class.call((message,), Some(&values))?))
    });
    made.unwrap_or_else(|failed| failed)
}

fn class(error: &Error) -> &'static str {
    match error {
        Error::Recipe(_) | Error::Train(trainer::Error::Config(_)) => "RecipeError",
        Error::Data(DataError::NotFound { .. }) => "NotFoundError",
        Error::Data(DataError::Io { source, .. })
        | Error::File(formats::Error::Io { source, .. })
        | Error::Train(trainer::Error::File(formats::Error::Io { source, .. })) => of_io(source),
        Error::Data(_) | Error::Text(_) | Error::Metric(_) | Error::Explain(_) => "DataError",
        Error::File(_) | Error::Train(trainer::Error::File(_)) => "FileError",
        Error::Train(trainer::Error::Tensor(tensor::Error::OutOfMemory { .. })) => {
            "OutOfMemoryError"
        }
        Error::Train(_) => "TrainingError",
        Error::Run { path, .. } if !path.exists() => "NotFoundError",
        Error::Run { .. } => "RunError",
        _ => "UsageError",
    }
}

fn of_io(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "NotFoundError",
        io::ErrorKind::PermissionDenied => "PermissionDeniedError",
        _ => "FileError",
    }
}

/// Settings of JSON that the package wrote: what is wrong concerns a setting, and its place in that
/// text nobody.
pub(crate) fn parsed<'a, T: serde::Deserialize<'a>>(json: &'a str) -> PyResult<T> {
    serde_json::from_str(json).map_err(|error| {
        let message = error.to_string();
        let place = message.rfind(" at line ").unwrap_or(message.len());
        of_library(Error::usage(&message[..place]))
    })
}
