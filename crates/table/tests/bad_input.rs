//! Bad data, each with its message: what, where, what to do.
// A helper of a test may fail it, as the test itself may; small tables are written as formatted
// text.
#![allow(clippy::unwrap_used, clippy::panic, clippy::format_collect, clippy::format_push_string)]

use std::path::{Path, PathBuf};

use ff_table::{
    Column, DataConfig, DataError, Format, Kind, RowPolicy, SourceOptions, SplitKind, Table,
    TableWriter, Transforms, Values, prepare, read_table,
};
use ff_tensor::ThreadPool;

struct Case {
    folder: tempfile::TempDir,
    config: DataConfig,
}

/// A CSV file in a folder of its own, to be learned with target `y`.
fn case(text: impl AsRef<[u8]>) -> Case {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.csv"), text).unwrap();
    let config =
        DataConfig { path: "t.csv".into(), target: Some("y".into()), ..DataConfig::default() };
    Case { folder, config }
}

impl Case {
    fn set(mut self, change: impl FnOnce(&mut DataConfig)) -> Self {
        change(&mut self.config);
        self
    }

    fn error(&self) -> DataError {
        prepare(&self.config, 0, self.folder.path(), &ThreadPool::new(2)).unwrap_err()
    }

    /// The message and the hint must hold each of these texts.
    fn says(&self, message: &[&str], hint: &[&str]) {
        let error = self.error();
        says(&error, message, hint);
    }
}

fn says(error: &DataError, message: &[&str], hint: &[&str]) {
    let (text, help) = (error.to_string(), error.hint());
    for part in message {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    for part in hint {
        assert!(help.contains(part), "`{part}` is not in the hint: {help}");
    }
}

/// `n` good rows with a number and a class.
fn rows(n: usize) -> String {
    (0..n).map(|i| format!("{}.5,{}\n", i * i % 17, ["a", "b"][i % 2])).collect()
}

#[test]
fn a_missing_file_names_its_neighbours() {
    let case = case("x,y\n1,2\n").set(|c| c.path = "tt.csv".into());
    case.says(&["there is no file", "tt.csv", "did you mean `t.csv`?"], &["relative"]);
}

#[test]
fn a_folder_is_no_file() {
    let case = case("").set(|c| c.path = ".".into());
    assert!(matches!(case.error(), DataError::Io { .. }));
}

#[test]
fn missing_columns_name_the_nearest() {
    let text = format!("age,survived\n{}", rows(30));
    let of = |change: fn(&mut DataConfig)| {
        case(&text).set(|c| c.target = Some("survived".into())).set(change)
    };
    of(|c| c.target = Some("surived".into())).says(
        &["no column `surived`", "data.target", "did you mean `survived`?"],
        &["`age`, `survived`"],
    );
    of(|c| c.weight = Some("w".into())).says(&["no column `w`", "data.weight"], &[]);
    of(|c| c.drop = vec!["Age".into()]).says(&["data.drop", "did you mean `age`?"], &[]);
    of(|c| {
        c.columns.insert("aeg".into(), Kind::Number.into());
    })
    .says(&["data.columns", "did you mean `age`?"], &[]);
    of(|c| {
        c.split.kind = SplitKind::Grouped;
        c.split.column = Some("group".into());
    })
    .says(&["no column `group`", "data.split.column"], &[]);
}

#[test]
fn empty_files_and_bare_headers() {
    case("").says(&["t.csv` is empty: it holds no rows"], &[]);
    case("\n\n  \n".trim_end_matches(' ')).error();
    case("x,y\n").says(&["is empty", "only a header"], &["a row for each example"]);
    for name in ["e.jsonl", "e.parquet", "e.npy", "e.npz", "e-images-idx3-ubyte.idx"] {
        let case = case("").set(|c| c.path = name.into());
        std::fs::write(case.folder.path().join(name), "").unwrap();
        let text = case.error().to_string();
        assert!(
            text.contains("empty") || text.contains("ends") || text.contains("ZIP"),
            "{name}: {text}"
        );
    }
}

#[test]
fn uneven_rows_name_their_line() {
    case("x,y\n1,a\n2,b,c\n3,d\n").says(
        &["t.csv`, line 3: 3 fields where the header has 2"],
        &["separated by comma", "quotes"],
    );
    case("x,y\n1,a\n\n2\n3,d\n")
        .says(&["line 4: 1 fields where the header has 2"], &["empty field"]);
    case("x,y\n1,a\n2").says(&["line 3: 1 fields"], &["last line: the file may be cut"]);
}

#[test]
fn text_that_is_no_utf8_names_line_and_column() {
    case(b"x,y\n1,caf\xe9\n".as_slice())
        .says(&["line 2, column 2 (`y`): byte 0xe9 is not UTF-8"], &["iconv -f WINDOWS-1252"]);
    case(b"caf\xe9,y\n1,2\n".as_slice()).says(&["line 1, column 1"], &[]);
    case(b"\xff\xfex\0,\0y\0".as_slice()).says(&["UTF-16"], &["iconv -f UTF-16"]);
    case(b"x,y\n\0\x01\x02,\0".as_slice()).says(&["not a text table"], &["data.format"]);
}

#[test]
fn an_unclosed_quote_names_the_line_it_was_opened_on() {
    case("x,y\n1,a\n2,\"b\n3,c\n").says(&["line 3", "never closed"], &["double it"]);
}

#[test]
fn a_target_with_one_class() {
    case("x,y\n1,a\n2,a\n3,a\n").says(&["target `y`", "one class only (`a`"], &["right column"]);
    let text: String = (0..40).map(|i| format!("{i}.5,1.5\n")).collect();
    case(format!("x,y\n{text}"))
        .set(|c| c.task = Some(ff_table::Task::Regression))
        .says(&["the same value (1.5) in every row"], &[]);
}

#[test]
fn a_class_with_one_row() {
    let text = format!("x,y\n{}9,rare\n", rows(30));
    case(&text).says(
        &["class `rare` has a single row", "line 32"],
        &["data.rare_classes = \"drop\"", "data.split.kind = \"random\""],
    );
    let dropped = case(&text).set(|c| c.rare_classes = RowPolicy::Drop);
    let data = prepare(&dropped.config, 0, dropped.folder.path(), &ThreadPool::new(2)).unwrap();
    assert_eq!((data.totals.read, data.totals.used, data.totals.dropped[0].rows), (31, 30, 1));
    assert!(data.totals.add_up());
    let random = case(&text).set(|c| c.split.kind = SplitKind::Random);
    assert_eq!(
        prepare(&random.config, 0, random.folder.path(), &ThreadPool::new(2))
            .unwrap()
            .target
            .classes
            .len(),
        3
    );
}

#[test]
fn text_or_gaps_in_a_target_of_numbers() {
    let numbers: String = (0..40).map(|i| format!("{i},{}.25\n", i * 3)).collect();
    let regression = |c: &mut DataConfig| c.task = Some(ff_table::Task::Regression);
    case(format!("x,y\n{numbers}7,high\n8,low\n")).set(regression).says(
        &["target `y`", "2 values are text, such as `high`", "lines 42, 43"],
        &["null_values"],
    );
    let gaps = format!("x,y\n{numbers}7,NaN\n8,\n");
    case(&gaps).says(&["2 values are missing: lines 42, 43"], &["data.missing_target = \"drop\""]);
    let dropped = case(&gaps).set(|c| c.missing_target = RowPolicy::Drop);
    let data = prepare(&dropped.config, 0, dropped.folder.path(), &ThreadPool::new(2)).unwrap();
    assert_eq!((data.totals.read, data.totals.used), (42, 40));
    case(format!("x,y\n{numbers}7,inf\n")).says(&["1 value is infinite: line 42"], &[]);
    case(format!("x,y\n{numbers}7,-3\n"))
        .set(|c| c.target_log = true)
        .says(&["log(1 + y) needs y > -1", "line 42"], &["target_log"]);
}

#[test]
fn a_forced_kind_that_does_not_fit_names_the_line() {
    case(format!("x,y\n{}oops,a\n", rows(30)))
        .set(|c| {
            c.columns.insert("x".into(), Kind::Number.into());
        })
        .says(
            &["line 32, column `x`: expected a number, found `oops`"],
            &["data.columns.x=category"],
        );
}

#[test]
fn too_many_categories_are_refused_or_left_out() {
    let text: String = (0..600).map(|i| format!("v{}q,{}\n", i / 2, i % 2)).collect();
    let text = format!("x,y\n{text}");
    let limit = |c: &mut DataConfig| c.categories.max = 100;
    case(&text)
        .set(limit)
        .set(|c| {
            c.columns.insert("x".into(), Kind::Category.into());
        })
        .says(
            &["column `x` has more than 100 distinct categories"],
            &["data.columns.x = \"drop\""],
        );
    // Without the setting the column is taken for an identifier, which leaves nothing to learn
    // from.
    case(&text).set(limit).says(&["no column is left", "more than 100 different texts"], &[]);
}

#[test]
#[ignore = "builds a column of 10 million distinct texts: a few seconds and 500 MB"]
fn ten_million_distinct_categories() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("x,z,y\n");
    for i in 0..10_000_000 {
        text += &format!("v{i}q,{},{}\n", i % 7, i % 2);
    }
    std::fs::write(folder.path().join("t.csv"), text).unwrap();
    let mut config =
        DataConfig { path: "t.csv".into(), target: Some("y".into()), ..DataConfig::default() };
    let data = prepare(&config, 0, folder.path(), &ThreadPool::new(2)).unwrap();
    assert_eq!(data.schema.column("x").unwrap().kind, Kind::Identifier);
    config.columns.insert("x".into(), Kind::Category.into());
    let error = prepare(&config, 0, folder.path(), &ThreadPool::new(2)).unwrap_err();
    assert!(matches!(error, DataError::TooManyCategories { limit: 100_000, .. }));
}

#[test]
fn a_parquet_file_cut_in_the_middle() {
    let whole = std::fs::read(fixture("types.parquet")).unwrap();
    let case = case("").set(|c| c.path = "cut.parquet".into());
    std::fs::write(case.folder.path().join("cut.parquet"), &whole[..whole.len() / 2]).unwrap();
    case.says(&["cut.parquet", "is cut", "`PAR1`"], &["Copy or write the file again"]);
    std::fs::write(case.folder.path().join("cut.parquet"), b"x,y\n1,2\n3,4\n").unwrap();
    let case = case.set(|c| c.format = Some(Format::PARQUET));
    case.says(&["does not begin with `PAR1`"], &["data.format"]);
}

#[test]
fn compressed_files_that_are_cut() {
    for name in ["table.csv.gz", "table.csv.zst"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        let case = case("").set(|c| c.path = name.into());
        std::fs::write(case.folder.path().join(name), &whole[..whole.len() - 6]).unwrap();
        case.says(&["cut or damaged"], &["again"]);
    }
}

#[test]
fn malformed_json_lines_name_their_line() {
    let error = |text: &str| {
        let case = case("").set(|c| c.path = "t.jsonl".into());
        std::fs::write(case.folder.path().join("t.jsonl"), text).unwrap();
        case.error()
    };
    says(
        &error("{\"x\": 1}\n{\"x\": \n"),
        &["t.jsonl`, line 2", "no JSON object"],
        &["may be cut"],
    );
    says(&error("{\"x\": 1}\n[1, 2]\n"), &["line 2", "found an array"], &[]);
    says(&error("[{\"x\": 1},\n{\"x\": 1},\n"), &["line 3", "JSON array ends"], &["cut"]);
}

#[test]
fn settings_outside_their_range_name_the_key() {
    let text = format!("x,y\n{}", rows(30));
    let of = |change: fn(&mut DataConfig)| case(&text).set(change);
    of(|c| c.split.test = 1.5).says(&["`data.split.test`", "1.5"], &[]);
    of(|c| (c.split.valid, c.split.test) = (0.5, 0.5)).says(&["leave nothing to train on"], &[]);
    of(|c| c.split.kind = SplitKind::Time).says(&["`data.split.column`"], &[]);
    of(|c| c.delimiter = Some('"')).says(&["`data.delimiter`"], &[]);
    of(|c| c.target = None).says(&["`data.target`"], &[]);
    of(|c| c.positive = Some("c".into())).says(&["`data.positive`", "`a`, `b`"], &[]);
    of(|c| c.clip = Some(0.0)).says(&["`data.clip`"], &[]);
    of(|c| c.categories.max = 0).says(&["`data.categories.max`"], &[]);
}

/// Transforms fitted on a number, a truth value, a date and a category.
fn fitted() -> Transforms {
    let text: String = (0..60)
        .map(|i| {
            let (flag, day) = (["no", "yes"][i % 2], 1 + i % 28);
            format!(
                "{}.5,{flag},2024-01-{day:02},{},{}\n",
                i * 7 % 30,
                ["u", "v"][i / 2 % 2],
                ["a", "b"][i / 3 % 2]
            )
        })
        .collect();
    let case = case(format!("age,member,joined,plan,y\n{text}"));
    prepare(&case.config, 0, case.folder.path(), &ThreadPool::new(2)).unwrap().transforms
}

fn text_table(columns: &[(&str, &str)]) -> Table {
    let column = |(name, text): &(&str, &str)| {
        Column::new(*name, Values::from_iter([Some("2"), Some(*text)]))
    };
    let mut table = Table::new(columns.iter().map(column).collect()).unwrap();
    for (name, good) in [("age", "2"), ("member", "yes"), ("joined", "2024-01-05"), ("plan", "u")] {
        if let Some(text) = columns.iter().find(|(n, _)| *n == name).map(|(_, text)| *text) {
            let mut fixed: Vec<Column> = table.columns().to_vec();
            let values = Values::from_iter([Some(good), Some(text)]);
            fixed.iter_mut().filter(|c| c.name == name).for_each(|c| c.values = values.clone());
            table = Table::new(fixed).unwrap();
        }
    }
    table
}

#[test]
fn predicting_with_columns_missing_renamed_or_of_another_kind() {
    let transforms = fitted();
    let good = [("age", "3.5"), ("member", "no"), ("joined", "2024-02-01"), ("plan", "w")];
    assert_eq!(transforms.encode(&text_table(&good), &ThreadPool::new(2)).unwrap().rows, 2);

    let error = transforms.encode(
        &text_table(&[("Age", "3"), ("plan", "u"), ("joined", "2024-01-01")]),
        &ThreadPool::new(2),
    );
    says(
        &error.unwrap_err(),
        &[
            "does not fit the model",
            "column `age` (number) is missing (did you mean `Age`?)",
            "column `member` (boolean) is missing",
        ],
        &["found by name"],
    );
    let bad = [("age", "old"), ("member", "maybe"), ("joined", "soon"), ("plan", "w")];
    says(
        &transforms.encode(&text_table(&bad), &ThreadPool::new(2)).unwrap_err(),
        &[
            "column `age` should hold numbers, but row 2 holds `old`",
            "column `member` should hold `no` or `yes`, but row 2 holds `maybe`",
            "column `joined` should hold dates, but row 2 holds `soon`",
        ],
        &[],
    );
}

#[test]
fn an_unknown_class_is_named_when_evaluating() {
    let table =
        text_table(&[("age", "3"), ("member", "no"), ("joined", "2024-02-01"), ("plan", "u")]);
    let mut columns: Vec<Column> = table.columns().to_vec();
    columns.push(Column::new("y", Values::from_iter([Some("a"), Some("aa")])));
    let error = fitted()
        .encode_with_target(&Table::new(columns).unwrap(), &ThreadPool::new(2))
        .unwrap_err();
    says(&error, &["target `y`", "class `aa` was not learned", "row 2"], &["train again"]);
    let error = fitted().encode_with_target(&table, &ThreadPool::new(2)).unwrap_err();
    says(&error, &["no column `y` (the target)"], &[]);
}

#[test]
fn transforms_of_another_version_are_refused_by_name() {
    let json = fitted().to_json();
    let newer = json.replacen("\"format\": 1", "\"format\": 9", 1);
    says(&Transforms::from_json(&newer).unwrap_err(), &["format 9", "format 1"], &["Train again"]);
    let zero = json.replacen("\"std\": 1.0", "\"std\": 0.0", 1);
    says(
        &Transforms::from_json(&zero).unwrap_err(),
        &["transforms.json", "target's `y` is damaged"],
        &[],
    );
    for broken in [
        "",
        "{}",
        &json[..json.len() / 2],
        &json.replacen("\"scale\":", "\"scale\": -0.0e0, \"x\":", 1),
    ] {
        assert!(Transforms::from_json(broken).is_err(), "{broken:.60}");
    }
}

#[test]
fn a_writer_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out.csv");
    std::fs::write(&target, "old").unwrap();
    let block = Table::new(vec![Column::new("x", vec![1.0].into())]).unwrap();
    let other = Table::new(vec![Column::new("z", vec![1.0].into())]).unwrap();
    let mut writer = TableWriter::create(&target).unwrap();
    writer.write(&block).unwrap();
    assert!(matches!(writer.write(&other), Err(DataError::Mismatch { .. })));
    drop(writer);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = folder.path().join("none/out.csv");
    assert!(matches!(
        TableWriter::create(&nowhere).err().unwrap(),
        DataError::Io { action: "write", .. }
    ));
    says(
        &TableWriter::create(&folder.path().join("out.doc")).err().unwrap(),
        &["extension"],
        &[".csv"],
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named() {
    for format in [Format::CSV, Format::JSONL, Format::PARQUET] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut writer = TableWriter::stream(Box::new(full), format).unwrap();
        let block = Table::new(vec![Column::new("x", vec![1.25; 100_000].into())]).unwrap();
        let error = writer.write(&block).and_then(|()| writer.finish()).unwrap_err();
        says(&error, &["cannot write"], &["disk is full", "final name"]);
    }
}

#[test]
#[cfg(unix)]
fn a_read_only_folder_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser may write anywhere, so there is nothing to see for it.
    if std::fs::write(folder.path().join("probe"), "").is_err() {
        let error = TableWriter::create(&folder.path().join("out.csv")).err().unwrap();
        says(&error, &["cannot write", "out.csv"], &["choose another folder"]);
    }
    let denied = DataError::Io {
        action: "write",
        path: "out.csv".into(),
        source: std::io::ErrorKind::ReadOnlyFilesystem.into(),
    };
    says(&denied, &["cannot write `out.csv`"], &["choose another folder"]);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn a_small_file_that_unpacks_to_much_is_read_within_limits() {
    // 200 MB of the same byte in 200 KB: one "line" longer than any row.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.csv.zst");
    let mut encoder = zstd::Encoder::new(std::fs::File::create(&path).unwrap(), 1).unwrap();
    let block = vec![b'1'; 1 << 20];
    for _ in 0..200 {
        std::io::Write::write_all(&mut encoder, &block).unwrap();
    }
    encoder.finish().unwrap();
    let error = read_table(&path, &SourceOptions::default()).unwrap_err();
    says(&error, &["line 1: a line of more than 64 MiB"], &["table"]);
}
