//! Help, completions, the manual page, colours and pipes.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::{Folder, two_classes};

const COMMANDS: &[&[&str]] = &[
    &["train"],
    &["evaluate"],
    &["predict"],
    &["plan"],
    &["inspect"],
    &["compare"],
    &["check"],
    &["env"],
    &["completions"],
    &["man"],
    &["tokenizer", "train"],
    &["tokenizer", "encode"],
    &["tokenizer", "decode"],
    &["tokenizer", "inspect"],
    &["recipe", "new"],
    &["recipe", "validate"],
    &["recipe", "schema"],
    &["recipe", "show"],
];

#[test]
fn every_command_has_help() {
    let folder = Folder::new("help");
    let all = folder.run(&["--help"]).ok().stdout;
    for command in COMMANDS {
        assert!(all.contains(&format!("  {} ", command[0])), "{command:?}");
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let help = folder.run(&arguments).ok().stdout;
        assert!(help.contains("Usage: feedforward ") && help.contains("--quiet"), "{help}");
        assert!(!help.contains('\u{1b}'));
    }
}

#[test]
fn the_version_is_printed() {
    let version = Folder::new("version").run(&["--version"]).ok().stdout;
    assert_eq!(version, format!("feedforward {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_option_or_command_is_met_with_the_nearest_right_one() {
    let folder = Folder::new("usage");
    folder.run(&["trian", "x.csv"]).fails(2, &["similar subcommand exists: 'train'"]);
    folder.run(&["train", "x.csv", "--sed", "1"]).fails(2, &["--seed"]);
    folder.run(&["train"]).fails(2, &["required", "DATA|RECIPE"]);
    folder
        .run(&["train", "x.csv", "--task", "guess"])
        .fails(2, &["binary, multiclass and regression"]);
    folder.run(&["train", "x.csv", "--isa", "mmx"]).fails(
        2,
        &["expected plain, avx2, avx512 or \
                                                                amx"],
    );
    folder.run(&["train", "x.csv", "--threads", "0"]).fails(2, &["--threads"]);
    let cuda = folder.run(&["train", "x.csv", "--device", "cuda"]);
    cuda.fails(2, &["computes on the CPU only", "--device cpu"]);
    let ran = folder.run(&["train", "--json"]);
    assert_eq!((ran.code, ran.json()["error"]["kind"].as_str()), (Some(2), Some("usage")));
}

#[test]
fn completions_are_written_for_every_shell() {
    let folder = Folder::new("completions");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = folder.run(&["completions", shell]).ok().stdout;
        assert!(script.contains("evaluate") && script.contains("seed"), "{shell}");
    }
    folder.run(&["completions", "cmd"]).fails(2, &["bash", "zsh"]);
}

#[test]
fn the_manual_page_is_roff() {
    let folder = Folder::new("man");
    let page = folder.run(&["man"]).ok().stdout;
    assert!(
        page.contains(".TH feedforward 1") && page.contains("feedforward\\-train(1)"),
        "{page}"
    );
    folder.run(&["man", "--out", "pages"]).ok();
    let train = std::fs::read_to_string(folder.path().join("pages/feedforward-train.1")).unwrap();
    assert!(train.contains("\\-\\-target"));
}

#[test]
fn env_has_what_a_bug_report_needs() {
    let folder = Folder::new("env");
    let text = folder.run(&["env"]).ok().stdout;
    for word in ["feedforward ", "processor", "kernels", "threads", "memory", "devices"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(text.contains(" instructions for bf16\n"), "{text}");
    let json = folder.run(&["env", "--json"]).ok().json();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(json["threads"].as_u64() >= Some(1));
}

#[test]
fn colours_are_for_terminals_unless_asked_for() {
    let folder = Folder::new("colours");
    folder.write("bad.toml", "[train]\nepohcs = 1\n");
    let validate = ["recipe", "validate", "bad.toml"];
    assert!(!folder.run(&validate).stderr.contains('\u{1b}'));
    let mut always = validate.to_vec();
    always.extend(["--color", "always"]);
    assert!(folder.run(&always).stderr.contains('\u{1b}'));
    // What was asked for on the command line wins over the environment.
    assert!(folder.run_with(&always, &[("NO_COLOR", "1")]).stderr.contains('\u{1b}'));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new("pipe");
    let mut child = Command::new(env!("CARGO_BIN_EXE_feedforward"))
        .args(["recipe", "schema"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn quiet_says_what_was_asked_for_alone() {
    let folder = Folder::new("quiet");
    folder.write("data.csv", &two_classes(120));
    let base = ["train", "data.csv", "--target", "answer", "--set", "train.epochs=1", "--quiet"];
    let ran = folder.run(&base).ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

/// What cannot be written is said, and is no success.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_standard_output_is_a_failure() {
    let folder = Folder::new("full");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_feedforward"))
        .args(["recipe", "schema"])
        .current_dir(folder.path())
        .stdout(full)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: cannot write: "), "{stderr}");
}
