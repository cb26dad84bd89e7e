//! Rows as their file has them: texts with labels, numbers or tags.

use super::recipe::{EncoderData, ObjectiveKind};
use crate::embedding::{TextRows, joined};
use crate::error::{Error, Result};
use crate::files::read_text;
use crate::words::plural;
use ff_table::{DataError, Level, Note, SourceOptions, Table, Values, load};
use ff_tensor::{Key, Rng, ThreadPool};
use serde_json::Value;
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// Rows in memory at a time.
const BLOCK: usize = 4096;
/// What may be between the labels of a list.
const SEPARATORS: [&str; 3] = ["|", ";", ","];

/// Some rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    /// The texts of each row: one; of tags, its words; of pairs, those that belong together or not.
    pub(crate) texts: Vec<Vec<String>>,
    /// The labels or tags of each row.
    pub(super) names: Vec<Vec<String>>,
    /// The numbers of each row.
    pub(super) numbers: Vec<Vec<f64>>,
}

/// The rows of the training, the validation and the test part, and how they were read.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) rows: [Rows; 3],
    /// The columns of texts, and what is between labels.
    pub(crate) reading: Reading,
    pub(crate) notes: Vec<Note>,
    pub(crate) hash: String,
}

/// How a file is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    pub(crate) text: Vec<String>,
    pub(crate) separator: Option<String>,
    /// How columns of texts are named, for messages; `data.text` by default.
    pub(crate) naming: Option<&'static str>,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    fn take(&self, rows: &[usize]) -> Self {
        fn of<T: Clone>(all: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().filter_map(|&row| all.get(row).cloned()).collect()
        }
        Self {
            texts: of(&self.texts, rows),
            names: of(&self.names, rows),
            numbers: of(&self.numbers, rows),
        }
    }

    pub(crate) fn truncate(&mut self, most: Option<usize>) {
        let most = most.unwrap_or(usize::MAX);
        self.texts.truncate(most);
        self.names.truncate(most);
        self.numbers.truncate(most);
    }
}

/// Reads and splits a recipe's files; `start` is where relative paths start from.
///
/// # Errors
/// A file cannot be read or is malformed, a column is missing, or a part has no rows.
pub(crate) fn read(
    data: &EncoderData,
    (kind, reading): (ObjectiveKind, Reading),
    seed: u64,
    start: &Path,
    threads: &ThreadPool,
) -> Result<Parts> {
    let mut parts = Parts { reading, ..Parts::default() };
    let mut hasher = Xxh3::new();
    let mut file = |path: &Path, parts: &mut Parts| -> Result<Rows> {
        let mut reading = parts.reading.clone();
        let (rows, hash, notes) = read_file(data, kind, &start.join(path), &mut reading, threads)?;
        parts.reading = reading;
        hasher.update(hash.as_bytes());
        parts.notes.extend(notes);
        Ok(rows)
    };
    let mut all = file(&data.path, &mut parts)?;
    all.truncate(data.max_rows);
    let split = &data.split;
    let given = split.valid_path.is_some() || split.test_path.is_some();
    for (part, path) in [(1, &split.valid_path), (2, &split.test_path)] {
        if let Some(path) = path {
            parts.rows[part] = file(path, &mut parts)?;
        }
    }
    // A file that is a part leaves its share where it is; without one, the share is cut off.
    let shares = [
        if split.valid_path.is_some() { 0.0 } else { split.valid },
        if given { 0.0 } else { split.test },
    ];
    let mut order: Vec<usize> = (0..all.len()).collect();
    let key = Key::new(split.seed.unwrap_or(seed)).with_name("split");
    Rng::new(key).shuffle(&mut order);
    let count = |share: f64| (share * all.len() as f64).round() as usize;
    let (valid, test) = (count(shares[0]), count(shares[1]));
    let mut cut = |part: usize, from: usize, to: usize| {
        let mut rows = order[from.min(all.len())..to.min(all.len())].to_vec();
        rows.sort_unstable();
        if !rows.is_empty() {
            parts.rows[part] = all.take(&rows);
        }
    };
    cut(1, 0, valid);
    cut(2, valid, valid + test);
    cut(0, valid + test, all.len());
    if parts.rows[0].len() == 0 {
        let why = parts.notes.iter().rfind(|note| note.level == Level::Warn);
        let why = why.map_or(String::new(), |note| format!(": {}", note.message));
        let message = format!("{} has no rows to learn from{why}", data.path.display());
        return Err(Error::usage(message));
    }
    parts.hash = format!("{:032x}", hasher.digest128());
    Ok(parts)
}

/// Reads a file of rows, with the hash of its bytes.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_file(
    data: &EncoderData,
    kind: ObjectiveKind,
    path: &Path,
    reading: &mut Reading,
    threads: &ThreadPool,
) -> Result<(Rows, String, Vec<Note>)> {
    if kind == ObjectiveKind::Tags {
        let text = read_text(path)?;
        let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()));
        let rows = if is_json_lines(path, &text) {
            let words = data.text.first().map_or("tokens", String::as_str);
            let tags = data.target.as_deref().unwrap_or("tags");
            tagged_records(path, &text, words, tags)?
        } else {
            conll(path, &text)?
        };
        return Ok((rows, hash, Vec::new()));
    }
    if kind == ObjectiveKind::Masked {
        return masked(data, path, reading);
    }
    let options = SourceOptions {
        null_values: data.null_values.clone(),
        max_rows: None,
        ..SourceOptions::default()
    };
    let (table, info) = load(path, &options, threads)?;
    let mut notes = info.notes;
    if reading.text.is_empty() {
        reading.text = text_columns(data, kind, reading.naming, &table)?;
    }
    for name in reading.text.iter().filter(|name| nested(&table, name).is_none()) {
        column(&table, name)?;
    }
    for name in data.target.iter().chain(&data.targets) {
        column(&table, name)?;
    }
    let rows = match kind {
        ObjectiveKind::Labels => labelled(data, &table, reading)?,
        ObjectiveKind::Numbers => {
            let (rows, left_out) = numbered(data, &table, reading)?;
            if left_out > 0 {
                let left_out = plural(left_out, "row");
                notes.push(Note::warn(format!("{left_out} without a number left out")));
            }
            rows
        }
        _ => {
            let row = |row: usize| -> Vec<String> {
                reading.text.iter().map(|name| cell(&table, name, row)).collect()
            };
            let texts: Vec<Vec<String>> = (0..table.rows()).map(row).collect();
            let whole: Vec<Vec<String>> = texts
                .iter()
                .filter(|row| row.iter().all(|text| !text.trim().is_empty()))
                .cloned()
                .collect();
            let empty = texts.len() - whole.len();
            if empty > 0 {
                let empty = plural(empty, "row");
                notes.push(Note::warn(format!("{empty} with an empty text left out")));
            }
            Rows { texts: whole, ..Rows::default() }
        }
    };
    Ok((rows, info.hash, notes))
}

/// The texts whose tokens are masked: lines, or a column.
fn masked(
    data: &EncoderData,
    path: &Path,
    reading: &mut Reading,
) -> Result<(Rows, String, Vec<Note>)> {
    if reading.text.is_empty() {
        reading.text.clone_from(&data.text);
    }
    let mut source = TextRows::open_columns(path, &reading.text, &data.null_values, BLOCK)?;
    let mut rows = Rows::default();
    let mut hasher = Xxh3::new();
    while let Some(block) = source.next(BLOCK)? {
        for text in source.texts(&block) {
            hasher.update(text.as_bytes());
            hasher.update(&[0xff]);
            if !text.trim().is_empty() {
                rows.texts.push(vec![text.into_owned()]);
            }
        }
    }
    Ok((rows, format!("{:032x}", hasher.digest128()), Vec::new()))
}

fn column<'a>(table: &'a Table, name: &str) -> Result<&'a Values> {
    let found = table.column(name).map(|column| &column.values);
    found.ok_or_else(|| {
        DataError::NoColumn {
            place: table.source_name(),
            column: name.to_owned(),
            role: "data".into(),
            available: table.names(),
            note: String::new(),
        }
        .into()
    })
}

/// A column of JSON objects and the key within, if `column.key` names one and is no column itself.
fn nested<'a>(table: &'a Table, name: &'a str) -> Option<(&'a Values, &'a str)> {
    if table.column(name).is_some() {
        return None;
    }
    let (outer, key) = name.split_once('.')?;
    let values = &table.column(outer)?.values;
    keys(values).contains(&key.to_owned()).then_some((values, key))
}

/// The keys of the JSON object in the first row of a column, whose values are texts.
fn keys(values: &Values) -> Vec<String> {
    let first = if values.is_empty() { "".into() } else { values.text(0) };
    let Ok(Value::Object(object)) = serde_json::from_str(&first) else { return Vec::new() };
    let texts = object.into_iter().filter(|(_, value)| value.is_string());
    texts.map(|(key, _)| key).collect()
}

fn cell(table: &Table, name: &str, row: usize) -> String {
    if let Some((values, key)) = nested(table, name) {
        let object: Value = serde_json::from_str(&values.text(row)).unwrap_or_default();
        return object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    }
    table.column(name).map(|column| column.values.text(row).into_owned()).unwrap_or_default()
}

/// The columns of texts: those named, else the only one, or the only one of several words; for
/// pairs two or three of several words, or all columns, or the two texts of the only column's JSON
/// objects.
fn text_columns(
    data: &EncoderData,
    kind: ObjectiveKind,
    naming: Option<&'static str>,
    table: &Table,
) -> Result<Vec<String>> {
    if !data.text.is_empty() {
        return Ok(data.text.clone());
    }
    let is_target = |name: &str| {
        data.target.as_deref() == Some(name) || data.targets.iter().any(|target| target == name)
    };
    let words = |values: &Values| {
        let words: usize =
            (0..values.len()).map(|row| values.text(row).split_whitespace().count()).sum();
        words as f64 / values.len().max(1) as f64
    };
    let others = table.columns().iter().filter(|column| !is_target(&column.name));
    let others: Vec<_> = others.collect();
    let texts = others.iter().filter(|column| words(&column.values) >= 3.0);
    let texts: Vec<String> = texts.map(|column| column.name.clone()).collect();
    let all: Vec<String> = others.iter().map(|column| column.name.clone()).collect();
    let fits = |names: &[String]| match kind {
        ObjectiveKind::Pairs => (2..=3).contains(&names.len()),
        _ => names.len() == 1,
    };
    // A number of the row is no text of a pair.
    let first = if kind == ObjectiveKind::Pairs { [&texts, &all] } else { [&all, &texts] };
    if let Some(found) = first.into_iter().find(|names| fits(names)) {
        return Ok(found.clone());
    }
    if let ([only], ObjectiveKind::Pairs) = (&others[..], kind)
        && let [source, target] = &keys(&only.values)[..]
    {
        return Ok([source, target].map(|key| format!("{}.{key}", only.name)).to_vec());
    }
    let shown: Vec<&str> = all.iter().take(30).map(String::as_str).collect();
    let (what, example) = match kind {
        ObjectiveKind::Pairs => ("pairs", "--set 'data.text=[\"question\", \"answer\"]'"),
        _ => ("texts", "--set 'data.text=[\"text\"]'"),
    };
    let example = naming.unwrap_or(example);
    Err(Error::usage(format!(
        "which columns of {} hold the {what}? name them, such as {example}: {}",
        table.source_name(),
        shown.join(", ")
    )))
}

/// Texts with labels.
fn labelled(data: &EncoderData, table: &Table, reading: &mut Reading) -> Result<Rows> {
    let mut rows = Rows::default();
    if let Some(target) = &data.target {
        let values = column(table, target)?;
        if reading.separator.is_none() {
            let occurs = |separator: &&str| {
                (0..table.rows()).any(|row| values.text(row).contains(*separator))
            };
            let found = SEPARATORS.iter().copied().find(occurs).unwrap_or(SEPARATORS[0]);
            reading.separator = Some(data.separator.clone().unwrap_or_else(|| found.to_owned()));
        }
        for row in 0..table.rows() {
            let separator = reading.separator.as_deref().unwrap_or(SEPARATORS[0]);
            rows.names.push(list(&values.text(row), separator));
        }
    } else {
        for row in 0..table.rows() {
            let mut names = Vec::new();
            for target in &data.targets {
                let text = cell(table, target, row);
                match truth(&text) {
                    Some(true) => names.push(target.clone()),
                    Some(false) => {}
                    None => {
                        return Err(Error::usage(format!(
                            "{}, column `{target}`: `{text}` is neither true nor false (1 and 0, \
                             true and false, yes and no)",
                            table.place(row)
                        )));
                    }
                }
            }
            rows.names.push(names);
        }
    }
    rows.texts =
        (0..table.rows()).map(|row| vec![joined(table, &reading.text, row).into_owned()]).collect();
    Ok(rows)
}

/// The labels of a cell: a JSON list, or texts between separators.
fn list(text: &str, separator: &str) -> Vec<String> {
    if text.trim_start().starts_with('[')
        && let Ok(Value::Array(all)) = serde_json::from_str(text)
    {
        let name = |value: Value| match value {
            Value::String(name) => name,
            other => other.to_string(),
        };
        return all.into_iter().map(name).collect();
    }
    let names = text.split(separator).map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// Whether a cell says yes; a missing one says no.
fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "1.0" | "true" | "yes" => Some(true),
        "0" | "0.0" | "false" | "no" | "" => Some(false),
        _ => None,
    }
}

/// Texts with numbers, and how many rows lack one.
fn numbered(data: &EncoderData, table: &Table, reading: &Reading) -> Result<(Rows, usize)> {
    let mut rows = Rows::default();
    let mut left_out = 0;
    for row in 0..table.rows() {
        let mut numbers = Vec::with_capacity(data.targets.len());
        for target in &data.targets {
            let values = column(table, target)?;
            match values.number(row).filter(|x| x.is_finite()) {
                Some(number) => numbers.push(number),
                None if values.is_missing(row) => {}
                None => {
                    return Err(Error::usage(format!(
                        "{}, column `{target}`: `{}` is not a number",
                        table.place(row),
                        values.text(row)
                    )));
                }
            }
        }
        if numbers.len() < data.targets.len() {
            left_out += 1;
            continue;
        }
        rows.numbers.push(numbers);
        rows.texts.push(vec![joined(table, &reading.text, row).into_owned()]);
    }
    Ok((rows, left_out))
}

/// Whether a file of words with tags holds JSON lines rather than CoNLL's.
fn is_json_lines(path: &Path, text: &str) -> bool {
    let named = path.extension().is_some_and(|end| {
        ["jsonl", "json", "ndjson"].iter().any(|known| end.eq_ignore_ascii_case(known))
    });
    named || text.trim_start().starts_with('{')
}

/// JSON lines with a list of words and one of tags, which may be missing in texts to predict.
fn tagged_records(path: &Path, text: &str, words: &str, tags: &str) -> Result<Rows> {
    let mut rows = Rows::default();
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let fail = |message: String| Error::run(path, format!("line {}: {message}", i + 1));
        let record: Value =
            serde_json::from_str(line).map_err(|e| fail(format!("is not valid JSON: {e}")))?;
        let strings = |key: &str| -> Result<Vec<String>> {
            let found = record.get(key).and_then(Value::as_array).ok_or_else(|| {
                let keys: Vec<&str> = record
                    .as_object()
                    .map(|object| object.keys().map(String::as_str).collect())
                    .unwrap_or_default();
                fail(format!(
                    "has no list `{key}`; its keys are {}: data.text names that of the words, \
                     data.target that of the tags",
                    keys.join(", ")
                ))
            })?;
            let text = |value: &Value| {
                value
                    .as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| fail(format!("`{key}` is a list of texts, and {value} is none")))
            };
            found.iter().map(text).collect()
        };
        let (words, tags) = (strings(words)?, strings(tags)?);
        add(&mut rows, words, tags, &fail)?;
    }
    Ok(rows)
}

/// CoNLL: a word and its tag on a line, the first and the last of its columns; a blank line ends a
/// sentence.
fn conll(path: &Path, text: &str) -> Result<Rows> {
    let mut rows = Rows::default();
    let (mut words, mut tags) = (Vec::new(), Vec::new());
    let mut first = None;
    for (i, line) in text.lines().enumerate() {
        let fail = |message: String| Error::run(path, format!("line {}: {message}", i + 1));
        let mut cells: Vec<&str> = if line.contains('\t') {
            line.split('\t').map(str::trim).collect()
        } else {
            line.split_whitespace().collect()
        };
        cells.retain(|cell| !cell.is_empty());
        match cells[..] {
            [] | ["-DOCSTART-", ..] => {
                if !words.is_empty() {
                    let (words, tags) = (std::mem::take(&mut words), std::mem::take(&mut tags));
                    add(&mut rows, words, tags, &fail)?;
                }
            }
            [_] => {
                return Err(fail(format!(
                    "`{line}` has a word without a tag; a line has a word and its tag, with a space \
                     or a tab between, and a blank line ends a sentence"
                )));
            }
            [word, .., tag] => {
                let columns = *first.get_or_insert(cells.len());
                if cells.len() != columns {
                    return Err(fail(format!(
                        "has {}, and lines above have {columns}",
                        plural(cells.len(), "column")
                    )));
                }
                words.push(word.to_owned());
                tags.push(tag.to_owned());
            }
        }
    }
    if !words.is_empty() {
        add(&mut rows, words, tags, &|message| Error::run(path, message))?;
    }
    Ok(rows)
}

/// The words of each text of a file of words, with or without tags; `None` if it is a table.
///
/// # Errors
/// The file cannot be read or is malformed.
pub(super) fn untagged(path: &Path, key: Option<&String>) -> Result<Option<Vec<Vec<String>>>> {
    let ends = |ends: &[&str]| {
        path.extension().is_some_and(|end| ends.iter().any(|known| end.eq_ignore_ascii_case(known)))
    };
    if ends(&["conll", "iob", "bio", "iob2"]) {
        let text = read_text(path)?;
        let mut all = vec![Vec::new()];
        for line in text.lines() {
            match line.split_whitespace().next() {
                None | Some("-DOCSTART-") => all.push(Vec::new()),
                Some(word) => {
                    if let Some(words) = all.last_mut() {
                        words.push(word.to_owned());
                    }
                }
            }
        }
        all.retain(|words| !words.is_empty());
        return Ok(Some(all));
    }
    if !ends(&["jsonl", "ndjson"]) {
        return Ok(None);
    }
    let text = read_text(path)?;
    let key = key.map_or("tokens", String::as_str);
    let mut all = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fail = |message: String| Error::run(path, format!("line {}: {message}", i + 1));
        let record: Value =
            serde_json::from_str(line).map_err(|e| fail(format!("is not valid JSON: {e}")))?;
        match record.get(key) {
            Some(Value::Array(words)) => {
                let word = |word: &Value| {
                    let text = word.as_str().map(str::to_owned);
                    text.ok_or_else(|| {
                        fail(format!("`{key}` is a list of texts, and {word} is none"))
                    })
                };
                all.push(words.iter().map(word).collect::<Result<_>>()?);
            }
            _ if i == 0 => return Ok(None),
            _ => return Err(fail(format!("has no list `{key}`, as lines above have"))),
        }
    }
    Ok(Some(all))
}

/// Adds a sentence.
fn add(
    rows: &mut Rows,
    words: Vec<String>,
    tags: Vec<String>,
    fail: &dyn Fn(String) -> Error,
) -> Result<()> {
    if words.len() != tags.len() {
        return Err(fail(format!(
            "{} and {}: each word has one tag",
            plural(words.len(), "word"),
            plural(tags.len(), "tag")
        )));
    }
    if !words.is_empty() {
        rows.texts.push(words);
        rows.names.push(tags);
    }
    Ok(())
}
