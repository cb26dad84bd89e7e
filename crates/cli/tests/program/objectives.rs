//! Encoders for labels, numbers, tags, masked tokens and pairs: trained, killed, resumed, judged,
//! predicted.

use std::fmt::Write;

use crate::killed::{kill_when, lines, result, start};
use crate::sequences::{prepared, run};
use crate::{Folder, Ran};

const SETS: &str = "--set model.encoder=bert --set train.batch_size=8 --set model.dropout=0 \
                    --set model.head_dropout=0";

/// Files for every objective: what is to be told stands in the words.
fn files(name: &str) -> Folder {
    let folder = prepared(name);
    let mut labels = String::from("text,topics,late,broken,size\n");
    let (mut words, mut sentences, mut pairs) = (String::new(), String::new(), String::new());
    let mut texts = String::new();
    pairs.push_str("id,question,answer,other\n");
    for i in 0..200 {
        let (late, broken) = (i % 2 == 1, i / 2 % 2 == 1);
        let text = format!(
            "the {} {} in the notes",
            if late { "quick" } else { "brown" },
            if broken { "fox" } else { "jumping" }
        );
        let topics = [(late, "late"), (broken, "broken")];
        let topics: Vec<&str> =
            topics.iter().filter(|(said, _)| *said).map(|(_, name)| *name).collect();
        let size = 10 + 40 * i32::from(late);
        let yes = if broken { "yes" } else { "no" };
        writeln!(labels, "{text},{},{},{yes},{size}", topics.join(";"), i32::from(late)).unwrap();
        let tags: Vec<String> = text
            .split(' ')
            .map(|word| match word {
                "quick" => "B-SPEED".into(),
                "brown" => "B-COLOUR".into(),
                _ => "O".to_owned(),
            })
            .collect();
        let list: Vec<&str> = text.split(' ').collect();
        let json = serde_json::json!({ "tokens": list, "tags": tags });
        writeln!(words, "{json}").unwrap();
        for (word, tag) in list.iter().zip(&tags) {
            writeln!(sentences, "{word}\tNN\t{tag}").unwrap();
        }
        sentences.push('\n');
        writeln!(texts, "{text} {}", i / 4).unwrap();
        writeln!(pairs, "{i},quick fox {i},brown notes {i},words {i} jumping").unwrap();
    }
    for (file, text) in [
        ("labels.csv", &labels),
        ("words.jsonl", &words),
        ("words.conll", &sentences),
        ("lines.txt", &texts),
        ("pairs.csv", &pairs),
    ] {
        folder.write(file, text);
    }
    folder
}

fn train(folder: &Folder, data: &str, kind: &str, out: &str, more: &str) -> Ran {
    run(folder, &format!("train {data} --out {out} --set objective.kind={kind} {SETS} {more}"))
}

fn score(summary: &serde_json::Value, part: &str, name: &str) -> f64 {
    let scores = summary[part]["scores"].as_array().unwrap();
    let found = scores.iter().find(|score| score["name"] == name).unwrap();
    found["value"].as_f64().unwrap()
}

#[test]
fn labels_are_a_list_or_columns_and_have_thresholds() {
    let folder = files("objective-labels");
    let more = "--target topics --set data.text=[\"text\"] --set optimizer.lr=0.005 \
                --set train.epochs=60 --set train.batch_size=16 --set train.monitor=\"score\" \
                --set evaluate.threshold=\"f1\" --json";
    let summary = train(&folder, "labels.csv", "labels", "run", more).ok().json();
    assert!(score(&summary, "test", "f1_micro") > 0.95, "{summary}");
    assert!(score(&summary, "test", "subset_accuracy") > 0.9, "{summary}");
    let config = folder.read("run/model/config.json");
    assert!(config.contains("multi_label_classification"), "{config}");
    let evaluated = run(&folder, "evaluate run --json").ok().json();
    assert_eq!(evaluated["scores"], summary["test"]["scores"]);
    let shown = run(&folder, "evaluate run --data labels.csv").ok().stdout;
    assert!(shown.contains("subset accuracy") && shown.contains("broken"), "{shown}");
    folder.write("new.csv", "text\nthe quick fox in the notes\nthe brown jumping in the notes\n");
    let predicted = run(&folder, "predict run --data new.csv --proba --quiet").ok().stdout;
    let all: Vec<&str> = predicted.lines().collect();
    assert!(all[0].ends_with("prediction,probability_broken,probability_late"), "{predicted}");
    assert!(all[1].contains(",broken;late,") && all[2].contains("notes,,"), "{predicted}");
    assert!(run(&folder, "inspect run").ok().stdout.contains("2 labels of texts"));
    assert!(folder.read("run/report.html").contains("2 labels, separated by"));

    let more = "--set data.targets=[\"late\",\"broken\"] --set data.text=[\"text\"] --json \
                --set optimizer.lr=0.005 --set train.epochs=60 --set train.batch_size=16 --set train.monitor=\"score\"";
    let summary = train(&folder, "labels.csv", "labels", "columns", more).ok().json();
    assert!(score(&summary, "test", "f1_micro") > 0.95, "{summary}");
    let numbers = "--set data.targets=[\"late\",\"size\"] --set data.text=[\"text\"] --json \
                   --set optimizer.lr=0.005 --set train.epochs=20";
    let summary = train(&folder, "labels.csv", "numbers", "numbers", numbers).ok().json();
    assert!(score(&summary, "test", "r2_size") > 0.9, "{summary}");
    let predicted = run(&folder, "predict numbers --data new.csv --quiet").ok().stdout;
    assert!(predicted.starts_with("text,prediction_late,prediction_size\n"), "{predicted}");
    let evaluated = run(&folder, "evaluate numbers --json").ok().json();
    let size = |of: &serde_json::Value| {
        let scores = of["scores"].as_array().unwrap();
        scores.iter().find(|s| s["name"] == "rmse_size").unwrap()["value"].as_f64().unwrap()
    };
    assert!((size(&evaluated) - size(&summary["test"])).abs() < 1e-3, "{evaluated} {summary}");
}

#[test]
fn tags_are_read_from_both_files_and_written_as_spans() {
    let folder = files("objective-tags");
    let more = "--set optimizer.lr=0.005 --set train.epochs=60 --json";
    let summary = train(&folder, "words.jsonl", "tags", "run", more).ok().json();
    assert_eq!(score(&summary, "test", "f1"), 1.0, "{summary}");
    let other = train(&folder, "words.conll", "tags", "conll", more).ok().json();
    assert_eq!(summary["test"], other["test"]);
    let shown = run(&folder, "evaluate run --data words.conll").ok().stdout;
    assert!(shown.contains("COLOUR") && shown.contains("F1 of spans"), "{shown}");
    folder.write("new.csv", "text\n\"the quick, quick notes.\"\n");
    let found = run(&folder, "predict run --data new.csv --text text --quiet").ok().json();
    assert_eq!(found["tokens"].as_array().unwrap().len(), 6, "{found}");
    let span = &found["spans"][0];
    assert_eq!((&span["type"], &span["text"]), (&"SPEED".into(), &"quick".into()), "{found}");
    assert_eq!(span["characters"], serde_json::json!([4, 9]));
    run(&folder, "predict run --data words.conll --out found.conll").ok();
    let found = folder.read("found.conll");
    assert!(found.contains("quick B-SPEED\n") && found.contains("\n\n"), "{found}");
    assert!(folder.read("run/model/config.json").contains("BertForTokenClassification"));
    run(&folder, "predict run --data words.jsonl --proba").fails(2, &["gives tags"]);
}

#[test]
fn files_that_do_not_align_are_named_with_their_line() {
    let folder = files("objective-bad");
    let refused = |data: &str, kind: &str, more: &str, code: i32, parts: &[&str]| {
        train(&folder, data, kind, "none", more).fails(code, parts);
    };
    folder.write(
        "short.jsonl",
        "{\"tokens\":[\"a\"],\"tags\":[\"O\"]}\n{\"tokens\":[\"a\",\"b\"],\"tags\":[\"O\"]}\n",
    );
    refused("short.jsonl", "tags", "", 1, &["short.jsonl", "line 2", "2 words and 1 tag"]);
    folder.write("key.jsonl", "{\"words\":[\"a\"],\"ner\":[\"O\"]}\n");
    refused("key.jsonl", "tags", "", 1, &["line 1", "no list `tokens`", "words, ner"]);
    folder.write("one.conll", "the O\nquick\n");
    refused("one.conll", "tags", "", 1, &["line 2", "without a tag"]);
    folder.write("uneven.conll", "the X O\nquick B-A\n");
    refused("uneven.conll", "tags", "", 1, &["line 2", "2 columns"]);
    folder.write("scheme.conll", "the O\nquick E-A\n\nthe O\n");
    let iob = "--set objective.scheme=iob2";
    refused("scheme.conll", "tags", iob, 2, &["`E-A` at position 1", "iob2"]);
    refused("labels.csv", "labels", "", 2, &["data.target"]);
    let columns = "--set data.targets=[\"late\",\"topics\"] --set data.text=[\"text\"]";
    refused("labels.csv", "labels", columns, 2, &["line 3", "neither true nor false"]);
    refused("labels.csv", "numbers", columns, 2, &["line 3", "`topics`", "is not a number"]);
    refused("labels.csv", "labels", "--target nothing", 2, &["nothing", "topics"]);
    refused("pairs.csv", "pairs", "--set data.text=[\"answer\"]", 2, &["two columns"]);
    refused("pairs.csv", "pairs", "--set objective.mask=0.3", 2, &["objective.mask", "masked"]);
    refused("lines.txt", "masked", "--set model.frozen=true", 2, &["model.frozen"]);
    refused("words.jsonl", "tags", "--set objective.knd=1", 2, &["knd"]);
}

#[test]
fn every_objective_is_killed_and_resumed_to_the_same_bits() {
    let folder = files("objective-killed");
    for (kind, data, more) in [
        ("masked", "lines.txt", "--set optimizer.lr=0.01 --set train.epochs=6"),
        ("pairs", "pairs.csv", "--set optimizer.lr=0.002 --set train.epochs=6"),
        ("tags", "words.jsonl", "--set optimizer.lr=0.002 --set train.epochs=8"),
        (
            "labels",
            "labels.csv",
            "--target topics --set data.text=[\"text\"] --set optimizer.lr=0.002 \
             --set train.epochs=8 --set evaluate.threshold=\"f1\"",
        ),
        (
            "numbers",
            "labels.csv",
            "--set data.targets=[\"late\",\"size\"] --set data.text=[\"text\"] \
             --set optimizer.lr=0.002 --set train.epochs=8",
        ),
    ] {
        let more = format!("{more} --set train.checkpoint_seconds=0");
        train(&folder, data, kind, kind, &format!("{more} --threads 1 --quiet")).ok();
        let killed = format!("{kind}-killed");
        let path = folder.path().join(&killed);
        let line = format!(
            "train {data} --out {killed} --set objective.kind={kind} {SETS} {more} --threads 2"
        );
        let mut child = start(&folder, &line.split_whitespace().collect::<Vec<_>>());
        for evaluations in [1, 3] {
            let killed = kill_when(&mut child, || lines(&path) >= evaluations);
            assert!(killed, "the run was over at evaluation {}", lines(&path));
            child = start(&folder, &["train", "--resume", path.to_str().unwrap()]);
        }
        assert!(child.wait().unwrap().success());
        assert!(result(&path) == result(&folder.path().join(kind)), "{kind}");
    }
    let masked = run(&folder, "evaluate masked --json").ok().json();
    assert!(masked["scores"][1]["value"].as_f64().unwrap() < 30.0, "{masked}");
    // What was learned goes on: masked tokens under a head, vectors into files.
    let more =
        "--target topics --set data.text=[\"text\"] --set train.steps=2 --set model.encoder=masked";
    train(&folder, "labels.csv", "labels", "after", more).ok();
    let pairs = run(&folder, "evaluate pairs --data pairs.csv --json").ok().json();
    assert_eq!(pairs["scores"][0]["name"], "mrr", "{pairs}");
    run(&folder, "embed pairs --data lines.txt --out vectors.npy").ok();
    let searched = run(&folder, "search pairs vectors.npy quick --data lines.txt");
    assert!(searched.ok().stdout.contains("quick"));
    let plan = train(&folder, "pairs.csv", "pairs", "none", "--dry-run").ok().stdout;
    assert!(plan.contains("columns: question, answer, other"), "{plan}");
    assert!(plan.contains("train 140") && !folder.path().join("none").exists(), "{plan}");
}
