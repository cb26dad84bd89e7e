//! Runs that cannot go on, and why.

use crate::{Folder, two_classes};

/// A folder with a run that was stopped by its data being unreadable is hard to make; one that is
/// marked as unfinished is the same to the program.
fn unfinished(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("data.csv", &two_classes(120));
    folder.run(&train("run")).ok();
    let text = folder.read("run/run.json");
    assert!(text.contains("\"finished\": true"), "{text}");
    folder.write("run/run.json", &text.replace("\"finished\": true", "\"finished\": false"));
    folder
}

fn train(out: &str) -> Vec<&str> {
    let sets = ["--set", "train.epochs=3", "--set", "model.hidden=[4]"];
    let mut arguments = vec!["train", "data.csv", "--target", "answer", "--out", out];
    arguments.extend(sets);
    arguments
}

const RESUME: [&str; 3] = ["train", "--resume", "run"];

#[test]
fn an_edited_recipe_is_refused_with_what_was_edited() {
    let folder = unfinished("resume-recipe");
    let before = folder.listing();
    let recipe = folder.read("run/recipe.toml");
    assert!(recipe.contains("\nepochs = 3 "), "{recipe}");
    folder.write("run/recipe.toml", &recipe.replace("\nepochs = 3 ", "\nepochs = 5 "));
    let messages = [
        "run/recipe.toml: was edited since the run was started (train.epochs: 3 → 5)",
        "take that back to resume",
        "feedforward train run/recipe.toml",
    ];
    folder.run(&RESUME).fails(1, &messages);
    std::fs::remove_file(folder.path().join("run/checkpoints/last.safetensors")).unwrap();
    folder.run(&RESUME).fails(1, &messages);
    folder.write("run/recipe.toml", &recipe.replace("\nepochs = 3 ", "\nepohcs = 3 "));
    folder.run(&RESUME).fails(2, &["unknown key `train.epohcs`", "did you mean `epochs`?"]);
    // What the result does not depend on may be changed.
    let slower = recipe.replace("\ncheckpoint_seconds = ", "\ncheckpoint_seconds = 1");
    assert_ne!(slower, recipe);
    folder.write("run/recipe.toml", &slower);
    folder.run(&RESUME).ok();
    assert_eq!(folder.listing(), before);
}

#[test]
fn data_that_changed_is_refused_by_name() {
    let folder = unfinished("resume-data");
    let data = folder.read("data.csv");
    let before = folder.listing();
    folder.write("data.csv", &format!("{data}1,2,yes\n"));
    folder.run(&RESUME).fails(
        1,
        &["run: was started on other data: data.csv has changed since", "put the old file back"],
    );
    folder
        .run(&["evaluate", "run"])
        .fails(1, &["run: was trained on other data than its file holds now", "--data"]);
    std::fs::rename(folder.path().join("data.csv"), folder.path().join("dta.csv")).unwrap();
    folder.run(&RESUME).fails(2, &["there is no file `", "did you mean `dta.csv`?"]);
    folder.write("data.csv", &data);
    std::fs::remove_file(folder.path().join("dta.csv")).unwrap();
    folder.run(&RESUME).ok();
    assert_eq!(folder.listing(), before);
}

#[test]
fn the_kernels_are_noted_and_kept() {
    let folder = Folder::new("resume-isa");
    folder.write("data.csv", &two_classes(120));
    let mut arguments = train("run");
    arguments.extend(["--isa", "plain"]);
    let said = folder.run(&arguments).ok().stdout;
    assert!(said.contains("CPU (plain)"), "{said}");
    let model = || std::fs::read(folder.path().join("run/model/model.safetensors")).unwrap();
    let whole = model();
    assert!(folder.read("run/run.json").contains("\"isa\": \"plain\""));
    folder.edit("run/run.json", "\"finished\": true", "\"finished\": false");
    if folder.run(&["env", "--json"]).ok().json()["kernels"] != "plain" {
        folder.run(&RESUME).fails(1, &["was written with plain kernels", "add --isa plain"]);
    }
    folder.run(&["train", "--resume", "run", "--isa", "plain"]).ok();
    assert!(model() == whole);
    for arguments in [&["evaluate", "run"][..], &["predict", "run", "--data", "data.csv"]] {
        folder.run(&[arguments, &["--isa", "plain"]].concat()).ok();
    }
    folder.run(&["plan", "run/recipe.toml", "--isa", "plain"]).ok();
}

#[test]
fn a_damaged_state_is_named_with_two_ways_out() {
    let folder = unfinished("resume-state");
    let state = folder.path().join("run/checkpoints/last.safetensors");
    let good = std::fs::read(&state).unwrap();
    let ways_out = "put an older copy back, or remove it to start again at step 0 with feedforward train --resume run";
    for (bytes, message) in [
        (&good[..0], "0 bytes are too few"),
        (&good[..good.len() / 2], "last.safetensors: "),
        (&good[..good.len() - 1], "last.safetensors: "),
    ] {
        std::fs::write(&state, bytes).unwrap();
        folder.run(&RESUME).fails(1, &["run/checkpoints/last.safetensors: ", message, ways_out]);
    }
    std::fs::copy(folder.path().join("run/model/model.safetensors"), &state).unwrap();
    folder.run(&RESUME).fails(1, &["is a safetensors file, but not a checkpoint"]);
    let whole = std::fs::read(folder.path().join("run/model/model.safetensors")).unwrap();
    std::fs::remove_file(&state).unwrap();
    folder.run(&RESUME).ok();
    assert!(std::fs::read(folder.path().join("run/model/model.safetensors")).unwrap() == whole);
}

#[test]
fn what_is_no_run_or_a_finished_one_is_refused() {
    let folder = unfinished("resume-none");
    folder
        .run(&["train", "--resume", "data.csv"])
        .fails(1, &["data.csv: is not the folder of a run: it has no recipe.toml"]);
    folder
        .run(&["train", "--resume", "rnu"])
        .fails(2, &["there is no such run; did you mean run?"]);
    folder.run(&["train", "--resume", "zzz"]).fails(2, &["there is no such run; . holds run"]);
    folder.run(&RESUME).ok();
    folder.run(&RESUME).fails(1, &["run: is finished", "larger train.epochs"]);
    let info = folder.path().join("run/run.json");
    let text = std::fs::read_to_string(&info).unwrap();
    std::fs::write(&info, &text[..40]).unwrap();
    folder
        .run(&RESUME)
        .fails(1, &["run/run.json: does not describe a run", "train its recipe anew"]);
    std::fs::remove_file(&info).unwrap();
    folder
        .run(&RESUME)
        .fails(1, &["run/run.json: reading: No such file", "help: the folder is incomplete"]);
    std::fs::write(&info, text.replace("\"format\": 1", "\"format\": 9")).unwrap();
    folder.run(&RESUME).fails(1, &["has run format 9, this version reads 1"]);
    std::fs::remove_file(folder.path().join("run/recipe.toml")).unwrap();
    folder.run(&RESUME).fails(1, &["it was stopped while it was being made", "train anew"]);
}

#[test]
fn standard_input_is_data_for_every_command() {
    let folder = Folder::new("stdin");
    let data = two_classes(120);
    folder.write("data.csv", &data);
    let mut from_file = train("file");
    folder.run(&from_file).ok();
    from_file[1] = "-";
    from_file[5] = "piped";
    folder.run_piped(&from_file, &data).ok();
    let model = |run: &str| std::fs::read(folder.path().join(run).join("model/model.safetensors"));
    assert!(model("file").unwrap() == model("piped").unwrap());

    let predicted = folder.run(&["predict", "file", "--data", "data.csv"]).ok().stdout;
    assert_eq!(folder.run_piped(&["predict", "file", "--data", "-"], &data).ok().stdout, predicted);
    let scores = folder.run(&["evaluate", "file", "--data", "data.csv", "--json"]).ok().json();
    let piped = folder.run_piped(&["evaluate", "file", "--data", "-", "--json"], &data).ok().json();
    assert_eq!(scores["accuracy"], piped["accuracy"]);
    // The run's own data is the pipe's: it has to come through again.
    folder.run_piped(&["evaluate", "piped"], &data).ok();
    let nothing = &["the stream `-` is empty", "help: Pipe the rows in"];
    folder.run_piped(&["evaluate", "piped"], "").fails(1, nothing);
    folder.run_piped(&["predict", "file", "--data", "-"], "").fails(1, nothing);
    from_file[5] = "none";
    folder.run_piped(&from_file, "").fails(1, nothing);
    assert!(!folder.path().join("none").exists());
    folder.run_piped(&["train", "-"], &data).fails(2, &["name it with --target"]);
}
