//! The extension module `feedforward._core`: the library for Python, over NumPy arrays.
//!
//! Every call checks its arguments, then computes with the interpreter released. A panic, which
//! would be a defect of the library, becomes a `RuntimeError`.
#![forbid(unsafe_code)]
// PyO3 gives arguments by value.
#![allow(clippy::needless_pass_by_value)]

mod arrays;
mod attributes;
mod errors;
mod estimator;
mod gradient;
mod interpreter;
mod operation;
mod operations;
mod optimizer;
mod run;
mod tensors;
mod tokenizer;

use feedforward::tensor::{Device, DeviceOptions};
use pyo3::prelude::*;
use std::sync::LazyLock;

/// The device of all calls: one thread per core, or as many as `OMP_NUM_THREADS` says, which
/// process pools such as joblib's set for their workers.
pub(crate) static DEVICE: LazyLock<Device> = LazyLock::new(|| {
    let threads = std::env::var("OMP_NUM_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    Device::open(DeviceOptions { threads, isa: None }).unwrap_or_default()
});

#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::estimator::Network;
    #[pymodule_export]
    use crate::gradient::Recorded;
    #[pymodule_export]
    use crate::operation::Operation;
    #[pymodule_export]
    use crate::operations::{activation_of_torch, activations, initial_weight, operations};
    #[pymodule_export]
    use crate::optimizer::{Optimizer, Schedule};
    #[pymodule_export]
    use crate::run::{Job, LanguageModel, Rows, TableModel};
    #[pymodule_export]
    use crate::run::{
        evaluate, export, import_model, inspect, is_language, predict_file, resume, run_folder,
    };
    #[pymodule_export]
    use crate::run::{resume_tune, tune};
    #[pymodule_export]
    use crate::tensors::{read_tensors, write_tensors};
    #[pymodule_export]
    use crate::tokenizer::Tokenizer;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let close = wrap_pyfunction!(crate::interpreter::close, module)?;
        module.py().import("atexit")?.call_method1("register", (close,)).map(drop)
    }
}
