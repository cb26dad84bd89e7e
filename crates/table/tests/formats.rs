//! Every format that is read, from files that other programs wrote, and what is written, read back.
// A helper of a test may fail it, as the test itself may; small tables are written as formatted
// text.
#![allow(clippy::unwrap_used, clippy::panic, clippy::format_collect, clippy::format_push_string)]

use std::path::{Path, PathBuf};

use ff_table::{
    BlockReader, Column, Format, Integers, SourceOptions, Table, TableWriter, Values, load,
    read_table,
};
use ff_tensor::ThreadPool;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read(name: &str) -> Table {
    read_table(&fixture(name), &SourceOptions::default()).unwrap()
}

fn texts(table: &Table, column: &str) -> Vec<String> {
    let values = &table.column(column).unwrap().values;
    (0..table.rows()).map(|row| values.text(row).into_owned()).collect()
}

fn numbers(table: &Table, column: &str) -> Vec<Option<f64>> {
    let values = &table.column(column).unwrap().values;
    (0..table.rows()).map(|row| values.number(row)).collect()
}

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn parquet_types_mean_what_arrow_wrote() {
    let table = read("types.parquet");
    assert_eq!((table.rows(), table.width()), (7, 13));
    assert_eq!(texts(&table, "id"), ["9007199254740993", "", "-3", "4", "5", "6", "7"]);
    assert_eq!(numbers(&table, "small")[6], Some(-128.0));
    let double = numbers(&table, "double");
    assert_eq!(double[0], Some(0.1));
    assert_eq!((double[1], double[2], double[3]), (None, None, Some(f64::INFINITY)));
    assert_eq!(numbers(&table, "single")[..4], [Some(0.5), Some(1.5), None, Some(3.25)]);
    assert_eq!(numbers(&table, "half")[6], Some(65504.0));
    assert_eq!(texts(&table, "text"), ["red", "", "", "blue, green", "ä\"ö", "NA", "x"]);
    let text = &table.column("text").unwrap().values;
    let missing: Vec<bool> = (0..7).map(|row| text.is_missing(row)).collect();
    assert_eq!(missing, [false, true, true, false, false, true, false]);
    assert_eq!(texts(&table, "flag")[..3], ["true", "false", ""]);
    assert_eq!(texts(&table, "day")[..2], ["2024-02-29", ""]);
    assert_eq!(texts(&table, "day")[6], "1969-12-31");
    for column in ["moment", "nanos"] {
        assert_eq!(texts(&table, column)[0], "2024-02-29T12:30:00");
    }
    assert_eq!(numbers(&table, "price")[..1], [Some(-12.34)]);
    assert_eq!(numbers(&table, "price")[6], None);
    assert_eq!(numbers(&table, "u32")[0], Some(4294967295.0));
    assert_eq!(texts(&table, "u64")[0], "18446744073709551615");
    assert_eq!(table.place(4), format!("`{}`, row 5", fixture("types.parquet").display()));
}

#[test]
fn parquet_blocks_follow_row_groups() {
    let mut reader =
        BlockReader::open(&fixture("types.parquet"), &SourceOptions::default(), 2).unwrap();
    let mut sizes = Vec::new();
    let mut ids = Vec::new();
    while let Some(block) = reader.next_block().unwrap() {
        sizes.push(block.rows());
        ids.extend(texts(&block, "small"));
        assert_eq!(block.line(0), (ids.len() - block.rows() + 1) as u64);
    }
    assert_eq!(sizes, [2, 1, 2, 1, 1]);
    assert_eq!(ids, ["1", "2", "3", "4", "5", "6", "-128"]);
    assert_eq!(texts(&read("plain.parquet"), "id")[0], "9007199254740993");
}

#[test]
fn nested_parquet_is_left_out_and_named_where_it_is_wanted() {
    assert_eq!(read("nested.parquet").names(), ["x"]);
    let nested = "list.list.element";
    let error = BlockReader::column(&fixture("nested.parquet"), Format::PARQUET, nested, 10).err();
    let error = error.unwrap().to_string();
    assert!(error.contains("column `list` holds lists, which are not read"), "{error}");
}

#[test]
fn numpy_arrays_of_every_layout() {
    let fortran = read("fortran.npy");
    assert_eq!(fortran.names(), ["x0", "x1", "x2"]);
    assert_eq!(numbers(&fortran, "x1"), [0.125, 0.5, 0.875, 1.25].map(Some));
    assert_eq!(numbers(&read("big_endian.npy"), "x0"), [1.0, -2.0, 70000.0].map(Some));
    assert_eq!(texts(&read("words.npy"), "x0"), ["red", "grün", ""]);
    let arrays = read("arrays.npz");
    assert_eq!(arrays.names(), ["x0", "x1", "x2", "y", "name"]);
    assert_eq!(numbers(&arrays, "x2"), [0.25, 0.625, 1.0, 1.375].map(Some));
    assert_eq!(texts(&arrays, "y"), ["0", "1", "0", "1"]);
    assert_eq!(texts(&arrays, "name"), ["a", "bc", "", "d"]);
}

#[test]
fn numpy_errors_say_what_to_do() {
    let error = |name| read_table(&fixture(name), &SourceOptions::default()).unwrap_err();
    assert!(error("objects.npy").to_string().contains("Python objects"));
    let uneven = error("uneven.npz").to_string();
    assert!(uneven.contains("`X` [4, 3]") && uneven.contains("`y` [3]"), "{uneven}");
}

#[test]
fn images_find_their_labels() {
    let (table, info) =
        load(&fixture("tiny-images-idx3-ubyte"), &SourceOptions::default(), &ThreadPool::new(2))
            .unwrap();
    assert_eq!((table.rows(), table.width()), (2, 13));
    assert_eq!(numbers(&table, "pixel11"), [Some(11.0), Some(23.0)]);
    assert_eq!(texts(&table, "label"), ["7", "3"]);
    assert!(info.notes[0].message.contains("tiny-labels-idx1-ubyte.gz"));
    assert_eq!(info.format, Some(Format::named("idx").unwrap()));
}

#[test]
fn compressed_tables_are_recognised_by_their_bytes() {
    for (name, word) in [("table.csv.gz", "gzip"), ("table.csv.zst", "zstd")] {
        let (table, info) =
            load(&fixture(name), &SourceOptions::default(), &ThreadPool::new(2)).unwrap();
        assert_eq!(info.describe(), format!("{word}, semicolon, header"));
        assert_eq!(texts(&table, "colour"), ["rot", "grün"]);
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("nameless");
        std::fs::copy(fixture(name), &plain).unwrap();
        assert_eq!(read_table(&plain, &SourceOptions::default()).unwrap().rows(), 2);
    }
}

#[test]
fn csv_corners() {
    let folder = tempfile::tempdir().unwrap();
    let text = "\u{feff}id,\"note, long\",x\r\n1,\"a \"\"quoted\"\" word\nover two lines\",0.5\r\n\r\n2,,NA\r\n3,\"\",-1e3\r\n";
    let table =
        read_table(&write(folder.path(), "a.csv", text), &SourceOptions::default()).unwrap();
    assert_eq!(table.names(), ["id", "note, long", "x"]);
    assert_eq!(texts(&table, "note, long"), ["a \"quoted\" word\nover two lines", "", ""]);
    assert_eq!(numbers(&table, "x"), [Some(0.5), None, Some(-1000.0)]);
    // The first row takes lines 2 and 3, line 4 is blank.
    assert_eq!([table.line(0), table.line(1), table.line(2)], [2, 5, 6]);
}

#[test]
fn a_text_far_below_numbers_turns_the_column_into_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("code,x\n");
    for i in 0..50_000 {
        text += &format!("{i}.0,{i}\n");
    }
    text += "seven,1\n";
    let table =
        read_table(&write(folder.path(), "late.csv", text), &SourceOptions::default()).unwrap();
    assert_eq!(table.rows(), 50_001);
    assert_eq!(texts(&table, "code")[49_998..], ["49998.0", "49999.0", "seven"]);
    assert!(matches!(table.column("x").unwrap().values, Values::Number(_)));
}

#[test]
fn header_and_names_can_be_odd() {
    let folder = tempfile::tempdir().unwrap();
    let options = SourceOptions::default();
    let (table, info) =
        load(&write(folder.path(), "n.csv", "1,2\n3,4\n"), &options, &ThreadPool::new(2)).unwrap();
    assert_eq!((table.rows(), table.names().join(" ")), (2, "column_1 column_2".to_owned()));
    assert!(info.notes[0].undo.as_deref() == Some("data.header=true"));
    let (table, info) =
        load(&write(folder.path(), "d.csv", "a,,a\n1,2,3\n"), &options, &ThreadPool::new(2))
            .unwrap();
    assert_eq!(table.names(), ["a", "column_2", "a_2"]);
    assert!(info.notes[0].message.contains("`a_2`"));
}

#[test]
fn jsonl_rows_have_the_union_of_keys() {
    let folder = tempfile::tempdir().unwrap();
    let text = "{\"a\": 1, \"b\": \"x\"}\n\n{\"b\": null, \"c\": true, \"a\": 2.5}\n{\"a\": null, \"b\": [1]}\n";
    let path = write(folder.path(), "t.jsonl", text);
    let table = read_table(&path, &SourceOptions::default()).unwrap();
    assert_eq!(table.names(), ["a", "b", "c"]);
    assert_eq!(numbers(&table, "a"), [Some(1.0), Some(2.5), None]);
    assert_eq!(texts(&table, "b"), ["x", "", "[1]"]);
    assert_eq!(texts(&table, "c"), ["", "true", ""]);
    assert_eq!(table.line(2), 4);
    let mut reader = BlockReader::open(&path, &SourceOptions::default(), 1).unwrap();
    for _ in 0..3 {
        assert_eq!(reader.next_block().unwrap().unwrap().width(), 3);
    }
    assert!(reader.next_block().unwrap().is_none());
}

#[test]
fn csv_blocks_keep_every_text_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let text = "code,x,note\n007,1.50,\"a,b\"\n 8 ,NA,\"say \"\"hi\"\"\"\n,1e5,\n";
    let path = write(folder.path(), "in.csv", text);
    let out = folder.path().join("out.csv");
    let mut reader = BlockReader::open(&path, &SourceOptions::default(), 2).unwrap();
    let mut writer = TableWriter::create(&out).unwrap();
    let mut row = 0;
    while let Some(mut block) = reader.next_block().unwrap() {
        let found: Vec<f64> = (0..block.rows()).map(|i| (row + i) as f64 + 0.25).collect();
        row += block.rows();
        block.push(Column::new("prediction", found.into())).unwrap();
        writer.write(&block).unwrap();
    }
    writer.finish().unwrap();
    let expected = "code,x,note,prediction\n007,1.50,\"a,b\",0.25\n 8 ,NA,\"say \"\"hi\"\"\",1.25\n,1e5,,2.25\n";
    assert_eq!(std::fs::read_to_string(&out).unwrap(), expected);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 2, "no temporary file is left");
}

#[test]
fn what_is_written_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let table = || {
        Table::new(vec![
            Column::new("n", vec![0.1, f64::NAN, 3.0].into()),
            Column::new("s", vec![0.1f32, 2.0, f32::NAN].into()),
            Column::new("i", Values::Integer(Integers::from_iter([Some(i64::MAX), None, Some(0)]))),
            Column::new("t", Values::from_iter([Some("a\nb"), None, Some("ü")])),
            Column::new("b", Values::Bool(vec![Some(true), None, Some(false)])),
            Column::new("d", Values::Date(vec![0.5, f64::NAN, 86_400.0])),
        ])
        .unwrap()
    };
    let mut reference = None;
    for name in ["t.parquet", "t.jsonl", "t.csv"] {
        let path = folder.path().join(name);
        let mut writer = TableWriter::create(&path).unwrap();
        writer.write(&table()).unwrap();
        writer.write(&table()).unwrap();
        writer.finish().unwrap();
        let back = read_table(&path, &SourceOptions::default()).unwrap();
        assert_eq!((back.rows(), back.names()), (6, table().names()), "{name}");
        let all: Vec<Vec<String>> =
            back.names().iter().map(|column| texts(&back, column)).collect();
        assert_eq!(all[0], ["0.1", "", "3", "0.1", "", "3"], "{name}");
        assert_eq!(all[3], ["a\nb", "", "ü", "a\nb", "", "ü"], "{name}");
        assert_eq!(all[5][..3], ["1970-01-01T00:00:00.5", "", "1970-01-02"], "{name}");
        if name != "t.csv" {
            // A CSV column of numbers is read as doubles, which i64::MAX is beyond.
            assert_eq!(all[2][..3], ["9223372036854775807", "", "0"], "{name}");
            assert_eq!(reference.get_or_insert_with(|| all.clone()), &all, "{name}");
        }
    }
}
