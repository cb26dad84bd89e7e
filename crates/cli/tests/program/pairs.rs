//! Encoders with decoders fine-tuned on pairs of texts: trained, killed, resumed, judged, used.

use std::fmt::Write;
use std::path::Path;

use crate::Folder;
use crate::killed::{kill_when, lines, result, start};
use crate::sequences::run;

/// Settings with which a tiny random model learns.
const SETS: &str = "--set optimizer.lr=0.02 --set train.batch_size=16";

/// A model of T5 and one of Marian, and a file of pairs: the words of each source, swapped.
pub(crate) fn prepared(name: &str) -> Folder {
    let folder = Folder::new(name);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/language");
    for (model, to) in [("t5_text", "t5"), ("marian_text", "marian")] {
        std::fs::create_dir_all(folder.path().join(to)).unwrap();
        for entry in std::fs::read_dir(from.join(model)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.path().join(to).join(path.file_name().unwrap())).unwrap();
        }
    }
    let mut pairs = String::from("id,en,de\n");
    let words = ["the cat", "a dog", "the bird", "a house", "all day", "one hill"];
    for i in 0..96 {
        let (a, b) = (words[i % 6], words[i / 6 % 6]);
        writeln!(pairs, "{i},{a} sees {b},{b} sees {a}").unwrap();
    }
    folder.write("pairs.csv", &pairs);
    folder
}

fn value(scores: &serde_json::Value, name: &str, key: &str) -> f64 {
    let all = scores["scores"].as_array().unwrap();
    let found = all.iter().find(|score| score["name"] == name);
    found.unwrap_or_else(|| panic!("{name} in {scores}"))[key].as_f64().unwrap()
}

#[test]
fn pairs_are_learned_judged_and_written() {
    let folder = prepared("pairs");
    let tune = format!(
        "finetune t5 --data pairs.csv --source en --target de --full --out run {SETS} \
         --set train.epochs=10 --set data.split.test=0.2 --json"
    );
    let summary = run(&folder, &tune).ok().json();
    let test = &summary["test"];
    assert_eq!((&test["pairs"], &summary["steps"]), (&19.into(), &50.into()), "{summary}");
    for (name, higher) in [("chrf", true), ("loss", false), ("perplexity", false)] {
        let (value, before) = (value(test, name, "value"), value(test, name, "before"));
        let better = if higher { value > before + 10.0 } else { value < 0.8 * before };
        assert!(better, "{name}: {value}, {before} before");
    }
    let shown = run(&folder, "evaluate run").ok();
    assert!(shown.stdout.contains("BLEU ↑") && shown.stdout.contains(" to "), "{}", shown.stdout);
    let again = run(&folder, "evaluate run --json").ok().json();
    for name in ["chrf", "bleu", "exact", "loss"] {
        let (a, b) = (value(&again, name, "value"), value(test, name, "value"));
        assert!((a - b).abs() < 1e-9, "{name}: {a} and {b}");
    }
    // The untrained model, on the same pairs, with fewer written.
    let line = "evaluate t5 --data pairs.csv --set evaluate.rows=3 --set data.source=en --set data.target=de --json";
    let before = run(&folder, line).ok().json();
    assert_eq!((&before["pairs"], &before["written"]), (&96.into(), &3.into()));
    assert!(value(&before, "loss", "value") > 3.0, "{before}");
    let page = folder.read("run/report.html");
    for part in ["Worst mistakes", "en → de", "before training", "chrF"] {
        assert!(page.contains(part), "{part}");
    }
    let written = run(&folder, "generate run --prompt a --quiet").ok().stdout;
    assert!(!written.trim().is_empty());
    run(&folder, "finetune --resume run").fails(1, &["is finished"]);

    // A file at once: each row as `generate` has it, empty texts stay empty.
    folder.write("new.csv", "id,en\n1,the cat sees a dog\n2,\n3,a bird\n");
    let written = run(&folder, "predict run --data new.csv --quiet").ok().stdout;
    let rows: Vec<&str> = written.lines().collect();
    assert_eq!((rows[0], rows[2]), ("id,en,prediction", "2,,"), "{written}");
    for (row, text) in [(rows[1], "the cat sees a dog"), (rows[3], "a bird")] {
        let alone = folder.run(&["generate", "run", "--prompt", text, "--quiet"]).ok().stdout;
        assert!(row.ends_with(&format!("{text},{}", alone.trim_end())), "{row}: {alone}");
    }
    let named = "predict t5 --data new.csv --text en --out out.jsonl --set evaluate.max_tokens=3";
    run(&folder, named).ok();
    assert_eq!(folder.read("out.jsonl").lines().count(), 3);
    run(&folder, "predict run --data new.csv --proba").fails(2, &["this one writes texts"]);
    run(&folder, "predict run --data new.csv --text fr").fails(2, &["fr", "`id`, `en`"]);
}

#[test]
fn an_adapter_is_merged_and_a_recipe_says_the_same() {
    let folder = prepared("pairs-adapter");
    let options = format!(
        "{SETS} --set train.epochs=4 --lora-rank 4 --prefix t: --set loss.label_smoothing=0.1"
    );
    let tune = format!("finetune marian --data pairs.csv --source en --target de {options}");
    let summary = run(&folder, &format!("{tune} --out run --json")).ok().json();
    let valid = &summary["valid"];
    assert!(value(valid, "loss", "value") < 0.9 * value(valid, "loss", "before"), "{summary}");
    for file in ["source.spm", "target.spm", "vocab.json", "config.json", "model.safetensors"] {
        assert!(folder.path().join("run/model").join(file).exists(), "{file}");
    }
    let recipe = folder.read("run/recipe.toml");
    for line in ["source = \"en\"", "prefix = \"t:\"", "label_smoothing = 0.1", "rank = 4"] {
        assert!(recipe.contains(line), "{line}: {recipe}");
    }
    // A folder with data and model as a recipe names them.
    run(&folder, "finetune run/recipe.toml --out again --quiet").ok();
    let bytes = |run: &str| std::fs::read(folder.path().join(run).join("model/model.safetensors"));
    assert!(bytes("run").unwrap() == bytes("again").unwrap());
    // The adapter alone, as PEFT has it: beside its model, in place of it, and merged.
    let config = folder.read("run/adapter/adapter_config.json");
    assert!(config.contains("SEQ_2_SEQ_LM") && config.contains("\"marian\""), "{config}");
    std::fs::create_dir(folder.path().join("lora")).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let from = folder.path().join("run/adapter").join(file);
        std::fs::copy(from, folder.path().join("lora").join(file)).unwrap();
    }
    run(&folder, "merge marian --adapter lora --out merged").ok();
    assert!(
        bytes("run").unwrap()
            == std::fs::read(folder.path().join("merged/model.safetensors")).unwrap()
    );
    run(&folder, "merge run --out copied").ok();
    assert!(
        bytes("run").unwrap()
            == std::fs::read(folder.path().join("copied/model.safetensors")).unwrap()
    );
    let write = |model: &str| {
        let line = format!("generate {model} --prompt t:a --quiet --max-tokens 9 --beams 1");
        run(&folder, &line).ok().stdout
    };
    let written = write("run");
    for model in ["lora", "marian --adapter lora", "merged"] {
        assert_eq!(write(model), written, "{model}");
    }
    let judge =
        "--data pairs.csv --set data.source=en --set data.target=de --set data.prefix=t: --json";
    let loss = |model: &str| {
        let found = run(&folder, &format!("evaluate {model} {judge}")).ok().json();
        value(&found, "loss", "value")
    };
    assert!((loss("lora") - loss("merged")).abs() < 1e-5 && loss("marian") > loss("lora") + 0.1);
    let none = run(&folder, "merge marian --out nothing");
    none.fails(2, &["there is no adapter to merge"]);
    let onto = "finetune lora --data pairs.csv --source en --target de --out more";
    run(&folder, onto).fails(1, &["is an adapter", "feedforward merge"]);
    run(&folder, "generate lora --adapter lora --prompt a").fails(1, &["is an adapter itself"]);
    run(&folder, "generate t5 --adapter lora --prompt a").fails(1, &["does not have"]);

    let more = "finetune run/recipe.toml --out longer --set train.epochs=5 --set train.seed=1";
    run(&folder, &format!("{more} --quiet")).ok();
    let compared = run(&folder, "compare run longer").ok();
    for part in ["train.epochs", "valid chrf ↑", "valid perplexity ↓", "parameters"] {
        assert!(compared.stdout.contains(part), "{part}: {}", compared.stdout);
    }
    assert!(compared.stdout.contains("split their rows differently"), "{}", compared.stdout);
    let compared = run(&folder, "compare run again --json").ok().json();
    assert_eq!(compared["differences"], serde_json::json!([]), "{compared}");
    let scores = compared["runs"][0]["scores"].as_array().unwrap();
    assert!(scores.iter().any(|s| s["name"] == "loss" && s["higher_is_better"] == false));
    let plan = run(&folder, "plan run/recipe.toml --json").ok().json();
    assert_eq!(plan["total_steps"], 24, "{plan}");
    let dry = run(&folder, &format!("{tune} --dry-run")).ok();
    assert!(dry.stdout.contains("pairs a second") || dry.stderr.contains("pairs a second"));
}

#[test]
fn a_killed_run_on_pairs_ends_with_the_same_bits() {
    let folder = prepared("pairs-killed");
    let options = format!(
        "--data pairs.csv --source en --target de {SETS} --set train.epochs=40 --set train.dropout=0.1"
    );
    for kind in ["--full", "--lora-rank=2"] {
        run(&folder, &format!("finetune t5 {options} {kind} --quiet --out whole{kind}")).ok();
        let out = format!("run{kind}");
        let path = folder.path().join(&out);
        let first =
            format!("finetune t5 {options} {kind} --out {out} --set train.checkpoint_seconds=0.02");
        let mut child = start(&folder, &first.split_whitespace().collect::<Vec<_>>());
        for evaluations in [5, 15] {
            let killed = kill_when(&mut child, || lines(&path) >= evaluations);
            assert!(killed, "{kind}: the run was over at evaluation {}", lines(&path));
            child = start(&folder, &["finetune", "--resume", &out]);
        }
        assert!(child.wait().unwrap().success());
        let whole = folder.path().join(format!("whole{kind}"));
        assert!(result(&path) == result(&whole), "{kind}");
    }
}

#[test]
fn texts_within_objects_are_pairs() {
    let folder = prepared("pairs-objects");
    let line = |i: usize| {
        let text = serde_json::json!({ "de": format!("{i} the cat"), "en": format!("a dog {i}") });
        format!("{}\n", serde_json::json!({ "translation": text }))
    };
    folder.write("pairs.jsonl", &(0..20).map(line).collect::<String>());
    let found = "finetune t5 --data pairs.jsonl --full --out found --set train.epochs=1";
    let shown = run(&folder, found).ok();
    assert!(shown.stdout.contains("translation.de → translation.en"), "{}", shown.stdout);
    let named = "finetune t5 --data pairs.jsonl --source translation.en --target translation.de \
                 --full --out named --set train.epochs=1 --json";
    run(&folder, named).ok();
    let columns = run(&folder, "evaluate named --json").ok().json()["columns"].clone();
    assert_eq!(columns, serde_json::json!(["translation.en", "translation.de"]));
}
