//! What a trained encoder's folder holds beside the files of `transformers`.

use super::pooling::Pooling;
use crate::error::{Error, Result};
use crate::files::{read_text, write_text};
use ff_metrics::TagScheme;
use ff_nn::Precision;
use ff_nn::models::MlpConfig;
use ff_table::TargetTransform;
use serde::{Deserialize, Serialize};
use std::path::Path;

const NAME: &str = "feedforward.json";
const FORMAT: u32 = 1;

/// `feedforward.json`: which columns are read and how, and what is predicted from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskFile {
    format: u32,
    version: String,
    /// The columns of texts, which are joined by line breaks.
    pub(crate) texts: Vec<String>,
    /// The target of one class or number; the model's outputs are in its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<TargetTransform>,
    /// What is between the labels of a row in one column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) separator: Option<String>,
    /// The columns of the labels or numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) targets: Vec<String>,
    /// The least probability of each label that is predicted; 0.5 by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) thresholds: Vec<f64>,
    /// How tags mark spans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scheme: Option<TagScheme>,
    /// The head over the texts' vector and other columns, which `transforms.json` and
    /// `head.safetensors` go with; the encoder's own one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) head: Option<MlpConfig>,
    /// How the vectors of tokens become one, where the encoder's files do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pooling: Option<Pooling>,
    /// The most tokens of a text.
    pub(crate) max_tokens: usize,
    /// The text before every text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<String>,
    /// Whether texts are made lower case before anything else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) lower_case: bool,
    /// What matrices are multiplied in.
    #[serde(default)]
    pub(crate) precision: Precision,
    /// Texts that stand for a missing value.
    pub(crate) null_values: Vec<String>,
    /// The least probability for which the positive class is predicted; the likeliest class by
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) threshold: Option<f64>,
    /// The hash of the training data.
    pub(crate) data_hash: String,
}

impl TaskFile {
    /// A description of a model that reads texts of so many tokens in these columns.
    pub(super) fn new(
        texts: Vec<String>,
        target: Option<TargetTransform>,
        max_tokens: usize,
    ) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            texts,
            target,
            separator: None,
            targets: Vec::new(),
            thresholds: Vec::new(),
            scheme: None,
            head: None,
            pooling: None,
            max_tokens,
            prompt: None,
            lower_case: false,
            precision: Precision::default(),
            null_values: Vec::new(),
            threshold: None,
            data_hash: String::new(),
        }
    }

    /// Whether a folder has such a file.
    pub(crate) fn is_in(folder: &Path) -> bool {
        folder.join(NAME).is_file()
    }

    /// Reads a folder's file, if there is one.
    ///
    /// # Errors
    /// It is damaged, or of another format.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(NAME);
        if !Self::is_in(folder) {
            return Ok(None);
        }
        let file: Self = serde_json::from_str(&read_text(&path)?).map_err(|e| {
            let message = format!("does not describe a model of texts: {e}; copy the model again");
            Error::run(&path, message)
        })?;
        if file.format != FORMAT {
            let message = format!("has format {}, this version reads {FORMAT}", file.format);
            return Err(Error::run(&path, message));
        }
        Ok(Some(file))
    }

    /// Writes the file into a folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(NAME);
        let text =
            serde_json::to_string_pretty(self).map_err(|e| Error::run(&path, e.to_string()))?;
        write_text(&path, &text)
    }
}
