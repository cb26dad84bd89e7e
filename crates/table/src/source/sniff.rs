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

/// Whether a text of the first record stands above numbers.
fn names_numbers(first: &[String], rest: &[&Vec<String>]) -> bool {
    let number = |text: &str| parse_number(text.as_bytes()).is_some();
    first.iter().enumerate().any(|(i, name)| {
        let below = rest.iter().filter_map(|record| record.get(i));
        let mut below = below.filter(|text| !text.trim().is_empty()).peekable();
        let named = !name.trim().is_empty() && !number(name) && below.peek().is_some();
        named && below.all(|text| number(text))
    })
}

/// Whether the first record names the columns, and why.
///
/// A text above numbers is a header; a number in the first line is not, unless another column
/// speaks for one; a first line that returns whole is, one of which single values return is not;
/// otherwise it is.
pub(super) fn header(sample: &Sample) -> (bool, &'static str) {
    let Some((first, rest)) = sample.split_first() else { return (true, "the file is empty") };
    // Files that were joined have their header in several places.
    let others = |record: &&Vec<String>| first.len() < 2 || *record != first;
    let rest: Vec<&Vec<String>> = rest.iter().filter(others).collect();
    let again = sample.len() > rest.len() + 1;
    let number = |text: &str| parse_number(text.as_bytes()).is_some();
    let empty = |text: &str| text.trim().is_empty();
    if names_numbers(first, &rest) {
        return (true, "a text stands above numbers");
    }
    if again && !first.iter().any(|text| number(text)) {
        return (true, "the first line returns whole");
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

/// The lines above a table: `sep=;` as spreadsheets write it, and comments behind `#`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Preamble {
    /// The bytes that it takes.
    pub(super) bytes: usize,
    pub(super) lines: u64,
    /// The lines of comments among them.
    pub(super) comments: u64,
    pub(super) delimiter: Option<u8>,
}

impl Preamble {
    /// Finds it in the first bytes. A line behind `#` with as many fields as the table has is none
    /// but a header or a row, unless a header follows it.
    pub(super) fn of(head: &[u8], whole: bool, delimiter: Option<u8>, name: &str) -> Self {
        let mut found = Self { delimiter, ..Self::default() };
        let line =
            |at: usize| head[at..].split_inclusive(|&b| b == b'\n').next().unwrap_or_default();
        let first = line(0);
        if let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', separator] = first.trim_ascii_end()
            && separator.is_ascii()
        {
            (found.bytes, found.lines) = (first.len(), 1);
            found.delimiter = delimiter.or(Some(*separator));
        }
        let mut body = found.bytes;
        while line(body).starts_with(b"#") {
            body += line(body).len();
        }
        if body == found.bytes || body == head.len() {
            return found;
        }
        let by = found.delimiter.unwrap_or_else(|| self::delimiter(&head[body..], whole, name));
        let fields = |line: &[u8]| sample(line, true, by).first().map_or(0, Vec::len);
        let width = fields(line(body));
        let table = sample(&head[body..], whole, by);
        let titled = table
            .split_first()
            .is_some_and(|(first, rest)| names_numbers(first, &rest.iter().collect::<Vec<_>>()));
        let comment = |line: &[u8]| match fields(line) {
            1 if width == 1 => titled || line.starts_with(b"# "),
            fields => titled || fields != width,
        };
        while found.bytes < body && comment(line(found.bytes)) {
            found.bytes += line(found.bytes).len();
            found.lines += 1;
            found.comments += 1;
        }
        found
    }
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
    fn a_preamble_is_told_from_the_table() {
        let of = |text: &str| Preamble::of(text.as_bytes(), true, None, "x.csv");
        for (text, bytes, comments, delimiter) in [
            ("sep=;\r\na;b\n1;2\n", 7, 0, Some(b';')),
            ("# exported\n# by me, and you, and all\na,b\n1,2\n", 37, 2, None),
            ("# on Monday, early\na,b\nx,2\n", 19, 1, None),
            ("#name,city\nann,rome\n", 0, 0, None),
            ("# x,y\n1,2\n", 0, 0, None),
            ("#chrom\tstart\nchr1\t5\n", 0, 0, None),
            ("## made by x\n#chrom\tstart\nchr1\t5\n", 13, 1, None),
            ("#,name\n1,a\n", 0, 0, None),
            ("# title\nx\n1\n", 8, 1, None),
            ("#x\n1\n", 0, 0, None),
            ("#tag,1\n#other,2\n", 0, 0, None),
            ("a,b\n#,2\n", 0, 0, None),
            ("", 0, 0, None),
        ] {
            let found = of(text);
            assert_eq!(
                (found.bytes, found.comments, found.delimiter),
                (bytes, comments, delimiter),
                "{text:?}"
            );
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
            ("a,b\nx,y\na,b\nx,z\n", true),
            ("a,b\n1,y\na,b\n2,z\n", true),
            ("1,y\n2,z\n1,y\n", false),
        ] {
            assert_eq!(header(&sample(text.as_bytes(), true, b',')).0, found, "{text:?}");
        }
    }
}
