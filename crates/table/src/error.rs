//! Errors about data, each with the place, the finding and the remedy.

use std::path::{Path, PathBuf};

use ff_settings::{ConfigError, similar};

/// The result of the functions of this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// A problem with data, its description or its place on disk.
///
/// Each message says what is wrong and where; [`DataError::hint`] says what to do.
///
/// ```
/// use ff_table::{DataError, SourceOptions, read_table};
///
/// let error = read_table("no-such-file.csv".as_ref(), &SourceOptions::default()).unwrap_err();
/// assert!(matches!(error, DataError::NotFound { .. }));
/// assert!(error.to_string().contains("no-such-file.csv"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused: permission, full disk, a folder in place of a file.
    #[error("cannot {action} {}: {source}", quoted(path))]
    Io {
        /// The action: `read`, `write`, `rename`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No such file.
    #[error("there is no file `{}`{}", path.display(), did_you_mean(nearest))]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
        /// Files of the same folder with a similar name, nearest first.
        nearest: Vec<String>,
    },
    /// A file without a byte, or with blank lines alone.
    #[error("{} is empty: it holds no rows{}", quoted(path), if *header { ", only a header" } else { "" })]
    Empty {
        /// The file.
        path: PathBuf,
        /// Whether there was a header.
        header: bool,
    },
    /// Bytes that are not UTF-8.
    #[error("`{}`, line {line}, column {column} (`{name}`): byte {byte:#04x} is not UTF-8", path.display())]
    Utf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The field in the line, from 1.
        column: usize,
        /// The field's name.
        name: String,
        /// The first byte that does not belong.
        byte: u8,
    },
    /// A row with too many or too few fields.
    #[error("`{}`, line {line}: {found} fields where the {} has {expected}", path.display(), if *header { "header" } else { "first line" })]
    Fields {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The number of columns.
        expected: usize,
        /// The number of fields in this row.
        found: usize,
        /// Whether the file has a header.
        header: bool,
        /// The remedy.
        hint: String,
    },
    /// A value that cannot be read as what the column holds.
    #[error("{place}, column `{column}`: expected {expected}, found `{found}`")]
    Value {
        /// The file and the line or row.
        place: String,
        /// The column.
        column: String,
        /// What the column holds.
        expected: String,
        /// The text of the value.
        found: String,
        /// The remedy.
        hint: String,
    },
    /// A file that does not keep to its format: cut, damaged, or of a part of the format that is
    /// not read.
    #[error("`{}`{}: {message}", path.display(), line.map_or_else(String::new, |line| format!(", line {line}")))]
    Format {
        /// The file.
        path: PathBuf,
        /// The line, for text formats.
        line: Option<u64>,
        /// The problem.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// A column that is named but absent.
    #[error("{place} has no column `{column}` ({role}){}", did_you_mean(&near(column, available, note)))]
    NoColumn {
        /// The file.
        place: String,
        /// The name that was asked for.
        column: String,
        /// The column's purpose, such as `data.target`.
        role: String,
        /// All columns.
        available: Vec<String>,
        /// Why it may be missed, as a sentence without a full stop, or nothing.
        note: String,
    },
    /// New data that lacks columns of the model.
    #[error("{place} does not fit the model: {}", join(problems))]
    Mismatch {
        /// The file.
        place: String,
        /// One sentence for each column that lacks or is of another kind.
        problems: Vec<String>,
    },
    /// A target that cannot be learned.
    #[error("target `{column}`: {message}")]
    Target {
        /// The target column.
        column: String,
        /// What is wrong, with lines.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// A column of too many distinct categories.
    #[error("column `{column}` has more than {limit} distinct categories")]
    TooManyCategories {
        /// The column.
        column: String,
        /// `data.categories.max`.
        limit: usize,
    },
    /// A split that cannot be made.
    #[error("cannot split the rows: {message}")]
    Split {
        /// The problem.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// A setting outside its range.
    #[error("`{}`: {}", .0.key, .0.message)]
    Config(#[from] ConfigError),
    /// Fitted transforms of a version that this program does not read.
    #[error("the transforms have format {found}; this program reads format {expected}")]
    Version {
        /// The number in the file.
        found: u32,
        /// The number of this program.
        expected: u32,
    },
}

impl DataError {
    /// The remedy, as one or two sentences; empty where the message says it all.
    pub fn hint(&self) -> String {
        match self {
            Self::Io { source, action, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => {
                    "The disk is full: free some space, or write to another disk. Nothing was \
                     left under the final name."
                        .into()
                }
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    format!("This user may not {action} there: choose another folder.")
                }
                std::io::ErrorKind::NotFound if *action == "write" => {
                    "The folder is not there: make it, or choose another one.".into()
                }
                std::io::ErrorKind::IsADirectory => "It is a folder: name a file in it.".into(),
                _ => String::new(),
            },
            Self::NotFound { .. } => {
                "A relative path starts at the current folder; where nothing is there, at the folder \
                 of the recipe."
                    .into()
            }
            Self::Empty { path, .. } if is_standard_input(path) => {
                "Pipe the rows in, as in `cat data.csv | feedforward …`.".into()
            }
            Self::Empty { .. } => {
                "Check how the file was written; a table needs a row for each example.".into()
            }
            Self::Utf8 { .. } => {
                "Save the file as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE.".into()
            }
            Self::Fields { hint, .. }
            | Self::Value { hint, .. }
            | Self::Format { hint, .. }
            | Self::Target { hint, .. }
            | Self::Split { hint, .. } => hint.clone(),
            Self::NoColumn { available, note, .. } => {
                let shown: Vec<_> = available.iter().take(20).map(|c| format!("`{c}`")).collect();
                let more = available.len().saturating_sub(shown.len());
                let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
                let header = if note.is_empty() && are_numbered(available) {
                    " Its first line is read as data: if it names the columns, set \
                     data.header=true."
                } else {
                    ""
                };
                let note = if note.is_empty() { String::new() } else { format!("{note}. ") };
                format!("{note}Its columns are {}{rest}.{header}", shown.join(", "))
            }
            Self::Mismatch { .. } => {
                "Rename or add the columns; columns are found by name, in any order, and more \
                 than are needed do no harm."
                    .into()
            }
            Self::TooManyCategories { column, .. } => format!(
                "Drop it (data.columns.{column} = \"drop\"), keep only frequent values \
                 (data.categories.min_frequency), or raise data.categories.max."
            ),
            Self::Config(_) => String::new(),
            Self::Version { .. } => {
                "Train again, or use the version of the program that wrote it.".into()
            }
        }
    }

    /// A refusal of the operating system; `action` is `read`, `write` or `rename`.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        // The name of a temporary file helps nobody: it is gone when the message is read.
        let source = match source.to_string().split_once(" at path \"") {
            Some((plain, _)) => std::io::Error::new(source.kind(), plain.to_owned()),
            None => source,
        };
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn format(path: &Path, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Format {
            path: path.to_owned(),
            line: None,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A Parquet file for a program that was built without the feature of that name.
    #[cfg(not(feature = "parquet"))]
    pub(crate) fn without_parquet(path: &Path) -> Self {
        Self::format(
            path,
            "this program was built without the feature `parquet`",
            "Build it with `--features parquet`, or use another format, such as .csv or .jsonl.",
        )
    }

    /// The same error with a reason why a column may be missed.
    pub(crate) fn with_note(mut self, why: &str) -> Self {
        if let Self::NoColumn { note, .. } = &mut self {
            why.clone_into(note);
        }
        self
    }

    /// A setting outside its range.
    pub fn config(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config(ConfigError::new(key, message))
    }
}

impl From<ff_formats::Error> for DataError {
    fn from(error: ff_formats::Error) -> Self {
        match error {
            ff_formats::Error::Io { path, source, .. } => Self::io("write", &path, source),
            other => Self::io("write", Path::new(""), std::io::Error::other(other)),
        }
    }
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A path as messages show it; `-` is a stream.
fn quoted(path: &Path) -> String {
    if is_standard_input(path) { "the stream `-`".into() } else { format!("`{}`", path.display()) }
}

/// Whether the names are those of a text table without a header.
pub(crate) fn are_numbered(names: &[String]) -> bool {
    names.iter().enumerate().all(|(i, name)| *name == format!("column_{}", i + 1))
}

/// The names that come near; none where a reason for the absence is known, nor among numbered ones,
/// which are nobody's own.
fn near(column: &str, available: &[String], note: &str) -> Vec<String> {
    if !note.is_empty() || (are_numbered(available) && !column.starts_with("column")) {
        return Vec::new();
    }
    similar(column, available.iter().map(String::as_str))
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() {
        return String::new();
    }
    let names: Vec<_> = nearest.iter().map(|name| format!("`{name}`")).collect();
    format!("; did you mean {}?", names.join(" or "))
}

fn join(problems: &[String]) -> String {
    problems.join("; ")
}
