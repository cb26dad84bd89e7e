//! Columns of texts as tokens.

use crate::embedding::{TextReader, joined};
use crate::error::{Error, Result};
use crate::words::{count, plural};
use ff_table::{Kind, Note, Prepared, Role, Table};

/// The texts of a part as tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// The tokens of each row, of each of its sequences in turn.
    pub(crate) ids: Vec<Vec<u32>>,
    /// The rows, the longest first, and their lengths.
    pub(crate) order: Vec<u32>,
    pub(crate) lengths: Vec<u32>,
    /// How many texts were cut, and how many are empty.
    pub(crate) cut: usize,
    pub(crate) empty: usize,
}

impl Tokens {
    /// The texts of some rows of a table.
    pub(super) fn read(
        reader: &TextReader,
        table: &Table,
        columns: &[String],
        rows: &[usize],
    ) -> Result<Self> {
        let texts: Vec<_> = rows.iter().map(|&row| joined(table, columns, row)).collect();
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let empty = texts.iter().filter(|text| text.trim().is_empty()).count();
        let (ids, cut) = reader.read(&texts)?;
        Ok(Self { cut, empty, ..Self::of(ids, 1) })
    }

    /// Sequences, of which each row has this many in turn; its length is that of its longest.
    pub(crate) fn of(ids: Vec<Vec<u32>>, columns: usize) -> Self {
        let longest = |row: &[Vec<u32>]| row.iter().map(Vec::len).max().unwrap_or(0) as u32;
        let all: Vec<u32> = ids.chunks_exact(columns.max(1)).map(longest).collect();
        let mut order: Vec<u32> = (0..all.len() as u32).collect();
        order.sort_by_key(|&row| std::cmp::Reverse(all[row as usize]));
        let lengths = order.iter().map(|&row| all[row as usize]).collect();
        Self { ids, order, lengths, cut: 0, empty: 0 }
    }

    /// The lengths of all rows together.
    pub(crate) fn count(&self) -> u64 {
        self.lengths.iter().map(|&n| u64::from(n)).sum()
    }
}

/// The columns of texts, and whether others stand beside them.
///
/// # Errors
/// There is none.
pub(super) fn text_columns(prepared: &mut Prepared) -> Result<(Vec<String>, bool)> {
    let features = |kind: fn(Kind) -> bool| {
        let columns = prepared.schema.columns.iter();
        let found = columns.filter(|column| column.role == Role::Feature && kind(column.kind));
        found.map(|column| column.name.clone()).collect::<Vec<String>>()
    };
    let texts = features(|kind| kind == Kind::Text);
    let others = features(|kind| kind != Kind::Text);
    if texts.is_empty() {
        let target = &prepared.target.column;
        let all = prepared.schema.columns.iter().map(|column| &column.name);
        let all: Vec<&str> = all.filter(|name| *name != target).map(String::as_str).collect();
        let name = all.first().copied().unwrap_or("NAME");
        let shown: Vec<&str> = all.iter().copied().take(30).collect();
        return Err(Error::usage(format!(
            "model.encoder reads columns of texts, and no column is recognised as one; name it with \
             --set data.columns.{name}=text; the columns are {}",
            shown.join(", ")
        )));
    }
    for column in &mut prepared.schema.columns {
        if texts.contains(&column.name) {
            column.usage = "tokens of the encoder".into();
        }
    }
    if !others.is_empty() {
        let message =
            format!("beside the vector of the texts, the head reads {}", others.join(", "));
        prepared.notes.push(Note::info(message));
    }
    if texts.len() > 1 {
        let message = format!("one text is made of the columns {}", texts.join(", "));
        prepared.notes.push(Note::info(message));
    }
    Ok((texts, !others.is_empty()))
}

/// What is to be known of the tokens.
pub(crate) fn notes(parts: &[&Tokens; 3], reader: &TextReader) -> Vec<Note> {
    let sum = |of: fn(&Tokens) -> usize| parts.iter().map(|&part| of(part)).sum::<usize>();
    let (texts, tokens) = (sum(|part| part.ids.len()), sum(|part| part.count() as usize));
    let longest = parts.iter().filter_map(|part| part.lengths.first()).max().copied().unwrap_or(0);
    let mean = tokens as f64 / texts.max(1) as f64;
    let mut notes = vec![Note::info(format!(
        "texts have {mean:.1} tokens on average and {longest} at most, of {} tokenizer",
        reader.tokenizer.kind()
    ))];
    let (cut, empty) = (sum(|part| part.cut), sum(|part| part.empty));
    if cut > 0 {
        let message = format!(
            "{} longer than {} tokens: the rest is cut off",
            plural(cut, "text"),
            reader.max_tokens
        );
        notes.push(Note::warn(message).undo(format!("model.max_tokens={}", reader.max_tokens)));
    }
    if empty > 0 {
        notes.push(Note::warn(format!("{} of {} texts are empty", count(empty), count(texts))));
    }
    notes
}
