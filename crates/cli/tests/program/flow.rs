//! From a table to a run, and what can be done with it.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{Folder, two_classes};

#[test]
fn a_table_becomes_a_run_that_every_command_reads() {
    let folder = Folder::new("flow");
    folder.write("data.csv", &two_classes(300));
    let ran = folder.run(&[
        "train",
        "data.csv",
        "--target",
        "answer",
        "--seed",
        "3",
        "--name",
        "first",
        "--set",
        "train.epochs=20",
    ]);
    let text = ran.ok().stdout;
    for part in [
        "feedforward 0.",
        "seed 3",
        "Data   data.csv · 300 rows × 3 columns",
        "Target",
        "positive = yes",
        "Split  train",
        "Model  8 members × (8 → ",
        "Plan   adamw",
        "epoch 1/20",
        "epoch 20/20",
        "✓ stopped: ",
        "Test (45 rows)",
        "accuracy ↑",
        "Saved  runs/first-1/",
        "Next   feedforward predict runs/first-1 --data new.csv --proba",
    ] {
        assert!(text.contains(part), "wanted {part}:\n{text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text}");

    let scores = folder.run(&["evaluate", "runs/first-1"]).ok().stdout;
    assert!(scores.contains("ROC AUC ↑"), "{scores}");
    let json =
        folder.run(&["evaluate", "runs/first-1", "--data", "data.csv", "--json"]).ok().json();
    assert_eq!(json["rows"], 300);
    assert!(json["accuracy"].as_f64() > Some(0.8) && json["f1_macro"].is_f64(), "{json}");

    let layers = folder.run(&["inspect", "runs/first-1"]).ok().stdout;
    assert!(
        layers.contains("output") && layers.contains("predicts answer: binary of 2 classes"),
        "{layers}"
    );

    let train = [
        "train",
        "runs/first-1/recipe.toml",
        "--set",
        "model.hidden=[4]",
        "--name",
        "second",
        "--json",
    ];
    let ran = folder.run(&train).ok();
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    assert!(ran.stderr.contains("epoch 20/20"), "{}", ran.stderr);
    let json = ran.json();
    assert_eq!(json["run"], "runs/second-1");
    for key in ["seconds", "steps", "parameters", "peak_bytes"] {
        assert!(json[key].is_number(), "{key}: {json}");
    }
    assert!(
        json["metrics"]["valid"]["accuracy"].is_f64()
            && json["metrics"]["test"]["accuracy"].is_f64()
    );

    let compared = folder.run(&["compare", "runs/first-1", "runs/second-1"]).ok().stdout;
    let line = compared.lines().find(|line| line.contains("model.hidden")).unwrap_or_default();
    assert!(line.contains("[64, 32]") && line.contains("[4]"), "{compared}");
    assert!(compared.contains("test accuracy ↑"), "{compared}");

    folder
        .run(&["train", "data.csv", "--target", "answer", "--out", "runs/first-1"])
        .fails(1, &["is not empty, and nothing is ever overwritten"]);
    folder.run(&["train", "--resume", "runs/first-1"]).fails(1, &["is finished"]);
    folder.run(&["train", "runs/first-1"]).fails(2, &["feedforward train --resume runs/first-1"]);
}

#[test]
fn the_kept_model_sees_all_rows_and_the_judged_one_has_the_scores() {
    let folder = Folder::new("refit");
    folder.write("data.csv", &two_classes(200));
    let train = |out: &str, more: &[&str]| {
        let base = ["train", "data.csv", "--target", "answer", "--out", out, "--json"];
        folder.run(&[&base[..], &["--set", "train.epochs=6"], more].concat()).ok().json()
    };
    let json = train("run", &[]);
    assert_eq!(json["refit_rows"], 200);
    let evaluated = folder.run(&["evaluate", "run", "--json"]).ok().json();
    assert_eq!(evaluated["log_loss"], json["metrics"]["test"]["log_loss"]);
    let weights =
        |model: &str| std::fs::read(folder.path().join(model).join("model.safetensors")).unwrap();
    assert_ne!(weights("run/model"), weights("run/judged"));

    folder.write("new.csv", "x,y\n1.5,9\n9,1.5\n");
    let rows = folder.run(&["predict", "run", "--data", "new.csv", "--spread"]).ok().stdout;
    let spreads: Vec<f64> =
        rows.lines().skip(1).map(|row| row.rsplit(',').next().unwrap().parse().unwrap()).collect();
    assert!(rows.starts_with("x,y,prediction,spread\n"), "{rows}");
    assert!(spreads.len() == 2 && spreads.iter().all(|s| (1e-6..0.5).contains(s)), "{rows}");

    let json = train(
        "one",
        &["--set", "model.members=", "--set", "train.refit=false", "--set", "train.bags="],
    );
    assert!(json.get("refit_rows").is_none() && !folder.path().join("one/judged").exists());
    folder
        .run(&["predict", "one", "--data", "new.csv", "--spread"])
        .fails(2, &["this model is one network"]);
    folder
        .run(&["train", "one/recipe.toml", "--quality", "best"])
        .fails(2, &["--quality is for a table without a recipe"]);
}

#[test]
fn above_a_number_of_rows_the_kept_model_is_the_judged_one_trained_on() {
    let folder = Folder::new("refit-on");
    folder.write("data.csv", &two_classes(200));
    let base = ["train", "data.csv", "--target", "answer", "--set", "train.bags=", "--seed", "3"];
    let read = |file: String| std::fs::read(folder.path().join(file)).unwrap();
    // 140 of the rows are to train on.
    for (above, out, on) in [("139", "on", true), ("140", "anew", false)] {
        let above = format!("train.refit_judged_above={above}");
        let more = ["--set", &above, "--set", "train.epochs=5", "--out", out, "--verbose"];
        let run = folder.run(&[&base[..], &more].concat()).ok();
        let said = if on {
            "model/ is judged/ trained on, with all 200 rows"
        } else {
            "trained anew on all 200"
        };
        assert!(run.stdout.contains(said), "{}", run.stdout);
        let last = if on { "epoch 2/2 " } else { "epoch 5/5 " };
        assert!(run.stderr.contains(last) || run.stdout.contains(last), "{}", run.stderr);
        // The transforms are those of the judged model, the weights are not.
        let same = |file: &str| {
            read(format!("{out}/model/{file}")) == read(format!("{out}/judged/{file}"))
        };
        assert_eq!(same("transforms.json"), on);
        assert!(!same("model.safetensors"));
    }
    let plan = |above: &str| {
        let above = format!("train.refit_judged_above={above}");
        let plan = [
            "plan",
            "data.csv",
            "--target",
            "answer",
            "--set",
            "train.bags=",
            "--set",
            &above,
            "--json",
        ];
        folder.run(&plan).ok().json()["steps_after"].as_u64().unwrap()
    };
    assert_eq!(4 * plan("139"), plan("140"));
}

#[test]
fn a_time_chooses_quality_and_steps() {
    let folder = Folder::new("budget");
    folder.write("data.csv", &two_classes(200));
    let base = ["train", "data.csv", "--target", "answer", "--time-budget"];
    let train = |more: &[&str]| folder.run(&[&base[..], more].concat());
    // Hours are enough for the best quality, whose recipe is not run here.
    let dry = train(&["9h", "--dry-run"]).ok().stdout;
    assert!(dry.contains("16 members") && dry.contains("steps of the kept networks"), "{dry}");
    // More epochs than anyone has time for: the last quality, with the steps of two seconds.
    let long = ["--set", "train.epochs=1000000", "--set", "train.patience=3"];
    train(&[&["2s", "--out", "run"][..], &long].concat()).ok();
    let recipe = folder.read("run/recipe.toml");
    let stated = |line: &str| recipe.lines().any(|l| l.starts_with(line));
    assert!(stated("kind = \"one_cycle\"") && stated("steps = "), "{recipe}");
    train(&["0.0001s"]).fails(2, &["is too short for one model of this table: it takes about"]);
    train(&["soon"]).fails(2, &["write a time such as 60s, 5m or 1h"]);
    folder
        .run(&["train", "run/recipe.toml", "--time-budget", "60s"])
        .fails(2, &["--time-budget is for a table without a recipe"]);
}

#[test]
fn a_dry_run_and_a_plan_write_nothing() {
    let folder = Folder::new("dry");
    folder.write("data.csv", &two_classes(100));
    let dry = folder.run(&["train", "data.csv", "--target", "answer", "--dry-run"]).ok().stdout;
    assert!(dry.contains("Split  train") && dry.contains("optimiser state"), "{dry}");
    let plan = folder.run(&["plan", "data.csv", "--target", "answer", "--json"]).ok().json();
    assert!(
        plan["pool_bytes"].as_u64() > Some(0) && plan["flops_per_step"].as_u64() > Some(0),
        "{plan}"
    );
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn a_learning_rate_is_suggested_with_the_option_to_paste() {
    let folder = Folder::new("find-lr");
    folder.write("data.csv", &two_classes(300));
    let plan = ["plan", "data.csv", "--target", "answer", "--find-lr"];
    let text = folder.run(&plan).ok().stdout;
    assert!(text.contains("▁") && text.contains("the steepest fall"), "{text}");
    let setting = text.lines().last().unwrap().split_once("--set ").unwrap().1;

    let mut json = plan.to_vec();
    json.push("--json");
    let json = folder.run(&json).ok().json();
    let lr = json["suggestion"].as_f64().unwrap();
    assert_eq!(setting.strip_prefix("optimizer.lr=").and_then(|lr| lr.parse().ok()), Some(lr));
    assert!((1e-5..1.0).contains(&lr) && json["recipe_lr"] == 0.003, "{json}");
    assert_eq!(json["rates"].as_array().unwrap().len(), json["losses"].as_array().unwrap().len());

    let train = ["train", "data.csv", "--target", "answer", "--out", "run", "--set", setting];
    folder.run(&[&train[..], &["--set", "train.epochs=2", "--set", "train.bags="]].concat()).ok();
    let mut lbfgs = plan.to_vec();
    lbfgs.extend(["--set", "optimizer.kind=lbfgs"]);
    folder.run(&lbfgs).fails(2, &["optimizer.kind", "L-BFGS"]);
}

#[test]
fn cross_validation_reports_each_seed_and_fold() {
    let folder = Folder::new("folds");
    folder.write("data.csv", &two_classes(100));
    let base =
        ["train", "data.csv", "--target", "answer", "--set", "train.epochs=2", "--folds", "3"];
    let mut json = base.to_vec();
    json.extend(["--seeds", "0,1", "--json"]);
    let json = folder.run(&json).ok().json();
    assert_eq!(json["results"].as_array().unwrap().len(), 6);
    assert!(json["mean"]["accuracy"].is_f64());
    let text = folder.run(&base).ok().stdout;
    assert!(text.contains("seed 0, fold 3 of 3 · 2 epochs"), "{text}");
    assert!(
        text.contains("Mean over 1 seed of 3 folds, each row held out once")
            && text.contains("accuracy ↑"),
        "{text}"
    );
}

#[test]
fn checks_can_be_narrowed() {
    let folder = Folder::new("check");
    let json = folder.run(&["check", "relu", "--json"]).ok().json();
    assert!(json["passed"].as_u64() > Some(0) && json["failed"] == 0, "{json}");
    folder.run(&["check", "no-such-operation"]).fails(2, &["the operations are "]);
}

/// A first Ctrl-C saves and says how to go on; going on ends with the result of a run that was left
/// alone.
#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_resume_goes_on() {
    let folder = Folder::new("ctrl-c");
    folder.plain("data.csv");
    folder.write("data.csv", &two_classes(2000));
    let sets =
        ["--set", "train.epochs=150", "--set", "train.patience=0", "--set", "train.batch_size=16"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_feedforward"))
        .args(["train", "plain.toml", "--target", "answer", "--out", "stopped", "--threads", "1"])
        .args(sets)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The run's own note says when training is under way.
    let metrics = folder.path().join("stopped/metrics.jsonl");
    for _ in 0..600 {
        if std::fs::metadata(&metrics).is_ok_and(|m| m.len() > 0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(130), "{stdout}");
    assert!(stdout.contains("Next   feedforward train --resume stopped"), "{stdout}");
    assert!(!folder.path().join("stopped/model").exists());
    let resumed = folder.run(&["train", "--resume", "stopped", "--threads", "1"]).ok().stdout;
    assert!(
        resumed.contains("resuming at step ") && resumed.contains("epoch 150/150"),
        "{resumed}"
    );
    let mut whole =
        vec!["train", "plain.toml", "--target", "answer", "--out", "whole", "--threads", "1"];
    whole.extend(sets);
    folder.run(&whole).ok();
    let model = |run: &str| std::fs::read(folder.path().join(run).join("model/model.safetensors"));
    assert_eq!(model("stopped").unwrap(), model("whole").unwrap());
}

#[test]
fn predictions_follow_the_columns_that_were_there() {
    let folder = Folder::new("predict");
    folder.write("data.csv", &two_classes(200));
    folder.write("new.csv", "y,x,note\n1.5,9,a\n9,1.5,b\n");
    let train =
        ["train", "data.csv", "--target", "answer", "--out", "run", "--set", "train.epochs=30"];
    folder.run(&train).ok();

    let ran = folder.run(&["predict", "run", "--data", "new.csv"]).ok();
    assert_eq!(ran.stdout, "y,x,note,prediction\n1.5,9,a,yes\n9,1.5,b,no\n");
    assert_eq!(ran.stderr, "", "standard output is for the rows, and nothing else was asked for");

    let ran =
        folder.run(&["predict", "run", "--data", "new.csv", "--proba", "--out", "p.csv"]).ok();
    assert!(
        ran.stdout
            .contains("Saved  p.csv · 2 rows with prediction, probability_no, probability_yes")
    );
    let text = std::fs::read_to_string(folder.path().join("p.csv")).unwrap();
    assert!(
        text.starts_with("y,x,note,prediction,probability_no,probability_yes\n1.5,9,a,yes,"),
        "{text}"
    );
    let p: Vec<f64> =
        text.lines().nth(1).unwrap().split(',').skip(4).map(|p| p.parse().unwrap()).collect();
    assert!((p[0] + p[1] - 1.0).abs() < 1e-6 && p[1] > 0.5, "{p:?}");

    let json = folder
        .run(&["predict", "run", "--data", "new.csv", "--out", "p.jsonl", "--json"])
        .ok()
        .json();
    assert_eq!((json["rows"].as_u64(), json["out"].as_str()), (Some(2), Some("p.jsonl")));
    folder.run(&["predict", "run", "--data", "new.csv", "--json"]).fails(2, &["--out"]);

    folder.write("lacks.csv", "x,z\n1,2\n");
    let lacks = folder.run(&["predict", "run", "--data", "lacks.csv", "--out", "lacks-out.csv"]);
    lacks.fails(1, &["does not fit the model", "y"]);
    assert!(!folder.path().join("lacks-out.csv").exists());
    folder
        .run(&["predict", "rnu", "--data", "new.csv"])
        .fails(2, &["there is no such run", "did you mean"]);
}

#[test]
fn an_ensemble_that_does_not_fit_is_refused_with_how_many_members_would() {
    let folder = Folder::new("many-members");
    folder.write("data.csv", &two_classes(200));
    let train =
        "train data.csv --target answer --set model.members=1024 --set model.hidden=[1000000]";
    let train: Vec<&str> = train.split(' ').collect();
    folder.run(&train).fails(2, &["this run needs", "are free; model.members=", " fits"]);
    assert!(!folder.path().join("runs").exists());
}
