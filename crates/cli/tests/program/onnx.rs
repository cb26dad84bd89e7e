//! Models of tables as ONNX files: out, in, and against ONNX Runtime where Python has it.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::Folder;
use feedforward::interop::onnx::{DType, GraphBuilder, Tensor};

fn rows(n: usize) -> String {
    let mut text = String::from("size,colour,day,member,price\n");
    for i in 0..n {
        let colour = ["red", "green", "blue", ""][i % 7 % 4];
        let size = if i % 11 == 5 { String::new() } else { format!("{}.5", i * 37 % 101) };
        let (day, member) = (1 + i % 28, ["yes", "no"][i % 3 % 2]);
        let price = i * 37 % 101 + if colour == "red" { 40 } else { 3 };
        writeln!(text, "{size},{colour},2024-0{}-{day:02},{member},{price}", 1 + i % 9).unwrap();
    }
    text
}

fn column(folder: &Folder, name: &str, column: &str) -> Vec<f64> {
    let text = folder.read(name);
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let at = lines.next().unwrap().iter().position(|name| *name == column).unwrap();
    lines.map(|cells| cells[at].parse().unwrap()).collect()
}

#[test]
fn an_exported_model_predicts_as_its_run_does() {
    let folder = Folder::new("onnx");
    folder.write("data.csv", &rows(300));
    let train = "train data.csv --target price --out run --quiet --set train.epochs=3 --threads 1";
    folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
    let ran = folder.run(&["export", "run", "--to", "onnx"]).ok();
    assert!(
        ran.stdout.contains("run.onnx") && ran.stdout.contains("made-up rows"),
        "{}",
        ran.stdout
    );
    let again = folder.run(&["export", "run", "--to", "onnx"]);
    assert!(again.code == Some(2) && again.stderr.contains("there already"), "{}", again.stderr);

    folder.write("new.csv", &(rows(40) + "1e9,violet,1999-12-31,YES,0\n"));
    folder.run(&["predict", "run", "--data", "new.csv", "--out", "a.csv"]).ok();
    folder.run(&["predict", "run.onnx", "--data", "new.csv", "--out", "b.csv"]).ok();
    let (a, b) = (column(&folder, "a.csv", "prediction"), column(&folder, "b.csv", "prediction"));
    assert!(
        a.len() == 41 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4 * a.abs().max(1.0))
    );

    let shown = folder.run(&["inspect", "run.onnx"]).ok().stdout;
    assert!(shown.contains("seconds since 1970") && shown.contains("LabelEncoder"), "{shown}");
    let refused = folder.run(&["predict", "run.onnx", "--data", "new.csv", "--proba"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("predicts numbers"));

    // ONNX Runtime itself, on changed rows.
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import onnx, onnxruntime"]).output();
    if has.is_ok_and(|found| found.status.success()) {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/onnx_predictions.py");
        let mut command = Command::new(python);
        command.arg(script).arg(env!("CARGO_BIN_EXE_feedforward")).args(["run", "data.csv"]);
        let ran = command.current_dir(folder.path()).output().unwrap();
        let shown = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{shown}");
    }
}

#[cfg(feature = "keras")]
#[test]
fn a_model_for_keras_predicts_as_its_run_does() {
    let folder = Folder::new("keras");
    folder.write("data.csv", &rows(300));
    let train = "train data.csv --target price --out run --quiet --set train.epochs=3 --threads 1";
    folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
    let ran = folder.run(&["export", "run", "--to", "keras"]).ok();
    assert!(ran.stdout.contains("run.keras") && ran.stdout.contains("made-up rows"));

    let shown = folder.run(&["inspect", "run.keras"]).ok().stdout;
    assert!(shown.contains("EinsumDense") && shown.contains("StringLookup"), "{shown}");
    let refused = folder.run(&["predict", "run.keras", "--data", "data.csv", "--spread"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("a model of Keras has the mean"));

    // Keras itself, on changed rows.
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import keras, tensorflow"]).output();
    if has.is_ok_and(|found| found.status.success()) {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/keras_predictions.py");
        let mut command = Command::new(python);
        command.arg(script).arg(env!("CARGO_BIN_EXE_feedforward")).args(["run", "data.csv"]);
        let ran = command.current_dir(folder.path()).output().unwrap();
        let shown = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{shown}");
    }
}

#[test]
fn what_onnx_cannot_say_is_refused() {
    let folder = Folder::new("onnx-refused");
    let mut text = String::from("note,x,answer\n");
    for i in 0..200 {
        let (word, answer) = [("dreadful", "no"), ("wonderful", "yes")][i % 2];
        writeln!(text, "it was a {word} day number {i},{},{answer}", i % 13).unwrap();
    }
    folder.write("data.csv", &text);
    let train = "train data.csv --target answer --out run --quiet --set train.epochs=1";
    folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
    let refused = folder.run(&["export", "run", "--to", "onnx", "--out", "m.onnx"]);
    assert!(
        refused.code == Some(2) && refused.stderr.contains("`note` is a text"),
        "{}",
        refused.stderr
    );
    assert!(!folder.path().join("m.onnx").exists());
    let refused = folder.run(&["export", "run", "--to", "onnx", "--type", "f16"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("--type"), "{}", refused.stderr);
}

/// A model of another program: one input of numbers, logits and their classes.
#[test]
fn foreign_models_take_the_columns_in_their_order() {
    let folder = Folder::new("onnx-foreign");
    let mut graph = GraphBuilder::new("foreign");
    let x = graph.input("X", DType::F32, &[None, Some(2)], "");
    let w = graph.constant("w", &Tensor::new(&[2, 2], vec![1.0f32, 0.0, 0.0, 2.0]).unwrap());
    let y = graph.node("MatMul", "scores", &[&x, &w]);
    graph.output(&y, DType::F32, &[None, Some(2)]);
    let model = graph.build();
    std::fs::write(folder.path().join("m.onnx"), model.to_bytes()).unwrap();
    folder.write("new.csv", "a,b\n1,2\n3,\n");
    let ran = folder.run(&["predict", "m.onnx", "--data", "new.csv"]).ok();
    assert_eq!(ran.stdout, "a,b,scores_0,scores_1\n1,2,1,4\n3,,,\n");
    folder.write("wide.csv", "a,b,c\n1,2,3\n");
    let wide = folder.run(&["predict", "m.onnx", "--data", "wide.csv"]);
    assert!(
        wide.code == Some(2) && wide.stderr.contains("takes 2 numbers a row"),
        "{}",
        wide.stderr
    );
    folder.write("text.csv", "a,b\n1,x\n");
    let text = folder.run(&["predict", "m.onnx", "--data", "text.csv"]);
    assert!(text.code == Some(2) && text.stderr.contains("holds `x`"), "{}", text.stderr);
    folder.write("bad.onnx", "no model");
    for command in [&["inspect", "bad.onnx"][..], &["predict", "bad.onnx", "--data", "new.csv"]] {
        let bad = folder.run(command);
        assert!(bad.code == Some(1) && bad.stderr.contains("no ONNX model"), "{}", bad.stderr);
    }
}
