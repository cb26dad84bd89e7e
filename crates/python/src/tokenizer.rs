//! Tokenizers.

use crate::DEVICE;
use crate::errors::{of_library, parsed};
use crate::interpreter::{attached, calling, compute};
use feedforward::Error;
use feedforward::text::{self, TextConfig, TextError, TokenizerOptions, train_tokenizer};
use pyo3::prelude::*;
use std::path::{Path, PathBuf};

/// Text to ids, and ids to text.
#[pyclass(frozen, module = "feedforward._core")]
pub(crate) struct Tokenizer(text::Tokenizer);

fn of_text(error: TextError) -> PyErr {
    of_library(Error::from(error))
}

#[pymethods]
impl Tokenizer {
    /// Reads `tokenizer.json`, a folder with it, or another kind that the library reads.
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        compute(py, || text::Tokenizer::load(&path))?.map(Self).map_err(of_text)
    }

    /// Learns a tokenizer from files; settings of the files and of training as JSON.
    #[staticmethod]
    fn train(
        py: Python<'_>,
        files: &str,
        kind: &str,
        split: &str,
        vocab_size: usize,
        special: Vec<String>,
        min_frequency: u64,
    ) -> PyResult<Self> {
        let config: TextConfig = parsed(files)?;
        let named = |name: &str| format!("\"{name}\"");
        let options = TokenizerOptions {
            kind: parsed(&named(kind))?,
            pretokenizer: parsed(&named(split))?,
            vocab_size,
            special,
            min_frequency,
        };
        let mut raised = None;
        let threads = DEVICE.cpu().threads();
        let trained = compute(py, || {
            train_tokenizer(&config, Path::new("."), &options, threads, &mut |_| {
                // Progress cannot stop training: Ctrl-C is raised at its end.
                if raised.is_none() {
                    #[allow(clippy::redundant_closure_for_method_calls)]
                    let looked = attached(|py| calling(|| py.check_signals()));
                    raised = looked.err();
                }
            })
        })?;
        match raised {
            Some(error) => Err(error),
            None => Ok(Self(trained.map_err(of_text)?.tokenizer)),
        }
    }

    /// The ids of a text; `special` adds the tokens that begin or end one.
    #[pyo3(signature = (text, *, special=false))]
    fn encode(&self, text: &str, special: bool) -> PyResult<Vec<u32>> {
        let ids = if special { self.0.encode_with_special(text) } else { self.0.encode(text) };
        ids.map_err(of_text)
    }

    /// The ids of many texts, on all threads.
    fn encode_all(&self, py: Python<'_>, texts: Vec<String>) -> PyResult<Vec<Vec<u32>>> {
        let encode = || DEVICE.cpu().threads().map(&texts, |text| self.0.encode(text));
        compute(py, encode)?.into_iter().collect::<Result<_, _>>().map_err(of_text)
    }

    /// The text of ids; without `special`, special tokens are left out.
    #[pyo3(signature = (ids, *, special=true))]
    fn decode(&self, ids: Vec<u32>, special: bool) -> PyResult<String> {
        let text = if special { self.0.decode(&ids) } else { self.0.decode_plain(&ids) };
        text.map_err(of_text)
    }

    /// The number of tokens.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    /// How text is cut: `bpe`, `wordpiece`, `unigram`, `bytes`, `characters` or `words`.
    #[getter]
    fn kind(&self) -> String {
        self.0.kind().to_string()
    }

    /// `tokenizer.json`.
    #[getter]
    fn json(&self) -> &str {
        self.0.json()
    }

    /// Special tokens with their ids.
    #[getter]
    fn special_tokens(&self) -> Vec<(String, u32)> {
        self.0.special_tokens()
    }

    /// The token of an id.
    fn token(&self, id: u32) -> Option<String> {
        self.0.token(id)
    }

    /// The id of a token.
    fn id(&self, token: &str) -> Option<u32> {
        self.0.id(token)
    }

    /// Writes `tokenizer.json` and its config into a folder.
    fn save(&self, py: Python<'_>, folder: PathBuf) -> PyResult<()> {
        compute(py, || self.0.save(&folder))?.map_err(of_text)
    }
}
