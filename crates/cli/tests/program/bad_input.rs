//! Bad input of every kind: what is printed, how it ends, and that nothing was written.
//! `docs/bad-input.md` is the output of this test; `UPDATE_DOCS=1 cargo test -p ff-cli bad_input`
//! writes it anew.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::{Folder, Ran, two_classes};
use cases::{disks, files, fine_tuning, languages, models, predictions, recipes, runs, texts};
use encoders::encoders;

mod cases;
mod encoders;
mod keras;
mod pairs;
mod tensors;
mod torch;

/// Makes the files that some cases need.
type Cases = fn(&Folder) -> Vec<Case>;

/// One kind of bad input.
struct Case {
    title: &'static str,
    command: String,
    code: i32,
    /// What must be said, whatever else the document shows.
    says: &'static [&'static str],
    /// Options of a small disk mounted at `disk`, where the system lets a test have one.
    disk: Option<&'static str>,
    /// What may be there afterwards that was not there before: a run that can go on.
    leaves: &'static [&'static str],
}

#[test]
fn bad_input_says_what_where_and_what_to_do() {
    let folder = Folder::new("bad-input");
    let disks_there = disks_can_be_mounted();
    if !disks_there {
        eprintln!("full and read-only disks are left out: this system lets no test mount one");
    }
    let sections: [(&str, Cases); 13] = [
        ("Data", files),
        ("Recipes", recipes),
        ("Models", models),
        ("Predicting and evaluating", predictions),
        ("Disks", disks),
        ("Runs", runs),
        ("Text and tokenizers", texts),
        ("Language models", languages),
        ("Fine-tuning", fine_tuning),
        ("Pairs of texts", pairs::pairs),
        ("Encoders, embeddings, search", encoders),
        ("Models of Keras", keras::keras),
        ("Models of PyTorch", torch::torch),
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bad-input.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let mut document = String::from(HEAD);
    for (heading, cases) in sections {
        if heading == "Models" {
            folder.plain("data.csv");
            let train = "train plain.toml --target answer --out run --set train.epochs=2 --set model.hidden=[4]";
            folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
        }
        writeln!(document, "\n## {heading}").unwrap();
        for case in cases(&folder) {
            if case.disk.is_some() && !disks_there {
                document += &section(&written, case.title);
            } else {
                document += &shown(&case, &ran(&folder, &case));
            }
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, document).unwrap();
    } else if cfg!(target_os = "linux") {
        // Other systems word their errors in other ways.
        for (now, before) in document.lines().zip(written.lines()) {
            assert_eq!(now, before, "docs/bad-input.md; UPDATE_DOCS=1 writes it anew");
        }
        assert_eq!(document.lines().count(), written.lines().count());
    }
}

const HEAD: &str = "\
# Bad input

The program's message and exit code for every kind of bad input. A test runs each of these commands, compares the output
with this page, and checks that nothing was overwritten or left half-written; `UPDATE_DOCS=1 cargo
test -p ff-cli bad_input` updates the page.
";

fn ran(folder: &Folder, case: &Case) -> Ran {
    let before = folder.listing();
    let arguments: Vec<&str> = case.command.split(' ').collect();
    let ran = match case.disk {
        None => folder.run_piped(&arguments, ""),
        Some(options) => on_a_disk(folder, options, &arguments),
    };
    let ran = ran.fails(case.code, case.says);
    let mut after = folder.listing();
    if case.disk.is_some() {
        let left = folder.read("left");
        std::fs::remove_file(folder.path().join("left")).unwrap();
        after.retain(|path| path != "left");
        assert_eq!(left.lines().collect::<Vec<_>>(), case.leaves, "{}", case.title);
    }
    assert_eq!(after, before, "{} leaves no trace", case.title);
    ran
}

fn shown(case: &Case, ran: &Ran) -> String {
    // What `train` and `evaluate` say while they work is not what this page is about.
    let error = ran.stderr.find("error: ").map_or("", |start| &ran.stderr[start..]);
    let disk = match case.disk {
        None => "",
        Some("ro") => ", where `disk` is mounted read-only",
        Some(_) => ", where `disk` is small",
    };
    let Case { title, command, code, .. } = case;
    format!(
        "\n### {title}\n\n```console\n$ feedforward {command}\n{error}```\n\nExit code {code}{disk}.\n"
    )
}

/// A section of the page as it is written.
fn section(page: &str, title: &str) -> String {
    let heading = format!("\n### {title}\n");
    let Some(start) = page.find(&heading) else { return heading };
    let rest = &page[start + heading.len()..];
    let end = ["\n### ", "\n## "].iter().filter_map(|next| rest.find(next)).min();
    format!("{heading}{}", &rest[..end.unwrap_or(rest.len())])
}

/// Whether a test may mount a small disk in a name space of its own, as most Linux systems let
/// every user do.
pub(crate) fn disks_can_be_mounted() -> bool {
    let folder = Folder::new("mount");
    let mut command = Command::new("unshare");
    command.args(["-rm", "mount", "-t", "tmpfs", "none"]).arg(folder.path());
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs the program with a small disk mounted at `disk`; the files that it left there are listed in
/// `left`.
pub(crate) fn on_a_disk(folder: &Folder, options: &str, arguments: &[&str]) -> Ran {
    let script = "mount -t tmpfs -o \"$1\" none disk || exit 99; shift; \"$@\"; code=$?; \
                  find disk -type f | sort > left; exit $code";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, "sh", options, env!("CARGO_BIN_EXE_feedforward")])
        .args(arguments)
        .current_dir(folder.path())
        .output();
    Ran::new(&output.unwrap())
}

/// A disk that was full while training costs nothing but the steps since the last checkpoint.
#[test]
fn a_run_goes_on_when_the_disk_has_space_again() {
    if !disks_can_be_mounted() {
        eprintln!("left out: this system lets no test mount a disk");
        return;
    }
    let folder = Folder::new("full-and-free");
    folder.write("data.csv", &two_classes(400));
    std::fs::create_dir(folder.path().join("disk")).unwrap();
    let sets = "--set train.epochs=40 --set train.patience=0 --set train.checkpoint_seconds=0 \
                --set train.bags=";
    let train = |out: &str| format!("train data.csv --target answer --out {out} {sets} --quiet");
    folder.run(&train("whole").split(' ').collect::<Vec<_>>()).ok();
    let script = "mount -t tmpfs -o size=68k none disk && ! \"$@\" 2> full && mount -o remount,size=8m disk && \
                  \"$1\" train --resume disk/run --quiet && cp -r disk/run ran";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_feedforward")])
        .args(train("disk/run").split(' '))
        .current_dir(folder.path())
        .output();
    Ran::new(&output.unwrap()).ok();
    let said = folder.read("full");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("resume with feedforward train --resume disk/run"), "{said}");
    let model = |run: &str| std::fs::read(folder.path().join(run).join("model/model.safetensors"));
    assert!(model("ran").unwrap() == model("whole").unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_named() {
    let folder = Folder::new("full-stdout");
    folder.write("data.csv", &two_classes(60));
    let train = "train data.csv --target answer --out run --set train.epochs=1 --quiet";
    folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_feedforward"))
        .args(["predict", "run", "--data", "data.csv"])
        .current_dir(folder.path())
        .stdout(full)
        .output();
    let ran = Ran::new(&output.unwrap());
    ran.fails(1, &["cannot write the stream `-`", "The disk is full"]);
}

/// A pipe with a name is written to; a rename would put a file in its place.
#[cfg(unix)]
#[test]
fn a_named_pipe_stays_one() {
    let folder = Folder::new("pipe");
    folder.write("data.csv", &two_classes(60));
    let train = "train data.csv --target answer --out run --set train.epochs=1 --quiet";
    folder.run(&train.split(' ').collect::<Vec<_>>()).ok();
    let pipe = folder.path().join("p.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).unwrap()
    });
    folder.run(&["predict", "run", "--data", "data.csv", "--out", "p.csv"]).ok();
    assert_eq!(reader.join().unwrap().lines().count(), 61);
    assert!(!std::fs::metadata(&pipe).unwrap().is_file());
}
