//! Adapters that PEFT wrote (`testkit/scripts/adapter_fixtures.py`).

use crate::fixture;
use feedforward::formats::TensorFile;
use feedforward::language::LanguageModel;
use feedforward::nn::models::LanguageOptions;
use feedforward::tensor::Device;
use std::path::{Path, PathBuf};

/// The adapters with their base models.
const ADAPTERS: [(&str, &str); 4] =
    [("llama", "llama"), ("llama_patterns", "llama"), ("gpt2", "gpt2"), ("phi3", "phi3")];

fn adapter(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/adapter").join(name)
}

fn open(base: &str, adapters: &[&Path]) -> feedforward::Result<LanguageModel> {
    let (device, options) = (Device::default(), LanguageOptions::default());
    LanguageModel::open_with_adapters(&fixture(base), adapters, &device, &options)
}

/// The same with matrices in the form of their file.
fn open_in_file(base: &str, adapters: &[&Path]) -> feedforward::Result<LanguageModel> {
    let (device, options) = (Device::default(), LanguageOptions::default());
    LanguageModel::open_to_generate(&fixture(base), adapters, &device, &options)
}

/// The tokens and the logits of the model with the adapter.
fn expected(name: &str) -> (Vec<u32>, Vec<f32>) {
    let file = TensorFile::open(&adapter(name).join("expected.safetensors")).unwrap();
    let tokens = file.i32("tokens").unwrap().into_iter().map(|id| id as u32).collect();
    (tokens, file.f32("logits", file.dims("logits").unwrap()).unwrap())
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn adapters_of_peft_give_its_logits_and_switched_off_the_bits_of_the_base() {
    for (name, base) in ADAPTERS {
        adapters_of_peft(name, base, open);
        adapters_of_peft(name, base, open_in_file);
    }
}

type Open = fn(&str, &[&Path]) -> feedforward::Result<LanguageModel>;

fn adapters_of_peft(name: &str, base: &str, open: Open) {
    {
        let (tokens, logits) = expected(name);
        let plain = open(base, &[]).unwrap().logits(&tokens).unwrap();
        let mut model = open(base, &[&adapter(name)]).unwrap();
        let with = model.logits(&tokens).unwrap();
        assert!(furthest(&with, &logits) < 2e-5, "{name}: {}", furthest(&with, &logits));
        assert!(furthest(&with, &plain) > 1e-2, "{name}: the adapter does nothing");
        model.use_adapter(None).unwrap();
        assert_eq!(model.logits(&tokens).unwrap(), plain, "{name}");
        model.use_adapter(Some(0)).unwrap();
        assert_eq!(model.logits(&tokens).unwrap(), with, "{name}");
        assert!(model.use_adapter(Some(1)).is_err());
    }
}

#[test]
fn several_adapters_share_a_base() {
    let (one, other) = (adapter("llama"), adapter("llama_patterns"));
    let mut model = open("llama", &[&one, &other]).unwrap();
    for (i, name) in ["llama", "llama_patterns"].into_iter().enumerate() {
        model.use_adapter(Some(i)).unwrap();
        let (tokens, logits) = expected(name);
        assert!(furthest(&model.logits(&tokens).unwrap(), &logits) < 2e-5, "{name}");
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused_by_name() {
    let message = |base: &str, path: &Path| open(base, &[path]).unwrap_err().to_string();
    assert!(message("gpt2", &adapter("llama")).contains("model.layers.0.mlp.down_proj"));
    assert!(message("llama", &adapter("none")).contains("is not there"));
    assert!(message("llama", &fixture("llama")).contains("no adapter_config.json"));
    let place = tempfile::tempdir().unwrap();
    let edited = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let from = adapter("llama_patterns");
        let text = std::fs::read_to_string(from.join("adapter_config.json")).unwrap();
        let mut json: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).unwrap();
        change(&mut json);
        let text = serde_json::to_string(&json).unwrap();
        std::fs::write(place.path().join("adapter_config.json"), text).unwrap();
        let tensors = "adapter_model.safetensors";
        std::fs::copy(from.join(tensors), place.path().join(tensors)).unwrap();
        message("llama", place.path())
    };
    let set = |key: &'static str, value: serde_json::Value| {
        edited(&move |json| drop(json.insert(key.into(), value.clone())))
    };
    for (key, value) in [
        ("peft_type", "IA3".into()),
        ("use_dora", true.into()),
        ("bias", "all".into()),
        ("lora_bias", true.into()),
        ("modules_to_save", vec!["lm_head"].into()),
        ("target_parameters", vec!["experts"].into()),
        ("init_lora_weights", "pissa".into()),
        ("alora_invocation_tokens", vec![1].into()),
    ] {
        let message = set(key, value);
        assert!(message.contains(key), "{key}: {message}");
    }
    assert!(set("r", 5.into()).contains("call for shape"));
    let more = serde_json::json!(["q_proj", "down_proj", "k_proj"]);
    assert!(set("target_modules", more).contains("k_proj"));
    let fewer = serde_json::json!(["q_proj"]);
    assert!(set("target_modules", fewer).contains("down_proj"));
}
