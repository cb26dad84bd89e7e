//! GGUF files: models written and read again, and a published one against `transformers`.

use super::fixture;
use feedforward::formats::{GgmlType, GgufFile, GgufFileType, GgufValue, GgufWriter};
use feedforward::graph::Segment;
use feedforward::language::{
    Chat, ExportFormat, GenerateOptions, LanguageModel, export, generate_tokens,
};
use feedforward::tensor::{Device, DeviceOptions};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

fn open(path: &Path) -> LanguageModel {
    LanguageModel::open(path, &Default::default(), &Default::default()).unwrap()
}

/// A copy of a fixture with some keys of its config changed.
fn changed(name: &str, changes: &Value, to: &Path) -> PathBuf {
    let place = to.join(name);
    std::fs::create_dir(&place).unwrap();
    let tensors = "model.safetensors";
    std::fs::copy(fixture(name).join(tensors), place.join(tensors)).unwrap();
    let text = std::fs::read_to_string(fixture(name).join("config.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        json[key] = value.clone();
    }
    std::fs::write(place.join("config.json"), json.to_string()).unwrap();
    place
}

#[test]
fn models_written_as_gguf_are_the_same_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama", "llama_linear", "qwen3", "olmo2", "phi3"] {
        let path = folder.path().join(format!("{name}.gguf"));
        let exported =
            export(&mut open(&fixture(name)), ExportFormat::Gguf, GgufFileType::F32, &path)
                .unwrap();
        assert_eq!((exported.difference, exported.same_top), (0.0, 1.0), "{name}");
        let file = GgufFile::open(&path).unwrap();
        let (fused, usual) = ("blk.0.attn_qkv.weight", "blk.0.attn_q.weight");
        let expected = if name == "phi3" { fused } else { usual };
        assert!(file.tensors().contains_key(expected), "{name}");
    }
    // Three layers, none of which is a fourth one.
    let place = changed("smollm3", &json!({"no_rope_layers": [1, 1, 1]}), folder.path());
    let path = folder.path().join("smollm3.gguf");
    let exported = export(&mut open(&place), ExportFormat::Gguf, GgufFileType::F32, &path).unwrap();
    assert_eq!((exported.difference, exported.same_top), (0.0, 1.0));
}

/// The experts of gpt-oss are stacks in both files, one of which alternates; its limit is
/// llama.cpp's.
#[test]
fn the_stacks_of_gpt_oss_are_the_same_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let place = changed("gpt_oss", &json!({"swiglu_limit": 7.0}), folder.path());
    let path = folder.path().join("model.gguf");
    let exported = export(&mut open(&place), ExportFormat::Gguf, GgufFileType::F32, &path).unwrap();
    assert_eq!((exported.difference, exported.same_top), (0.0, 1.0));
    let file = GgufFile::open(&path).unwrap();
    for (name, dims) in [
        ("blk.0.ffn_gate_exps.weight", &[4, 20, 16][..]),
        ("blk.1.ffn_up_exps.bias", &[4, 20]),
        ("blk.0.ffn_down_exps.weight", &[4, 16, 20]),
        ("blk.1.attn_sinks.weight", &[4]),
        ("blk.0.post_attention_norm.weight", &[16]),
    ] {
        assert_eq!(file.tensors()[name].dims, dims, "{name}");
    }
    assert_eq!(file.metadata()["gpt-oss.expert_count"], GgufValue::U32(4));
    let other = folder.path().join("other.gguf");
    let exported = export(&mut open(&place), ExportFormat::Gguf, GgufFileType::BF16, &other);
    assert!(exported.unwrap().difference > 0.0);
    std::fs::remove_file(&other).unwrap();

    let refused =
        export(&mut open(&place), ExportFormat::Gguf, GgufFileType::Q8_0, &other).unwrap_err();
    assert!(refused.to_string().contains("as f32, f16 or bf16"), "{refused}");
}

/// A file with experts in MXFP4, as published ones have them: `gpt_oss_gguf.py` stores the logits
/// of llama.cpp.
#[test]
fn experts_of_gpt_oss_in_blocks_give_the_logits_of_llama_cpp() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/gguf");
    let mut model = open(&fixtures.join("gpt_oss.gguf"));
    let json = model.config().to_json();
    assert!(json.contains("\"rope_type\": \"default\""), "{json}");
    let text = std::fs::read_to_string(fixtures.join("gpt_oss.json")).unwrap();
    let stored: Value = serde_json::from_str(&text).unwrap();
    let ids: Vec<u32> = serde_json::from_value(stored["ids"].clone()).unwrap();
    let wanted: Vec<Vec<f32>> = serde_json::from_value(stored["logits"].clone()).unwrap();
    let found = model.logits(&ids).unwrap();
    assert_eq!(found.len(), wanted.concat().len());
    for (i, (found, wanted)) in found.iter().zip(wanted.concat()).enumerate() {
        assert!((found - wanted).abs() < 2e-5, "logit {i}: {found}, expected {wanted}");
    }
    // As a folder of Hugging Face it is the same.
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("folder");
    let exported = export(&mut model, ExportFormat::HuggingFace, GgufFileType::F32, &place);
    let exported = exported.unwrap();
    assert_eq!((exported.difference, exported.same_top), (0.0, 1.0));
}

/// LongRoPE's factors are 32-bit floats in a file.
#[test]
fn factors_of_long_and_short_sequences_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let changes = json!({"hidden_act": "silu"});
    let place = changed("phi3_long", &changes, folder.path());
    let path = folder.path().join("model.gguf");
    let exported = export(&mut open(&place), ExportFormat::Gguf, GgufFileType::F32, &path).unwrap();
    assert!(exported.difference < 1e-5 && exported.same_top == 1.0, "{exported:?}");
    let (ours, theirs) = (open(&path), open(&place));
    let [ours, theirs] = [ours.config(), theirs.config()].map(|c| c.rope.clone().unwrap());
    assert_eq!((ours.rotary_dim, ours.theta), (theirs.rotary_dim, theirs.theta));
    assert!(ours.long.is_some() && (ours.scaling - theirs.scaling).abs() < 1e-6);
}

/// Gains are rounded once more where the file holds them plus 1.
#[test]
fn gemmas_written_as_gguf_are_the_same_but_for_their_gains() {
    let folder = tempfile::tempdir().unwrap();
    for (name, scalar) in [("gemma2", 6), ("gemma3", 6), ("gemma3_bounded", 8)] {
        let path = folder.path().join(format!("{name}.gguf"));
        let place = changed(name, &json!({"query_pre_attn_scalar": scalar}), folder.path());
        let windowed = open(&place).config().layers[0].window.is_some();
        let exported = export(&mut open(&place), ExportFormat::Gguf, GgufFileType::F32, &path);
        if !windowed {
            assert!(exported.unwrap_err().to_string().contains("no regular distance"));
            continue;
        }
        let exported = exported.unwrap();
        assert!(exported.difference < 1e-5 && exported.same_top == 1.0, "{name}: {exported:?}");
        let file = GgufFile::open(&path).unwrap();
        assert!(file.tensors().contains_key("blk.0.post_ffw_norm.weight"), "{name}");
        let (ours, theirs) = (open(&path), open(&place));
        let (ours, theirs) = (ours.config(), theirs.config());
        assert_eq!(ours.layers, theirs.layers, "{name}");
        assert_eq!((&ours.rope, &ours.local_rope), (&theirs.rope, &theirs.local_rope), "{name}");
        assert_eq!([ours.score_cap, ours.logit_cap], [theirs.score_cap, theirs.logit_cap]);
    }
    let refused = export(
        &mut open(&fixture("gemma2")),
        ExportFormat::Gguf,
        GgufFileType::F32,
        &folder.path().join("refused.gguf"),
    );
    assert!(refused.unwrap_err().to_string().contains("query_pre_attn_scalar other than 6"));
}

#[test]
fn rounded_weights_read_back_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(&fixture("llama"));
    for dtype in [GgufFileType::F16, GgufFileType::BF16] {
        let path = folder.path().join(dtype.to_string());
        let exported = export(&mut model, ExportFormat::HuggingFace, dtype, &path).unwrap();
        assert!(exported.difference > 0.0 && exported.divergence < 1e-3, "{exported:?}");
    }
    // Rows that are no whole blocks become f16.
    for &dtype in &GgufFileType::ALL[3..] {
        let path = folder.path().join(format!("{dtype}.gguf"));
        let exported = export(&mut model, ExportFormat::Gguf, dtype, &path).unwrap();
        assert!(exported.divergence < 0.1, "{exported:?}");
    }
}

/// The text and the logits behind it, with so many threads.
fn greedy(path: &Path, in_file: bool, threads: usize) -> (Vec<u32>, Vec<f32>) {
    let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
    let mut model = if in_file {
        LanguageModel::open_to_generate(path, &[], &device, &Default::default()).unwrap()
    } else {
        LanguageModel::open(path, &device, &Default::default()).unwrap()
    };
    let mut matrices = model.parts().1.params().infos().iter().filter(|i| i.spec.shape.rank() > 1);
    assert!(matrices.all(|i| (i.spec.segment == Segment::File) == in_file));
    let options = GenerateOptions { temperature: 0.0, max_tokens: 12, ..Default::default() };
    let config = model.config().clone();
    let prompt: [&[u32]; 1] = [&[1, 5, 9, 2, 7]];
    let (network, graph) = model.parts();
    let mut go_on = |_, _| ControlFlow::Continue(());
    let parts = (network, &config);
    let written = generate_tokens(graph, parts, &prompt, &[], &options, &mut go_on).unwrap();
    let tokens = written[0].tokens.clone();
    let logits = model.logits(&tokens).unwrap();
    (tokens, logits)
}

/// Weights that stay in blocks write what they write as floats; threads do not change a bit.
#[test]
fn matrices_in_the_form_of_their_file_write_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in [
        GgufFileType::F32,
        GgufFileType::F16,
        GgufFileType::BF16,
        GgufFileType::Q8_0,
        GgufFileType::Q4_0,
        GgufFileType::Q4_1,
    ] {
        for name in ["llama", "qwen3"] {
            let path = folder.path().join(format!("{name}.{dtype}.gguf"));
            export(&mut open(&fixture(name)), ExportFormat::Gguf, dtype, &path).unwrap();
            let (dense, one) = (greedy(&path, false, 1), greedy(&path, true, 1));
            assert_eq!(dense.0, one.0, "{name} {dtype}");
            let largest = dense.1.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (a, b) in dense.1.iter().zip(&one.1) {
                // Sums of up to a hundred terms in another order, through a few layers.
                assert!((a - b).abs() < 1e-5 * largest.max(1.0), "{name} {dtype}: {a} {b}");
            }
            assert_eq!(one, greedy(&path, true, 3), "{name} {dtype}");
        }
    }
}

/// A model of one layer whose matrices have this form, with weights of a fixed pattern; with three
/// experts, of which two are chosen, or none.
fn of_blocks(dtype: GgmlType, experts: bool, path: &Path) {
    let mut writer = GgufWriter::new();
    writer.metadata("general.architecture", GgufValue::String("llama".into()));
    for (key, value) in [
        ("block_count", 1),
        ("context_length", 64),
        ("embedding_length", 256),
        ("feed_forward_length", 512),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("expert_count", if experts { 3 } else { 0 }),
        ("expert_used_count", if experts { 2 } else { 0 }),
    ] {
        writer.metadata(&format!("llama.{key}"), GgufValue::U32(value));
    }
    let pattern = |len: usize, seed: usize| -> Vec<f32> {
        let hash = |i: usize| (i * 2 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        (0..len).map(|i| hash(i) as f32 / (1 << 24) as f32 * 0.2 - 0.1).collect()
    };
    let mut matrices: Vec<(&str, &[usize])> = vec![
        ("token_embd", &[40, 256]),
        ("blk.0.attn_q", &[256, 256]),
        ("blk.0.attn_k", &[128, 256]),
        ("blk.0.attn_v", &[128, 256]),
        ("blk.0.attn_output", &[256, 256]),
    ];
    matrices.extend::<[(&str, &[usize]); 3]>(if experts {
        writer.add("blk.0.ffn_gate_inp.weight", &[3, 256], GgmlType::F32, move || {
            pattern(3 * 256, 99).into()
        });
        [
            ("blk.0.ffn_gate_exps", &[3, 512, 256]),
            ("blk.0.ffn_up_exps", &[3, 512, 256]),
            ("blk.0.ffn_down_exps", &[3, 256, 512]),
        ]
    } else {
        [
            ("blk.0.ffn_gate", &[512, 256]),
            ("blk.0.ffn_up", &[512, 256]),
            ("blk.0.ffn_down", &[256, 512]),
        ]
    });
    for (seed, (part, dims)) in matrices.into_iter().enumerate() {
        let len: usize = dims.iter().product();
        writer.add(&format!("{part}.weight"), dims, dtype, move || pattern(len, seed).into());
    }
    for part in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"] {
        writer.add(&format!("{part}.weight"), &[256], GgmlType::F32, || vec![1.0; 256].into());
    }
    writer.write(path, Device::default().cpu().threads()).unwrap();
}

#[test]
fn matrices_of_every_kind_of_blocks_write_the_same() {
    use GgmlType as T;
    let folder = tempfile::tempdir().unwrap();
    let dense =
        [T::Q8_0, T::Q4_0, T::Q4_1, T::Q5_0, T::Q5_1, T::Q2_K, T::Q3_K, T::Q4_K, T::Q5_K, T::Q6_K];
    let mixtures = [T::F16, T::Q8_0, T::Q4_K].map(|dtype| (dtype, true));
    for (dtype, experts) in dense.map(|dtype| (dtype, false)).into_iter().chain(mixtures) {
        let path = folder.path().join(format!("{dtype}-{experts}.gguf"));
        of_blocks(dtype, experts, &path);
        let (dense, in_file) = (greedy(&path, false, 2), greedy(&path, true, 2));
        assert_eq!(dense.0, in_file.0, "{dtype}");
        let largest = dense.1.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (a, b) in dense.1.iter().zip(&in_file.1) {
            assert!((a - b).abs() < 1e-5 * largest, "{dtype}: {a} {b}");
        }
    }
}

#[test]
fn models_without_a_form_in_gguf_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for (name, says) in [
        ("gpt2", "gpt2"),
        ("mixtral", "mixtral"),
        ("llama_biases", "Llama 3"),
        ("llama_yarn", "beta_fast"),
        ("qwen2", "window"),
        ("gemma2_unbounded", "every second"),
        ("phi3_long", "activation"),
        ("smollm3", "every fourth"),
        ("gpt_oss", "other bounds"),
    ] {
        let error = export(&mut open(&fixture(name)), ExportFormat::Gguf, GgufFileType::F32, &path);
        assert!(error.unwrap_err().to_string().contains(says));
        assert!(!path.exists());
    }
}

/// SmolLM2-135M-Instruct, once `scripts/fetch-models.sh` has fetched it.
#[allow(clippy::print_stderr)]
fn published() -> Option<PathBuf> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.exists() {
        eprintln!("skipped: no {}; scripts/fetch-models.sh fetches it", path.display());
        return None;
    }
    Some(path)
}

/// `scripts/gguf_greedy.py` writes what `transformers` writes on the dequantised weights.
#[test]
fn a_published_model_writes_what_it_writes_in_python() {
    let Some(path) = published() else { return };
    let stored = include_str!("../../../testkit/fixtures/smollm2.json");
    let stored: Vec<Value> = serde_json::from_str(stored).unwrap();
    let (device, options) = (Device::default(), Default::default());
    let mut model = LanguageModel::open_to_generate(&path, &[], &device, &options).unwrap();
    let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    let prompts: Vec<&str> = stored.iter().map(|s| s["prompt"].as_str().unwrap()).collect();
    for (prompt, stored) in prompts.iter().zip(&stored) {
        assert_eq!(model.tokenizer().unwrap().encode(prompt).unwrap(), ids(&stored["ids"]));
    }
    let options = GenerateOptions { temperature: 0.0, max_tokens: 64, ..Default::default() };
    let written = model.generate_all(&prompts, &options, &mut |_, _| Ok(())).unwrap();
    let end = model.end_tokens();
    for (written, stored) in written.iter().zip(&stored) {
        let mut expected = ids(&stored["tokens"]);
        expected.retain(|id| !end.contains(id));
        assert_eq!(written.tokens, expected, "{}", stored["prompt"]);
    }
}

#[test]
fn a_published_model_answers_and_remembers() {
    let Some(path) = published() else { return };
    let (device, options) = (Device::default(), Default::default());
    let mut model = LanguageModel::open_to_generate(&path, &[], &device, &options).unwrap();
    let mut chat = Chat::new(&model, None).unwrap();
    let options = GenerateOptions { temperature: 0.0, max_tokens: 24, ..Default::default() };
    let mut go = |_: &str| Ok(ControlFlow::Continue(()));
    let question = "What is the capital of France? Answer in one sentence.";
    let answer = chat.say(&mut model, question, &options, &mut go).unwrap();
    assert!(answer.written.text.contains("Paris"), "{}", answer.written.text);
    assert_eq!((chat.messages().len(), answer.left_out), (2, 0));
    let mut stop = |_: &str| Ok(ControlFlow::Break(()));
    let answer = chat.say(&mut model, "And of Spain?", &options, &mut stop).unwrap();
    assert!(answer.written.tokens.len() < 24 && answer.written.prompt_tokens > 40);
    chat.set_system("Be brief.");
    chat.reset();
    assert_eq!(chat.messages().len(), 1);
}
