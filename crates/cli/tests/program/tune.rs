//! A search for settings: what it writes, and that kills and threads do not show in it.

use serde_json::Value;

use crate::killed::{kill_when, start};
use crate::{Folder, two_classes};

/// A search of four settings over nine trials.
fn search<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["tune", "data.csv", "--target", "answer", "--out", out];
    arguments.extend(["--quality", "fast", "--trials", "9", "--set", "train.epochs=18"]);
    arguments.extend(["--set", "train.checkpoint_seconds=0.02"]);
    arguments.extend(["--vary", "optimizer.lr=0.0001..0.1 log", "--vary", "model.dropout=0..0.5"]);
    arguments.extend(["--vary", "model.hidden=[[4], [32], [32, 16]]"]);
    arguments.extend(["--vary", "data.scaling=['standard', 'minmax']"]);
    arguments.extend(more);
    arguments
}

/// What must be the same: every trial, and the model of the best.
fn result(folder: &Folder, out: &str) -> (Value, Vec<u8>) {
    let trials = serde_json::from_str(&folder.read(&format!("{out}/trials.json"))).unwrap();
    let model = folder.path().join(out).join("best/model/model.safetensors");
    (trials, std::fs::read(model).unwrap())
}

#[test]
fn a_search_finds_settings_and_trains_them() {
    let folder = Folder::new("tune");
    folder.write("data.csv", &two_classes(400));
    let ran = folder.run(&search("found", &["--json"])).ok();
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    let trials = summary["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 9);
    let epochs: Vec<u64> = trials.iter().map(|t| t["epochs"].as_u64().unwrap()).collect();
    assert_eq!(epochs, [18, 6, 6, 2, 2, 2, 2, 2, 2]);
    let value = |trial: &Value| trial["value"].as_f64().unwrap();
    let losses: Vec<f64> = trials.iter().map(value).collect();
    assert!(losses[1] <= losses[2] && losses[3..].is_sorted(), "{losses:?}");
    // The first trial has the recipe's own settings.
    let own = trials.iter().find(|trial| trial["trial"] == 1).unwrap();
    assert_eq!(own["settings"], serde_json::json!({}));
    assert_eq!(summary["influence"].as_array().unwrap().len(), 4);
    assert!(summary["best"]["verdict"]["comparisons"].is_array());

    assert!(!folder.path().join("found/trials").exists(), "no states are left");
    let report = folder.read("found/report.html");
    assert!(report.contains("What mattered") && report.contains("model.hidden"));
    folder.run(&["predict", "found/best", "--data", "data.csv", "--out", "p.csv"]).ok();
    folder.run(&["tune", "--resume", "found"]).fails(1, &["is finished"]);
    folder.run(&["tune", "--resume", "found/best"]).fails(1, &["is not the folder of a search"]);
    // The recipes are whole: the search and its best settings run again to the same bits.
    let found = result(&folder, "found");
    folder.run(&["tune", "found/tune.toml", "--out", "again", "--quiet"]).ok();
    assert!(result(&folder, "again") == found, "the same search");
    folder.run(&["train", "found/best.toml", "--out", "best", "--quiet"]).ok();
    let best = std::fs::read(folder.path().join("best/model/model.safetensors")).unwrap();
    assert!(best == found.1, "the same model");
}

#[test]
fn kills_and_threads_do_not_show_in_a_search() {
    let folder = Folder::new("tune-killed");
    folder.write("data.csv", &two_classes(600));
    folder.run(&search("whole", &["--threads", "1"])).ok();
    let whole = result(&folder, "whole");
    let mut child = start(&folder, &search("killed", &["--threads", "2"]));
    for trial in [3, 8] {
        let state = folder.path().join(format!("killed/trials/{trial}.safetensors"));
        assert!(
            kill_when(&mut child, || state.exists()),
            "the search was over before trial {trial}"
        );
        child = start(&folder, &["tune", "--resume", "killed", "--threads", "2"]);
    }
    // And while the best settings are trained; a fast machine may be done before.
    let run = folder.path().join("killed/best/run.json");
    if kill_when(&mut child, || run.exists()) {
        folder.run(&["tune", "--resume", "killed"]).ok();
    }
    assert!(result(&folder, "killed") == whole, "the same trials and model");
}
