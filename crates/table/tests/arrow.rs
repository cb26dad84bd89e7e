//! Arrow files and streams that pyarrow and pandas wrote (`fixtures/make_arrow.py`), whole, cut and
//! lying.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use ff_table::{BlockReader, DataError, Format, SourceOptions, Table, Values, load, read_table};
use ff_tensor::ThreadPool;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read(name: &str) -> Table {
    read_table(&fixture(name), &SourceOptions::default()).unwrap()
}

/// The error of reading these bytes as Arrow; `None` where they are a table.
fn error(bytes: &[u8]) -> Option<DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.arrow");
    std::fs::write(&path, bytes).unwrap();
    let options = SourceOptions { format: Format::named("arrow"), ..SourceOptions::default() };
    read_table(&path, &options).err()
}

/// Each cell as text, and whether it is missing.
fn cells(table: &Table, column: &str) -> Vec<(String, bool)> {
    let values = &table.column(column).unwrap().values;
    (0..table.rows()).map(|row| (values.text(row).into_owned(), values.is_missing(row))).collect()
}

#[test]
fn every_type_reads_as_the_csv_of_the_same_rows() {
    // As numbers these would not be exact in CSV.
    let text_columns = vec!["id".to_owned(), "u64".to_owned()];
    let options = SourceOptions { text_columns, ..SourceOptions::default() };
    let expected = read_table(&fixture("arrow.csv"), &options).unwrap();
    for name in ["types.feather", "types.arrow", "types.arrows"] {
        let table = read(name);
        assert_eq!(table.names(), expected.names(), "{name}");
        assert_eq!(table.rows(), 7, "{name}");
        for column in expected.names() {
            assert_eq!(cells(&table, &column), cells(&expected, &column), "{name} {column}");
        }
        let kinds = |column: &str| &table.column(column).unwrap().values;
        assert!(matches!(kinds("id"), Values::Integer(_)), "{name}");
        assert!(matches!(kinds("flag"), Values::Bool(_)), "{name}");
        assert!(matches!(kinds("nano"), Values::Date(_)), "{name}");
        assert!(matches!(kinds("coded"), Values::Integer(_)), "{name}");
        assert!(matches!(kinds("colour"), Values::Text(_)), "{name}");
        assert_eq!(table.place(4), format!("`{}`, row 5", fixture(name).display()));
    }
    let pandas = read("pandas.feather");
    for column in pandas.names() {
        assert_eq!(cells(&pandas, &column), cells(&expected, &column), "pandas {column}");
    }
}

#[test]
fn the_first_bytes_tell_arrow_whatever_the_name_says() {
    let folder = tempfile::tempdir().unwrap();
    for (name, renamed) in [("types.feather", "a.csv"), ("types.arrows", "b.txt")] {
        let path = folder.path().join(renamed);
        std::fs::copy(fixture(name), &path).unwrap();
        let (table, info) = load(&path, &SourceOptions::default(), &ThreadPool::new(2)).unwrap();
        assert_eq!((table.rows(), info.describe().as_str()), (7, "arrow"), "{name}");
    }
    for name in ["a.arrow", "a.feather", "a.ipc.zst", "a.arrows.gz"] {
        assert_eq!(Format::from_path(name), Format::named("arrow"), "{name}");
    }
}

#[test]
fn blocks_are_the_rows_of_the_whole_file() {
    let whole = read("types.feather");
    for size in [1, 2, 3, 5, 100] {
        let options = SourceOptions::default();
        let mut reader = BlockReader::open(&fixture("types.feather"), &options, size).unwrap();
        let (mut rows, mut lines) = (Vec::new(), Vec::new());
        while let Some(block) = reader.next_block().unwrap() {
            assert!((1..=size).contains(&block.rows()));
            rows.extend((0..block.rows()).map(|row| block.row(row).join("|")));
            lines.extend((0..block.rows()).map(|row| block.line(row)));
        }
        let expected: Vec<_> = (0..whole.rows()).map(|row| whole.row(row).join("|")).collect();
        assert_eq!(rows, expected, "{size}");
        assert_eq!(lines, [1, 2, 3, 4, 5, 6, 7], "{size}");
    }
    let options = SourceOptions { max_rows: Some(4), ..SourceOptions::default() };
    assert_eq!(read_table(&fixture("types.arrows"), &options).unwrap().rows(), 4);
}

#[test]
fn dictionaries_grow_and_are_replaced() {
    for name in ["delta.arrows", "replaced.arrows"] {
        let words: Vec<_> = cells(&read(name), "word").into_iter().map(|(word, _)| word).collect();
        assert_eq!(words, ["a", "b", "b", "a", "c", "d"], "{name}");
    }
}

#[test]
fn nested_columns_are_left_out_and_passed_over_where_one_column_is_wanted() {
    let path = fixture("nested.arrow");
    assert_eq!(read("nested.arrow").names(), ["text", "last"]);
    let format = Format::named("arrow").unwrap();
    for (column, expected) in [("text", ["a", "b"]), ("last", ["x", "y"])] {
        let mut reader = BlockReader::column(&path, format, column, 10).unwrap();
        let block = reader.next_block().unwrap().unwrap();
        assert_eq!(block.names(), [column]);
        assert_eq!([block.row(0)[0].as_ref(), block.row(1)[0].as_ref()], expected);
    }
    for column in ["list", "none"] {
        let error = BlockReader::column(&path, format, column, 10).err();
        assert!(matches!(error, Some(DataError::NoColumn { .. })), "{column}");
    }
}

#[test]
fn a_cut_file_is_an_error_wherever_it_is_cut() {
    let whole = std::fs::read(fixture("types.arrow")).unwrap();
    assert!(error(&whole).is_none());
    for length in 1..whole.len() {
        let error = error(&whole[..length]);
        assert!(error.is_some(), "cut after {length} bytes");
    }
    assert!(matches!(error(&[]), Some(DataError::Empty { .. })));
    // A stream may end after any of its batches.
    let stream = std::fs::read(fixture("types.arrows")).unwrap();
    let cut = (1..stream.len()).filter(|&length| error(&stream[..length]).is_none()).count();
    assert!(cut <= 3, "{cut}");
    let first = error(b"FEA1 and more").unwrap();
    assert!(first.to_string().contains("Feather version 1"), "{first}");
}

#[test]
fn a_file_with_any_byte_changed_ends_in_a_table_or_an_error() {
    for name in ["types.arrow", "delta.arrows", "types.arrows", "nested.arrow"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= [0x01, 0x80, 0xff][at % 3];
            // Neither a panic nor memory that the file cannot fill.
            let _ = error(&bytes);
        }
    }
}

#[test]
fn offsets_beyond_a_buffer_are_named_by_column_and_row() {
    let whole = std::fs::read(fixture("types.arrow")).unwrap();
    // The offsets of `text`: 0, 3, 3, 3, 14, …; the one after the fourth row is made larger than
    // the buffer.
    let offsets: Vec<u8> = [0i32, 3, 3, 3, 14].iter().flat_map(|x| x.to_le_bytes()).collect();
    let at = whole.windows(offsets.len()).position(|window| window == offsets).unwrap();
    let mut bytes = whole;
    bytes[at + 16..at + 20].copy_from_slice(&1_000_000i32.to_le_bytes());
    let error = error(&bytes).unwrap().to_string();
    assert!(error.contains("column `text`: row 4 of the batch"), "{error}");
}
