//! Killed at any moment and resumed, a run ends with the bits of one that was left alone.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Folder, two_classes};

const EPOCHS: usize = 120;

/// The settings of every run here, with batch norm and dropout, whose state must come back too.
const SETS: [&str; 14] = [
    "--set",
    "train.epochs=120",
    "--set",
    "train.patience=0",
    "--set",
    "train.batch_size=16",
    "--set",
    "model.hidden=[16]",
    "--set",
    "model.dropout=0.2",
    "--set",
    "model.norm=batch",
    "--set",
    "train.bags=",
];

pub(crate) fn start(folder: &Folder, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_feedforward"))
        .args(arguments)
        .arg("--quiet")
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(crate) fn train<'a>(out: &'a str, sets: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "data.csv", "--target", "answer", "--out", out];
    arguments.extend(SETS);
    arguments.extend(sets);
    arguments
}

/// Kills a process (SIGKILL on Unix) as soon as something is so; whether it came to that before the
/// process ended.
pub(crate) fn kill_when(child: &mut Child, mut ready: impl FnMut() -> bool) -> bool {
    let patience = Instant::now() + Duration::from_secs(120);
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if ready() {
            child.kill().unwrap();
            // A process that ended by itself in the meantime has a code.
            return child.wait().unwrap().code().is_none();
        }
        assert!(Instant::now() < patience, "nothing happened for two minutes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn lines(run: &Path) -> usize {
    std::fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// Numbers for moments; any will do, and the same ones each time make a failure one that comes
/// back.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// The bits that must be the same, and the history without its seconds.
pub(crate) fn result(run: &Path) -> (Vec<u8>, String, Vec<serde_json::Value>) {
    let history = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let history = history.lines().map(|line| {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(record.as_object_mut().unwrap().remove("seconds").is_some());
        record
    });
    let history = history.collect();
    let model = std::fs::read(run.join("model/model.safetensors")).unwrap();
    (model, std::fs::read_to_string(run.join("scores.json")).unwrap(), history)
}

#[test]
fn killed_and_resumed_a_run_ends_with_the_same_bits() {
    let folder = Folder::new("killed");
    folder.write("data.csv", &two_classes(1200));
    folder.run(&train("whole", &[])).ok();
    let whole = result(&folder.path().join("whole"));
    assert_eq!(whole.2.len(), EPOCHS);

    let run = folder.path().join("run");
    let resume = ["train", "--resume", "run"];
    let mut state = 11;
    let mut child = start(&folder, &train("run", &["--set", "train.checkpoint_seconds=0.02"]));
    for kill in 1..=3 {
        // Somewhere in this quarter of the epochs, and then somewhere in a step, a checkpoint or an
        // evaluation.
        let epoch = (kill - 1) * EPOCHS / 4 + 1 + next(&mut state) as usize % (EPOCHS / 4);
        let more = Duration::from_micros(next(&mut state) % 4000);
        let killed = kill_when(&mut child, || {
            let there = lines(&run) >= epoch;
            if there {
                std::thread::sleep(more);
            }
            there
        });
        assert!(killed, "kill {kill}: the run was over at epoch {} of {EPOCHS}", lines(&run));
        assert!(!run.join("model").exists(), "no model before training is over");
        // What cannot be seen by chance: a process that died while it wrote.
        std::fs::write(run.join("checkpoints/.ff-died.tmp"), "half").unwrap();
        child = start(&folder, &resume);
    }
    // Once more while the model, the scores or the report are written; a fast machine may be done
    // before.
    let killed = kill_when(&mut child, || run.join("model").exists());
    if killed {
        folder.run(&resume).ok();
    }
    assert!(result(&run) == whole, "the same model, scores and history");
    let files: Vec<_> = std::fs::read_dir(run.join("checkpoints")).unwrap().flatten().collect();
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(".ff-");
    assert!(!files.iter().any(|file| hidden(&file.file_name())), "{files:?}");
    folder.run(&resume).fails(1, &["is finished"]);
}

#[test]
fn killed_before_its_first_checkpoint_a_run_starts_again() {
    let folder = Folder::new("killed-early");
    folder.write("data.csv", &two_classes(400));
    let sets = ["--set", "train.epochs=120", "--set", "train.checkpoint_seconds=1000"];
    folder.run(&train("whole", &sets)).ok();
    let run = folder.path().join("run");
    let mut child = start(&folder, &train("run", &sets));
    assert!(kill_when(&mut child, || lines(&run) > 2), "it must still be training");
    assert!(!run.join("checkpoints/last.safetensors").exists());
    folder
        .run(&["predict", "run", "--data", "data.csv"])
        .fails(1, &["run: has no model yet; resume it with `feedforward train --resume run`"]);
    folder.run(&["train", "--resume", "run"]).ok();
    assert!(result(&run) == result(&folder.path().join("whole")));
}

#[test]
fn threads_do_not_show_in_the_model() {
    let folder = Folder::new("threads");
    folder.write("data.csv", &two_classes(600));
    let of = |out: &str, threads: &str| {
        let sets =
            ["--set", "train.epochs=6", "--set", "model.hidden=[200,100]", "--threads", threads];
        folder.run(&train(out, &sets)).ok();
        result(&folder.path().join(out))
    };
    let one = of("one", "1");
    assert!(of("two", "2") == one, "2 threads");
    assert!(of("four", "4") == one, "4 threads");
}

#[test]
fn a_run_has_one_trainer_at_a_time() {
    let folder = Folder::new("two-trainers");
    folder.write("data.csv", &two_classes(400));
    let run = folder.path().join("run");
    let mut child = start(&folder, &train("run", &["--set", "train.epochs=1000000"]));
    let killed = kill_when(&mut child, || {
        let there = lines(&run) > 0;
        if there {
            folder
                .run(&["train", "--resume", "run"])
                .fails(1, &["run: is being trained by another process"]);
        }
        there
    });
    assert!(killed);
}
