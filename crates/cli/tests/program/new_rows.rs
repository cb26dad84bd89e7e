//! New rows for a model: read with its settings, checked against its training, written with types.
// Small tables are written as formatted text.
#![allow(clippy::format_collect)]

use std::fmt::Write;

use crate::{Folder, two_classes};

/// Trains a small model on a file of the folder.
fn train(folder: &Folder, data: &str, target: &str, sets: &[&str]) {
    let mut arguments = vec!["train", data, "--target", target, "--out", "run", "-q"];
    arguments.extend(["--threads", "1", "--set", "train.epochs=3"]);
    for set in sets {
        arguments.extend(["--set", set]);
    }
    folder.run(&arguments).ok();
}

/// The rows of a CSV that the program printed, as cells.
fn cells(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split(',').collect()).collect()
}

#[test]
fn a_model_reads_its_own_file_again() {
    let numbers: String = two_classes(60).lines().skip(1).fold(String::new(), |text, line| {
        text + &line.replace("yes", "1").replace("no", "0") + "\n"
    });
    let texts: String =
        (0..60).fold("c:y\n".into(), |text, i| text + ["red:a\n", "blue:b\n", "NIL:a\n"][i % 3]);
    let cases = [
        // Names that look like data, no names at all, a delimiter that nobody guesses.
        ("header.csv", format!("0,1,2\n{numbers}"), "2", "data.header=true"),
        ("none.csv", numbers.clone(), "column_3", "data.header=false"),
        ("found.csv", numbers, "column_3", "train.seed=1"),
        ("colon.csv", texts, "y", "data.delimiter=\":\""),
    ];
    for (name, text, target, set) in cases {
        let folder = Folder::new(&format!("own-{name}"));
        folder.write(name, &text);
        train(&folder, name, target, &[set, "data.null_values=[\"\",\"NIL\"]"]);
        folder.run(&["predict", "run", "--data", name]).ok();
        folder.run(&["evaluate", "run", "--data", name]).ok();
    }
}

#[test]
fn one_row_without_a_header_is_a_row() {
    let folder = Folder::new("one-row");
    let rows: String =
        (0..60).fold(String::new(), |t, i| t + &format!("{},{}\n", i * i % 53, i % 7));
    folder.write("data.csv", &rows);
    folder.write("one.csv", "5,5\n");
    train(&folder, "data.csv", "column_2", &["data.header=false", "data.task=regression"]);
    let ran = folder.run(&["predict", "run", "--data", "one.csv"]).ok();
    assert_eq!(cells(&ran.stdout).len(), 2, "{}", ran.stdout);
}

#[test]
fn options_change_how_new_rows_are_read() {
    let folder = Folder::new("reading");
    folder.write("data.csv", &two_classes(60));
    folder.write("new.txt", "x:y\n1:2\n-99:3\n");
    train(&folder, "data.csv", "answer", &[]);
    let sets = ["--set", "data.delimiter=\":\"", "--set", "data.null_values=[\"-99\"]"];
    let mut arguments = vec!["predict", "run", "--data", "new.txt"];
    arguments.extend(sets);
    let ran = folder.run(&arguments).ok();
    assert!(ran.stderr.contains("x: 1 value missing where none was"), "{}", ran.stderr);
    let other = ["predict", "run", "--data", "new.txt", "--set", "data.scaling=none"];
    folder.run(&other).fails(2, &["`data.scaling` says nothing", "data.delimiter"]);
    folder
        .run(&["evaluate", "run", "--data", "new.txt", "--set", "data.headr=false"])
        .fails(2, &["unknown key `data.headr`"]);
    folder.run(&["evaluate", "run", "--set", "data.header=false"]).fails(2, &["--data"]);
}

#[test]
fn a_name_in_a_line_taken_for_data_is_asked_about() {
    let folder = Folder::new("no-header");
    let rows: String = (0..60).fold("0,1,2,3\n".into(), |t, i| t + &format!("{i},{i},{i},{i}\n"));
    folder.write("data.csv", &rows);
    let ran = folder.run(&["train", "data.csv", "--target", "4"]);
    assert!(!ran.stderr.contains("did you mean"), "column_4 is the fourth: {}", ran.stderr);
    ran.fails(2, &["data.header=true"]);
    // A line that holds the target's name is the header.
    let ran = folder.run(&["train", "data.csv", "--target", "3", "--dry-run"]);
    assert!(ran.stdout.contains("60 rows × 4 columns · comma, header"), "{}", ran.stdout);
}

/// A category of 30 values that decides the class, and one that no row has.
#[test]
fn a_category_never_seen_says_nothing() {
    let folder = Folder::new("unseen");
    let mut text = String::from("city,x,y\n");
    for i in 0..600 {
        let city = (i * 7) % 30;
        writeln!(text, "c{city},{},{}", (i * 37 % 101) as f64 / 100.0, ["no", "yes"][city % 2])
            .unwrap();
    }
    folder.write("data.csv", &text);
    folder.write("new.csv", "city,x\nc1,0.5\nnowhere,0.5\n,0.5\n");
    for seed in ["0", "1", "4"] {
        let out = format!("run-{seed}");
        let train = ["train", "data.csv", "--target", "y", "--seed", seed, "--out", &out, "-q"];
        folder
            .run(&[&train[..], &["--set", "train.bags=", "--set", "train.refit=false"]].concat())
            .ok();
        let ran = folder.run(&["predict", &out, "--data", "new.csv", "--proba"]).ok();
        let yes: Vec<f64> =
            cells(&ran.stdout)[1..].iter().map(|row| row[4].parse().unwrap()).collect();
        assert!(yes[0] > 0.9, "{yes:?}");
        // The share of `yes` is a half; a missing value, never met either, is as unknown.
        assert!((yes[1] - 0.5).abs() < 0.3 && yes[1] == yes[2], "seed {seed}: {yes:?}");
        let told = "city: 1 value that training did not meet, such as `nowhere`; 1 value missing";
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
}

#[test]
fn no_class_comes_of_what_is_no_number() {
    let folder = Folder::new("huge");
    folder.write("data.csv", &two_classes(200));
    // The largest numbers of f32 and f64 stand for no value; others are cut off, and told.
    let huge = ["-3.4028235e38", "1e300", "-1e39", "1.7976931348623157e308", "inf", "1e30"];
    let rows: String = huge.iter().map(|x| format!("{x},5\n")).collect();
    folder.write("new.csv", &format!("x,y\n{rows}"));
    train(&folder, "data.csv", "answer", &["model.hidden=[32,32]"]);
    let ran = folder.run(&["predict", "run", "--data", "new.csv", "--proba"]).ok();
    for row in &cells(&ran.stdout)[1..] {
        let p: f64 = row[3].parse().unwrap();
        assert!((0.0..=1.0).contains(&p), "{row:?}");
    }
    assert!(ran.stderr.contains("x: 3 values outside the training range"), "{}", ran.stderr);
    assert!(ran.stderr.contains("3 values missing where none was"), "{}", ran.stderr);
    // A model of before knows no range: an error names the row.
    let model = "run/model/transforms.json";
    let mut transforms: serde_json::Value = serde_json::from_str(&folder.read(model)).unwrap();
    for column in transforms["columns"].as_array_mut().unwrap() {
        column["encoder"].as_object_mut().unwrap().remove("range");
    }
    folder.write(model, &transforms.to_string());
    let ran = folder.run(&["predict", "run", "--data", "new.csv", "--out", "p.csv"]);
    ran.fails(1, &["`new.csv`, line 3, column `x`", "not a finite number"]);
    assert!(!folder.path().join("p.csv").exists());
}

#[test]
fn predictions_overwrite_nothing_unasked() {
    let folder = Folder::new("overwrite");
    folder.write("data.csv", &two_classes(60));
    folder.write("other.csv", "keep me\n");
    train(&folder, "data.csv", "answer", &[]);
    let predict = ["predict", "run", "--data", "data.csv", "--out"];
    let to = |out, more: &[&str]| folder.run(&[&predict[..], &[out], more].concat());
    to("data.csv", &[]).fails(2, &["data.csv holds the rows to predict", "--force"]);
    to("./data.csv", &[]).fails(2, &["holds the rows to predict"]);
    to("other.csv", &[]).fails(2, &["other.csv is there already", "--force"]);
    assert_eq!(folder.read("other.csv"), "keep me\n");
    assert_eq!(folder.read("data.csv"), two_classes(60));
    to("other.csv", &["--force"]).ok();
    assert!(folder.read("other.csv").starts_with("x,y,answer,prediction\n"));
    // Over its own input too, where that is asked for.
    to("data.csv", &["--force"]).ok();
    assert_eq!(folder.read("data.csv"), folder.read("other.csv"));
}

#[test]
fn typed_formats_keep_types() {
    let folder = Folder::new("typed");
    let head = "n,zip,ok,x,late,y\n";
    let rows: String = (0..60)
        .map(|i| format!("{i},0{},{},{}.5,{},{}\n", i % 3, i % 2 == 0, i % 5, i, i * i % 2))
        .collect();
    folder.write("data.csv", &format!("{head}{rows}"));
    train(&folder, "data.csv", "y", &[]);
    folder.write("new.csv", &format!("{head}7,01,True,2.50,1,0\n9007199254740993,02,,3,b,1\n"));
    folder.run(&["predict", "run", "--data", "new.csv", "--out", "p.jsonl"]).ok();
    let rows: Vec<serde_json::Value> =
        folder.read("p.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&rows[0]["n"], &rows[1]["n"]), (&7.into(), &9_007_199_254_740_993_i64.into()));
    assert_eq!((&rows[0]["zip"], &rows[0]["late"]), (&"01".into(), &"1".into()));
    assert_eq!((&rows[0]["ok"], &rows[1]["ok"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(rows[0]["x"], 2.5);
    assert!(rows[0]["prediction"].is_i64(), "{rows:?}");
    // Standard input is looked at whole, too.
    let text = folder.read("new.csv");
    let piped = ["predict", "run", "--data", "-", "--out", "q.jsonl"];
    folder.run_piped(&piped, &text).ok();
    assert_eq!(folder.read("q.jsonl"), folder.read("p.jsonl"));
    // A text table gets back what it held.
    let ran = folder.run(&["predict", "run", "--data", "new.csv"]).ok();
    assert!(ran.stdout.contains("\n7,01,True,2.50,1,0,"), "{}", ran.stdout);
    if cfg!(feature = "parquet") {
        folder.run(&["predict", "run", "--data", "new.csv", "--out", "p.parquet"]).ok();
        folder.run(&["evaluate", "run", "--data", "p.parquet"]).ok();
    }
}

#[test]
fn every_line_of_a_single_column_is_a_row() {
    let folder = Folder::new("blank-lines");
    let rows: String = (0..60).map(|i| format!("{}.5,{}\n", i % 7, i % 2)).collect();
    folder.write("data.csv", &format!("x,y\n{rows}"));
    train(&folder, "data.csv", "y", &[]);
    folder.write("new.csv", "x\n1.5\n\n\"\"\n2.5\n\n");
    let ran = folder.run(&["predict", "run", "--data", "new.csv"]).ok();
    let firsts: Vec<&str> = cells(&ran.stdout).iter().map(|row| row[0]).collect();
    assert_eq!(firsts, ["x", "1.5", "", "", "2.5", ""], "{}", ran.stdout);
    // Among several columns a blank line is none.
    folder.write("two.csv", "x,z\n1.5,1\n\n2.5,1\n");
    let ran = folder.run(&["predict", "run", "--data", "two.csv"]).ok();
    assert_eq!(cells(&ran.stdout).len(), 3, "{}", ran.stdout);
}

#[test]
fn truth_values_are_spelled_in_many_ways() {
    let folder = Folder::new("truths");
    let spelled = |no: &str, yes: &str| two_classes(120).replace("yes", yes).replace("no", no);
    folder.write("data.csv", &spelled("False", "True"));
    folder.write("upper.csv", &spelled("FALSE", "TRUE"));
    folder.write("digits.csv", &spelled("0", "1"));
    let json: String = two_classes(120)
        .lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            let answer = cells[2] == "yes";
            format!("{{\"x\":{},\"y\":{},\"answer\":{answer}}}\n", cells[0], cells[1])
        })
        .collect();
    folder.write("typed.jsonl", &json);
    for own in ["data.csv", "digits.csv", "typed.jsonl"] {
        let out = format!("run-{own}");
        let sets = ["--set", "train.epochs=3", "--out", &out, "-q"];
        folder.run(&[&["train", own, "--target", "answer"], &sets[..]].concat()).ok();
        let accuracy = |data: &str| {
            let ran = folder.run(&["evaluate", &out, "--data", data, "--json"]).ok();
            ran.json()["accuracy"].as_f64().unwrap()
        };
        let wanted = accuracy(own);
        for data in ["data.csv", "upper.csv", "digits.csv", "typed.jsonl"] {
            assert_eq!(accuracy(data), wanted, "{own}, {data}");
        }
    }
    let given = ["--set", "data.split.kind=given", "--set", "data.split.test_path=typed.jsonl"];
    let train = ["train", "data.csv", "--target", "answer", "--dry-run"];
    let ran = folder.run(&[&train[..], &given].concat()).ok();
    assert!(ran.stdout.contains("positive = True"), "{}", ran.stdout);
    folder.write("maybe.csv", "x,y,answer\n1,2,maybe\n");
    let ran = folder.run(&["evaluate", "run-data.csv", "--data", "maybe.csv"]);
    ran.fails(1, &["class `maybe` was not learned"]);
}

#[test]
fn a_class_that_stands_for_missing_is_asked_about() {
    let folder = Folder::new("none-class");
    let rows: String =
        (0..90).map(|i| format!("{},{}\n", i % 30, ["None", "Apnea", "Insomnia"][i % 3])).collect();
    folder.write("data.csv", &format!("x,disorder\n{rows}"));
    let train = ["train", "data.csv", "--target", "disorder", "--set", "train.epochs=2"];
    let ran = folder.run(&train);
    assert!(ran.stderr.contains("30 cells read `None`, which stands for a missing value"));
    // What the message says keeps the class.
    let set = ran.stderr.split("--set '").nth(1).unwrap().split('\'').next().unwrap();
    let kept = folder.run(&[&train[..], &["--set", set, "--json", "--dry-run"]].concat());
    assert!(
        set.starts_with("data.columns.disorder.null_values=") && !set.contains("None"),
        "{set}"
    );
    assert!(kept.ok().stderr.contains("None: 30"));
    let dropped = ["--set", "data.missing_target=drop", "--out", "run"];
    let ran = folder.run(&[&train[..], &dropped].concat()).ok();
    assert!(ran.stdout.contains("disorder: 30 cells read `None`"), "{}", ran.stdout);
    // The report and `evaluate` say so too; the same file is judged without these rows.
    let ran = folder.run(&["evaluate", "run", "--data", "data.csv"]).ok();
    assert!(ran.stdout.contains("30 rows left out: target missing"), "{}", ran.stdout);
}

#[test]
fn rows_that_training_left_out_are_left_out_of_judging() {
    let folder = Folder::new("left-out");
    folder.write("data.csv", &(two_classes(60) + "1,2,rare\n3,4,\n5,6,\n"));
    let drop = ["data.missing_target=drop", "data.rare_classes=drop"];
    train(&folder, "data.csv", "answer", &drop);
    let ran = folder.run(&["evaluate", "run", "--data", "data.csv", "--json"]).ok();
    let json = ran.json();
    assert_eq!(json["rows"], 60);
    assert_eq!(json["left_out"][0]["rows"], 2);
    assert_eq!(json["left_out"][1]["rows"], 1);
    // A class that is new is no rare one.
    folder.write("new.csv", "x,y,answer\n1,2,yes\n1,2,new\n");
    folder.run(&["evaluate", "run", "--data", "new.csv"]).fails(1, &["`new` was not learned"]);
}

#[test]
fn folds_follow_the_split() {
    let folder = Folder::new("folds");
    let mut text = String::from("day,shop,part,x,y\n");
    for i in 0..120 {
        let part = if i % 4 == 0 { "test" } else { "train" };
        writeln!(text, "{i},s{},{part},{},{}", i % 8, i * 7 % 31, i * 7 % 31 + i).unwrap();
    }
    folder.write("data.csv", &text);
    let folds = |sets: &[&str]| {
        let mut arguments = vec!["train", "data.csv", "--target", "y", "--folds", "3", "--json"];
        arguments.extend(["--set", "train.epochs=1"]);
        for set in sets {
            arguments.extend(["--set", set]);
        }
        let json = folder.run(&arguments).ok().json();
        let rows = |fold: &serde_json::Value, at: usize| fold["rows"][at].as_u64().unwrap();
        let folds = json["results"].as_array().unwrap();
        let held: Vec<u64> = folds.iter().map(|fold| rows(fold, 1)).collect();
        (json["division"].as_str().unwrap().to_owned(), held)
    };
    let (said, held) = folds(&["data.split.kind=time", "data.split.column=day"]);
    assert!(said.contains("forward in time") && said.contains("`day`"), "{said}");
    assert_eq!(held, [30, 30, 30]);
    let (said, held) = folds(&["data.split.kind=given", "data.split.column=part"]);
    assert!(said.contains("without the 30 rows of the given test part"), "{said}");
    assert_eq!(held.iter().sum::<u64>(), 90);
    let (said, held) = folds(&["data.split.kind=grouped", "data.split.column=shop"]);
    assert!(said.contains("each `shop` in one"), "{said}");
    assert_eq!(held.iter().sum::<u64>(), 120);
    assert!(held.iter().all(|rows| rows % 15 == 0), "{held:?}");
}
