//! Networks whose products are of bf16.

use crate::killed::{kill_when, lines, result, start, train};
use crate::{Folder, Ran, two_classes};
use std::path::Path;

const BF16: [&str; 2] = ["--set", "model.precision=bf16"];

/// Trains on the digits that come with the program, as far as a test has time for.
fn digits(folder: &Folder, out: &str, more: &[&str]) -> Ran {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits.csv");
    let data = data.to_string_lossy();
    let mut arguments = vec!["train", &*data, "--target", "label", "--out", out];
    for set in [
        "data.task=multiclass",
        "model.hidden=[64,32]",
        "train.epochs=12",
        "train.bags=",
        "model.members=",
    ] {
        arguments.extend(["--set", set]);
    }
    arguments.extend(more);
    folder.run(&arguments).ok()
}

fn model(folder: &Folder, run: &str) -> Vec<u8> {
    std::fs::read(folder.path().join(run).join("model/model.safetensors")).unwrap()
}

#[test]
fn digits_are_learnt_as_well_and_every_command_computes_alike() {
    let folder = Folder::new("bf16-digits");
    digits(&folder, "f32", &[]);
    digits(&folder, "bf16", &BF16);
    let [exact, rounded] = ["f32", "bf16"].map(|run| {
        let scores = folder.run(&["evaluate", run, "--json"]).ok().json();
        scores["accuracy"].as_f64().unwrap()
    });
    // 270 rows are for the test: either may have a few of them more.
    assert!(exact > 0.9 && (exact - rounded).abs() < 0.02, "{exact} in f32, {rounded} in bf16");
    assert!(model(&folder, "f32") != model(&folder, "bf16"));

    // What predict says of all rows, judged by hand, is what evaluate says.
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits.csv");
    let data = data.to_string_lossy();
    folder.run(&["predict", "bf16", "--data", &data, "--out", "p.csv"]).ok();
    let scores = folder.run(&["evaluate", "bf16", "--data", &data, "--json"]).ok().json();
    let text = std::fs::read_to_string(&*data).unwrap();
    let labels = text.lines().skip(1).map(|line| line.rsplit(',').next().unwrap());
    let predictions = folder.read("p.csv");
    let predictions = predictions.lines().skip(1).map(|line| line.rsplit(',').next().unwrap());
    let (mut right, mut all) = (0, 0);
    for (label, predicted) in labels.zip(predictions) {
        all += 1;
        right += usize::from(label == predicted);
    }
    let accuracy = scores["accuracy"].as_f64().unwrap();
    assert!((accuracy - f64::from(right as u32) / f64::from(all)).abs() < 1e-9, "{right} of {all}");

    // The precision is said where a model is described.
    assert!(folder.run(&["inspect", "bf16"]).ok().stdout.contains(" · computed in bf16 · "));
    assert!(!folder.run(&["inspect", "f32"]).ok().stdout.contains("computed in"));
    assert!(folder.read("bf16/report.html").contains(" → 64 relu → 32 relu → 10 in bf16"));
    assert!(folder.read("bf16/report.html").contains("f32, products of "));
    assert!(folder.read("bf16/recipe.toml").contains("precision = \"bf16\""));
}

#[test]
fn a_killed_run_in_bf16_ends_with_the_same_bits_on_any_number_of_threads() {
    let folder = Folder::new("bf16-resume");
    folder.write("data.csv", &two_classes(1200));
    let sets = |threads: &'static str, more: &[&'static str]| {
        let mut sets = vec!["--threads", threads];
        sets.extend(BF16.iter().chain(more));
        sets
    };
    folder.run(&train("whole", &sets("1", &[]))).ok();
    let whole = result(&folder.path().join("whole"));
    folder.run(&train("threads", &sets("4", &[]))).ok();
    assert!(result(&folder.path().join("threads")) == whole, "4 threads");
    folder.run(&train("f32", &["--threads", "1"])).ok();
    assert!(result(&folder.path().join("f32")) != whole, "bf16 is something else");

    let run = folder.path().join("run");
    let saved = || run.join("checkpoints/last.safetensors").exists();
    let often = ["--set", "train.checkpoint_seconds=0.02"];
    let mut child = start(&folder, &train("run", &sets("2", &often)));
    assert!(kill_when(&mut child, || saved() && lines(&run) > 10), "it must still be training");
    assert!(!run.join("model").exists(), "no model before training is over");
    folder.run(&["train", "--resume", "run"]).ok();
    assert!(result(&run) == whole, "the same model, scores and history");
}

#[test]
fn another_precision_is_refused_with_those_there_are() {
    let folder = Folder::new("bf16-wrong");
    folder.write("data.csv", &two_classes(60));
    folder
        .run(&["train", "data.csv", "--target", "answer", "--set", "model.precision=fp16"])
        .fails(2, &["model.precision=fp16", "f32", "bf16"]);
    assert!(!folder.path().join("runs").exists());
}
