//! Columns of texts: trained, predicted, planned, reported.

use std::fmt::Write;

use crate::Folder;

/// Rows of a text whose words tell the class, and a number that does not.
fn rows(n: usize, words: [&str; 2]) -> String {
    let filler = ["the day was long", "we met at noon", "it rained all week", "no one came by"];
    let mut text = String::from("text,x,answer\n");
    for i in 0..n {
        let (class, fill) = (i % 2, filler[i / 2 % 4]);
        let answer = ["no", "yes"][class];
        writeln!(text, "\"{} {fill} {}\",{},{answer}", words[class], i / 2, i % 13).unwrap();
    }
    text
}

fn train(folder: &Folder, sets: &[&str]) -> String {
    let mut arguments =
        vec!["train", "data.csv", "--target", "answer", "--out", "run", "--threads", "1"];
    for set in sets {
        arguments.extend(["--set", set]);
    }
    folder.run(&arguments).ok().stderr
}

fn predicted(folder: &Folder, new: &str) -> Vec<String> {
    folder.write("new.csv", new);
    let ran = folder.run(&["predict", "run", "--data", "new.csv", "--quiet"]).ok();
    let last = |line: &str| line.rsplit(',').next().unwrap_or_default().to_owned();
    ran.stdout.lines().skip(1).map(last).collect()
}

#[test]
fn texts_alone_are_a_linear_model_of_their_ngrams() {
    let folder = Folder::new("texts-alone");
    folder.write("data.csv", &rows(400, ["dreadful", "wonderful"]));
    train(&folder, &["data.drop=[\"x\"]"]);
    let new = "text\nwonderful news\nDreadful! news\n\n";
    assert_eq!(predicted(&folder, new)[..2], ["yes", "no"]);
    let report = folder.read("run/report.html");
    assert!(report.contains("Words that speak for each class") && report.contains("wonderful"));
    assert!(folder.read("run/model/config.json").contains("\"texts\""));
    folder.run(&["evaluate", "run", "--data", "data.csv"]).ok();
    folder.run(&["inspect", "run"]).ok();
}

#[test]
fn hidden_layers_that_texts_alone_do_not_have_are_named() {
    let folder = Folder::new("texts-hidden");
    folder.write("data.csv", &rows(200, ["dreadful", "wonderful"]));
    let alone = "data.drop=[\"x\"]";
    let said = |sets: &[&str]| {
        let mut arguments = vec!["train", "data.csv", "--target", "answer", "--dry-run"];
        for set in sets {
            arguments.extend(["--set", set]);
        }
        let ran = folder.run(&arguments).ok();
        ran.stdout + &ran.stderr
    };
    let note = "model.hidden is not used";
    let hidden = said(&[alone, "model.hidden=[32]"]);
    assert!(hidden.contains(note) && hidden.contains("model.text_dim=128"), "{hidden}");
    assert!(!said(&[alone]).contains(note));
    assert!(!said(&[alone, "model.hidden=[32]", "model.text_dim=16"]).contains(note));
    assert!(!said(&["model.hidden=[32]"]).contains(note));
}

#[test]
fn texts_stand_beside_numbers_and_other_texts() {
    let folder = Folder::new("texts-beside");
    folder.write("data.csv", &rows(400, ["dreadful", "wonderful"]));
    train(&folder, &["train.epochs=20"]);
    let new = "text,x\na wonderful day,3\na dreadful day,3\n";
    assert_eq!(predicted(&folder, new), ["yes", "no"]);
    let planned = folder.run(&["plan", "data.csv", "--target", "answer"]).ok();
    assert!(planned.stdout.contains("rows"), "{}", planned.stdout);
}

#[test]
fn scripts_without_spaces_have_words() {
    let folder = Folder::new("texts-chinese");
    let mut text = String::from("text,answer\n");
    for i in 0..400 {
        let filler = ["今天的天气", "我们在中午", "整个星期都", "没有人过来"][i / 2 % 4];
        let (word, answer) = [("非常糟糕", "no"), ("非常精彩", "yes")][i % 2];
        writeln!(text, "{filler}{word}第{}次,{answer}", i / 8).unwrap();
    }
    folder.write("data.csv", &text);
    train(&folder, &[]);
    assert_eq!(predicted(&folder, "text\n这部电影精彩\n这部电影糟糕\n"), ["yes", "no"]);
}
