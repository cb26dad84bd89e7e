//! Rows as sequences of tokens, with what is to be learned of each.

use super::recipe::{EncoderRecipe, ObjectiveKind};
use super::rows::{Parts, Rows};
use crate::embedding::TextReader;
use crate::error::{Error, Result};
use crate::sequence::Tokens;
use crate::words::{count, plural};
use ff_metrics::{TagScheme, spans};
use ff_table::Note;
use ff_text::TokenizerKind;
use std::collections::{BTreeMap, BTreeSet};

/// The characters of a label from which on it may be a text.
const LONG: usize = 200;

/// A part of the rows as tokens.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// The tokens of each row; of pairs, of each of their texts in turn.
    pub(super) tokens: Tokens,
    /// Labels (0 or 1) or scaled numbers `[rows, outputs]`.
    pub(super) values: Vec<f32>,
    /// The tags of words.
    pub(super) tagged: Vec<Tagged>,
    /// Words beyond the most tokens of a text.
    pub(super) lost: usize,
}

/// The words of a text, their tags, and where they are among its tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Tagged {
    pub(super) words: Vec<String>,
    pub(super) tags: Vec<String>,
    /// The first token of each word; none for a word that was cut off or has no token.
    pub(super) starts: Vec<Option<u32>>,
}

/// What the outputs stand for.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// The labels, the numbers or the tags, in the order of the outputs.
    pub(super) all: Vec<String>,
    /// How tags mark spans.
    pub(super) scheme: TagScheme,
    /// The mean and the standard deviation of each number in the training part.
    pub(super) units: Vec<(f64, f64)>,
}

impl Part {
    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.tokens.order.len()
    }
}

impl Names {
    /// The labels, numbers or tags of all parts.
    ///
    /// # Errors
    /// There are none, or tags are of no scheme.
    pub(super) fn of(recipe: &EncoderRecipe, parts: &Parts) -> Result<Self> {
        let mut found = Self::default();
        let all: BTreeSet<&String> =
            parts.rows.iter().flat_map(|rows| &rows.names).flatten().collect();
        match recipe.objective.kind {
            ObjectiveKind::Labels if recipe.data.target.is_none() => {
                found.all.clone_from(&recipe.data.targets);
            }
            ObjectiveKind::Labels => found.all = all.into_iter().cloned().collect(),
            ObjectiveKind::Numbers => {
                found.all.clone_from(&recipe.data.targets);
                let numbers = &parts.rows[0].numbers;
                let n = numbers.len() as f64;
                found.units = (0..found.all.len())
                    .map(|i| {
                        let mean = numbers.iter().map(|row| row[i]).sum::<f64>() / n;
                        let square = |row: &Vec<f64>| (row[i] - mean) * (row[i] - mean);
                        let std = (numbers.iter().map(square).sum::<f64>() / n).sqrt();
                        (mean, if std > 0.0 { std } else { 1.0 })
                    })
                    .collect();
            }
            ObjectiveKind::Tags => {
                // Outside comes first, as in most models.
                let outside = all.iter().filter(|tag| **tag == "O");
                let others = all.iter().filter(|tag| **tag != "O");
                found.all = outside.chain(others).map(|tag| (*tag).clone()).collect();
                found.scheme = match recipe.objective.scheme {
                    Some(scheme) => scheme,
                    None => scheme_of(&found.all),
                };
                for rows in &parts.rows {
                    for tags in &rows.names {
                        spans(tags, found.scheme).map_err(|error| {
                            Error::usage(format!(
                                "{}: {error}; objective.scheme names another, and plain takes each \
                                 tag for itself",
                                recipe.data.path.display()
                            ))
                        })?;
                    }
                }
            }
            ObjectiveKind::Masked | ObjectiveKind::Pairs => return Ok(found),
        }
        if found.all.is_empty() {
            let column = recipe.data.target.as_deref().unwrap_or("tags");
            return Err(Error::usage(format!("there is no label at all in `{column}`")));
        }
        Ok(found)
    }

    /// The same names in the order of a model that has them already.
    pub(super) fn order_as(&mut self, own: &[String]) {
        let same = own.iter().collect::<BTreeSet<_>>() == self.all.iter().collect();
        if same && own.len() == self.all.len() {
            self.all = own.to_vec();
        }
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|known| known == name)
    }

    /// What a class of a tag stands for.
    pub(super) fn name(&self, class: usize) -> &str {
        self.all.get(class).map_or("O", String::as_str)
    }
}

/// The scheme that tags are of: by prefix if all but `O` have one, else plain.
fn scheme_of(names: &[String]) -> TagScheme {
    let lenient = spans(names, TagScheme::Lenient).is_ok();
    if lenient { TagScheme::Lenient } else { TagScheme::Plain }
}

/// Makes the rows of a part tokens.
///
/// # Errors
/// A text cannot be encoded.
pub(super) fn encode(
    rows: Rows,
    kind: ObjectiveKind,
    reader: &TextReader,
    names: &Names,
) -> Result<Part> {
    if kind == ObjectiveKind::Tags {
        return tagged(rows, reader);
    }
    let columns = rows.texts.first().map_or(1, Vec::len);
    let texts: Vec<&str> = rows.texts.iter().flatten().map(String::as_str).collect();
    let empty = texts.iter().filter(|text| text.trim().is_empty()).count();
    if kind == ObjectiveKind::Masked {
        let ids = reader.windows(&texts)?;
        return Ok(Part { tokens: Tokens { empty, ..Tokens::of(ids, 1) }, ..Part::default() });
    }
    let (ids, cut) = reader.read(&texts)?;
    let tokens = Tokens { cut, empty, ..Tokens::of(ids, columns) };
    let mut values = Vec::new();
    for row in &rows.names {
        let start = values.len();
        values.resize(start + names.all.len(), 0.0);
        for i in row.iter().filter_map(|name| names.at(name)) {
            values[start + i] = 1.0;
        }
    }
    for row in &rows.numbers {
        let scaled = row.iter().zip(&names.units).map(|(x, (mean, std))| ((x - mean) / std) as f32);
        values.extend(scaled);
    }
    Ok(Part { tokens, values, ..Part::default() })
}

/// Words with tags: a word's first token has its tag, the others none.
fn tagged(rows: Rows, reader: &TextReader) -> Result<Part> {
    let mut part = Part::default();
    let mut all = Vec::with_capacity(rows.len());
    let mut names = rows.names.into_iter();
    for words in rows.texts {
        let (ids, starts, cut) = word_tokens(&words, reader)?;
        part.lost += starts.iter().filter(|start| start.is_none()).count();
        part.tokens.cut += usize::from(cut);
        all.push(ids);
        let tags = names.next().unwrap_or_default();
        part.tagged.push(Tagged { words, tags, starts });
    }
    part.tokens = Tokens { cut: part.tokens.cut, ..Tokens::of(all, 1) };
    Ok(part)
}

/// The tokens of words, those around a text included, the first token of each word, and whether
/// there are more words than fit.
///
/// # Errors
/// A word cannot be encoded.
pub(super) fn word_tokens(
    words: &[String],
    reader: &TextReader,
) -> Result<(Vec<u32>, Vec<Option<u32>>, bool)> {
    // Byte pairs know where a word begins by the space before it.
    let spaced = reader.tokenizer.kind() == TokenizerKind::Bpe;
    let word = |word: &String| {
        let word = if reader.lower_case { word.to_lowercase() } else { word.clone() };
        if spaced { format!(" {word}") } else { word }
    };
    let texts: Vec<String> = words.iter().map(word).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let encoded = reader.tokenizer.encode_all(&texts, false)?;
    let (before, behind) = reader.around();
    let most = reader.max_tokens - behind.len();
    let mut ids = before.to_vec();
    let mut full = false;
    let mut starts = Vec::with_capacity(words.len());
    for word in encoded {
        full |= ids.len() + word.len() > most;
        starts.push((!full && !word.is_empty()).then_some(ids.len() as u32));
        if !full {
            ids.extend(word);
        }
    }
    ids.extend(behind);
    if ids.is_empty() {
        ids = reader.parts(Vec::new(), false).swap_remove(0).0;
    }
    Ok((ids, starts, full))
}

/// Refuses rows that have nothing to learn.
///
/// # Errors
/// All texts are empty, all words have one tag, or all numbers are the same in every row.
pub(super) fn refuse_nothing(kind: ObjectiveKind, rows: &Rows, names: &Names) -> Result<()> {
    let count = count(rows.len() as u64);
    let empty = |row: &Vec<String>| row.iter().all(|text| text.trim().is_empty());
    if rows.texts.iter().all(empty) {
        return Err(Error::usage(format!(
            "all {count} training texts are empty: nothing to learn from; data.text names another \
             column"
        )));
    }
    if let (ObjectiveKind::Tags, [only]) = (kind, &names.all[..]) {
        return Err(Error::usage(format!(
            "every word has the tag `{}`: nothing to learn; data.target names the key of the tags",
            clipped(only)
        )));
    }
    if kind == ObjectiveKind::Numbers && constants(rows, names).len() == names.all.len() {
        return Err(Error::usage(format!(
            "every training row ({count}) has the same {}: nothing to learn; data.targets names other \
             columns",
            shown(&names.all)
        )));
    }
    Ok(())
}

/// The numbers that are the same in all rows.
fn constants(rows: &Rows, names: &Names) -> Vec<String> {
    let first = rows.numbers.first();
    let same = |i: usize| rows.numbers.iter().all(|row| first.is_some_and(|all| all[i] == row[i]));
    names.all.iter().enumerate().filter(|(i, _)| same(*i)).map(|(_, name)| name.clone()).collect()
}

/// What may make labels, numbers or texts useless.
fn doubts(kind: ObjectiveKind, rows: &[Rows; 3], names: &Names) -> Vec<Note> {
    let train = &rows[0];
    let mut notes = Vec::new();
    if train.len() > 1 && train.texts.iter().all(|row| *row == train.texts[0]) {
        let message = "all training texts are the same: nothing in them tells one row from another";
        notes.push(Note::warn(message));
    }
    if kind == ObjectiveKind::Numbers {
        for name in constants(train, names) {
            let message = format!("`{name}` is the same in all training rows: its R² says nothing");
            notes.push(Note::warn(message));
        }
    }
    if kind != ObjectiveKind::Labels {
        return notes;
    }
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    for row in rows.iter().flat_map(|rows| &rows.names) {
        for name in row.iter().collect::<BTreeSet<_>>() {
            *counts.entry(name).or_default() += 1;
        }
    }
    let all: usize = rows.iter().map(Rows::len).sum();
    let of = |wanted: usize| -> Vec<String> {
        let found = counts.iter().filter(|(_, count)| **count == wanted);
        found.map(|(name, _)| (*name).clone()).collect()
    };
    let alone = of(1);
    if !alone.is_empty() && all > 1 {
        let message = format!(
            "{} in one row alone, so that what is learned of it is not judged: {}",
            plural(alone.len(), "label"),
            shown(&alone)
        );
        notes.push(Note::warn(message));
    }
    let everywhere = of(all);
    if !everywhere.is_empty() {
        notes.push(Note::warn(format!("every row has {}", shown(&everywhere))));
    }
    let longest = names.all.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    if longest > LONG {
        notes.push(Note::warn(format!(
            "a label has {} characters: is this the column of labels?",
            crate::words::count(longest as u64)
        )));
    }
    notes
}

/// What is to be known of the rows.
pub(super) fn notes(
    kind: ObjectiveKind,
    rows: &[Rows; 3],
    parts: &[Part; 3],
    names: &Names,
    separator: Option<&str>,
) -> Vec<Note> {
    let mut notes = doubts(kind, rows, names);
    let mean = |rows: &Rows| {
        let all: usize = rows.names.iter().map(Vec::len).sum();
        all as f64 / rows.len().max(1) as f64
    };
    match kind {
        ObjectiveKind::Labels => {
            let between =
                separator.map_or(String::new(), |text| format!(", separated by “{text}”"));
            notes.push(Note::info(format!(
                "{}{between}, {:.2} on average: {}",
                plural(names.all.len(), "label"),
                mean(&rows[0]),
                shown(&names.all)
            )));
            let known: BTreeSet<&String> = rows[0].names.iter().flatten().collect();
            let unknown = names.all.iter().filter(|name| !known.contains(name));
            let unknown: Vec<String> = unknown.cloned().collect();
            if !unknown.is_empty() {
                let message = format!("no training row has {}", shown(&unknown));
                notes.push(Note::warn(message));
            }
        }
        ObjectiveKind::Numbers => {
            notes.push(Note::info(format!("numbers: {}", shown(&names.all))));
        }
        ObjectiveKind::Tags => {
            notes.push(Note::info(format!(
                "{} ({}): {}",
                plural(names.all.len(), "tag"),
                names.scheme.name(),
                shown(&names.all)
            )));
            let lost: usize = parts.iter().map(|part| part.lost).sum();
            if lost > 0 {
                notes.push(Note::warn(format!(
                    "{} beyond the most tokens of a text or without a token: they are taken for O",
                    plural(lost, "word")
                )));
            }
        }
        ObjectiveKind::Masked => {}
        ObjectiveKind::Pairs => {
            let columns = rows[0].texts.first().map_or(2, Vec::len);
            let negatives = match columns {
                2 => String::new(),
                n => format!(" with {} of its own", plural(n - 2, "negative")),
            };
            notes.push(Note::info(format!("{} pairs{negatives}", count(rows[0].len() as u64))));
        }
    }
    notes
}

/// The first names of a list.
fn shown(names: &[String]) -> String {
    const MOST: usize = 12;
    let mut text = names.iter().take(MOST).map(|name| clipped(name)).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        text.push_str(", …");
    }
    text
}

/// A name, cut where it is longer than any name is.
fn clipped(name: &str) -> String {
    const MOST: usize = 60;
    match name.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}
