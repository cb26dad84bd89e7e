//! Adapters that PEFT wrote (`testkit/scripts/adapter_fixtures.py`).

use crate::{batch, fixture, model};
use feedforward::formats::{GgmlType, GgufFile, GgufFileType, GgufValue, GgufWriter, TensorFile};
use feedforward::graph::Graph;
use feedforward::language::{LanguageModel, export_adapter, read_weights};
use feedforward::nn::models::{CausalLm, LanguageOptions};
use feedforward::nn::{AdaptedBiases, Builder, LoraConfig};
use feedforward::tensor::{DType, Device, ThreadPool};
use feedforward::trainer::optim::{AdamW, Optimizer, OptimizerConfig};
use std::path::{Path, PathBuf};

/// The adapters with their base models.
const ADAPTERS: [(&str, &str); 21] = [
    ("llama", "llama"),
    ("llama_patterns", "llama"),
    ("llama_like", "llama"),
    ("llama_layer", "llama"),
    ("llama_invoked", "llama"),
    ("gpt2", "gpt2"),
    ("phi3", "phi3"),
    ("llama_dora", "llama"),
    ("gpt2_dora", "gpt2"),
    ("qwen2_bias", "qwen2"),
    ("llama_saved", "llama"),
    ("gemma2_tied", "gemma2"),
    ("gemma2_tied_output", "gemma2"),
    ("llama_tokens", "llama"),
    ("gemma2_tokens", "gemma2"),
    ("mixtral_experts", "mixtral"),
    ("gpt_oss_experts", "gpt_oss"),
    ("gpt2_untied", "gpt2"),
    ("gpt2_output", "gpt2"),
    ("gpt2_biases", "gpt2"),
    ("gpt2_own_biases", "gpt2"),
];

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

/// Training the same adapter by the same steps gives PEFT's losses.
#[test]
fn training_gives_the_losses_of_peft() {
    let rank = |rank, alpha: u32| LoraConfig { rank, alpha: alpha.into(), ..LoraConfig::default() };
    let saved = ["lm_head", "input_layernorm", "post_attention_layernorm", "norm"];
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    for (name, base, targets, config) in [
        ("llama", "llama", &[][..], rank(4, 6)),
        ("llama_dora", "llama", &["q_proj", "up_proj"], LoraConfig { dora: true, ..rank(3, 5) }),
        ("gpt2_dora", "gpt2", &["c_attn", "c_fc"], LoraConfig { dora: true, ..rank(2, 4) }),
        (
            "llama_invoked",
            "llama",
            &["q_proj", "v_proj", "down_proj"],
            LoraConfig { invocation: vec![5, 9], ..rank(3, 5) },
        ),
        (
            "qwen2_bias",
            "qwen2",
            &["q_proj", "down_proj"],
            LoraConfig { lora_bias: true, ..rank(2, 4) },
        ),
        ("llama_saved", "llama", &["v_proj"], LoraConfig { saved: names(&saved), ..rank(2, 3) }),
        (
            "gemma2_tied",
            "gemma2",
            &["q_proj"],
            LoraConfig { saved: names(&["embed_tokens"]), keep_tied: true, ..rank(2, 4) },
        ),
        ("llama_tokens", "llama", &["q_proj"], LoraConfig { tokens: vec![7, 2, 31], ..rank(2, 3) }),
        (
            "gemma2_tokens",
            "gemma2",
            &["q_proj"],
            LoraConfig { tokens: vec![7, 2, 31], ..rank(2, 3) },
        ),
        ("gpt2_untied", "gpt2", &["c_attn"], LoraConfig { saved: names(&["wte"]), ..rank(2, 4) }),
        (
            "gpt2_output",
            "gpt2",
            &["c_attn"],
            LoraConfig { saved: names(&["lm_head"]), ..rank(2, 4) },
        ),
        (
            "gpt2_biases",
            "gpt2",
            &["c_attn"],
            LoraConfig { biases: AdaptedBiases::All, ..rank(2, 4) },
        ),
        (
            "gpt2_own_biases",
            "gpt2",
            &["c_attn", "c_fc"],
            LoraConfig { biases: AdaptedBiases::Adapted, ..rank(2, 4) },
        ),
        (
            "mixtral_experts",
            "mixtral",
            &["q_proj"],
            LoraConfig {
                parameters: names(&["gate_up_proj", "down_proj"]),
                ranks: [("down_proj".to_owned(), 3)].into(),
                ..rank(2, 3)
            },
        ),
        (
            "gpt_oss_experts",
            "gpt_oss",
            &["q_proj"],
            LoraConfig { parameters: names(&["gate_up_proj"]), ..rank(2, 3) },
        ),
    ] {
        for recompute in [false, true] {
            let config = LoraConfig { targets: names(targets), ..config.clone() };
            trained(name, base, config, recompute);
        }
    }
}

fn trained(name: &str, base: &str, config: LoraConfig, recompute: bool) {
    let device = Device::default();
    let folder = fixture(base);
    let options = LanguageOptions { recompute, ..LanguageOptions::default() };
    let (model_config, ..) = model(base, &options);
    let mut builder = Builder::new();
    CausalLm::new(&mut builder, &model_config, &options);
    builder.adapt("", config);
    let model = CausalLm::new(&mut builder, &model_config, &options);
    let is_own = |name: &str| {
        ["lora_A", "lora_B", "lora_magnitude_vector", "modules_to_save", "token_adapter"]
            .iter()
            .any(|part| name.contains(part))
    };
    builder.freeze_where(|name| !is_own(name));
    let mut params = builder.build(&device, DType::F32, 0, true).unwrap();
    read_weights(&folder, &model_config, &mut params).unwrap();
    // Files have the experts of a layer in one tensor, which the reader takes apart.
    let mut read = open(base, &[&adapter(name)]).unwrap();
    let read = read.parts().1.params();
    for (id, info) in read.iter().filter(|(_, info)| info.spec.name.contains(".experts.")) {
        let own = params.id(&info.spec.name.replace(".0.weight", ".weight")).unwrap();
        params.values_mut::<f32>(own).unwrap().copy_from_slice(read.values(id).unwrap());
    }
    let file = TensorFile::open(&adapter(name).join("adapter_model.safetensors")).unwrap();
    for entry in file.entries().filter(|entry| !entry.name.contains(".experts.")) {
        let mut own = entry.name.strip_prefix("base_model.model.").unwrap().to_owned();
        if own.ends_with("lora_magnitude_vector") {
            own += ".weight";
        } else if let Some(table) = own.strip_suffix(".trainable_tokens_delta") {
            own = format!("{table}.weight");
        } else if !own.contains("lora_") {
            let (module, end) = own.rsplit_once('.').unwrap();
            let module = module.strip_suffix(".base_layer").unwrap_or(module);
            own = format!("{module}.modules_to_save.{end}");
        }
        // The second name of a matrix that is two.
        let Some(id) = params.id(&own) else { continue };
        let dims = file.dims(&entry.name).unwrap();
        let values = file.f32(&entry.name, dims).unwrap();
        params.values_mut::<f32>(id).unwrap().copy_from_slice(&values);
    }
    let expected = TensorFile::open(&adapter(name).join("expected.safetensors")).unwrap();
    let losses = expected.f32("losses", expected.dims("losses").unwrap()).unwrap();
    let ids = expected.i32("tokens").unwrap();
    let mut graph = Graph::new(&device, params);
    let rule = AdamW { betas: [0.9, 0.95], ..AdamW::default() };
    let settings =
        OptimizerConfig { lr: Some(1e-2), weight_decay: Some(0.0), ..OptimizerConfig::from(rule) };
    let mut optimizer = Optimizer::new(&settings, graph.params(), graph.device()).unwrap();
    for (step, expected) in losses.iter().enumerate() {
        graph.reset();
        graph.params_mut().clear_gradients();
        let (input, targets) = batch(&graph, &ids, [1, ids.len()]);
        let loss = model.loss(&mut graph, &input, &targets).unwrap();
        let (sum, count) = (loss.total.item().unwrap(), loss.count.item().unwrap());
        graph.backward(loss.total).unwrap();
        assert_eq!(graph.params().untouched().next(), None, "{name}");
        optimizer.step(graph.params_mut(), count, 1e-2).unwrap();
        let found = (sum / count) as f32;
        assert!((found - expected).abs() < 1e-4, "{name}: loss {step} is {found}, not {expected}");
    }
    assert!(losses[0] - losses[5] > 0.1, "{name}: nothing was learned");
}

/// A merged model needs no adapter.
#[test]
fn merged_models_give_the_logits_of_the_adapter() {
    for (name, base) in ADAPTERS {
        let mut model = open(base, &[&adapter(name)]).unwrap();
        let merged = model.merge_adapter();
        match name {
            // The model has one matrix for what the adapter has two.
            "gpt2_untied" | "gpt2_output" => {
                assert!(merged.unwrap_err().to_string().contains("modules_to_save"), "{name}");
                continue;
            }
            "llama_invoked" => {
                assert!(merged.unwrap_err().to_string().contains("alora_invocation_tokens"));
                continue;
            }
            "qwen2_bias" => {
                assert!(merged.unwrap_err().to_string().contains("lora_bias"), "{name}");
                continue;
            }
            _ => merged.unwrap(),
        }
        let (tokens, logits) = expected(name);
        let found = model.logits(&tokens).unwrap();
        assert!(furthest(&found, &logits) < 2e-5, "{name}: {}", furthest(&found, &logits));
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
        ("bias", "some".into()),
        ("modules_to_save", vec!["lm_head"].into()),
        ("rank_pattern", serde_json::json!({ "(q": 3 })),
        ("target_parameters", vec!["experts"].into()),
        ("trainable_token_indices", vec![1].into()),
        ("init_lora_weights", "pissa".into()),
        ("alora_invocation_tokens", vec!["a"].into()),
    ] {
        let message = set(key, value);
        assert!(message.contains(key), "{key}: {message}");
    }
    assert!(set("r", 5.into()).contains("call for shape"));
    let more = serde_json::json!(["q_proj", "down_proj", "k_proj"]);
    assert!(set("target_modules", more).contains("k_proj"));
    let fewer = serde_json::json!(["q_proj"]);
    assert!(set("target_modules", fewer).contains("down_proj"));
    // What the config asks for must be in the file, and the other way round.
    assert!(set("use_dora", true.into()).contains("without lora_magnitude_vector"));
    assert!(set("lora_bias", true.into()).contains("without lora_B.bias"));
    assert!(set("target_modules", "all-linear".into()).contains("k_proj"));
    assert!(set("layers_to_transform", vec![0].into()).contains("does not name"));
}

/// Ranks, scales and the order of rows survive llama.cpp's file.
#[test]
fn adapters_written_as_gguf_give_the_same_logits() {
    let place = tempfile::tempdir().unwrap();
    for (name, base) in [
        ("llama", "llama"),
        ("llama_patterns", "llama"),
        ("llama_like", "llama"),
        ("llama_layer", "llama"),
        ("llama_invoked", "llama"),
        ("phi3", "phi3"),
    ] {
        let path = place.path().join(format!("{name}.gguf"));
        let model = open(base, &[&adapter(name)]).unwrap();
        export_adapter(&model, GgufFileType::F32, &path).unwrap();
        let (tokens, logits) = expected(name);
        let found = open(base, &[&path]).unwrap().logits(&tokens).unwrap();
        assert!(furthest(&found, &logits) < 2e-5, "{name}: {}", furthest(&found, &logits));
    }
}

#[test]
fn what_gguf_has_no_form_for_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    for (name, base, what) in [
        ("llama_dora", "llama", "use_dora"),
        ("qwen2_bias", "qwen2", "lora_bias"),
        ("llama_saved", "llama", "modules_to_save"),
        ("gpt2", "gpt2", "family gpt2"),
    ] {
        let path = place.path().join(name);
        let model = open(base, &[&adapter(name)]).unwrap();
        let message = export_adapter(&model, GgufFileType::F32, &path).unwrap_err().to_string();
        assert!(message.contains(what), "{name}: {message}");
        assert!(!path.exists(), "{name}");
    }
    let model = open("llama", &[&adapter("llama")]).unwrap();
    let message = export_adapter(&model, GgufFileType::Q8_0, &place.path().join("q"));
    assert!(message.unwrap_err().to_string().contains("f32, f16 or bf16"));
    let plain = open("llama", &[]).unwrap();
    let message = export_adapter(&plain, GgufFileType::F32, &place.path().join("none"));
    assert!(message.unwrap_err().to_string().contains("no adapter"));
}

#[test]
fn gguf_adapters_that_do_not_fit_are_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let (good, bad) = (place.path().join("good.gguf"), place.path().join("bad.gguf"));
    let model = open("llama", &[&adapter("llama")]).unwrap();
    export_adapter(&model, GgufFileType::F32, &good).unwrap();
    let file = GgufFile::open(&good).unwrap();
    // The message where a key is another text, or a tensor has another name and shape.
    let message = |key: (&str, &str), tensor: Changed<'_>| {
        let mut writer = GgufWriter::new();
        for (own, value) in file.metadata() {
            let other = GgufValue::String(key.1.into());
            writer.metadata(own, if own == key.0 { other } else { value.clone() });
        }
        for (own, found) in file.tensors() {
            let (mut name, mut dims) = (own.as_str(), found.dims.as_slice());
            if own == tensor.0 {
                let Some((other, shape)) = tensor.1 else { continue };
                (name, dims) = (other, shape.unwrap_or(dims));
            }
            let len = dims.iter().product();
            writer.add(name, dims, GgmlType::F32, move || vec![0.5; len].into());
        }
        writer.write(&bad, &ThreadPool::new(1)).unwrap();
        open("llama", &[&bad]).unwrap_err().to_string()
    };
    let (none, a, b) = (("", ""), "blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b");
    for key in ["general.type", "adapter.type", "adapter.lora.alpha"] {
        let message = message((key, "x"), none_of());
        assert!(message.contains(key), "{key}: {message}");
    }
    for architecture in ["qwen2", "mamba"] {
        let message = message(("general.architecture", architecture), none_of());
        assert!(message.contains(architecture), "{message}");
    }
    let rank = file.tensors()[a].dims[0];
    for (tensor, named) in [
        ((a, None), a),
        ((b, None), b),
        ((a, Some(("blk.0.attn_z.weight.lora_a", None))), "blk.0.attn_z.weight.lora_a"),
        ((a, Some(("blk.0.attn_q.weight", None))), "tensor `blk.0.attn_q.weight`"),
        ((a, Some((a, Some(&[rank, 3][..])))), a),
        ((a, Some((a, Some(&[rank + 1, 3][..])))), a),
        ((b, Some((b, Some(&[2, rank][..])))), b),
    ] {
        let message = message(none, tensor);
        assert!(message.contains(named), "{named}: {message}");
    }
}

/// A tensor by name, with its other name and perhaps shape; it is left out without one.
type Changed<'a> = (&'a str, Option<(&'a str, Option<&'a [usize]>)>);

/// No tensor is changed.
fn none_of() -> Changed<'static> {
    ("", None)
}
