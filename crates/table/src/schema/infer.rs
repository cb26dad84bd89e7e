//! The kind of a column, from its values and, where they leave it open, its name.

use std::collections::BTreeSet;

use super::names::{is_index_level, names_a_code, names_an_identifier};
use super::{BOOLEANS, ColumnStats, Kind};
use crate::date::{self, DateFormat};
use crate::number::{is_code, parse_number};
use crate::table::{Column, TextValues, Values};

/// Fewer rows than this do not show that a column is an identifier.
const MIN_ROWS: usize = 20;

/// The share of different values from which texts name rows rather than groups.
const NEARLY_ALL: f64 = 0.9;

/// Up to this many different texts among numbers are taken for ways to write "missing".
pub(crate) const MAX_ODD: usize = 3;

/// More distinct texts than this are no spellings of true and false.
const MAX_SPELLINGS: usize = 8;

/// Integers with more distinct values than this are numbers even under a name such as `code`.
const MAX_CODES: usize = 50;

/// A kind, the reason for it, and what goes with it.
pub(crate) struct Inferred {
    pub(crate) kind: Kind,
    pub(crate) reason: String,
    /// The kind to name in the setting that undoes the decision.
    pub(crate) other: &'static str,
    /// Texts among numbers that are read as missing, with the row of the first.
    pub(crate) odd: Option<(Vec<String>, usize)>,
    /// The format of dates.
    pub(crate) format: Option<&'static str>,
    /// Another format that reads the dates as well.
    pub(crate) other_format: Option<&'static str>,
}

impl Inferred {
    fn new(kind: Kind, reason: impl Into<String>, other: &'static str) -> Self {
        Self { kind, reason: reason.into(), other, odd: None, format: None, other_format: None }
    }
}

/// Infers what a column is; `series` says that its name belongs to a numbered series, `index` that
/// it is one of those that data frames give to their index.
pub(crate) fn infer(
    column: &Column,
    stats: &ColumnStats,
    (series, index): (bool, bool),
    max_categories: usize,
) -> Inferred {
    let present = stats.rows - stats.missing;
    if present == 0 {
        return Inferred::new(Kind::Constant, "no value at all", "category");
    }
    if stats.unique == 1 && stats.missing == 0 {
        return Inferred::new(Kind::Constant, "the same value in every row", "number");
    }
    if index && is_index(column, stats) {
        return Inferred::new(Kind::Identifier, "the index of a data frame", "number");
    }
    match &column.values {
        Values::Text(texts) => infer_text(texts, stats, &column.name, max_categories),
        Values::Bool(_) => Inferred::new(Kind::Boolean, "true and false", "category"),
        Values::Date(_) => Inferred::new(Kind::Date, "dates", "drop"),
        Values::Number(_) | Values::Integer(_) => infer_number(stats, &column.name, series),
    }
}

/// Whether the values of a column with the name of an index tell rows apart: integers that all
/// differ, or that count up, once or anew for each part that was joined.
fn is_index(column: &Column, stats: &ColumnStats) -> bool {
    if is_index_level(&column.name) {
        return true;
    }
    let values = &column.values;
    let integers = stats.number.as_ref().is_some_and(|number| number.integers);
    if !integers || matches!(values, Values::Date(_)) || stats.missing > 0 {
        return false;
    }
    let counts = |row: &usize| values.number(*row - 1).map(|x| x + 1.0) == values.number(*row);
    let counted = (1..values.len()).filter(counts).count();
    stats.unique == stats.rows || counted as f64 > NEARLY_ALL * stats.rows as f64
}

fn infer_number(stats: &ColumnStats, name: &str, series: bool) -> Inferred {
    let unique = stats.unique;
    let Some(number) = stats.number.as_ref() else {
        return Inferred::new(Kind::Constant, "no finite value", "number");
    };
    if !number.integers {
        return Inferred::new(Kind::Number, "numbers", "category");
    }
    if unique == 2 && number.min == 0.0 && number.max == 1.0 && !series {
        return Inferred::new(Kind::Boolean, "0 and 1", "category");
    }
    let all_differ = unique == stats.rows && stats.missing == 0 && stats.rows >= MIN_ROWS;
    if all_differ && !series {
        let running = number.max - number.min == (stats.rows - 1) as f64
            && (number.min == 0.0 || number.min == 1.0);
        if running {
            return Inferred::new(Kind::Identifier, "a running number", "number");
        }
        if names_an_identifier(name) {
            return Inferred::new(Kind::Identifier, "a different integer in every row", "number");
        }
    }
    let groups = (3..=MAX_CODES).contains(&unique) && stats.rows >= 5 * unique;
    if groups && !series && names_a_code(name) {
        let reason =
            format!("{unique} distinct integers under a name of codes, read as a category");
        return Inferred::new(Kind::Category, reason, "number");
    }
    let reason = if unique <= 10 {
        format!("{unique} distinct integers, read as numbers")
    } else {
        "integers".into()
    };
    Inferred::new(Kind::Number, reason, "category")
}

fn infer_text(texts: &TextValues, stats: &ColumnStats, name: &str, max: usize) -> Inferred {
    let present = || (0..texts.len()).filter_map(|row| texts.get(row)).map(str::trim);
    let (unique, count) = (stats.unique, stats.rows - stats.missing);
    if unique <= MAX_SPELLINGS
        && let Some((no, yes)) = boolean_texts(texts)
    {
        return Inferred::new(Kind::Boolean, format!("{no} and {yes}"), "category");
    }
    let is_number = |text: &str| parse_number(text.as_bytes()).is_some();
    if present().all(is_number) {
        return if present().any(|text| is_code(text.as_bytes())) {
            coded(stats)
        } else if unique == count && count >= MIN_ROWS && names_an_identifier(name) {
            Inferred::new(Kind::Identifier, "a different number in every row", "number")
        } else {
            Inferred::new(Kind::Number, "numbers", "category")
        };
    }
    // One value after the other is cheap to refuse: most columns of texts fail at their first.
    if let Some(DateFormat { format, other }) = date::infer_format(&present()) {
        let reason = match other {
            Some(other) => format!("dates ({format}; {other} would fit too)"),
            None => "dates".into(),
        };
        let inferred = Inferred::new(Kind::Date, reason, "category");
        return Inferred { format: Some(format), other_format: other, ..inferred };
    }
    let number = |text: &str| parse_number(text.as_bytes()).is_some() && !is_code(text.as_bytes());
    if let Some(odd) = odd_among(texts, count, number, |_| false) {
        let reason = format!("numbers but for {odd}, read as missing");
        return Inferred {
            odd: Some((odd.texts, odd.first)),
            ..Inferred::new(Kind::Number, reason, "category")
        };
    }
    let said = |text: &&str| !MARKERS.contains(text) && !date::is_no_date(text);
    if let Some(format) = date::infer_most(&present().filter(said).collect::<Vec<_>>()) {
        let is_date = |text: &str| date::parse(text, format).is_some();
        if let Some(odd) = odd_among(texts, count, is_date, date::is_no_date) {
            let reason = format!("dates but for {odd}, read as missing");
            let dates = present().filter(|text| is_date(text));
            let other_format = date::infer_format(&dates).and_then(|found| found.other);
            let inferred = Inferred::new(Kind::Date, reason, "category");
            let odd = Some((odd.texts, odd.first));
            return Inferred { odd, format: Some(format), other_format, ..inferred };
        }
    }
    let share = unique as f64 / count as f64;
    let words = present().take(1000).map(words_in).sum::<usize>() as f64 / count.min(1000) as f64;
    if words >= 4.0 && share > 0.5 {
        return Inferred::new(Kind::Text, format!("texts of {words:.0} words"), "category");
    }
    if unique == count && count >= MIN_ROWS {
        return Inferred::new(Kind::Identifier, "a different text in every row", "category");
    }
    if share > NEARLY_ALL && count >= MIN_ROWS {
        let reason = format!("{unique} different texts in {count} rows");
        return Inferred::new(Kind::Identifier, reason, "category");
    }
    if names_an_identifier(name) && share > 0.5 && count >= MIN_ROWS {
        let reason = format!("{unique} different texts under a name of identifiers");
        return Inferred::new(Kind::Identifier, reason, "category");
    }
    if unique > max || stats.unique_is_a_minimum {
        let reason = format!("more than {max} different texts");
        return Inferred::new(Kind::Identifier, reason, "category");
    }
    Inferred::new(Kind::Category, format!("{unique} different texts"), "drop")
}

/// About how many words a text has: those between spaces, or two letters each of a script without.
fn words_in(text: &str) -> usize {
    let unspaced = |c: &char| {
        matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
            | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
    };
    text.split_whitespace().count().max(text.chars().filter(unspaced).count() / 2)
}

fn coded(stats: &ColumnStats) -> Inferred {
    let count = stats.rows - stats.missing;
    if stats.unique as f64 > NEARLY_ALL * count as f64 && count >= MIN_ROWS {
        return Inferred::new(Kind::Identifier, "codes with leading zeros that differ", "number");
    }
    Inferred::new(Kind::Category, "codes with leading zeros", "number")
}

/// The two texts of a truth value as they stand in the column's language, false first; 0 and 1
/// among them are truth values too.
pub(crate) fn boolean_texts(texts: &TextValues) -> Option<(&'static str, &'static str)> {
    BOOLEANS.into_iter().find(|(no, yes)| {
        let (mut seen, mut words) = ([false; 2], false);
        (0..texts.len()).filter_map(|row| texts.get(row)).all(|text| {
            let text = text.trim();
            let word = [no, yes].map(|word| text.eq_ignore_ascii_case(word));
            let found = [word[0] || text == "0", word[1] || text == "1"];
            seen = [seen[0] || found[0], seen[1] || found[1]];
            words |= word[0] || word[1];
            found[0] || found[1]
        }) && seen == [true; 2]
            && words
    })
}

/// Texts that mean "no value" wherever the others of a column are numbers or dates.
pub(crate) const MARKERS: [&str; 6] = [".", "-", "--", "–", "—", "…"];

/// The few different texts of a column that otherwise holds numbers or dates.
struct OddTexts {
    texts: Vec<String>,
    /// The first row that has one, and the number of rows.
    first: usize,
    rows: usize,
}

impl std::fmt::Display for OddTexts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: Vec<_> = self.texts.iter().map(|text| format!("`{text}`")).collect();
        write!(f, "{} times {}", self.rows, shown.join(", "))
    }
}

/// Finds the texts that are not `read`; those that are `missing`, or one of [`MARKERS`], may be any
/// share of the rows.
fn odd_among(
    texts: &TextValues,
    count: usize,
    read: impl Fn(&str) -> bool,
    missing: impl Fn(&str) -> bool,
) -> Option<OddTexts> {
    let mut odd = BTreeSet::new();
    let mut others = BTreeSet::new();
    let (mut first, mut rows, mut unknown_rows) = (None, 0, 0);
    let mut unknown = BTreeSet::new();
    for row in 0..texts.len() {
        let Some(text) = texts.get(row).map(str::trim) else { continue };
        if read(text) {
            if others.len() < 10 {
                others.insert(text);
            }
            continue;
        }
        first.get_or_insert(row);
        rows += 1;
        odd.insert(text);
        if MARKERS.contains(&text) || missing(text) {
            continue;
        }
        unknown.insert(text);
        unknown_rows += 1;
        if unknown.len() > MAX_ODD || (unknown_rows as f64) > 0.2 * count as f64 {
            return None;
        }
    }
    // A handful of numbers beside a text may well be names of groups.
    let enough = if unknown_rows == 0 { 1 } else { 10 };
    (others.len() >= enough && rows > 0).then(|| OddTexts {
        texts: odd.into_iter().map(String::from).collect(),
        first: first.unwrap_or(0),
        rows,
    })
}
