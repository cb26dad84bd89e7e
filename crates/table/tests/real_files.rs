//! Files as other programs and people write them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::format_collect)]

use std::path::{Path, PathBuf};

use ff_table::{
    BlockReader, DataConfig, Encoder, Kind, Prepared, SourceOptions, Table, Values, load, prepare,
    read_table,
};
use ff_tensor::ThreadPool;

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

fn prepared(
    text: &str,
    change: impl FnOnce(&mut DataConfig),
) -> Result<Prepared, ff_table::DataError> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "t.csv", text);
    let mut config =
        DataConfig { path: "t.csv".into(), target: Some("y".into()), ..DataConfig::default() };
    change(&mut config);
    prepare(&config, 0, folder.path(), &ThreadPool::new(2))
}

fn notes(data: &Prepared) -> String {
    data.notes.iter().map(|note| format!("{note}\n")).collect()
}

/// A table of 60 rows: one column, made from the row's number, and a class.
fn table(header: &str, cell: impl Fn(usize) -> String) -> String {
    let rows: String =
        (0..60).map(|i| format!("{}\t{}\n", cell(i), ["a", "b"][i * 7 % 3 % 2])).collect();
    format!("{header}\ty\n{rows}")
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_read_once_from_its_first_byte() {
    let rows: String = (0..400).map(|i| format!("{i}.25,{}\n", i % 7)).collect();
    let text = format!("x,y\n{rows}");
    let zipped = zstd::encode_all(text.as_bytes(), 1).unwrap();
    for bytes in [text.as_bytes(), &zipped] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let feed = |bytes: &[u8]| {
            let (path, bytes) = (path.clone(), bytes.to_vec());
            std::thread::spawn(move || std::fs::write(path, bytes).unwrap())
        };
        let writer = feed(bytes);
        let (table, info) = load(&path, &SourceOptions::default(), &ThreadPool::new(2)).unwrap();
        writer.join().unwrap();
        assert_eq!((table.rows(), table.names().join(" ")), (400, "x y".into()));
        assert_eq!(info.bytes, bytes.len() as u64);

        let writer = feed(bytes);
        let mut reader = BlockReader::open(&path, &SourceOptions::default(), 1000).unwrap();
        let block = reader.next_block().unwrap().unwrap();
        writer.join().unwrap();
        assert_eq!((block.rows(), block.row(0).join(" ")), (400, "0.25 0".into()));
    }
}

#[test]
fn long_integers_stay_exact_in_every_format() {
    let ids = ["9007199254740993", "9007199254740992", "-9223372036854775808"];
    let csv = format!("id,x\n{},1\n{},2\n{},3\n,4\n", ids[0], ids[1], ids[2]);
    let table = read("t.csv", &csv);
    assert!(matches!(table.column("id").unwrap().values, Values::Integer(_)));
    assert_eq!(texts(&table, "id"), [ids[0], ids[1], ids[2], ""]);
    // What takes more than 64 bits stays a text; among decimals it is a quantity.
    let large = read("t.csv", "id,x\n18446744073709551615,9007199254740993\n1,0.5\n");
    assert_eq!(texts(&large, "id"), ["18446744073709551615", "1"]);
    assert!(matches!(large.column("x").unwrap().values, Values::Number(_)));
    let json =
        read("t.jsonl", "{\"a\":9007199254740993,\"b\":18446744073709551615}\n{\"a\":1,\"b\":2}\n");
    assert_eq!(texts(&json, "a"), ["9007199254740993", "1"]);
    assert_eq!(texts(&json, "b"), ["18446744073709551615", "2"]);
}

#[test]
fn long_integers_are_classes_categories_groups_and_constants_of_their_own() {
    let label = |i: usize| format!("{}", 9_007_199_254_740_992u64 + i as u64 % 2);
    let rows: String =
        (0..60).map(|i| format!("{}.5,{},{}\n", i * 7 % 11, label(i / 3), label(i))).collect();
    let data = prepared(&format!("x,code,y\n{rows}"), |c| {
        c.columns.insert("code".into(), Kind::Category.into());
    });
    let data = data.unwrap();
    assert_eq!(data.target.classes, ["9007199254740992", "9007199254740993"]);
    assert_eq!(data.target.counts, [30, 30]);
    let Encoder::Category(code) = &data.transforms.columns[1].encoder else { panic!() };
    assert_eq!(code.values, ["9007199254740992", "9007199254740993"]);
    assert_eq!(data.schema.column("code").unwrap().stats.unique, 2);
}

#[test]
fn repeated_keys_of_json_are_columns_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path =
        write(folder.path(), "t.jsonl", "{\"a\":1,\"a\":\"x\",\"b\":2}\n{\"b\":3,\"a\":4}\n");
    let (table, info) = load(&path, &SourceOptions::default(), &ThreadPool::new(1)).unwrap();
    assert_eq!(table.names(), ["a", "a_2", "b"]);
    assert_eq!(
        (texts(&table, "a"), texts(&table, "a_2")),
        (vec!["1".into(), "4".into()], vec!["x".into(), String::new()])
    );
    assert!(info.notes[0].to_string().contains("called `a_2`"));
}

#[test]
fn repeated_names_of_parquet_and_arrow_are_columns_of_their_own() {
    for name in ["twice.parquet", "twice.arrow"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        if cfg!(not(feature = "parquet")) && name.ends_with("parquet") {
            continue;
        }
        let (table, info) = load(&path, &SourceOptions::default(), &ThreadPool::new(1)).unwrap();
        assert_eq!(table.names(), ["x", "x_2", "y"], "{name}");
        assert_eq!(
            (texts(&table, "x"), texts(&table, "x_2")),
            (vec!["1".into(), "2".into()], vec!["3".into(), "4".into()])
        );
        assert!(info.notes[0].to_string().contains("called `x_2`"), "{name}");
    }
}

#[test]
fn columns_of_kinds_that_are_not_read_are_left_out() {
    for name in ["unread.parquet", "unread.arrow"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        if cfg!(not(feature = "parquet")) && name.ends_with("parquet") {
            continue;
        }
        let (table, info) = load(&path, &SourceOptions::default(), &ThreadPool::new(1)).unwrap();
        assert_eq!(table.names(), ["x", "words", "whole", "y"], "{name}");
        assert_eq!(texts(&table, "words"), ["red", "blue"]);
        assert_eq!(texts(&table, "whole"), ["12345678901234567890123", "-7"]);
        let left: Vec<_> = info.left_out.iter().map(|left| left.name.as_str()).collect();
        for column in ["list", "struct", "blob", "fixed"] {
            assert!(left.contains(&column), "{name}: {left:?}");
        }
        let mut config =
            DataConfig { path: path.clone(), target: Some("list".into()), ..DataConfig::default() };
        let error = prepare(&config, 0, Path::new("."), &ThreadPool::new(1)).unwrap_err();
        assert!(error.to_string().contains("`list` holds lists, which are not read"), "{error}");
        config.target = Some("y".into());
        config.drop = vec!["list".into()];
        let error = prepare(&config, 0, Path::new("."), &ThreadPool::new(1)).unwrap_err();
        assert!(
            error.to_string().contains("`y`"),
            "two rows are too few, but all columns are known: {error}"
        );
    }
}

#[test]
fn dates_with_odd_texts_and_times() {
    let moment = |i: usize| match i % 10 {
        3 => "unknown".to_owned(),
        5 => "0000-00-00".to_owned(),
        _ => format!(
            "{:02}/{:02}/2021 {:02}:{:02}:00 {}",
            i % 12 + 1,
            i % 28 + 1,
            i % 12 + 1,
            i,
            ["AM", "PM"][i % 2]
        ),
    };
    let data = prepared(&table("when", moment), |_| {}).unwrap();
    let column = data.schema.column("when").unwrap();
    assert_eq!(column.kind, Kind::Date, "{}", column.reason);
    assert!(column.reason.contains("`0000-00-00`, `unknown`"), "{}", column.reason);
    let names = data.transforms.numeric_names();
    for part in ["when.hour", "when.hour_sin", "when.hour_cos", "when_missing"] {
        assert!(names.contains(&part.to_owned()), "{names:?}");
    }
    // NaT is pandas' missing date, whatever its share.
    let data = prepared(
        &table(
            "when",
            |i| if i % 3 > 0 { "NaT".into() } else { format!("2024-01-{:02}", i % 28 + 1) },
        ),
        |_| {},
    );
    assert_eq!(data.unwrap().schema.column("when").unwrap().stats.missing, 40);
    let data = prepared(
        &table("when", |i| {
            if i % 3 > 0 { "0000-00-00".into() } else { format!("2024-01-{:02}", i % 28 + 1) }
        }),
        |_| {},
    );
    assert_eq!(data.unwrap().schema.column("when").unwrap().kind, Kind::Date);
    // A time that a given format names is kept.
    let data = prepared(
        &table("when", |i| {
            format!("2021.{:02}.01 at {:02} {}", i % 12 + 1, i % 12 + 1, ["AM", "PM"][i % 2])
        }),
        |c| {
            let options = ff_table::ColumnOptions {
                kind: Some(Kind::Date),
                format: Some("%Y.%m.%d at %I %p".into()),
                ..Default::default()
            };
            c.columns.insert("when".into(), options.into());
        },
    );
    assert!(data.unwrap().transforms.numeric_names().contains(&"when.hour".to_owned()));
}

#[test]
fn years_of_two_digits_are_read_by_posix_and_noted() {
    let data = prepared(
        &table("born", |i| format!("{:02}.{:02}.{:02}", i % 28 + 1, i % 12 + 1, 40 + i)),
        |_| {},
    )
    .unwrap();
    let Encoder::Date(born) = &data.transforms.columns[0].encoder else { panic!() };
    assert_eq!(born.text_format, "%d.%m.%y");
    assert!(notes(&data).contains("born: years of two digits: 69 to 99 are read as 1969 to 1999"));
}

#[test]
fn markers_of_missing_values_at_any_share() {
    for marker in ["<NA>", "\\N", "#DIV/0!", "#N/A", "?", ".", "-"] {
        let text = table("x", |i| if i % 4 > 0 { marker.into() } else { format!("{}", 3 * i) });
        let data = prepared(&text, |_| {}).unwrap();
        let column = data.schema.column("x").unwrap();
        assert_eq!(column.kind, Kind::Number, "{marker}: {}", column.reason);
        let Encoder::Number(encoder) = &data.transforms.columns[0].encoder else { panic!() };
        assert!(encoder.flag, "{marker}");
    }
    // Beside texts, a dash or a point may be a value.
    let data = prepared(&table("x", |i| ["+", "-"][i % 2].into()), |_| {}).unwrap();
    assert_eq!(data.schema.column("x").unwrap().stats.missing, 0);
}

#[test]
fn a_class_that_reads_as_missing_can_be_kept() {
    let rows: String = (0..60)
        .map(|i| format!("{}.5,{}\n", i % 11, ["None", "Insomnia", "Apnea"][i % 3]))
        .collect();
    let text = format!("x,y\n{rows}");
    let error = prepared(&text, |_| {}).unwrap_err();
    assert!(
        error.to_string().contains("20 cells read `None`, which stands for a missing value"),
        "{error}"
    );
    assert!(error.hint().contains("--set 'data.columns.y.null_values=[\"\"]'"), "{}", error.hint());
    let keep = |c: &mut DataConfig| {
        let options = ff_table::ColumnOptions {
            null_values: Some(vec![String::new()]),
            ..Default::default()
        };
        c.columns.insert("y".into(), options.into());
    };
    let data = prepared(&text, keep).unwrap();
    assert_eq!(data.target.classes, ["Apnea", "Insomnia", "None"]);
    // The model reads new rows in the same way.
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "new.csv", "x,y\n1.5,None\n");
    let options =
        ff_table::Transforms::from_json(&data.transforms.to_json()).unwrap().source_options();
    let mut reader = BlockReader::open(&path, &options, 10).unwrap();
    assert!(!reader.next_block().unwrap().unwrap().column("y").unwrap().values.is_missing(0));
    // The same for numbers of a column whose null value is a number.
    let data = prepared(&table("x", |i| format!("{}", i % 5)), |c| {
        let options =
            ff_table::ColumnOptions { null_values: Some(vec!["4".into()]), ..Default::default() };
        c.columns.insert("x".into(), options.into());
    });
    let data = data.unwrap();
    let column = data.schema.column("x").unwrap();
    assert_eq!((column.kind, column.stats.missing), (Kind::Number, 12));
}

#[test]
fn a_header_among_the_rows_is_no_row() {
    let rows: String =
        (0..60).map(|i| format!("{}.5,{},k{}\n", i % 11, ["a", "b"][i % 2], i % 4)).collect();
    let text = format!("x,y,k\n{rows}x,y,k\n{rows}\"x\",y,k\n{rows}");
    let data = prepared(&text, |_| {}).unwrap();
    assert_eq!(data.totals.read, 180);
    assert_eq!(data.schema.column("x").unwrap().kind, Kind::Number);
    assert!(notes(&data).contains("2 lines repeat the header: left out"), "{}", notes(&data));
    assert_eq!(data.table.line(60), 63);
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "t.csv", &text);
    let mut reader = BlockReader::open(&path, &SourceOptions::default(), 70).unwrap();
    let mut rows = 0;
    while let Some(block) = reader.next_block().unwrap() {
        rows += block.rows();
    }
    assert_eq!(rows, 180);
}

#[test]
fn a_first_line_that_names_what_the_recipe_names_is_a_header() {
    let rows: String = (0..60).map(|i| ["Red,,a\n", ",Blue,b\n", ",Blue,a\n"][i % 3]).collect();
    let data = prepared(&format!("Red,Blue,y\n{rows}"), |_| {}).unwrap();
    assert_eq!(data.table.names(), ["Red", "Blue", "y"]);
    // Without such a name the note of the missing header is part of the error.
    let error = prepared(&format!("Red,Blue,Size\n{rows}"), |_| {}).unwrap_err();
    assert!(
        error.hint().contains("no header line") && error.hint().contains("data.header=true"),
        "{}",
        error.hint()
    );
    let rows: String = (0..60).map(|i| format!("{},{},{}\n", i * 7 % 5, i % 3, i % 2)).collect();
    let data = prepared(&format!("0,1,2\n{rows}"), |c| c.target = Some("2".into())).unwrap();
    assert_eq!((data.table.names().join(" "), data.totals.read), ("0 1 2".into(), 60));
}

#[test]
fn lines_above_a_table() {
    let table = read("t.csv", "sep=;\na;b\n1;x\n2;y\n");
    assert_eq!((table.names().join(" "), table.line(0)), ("a b".into(), 3));
    let table = read("t.csv", "# made by x\n# on Monday, early\na,b\n1,x\n2,y\n");
    assert_eq!((table.names().join(" "), table.line(0), table.rows()), ("a b".into(), 4, 2));
}

#[test]
fn arrays_of_json_and_numbers_that_json_has_not() {
    for text in [
        "[\n{\"h\":1,\"y\":\"a\"},\n{\"h\":2.5,\"y\":\"]}\\\"[{\"}\n]\n",
        "[{\"h\":1,\"y\":\"a\"},{\"h\":2.5,\"y\":\"]}\\\"[{\"}]",
        "\u{feff} [ {\n\"h\": 1,\n\"y\": \"a\"\n},{\"h\":2.5,\"y\":\"]}\\\"[{\"} ]",
    ] {
        for name in ["t.json", "t.jsonl", "t.data"] {
            let table = read(name, text);
            assert_eq!(texts(&table, "h"), ["1", "2.5"], "{text}");
            assert_eq!(texts(&table, "y"), ["a", "]}\"[{"], "{text}");
        }
    }
    let table = read(
        "t.jsonl",
        "{\"a\": NaN, \"b\": 1}\n{\"a\": Infinity, \"b\": 2}\n{\"a\": 3, \"b\": NaN}\n",
    );
    assert_eq!(texts(&table, "a"), ["", "inf", "3"]);
    assert!(table.column("b").unwrap().values.is_missing(2));
    let folder = tempfile::tempdir().unwrap();
    for (text, says) in [
        ("[{\"a\":1},", "ends within"),
        ("[{\"a\":1},2]", "found a number"),
        ("[{\"a\":1},{\"a\" 2}]", "no JSON object"),
    ] {
        let path = write(folder.path(), "t.json", text);
        let error = read_table(&path, &SourceOptions::default()).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

/// The kind of column `x` of such cells, and the values it is read as.
fn numbers_of(cells: &[&str]) -> (Kind, Vec<Option<f64>>) {
    let data = prepared(&table("x", |i| cells[i % cells.len()].into()), |_| {}).unwrap();
    let kind = data.schema.column("x").unwrap().kind;
    let values = &data.table.column("x").unwrap().values;
    (kind, (0..cells.len()).map(|row| values.number(row)).collect())
}

#[test]
fn numbers_in_other_dress_are_numbers() {
    for (cells, numbers) in [
        (&["1,5", "2,25", "-0,5"][..], &[1.5, 2.25, -0.5][..]),
        (&["1.234,5", "950", "2"], &[1234.5, 950.0, 2.0]),
        (&["1,253", "119", "1,000,000"], &[1253.0, 119.0, 1e6]),
        (&["12,34,567", "5,000", "7"], &[1_234_567.0, 5000.0, 7.0]),
        (&["1'234", "12'345.5", "7"], &[1234.0, 12_345.5, 7.0]),
        (&["1 234", "12 345", "7"], &[1234.0, 12_345.0, 7.0]),
        (&["1\u{a0}234", "5\u{202f}678,5", "7"], &[1234.0, 5678.5, 7.0]),
        (&["$15.34", "$1,033.00", "-$3"], &[15.34, 1033.0, -3.0]),
        (&["15,34 €", "1.033 €", "-3 €"], &[15.34, 1033.0, -3.0]),
        (&["94.4%", "25.0%", "3%"], &[94.4, 25.0, 3.0]),
        (&["5.0 kg", "7 kg", "12.5 kg"], &[5.0, 7.0, 12.5]),
        (&["(12.0)", "7.5", "(3)"], &[-12.0, 7.5, -3.0]),
        (&["\u{2212}1.5", "2", "\u{2212}3"], &[-1.5, 2.0, -3.0]),
        (&["1,5E+03", "2,5", "-1E-1"], &[1500.0, 2.5, -0.1]),
        (&["1.2D+03", "2.5", "7"], &[1200.0, 2.5, 7.0]),
    ] {
        let (kind, found) = numbers_of(cells);
        assert_eq!(kind, Kind::Number, "{cells:?}");
        assert_eq!(found, numbers.iter().copied().map(Some).collect::<Vec<_>>(), "{cells:?}");
    }
    // What only looks alike stays what it is.
    for cells in [
        &["1st", "2nd", "3rd"][..],
        &["$5", "€5", "£7"],
        &["1-2", "3-4", "5-6"],
        &["(1)", "(2)", "(3)"],
        &["1,2,3", "2,3", "1"],
        &["01,5", "02,5", "03,5"],
        &["5 kg", "3 lb", "2 kg"],
        &["192.168.1.1", "10.0.0.1", "8.8.8.8"],
        &["A1", "B2", "C3"],
        &["1,5", "red", "blue"],
    ] {
        assert_eq!(numbers_of(cells).0, Kind::Category, "{cells:?}");
    }
}

#[test]
fn what_a_comma_means_is_told_or_asked() {
    // Alone, and between semicolons, where a comma is decimal.
    let cells = |i: usize| format!("{},{:03}", 1 + i % 9, 111 + 7 * i);
    let text = table("x", cells);
    let alone = prepared(&text, |_| {}).unwrap();
    assert_eq!(alone.table.column("x").unwrap().values.number(0), Some(1111.0));
    let asked = notes(&alone);
    assert!(asked.contains("x: `1,111` is read as 1111; it may as well be a decimal comma (--set data.columns.x.decimal=,)"), "{asked}");
    let semicolons = prepared(&text.replace('\t', ";"), |_| {}).unwrap();
    assert_eq!(semicolons.table.column("x").unwrap().values.number(0), Some(1.111));
    let told = prepared(&text, |c| {
        let options = ff_table::ColumnOptions { decimal: Some(','), ..Default::default() };
        c.columns.insert("x".into(), options.into());
    });
    let told = told.unwrap();
    assert_eq!(told.table.column("x").unwrap().values.number(0), Some(1.111));
    assert!(!notes(&told).contains("may as well"));
    // With a decimal comma everywhere, a point stands between thousands.
    let rows: String =
        (0..60).map(|i| format!("{}.{:03};{},5;{}\n", 1 + i % 9, 111 + i, i % 7, i % 2)).collect();
    let text = format!("x;z;y\n{rows}");
    let warned = prepared(&text, |_| {}).unwrap();
    assert!(
        notes(&warned)
            .contains("x: read with a decimal point, while other columns have a decimal comma"),
        "{}",
        notes(&warned)
    );
    for change in [
        (|c: &mut DataConfig| c.decimal = Some(',')) as fn(&mut DataConfig),
        |c| c.thousands = Some('.'),
        |c| {
            let options = ff_table::ColumnOptions { thousands: Some('.'), ..Default::default() };
            c.columns.insert("x".into(), options.into());
        },
    ] {
        let data = prepared(&text, change).unwrap();
        assert_eq!(data.table.column("x").unwrap().values.number(0), Some(1111.0));
        assert_eq!(data.table.column("z").unwrap().values.number(1), Some(1.5));
    }
    let error = prepared(&text, |c| c.decimal = Some(';')).unwrap_err();
    assert!(error.to_string().contains("`data.decimal`"), "{error}");
    let error = prepared(&text, |c| (c.decimal, c.thousands) = (Some(','), Some(','))).unwrap_err();
    assert!(error.to_string().contains("`data.thousands`"), "{error}");
}

#[test]
fn a_model_reads_new_numbers_as_those_it_was_trained_on() {
    let cells =
        |i: usize| if i % 9 == 4 { "k. A.".into() } else { format!("1.{:03},5 €", 100 + i) };
    let data = prepared(&table("x", cells), |_| {}).unwrap();
    assert_eq!(data.schema.column("x").unwrap().stats.missing, 7);
    let transforms = ff_table::Transforms::from_json(&data.transforms.to_json()).unwrap();
    let threads = ThreadPool::new(1);
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "new.csv", "x\n\"1.100,5 €\"\n\"1100,5\"\nk. A.\n");
    let options = transforms.source_options();
    let block = BlockReader::open(&path, &options, 10).unwrap().next_block().unwrap().unwrap();
    let whole = read_table(&path, &options).unwrap();
    for new in [block, whole] {
        let encoded = transforms.encode(&new, &threads).unwrap();
        let width = encoded.n_numeric;
        let numbers: Vec<f32> = encoded.numeric.iter().step_by(width).copied().collect();
        let first = data.parts.train.iter().position(|&row| row == 0);
        if let Some(first) = first {
            assert_eq!(numbers[0], data.train.numeric[first * width]);
        }
        assert_eq!(numbers[0], numbers[1]);
        assert_eq!(encoded.numeric[width * 3 - 1], 1.0, "the flag of a missing value");
        assert_eq!(new.row(0)[0], "1.100,5 €", "the table keeps its texts");
    }
    let path = write(folder.path(), "bad.csv", "x\n$5\n");
    let error = transforms.encode(&read_table(&path, &options).unwrap(), &threads).unwrap_err();
    assert!(error.to_string().contains("holds `$5`"), "{error}");
}

#[test]
fn targets_in_other_dress() {
    let rows: String = (0..60).map(|i| format!("{};{},{}\n", i * 7 % 11, i % 5, i % 10)).collect();
    let data = prepared(&format!("x;y\n{rows}"), |_| {}).unwrap();
    assert_eq!(data.target.task, ff_table::Task::Regression);
    // Classes keep their words.
    let rows: String = (0..60).map(|i| format!("{};{} kg\n", i * 7 % 11, 5 + i % 2)).collect();
    let data = prepared(&format!("x;y\n{rows}"), |_| {}).unwrap();
    assert_eq!(data.target.classes, ["5 kg", "6 kg"]);
    let rows: String = (0..60).map(|i| format!("{};${},000\n", i * 7 % 11, 5 + i)).collect();
    let data = prepared(&format!("x;y\n{rows}"), |_| {}).unwrap();
    assert_eq!(data.target.stats.number.as_ref().unwrap().max, 64_000.0);
}
