//! The table `[data]` of a recipe about text.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::LazyLock;

use ff_settings::ConfigError;
use ff_table::Format;
use ff_table::source::{Spool, extension, listed, one_of};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

mod clean;

pub use clean::{BrokenText, CleanConfig, Duplicates};

/// The source of text, its division into documents and parts, and its cleaning.
///
/// ```
/// use ff_text::TextConfig;
///
/// let config: TextConfig = toml::from_str("paths = ['a.txt']\nvalid = 0.05").unwrap();
/// assert!(config.validate().is_ok() && config.add_eos);
/// assert!(toml::from_str::<TextConfig>("path = 'a.txt'").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextConfig {
    /// Files and folders; a folder stands for all files in it, by name.
    #[schemars(description = format!(
        "Files and folders of {}, also as .gz or .zst; a folder stands for all files in it, by name.",
        TextFormat::listed()
    ))]
    pub paths: Vec<PathBuf>,
    /// The files' format; by each file's name by default, and text where the name says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<TextFormat>,
    /// Only files with these extensions are read from folders, as `["txt", "md"]`; all by default.
    pub extensions: Vec<String>,
    /// The column or key of a table that holds the text.
    #[schemars(description = format!(
        "The column or key that holds the text, in {}.", TextFormat::tables("and")
    ))]
    pub text_column: String,
    /// What stands between documents in plain text, as `"<|endoftext|>"` or `"\n\n"`; a file is one
    /// document by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_separator: Option<String>,
    /// Read at most this many documents, the first ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_documents: Option<u64>,
    /// The share that is held out: the last documents, or the last characters of a single text.
    pub valid: f64,
    /// Files and folders to hold out in place of a share.
    pub valid_paths: Vec<PathBuf>,
    /// Whether a document begins with the tokenizer's token for that; by default as the tokenizer
    /// begins a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_bos: Option<bool>,
    /// Whether a document ends with the tokenizer's token for that, if it has one.
    pub add_eos: bool,
    /// Cleaning: broken, repeated and unwanted text.
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
            add_bos: None,
            add_eos: true,
            clean: CleanConfig::default(),
            documents: DocumentBorders::Packed,
        }
    }
}

impl TextConfig {
    /// Checks ranges, and settings that exclude each other.
    ///
    /// # Errors
    /// The first key whose value is not allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.paths.is_empty() {
            return Err(ConfigError::new("data.paths", "name the files to read"));
        }
        if !(0.0..1.0).contains(&self.valid) {
            let message = format!("{} is no share: at least 0 and below 1", self.valid);
            return Err(ConfigError::new("data.valid", message));
        }
        if self.document_separator.as_deref() == Some("") {
            return Err(ConfigError::new(
                "data.document_separator",
                "an empty text separates nothing",
            ));
        }
        if self.max_documents == Some(0) {
            return Err(ConfigError::new(
                "data.max_documents",
                "0 documents cannot be learned from",
            ));
        }
        self.clean.validate()
    }

    /// The same settings with files that can be read many times, and the copies of streams among
    /// them: see [`Spool`].
    ///
    /// # Errors
    /// A stream cannot be read or copied.
    pub fn lasting(mut self) -> ff_table::Result<(Self, Spool)> {
        let mut spool = Spool::default();
        for path in self.paths.iter_mut().chain(&mut self.valid_paths) {
            *path = spool.lasting(path)?;
        }
        Ok((self, spool))
    }
}

/// A format that documents are read from: plain text, or a column of a table.
///
/// ```
/// use ff_table::Format;
/// use ff_text::TextFormat;
///
/// assert_eq!(TextFormat::from_path("a/b.JSONL.zst"), TextFormat::Table(Format::JSONL));
/// assert_eq!(TextFormat::from_path("README"), TextFormat::Text);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// Plain text in UTF-8.
    Text,
    /// A table, its documents in the column `data.text_column`.
    Table(Format),
}

/// Extensions of tables that are plain text here, since lists of words and notes have them too.
const PLAIN: [&str; 3] = ["txt", "tab", "psv"];

impl TextFormat {
    /// Every format.
    pub fn all() -> impl Iterator<Item = Self> {
        let tables = Format::all().filter(|format| format.holds_documents());
        std::iter::once(Self::Text).chain(tables.map(Self::Table))
    }

    /// The format of this name, as `data.format` has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|format| format.name() == name)
    }

    /// The format that a file's extension stands for, looking through `.gz` and `.zst`.
    pub fn from_path(path: &str) -> Self {
        let extension = extension(path);
        let table = match extension.as_str() {
            "json" => Some(Format::JSONL),
            other if PLAIN.contains(&other) => None,
            _ => Format::from_path(path).filter(|format| format.holds_documents()),
        };
        table.map_or(Self::Text, Self::Table)
    }

    /// The value of `data.format`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Table(format) => format.name(),
        }
    }

    /// A sentence about it.
    pub fn about(self) -> &'static str {
        match self {
            Self::Text => "Plain text in UTF-8.",
            Self::Table(format) => format.about(),
        }
    }

    /// The titles of all formats in a sentence.
    pub fn listed() -> String {
        listed(Self::all().map(Self::title), "or")
    }

    /// The titles of the formats that are tables in a sentence, with this word before the last.
    pub fn tables(word: &str) -> String {
        listed(Self::all().skip(1).map(Self::title), word)
    }

    fn title(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Table(format) => format.title(),
        }
    }
}

impl std::fmt::Debug for TextFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text => f.write_str("Text"),
            Self::Table(format) => format.fmt(f),
        }
    }
}

impl Serialize for TextFormat {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for TextFormat {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        static NAMES: LazyLock<Vec<&str>> =
            LazyLock::new(|| TextFormat::all().map(TextFormat::name).collect());
        let name = String::deserialize(from)?;
        Self::named(&name).ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
    }
}

impl JsonSchema for TextFormat {
    fn schema_name() -> Cow<'static, str> {
        "TextFormat".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of(Self::all().map(|format| (format.name(), format.about())), "A format of text.")
    }
}

/// Attention at the borders of documents within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentBorders {
    /// Attention crosses borders, as in one text (GPT-2, nanoGPT).
    #[default]
    Packed,
    /// Attention stays inside each document and positions restart.
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
