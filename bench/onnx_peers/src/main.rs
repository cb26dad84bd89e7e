//! How many of the standard's tests a peer passes: `ff-onnx-peers tract|candle FOLDER`, on the
//! folder that `scripts/onnx_tests.py` writes. Each test runs in a process of its own, at most ten
//! seconds.

#[path = "../../../crates/interop/examples/standard_tests/compare.rs"]
mod compare;

mod candle;
mod tract;

use ff_interop::onnx::Model;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The longest that a test may take.
const MOST: Duration = Duration::from_secs(10);
/// Exit codes of one test.
const DIFFERS: u8 = 3;
const REFUSED: u8 = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [one, peer, folder] if one == "--one" => test(peer, Path::new(folder)),
        [peer, folder] if peer == "tract" || peer == "candle" => all(peer, Path::new(folder)),
        _ => {
            println!("usage: ff-onnx-peers tract|candle FOLDER");
            ExitCode::from(2)
        }
    }
}

/// A test in this process.
fn test(peer: &str, folder: &Path) -> ExitCode {
    let differs = || -> Result<Option<String>, String> {
        let model = Model::open(&folder.join("model.onnx")).map_err(|e| e.to_string())?;
        let inputs = compare::inputs(folder, &model).map_err(|e| e.to_string())?;
        let run = if peer == "tract" { tract::run } else { candle::run };
        let outputs = run(&folder.join("model.onnx"), inputs)?;
        for (i, found) in outputs.iter().enumerate() {
            let name = format!("output {i}");
            let differs =
                compare::difference(folder, i, &name, found).map_err(|e| e.to_string())?;
            if differs.is_some() {
                return Ok(differs);
            }
        }
        Ok(None)
    };
    match differs() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(difference)) => {
            println!("{difference}");
            ExitCode::from(DIFFERS)
        }
        Err(message) => {
            println!("{message}");
            ExitCode::from(REFUSED)
        }
    }
}

fn all(peer: &str, folder: &Path) -> ExitCode {
    let (mut passed, mut differ, mut refused, mut crashed) = (0, 0, 0, 0);
    let mut folders: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    folders.sort_by_key(std::fs::DirEntry::file_name);
    for test in folders.iter().filter(|test| test.path().join("model.onnx").is_file()) {
        let code = code(peer, &test.path());
        let word = match code {
            Some(0) => {
                passed += 1;
                continue;
            }
            Some(code) if code == i32::from(DIFFERS) => {
                differ += 1;
                "differs"
            }
            Some(code) if code == i32::from(REFUSED) => {
                refused += 1;
                "refused"
            }
            _ => {
                crashed += 1;
                "crashed"
            }
        };
        println!("{word}: {}", test.file_name().to_string_lossy());
    }
    println!(
        "{passed} passed, {refused} refused, {differ} differ, {crashed} panicked or took too long"
    );
    if passed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The exit code of a test; `None` for one that took too long or could not be started.
fn code(peer: &str, folder: &Path) -> Option<i32> {
    let program = std::env::current_exe().ok()?;
    let mut child = Command::new(program)
        .args(["--one", peer])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let begun = Instant::now();
    while begun.elapsed() < MOST {
        if let Ok(Some(status)) = child.try_wait() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
