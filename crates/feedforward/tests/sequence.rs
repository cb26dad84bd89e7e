//! Encoders trained under a head, against `transformers` (testkit's scripts/sequence_fixtures.py).
#![cfg(feature = "language")]
#![allow(clippy::unwrap_used, clippy::default_trait_access)]

use feedforward::embedding::Embedder;
use feedforward::formats::TensorFile;
use feedforward::sequence::{self, SequenceRecipe};
use feedforward::{PredictOptions, TrainOptions, embedding};
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures").join(name)
}

/// The logits of `transformers` over a folder that this program wrote.
#[test]
fn outputs_equal_those_of_transformers() {
    for (name, outputs) in [("classes", 3), ("number", 1)] {
        let folder = fixture("sequence").join(name);
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let texts: Vec<String> = serde_json::from_value(json["texts"].clone()).unwrap();
        let wanted: Vec<Vec<f32>> = serde_json::from_value(json["logits"].clone()).unwrap();
        let wanted = wanted.concat();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut model = Embedder::open(&folder, &Default::default(), &Default::default()).unwrap();
        let found = model.logits(&texts, &mut |_| true).unwrap();
        assert_eq!((found.values.len(), found.long), (outputs * texts.len(), 1));
        // Sums of some hundred products in f32, in another order.
        let largest = wanted.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (a, b) in found.values.iter().zip(&wanted) {
            assert!((a - b).abs() < 1e-5 * largest, "{name}: {a}, expected {b}");
        }
    }
}

fn rows() -> String {
    let mut text = String::from("text,answer\n");
    for i in 0..90 {
        let (word, answer) = [("quick", "no"), ("brown", "yes"), ("fox", "peut-être")][i % 3];
        writeln!(text, "in the notes {word} {} the,{answer}", i / 12).unwrap();
    }
    text
}

fn recipe(folder: &Path, sets: &[&str]) -> SequenceRecipe {
    let quoted = |path: &Path| toml::Value::String(path.to_str().unwrap().into()).to_string();
    let mut all = vec![
        "data.target='answer'".to_owned(),
        "data.columns.text='text'".into(),
        "optimizer.lr=0.002".into(),
        format!("model.encoder={}", quoted(&fixture("embedding/bert"))),
    ];
    all.extend(sets.iter().map(|&set| set.to_owned()));
    let data = folder.join("data.csv");
    std::fs::write(&data, rows()).unwrap();
    SequenceRecipe::for_table(data.to_str().unwrap(), &all).unwrap()
}

/// What is written has the names, the shapes and the fields of the folder that `transformers` read.
#[test]
fn a_trained_folder_is_written_as_transformers_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), &["model.pooling='cls'", "train.epochs=1"]);
    let out = folder.path().join("run");
    let options = TrainOptions { out: Some(out.clone()), ..Default::default() };
    let summary = sequence::train(&recipe, &options, &mut ()).unwrap();
    assert_eq!((summary.epochs, summary.stopped.as_str()), (1, "finished"));
    let tensors = |folder: &Path| -> Vec<(String, Vec<usize>)> {
        let file = TensorFile::open(&folder.join("model.safetensors")).unwrap();
        file.entries().map(|entry| (entry.name, entry.dims)).collect()
    };
    let config = |folder: &Path| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap()
    };
    let (model, stored) = (out.join("model"), fixture("sequence/classes"));
    assert_eq!(tensors(&model), tensors(&stored));
    assert_eq!(config(&model), config(&stored));

    // The scores of the run are those of its folder: predicted by the folder alone.
    let predicted = folder.path().join("predicted.csv");
    let data = folder.path().join("data.csv");
    let options = PredictOptions { data, out: Some(predicted.clone()), ..Default::default() };
    embedding::classify(&model, None, &options, &mut ()).unwrap();
    let lines = std::fs::read_to_string(&predicted).unwrap();
    let right = lines.lines().skip(1).filter(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        cells[1] == cells[2]
    });
    let scores =
        sequence::evaluate(&out, Some(&folder.path().join("data.csv")), &[], Default::default());
    let accuracy = scores.unwrap().report.scores().get(feedforward::metrics::Metric::Accuracy);
    assert!((accuracy.unwrap() - right.count() as f64 / 90.0).abs() < 1e-12);
}

#[test]
fn settings_that_do_not_go_together_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let said = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        SequenceRecipe::parse("", "test", &sets).unwrap_err().to_string()
    };
    let data = ["data.path='a.csv'", "model.encoder='bert'"];
    let with = |set| said(&[data[0], data[1], set]);
    for (found, part) in [
        (said(&data[..1]), "model.encoder"),
        (with("model.pooling='last'"), "model.pooling"),
        (with("data.target_log=true"), "data.target_log"),
        (with("optimizer.kind='lbfgs'"), "optimizer.kind"),
        (with("model.layer_decay=1.5"), "model.layer_decay"),
        (with("model.dropout=1"), "model.dropout"),
        (with("train.batch_size=0"), "train.batch_size"),
        (with("model.hidden=[0]"), "model.hidden"),
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    let frozen = recipe(folder.path(), &["model.frozen=true"]);
    assert_eq!((frozen.train.epochs, frozen.optimizer.lr), (20, Some(0.002)));
    let sgd = recipe(folder.path(), &["optimizer.kind='sgd'", "schedule.kind='constant'"]);
    assert_eq!((sgd.optimizer.clip_norm, sgd.schedule.warmup), (None, None));
    // Written in full, a recipe reads as it was.
    let text = feedforward::settings::to_toml(&frozen);
    assert_eq!(SequenceRecipe::parse(&text, "again", &[]).unwrap(), frozen);
    // One output for two classes has no head.
    let two = recipe(folder.path(), &["loss.kind='bce'", "data.path='two.csv'"]);
    let path = folder.path().join("two.csv");
    std::fs::write(&path, rows().replace("peut-être", "no")).unwrap();
    let two = SequenceRecipe { data: feedforward::table::DataConfig { path, ..two.data }, ..two };
    let options = TrainOptions { out: Some(folder.path().join("none")), ..Default::default() };
    let error = sequence::train(&two, &options, &mut ()).unwrap_err().to_string();
    assert!(error.contains("loss.kind") && error.contains("use cross_entropy"), "{error}");
}

/// A head over hidden layers of this program is no part of an encoder's graph.
#[cfg(feature = "onnx")]
#[test]
fn a_run_becomes_a_graph_or_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let export = |name: &str, sets: &[&str]| {
        let run = folder.path().join(name);
        let recipe = recipe(folder.path(), &[&["train.epochs=1"], sets].concat());
        let options = TrainOptions { out: Some(run.clone()), ..Default::default() };
        sequence::train(&recipe, &options, &mut ()).unwrap();
        let out = folder.path().join(format!("{name}.onnx"));
        feedforward::export_onnx(&run, &out, &Default::default()).map_err(|e| e.to_string())
    };
    let found = export("plain", &[]).unwrap();
    assert!(found.difference < 2e-6 && found.outputs[0].0 == "logits", "{found:?}");
    // The tokenizer lies beside, and is never replaced.
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    assert_eq!(found.tokenizer, Some(folder.path().join("plain.tokenizer.json")));
    let own = read(folder.path().join("plain/model/tokenizer.json"));
    assert_eq!(read(folder.path().join("plain.tokenizer.json")), own);
    std::fs::remove_file(folder.path().join("plain.onnx")).unwrap();
    let again = feedforward::export_onnx(
        &folder.path().join("plain"),
        &folder.path().join("plain.onnx"),
        &Default::default(),
    );
    let again = again.unwrap_err().to_string();
    assert!(again.contains("plain.tokenizer.json is there already"), "{again}");
    assert!(!folder.path().join("plain.onnx").exists());
    let refused = export("hidden", &["model.hidden=[4]"]).unwrap_err();
    assert!(refused.contains("its head reads") && refused.contains("model.hidden"), "{refused}");
    assert!(!folder.path().join("hidden.onnx").exists());
}
