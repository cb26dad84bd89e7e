//! A language model that writes.

use super::device;
use crate::errors::of_library;
use crate::interpreter::{attached, called, calling, compute};
use feedforward::language::{GenerateOptions, Generated};
use feedforward::nn::Precision;
use feedforward::nn::models::LanguageOptions;
use feedforward::tensor::Device;
use feedforward::text::Grammar;
use feedforward::{Error, language};
use pyo3::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A model, for one call at a time.
#[pyclass(frozen, module = "feedforward._core")]
pub(crate) struct LanguageModel(Mutex<language::LanguageModel>);

#[pymethods]
impl LanguageModel {
    /// Opens a folder of Hugging Face, a GGUF file or a run.
    #[new]
    #[pyo3(signature = (path, *, adapter=None, bf16=false, threads=0))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        adapter: Option<PathBuf>,
        bf16: bool,
        threads: usize,
    ) -> PyResult<Self> {
        let open = || -> feedforward::Result<Self> {
            let device = Device::open(device(threads))?;
            let adapters: Vec<&Path> = adapter.as_deref().into_iter().collect();
            let precision = if bf16 { Precision::Bf16 } else { Precision::F32 };
            let options = LanguageOptions { precision, ..LanguageOptions::default() };
            let model =
                language::LanguageModel::open_with_adapters(&path, &adapters, &device, &options);
            Ok(Self(Mutex::new(model?)))
        };
        compute(py, open)?.map_err(of_library)
    }

    /// Continues prompts; texts, tokens and why each ended. `on_text` gets the number of a prompt
    /// with each piece of text; `rule` is a kind of rule (`json_schema`, `grammar`, `regex`) and
    /// its text.
    #[pyo3(signature = (prompts, *, on_text=None, max_tokens=None, temperature=None, top_k=None, top_p=None,
                        min_p=None, repetition_penalty=None, stop=vec![], seed=0, ignore_end=false,
                        rule=None))]
    #[allow(clippy::too_many_arguments)]
    fn generate(
        &self,
        py: Python<'_>,
        prompts: Vec<String>,
        on_text: Option<Py<PyAny>>,
        max_tokens: Option<usize>,
        temperature: Option<f64>,
        top_k: Option<usize>,
        top_p: Option<f64>,
        min_p: Option<f64>,
        repetition_penalty: Option<f64>,
        stop: Vec<String>,
        seed: u64,
        ignore_end: bool,
        rule: Option<(String, String)>,
    ) -> PyResult<Vec<(String, Vec<u32>, String)>> {
        let grammar = match rule {
            Some((kind, text)) if kind == "json_schema" => Some(Grammar::JsonSchema(text)),
            Some((kind, text)) if kind == "grammar" => Some(Grammar::Lark(text)),
            rule => rule.map(|(_, text)| Grammar::Regex(text)),
        };
        let mut raised = None;
        let write = || -> feedforward::Result<Vec<Generated>> {
            let mut model = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let usual = GenerateOptions::from_model(model.generation())?;
            let options = GenerateOptions {
                max_tokens: max_tokens.unwrap_or(usual.max_tokens),
                temperature: temperature.unwrap_or(usual.temperature),
                top_k: top_k.or(usual.top_k),
                top_p: top_p.or(usual.top_p),
                min_p: min_p.or(usual.min_p),
                repetition_penalty: repetition_penalty.unwrap_or(usual.repetition_penalty),
                stop,
                seed,
                ignore_end,
                grammar,
                ..usual
            };
            let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
            let mut show = |prompt: usize, text: &str| {
                let told = attached(|py| {
                    calling(|| py.check_signals())?;
                    let Some(tell) = &on_text else { return Ok(()) };
                    called(tell.bind(py), &(prompt, text).into_pyobject(py)?).map(drop)
                });
                told.map_err(|error| {
                    raised = Some(error);
                    Error::usage("stopped by the caller")
                })
            };
            model.generate_all(&prompts, &options, &mut show)
        };
        let written = compute(py, write)?;
        if let Some(error) = raised {
            return Err(error);
        }
        let written = written.map_err(of_library)?;
        let reason = |w: &Generated| serde_json::to_value(w.reason).unwrap_or_default();
        let each = written.into_iter().map(|w| {
            let reason = reason(&w).as_str().unwrap_or_default().to_owned();
            (w.text, w.tokens, reason)
        });
        Ok(each.collect())
    }
}
