//! Runs the standard's tests, which `scripts/onnx_tests.py` writes to a folder: one folder each
//! with `model.onnx`, `input_I.pb`, `output_I.pb` and `tolerance`.
//!
//! Prints how many passed, are refused by name or failed, and each that failed. With a list, it is
//! compared: a test that passed there and no longer does is an error; `UPDATE=1` writes it anew.
#![allow(missing_docs, clippy::print_stdout)]

mod compare;

use ff_interop::onnx::{Error, Model, Session};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The verdict on a test.
enum Verdict {
    Passed,
    Refused(String),
    Failed(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, list] = &arguments[..] else {
        println!("usage: standard_tests FOLDER LIST");
        return ExitCode::from(2);
    };
    std::panic::set_hook(Box::new(|_| {}));
    let mut verdicts = BTreeMap::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.path().join("model.onnx").is_file()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let run = std::panic::catch_unwind(|| run(&entry.path()));
        verdicts.insert(name, run.unwrap_or_else(|_| Verdict::Failed("panicked".into())));
    }
    report(&verdicts, Path::new(list))
}

fn report(verdicts: &BTreeMap<String, Verdict>, list: &Path) -> ExitCode {
    let (mut passed, mut refused, mut failed) = (0, 0, 0);
    let mut lines = String::new();
    for (name, verdict) in verdicts {
        let line = match verdict {
            Verdict::Passed => {
                passed += 1;
                format!("{name} passed\n")
            }
            Verdict::Refused(why) => {
                refused += 1;
                format!("{name} refused: {why}\n")
            }
            Verdict::Failed(why) => {
                failed += 1;
                println!("failed: {name}: {why}");
                format!("{name} failed: {why}\n")
            }
        };
        lines += &line;
    }
    println!("{passed} passed, {refused} refused, {failed} failed");
    if std::env::var_os("UPDATE").is_some() {
        let written = fs::write(list, lines);
        return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let known = fs::read_to_string(list).unwrap_or_default();
    let mut worse = failed > 0 || verdicts.is_empty();
    for name in known.lines().filter_map(|line| line.strip_suffix(" passed")) {
        if !matches!(verdicts.get(name), Some(Verdict::Passed)) {
            println!("passed before: {name}");
            worse = true;
        }
    }
    if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run(folder: &Path) -> Verdict {
    match evaluate(folder) {
        Ok(None) => Verdict::Passed,
        Ok(Some(difference)) => Verdict::Failed(difference),
        Err(Error::Unsupported(why)) => Verdict::Refused(why.replace('\n', " ")),
        Err(error) => Verdict::Failed(error.to_string().replace('\n', " ")),
    }
}

/// What differs from the expected outputs.
fn evaluate(folder: &Path) -> Result<Option<String>, Error> {
    let session = Session::new(Model::open(&folder.join("model.onnx"))?)?;
    let inputs = compare::inputs(folder, session.model())?;
    for (i, (name, found)) in session.run(inputs)?.iter().enumerate() {
        if let Some(difference) = compare::difference(folder, i, name, found)? {
            return Ok(Some(difference));
        }
    }
    Ok(None)
}
