//! The program as people meet it: what it prints, where, and how it ends.
#![allow(clippy::unwrap_used)]

mod data;
mod flow;
mod recipes;
mod shell;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

    fn path(&self) -> &Path {
        &self.0
    }
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
