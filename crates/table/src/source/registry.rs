//! The formats that are read, in a row, and what follows from that list.

use std::borrow::Cow;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::format::{Format, Source};

/// Every format, in the order in which formats are listed and a file's first bytes are compared.
static SOURCES: &[&dyn Source] = &[
    &super::csv::Csv,
    &super::parquet::Parquet,
    &super::jsonl::Jsonl,
    &super::npy::Npy,
    &super::excel::Excel,
    &super::npz::Npz,
    &super::idx::Idx,
    &super::arrow::Arrow,
];

impl Format {
    /// Text with a delimiter.
    pub const CSV: Self = Self(&super::csv::Csv);
    /// One JSON object a line.
    pub const JSONL: Self = Self(&super::jsonl::Jsonl);
    /// Apache Parquet.
    pub const PARQUET: Self = Self(&super::parquet::Parquet);

    /// Every format.
    pub fn all() -> impl Iterator<Item = Self> {
        SOURCES.iter().map(|source| Self(*source))
    }

    /// The format of this name, as `data.format` has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|format| format.name() == name)
    }

    /// The format that a file's extension stands for, looking through `.gz` and its like.
    pub fn from_path(path: &str) -> Option<Self> {
        let extension = extension(path);
        Self::all().find(|format| format.0.description().extensions.contains(&extension.as_str()))
    }

    /// The titles of all formats in a sentence, with this word before the last.
    pub fn listed(word: &str) -> String {
        listed(Self::all().map(Self::title), word)
    }

    /// The format by a file's first bytes, then by its path; for text by the path first.
    pub(super) fn of(head: &[u8], path: &str) -> Option<Self> {
        let by_head = Self::all().find(|format| format.0.recognises(head));
        match by_head {
            Some(format) if !format.0.description().text => by_head,
            _ => Self::from_path(path).or(by_head),
        }
    }
}

/// Words in a sentence.
///
/// ```
/// assert_eq!(ff_table::source::listed(["a", "b", "c"].into_iter(), "or"), "a, b or c");
/// ```
pub fn listed<'a>(words: impl Iterator<Item = &'a str>, last: &str) -> String {
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((end, [])) => (*end).to_owned(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
        None => String::new(),
    }
}

/// Extensions behind that of a format.
pub(crate) const PACKED: [&str; 7] = [".gz", ".zst", ".lz4", ".zip", ".bz2", ".xz", ".br"];

/// A file name's extension in lower case, that before one such as `.gz`; empty where there is none.
///
/// ```
/// assert_eq!(ff_table::source::extension("a/b.JSONL.zst"), "jsonl");
/// ```
pub fn extension(path: &str) -> String {
    let lower = path.to_ascii_lowercase();
    let plain = PACKED.iter().find_map(|end| lower.strip_suffix(end)).unwrap_or(&lower);
    let name = plain.rsplit(['/', '\\']).next().unwrap_or_default();
    name.rsplit_once('.').map_or(String::new(), |(_, extension)| extension.to_owned())
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        static NAMES: LazyLock<Vec<&str>> =
            LazyLock::new(|| Format::all().map(Format::name).collect());
        let name = String::deserialize(from)?;
        Self::named(&name).ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
    }
}

impl JsonSchema for Format {
    fn schema_name() -> Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let formats = Self::all().map(|format| (format.name(), format.about()));
        one_of(formats, "A file format.")
    }
}

/// The schema of a choice among names, each with a sentence about it.
pub fn one_of<'a>(choices: impl Iterator<Item = (&'a str, &'a str)>, description: &str) -> Schema {
    let choice =
        |(name, about)| json_schema!({ "type": "string", "const": name, "description": about });
    let choices: Vec<Schema> = choices.map(choice).collect();
    json_schema!({ "oneOf": choices, "description": description })
}
