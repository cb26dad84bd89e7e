//! The program as people meet it: what it prints, where, and how it ends.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod bf16;
mod calibration;
mod data;
mod finetune;
mod flow;
#[cfg(feature = "keras")]
mod keras;
mod killed;
mod language;
mod new_rows;
mod objectives;
#[cfg(feature = "onnx")]
mod onnx;
mod pairs;
mod recipes;
mod resume;
mod sequences;
mod shell;
mod texts;
mod tokenizer;
mod tune;

use std::fmt::Write;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder of its own for a test, removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("feedforward-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A recipe of one plain network for a file, without its target: `plain.toml`.
    fn plain(&self, data: &str) {
        self.write("plain.toml", &format!("data.path = '{data}'\n"));
    }

    /// Runs the program in this folder.
    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_feedforward"));
        command.args(arguments).current_dir(&self.0).env_remove("NO_COLOR").env("COLUMNS", "100");
        command.envs(variables.iter().copied());
        Ran::new(&command.output().unwrap())
    }

    /// Runs the program in this folder with something on its standard input.
    fn run_piped(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = Command::new(env!("CARGO_BIN_EXE_feedforward"))
            .args(arguments)
            .current_dir(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that fails early does not read to the end.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::new(&child.wait_with_output().unwrap())
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// Copies a folder of this folder.
    fn copy(&self, from: &str, to: &str) {
        let (from, to) = (self.0.join(from), self.0.join(to));
        std::fs::create_dir_all(&to).unwrap();
        for name in listing(&from) {
            let (from, to) = (from.join(&name), to.join(&name));
            if from.is_dir() {
                std::fs::create_dir(to).unwrap();
            } else {
                std::fs::copy(from, to).unwrap();
            }
        }
    }

    /// Puts one text in the place of another.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{from}: {text}");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// Every file and folder below, in order.
    fn listing(&self) -> Vec<String> {
        listing(&self.0)
    }
}

/// Every file and folder below a folder, in order.
fn listing(top: &Path) -> Vec<String> {
    fn walk(folder: &Path, top: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(top).unwrap().to_string_lossy().into_owned());
            if path.is_dir() {
                walk(&path, top, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(top, top, &mut found);
    found.sort();
    found
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a run of the program ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn new(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// It ended with this code and said all of these on standard error, without colours.
    #[track_caller]
    fn fails(self, code: i32, messages: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for message in messages {
            assert!(self.stderr.contains(message), "wanted: {message}\n{}", self.stderr);
        }
        assert!(!self.stderr.contains('\u{1b}'), "{}", self.stderr);
        self
    }

    /// The object on the last line of standard output.
    #[track_caller]
    fn json(&self) -> serde_json::Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Two classes that a line divides, with a few rows in the wrong place.
fn two_classes(rows: usize) -> String {
    let mut text = String::from("x,y,answer\n");
    for i in 0..rows {
        let (x, y) = (((i * 37) % 101) as f64 / 10.0, ((i * 53) % 97) as f64 / 10.0);
        let answer = if (x > y) == (i % 23 != 0) { "yes" } else { "no" };
        writeln!(text, "{x},{y},{answer}").unwrap();
    }
    text
}
