//! Documents, one after the other, from files of any format and size.

use std::path::{Path, PathBuf};

use super::config::{BrokenText, TextConfig, TextFormat};
use ff_table::DataError;

use crate::error::{Result, TextError};
use ff_table::source::{HashedBytes, Input, JsonLines, extension, json_kind, not_opened};
use ff_table::{BlockReader, Format, Values};

mod plain;
mod surrogates;

use plain::PlainText;
use surrogates::without_surrogates;

/// The longest document that is held in memory as a whole.
pub(super) const MAX_DOCUMENT: usize = 64 << 20;

/// Rows of a table that are read at once.
const ROWS: usize = 256;

/// A document, or a part of a long one.
pub(super) struct Piece {
    pub(super) text: String,
    /// Whether a document begins and whether it ends with this piece.
    pub(super) first: bool,
    pub(super) last: bool,
    /// Whether the document is dropped for bytes that are not UTF-8.
    pub(super) broken: bool,
    pub(super) place: Place,
}

/// The place of a document.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    file: usize,
    /// `line` or `row`, and its number from 1.
    word: &'static str,
    line: u64,
}

impl Piece {
    fn whole(text: String, place: Place) -> Self {
        Self { text, first: true, last: true, broken: false, place }
    }
}

/// The files of a list of paths, folders looked through, in order.
pub(super) fn files(paths: &[PathBuf], base: &Path, config: &TextConfig) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let path = if base == Path::new(".") { path.clone() } else { base.join(path) };
        if path.is_dir() {
            let before = found.len();
            folder(&path, config, &mut found)?;
            if found.len() == before {
                return Err(TextError::corpus(
                    format!("the folder `{}` holds no file to read", path.display()),
                    "Hidden files are left out; data.extensions says which are read.",
                ));
            }
        } else {
            std::fs::metadata(&path).map_err(|e| not_opened(&path, e))?;
            found.push(path);
        }
    }
    Ok(found)
}

fn folder(path: &Path, config: &TextConfig, found: &mut Vec<PathBuf>) -> Result<()> {
    let fail = |e| DataError::io("read", path, e);
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(fail)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .map_err(fail)?;
    entries.sort();
    for entry in entries {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        // A link to a folder could lead back here.
        let link = entry.is_symlink();
        if name.starts_with('.') {
        } else if entry.is_dir() && !link {
            folder(&entry, config, found)?;
        } else if entry.is_file() {
            let kind = extension(&name);
            let wanted = |given: &String| given.trim_start_matches('.').eq_ignore_ascii_case(&kind);
            if config.extensions.is_empty() || config.extensions.iter().any(wanted) {
                found.push(entry);
            }
        }
    }
    Ok(())
}

/// Reads the documents of files in order.
pub(super) struct Documents<'a> {
    files: &'a [PathBuf],
    config: &'a TextConfig,
    /// Whether documents are given whole; else a file of plain text comes in pieces.
    whole: bool,
    next: usize,
    open: Option<Open>,
    /// The bytes on disk of the files that were read to their end.
    done: u64,
}

struct Open {
    source: Source,
    /// The bytes on disk, and the number read where that is known.
    size: u64,
    read: Option<HashedBytes>,
}

enum Source {
    Text(PlainText),
    Jsonl(JsonLines),
    Table { reader: BlockReader, block: Option<ff_table::Table>, row: usize },
}

impl<'a> Documents<'a> {
    pub(super) fn new(files: &'a [PathBuf], config: &'a TextConfig, whole: bool) -> Self {
        Self { files, config, whole, next: 0, open: None, done: 0 }
    }

    /// The next document, or the next piece of one; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            let Some(open) = &mut self.open else {
                if self.next == self.files.len() {
                    return Ok(None);
                }
                self.open = Some(self.open_file(&self.files[self.next])?);
                self.next += 1;
                continue;
            };
            let file = self.next - 1;
            let piece = match &mut open.source {
                Source::Text(text) => text.next(file)?,
                Source::Jsonl(objects) => next_object(objects, self.config, file)?,
                Source::Table { reader, block, row } => {
                    next_row(&self.files[file], reader, block, row, self.config, file)?
                }
            };
            if piece.is_some() {
                return Ok(piece);
            }
            self.done += open.size;
            self.open = None;
        }
    }

    /// The bytes on disk that were read.
    pub(super) fn bytes(&self) -> u64 {
        let read = |open: &Open| open.read.as_ref().map_or(0, HashedBytes::total).min(open.size);
        self.done + self.open.as_ref().map_or(0, read)
    }

    /// A document's place for messages.
    pub(super) fn place(&self, place: Place) -> String {
        format!("`{}`, {} {}", self.files[place.file].display(), place.word, place.line)
    }

    fn format(&self, path: &Path) -> TextFormat {
        let by_name = || TextFormat::from_path(&path.to_string_lossy());
        self.config.format.unwrap_or_else(by_name)
    }

    fn open_file(&self, path: &Path) -> Result<Open> {
        let size = std::fs::metadata(path).map_err(|e| not_opened(path, e))?.len();
        let (source, read) = match self.format(path) {
            TextFormat::Text => {
                let input = Input::open(path, false)?;
                let (bytes, read) = input.hashed_reader()?;
                let text = PlainText::new(&input, bytes, self.config, self.whole);
                (Source::Text(text), Some(read))
            }
            // Lines one by one, so that `data.clean.utf8` applies to each.
            TextFormat::Table(format) if format == Format::JSONL => {
                let input = Input::open(path, false)?;
                let (bytes, read) = input.hashed_reader()?;
                (Source::Jsonl(JsonLines::new(&input, bytes)), Some(read))
            }
            TextFormat::Table(format) => {
                let reader = BlockReader::column(path, format, &self.config.text_column, ROWS)?;
                (Source::Table { reader, block: None, row: 0 }, None)
            }
        };
        Ok(Open { source, size, read })
    }
}

fn next_object(objects: &mut JsonLines, config: &TextConfig, file: usize) -> Result<Option<Piece>> {
    let Some(bytes) = objects.next_line()? else { return Ok(None) };
    let utf8 = config.clean.utf8;
    let other = utf16(bytes);
    let broken =
        std::str::from_utf8(bytes).err().map(|e| (e.valid_up_to(), bytes[e.valid_up_to()]));
    let mut problem = broken.map(|(at, byte)| {
        let message = format!("byte {byte:#04x}, number {} of the line, is not UTF-8", at + 1);
        (message, UTF8_HINT)
    });
    let mut parsed = match broken {
        Some(_) => serde_json::from_str(&String::from_utf8_lossy(bytes)),
        None => serde_json::from_slice(bytes),
    };
    if parsed.is_err()
        && let Some((clean, at, unit)) = without_surrogates(bytes)
    {
        parsed = serde_json::from_str(&String::from_utf8_lossy(&clean));
        problem = problem.or_else(|| {
            let message =
                format!("`\\u{unit:04x}`, at byte {} of the line, is half a character", at + 1);
            Some((message, SURROGATE_HINT))
        });
    }
    if let Some(encoding) = other.filter(|_| objects.line() == 1) {
        return Err(objects.error(encoding.message(), &encoding.hint()).into());
    }
    match (problem, utf8) {
        (Some((message, hint)), BrokenText::Error) => {
            return Err(objects.error(message, hint).into());
        }
        (Some(_), BrokenText::Drop) => {
            let place = Place { file, word: "line", line: objects.line() };
            return Ok(Some(Piece { broken: true, ..Piece::whole(String::new(), place) }));
        }
        _ => {}
    }
    let line = objects.line();
    let mut object = objects.object(parsed)?;
    let column = &config.text_column;
    let text = match object.remove(column) {
        Some(serde_json::Value::String(text)) => text,
        Some(serde_json::Value::Null) => String::new(),
        Some(other) => {
            return Err(objects
                .error(
                    format!("`{column}` holds {}, a text is expected", json_kind(&other)),
                    "data.text_column, or --text-column, names the key that holds the text.",
                )
                .into());
        }
        None => {
            let keys: Vec<&str> = object.keys().map(String::as_str).take(20).collect();
            let hint = format!(
                "data.text_column, or --text-column, names the key; the keys here are {}.",
                keys.join(", ")
            );
            return Err(objects.error(format!("there is no key `{column}`"), &hint).into());
        }
    };
    Ok(Some(Piece::whole(text, Place { file, word: "line", line })))
}

fn next_row(
    path: &Path,
    reader: &mut BlockReader,
    block: &mut Option<ff_table::Table>,
    row: &mut usize,
    config: &TextConfig,
    file: usize,
) -> Result<Option<Piece>> {
    loop {
        if let Some(table) = block.as_ref().filter(|table| *row < table.rows()) {
            let name = &config.text_column;
            let column = table.column(name).ok_or_else(|| DataError::NoColumn {
                place: table.source_name(),
                column: name.clone(),
                role: "data.text_column".into(),
                available: table.names(),
                note: String::new(),
            })?;
            let place = Place { file, word: table.line_word(), line: table.line(*row) };
            let mut text = String::new();
            if !column.values.is_missing(*row) {
                text = column.values.text(*row).into_owned();
            } else if let Values::Text(texts) = &column.values
                && !texts.raw(*row).is_empty()
            {
                // A text with bytes that are no UTF-8 is missing, with what can be read of it.
                match config.clean.utf8 {
                    BrokenText::Error => {
                        return Err(DataError::Format {
                            path: path.to_owned(),
                            line: None,
                            message: format!(
                                "`{name}` holds bytes that are not UTF-8 in {} {}",
                                place.word, place.line
                            ),
                            hint: UTF8_HINT.into(),
                        }
                        .into());
                    }
                    BrokenText::Drop => {
                        *row += 1;
                        let piece = Piece::whole(String::new(), place);
                        return Ok(Some(Piece { broken: true, ..piece }));
                    }
                    BrokenText::Replace => texts.raw(*row).clone_into(&mut text),
                }
            }
            *row += 1;
            return Ok(Some(Piece::whole(text, place)));
        }
        (*block, *row) = (reader.next_block()?, 0);
        if block.is_none() {
            return Ok(None);
        }
    }
}

/// An encoding whose byte order mark a file begins with.
#[derive(Clone, Copy)]
struct Encoding(&'static str);

impl Encoding {
    fn message(self) -> String {
        format!("the file is {}, by its byte order mark, and text is read as UTF-8", self.0)
    }

    fn hint(self) -> String {
        format!("Save it as UTF-8: iconv -f {} -t UTF-8 FILE > NEW_FILE.", self.0)
    }
}

/// The encoding by the first bytes of a file, if it is not UTF-8.
fn utf16(bytes: &[u8]) -> Option<Encoding> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some(Encoding("UTF-32")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(Encoding("UTF-16")),
        _ => None,
    }
}

const SURROGATE_HINT: &str = "A surrogate stands for a character together with another one; replace or drop what is \
                              broken: data.clean.utf8 in a recipe, --utf8 for a tokenizer.";

const UTF8_HINT: &str = "Save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8 FILE), or replace or drop what is \
                         broken: data.clean.utf8 in a recipe, --utf8 for a tokenizer.";
