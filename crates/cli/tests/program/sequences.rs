//! Published encoders under a head: trained from a table, killed, resumed, predicted, judged.

use std::fmt::Write;
use std::path::Path;

use crate::killed::{kill_when, lines, result, start};
use crate::{Folder, Ran};

/// Texts that an encoder of a few words reads: `quick` or `brown` tells the class, whatever else
/// stands there; and a number that follows from it.
fn rows(n: usize) -> String {
    let mut text = String::from("text,answer,size\n");
    let fillers = ["the fox", "jumping the fox", "mixed notes in the fox", "the fox in the notes"];
    for i in 0..n {
        let (class, filler) = (i % 2, fillers[i / 2 % 4]);
        let word = ["quick", "brown"][class];
        let (number, answer) = (i / 8, ["no", "yes"][class]);
        writeln!(text, "{filler} {word} {number} the fox,{answer},{}", 10 + 100 * class).unwrap();
    }
    text
}

pub(crate) fn prepared(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("data.csv", &rows(240));
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/embedding");
    for model in ["bert", "roberta"] {
        std::fs::create_dir_all(folder.path().join(model).join("1_Pooling")).unwrap();
        for entry in std::fs::read_dir(from.join(model)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path.file_name().unwrap() != "expected.json" {
                let to = folder.path().join(model).join(path.file_name().unwrap());
                std::fs::copy(path, to).unwrap();
            }
        }
    }
    let pooling = from.join("bert/1_Pooling/config.json");
    std::fs::copy(pooling, folder.path().join("bert/1_Pooling/config.json")).unwrap();
    folder
}

/// Settings of every run: the numbers' target is no text of the classes'.
const SETS: &str = "--set model.encoder=bert --set optimizer.lr=0.005 --set train.batch_size=16 \
                    --set data.columns.size=drop --set data.columns.text=text";

pub(crate) fn run(folder: &Folder, line: &str) -> Ran {
    folder.run(&line.split_whitespace().collect::<Vec<_>>())
}

fn train(folder: &Folder, out: &str, more: &str) -> Ran {
    run(folder, &format!("train data.csv --target answer --out {out} {SETS} {more}"))
}

#[test]
fn an_encoder_learns_from_a_table_and_every_command_reads_it() {
    let folder = prepared("sequence");
    let summary = train(&folder, "run", "--set train.epochs=16 --json").ok().json();
    assert_eq!(summary["metrics"]["test"]["accuracy"], 1.0, "{summary}");
    for file in ["report.html", "scores.json", "model/config.json", "model/tokenizer.json"] {
        assert!(folder.path().join("run").join(file).exists(), "{file}");
    }
    let config = folder.read("run/model/config.json");
    assert!(config.contains("BertForSequenceClassification"), "{config}");
    assert!(folder.read("run/report.html").contains("tokens of the encoder"));

    // What predict says is what evaluate judges.
    folder.write("new.csv", "id,text\n1,the quick fox\n2,notes brown the\n3,\n");
    let predicted = run(&folder, "predict run --data new.csv --proba --quiet").ok().stdout;
    let last: Vec<&str> = predicted.lines().collect();
    assert!(last[0].ends_with("prediction,probability_no,probability_yes"), "{predicted}");
    assert!(last[1].contains(",no,") && last[2].contains(",yes,"), "{predicted}");
    let scores = run(&folder, "evaluate run --json").ok().json();
    assert_eq!((&scores["part"], &scores["accuracy"]), (&"test".into(), &1.0.into()), "{scores}");
    let all = run(&folder, "evaluate run --data data.csv --json").ok().json();
    run(&folder, "predict run --data data.csv --out predicted.csv").ok();
    let predicted = folder.read("predicted.csv");
    let all_right = predicted.lines().skip(1).filter(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        cells[1] == cells[3]
    });
    let share = all_right.count() as f64 / 240.0;
    assert!((all["accuracy"].as_f64().unwrap() - share).abs() < 1e-12, "{all} {share}");
    let inspected = run(&folder, "inspect run").ok().stdout;
    assert!(inspected.contains("bert encoder for 2 classes of texts"), "{inspected}");
    assert!(run(&folder, "compare run run").ok().stdout.contains("run"));

    // Another encoder, whose head has a hidden layer; the trained one goes on.
    let sets = "--set model.encoder=roberta --set model.dropout=0 --set train.epochs=16 --json";
    let summary = train(&folder, "roberta-run", sets).ok().json();
    assert!(summary["metrics"]["test"]["accuracy"].as_f64().unwrap() > 0.9, "{summary}");
    let again = train(&folder, "again", "--set model.encoder=run --set train.steps=1 --json");
    assert_eq!(again.ok().json()["metrics"]["test"]["accuracy"], 1.0);
}

#[test]
fn killed_and_resumed_an_encoder_ends_with_the_same_bits_on_any_threads() {
    let folder = prepared("sequence-killed");
    for (name, more) in [
        ("whole", "--set train.epochs=8 --set train.checkpoint_seconds=0"),
        (
            "frozen",
            "--set model.frozen=true --set train.epochs=30 --set train.checkpoint_seconds=0",
        ),
    ] {
        train(&folder, name, &format!("{more} --threads 1 --quiet")).ok();
        let killed = format!("{name}-killed");
        let path = folder.path().join(&killed);
        let line =
            format!("train data.csv --target answer --out {killed} {SETS} {more} --threads 2");
        let mut child = start(&folder, &line.split_whitespace().collect::<Vec<_>>());
        for evaluations in [1, 3] {
            let killed = kill_when(&mut child, || lines(&path) >= evaluations);
            assert!(killed, "the run was over at evaluation {}", lines(&path));
            child = start(&folder, &["train", "--resume", path.to_str().unwrap()]);
        }
        assert!(child.wait().unwrap().success());
        assert!(result(&path) == result(&folder.path().join(name)), "{name}");
    }
}

#[test]
fn a_number_is_predicted_in_its_own_unit() {
    let folder = prepared("sequence-number");
    let line = "train data.csv --target size --out run --set model.encoder=bert --json \
                --set optimizer.lr=0.005 --set train.batch_size=16 --set train.epochs=16 \
                --set data.task='regression' --set data.columns.answer=drop --set data.columns.text=text";
    let summary = run(&folder, line).ok().json();
    let r2 = summary["metrics"]["test"]["r2"].as_f64().unwrap();
    assert!(r2 > 0.95, "{summary}");
    folder.write("new.csv", "text\nthe quick fox 3 the fox\nthe fox brown 7 the fox\n");
    let predicted = run(&folder, "predict run --data new.csv --quiet").ok().stdout;
    let numbers: Vec<f64> = predicted
        .lines()
        .skip(1)
        .map(|line| line.rsplit(',').next().unwrap().parse().unwrap())
        .collect();
    assert!((numbers[0] - 10.0).abs() < 20.0 && (numbers[1] - 110.0).abs() < 20.0, "{predicted}");
    let scores = run(&folder, "evaluate run --json").ok().json();
    assert!((scores["r2"].as_f64().unwrap() - r2).abs() < 1e-6, "{scores}");
    run(&folder, "predict run --data new.csv --proba").fails(2, &["this model predicts numbers"]);
}

#[test]
fn plans_settings_and_notes_of_an_encoder() {
    let folder = prepared("sequence-plan");
    let plan = train(&folder, "none", "--dry-run --json").ok().json();
    assert_eq!(plan["rows"], serde_json::json!([168, 36, 36]), "{plan}");
    assert!(plan["texts_per_second"].as_f64().unwrap() > 0.0, "{plan}");
    assert!(!folder.path().join("none").exists());

    // A head alone has fewer values, a layer below learns at a lower rate, bf16 is another run.
    let parameters = |out: &str, more: &str| {
        let more = format!("{more} --set train.steps=2 --json");
        train(&folder, out, &more).ok().json()["parameters"].as_u64().unwrap()
    };
    let whole = parameters("whole", "");
    assert_eq!(parameters("frozen", "--set model.frozen=true"), 2 * 32 + 2);
    assert_eq!(parameters("cls", "--set model.pooling=cls"), whole + 32 * 32 + 32);
    parameters("decay", "--set model.layer_decay=0.5 --set model.head_rate=4");
    parameters("bf16", "--set model.precision=bf16");
    let model = |run: &str| std::fs::read(folder.path().join(run).join("model/model.safetensors"));
    for other in ["decay", "bf16"] {
        assert!(model(other).unwrap() != model("whole").unwrap(), "{other}");
    }

    // Several columns of texts, some empty, some longer than the positions.
    let long = "the fox ".repeat(40);
    let mut text = String::from("title,body,answer\n");
    for (i, line) in rows(60).lines().skip(1).enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        let body = if i % 10 == 0 {
            &*long
        } else if i % 10 == 1 {
            ""
        } else {
            cells[0]
        };
        writeln!(text, "{},{body} {i},{}", cells[0], cells[1]).unwrap();
    }
    folder.write("two.csv", &text);
    let line = "train two.csv --target answer --out two --set model.encoder=bert --verbose \
                --set train.steps=3 --set data.columns.title=text --set data.columns.body=text";
    let ran = run(&folder, line).ok();
    let said = ran.stdout + &ran.stderr;
    assert!(said.contains("one text is made of the columns title, body"), "{said}");
    assert!(said.contains(" texts longer than 24 tokens: the rest is cut off"), "{said}");
    folder.write("new.csv", "body,title\nthe fox,the quick fox\n");
    run(&folder, "predict two --data new.csv").ok();
    folder.write("other.csv", "body\nthe fox\n");
    run(&folder, "predict two --data other.csv").fails(2, &["has no column `title`"]);
}

#[test]
fn a_class_for_everything_else_has_a_threshold() {
    let folder = prepared("sequence-threshold");
    let mut text = String::from("text,answer,size\n");
    for i in 0..240 {
        let (word, answer) =
            [("quick", "a"), ("brown", "b"), ("notes", "other"), ("quick", "a")][i % 4];
        writeln!(text, "the fox {word} {i} in the fox,{answer},1").unwrap();
    }
    folder.write("data.csv", &text);
    let aim = "evaluate.threshold={recall_at_false_positive_rate=0.03}";
    let more = format!("--set train.epochs=16 --set data.positive=other --set {aim}");
    train(&folder, "run", &more).ok();
    let scores: serde_json::Value = serde_json::from_str(&folder.read("run/scores.json")).unwrap();
    let chosen = &scores["threshold"];
    assert!(chosen["false_positive_rate"].as_f64().unwrap() <= 0.03, "{chosen}");
    assert_eq!(scores["valid"]["per_class"][2]["recall"], chosen["recall"]);
    assert!(folder.read("run/report.html").contains("other is predicted from a probability of"));
    assert_eq!(scores["test"]["per_class"][2]["recall"], 1.0, "{scores}");
    // What predict says, evaluate judges.
    let threshold = chosen["threshold"].as_f64().unwrap();
    let predicted = run(&folder, "predict run --data data.csv --proba --quiet").ok().stdout;
    let mut right = 0;
    for line in predicted.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let p: f64 = cells[cells.len() - 1].parse().unwrap();
        let said = cells[cells.len() - 4];
        assert_eq!(said == "other", p >= threshold, "{line}");
        right += u32::from(said == cells[1]);
    }
    let judged = run(&folder, "evaluate run --data data.csv --json").ok().json();
    let accuracy = judged["accuracy"].as_f64().unwrap_or_else(|| panic!("{judged}"));
    assert!((accuracy - f64::from(right) / 240.0).abs() < 1e-9, "{judged}");
}

/// Rows of which neither the text nor the number alone tells the class: `quick` with a large
/// number, or `brown` with a small one, is a `yes`; and a category that says nothing.
fn mixed(n: usize) -> String {
    let mut text = String::from("text,size,place,answer\n");
    for i in 0..n {
        let (word, large) = (["quick", "brown"][i % 2], i / 2 % 2 == 0);
        let size = if large { 100 + i % 37 } else { i % 31 };
        let answer = if (i % 2 == 0) == large { "yes" } else { "no" };
        let place = ["north", "south", "west"][i * 7 % 3];
        writeln!(text, "the fox {word} {} in the fox,{size}.5,{place},{answer}", i / 8).unwrap();
    }
    text
}

/// The share of right predictions of a file with the columns of [`mixed`] and `prediction`.
fn right(predicted: &str) -> f64 {
    let rows: Vec<Vec<&str>> =
        predicted.lines().skip(1).map(|line| line.split(',').collect()).collect();
    rows.iter().filter(|cells| cells[3] == cells[4]).count() as f64 / rows.len() as f64
}

#[test]
fn numbers_and_categories_stand_beside_an_encoder() {
    let folder = prepared("sequence-beside");
    folder.write("mixed.csv", &mixed(400));
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/embedding");
    std::fs::create_dir_all(folder.path().join("static")).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let to = folder.path().join("static").join(file);
        std::fs::copy(from.join("model2vec").join(file), to).unwrap();
    }
    for (name, model, more) in [
        ("fine", "bert", "--set optimizer.lr=0.003 --set model.head_rate=3 --set train.epochs=16"),
        ("frozen", "fine", "--set model.frozen=true --set optimizer.lr=0.01"),
        ("table", "static", "--set optimizer.lr=0.01 --set train.epochs=20"),
        ("rows", "static", "--set optimizer.lr=0.01 --set model.frozen=true"),
    ] {
        let line = format!(
            "train mixed.csv --target answer --out {name} --set model.encoder={model} --json \
             --set train.batch_size=16 --set data.columns.text=text {more}"
        );
        let summary = run(&folder, &line).ok().json();
        let accuracy = summary["metrics"]["test"]["accuracy"].as_f64().unwrap();
        assert!(accuracy > 0.95, "{name}: {summary}");
        // What predict says is what evaluate judges, in any order of the columns.
        let scores = run(&folder, &format!("evaluate {name} --json")).ok().json();
        assert!((scores["accuracy"].as_f64().unwrap() - accuracy).abs() < 1e-9, "{scores}");
        let all = run(&folder, &format!("evaluate {name} --data mixed.csv --json")).ok().json();
        let predicted = run(&folder, &format!("predict {name} --data mixed.csv --quiet")).ok();
        let share = right(&predicted.stdout);
        assert!((all["accuracy"].as_f64().unwrap() - share).abs() < 1e-9, "{name}: {all} {share}");
        folder
            .write("new.csv", "place,text,size\nsouth,the quick fox,104.5\neast,the quick fox,\n");
        let line = format!("predict {name} --data new.csv --proba --out {name}.jsonl");
        let said = run(&folder, &line).ok();
        let said = said.stdout + &said.stderr;
        assert!(said.contains("place"), "an unseen category: {said}");
        let rows = folder.read(&format!("{name}.jsonl"));
        assert!(rows.lines().next().unwrap().contains("\"prediction\":\"yes\""), "{rows}");
        let report = folder.read(&format!("{name}/report.html"));
        assert!(report.contains("hidden layer 0") && report.contains("tokens of the encoder"));
        assert!(run(&folder, &format!("inspect {name}")).ok().stdout.contains("head over"));
        folder.write("lacking.csv", "text,size\nthe fox,1.5\n");
        let lacking = format!("predict {name} --data lacking.csv");
        run(&folder, &lacking).fails(1, &["column `place` (category) is missing"]);
        folder.write("other.csv", "place,size\nsouth,1.5\n");
        run(&folder, &format!("predict {name} --data other.csv")).fails(2, &["no column `text`"]);
        run(&folder, &format!("embed {name} --data new.csv --text text --out {name}.npy")).ok();
    }
    // The first token's vector is another one, and hidden layers need no other columns.
    let pooled = "train mixed.csv --target answer --out first --set model.encoder=bert --json \
                  --set train.steps=2 --set data.columns.text=text --set model.pooling=cls \
                  --set data.columns.size=drop --set data.columns.place=drop --set model.hidden=[5]";
    let summary = run(&folder, pooled).ok().json();
    // The encoder as in a run without, but for its head: 32 → 5 → 2.
    let alone = "train mixed.csv --target answer --out alone --set model.encoder=bert --json \
                 --set train.steps=2 --set data.columns.text=text \
                 --set data.columns.size=drop --set data.columns.place=drop";
    let alone = run(&folder, alone).ok().json()["parameters"].as_u64().unwrap();
    let expected = alone - (2 * 32 + 2) + (5 * 32 + 5) + (2 * 5 + 2);
    assert_eq!(summary["parameters"], expected, "{summary}");
    run(&folder, "predict first --data mixed.csv --quiet").ok();
    // A run goes on as an encoder of another one; a number is predicted in its own unit.
    let line = "train mixed.csv --target size --out number --set model.encoder=fine --json \
                --set train.batch_size=16 --set data.columns.text=text --set train.epochs=16 \
                --set optimizer.lr=0.003";
    let summary = run(&folder, line).ok().json();
    assert!(summary["metrics"]["test"]["r2"].as_f64().unwrap() > 0.8, "{summary}");
    let scores = run(&folder, "evaluate number --json").ok().json();
    let found = (scores["r2"].as_f64(), summary["metrics"]["test"]["r2"].as_f64());
    assert!((found.0.unwrap() - found.1.unwrap()).abs() < 1e-6, "{scores}");
    // A damaged head is no panic.
    let path = folder.path().join("fine/model/head.safetensors");
    std::fs::write(&path, &std::fs::read(&path).unwrap()[..100]).unwrap();
    run(&folder, "predict fine --data new.csv").fails(1, &["head.safetensors"]);
    std::fs::remove_file(folder.path().join("frozen/model/transforms.json")).unwrap();
    run(&folder, "predict frozen --data new.csv").fails(1, &["transforms.json"]);
}

#[test]
fn killed_and_resumed_a_head_beside_columns_ends_with_the_same_bits() {
    let folder = prepared("sequence-beside-killed");
    folder.write("mixed.csv", &mixed(400));
    for (name, more) in [("tuned", ""), ("still", "--set model.frozen=true")] {
        let sets = format!(
            "--set model.encoder=bert --set train.batch_size=16 --set data.columns.text=text \
             --set train.epochs=8 --set train.checkpoint_seconds=0 {more}"
        );
        let line = format!("train mixed.csv --target answer --out {name} --threads 1 {sets}");
        run(&folder, &line).ok();
        let killed = format!("{name}-killed");
        let path = folder.path().join(&killed);
        let line = format!("train mixed.csv --target answer --out {killed} {sets} --threads 2");
        let mut child = start(&folder, &line.split_whitespace().collect::<Vec<_>>());
        assert!(kill_when(&mut child, || lines(&path) >= 2), "the run was over");
        child = start(&folder, &["train", "--resume", path.to_str().unwrap()]);
        assert!(child.wait().unwrap().success());
        assert!(result(&path) == result(&folder.path().join(name)), "{name}");
        let head = |run: &str| {
            std::fs::read(folder.path().join(run).join("model/head.safetensors")).unwrap()
        };
        assert!(head(name) == head(&killed), "{name}");
    }
}
