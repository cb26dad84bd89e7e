//! A large text table, which is read in parts on all threads, is the table that is read row by row.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use ff_table::{SourceOptions, Table, load};
use ff_tensor::ThreadPool;

/// More than three parts of half a mebibyte.
const ROWS: u64 = 45_000;

/// Rows with numbers short and long, gaps, quoted texts with delimiters and line ends, and blank
/// lines among them.
fn text(end: &str) -> String {
    let mut text = format!("id,x,wide,gap,note{end}");
    for i in 0..ROWS {
        let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let x = (mixed as f64 - 8e6) / 1000.0;
        let wide = f64::from_bits(0x3ff0_0000_0000_0000 | mixed << 27 | i);
        let gap = if i % 7 == 3 { "NA".into() } else { format!("{mixed}e-9") };
        let note = match i % 11 {
            0 => format!("\"a, \"\"{i}\"\"{end} b\""),
            1 => "\"\"".into(),
            5 => format!("5\" of {i}"),
            _ => format!("word {mixed}"),
        };
        write!(text, "{i},{x},{wide},{gap},{note}{end}").unwrap();
        if i % 1000 == 999 {
            text.push_str(end);
        }
    }
    text
}

/// The table read in parts, and row by row: a limit, even one that is never met, is only kept by
/// counting.
fn both(bytes: &[u8], name: &str) -> [Result<Table, String>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let limited = SourceOptions { max_rows: Some(usize::MAX), ..SourceOptions::default() };
    [SourceOptions::default(), limited].map(|options| {
        let loaded = load(Path::new(&path), &options, &ThreadPool::new(2));
        loaded
            .map(|(table, info)| {
                assert_eq!(info.bytes, bytes.len() as u64);
                assert_eq!(info.hash.len(), 32);
                table
            })
            .map_err(|e| format!("{e:?}"))
    })
}

fn assert_same(bytes: &[u8], name: &str) {
    let [parts, rows] = both(bytes, name);
    let (parts, rows) = (parts.unwrap(), rows.unwrap());
    assert_eq!((parts.rows(), parts.names()), (rows.rows(), rows.names()));
    assert_eq!(parts.rows() as u64, ROWS);
    for row in 0..rows.rows() {
        assert_eq!(parts.line(row), rows.line(row), "row {row}");
        assert_eq!(parts.row(row), rows.row(row), "row {row}");
    }
    for (a, b) in parts.columns().iter().zip(rows.columns()) {
        for row in 0..rows.rows() {
            let bits = |x: Option<f64>| x.map(f64::to_bits);
            assert_eq!(bits(a.values.number(row)), bits(b.values.number(row)), "{} {row}", a.name);
            assert_eq!(a.values.is_missing(row), b.values.is_missing(row), "{} {row}", a.name);
        }
    }
}

#[test]
fn every_kind_of_line_end() {
    for (end, name) in [("\n", "a.csv"), ("\r\n", "b.csv"), ("\r", "c.csv")] {
        assert_same(text(end).as_bytes(), name);
    }
}

#[test]
fn without_quotes_and_without_a_last_line_end() {
    let plain = text("\n").replace("\"a, \"\"", "\"").replace("\"\"\n b", "").replace('"', "");
    assert_same(plain.trim_end().as_bytes(), "d.csv");
}

#[test]
fn a_text_far_down_makes_its_column_one_of_texts() {
    let late = text("\n").replacen("\n44000,", "\nlate,", 1);
    let [parts, rows] = both(late.as_bytes(), "e.csv");
    let (parts, rows) = (parts.unwrap(), rows.unwrap());
    assert_eq!(parts.row(44_000), rows.row(44_000));
    assert_eq!((&*parts.row(44_000)[0], &*parts.row(7)[0]), ("late", "7"));
}

#[test]
fn the_first_error_is_told_with_its_line() {
    let good = text("\n");
    let fields = good.replacen("\n40007,", "\n1,40007,", 1).replacen("\n44009,", "\n1,44009,", 1);
    let mut utf8 = good.replacen("word", "wor~", 1).into_bytes();
    let at = utf8.len() - 12_345;
    let at = at + utf8[at..].windows(4).position(|four| four == b"word").unwrap();
    utf8[at] = 0xff;
    let quote = good.replacen("\n43000,", "\n\"43000,", 1);
    for (bytes, kind) in [(fields.as_bytes(), "Fields"), (&utf8, "Utf8"), (quote.as_bytes(), "")] {
        let [parts, rows] = both(bytes, "f.csv");
        let (parts, rows) = (parts.unwrap_err(), rows.unwrap_err());
        let name = |error: &str| error.split("/f.csv").last().unwrap().to_owned();
        assert_eq!(name(&parts), name(&rows));
        assert!(parts.contains(kind), "{parts}");
    }
}
