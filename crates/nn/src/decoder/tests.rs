//! The meaning of fields, and messages about wrong configs.

use super::{CausalLm, DecoderConfig, LayerRope, file_tensors};
use crate::Builder;
use crate::transformer::LanguageOptions;
use ff_ops::LongAngles;
use ff_tensor::{DType, Device};
use serde_json::{Value, json};

fn gpt2() -> Value {
    json!({"model_type": "gpt2", "vocab_size": 11, "n_positions": 8, "n_embd": 6, "n_layer": 2, "n_head": 2})
}

fn llama(kind: &str) -> Value {
    json!({
        "model_type": kind, "vocab_size": 11, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2
    })
}

fn experts(kind: &str) -> Value {
    let mut config = llama(kind);
    for (key, value) in [
        ("num_experts", 4),
        ("num_experts_per_tok", 2),
        ("moe_intermediate_size", 6),
        ("shared_expert_intermediate_size", 5),
    ] {
        config[key] = value.into();
    }
    config
}

fn parse(config: &Value) -> DecoderConfig {
    DecoderConfig::parse(&config.to_string()).unwrap()
}

/// The message for a config with one field changed; null takes it away.
fn message(config: &Value, key: &str, value: impl Into<Value>) -> String {
    let mut config = config.clone();
    match value.into() {
        Value::Null => drop(config.as_object_mut().unwrap().remove(key)),
        value => config[key] = value,
    }
    DecoderConfig::parse(&config.to_string()).unwrap_err().to_string()
}

#[test]
fn what_is_missing_or_contradictory_is_named() {
    let llama = llama("llama");
    for (found, parts) in [
        (message(&llama, "model_type", Value::Null), vec!["model_type: is missing", "gpt2"]),
        (
            message(&llama, "model_type", "lama"),
            vec!["\"lama\" is not supported", "did you mean \"llama\"?"],
        ),
        (message(&llama, "hidden_size", Value::Null), vec!["hidden_size: is missing"]),
        (
            message(&llama, "vocab_size", -3),
            vec!["vocab_size: expected a whole number", "found -3"],
        ),
        (message(&llama, "vocab_size", 1u64 << 40), vec!["vocab_size: expected"]),
        (
            message(&llama, "num_hidden_layers", 1_000_000),
            vec!["num_hidden_layers: expected", "2048"],
        ),
        (
            message(&llama, "num_attention_heads", 3),
            vec!["num_key_value_heads: 3 heads", "2 heads"],
        ),
        (message(&llama, "hidden_size", 9), vec!["num_attention_heads: 4 heads do not divide 9"]),
        (
            message(&llama, "hidden_act", "gelu_newer"),
            vec!["hidden_act: ", "did you mean \"gelu_new\"?"],
        ),
        (message(&llama, "rms_norm_eps", 0), vec!["rms_norm_eps: expected a number above 0"]),
        (
            message(&llama, "tie_word_embeddings", "yes"),
            vec!["tie_word_embeddings: expected true or false"],
        ),
        (message(&llama, "head_dim", 3), vec!["head_dim: ", "even"]),
        (
            message(&llama, "rope_scaling", json!({"type": "ntk", "factor": 2.0})),
            vec!["rope_scaling.rope_type: ", "\"ntk\" are not supported", "yarn"],
        ),
        (
            message(&llama, "rope_scaling", json!({"type": "longrope", "short_factor": [1.0]})),
            vec!["rope_scaling.long_factor: is missing"],
        ),
        (
            message(
                &llama,
                "rope_scaling",
                json!({"type": "longrope", "short_factor": [1.0], "long_factor": [2, 3]}),
            ),
            vec!["rope_scaling.long_factor: expected 1 numbers above 0", "found 2 of 2"],
        ),
        (
            message(&self::llama("phi3"), "partial_rotary_factor", 0.25),
            vec!["partial_rotary_factor: 0.25 of 2 features", "even number"],
        ),
        (
            message(&self::llama("smollm3"), "no_rope_layers", json!([1])),
            vec!["no_rope_layers: expected 0 or 1 for each of 2 layers, found 1"],
        ),
        (
            message(&llama, "rope_scaling", json!({"type": "dynamic"})),
            vec!["rope_scaling.factor: is missing"],
        ),
        (
            message(&llama, "rope_scaling", json!({"rope_type": "linear"})),
            vec!["rope_scaling.factor: is missing"],
        ),
        (
            message(
                &llama,
                "rope_parameters",
                json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
            "high_freq_factor": 1.0}),
            ),
            vec!["rope_parameters.high_freq_factor: 1 must be above"],
        ),
        (
            message(&llama, "quantization_config", json!({"bits": 4})),
            vec!["quantization_config: quantised"],
        ),
        (message(&gpt2(), "n_head", 4), vec!["n_head: 4 heads do not divide 6 features"]),
        (message(&gpt2(), "add_cross_attention", true), vec!["add_cross_attention: "]),
        (
            message(&experts("qwen3_moe"), "num_experts_per_tok", 5),
            vec!["cannot go to 5 of 4 experts"],
        ),
        (
            message(&experts("mixtral"), "num_experts", Value::Null),
            vec!["num_local_experts: is missing"],
        ),
        (
            message(&experts("qwen3_moe"), "num_experts", Value::Null),
            vec!["num_experts: is missing"],
        ),
        (
            message(&self::llama("qwen3"), "layer_types", json!(["full_attention"])),
            vec!["layer_types: lists 1 layers, num_hidden_layers says 2"],
        ),
        (
            message(
                &self::llama("qwen3"),
                "layer_types",
                json!(["full_attention", "linear_attention"]),
            ),
            vec!["layer_types: \"linear_attention\" is not supported"],
        ),
    ] {
        assert!(parts.iter().all(|part| found.contains(part)), "{found}");
    }
    for broken in ["", "[]", "{\"model_type\": 3}", "{\"model_type\": \"gpt2\""] {
        assert!(DecoderConfig::parse(broken).is_err());
    }
}

#[test]
fn windows_are_where_the_family_has_them() {
    let windows = |kind: &str, changes: Value| -> Vec<Option<usize>> {
        let mut config = experts(kind);
        config["num_local_experts"] = 4.into();
        config["num_hidden_layers"] = 3.into();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        parse(&config).layers.iter().map(|layer| layer.window).collect()
    };
    let used = json!({"sliding_window": 5, "use_sliding_window": true, "max_window_layers": 2});
    assert_eq!(windows("llama", used.clone()), [None; 3]);
    assert_eq!(windows("mistral", json!({})), [Some(4096); 3]);
    assert_eq!(windows("mistral", json!({"sliding_window": null})), [None; 3]);
    assert_eq!(windows("mixtral", json!({"sliding_window": 7})), [Some(7); 3]);
    assert_eq!(windows("qwen2", json!({"sliding_window": 5})), [None; 3]);
    assert_eq!(windows("qwen2", used.clone()), [None, None, Some(5)]);
    assert_eq!(windows("qwen2_moe", used.clone()), [Some(5), None, None]);
    assert_eq!(windows("qwen3_moe", used.clone()), [Some(5); 3]);
    let unstated = json!({"use_sliding_window": true, "max_window_layers": 2});
    assert_eq!(windows("qwen2", unstated), [None, None, Some(4096)]);
    let mut listed = used;
    listed["layer_types"] = json!(["sliding_attention", "full_attention", "full_attention"]);
    assert_eq!(windows("qwen3", listed), [Some(5), None, None]);
}

#[test]
fn layers_of_gemma_see_near_tokens_by_list_or_pattern() {
    let kinds = |kind: &str, changes: Value| -> Vec<(Option<usize>, LayerRope)> {
        let mut config = llama(kind);
        config["num_hidden_layers"] = 4.into();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        parse(&config).layers.iter().map(|layer| (layer.window, layer.rope)).collect()
    };
    let (near, far) = ((Some(4096), LayerRope::Global), (None, LayerRope::Global));
    assert_eq!(kinds("gemma2", json!({})), [near, far, near, far]);
    let local = (Some(7), LayerRope::Local);
    let pattern = json!({"sliding_window": 7, "sliding_window_pattern": 3});
    assert_eq!(kinds("gemma3_text", pattern), [local, local, far, local]);
    let (full, sliding) = ("full_attention", "sliding_attention");
    let listed = json!({"sliding_window": 7, "layer_types": [full, sliding, full, full]});
    assert_eq!(kinds("gemma3_text", listed), [far, local, far, far]);
    let gemma = llama("gemma3_text");
    let config = parse(&gemma);
    let bases = [&config.rope, &config.local_rope].map(|rope| rope.as_ref().unwrap().theta);
    assert_eq!((bases, config.logit_cap), ([1e6, 1e4], None));
    assert_eq!((config.embedding_scale, config.norm_offset), (8f64.sqrt(), 1.0));
    let caps = parse(&llama("gemma2"));
    assert_eq!([caps.score_cap, caps.logit_cap], [Some(50.0), Some(30.0)]);
    let flat = message(&gemma, "rope_parameters", json!({"rope_type": "default"}));
    assert!(flat.starts_with("rope_parameters: expected the settings of full_attention"), "{flat}");
    let both_ways = message(&gemma, "use_bidirectional_attention", true);
    assert!(both_ways.contains("tokens see later ones"), "{both_ways}");
}

#[test]
fn old_and_new_names_of_rotary_settings_mean_the_same() {
    let new = json!({"rope_type": "yarn", "factor": 4.0, "rope_theta": 500.0, "original_max_position_embeddings": 16});
    let old = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16});
    let (mut a, mut b) = (llama("qwen2"), llama("qwen2"));
    a["rope_parameters"] = new;
    (b["rope_scaling"], b["rope_theta"]) = (old, 500.into());
    let (a, b) = (parse(&a).rope.unwrap(), parse(&b).rope.unwrap());
    assert_eq!(a, b);
    assert!((a.scaling - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-15);
}

#[test]
fn partial_rotary_is_ignored_as_transformers_ignores_it() {
    let mut config = llama("llama");
    let whole = parse(&config).rope;
    config["partial_rotary_factor"] = 0.5.into();
    assert_eq!(parse(&config).rope, whole);
    config.as_object_mut().unwrap().remove("partial_rotary_factor");
    config["rope_parameters"] = json!({"rope_type": "default", "partial_rotary_factor": 0.25});
    assert_eq!(parse(&config).rope, whole);
    // In `transformers` the parts of a head do not fit together then.
    config["rope_parameters"] =
        json!({"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5});
    let error = DecoderConfig::parse(&config.to_string()).unwrap_err().to_string();
    assert!(error.starts_with("partial_rotary_factor: 0.5 with positions of type \"linear\""));
}

#[test]
fn rotary_settings_have_the_order_of_transformers() {
    let mut config = llama("llama");
    config["rope_scaling"] = json!({"rope_type": "linear", "factor": 2.0});
    config["rope_parameters"] = json!({"rope_type": "default"});
    assert_eq!(parse(&config).rope.unwrap().inv_freq[0], 0.5);
    config["rope_scaling"] = json!({});
    assert_eq!(parse(&config).rope.unwrap().inv_freq[0], 1.0);
    // The base changes only behind the last position, and there are four times as many.
    (config["head_dim"], config["rope_parameters"]) = (4.into(), Value::Null);
    let plain = parse(&config);
    config["rope_scaling"] = json!({"type": "dynamic", "factor": 4.0});
    let dynamic = parse(&config);
    assert_eq!(dynamic.rope.as_ref().unwrap().inv_freq, plain.rope.unwrap().inv_freq);
    assert_eq!(dynamic.max_positions, 4 * plain.max_positions);
    assert_eq!(dynamic.positions_unchanged(), plain.max_positions);
    let stated = dynamic.explicit();
    assert_eq!(stated.field("max_position_embeddings"), Some(&plain.max_positions.into()));
}

#[test]
fn longrope_divides_the_angles_of_short_and_of_long_sequences() {
    let mut config = llama("phi3");
    (config["head_dim"], config["max_position_embeddings"]) = (8.into(), 64.into());
    config["partial_rotary_factor"] = 0.5.into();
    config["original_max_position_embeddings"] = 16.into();
    config["rope_scaling"] =
        json!({"type": "su", "short_factor": [1.0, 2.0], "long_factor": [4.0, 8.0]});
    let parsed = parse(&config);
    let rope = parsed.rope.as_ref().unwrap();
    assert_eq!((rope.rotary_dim, rope.inv_freq.as_slice()), (4, [1.0, 0.005].as_slice()));
    let inv_freq = [0.25, 0.00125].into();
    assert_eq!(rope.long, Some(LongAngles::Table { above: 16, inv_freq }));
    // √(1 + ln 4 / ln 16).
    assert!((rope.scaling - 1.5f64.sqrt()).abs() < 1e-15);
    assert_eq!((parsed.max_positions, parsed.positions_unchanged()), (64, 16));
}

#[test]
fn layers_of_smollm3_turn_by_list_or_interval() {
    let kinds = |changes: Value| -> Vec<(bool, Option<usize>)> {
        let mut config = llama("smollm3");
        config["num_hidden_layers"] = 4.into();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        let layers = parse(&config).layers;
        layers.iter().map(|layer| (layer.rope == LayerRope::Global, layer.window)).collect()
    };
    let (yes, no) = ((true, None), (false, None));
    assert_eq!(kinds(json!({})), [yes, yes, yes, no]);
    assert_eq!(kinds(json!({"no_rope_layer_interval": 2})), [yes, no, yes, no]);
    assert_eq!(kinds(json!({"no_rope_layers": [0, 1, 1, 0, 1]})), [no, yes, yes, no]);
    let windows = json!({"use_sliding_window": true, "sliding_window": 5});
    assert_eq!(kinds(windows), [yes, yes, yes, (false, Some(5))]);
}

#[test]
fn heads_of_keys_and_values_have_the_defaults_of_transformers() {
    for (kind, default) in [
        ("llama", 64),
        ("mistral", 8),
        ("mixtral", 8),
        ("qwen2", 32),
        ("qwen3", 32),
        ("qwen2_moe", 16),
        ("qwen3_moe", 4),
        ("olmo2", 64),
        ("gemma2", 4),
        ("gemma3_text", 4),
        ("phi3", 64),
        ("smollm3", 4),
        ("gpt_oss", 8),
    ] {
        let mut config = experts(kind);
        (config["hidden_size"], config["num_attention_heads"]) = (128.into(), 64.into());
        config["num_key_value_heads"] = Value::Null;
        assert_eq!(parse(&config).kv_heads, 64, "{kind}");
        config.as_object_mut().unwrap().remove("num_key_value_heads");
        let config = parse(&config);
        assert_eq!(config.kv_heads, default, "{kind}");
        assert_eq!(config.explicit().field("num_key_value_heads"), Some(&default.into()));
    }
    let found = message(&llama("mistral"), "num_key_value_heads", Value::Null);
    assert!(found.contains("8 heads of keys and values, this family's default"), "{found}");
}

#[test]
fn written_configs_state_every_key_that_has_a_default() {
    for kind in [
        "llama",
        "mistral",
        "mixtral",
        "qwen2",
        "qwen3",
        "qwen2_moe",
        "qwen3_moe",
        "olmo2",
        "gemma2",
        "gemma3_text",
        "phi3",
        "smollm3",
        "gpt_oss",
    ] {
        let config = parse(&experts(kind));
        let written = config.explicit();
        let again = DecoderConfig::parse(&written.to_json()).unwrap();
        assert_eq!(again, written, "{kind}");
        let network = |config: &DecoderConfig| {
            let mut config = config.clone();
            config.json.clear();
            config
        };
        assert_eq!(network(&again), network(&config), "{kind}");
        let gemma = kind.starts_with("gemma");
        let activation = if gemma { "hidden_activation" } else { "hidden_act" };
        for key in ["rope_theta", activation, "rms_norm_eps", "tie_word_embeddings"] {
            assert!(written.field(key).is_some(), "{kind}: {key}");
        }
    }
    let old = parse(&json!({"model_type": "gpt2", "vocab_size": 11, "n_ctx": 8, "hidden_size": 6,
        "num_hidden_layers": 2, "num_attention_heads": 2}))
    .explicit();
    assert_eq!((old.field("n_positions"), old.field("n_head")), (Some(&8.into()), Some(&2.into())));
    // Keys of the file are not repeated.
    let mut stated = llama("llama");
    stated["rope_parameters"] = json!({"rope_theta": 500.0, "rope_type": "default"});
    assert_eq!(parse(&stated).explicit().field("rope_theta"), None);
}

#[test]
fn what_is_not_understood_is_written_back_in_its_place() {
    let text = r#"{"z": [1, {"b": null}], "model_type": "gpt2", "vocab_size": 11, "n_positions": 8, "n_embd": 6,
        "n_layer": 1, "n_head": 2, "layer_norm_epsilon": 1e-05, "a": 1.50}"#;
    let config = DecoderConfig::parse(text).unwrap();
    assert_eq!(config.norm_eps, 1e-5);
    let again: Value = serde_json::from_str(&config.to_json()).unwrap();
    assert_eq!(again, serde_json::from_str::<Value>(text).unwrap());
    assert!(config.to_json().starts_with("{\n  \"z\": ["));
    let changed = config.with("n_layer", 3).unwrap();
    assert_eq!((changed.layers.len(), changed.field("a")), (3, Some(&json!(1.5))));
    let through: DecoderConfig =
        serde_json::from_str(&serde_json::to_string(&changed).unwrap()).unwrap();
    assert_eq!(through, changed);
}

#[test]
fn files_have_hugging_faces_names_and_shapes() {
    let tensors = |config: &Value| {
        let config = parse(config);
        let mut builder = Builder::new();
        CausalLm::new(&mut builder, &config, &LanguageOptions::default());
        let params = builder.build(&Device::planning(), DType::F32, 0, false).unwrap();
        assert_eq!(params.len(), config.parameters());
        file_tensors(&config, &params)
    };
    let mixtral = tensors(&experts("mixtral"));
    let third = "model.layers.1.block_sparse_moe.experts.2.w2.weight";
    let third = mixtral.iter().find(|t| t.name == third).unwrap();
    assert_eq!((third.dims.as_slice(), third.offset), ([8, 12].as_slice(), 2 * 96));
    assert!(mixtral.iter().any(|t| t.name == "model.layers.0.block_sparse_moe.gate.weight"));
    let qwen = tensors(&experts("qwen2_moe"));
    for name in ["experts.0.gate_proj", "shared_expert.up_proj", "shared_expert_gate", "gate"] {
        let name = format!("model.layers.0.mlp.{name}.weight");
        assert!(qwen.iter().any(|t| t.name == name), "{name}");
    }
    // A matrix to the file and back.
    let gpt2 = tensors(&gpt2());
    let qkv = gpt2.iter().find(|t| t.name == "transformer.h.1.attn.c_attn.weight").unwrap();
    let own: Vec<f32> = (0..108).map(|i| i as f32).collect();
    let file = qkv.write(&own).into_owned();
    assert_eq!((file[0], file[1], file[18]), (0.0, 6.0, 1.0));
    let mut back = vec![0.0; 108];
    qkv.read(&file, &mut back);
    assert_eq!(back, own);
}

#[test]
fn new_weights_are_as_small_as_the_family_has_them() {
    let mut config = gpt2();
    (config["n_embd"], config["n_layer"], config["vocab_size"]) = (64.into(), 8.into(), 500.into());
    let mut builder = Builder::new();
    CausalLm::new(&mut builder, &parse(&config), &LanguageOptions::default());
    let params = builder.build(&Device::default(), DType::F32, 0, false).unwrap();
    for (name, std) in [
        ("transformer.wte.weight", 0.02),
        ("transformer.h.0.attn.c_attn.weight", 0.02),
        ("transformer.h.7.attn.c_proj.weight", 0.005),
        ("transformer.h.3.mlp.c_proj.weight", 0.005),
        ("transformer.h.3.mlp.c_fc.weight", 0.02),
    ] {
        let values = params.values::<f32>(params.id(name).unwrap()).unwrap();
        let square: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        let found = (square / values.len() as f64).sqrt();
        // Five standard errors of the deviation of 4096 values.
        assert!((found / std - 1.0).abs() < 5.0 / 8192f64.sqrt(), "{name}: {found}");
    }
}
