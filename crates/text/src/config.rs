//! What a recipe says about text.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};

mod clean;

pub use clean::{BrokenText, CleanConfig, Duplicates};

/// Where text comes from, how it is cut into documents and parts, and what is done to it.
///
/// ```
/// use ff_data::text::TextConfig;
///
/// let config: TextConfig = toml::from_str("paths = ['a.txt']\nvalid = 0.05").unwrap();
/// assert!(config.validate().is_ok() && config.add_eos);
/// assert!(toml::from_str::<TextConfig>("path = 'a.txt'").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextConfig {
    /// Files and folders of text, JSONL, Parquet or CSV, also as .gz or .zst; a folder stands for all files in it, by name.
    pub paths: Vec<PathBuf>,
    /// The files' format; by each file's name by default, and text where the name says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<TextFormat>,
    /// Only files with these extensions are read from folders, as `["txt", "md"]`; all by default.
    pub extensions: Vec<String>,
    /// The column or key that holds the text, in JSONL, Parquet and CSV.
    pub text_column: String,
    /// What stands between documents in plain text, as `"<|endoftext|>"` or `"\n\n"`; a file is one document by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_separator: Option<String>,
    /// Read at most this many documents, the first ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_documents: Option<u64>,
    /// The share that is held out: the last documents, or the last characters of a single text.
    pub valid: f64,
    /// Files and folders to hold out in place of a share.
    pub valid_paths: Vec<PathBuf>,
    /// Whether a document begins with the tokenizer's token for that, if it has one.
    pub add_bos: bool,
    /// Whether a document ends with the tokenizer's token for that, if it has one.
    pub add_eos: bool,
    /// What is done to text that is broken, doubled or better left out.
    pub clean: CleanConfig,
    /// Whether attention crosses the borders of documents that share a window.
    pub documents: DocumentBorders,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            format: None,
            extensions: Vec::new(),
            text_column: "text".into(),
            document_separator: None,
            max_documents: None,
            valid: 0.1,
            valid_paths: Vec::new(),
            add_bos: false,
            add_eos: true,
            clean: CleanConfig::default(),
            documents: DocumentBorders::Packed,
        }
    }
}

impl TextConfig {
    /// Checks what the types cannot: ranges, and settings that exclude each other.
    ///
    /// # Errors
    /// [`DataError::Config`] with the key and the range.
    pub fn validate(&self) -> Result<()> {
        if self.paths.is_empty() {
            return Err(DataError::config("data.paths", "name the files to read"));
        }
        if !(0.0..1.0).contains(&self.valid) {
            let message = format!("{} is no share: at least 0 and below 1", self.valid);
            return Err(DataError::config("data.valid", message));
        }
        if self.document_separator.as_deref() == Some("") {
            return Err(DataError::config(
                "data.document_separator",
                "an empty text separates nothing",
            ));
        }
        if self.max_documents == Some(0) {
            return Err(DataError::config(
                "data.max_documents",
                "0 documents cannot be learned from",
            ));
        }
        self.clean.validate()
    }
}

/// A format of text.
///
/// ```
/// use ff_data::text::TextFormat;
/// assert_eq!(TextFormat::from_name("a/b.JSONL.zst"), TextFormat::Jsonl);
/// assert_eq!(TextFormat::from_name("README"), TextFormat::Text);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextFormat {
    /// Plain text in UTF-8.
    Text,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
    /// Text with a delimiter.
    Csv,
}

impl TextFormat {
    /// The format that a file's name stands for, looking through `.gz` and `.zst`.
    pub fn from_name(name: &str) -> Self {
        match extension(name).as_str() {
            "jsonl" | "ndjson" | "jsonlines" | "json" => Self::Jsonl,
            "parquet" | "pq" => Self::Parquet,
            "csv" | "tsv" => Self::Csv,
            _ => Self::Text,
        }
    }
}

/// A name's extension in small letters, that before `.gz` or `.zst`.
pub(super) fn extension(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let plain = lower.strip_suffix(".gz").or_else(|| lower.strip_suffix(".zst")).unwrap_or(&lower);
    let name = plain.rsplit(['/', '\\']).next().unwrap_or_default();
    name.rsplit_once('.').map_or(String::new(), |(_, extension)| extension.to_owned())
}

/// What happens where one document ends and the next one begins within a window.
///
/// ```
/// assert_eq!(ff_data::text::DocumentBorders::default(), ff_data::text::DocumentBorders::Packed);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentBorders {
    /// Attention goes on, as over one text (GPT-2, nanoGPT).
    #[default]
    Packed,
    /// Attention stays inside each document and positions begin anew.
    Separate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_survives_toml_and_the_schema_knows_every_key() {
        let text = "
            paths = ['a.txt', 'b']
            document_separator = '<|endoftext|>'
            documents = 'separate'
            [clean]
            duplicates = 'near'
            min_chars = 10
        ";
        let config: TextConfig = toml::from_str(text).unwrap();
        assert!(config.validate().is_ok());
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<TextConfig>(&written).unwrap(), config, "{written}");
        let schema = serde_json::to_value(schemars::schema_for!(TextConfig)).unwrap();
        let known = |schema: &serde_json::Value, config: serde_json::Value| {
            for key in config.as_object().unwrap().keys() {
                assert!(schema["properties"][key].is_object(), "{key}");
            }
        };
        known(&schema, serde_json::to_value(&config).unwrap());
        known(&schema["$defs"]["CleanConfig"], serde_json::to_value(&config.clean).unwrap());
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let error = |text: &str| {
            let config: TextConfig = toml::from_str(text).unwrap();
            config.validate().unwrap_err().to_string()
        };
        assert!(error("").contains("data.paths"));
        for (setting, key) in [
            ("valid = 1.0", "data.valid"),
            ("valid = nan", "data.valid"),
            ("document_separator = ''", "data.document_separator"),
            ("max_documents = 0", "data.max_documents"),
            ("clean.max_symbols = 1.5", "data.clean.max_symbols"),
            ("clean.near_threshold = -0.1", "data.clean.near_threshold"),
            ("clean.ngram_words = 0", "data.clean.ngram_words"),
            ("clean.min_chars = 2\nclean.max_chars = 1", "data.clean.max_chars"),
        ] {
            assert!(error(&format!("paths = ['a']\n{setting}")).contains(key), "{setting}");
        }
        assert!(toml::from_str::<TextConfig>("clean.dupes = 'near'").is_err());
    }
}
