//! The delimiter and the header of a text table, told from its first lines.

use std::io::Cursor;
use std::path::Path;

use super::records::Records;
use crate::number::parse_number;

/// The delimiters that are tried, the likeliest first.
const DELIMITERS: [u8; 4] = *b",;\t|";

/// The records that a guess rests on.
const SAMPLE: usize = 200;

/// The first records of a file, as texts.
pub(super) type Sample = Vec<Vec<String>>;

/// Splits the first bytes of a file into records; the last one is left out if the bytes are not all
/// of the file.
pub(super) fn sample(head: &[u8], whole: bool, delimiter: u8) -> Sample {
    let mut records =
        Records::new(Box::new(Cursor::new(head.to_vec())), Path::new(""), None, delimiter);
    let mut sample = Sample::new();
    while sample.len() < SAMPLE && records.advance().unwrap_or(false) {
        if records.at_end() && !whole && !sample.is_empty() {
            break;
        }
        let text = |i| String::from_utf8_lossy(records.field(i)).into_owned();
        sample.push((0..records.len()).map(text).collect());
    }
    sample
}

/// The delimiter by which most lines have the same number of fields, and more than one.
pub(super) fn delimiter(head: &[u8], whole: bool, name: &str) -> u8 {
    let mut best = (0.0, b',');
    let tabs = name.contains(".tsv") || name.contains(".tab");
    let order = if tabs { *b"\t,;|" } else { DELIMITERS };
    for candidate in order {
        let sample = sample(head, whole, candidate);
        let width = sample.first().map_or(0, Vec::len);
        if width < 2 {
            continue;
        }
        let agree = sample.iter().filter(|record| record.len() == width).count();
        // A delimiter that splits every line alike beats one that splits some into more fields.
        let share = agree as f64 / sample.len() as f64;
        let score = share * share * (1.0 + (width as f64).ln());
        if score > best.0 * 1.000_001 {
            best = (score, candidate);
        }
    }
    best.1
}

/// Whether the first record names the columns, and why.
///
/// A text above numbers is a header; a number in the first line is not, unless another column
/// speaks for one; a first line that returns among the rows is not; otherwise it is.
pub(super) fn header(sample: &Sample) -> (bool, &'static str) {
    let Some((first, rest)) = sample.split_first() else { return (true, "the file is empty") };
    let number = |text: &str| parse_number(text.as_bytes()).is_some();
    let empty = |text: &str| text.trim().is_empty();
    let names_numbers = first.iter().enumerate().any(|(i, name)| {
        let mut below = rest.iter().filter_map(|record| record.get(i)).filter(|text| !empty(text));
        let mut seen = false;
        let numbers = below.all(|text| {
            seen = true;
            number(text)
        });
        !empty(name) && !number(name) && seen && numbers
    });
    if names_numbers {
        return (true, "a text stands above numbers");
    }
    if first.iter().any(|text| number(text)) {
        return (false, "the first line holds a number");
    }
    let returns = first.iter().enumerate().any(|(i, name)| {
        !empty(name) && rest.iter().any(|record| record.get(i).is_some_and(|text| text == name))
    });
    if returns {
        return (false, "values of the first line return below");
    }
    (true, "the first line holds texts alone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_are_told_apart() {
        for (text, found) in [
            ("a,b,c\n1,2,3\n", b','),
            ("a;b;c\n1,5;2,5;3\n4,5;2,0;1\n", b';'),
            ("a\tb\nx, y\tz\n", b'\t'),
            ("a|b|c\n1|2|3", b'|'),
            ("name,text\nann,\"a;b;c\"\nbob,\"d;e\"\n", b','),
            ("single\n1\n2\n", b','),
            ("", b','),
        ] {
            assert_eq!(delimiter(text.as_bytes(), true, "x.csv"), found, "{text:?}");
        }
    }

    #[test]
    fn headers_are_told_from_rows() {
        for (text, found) in [
            ("a,b\n1,x\n", true),
            ("1,x\n2,y\n", false),
            ("red,small\nblue,small\nred,large\n", false),
            ("colour,size\nblue,small\nred,large\n", true),
            ("id,2019,2020\n1,1,2\n2,3,4\n", true),
            ("a,b\n", true),
        ] {
            assert_eq!(header(&sample(text.as_bytes(), true, b',')).0, found, "{text:?}");
        }
    }
}
