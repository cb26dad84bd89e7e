//! Training that goes on in Keras: the optimiser of a run in its exported file.

use std::path::Path;
use std::process::Command;

use crate::Folder;
use feedforward::formats::TensorFile;
use feedforward::interop::keras::Model;

/// One plain network, all rows in each of seven steps.
const TRAIN: &str = "train data.csv --target y --quiet --threads 1 --set train.bags= --set train.refit=false \
    --set train.temperature=false --set model.members= --set model.numeric=linear --set model.dropout=0 \
    --set model.hidden=[6] --set optimizer.ema= --set data.split.valid=0 --set data.split.test=0 \
    --set train.batch_size=60 --set train.epochs=7";

fn export(folder: &Folder, name: &str, sets: &[&str]) -> serde_json::Value {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let words: Vec<&str> = TRAIN.split_whitespace().chain(["--out", name]).chain(sets).collect();
    folder.run(&words).ok();
    folder.run(&["export", name, "--to", "keras", "--json"]).ok().json()["check"].clone()
}

#[test]
fn the_optimiser_of_a_run_is_in_its_file_for_keras() {
    let folder = Folder::new("keras-out");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/keras_training");
    std::fs::copy(fixtures.join("data.csv"), folder.path().join("data.csv")).unwrap();
    let sgd = "optimizer={kind='sgd', lr=0.02, momentum=0.9}";
    let found = export(&folder, "run", &[sgd]);
    assert_eq!(found["optimizer"], "SGD with a rate of 0.02 and its state after 7 steps");
    assert_eq!(found["notes"], serde_json::Value::Null);

    let model = Model::open(&folder.path().join("run.keras")).unwrap();
    let training = model.training().unwrap().unwrap();
    assert_eq!((training.optimizer.as_str(), &training.settings["momentum"]), ("SGD", &0.9.into()));
    assert_eq!(training.loss["class_name"], "MeanSquaredError");
    // Numbers are learned in units of their deviation.
    let transforms: serde_json::Value =
        serde_json::from_str(&folder.read("run/model/transforms.json")).unwrap();
    let std = transforms["target"]["std"].as_f64().unwrap();
    let weight = training.loss_weights[0].as_f64().unwrap();
    assert!((weight * std * std - 1.0).abs() < 1e-12, "{weight} {std}");
    let variable = |i: usize| training.variables[i].data().floats().unwrap();
    assert_eq!((training.variables.len(), variable(0)), (2 + 4, vec![7.0]));
    assert_eq!(variable(1), [f64::from(0.02f32)]);
    // Keras' momentum contains −rate, and its matrices lie the other way round.
    let last = TensorFile::open(&folder.path().join("run/checkpoints/last.safetensors")).unwrap();
    let own = last.f32("optimizer.momentum_buffer.layers.0.weight", &[6, 4]).unwrap();
    for (i, theirs) in variable(2).iter().enumerate() {
        let own = f64::from(own[i % 6 * 4 + i / 6]);
        assert!(own != 0.0 && (theirs + 0.02 * own).abs() < 1e-8, "{i}: {theirs} {own}");
    }

    // A state that belongs to other weights, or that Keras cannot have, stays out, with the reason.
    for (name, sets, why) in [
        ("ema", &["optimizer.ema=0.9"][..], "optimizer.ema"),
        (
            "best",
            &[
                "data.split.valid=0.3",
                "optimizer={kind='sgd', lr=0.8, momentum=0.9}",
                "train.epochs=5",
            ],
            "the best one",
        ),
        ("refit", &["train.refit=true", "data.split.test=0.2"], "train.refit = false"),
        ("norm", &["model.norm=batch"], "`layers.0.norm.weight` is trained here"),
        ("muon", &["optimizer={kind='muon'}"], "muon has no counterpart"),
    ] {
        let found = export(&folder, name, sets);
        let note = found["notes"][0].as_str().unwrap();
        assert!(
            note.starts_with("the optimiser is not in the file: ") && note.contains(why),
            "{note}"
        );
        let model = Model::open(&folder.path().join(format!("{name}.keras"))).unwrap();
        assert!(model.training().unwrap().is_none());
    }
    // What the caller does before training on.
    let shown = folder.run(&["export", "run", "--to", "keras", "--out", "again.keras"]).ok().stdout;
    assert!(shown.contains("training goes on with SGD with a rate of 0.02"), "{shown}");
    let found = export(&folder, "adamw", &[]);
    let note = found["notes"][0].as_str().unwrap();
    assert!(note.contains(r#"exclude_from_weight_decay(var_names=["bias"])"#), "{note}");

    // The weights alone, with the optimiser's.
    folder.run(&["export", "run", "--to", "keras", "--out", "run.weights.h5"]).ok();
    let alone = Model::open(&folder.path().join("run.weights.h5")).unwrap();
    assert!(!alone.has_layers());
    assert_eq!(alone.weights().unwrap(), model.weights().unwrap());
    for (name, why) in [
        ("run.h5", "the old format (.h5) has no form"),
        ("run.weights.npz", "Keras does not open weights as .npz"),
        ("run.weights.json", "in one file"),
    ] {
        let refused = folder.run(&["export", "run", "--to", "keras", "--out", name]);
        assert!(refused.code == Some(2) && refused.stderr.contains(why), "{}", refused.stderr);
        assert!(!folder.path().join(name).exists());
    }

    // Keras itself, for thirty steps after each optimiser.
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import keras, tensorflow"]).output();
    if has.is_ok_and(|found| found.status.success()) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/keras_continues.py");
        let ran = Command::new(python).arg(script).arg(env!("CARGO_BIN_EXE_feedforward")).output();
        let ran = ran.unwrap();
        let shown = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{shown}");
    }
}
