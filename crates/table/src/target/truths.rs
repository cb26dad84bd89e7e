//! Truth values among labels, in whatever way they are spelled.

use std::collections::BTreeMap;

use crate::number::{format_number, parse_number};
use crate::schema::BOOLEANS;
use crate::table::{Column, Values};

/// Spellings beyond which no column holds truth values.
const MAX_SPELLINGS: usize = 16;

/// What a label says as a truth value, in any of the pairs that are recognised.
pub(super) fn truth(label: &str) -> Option<bool> {
    if let Some(x) = parse_number(label.as_bytes()) {
        return (x == 0.0 || x == 1.0).then_some(x == 1.0);
    }
    let says = |(no, yes): (&str, &str)| {
        let yes = label.eq_ignore_ascii_case(yes);
        (yes || label.eq_ignore_ascii_case(no)).then_some(yes)
    };
    BOOLEANS.into_iter().find_map(says)
}

/// The most frequent spellings of false and of true, where all labels are of one pair of truth
/// values; `true`, `false`, 0 and 1 go with any.
pub(super) fn truths<'a>(
    labels: impl IntoIterator<Item = (&'a str, usize)>,
) -> Option<[String; 2]> {
    let labels: Vec<(&str, usize)> = labels.into_iter().collect();
    let of = |pair: (&str, &str), label: &str| {
        let is = |word: &str| label.eq_ignore_ascii_case(word);
        let general = is("true") || is("false") || parse_number(label.as_bytes()).is_some();
        is(pair.0) || is(pair.1) || general && truth(label).is_some()
    };
    BOOLEANS.into_iter().find(|&pair| labels.iter().all(|(label, _)| of(pair, label)))?;
    let spelled = |value: bool| {
        let of_value = labels.iter().filter(|(label, _)| truth(label) == Some(value));
        // Words before digits, the more frequent first, then in the order of their letters.
        let best = of_value.max_by_key(|(label, n)| {
            (parse_number(label.as_bytes()).is_none(), *n, std::cmp::Reverse(*label))
        });
        best.map(|(label, _)| (*label).to_owned())
    };
    Some([spelled(false)?, spelled(true)?])
}

/// The truth values that a column holds, if it holds nothing else.
pub(super) fn truths_of(column: &Column) -> Option<[String; 2]> {
    let mut spellings: BTreeMap<String, usize> = BTreeMap::new();
    let numbers = matches!(column.values, Values::Number(_) | Values::Integer(_));
    for row in 0..column.values.len() {
        let Some(label) = column.values.label(row) else { continue };
        // `1` and `1.0` are one spelling.
        let label = parse_number(label.as_bytes()).map_or(label, |x| format_number(x).into());
        if let Some(n) = spellings.get_mut(label.as_ref()) {
            *n += 1;
            continue;
        }
        if truth(&label).is_none() || spellings.len() == MAX_SPELLINGS {
            return None;
        }
        spellings.insert(label.into_owned(), 1);
        // Two numbers that are no more than 0 and 1 so far may be followed by others.
        if numbers && spellings.len() > 2 {
            return None;
        }
    }
    truths(spellings.iter().map(|(label, n)| (label.as_str(), *n)))
}
