//! Parsers on arbitrary input: what is written is read, and nothing that is malformed panics.
// A helper of a test may fail it, as the test itself may; small tables are written as formatted
// text.
#![allow(clippy::unwrap_used, clippy::panic, clippy::format_collect, clippy::format_push_string)]

use std::io::Write;
use std::path::Path;

use ff_table::{BlockReader, Format, SourceOptions, read_table};
use proptest::prelude::*;

/// Reads bytes as a format, whole and in blocks.
fn read(bytes: &[u8], format: Format, name: &str) -> Option<ff_table::Table> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    let options = SourceOptions { format: Some(format), ..SourceOptions::default() };
    if let Ok(mut reader) = BlockReader::open(&path, &options, 3) {
        while let Ok(Some(block)) = reader.next_block() {
            assert!(block.rows() <= 3 && block.rows() > 0);
        }
    }
    read_table(&path, &options).ok()
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join(name)).unwrap()
}

/// Texts with what makes CSV hard.
fn cell() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z ]{0,6}", "[a-z\",;\n\r\t|ü]{0,8}", "-?[0-9]{1,5}(\\.[0-9]{1,3})?"]
}

fn table() -> impl Strategy<Value = Vec<Vec<String>>> {
    (2usize..5, 1usize..8).prop_flat_map(|(width, rows)| {
        prop::collection::vec(prop::collection::vec(cell(), width), rows)
    })
}

fn header(text: &str, shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '{text}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn csv_reads_what_the_csv_crate_writes(rows in table()) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let names: Vec<String> = (0..rows[0].len()).map(|i| format!("name{i}")).collect();
        writer.write_record(&names).unwrap();
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, writer.into_inner().unwrap()).unwrap();
        let options = SourceOptions { delimiter: Some(','), header: Some(true), ..SourceOptions::default() };
        let mut reader = BlockReader::open(&path, &options, 3).unwrap();
        let mut found = Vec::new();
        while let Some(block) = reader.next_block().unwrap() {
            prop_assert_eq!(block.names(), names.clone());
            for row in 0..block.rows() {
                found.push(block.row(row).iter().map(ToString::to_string).collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(found, rows.clone());
        // The reader of numbers sees the same rows.
        prop_assert_eq!(read_table(&path, &options).unwrap().rows(), rows.len());
    }

    #[test]
    fn any_bytes_as_csv(bytes in prop::collection::vec(prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200)) {
        read(&bytes, Format::CSV, "t.csv");
    }

    #[test]
    fn any_bytes_as_json_lines(text in "[\\{\\}\\[\\]\":,a1 \n\\\\]{0,80}") {
        read(text.as_bytes(), Format::JSONL, "t.jsonl");
    }

    #[test]
    fn npy_reads_the_doubles_that_are_there(values in prop::collection::vec(any::<f64>(), 1..40), width in 1usize..4) {
        let rows = values.len() / width;
        prop_assume!(rows > 0);
        let mut file = header("<f8", &format!("({rows}, {width})"));
        for x in &values[..rows * width] {
            file.extend(x.to_le_bytes());
        }
        let table = read(&file, Format::named("npy").unwrap(), "t.npy").unwrap();
        for row in 0..rows {
            for column in 0..width {
                let expected = values[row * width + column];
                let found = table.columns()[column].values.number(row);
                prop_assert_eq!(found, Some(expected).filter(|x| !x.is_nan()));
            }
        }
        // One byte less is an error, not a panic and not a row less.
        prop_assert!(read(&file[..file.len() - 1], Format::named("npy").unwrap(), "t.npy").is_none());
    }

    #[test]
    fn npy_headers_of_any_claim(kind in "[<>|=][a-zA-Z][0-9]{0,3}", a in any::<u64>(), b in any::<u64>(), data in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut file = header(&kind, &format!("({a}, {b})"));
        file.extend(data);
        read(&file, Format::named("npy").unwrap(), "t.npy");
    }

    #[test]
    fn idx_of_any_shape(kind in 7u8..16, shape in prop::collection::vec(0u32..5, 1..4), data in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut file = vec![0, 0, kind, shape.len() as u8];
        for n in &shape {
            file.extend(n.to_be_bytes());
        }
        file.extend(&data);
        let count: u32 = shape.iter().product();
        let table = read(&file, Format::named("idx").unwrap(), "t.idx");
        if kind == 8 && count > 0 && data.len() >= count as usize {
            let table = table.unwrap();
            let width = (count / shape[0]) as usize;
            for row in 0..shape[0] as usize {
                let first = table.columns()[0].values.number(row);
                prop_assert_eq!(first, Some(f64::from(data[row * width])));
            }
        }
    }

    #[test]
    fn idx_that_claims_much(shape in prop::collection::vec(any::<u32>(), 1..8)) {
        let mut file = vec![0, 0, 14, shape.len() as u8];
        for n in &shape {
            file.extend(n.to_be_bytes());
        }
        prop_assert!(shape.iter().all(|&n| n > 0) || read(&file, Format::named("idx").unwrap(), "t.idx").is_none());
        read(&file, Format::named("idx").unwrap(), "t.idx");
    }

    #[test]
    fn damaged_files_of_every_format(which in 0usize..7, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<Option<prop::sample::Index>>()) {
        let (name, format) = [
            ("types.parquet", Format::PARQUET),
            ("plain.parquet", Format::PARQUET),
            ("arrays.npz", Format::named("npz").unwrap()),
            ("fortran.npy", Format::named("npy").unwrap()),
            ("tiny-images-idx3-ubyte", Format::named("idx").unwrap()),
            ("table.csv.gz", Format::CSV),
            ("table.csv.zst", Format::CSV),
        ][which];
        let mut bytes = fixture(name);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read(&bytes, format, name);
    }
}
