//! Tables inside other files: compressed, in archives, or named for what they are.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};

use ff_table::{SourceOptions, Table, read_table};

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn read(name: &str, text: impl AsRef<[u8]>) -> Table {
    let folder = tempfile::tempdir().unwrap();
    read_table(&write(folder.path(), name, text), &SourceOptions::default()).unwrap()
}

fn texts(table: &Table, column: &str) -> Vec<String> {
    let values = &table.column(column).unwrap().values;
    (0..values.len()).map(|row| values.text(row).into_owned()).collect()
}

#[test]
fn compressed_files_of_every_kind() {
    let text = "x,y\n1,a\n2,b\n";
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(text.as_bytes()).unwrap();
    let mut long = zstd::Encoder::new(Vec::new(), 1).unwrap();
    long.window_log(29).unwrap();
    long.long_distance_matching(true).unwrap();
    long.include_contentsize(false).unwrap();
    long.write_all(text.as_bytes()).unwrap();
    for (name, bytes) in [
        ("t.csv.gz", [&gz[..], &[0; 700]].concat()),
        ("t.csv.gz", [&gz[..], &gz[..]].concat()),
        ("t.csv.lz4", lz4.finish().unwrap()),
        ("t.csv.zst", long.finish().unwrap()),
    ] {
        let table = read(name, &bytes);
        assert_eq!(texts(&table, "y")[..2], ["a", "b"], "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, says) in [
        ("t.csv.gz", [&gz[..], b"more"].concat(), "gzip data is cut or damaged"),
        ("t.csv.br", vec![0x8b, 1, 2, 3], "Brotli"),
        ("t.csv.Z", vec![0x1f, 0x9d, 3], "compress"),
        ("t.7z", b"7z\xbc\xaf\x27\x1c\0".to_vec(), "7z"),
    ] {
        let path = write(folder.path(), name, &bytes);
        let error = read_table(&path, &SourceOptions::default()).unwrap_err().to_string();
        assert!(error.contains(says), "{name}: {error}");
    }
}

#[test]
fn a_zip_of_one_table_is_read() {
    let zipped = |files: &[(&str, &str)]| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, text) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let one = zipped(&[
        ("a/train.csv", "x,y\n1,a\n2,b\n"),
        ("__MACOSX/._train.csv", "\0"),
        ("readme.md", "hi"),
    ]);
    assert_eq!(texts(&read("t.csv.zip", &one), "y"), ["a", "b"]);
    assert_eq!(texts(&read("t.zip", zipped(&[("t.jsonl", "{\"y\":1}\n")])), "y"), ["1"]);
    let folder = tempfile::tempdir().unwrap();
    for (files, says) in [
        (&[("train.csv", "x\n1\n"), ("test.csv", "x\n2\n")][..], "`test.csv`, `train.csv`"),
        (&[("[Content_Types].xml", ""), ("word/document.xml", "")], "office document"),
        (&[], "no table"),
    ] {
        let path = write(folder.path(), "t.zip", zipped(files));
        let error = read_table(&path, &SourceOptions::default()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// `x,y\n1,a\n2,b\n`, packed by bzip2 and by xz.
const BZIP2: &[u8] = &[
    66, 90, 104, 57, 49, 65, 89, 38, 83, 89, 218, 192, 171, 60, 0, 0, 5, 89, 128, 0, 16, 0, 4, 48,
    0, 48, 0, 0, 96, 32, 0, 33, 166, 140, 33, 12, 8, 174, 57, 96, 160, 159, 23, 114, 69, 56, 80,
    144, 218, 192, 171, 60,
];
const XZ: &[u8] = &[
    253, 55, 122, 88, 90, 0, 0, 4, 230, 214, 180, 70, 2, 0, 33, 1, 22, 0, 0, 0, 116, 47, 229, 163,
    1, 0, 11, 120, 44, 121, 10, 49, 44, 97, 10, 50, 44, 98, 10, 0, 146, 37, 178, 28, 104, 76, 8,
    159, 0, 1, 36, 12, 166, 24, 216, 216, 31, 182, 243, 125, 1, 0, 0, 0, 0, 4, 89, 90,
];

/// The bytes of a minimal workbook.
fn workbook() -> Vec<u8> {
    let cells = |row: usize, cells: &[&str]| {
        let cells: String = cells
            .iter()
            .zip(["A", "B", "C", "D"])
            .map(|(cell, column)| {
                let (kind, body) = cell.split_once(':').unwrap();
                match kind {
                    "s" => {
                        format!("<c r=\"{column}{row}\" t=\"inlineStr\"><is><t>{body}</t></is></c>")
                    }
                    "d" => format!("<c r=\"{column}{row}\" s=\"1\"><v>{body}</v></c>"),
                    kind => format!("<c r=\"{column}{row}\" t=\"{kind}\"><v>{body}</v></c>"),
                }
            })
            .collect();
        format!("<row r=\"{row}\">{cells}</row>")
    };
    let rows = [
        cells(1, &["s:x", "s:y", "s:day", "s:on"]),
        cells(2, &["n:1.5", "s:a", "d:45351", "b:1"]),
        cells(3, &["n:2", "s:NA", "d:45352.5", "b:0"]),
        cells(4, &["e:#DIV/0!", "s:b", "d:45353", "b:1"]),
    ]
    .concat();
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let packages = "http://schemas.openxmlformats.org/package/2006";
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in [
        ("[Content_Types].xml", format!("<Types xmlns=\"{packages}/content-types\"/>")),
        (
            "_rels/.rels",
            format!(
                "<Relationships xmlns=\"{packages}/relationships\"><Relationship Id=\"r1\" Type=\"{office}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
            ),
        ),
        (
            "xl/workbook.xml",
            format!(
                "<workbook xmlns=\"{main}\" xmlns:r=\"{office}\"><sheets><sheet name=\"S\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>"
            ),
        ),
        (
            "xl/_rels/workbook.xml.rels",
            format!(
                "<Relationships xmlns=\"{packages}/relationships\"><Relationship Id=\"r1\" Type=\"{office}/worksheet\" Target=\"worksheets/sheet1.xml\"/><Relationship Id=\"r2\" Type=\"{office}/styles\" Target=\"styles.xml\"/></Relationships>"
            ),
        ),
        (
            "xl/styles.xml",
            format!(
                "<styleSheet xmlns=\"{main}\"><cellXfs count=\"2\"><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/></cellXfs></styleSheet>"
            ),
        ),
        (
            "xl/worksheets/sheet1.xml",
            format!(
                "<worksheet xmlns=\"{main}\"><dimension ref=\"A1:D4\"/><sheetData>{rows}</sheetData></worksheet>"
            ),
        ),
    ] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn what_a_feature_reads_is_read_or_names_the_feature() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, feature, built) in [
        ("t.csv.bz2", BZIP2.to_vec(), "bzip2", cfg!(feature = "bzip2")),
        ("t.csv.xz", XZ.to_vec(), "xz", cfg!(feature = "xz")),
        ("t.xlsx", workbook(), "excel", cfg!(feature = "excel")),
        ("t.zip", workbook(), "excel", cfg!(feature = "excel")),
    ] {
        let path = write(folder.path(), name, bytes);
        let read = read_table(&path, &SourceOptions::default());
        if !built {
            let error = read.unwrap_err();
            assert!(
                error.to_string().contains(&format!("without the feature `{feature}`")),
                "{error}"
            );
            assert!(error.hint().contains(&format!("--features {feature}")), "{}", error.hint());
            continue;
        }
        let table = read.unwrap();
        if feature == "excel" {
            assert_eq!(table.names(), ["x", "y", "day", "on"]);
            assert_eq!(texts(&table, "x"), ["1.5", "2", ""]);
            assert_eq!(texts(&table, "day"), ["2024-02-29", "2024-03-01T12:00:00", "2024-03-02"]);
            assert_eq!(texts(&table, "on"), ["true", "false", "true"]);
            assert!(table.column("y").unwrap().values.is_missing(1));
            assert_eq!(table.line(0), 2);
        } else {
            assert_eq!(texts(&table, "y"), ["a", "b"], "{name}");
        }
    }
}
