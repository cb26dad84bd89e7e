//! Fine-tuning on pairs beside `transformers` (testkit's `scripts/translation_fixtures.py`).

use super::fixture;
use feedforward::TrainOptions;
use feedforward::formats::TensorFile;
use feedforward::language::Translator;
use feedforward::translation::{self, TranslationRecipe};
use serde_json::Value;
use std::path::Path;

/// What a loss may differ by. Both sides sum some thousand products in f32, each in its own order.
const LOSSES: f64 = 1e-4;

fn stored() -> Value {
    let path = fixture("..").join("translation.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The recipe of twenty steps on all pairs together.
fn recipe(place: &Path, stored: &Value, model: &Path, sets: &[String]) -> TranslationRecipe {
    let data = place.join("pairs.jsonl");
    let pairs: Vec<[String; 2]> = serde_json::from_value(stored["pairs"].clone()).unwrap();
    let line = |[a, b]: &[String; 2]| format!("{}\n", serde_json::json!({ "a": a, "b": b }));
    std::fs::write(&data, pairs.iter().map(line).collect::<String>()).unwrap();
    let text = |path: &Path| toml::Value::String(path.to_str().unwrap().into());
    let mut all = vec![
        format!("base.model={}", text(model)),
        format!("data.path={}", text(&data)),
        "data.source='a'".into(),
        "data.target='b'".into(),
        "data.split.valid=0".into(),
        "train.weights=['*']".into(),
        "train.epochs=20".into(),
        "train.checkpoint_seconds=1000".into(),
        "optimizer.lr=0.003".into(),
        "optimizer.weight_decay=0".into(),
        "schedule.kind='constant'".into(),
    ];
    all.extend_from_slice(sets);
    TranslationRecipe::parse("", "test", &all).unwrap()
}

/// The losses of the steps of a run, each of which is an epoch.
fn losses(run: &Path) -> Vec<f64> {
    let history = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let loss = |line: &str| -> f64 {
        let record: Value = serde_json::from_str(line).unwrap();
        record["train_loss"].as_f64().unwrap()
    };
    history.lines().map(loss).collect()
}

#[test]
fn twenty_steps_on_pairs() {
    let stored = stored();
    for (i, case) in stored["cases"].as_array().unwrap().iter().enumerate() {
        let place = tempfile::tempdir().unwrap();
        let name = case["model"].as_str().unwrap();
        let sets = [
            format!("data.prefix={}", case["prefix"]),
            format!("loss.label_smoothing={}", case["smoothing"]),
        ];
        let recipe = recipe(place.path(), &stored, &fixture(name), &sets);
        let run = place.path().join("run");
        let options = TrainOptions { out: Some(run.clone()), ..TrainOptions::default() };
        translation::train(&recipe, &options, &mut ()).unwrap();
        let wanted: Vec<f64> = serde_json::from_value(case["losses"].clone()).unwrap();
        let found = losses(&run);
        assert_eq!(found.len(), wanted.len(), "{name}");
        let mut most = 0f64;
        for (step, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            let off = (found / wanted - 1.0).abs();
            assert!(off < LOSSES, "case {i}, {name}: loss {step} is {found}, not {wanted}");
            most = most.max(off);
        }
        assert!(wanted[19] < 0.9 * wanted[0], "the loss must fall for a comparison");
        // The trained model, with plain cross-entropy, over the same pairs.
        let data = place.path().join("pairs.jsonl");
        let sets = [format!("data.prefix={}", case["prefix"]), "evaluate.rows=2".into()];
        let model = run.join("model");
        let judged = [
            translation::evaluate(&run, Some(&data), &[], Default::default()).unwrap(),
            translation::evaluate(&model, Some(&data), &sets, Default::default()).unwrap(),
        ];
        let after = case["after"].as_f64().unwrap();
        for found in &judged {
            let loss = found.scores.scores.iter().find(|s| s.name == "loss").unwrap().value;
            assert!((loss / after - 1.0).abs() < LOSSES, "{name}: {loss}, not {after}");
        }
        assert_eq!((judged[0].scores.written, judged[1].scores.written), (6, 2));
        let targets: Vec<Vec<u32>> = serde_json::from_value(case["targets"].clone()).unwrap();
        let tokens: usize = targets.iter().map(Vec::len).sum();
        assert_eq!(judged[0].scores.tokens, tokens, "{name}");
        println!("| {name} | {} | {most:.1e} |", case["smoothing"]);
    }
}

#[test]
fn micro_batches_are_one_batch_and_padding_changes_nothing() {
    let (stored, place) = (stored(), tempfile::tempdir().unwrap());
    let run = |name: &str, sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        let recipe = recipe(place.path(), &stored, &fixture("t5_text"), &sets);
        let out = place.path().join(name);
        let options = TrainOptions { out: Some(out.clone()), ..TrainOptions::default() };
        translation::train(&recipe, &options, &mut ()).unwrap();
        losses(&out)
    };
    let whole = run("whole", &[]);
    let parts = run("parts", &["train.batch_size=1", "train.accumulate=6"]);
    for (a, b) in whole.iter().zip(&parts) {
        assert!((a / b - 1.0).abs() < LOSSES, "{a} and {b}");
    }
}

#[test]
fn dropout_is_that_of_the_config_unless_the_recipe_has_another() {
    let (stored, place) = (stored(), tempfile::tempdir().unwrap());
    for (name, key) in [("t5_text", "dropout_rate"), ("marian_text", "dropout")] {
        // The fixture has none.
        let dropping = place.path().join(name);
        std::fs::create_dir_all(&dropping).unwrap();
        for entry in std::fs::read_dir(fixture(name)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dropping.join(path.file_name().unwrap())).unwrap();
        }
        let config = std::fs::read_to_string(dropping.join("config.json")).unwrap();
        let changed = config.replace(&format!("\"{key}\": 0.0"), &format!("\"{key}\": 0.2"));
        assert_ne!(config, changed, "{name}");
        std::fs::write(dropping.join("config.json"), changed).unwrap();
        let run = |out: &str, model: &Path, sets: &[&str]| {
            let sets: Vec<String> =
                ["train.epochs=3"].iter().chain(sets).map(|&set| set.to_owned()).collect();
            let recipe = recipe(place.path(), &stored, model, &sets);
            let out = place.path().join(format!("{name}-{out}"));
            let options = TrainOptions { out: Some(out.clone()), ..TrainOptions::default() };
            translation::train(&recipe, &options, &mut ()).unwrap();
            losses(&out)
        };
        let plain = run("plain", &fixture(name), &[]);
        let dropped = run("dropped", &dropping, &[]);
        assert!(dropped[0] != plain[0], "{name}: {dropped:?}");
        assert_eq!(run("none", &dropping, &["train.dropout=0"]), plain, "{name}");
        assert_eq!(run("named", &fixture(name), &["train.dropout=0.2"]), dropped, "{name}");
        assert_eq!(run("again", &dropping, &["base.recompute=true"]), dropped, "{name}");
        let attention = run("attention", &dropping, &["train.attention_dropout=0.4"]);
        assert!(attention != dropped && attention != plain, "{name}");
    }
}

#[test]
fn a_merged_adapter_has_the_loss_of_the_trained_one() {
    let (stored, place) = (stored(), tempfile::tempdir().unwrap());
    for (i, more) in ["adapter.rank=4", "adapter.dora=true"].into_iter().enumerate() {
        let mut recipe = recipe(
            place.path(),
            &stored,
            &fixture("t5_text"),
            &[more.into(), "train.weights=[]".into(), "data.split.valid=0.34".into()],
        );
        recipe.optimizer.lr = Some(0.02);
        let run = place.path().join(format!("run{i}"));
        let options = TrainOptions { out: Some(run.clone()), ..TrainOptions::default() };
        let summary = translation::train(&recipe, &options, &mut ()).unwrap();
        let history = losses(&run);
        assert!(history[19] < 0.9 * history[0], "{more}: {history:?}");
        let trained = summary.valid.unwrap();
        let found = translation::evaluate(&run, None, &[], Default::default()).unwrap();
        assert_eq!((found.part.as_str(), found.scores.pairs), ("valid", trained.pairs));
        let loss = |scores: &translation::TranslationScores| {
            scores.scores.iter().find(|s| s.name == "loss").unwrap().value
        };
        let (a, b) = (loss(&trained), loss(&found.scores));
        assert!((a / b - 1.0).abs() < LOSSES, "{more}: {a} trained, {b} merged");
        // Only what has an adapter differs from the base model.
        let file = |folder: &Path| TensorFile::open(&folder.join("model.safetensors")).unwrap();
        let (base, merged) = (file(&fixture("t5_text")), file(&run.join("model")));
        let same = |name: &str| {
            let dims = base.dims(name).unwrap().to_vec();
            base.floats(name, &dims).unwrap() == merged.floats(name, &dims).unwrap()
        };
        assert!(same("shared.weight") && !same("decoder.block.0.layer.1.EncDecAttention.q.weight"));
        let mut model = Translator::open(&run, &Default::default(), &Default::default()).unwrap();
        assert!(model.translate("the cat", &Default::default()).is_ok());
    }
}
