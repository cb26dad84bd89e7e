//! Models as files of other tools.

use super::device;
use crate::errors::of_library;
use crate::interpreter::compute;
use feedforward::formats::GgufFileType;
use feedforward::language::{ExportFormat, LanguageModel};
use feedforward::nn::models::LanguageOptions;
use feedforward::tensor::Device;
use feedforward::{Error, Result};
use pyo3::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Writes a model as `onnx`, `keras`, `tflite`, `gguf` or `huggingface`, and checks what was
/// written; the check as JSON.
#[pyfunction]
#[pyo3(signature = (model, to, out, *, dtype=None, threads=0))]
pub(crate) fn export(
    py: Python<'_>,
    model: PathBuf,
    to: &str,
    out: PathBuf,
    dtype: Option<&str>,
    threads: usize,
) -> PyResult<String> {
    let work = || -> Result<Value> {
        if out.exists() {
            return Err(Error::usage(format!("{} is there already", out.display())));
        }
        let device = Device::open(device(threads))?;
        match to {
            "onnx" | "keras" | "tflite" => table(&model, to, &out, dtype, &device),
            "gguf" => language(&model, ExportFormat::Gguf, &out, dtype, &device),
            "huggingface" => language(&model, ExportFormat::HuggingFace, &out, dtype, &device),
            _ => {
                let expected = "expected onnx, keras, tflite, gguf or huggingface";
                Err(Error::usage(format!("to=\"{to}\": {expected}")))
            }
        }
    };
    Ok(compute(py, work)?.map_err(of_library)?.to_string())
}

/// Takes over a model of another program; what was written as JSON.
#[pyfunction]
#[pyo3(signature = (file, out, *, weights=None, threads=0))]
pub(crate) fn import_model(
    py: Python<'_>,
    file: PathBuf,
    out: PathBuf,
    weights: Option<PathBuf>,
    threads: usize,
) -> PyResult<String> {
    let work = || -> Result<Value> {
        let device = Device::open(device(threads))?;
        Ok(json!(feedforward::import(&file, weights.as_deref(), &out, &device)?))
    };
    Ok(compute(py, work)?.map_err(of_library)?.to_string())
}

fn table(
    model: &Path,
    to: &str,
    out: &Path,
    dtype: Option<&str>,
    device: &Device,
) -> Result<Value> {
    if dtype.is_some() {
        return Err(Error::usage(
            "dtype= is for to=\"huggingface\" and \"gguf\"; this format holds f32",
        ));
    }
    let export = match to {
        "onnx" => feedforward::export_onnx,
        "keras" => feedforward::export_keras,
        _ => feedforward::export_tflite,
    };
    Ok(json!({ "out": out, "check": export(model, out, device)? }))
}

fn language(
    model: &Path,
    format: ExportFormat,
    out: &Path,
    dtype: Option<&str>,
    device: &Device,
) -> Result<Value> {
    let dtype: GgufFileType = dtype
        .unwrap_or("f32")
        .parse()
        .map_err(|expected| Error::usage(format!("dtype: {expected}")))?;
    let mut model = LanguageModel::open(model, device, &LanguageOptions::default())?;
    let check = feedforward::language::export(&mut model, format, dtype, out)?;
    Ok(json!({ "out": out, "type": dtype.to_string(), "check": check }))
}
