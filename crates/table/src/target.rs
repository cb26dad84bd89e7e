//! The target: which task it is, its classes or its range, and what makes it impossible to learn.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::config::{DataConfig, RowPolicy, Task};
use crate::error::{DataError, Result};
use crate::note::Note;
use crate::number::{canonical, format_number, is_code, parse_number};
use crate::rng::{IdentityHash, mix};
use crate::schema::{ColumnStats, profile, set_option};
use crate::table::{Column, Table, Values};

mod truths;

use truths::{truth, truths, truths_of};

/// The encoded target of some rows.
///
/// ```
/// let target = ff_table::Target::Class(vec![0, 2, 1]);
/// assert_eq!(target.len(), 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The index of each row's class in the list of classes.
    Class(Vec<i32>),
    /// Each row's value, standardised.
    Value(Vec<f32>),
}

impl Target {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Class(v) => v.len(),
            Self::Value(v) => v.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The target: its task, the reason for it, and how to change it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetSchema {
    /// The column.
    pub column: String,
    /// The task.
    pub task: Task,
    /// Why it is this task, as a sentence without a full stop.
    pub reason: String,
    /// The setting that changes it, as `key=value` for `--set`.
    pub undo: Option<String>,
    /// Whether the task is a guess that could well be wrong: integers that are few.
    pub ambiguous: bool,
    /// The classes as text: in the order of their numbers if all are numbers, of their letters
    /// otherwise. Of two classes the second is the positive one.
    pub classes: Vec<String>,
    /// The rows of each class.
    pub counts: Vec<usize>,
    /// Classes of a single row, which the recipe leaves out.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// The index of the positive class of two, or of the one of several that the recipe names.
    pub positive: Option<usize>,
    /// The target's figures over all rows that were read.
    pub stats: ColumnStats,
}

impl TargetSchema {
    /// The most frequent class's index; the first among equals.
    pub fn majority(&self) -> Option<usize> {
        (0..self.counts.len()).max_by_key(|&i| (self.counts[i], std::cmp::Reverse(i)))
    }
}

/// The weight of each class that gives all classes the same total: `n / (k · n_class)`
/// (scikit-learn's `class_weight="balanced"`); 0 for a class without rows.
///
/// ```
/// assert_eq!(ff_table::balanced_class_weights(&[0, 0, 0, 1], 2), [4.0 / 6.0, 2.0]);
/// ```
pub fn balanced_class_weights(classes: &[i32], count: usize) -> Vec<f64> {
    let mut rows = vec![0usize; count];
    for &class in classes {
        if let Some(rows) = usize::try_from(class).ok().and_then(|class| rows.get_mut(class)) {
            *rows += 1;
        }
    }
    let (n, k) = (classes.len() as f64, rows.iter().filter(|&&rows| rows > 0).count() as f64);
    rows.iter().map(|&rows| if rows == 0 { 0.0 } else { n / (k * rows as f64) }).collect()
}

/// More classes than this are a mistake.
const MAX_CLASSES: usize = 10_000;

/// Integers with up to this many distinct values are taken for classes.
pub(crate) const MAX_INTEGER_CLASSES: usize = 20;

/// The rows a class of integers needs on average to be taken for one.
const ROWS_PER_CLASS: usize = 5;

/// Lines that a message names.
const SHOWN: usize = 5;

/// The target of a table, its usable rows, and what was dropped.
pub(crate) struct FoundTarget {
    pub(crate) schema: TargetSchema,
    pub(crate) reader: LabelReader,
    /// Rows without a target that the recipe allows to drop.
    pub(crate) missing: Vec<usize>,
    /// Rows of classes with a single row that the recipe allows to drop.
    pub(crate) rare: Vec<usize>,
    /// What missing cells were written as, where they are left out.
    pub(crate) note: Option<Note>,
}

/// How the target's cells are read, at training and later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LabelReader {
    /// Whether labels are numbers, so that `1` and `1.0` are the same class.
    pub(crate) numeric: bool,
    /// The classes of false and true, where labels are truth values, so that `True`, `TRUE`, `true`
    /// and `1` are the same class.
    pub(crate) truths: Option<[String; 2]>,
}

impl LabelReader {
    /// The reader of labels that are these classes.
    pub(crate) fn of_classes(classes: &[String], numeric: bool) -> Self {
        let spellings = classes.iter().map(|class| (class.as_str(), 1));
        let truths = (classes.len() == 2).then(|| truths(spellings)).flatten();
        Self { numeric, truths }
    }

    /// The label of a row; `None` if missing.
    pub(crate) fn label<'a>(&'a self, values: &'a Values, row: usize) -> Option<Cow<'a, str>> {
        let label = values.label(row)?;
        if let Some(truths) = &self.truths
            && let Some(truth) = truth(&label)
        {
            return Some(Cow::Borrowed(&truths[usize::from(truth)]));
        }
        match canonical(&label).filter(|_| self.numeric) {
            Some(number) => (number != "NaN").then_some(Cow::Owned(number)),
            None => Some(label),
        }
    }

    /// Calls `visit` with what `of` makes of each row's label, which is made once for equal
    /// numbers.
    pub(crate) fn for_labels<T: Clone>(
        &self,
        values: &Values,
        rows: impl IntoIterator<Item = usize>,
        mut of: impl FnMut(Option<&str>) -> T,
        mut visit: impl FnMut(usize, T),
    ) {
        let mut known: HashMap<u64, T, IdentityHash> = HashMap::default();
        for row in rows {
            let hash = match values {
                Values::Number(numbers) => Some(mix(numbers.get(row).to_bits())),
                _ => None,
            };
            let found = hash.and_then(|hash| known.get(&hash)).cloned();
            let made = found.unwrap_or_else(|| {
                let made = of(self.label(values, row).as_deref());
                if let Some(hash) = hash.filter(|_| known.len() < MAX_CLASSES) {
                    known.insert(hash, made.clone());
                }
                made
            });
            visit(row, made);
        }
    }
}

/// The value of a target of numbers: `Ok(None)` is missing, `Err` a text.
pub(crate) fn value(values: &Values, row: usize) -> Result<Option<f64>, String> {
    if !matches!(values, Values::Text(_)) {
        return Ok(values.number(row));
    }
    match values.label(row) {
        None => Ok(None),
        Some(text) => match parse_number(text.as_bytes()) {
            Some(x) => Ok(Some(x).filter(|x| !x.is_nan())),
            None => Err(text.into_owned()),
        },
    }
}

/// Finds the target's task, classes and unusable rows; `stratified` says that each class has to be
/// split.
pub(crate) fn find(
    table: &Table,
    name: &str,
    config: &DataConfig,
    stratified: bool,
) -> Result<FoundTarget> {
    let rows = 0..table.rows();
    let Some(column) = table.column(name) else {
        return Err(DataError::NoColumn {
            place: table.source_name(),
            column: name.into(),
            role: "data.target".into(),
            available: table.names(),
            note: String::new(),
        });
    };
    let stats = profile(&column.values);
    let missing: Vec<usize> = rows.clone().filter(|&row| column.values.is_missing(row)).collect();
    if missing.len() == rows.len() {
        return Err(target_error(name, "every value is missing", "Is it the right column?"));
    }
    let written = written_as(&column.values, &missing);
    if !missing.is_empty() && config.missing_target == RowPolicy::Error {
        let lines = lines(table, &missing);
        let missing = count(missing.len(), "value");
        return Err(match &written {
            Some((text, n)) => target_error(
                name,
                format!("{missing} missing: {}: {lines}", cells_read(*n, text)),
                &format!(
                    "If `{text}` is a class, keep it: --set {}. If the value is missing, leave these \
                     rows out: data.missing_target = \"drop\".",
                    keep(name)
                ),
            ),
            None => target_error(
                name,
                format!("{missing} missing: {lines}"),
                "Fill them in, or leave these rows out: data.missing_target = \"drop\".",
            ),
        });
    }
    let numeric = !matches!(column.values, Values::Text(_) | Values::Bool(_))
        || rows.clone().all(|row| {
            column.values.label(row).is_none_or(|label| {
                parse_number(label.as_bytes()).is_some() && !is_code(label.as_bytes())
            })
        });
    let truths = truths_of(column);
    let guess = guess(column, &stats, numeric, truths.as_ref());
    let reader = LabelReader { numeric, truths };
    let task = config.task.unwrap_or(guess.task);
    let mut schema = TargetSchema {
        column: name.into(),
        task,
        reason: if config.task.is_some() { "as the recipe says".into() } else { guess.reason },
        undo: if config.task.is_some() { None } else { guess.undo },
        ambiguous: config.task.is_none() && guess.ambiguous,
        classes: Vec::new(),
        counts: Vec::new(),
        left_out: Vec::new(),
        positive: None,
        stats,
    };
    let mut rare = Vec::new();
    if task == Task::Regression {
        check_numbers(table, column, config)?;
    } else {
        rare = find_classes(table, column, config, stratified, &reader, &mut schema)?;
    }
    let note = written.map(|(text, n)| {
        Note::warn(format!("{}: these rows are left out", cells_read(n, &text)))
            .column(name)
            .undo(keep(name))
    });
    Ok(FoundTarget { schema, reader, missing, rare, note })
}

/// The text that most of these missing cells were written as, unless it is empty, and how many.
fn written_as(values: &Values, missing: &[usize]) -> Option<(String, usize)> {
    let Values::Text(texts) = values else { return None };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let words = missing.iter().map(|&row| texts.raw(row).trim()).filter(|text| !text.is_empty());
    words.for_each(|text| *counts.entry(text).or_insert(0) += 1);
    let (text, n) = counts.into_iter().max_by_key(|&(text, n)| (n, std::cmp::Reverse(text)))?;
    Some((text.to_owned(), n))
}

fn cells_read(n: usize, text: &str) -> String {
    let cells = if n == 1 { "1 cell reads".to_owned() } else { format!("{n} cells read") };
    format!("{cells} `{text}`, which stands for a missing value")
}

/// The setting by which every text of the column is a value.
fn keep(name: &str) -> String {
    format!("'{}'", set_option(name, "null_values", "[\"\"]"))
}

struct Guess {
    task: Task,
    reason: String,
    undo: Option<String>,
    ambiguous: bool,
}

fn guess(
    column: &Column,
    stats: &ColumnStats,
    numeric: bool,
    truths: Option<&[String; 2]>,
) -> Guess {
    let unique = stats.unique;
    let of = |task, reason: String, other: Option<Task>, ambiguous| Guess {
        task,
        reason,
        undo: other.map(|task| format!("data.task={task}")),
        ambiguous,
    };
    if let Some([no, yes]) = truths
        && !numeric
    {
        return of(Task::Binary, format!("truth values, {no} and {yes}"), None, false);
    }
    if !numeric {
        let task = if unique == 2 { Task::Binary } else { Task::Multiclass };
        let word = if matches!(column.values, Values::Bool(_)) { "truth values" } else { "texts" };
        return of(task, format!("{unique} distinct {word}"), None, false);
    }
    let integers = crate::schema::all_integers(&column.values)
        && (0..column.values.len())
            .all(|row| !matches!(value(&column.values, row), Ok(Some(x)) if x.fract() != 0.0));
    let word = if integers { "integers" } else { "numbers" };
    if unique == 2 {
        let reason = format!("two classes (2 distinct {word})");
        return of(Task::Binary, reason, Some(Task::Regression), !integers);
    }
    let present = stats.rows - stats.missing;
    if integers && unique <= MAX_INTEGER_CLASSES && present >= ROWS_PER_CLASS * unique {
        let reason = format!("{unique} distinct integers, taken for classes");
        return of(Task::Multiclass, reason, Some(Task::Regression), true);
    }
    let close = integers && unique <= 5 * MAX_INTEGER_CLASSES && present >= ROWS_PER_CLASS * unique;
    let reason = format!("{unique} distinct {word}");
    of(Task::Regression, reason, integers.then_some(Task::Multiclass), close)
}

fn check_numbers(table: &Table, column: &Column, config: &DataConfig) -> Result<()> {
    let name = &column.name;
    let mut texts = Vec::new();
    let mut infinite = Vec::new();
    let mut low = Vec::new();
    let mut sample = String::new();
    let mut first = None;
    let mut differ = false;
    for row in 0..table.rows() {
        match value(&column.values, row) {
            Ok(Some(x)) if x.is_infinite() => infinite.push(row),
            Ok(Some(x)) => {
                if x <= -1.0 {
                    low.push(row);
                }
                differ |= *first.get_or_insert(x) != x;
            }
            Ok(None) => {}
            Err(text) => {
                if texts.is_empty() {
                    sample = text;
                }
                texts.push(row);
            }
        }
    }
    if !texts.is_empty() {
        return Err(target_error(
            name,
            format!(
                "a number is expected, but {} text, such as `{sample}`: {}",
                if texts.len() == 1 {
                    "1 value is".into()
                } else {
                    format!("{} values are", texts.len())
                },
                lines(table, &texts)
            ),
            "Correct them, name them in data.null_values, or learn classes: data.task = \"multiclass\".",
        ));
    }
    if !infinite.is_empty() {
        return Err(target_error(
            name,
            format!("{} infinite: {}", count(infinite.len(), "value"), lines(table, &infinite)),
            "Correct or remove these rows.",
        ));
    }
    if config.target_log && !low.is_empty() {
        return Err(target_error(
            name,
            format!("log(1 + y) needs y > -1, which fails in {}", lines(table, &low)),
            "Leave out data.target_log.",
        ));
    }
    if !differ {
        return Err(target_error(
            name,
            format!(
                "the same value ({}) in every row: nothing to learn",
                first.map_or_else(String::new, format_number)
            ),
            "Is it the right column?",
        ));
    }
    Ok(())
}

/// The first row of each class and its number of rows; `None` for too many classes.
fn count_classes(
    values: &Values,
    reader: &LabelReader,
) -> Option<BTreeMap<String, (usize, usize)>> {
    let mut indices: HashMap<String, usize> = HashMap::new();
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut too_many = false;
    let index = |label: Option<&str>| {
        let label = label?;
        if let Some(&index) = indices.get(label) {
            return Some(index);
        }
        too_many |= indices.len() == MAX_CLASSES;
        (!too_many).then(|| {
            indices.insert(label.to_owned(), indices.len());
            indices.len() - 1
        })
    };
    reader.for_labels(values, 0..values.len(), index, |row, index| {
        let Some(index) = index else { return };
        if index == found.len() {
            found.push((row, 0));
        }
        found[index].1 += 1;
    });
    (!too_many).then(|| indices.into_iter().map(|(label, index)| (label, found[index])).collect())
}

/// Fills in the classes; gives the rows of classes with a single row, if the recipe lets them be
/// dropped.
fn find_classes(
    table: &Table,
    column: &Column,
    config: &DataConfig,
    stratified: bool,
    reader: &LabelReader,
    schema: &mut TargetSchema,
) -> Result<Vec<usize>> {
    let name = &column.name;
    let Some(mut counts) = count_classes(&column.values, reader) else {
        return Err(target_error(
            name,
            format!("more than {MAX_CLASSES} classes"),
            "Is it an identifier or a free text? A number is learned with data.task = \"regression\".",
        ));
    };
    let mut rare = Vec::new();
    if stratified || config.rare_classes == RowPolicy::Drop {
        let single: Vec<_> = counts.iter().filter(|(_, (_, n))| *n == 1).collect();
        if let Some((label, (row, _))) = single.first()
            && config.rare_classes == RowPolicy::Error
        {
            let others = match single.len() - 1 {
                0 => String::new(),
                n => format!(", and so have {n} other classes"),
            };
            return Err(target_error(
                name,
                format!("class `{label}` has a single row ({}){others}", table.place(*row)),
                "It cannot be both learned and tested: add rows, merge classes, leave such rows out \
                 (data.rare_classes = \"drop\"), or split at random (data.split.kind = \"random\").",
            ));
        }
        rare = single.iter().map(|(_, (row, _))| *row).collect();
        schema.left_out = single.iter().map(|(label, _)| (*label).clone()).collect();
        counts.retain(|_, (_, n)| *n > 1);
    }
    if counts.len() < 2 {
        let message = match counts.keys().next() {
            Some(label) => format!("one class only (`{label}` in every row): nothing to learn"),
            None => "no class has more than one row".into(),
        };
        return Err(target_error(name, message, "Is it the right column, and are all rows there?"));
    }
    if config.task == Some(Task::Binary) && counts.len() != 2 {
        return Err(target_error(
            name,
            format!("a binary task has two classes, this column {}", counts.len()),
            "Set data.task = \"multiclass\".",
        ));
    }
    let mut classes: Vec<(String, usize)> = counts.into_iter().map(|(k, (_, n))| (k, n)).collect();
    classes.sort_by(|a, b| order(&a.0, &b.0, reader.numeric));
    if let (Some(truths), [first, _]) = (&reader.truths, &classes[..])
        && first.0 == truths[1]
    {
        // True is the positive class, whatever its letters.
        classes.swap(0, 1);
    }
    if schema.task == Task::Binary && classes.len() != 2 {
        schema.task = Task::Multiclass;
    } else if config.task.is_none() && classes.len() == 2 {
        schema.task = Task::Binary;
    }
    if let Some(positive) = &config.positive {
        let same = |label: &str| match &reader.truths {
            Some(_) => label == positive || truth(label) == truth(positive),
            None => label == positive,
        };
        let wanted = classes.iter().position(|(label, _)| same(label));
        match wanted {
            Some(at) if schema.task == Task::Binary => {
                if at == 0 {
                    classes.swap(0, 1);
                }
            }
            Some(at) => schema.positive = Some(at),
            None => {
                let labels: Vec<_> =
                    classes.iter().take(20).map(|(l, _)| format!("`{l}`")).collect();
                return Err(DataError::config(
                    "data.positive",
                    format!(
                        "`{positive}` is no class of `{name}`; its classes are {}",
                        labels.join(", ")
                    ),
                ));
            }
        }
    }
    if schema.task == Task::Binary {
        schema.positive = Some(1);
    }
    (schema.classes, schema.counts) = classes.into_iter().unzip();
    rare.sort_unstable();
    Ok(rare)
}

/// Numbers by value, texts by their characters.
fn order(a: &str, b: &str, numeric: bool) -> Ordering {
    let number = |text: &str| parse_number(text.as_bytes()).unwrap_or(f64::NAN);
    if numeric { number(a).total_cmp(&number(b)).then_with(|| a.cmp(b)) } else { a.cmp(b) }
}

/// `line 3, 7 and 9` of a table, with the number of those left out.
pub(crate) fn lines(table: &Table, rows: &[usize]) -> String {
    let word = table.line_word();
    let plural = if rows.len() == 1 { "" } else { "s" };
    let shown: Vec<_> = rows.iter().take(SHOWN).map(|&row| table.line(row).to_string()).collect();
    let more = rows.len() - shown.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{word}{plural} {}{rest}", shown.join(", "))
}

fn count(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word} is") } else { format!("{n} {word}s are") }
}

fn target_error(column: &str, message: impl Into<String>, hint: &str) -> DataError {
    DataError::Target { column: column.into(), message: message.into(), hint: hint.into() }
}
