//! From a file of texts to a file of vectors.

use super::model::{EmbedOptions, Embedded, Embedder};
use super::pooling::Pooling;
use super::texts::TextRows;
use crate::error::{Error, Result};
use ff_table::{ArrayWriter, Column, Numbers, TableWriter, Values};
use ff_tensor::{Device, DeviceOptions};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Rows in memory at a time.
const BLOCK: usize = 4096;

/// The name of a column of vectors without its number.
pub(super) const PREFIX: &str = "embedding_";

/// The texts, and where their vectors go.
///
/// ```
/// use feedforward::embedding::EmbedRequest;
/// let (data, out) = ("texts.csv".into(), "texts.npy".into());
/// let request = EmbedRequest { data, out, ..Default::default() };
/// assert!(request.column.is_none());
/// ```
#[derive(Debug, Clone, Default)]
pub struct EmbedRequest {
    /// A table, or plain text whose lines are texts; `-` is standard input.
    pub data: PathBuf,
    /// The column that holds the texts; the only one by default.
    pub column: Option<String>,
    /// The output: `.npy` for the vectors alone, `.parquet`, `.csv` or `.jsonl` for the rows with a
    /// column for each number.
    pub out: PathBuf,
    /// Whether to overwrite an existing file.
    pub force: bool,
    /// How texts become vectors.
    pub options: EmbedOptions,
    /// Threads and kernels.
    pub device: DeviceOptions,
}

/// What was embedded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EmbedSummary {
    /// The output.
    pub out: PathBuf,
    /// The column of the texts.
    pub column: String,
    /// The number of texts.
    pub rows: usize,
    /// The numbers of a vector.
    pub width: usize,
    /// How the vectors of tokens became one.
    pub pooling: Pooling,
    /// Whether vectors have the length 1.
    pub normalized: bool,
    /// The most tokens of a text.
    pub max_tokens: usize,
    /// Texts that are longer.
    pub long: usize,
    /// Whether those became the mean of windows; otherwise they were cut.
    pub windows: bool,
    /// Texts without a character other than white space.
    pub empty: usize,
    /// Tokens computed.
    pub tokens: u64,
}

/// Writes the vector of each text of a file; `done` is called with the number of texts so far and
/// stops the work with `false`.
///
/// # Errors
/// The model or the file cannot be read, a column is missing, the output exists or cannot be
/// written; then nothing is left behind.
pub fn embed(
    model: &Path,
    request: &EmbedRequest,
    done: &mut dyn FnMut(usize) -> bool,
) -> Result<EmbedSummary> {
    let out = &request.out;
    if out.is_file() && !request.force {
        let shown = out.display();
        return Err(Error::usage(format!(
            "{shown} is there already; choose another name, or overwrite it with --force"
        )));
    }
    let mut rows = TextRows::open(&request.data, request.column.as_deref(), BLOCK)?;
    let device = Device::open(request.device)?;
    let mut model = Embedder::open(model, &device, &request.options)?;
    let width = model.width();
    let mut writer = Writer::create(out, width)?;
    let column = rows.column();
    let (mut all, mut count) = (Embedded::default(), 0);
    while let Some(block) = rows.next(BLOCK)? {
        let texts = rows.texts(&block);
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let found = model.embed(&texts, &mut |n| done(count + n))?;
        all.long += found.long;
        all.empty += found.empty;
        all.tokens += found.tokens;
        count += block.rows();
        writer.write(block, &found.values, width)?;
    }
    writer.finish()?;
    let (pooling, normalized, max_tokens) = model.settings();
    Ok(EmbedSummary {
        out: out.clone(),
        column,
        rows: count,
        width,
        pooling,
        normalized,
        max_tokens,
        long: all.long,
        windows: request.options.windows,
        empty: all.empty,
        tokens: all.tokens,
    })
}

/// The number of texts of a request, which takes a first reading; `None` for what can be read once.
///
/// # Errors
/// The file cannot be read.
pub fn count_texts(request: &EmbedRequest) -> Result<Option<usize>> {
    if !request.data.is_file() {
        return Ok(None);
    }
    let mut rows = TextRows::open(&request.data, request.column.as_deref(), BLOCK)?;
    let mut count = 0;
    while let Some(block) = rows.next(BLOCK)? {
        count += block.rows();
    }
    Ok(Some(count))
}

/// The vectors alone, or rows with vectors.
enum Writer {
    Array(ArrayWriter),
    Table(Box<TableWriter>),
}

impl Writer {
    fn create(path: &Path, width: usize) -> Result<Self> {
        if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("npy")) {
            return Ok(Self::Array(ArrayWriter::create(path, width)?));
        }
        let writer = TableWriter::create(path).map_err(|error| match error {
            ff_table::DataError::Format { path, line, message, .. } => {
                ff_table::DataError::Format {
                    path,
                    line,
                    message,
                    hint: "Use .npy, .parquet, .csv or .jsonl.".into(),
                }
            }
            error => error,
        })?;
        Ok(Self::Table(Box::new(writer)))
    }

    fn write(&mut self, mut block: ff_table::Table, values: &[f32], width: usize) -> Result<()> {
        let writer = match self {
            Self::Array(writer) => return Ok(writer.write(values)?),
            Self::Table(writer) => writer,
        };
        for i in 0..width {
            let column: Vec<f32> = values.iter().skip(i).step_by(width).copied().collect();
            let column = Column::new(format!("{PREFIX}{i}"), Values::Number(Numbers::F32(column)));
            block.push(column).map_err(|column| {
                Error::usage(format!(
                    "the data has a column `{}` already; rename it, so that the vectors have a place",
                    column.name
                ))
            })?;
        }
        Ok(writer.write(&block)?)
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Array(writer) => writer.finish()?,
            Self::Table(writer) => writer.finish()?,
        }
        Ok(())
    }
}
