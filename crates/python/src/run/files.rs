//! Models as files of other tools.

use super::device;
use crate::errors::{compute, of_library};
use feedforward::formats::GgmlType;
use feedforward::language::{ExportFormat, LanguageModel};
use feedforward::nn::models::LanguageOptions;
use feedforward::tensor::Device;
use feedforward::{Error, Result};
use pyo3::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Writes a model as `onnx`, `keras`, `gguf` or `huggingface`, and checks what was written; the
/// check as JSON.
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
            "onnx" | "keras" => table(&model, to, &out, dtype, &device),
            "gguf" => language(&model, ExportFormat::Gguf, &out, dtype, &device),
            "huggingface" => language(&model, ExportFormat::HuggingFace, &out, dtype, &device),
            _ => {
                let expected = "expected onnx, keras, gguf or huggingface";
                Err(Error::usage(format!("to=\"{to}\": {expected}")))
            }
        }
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
        return Err(Error::usage("dtype= is for language models; files of tables hold f32"));
    }
    let export = if to == "onnx" { feedforward::export_onnx } else { feedforward::export_keras };
    Ok(json!({ "out": out, "check": export(model, out, device)? }))
}

fn language(
    model: &Path,
    format: ExportFormat,
    out: &Path,
    dtype: Option<&str>,
    device: &Device,
) -> Result<Value> {
    let dtype = match dtype.unwrap_or("f32") {
        "f32" => GgmlType::F32,
        "f16" => GgmlType::F16,
        "bf16" => GgmlType::BF16,
        "q8_0" => GgmlType::Q8_0,
        "q4_0" => GgmlType::Q4_0,
        "q4_1" => GgmlType::Q4_1,
        other => {
            let expected = "expected f32, f16, bf16, q8_0, q4_0 or q4_1";
            return Err(Error::usage(format!("dtype=\"{other}\": {expected}")));
        }
    };
    let mut model = LanguageModel::open(model, device, &LanguageOptions::default())?;
    let check = feedforward::language::export(&mut model, format, dtype, out)?;
    Ok(json!({ "out": out, "type": dtype.to_string(), "check": check }))
}
