//! GGUF files: models written and read again, and a published one against `transformers`.

use super::fixture;
use feedforward::formats::{GgmlType, GgufFile};
use feedforward::language::{Chat, ExportFormat, GenerateOptions, LanguageModel, export};
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

fn open(path: &Path) -> LanguageModel {
    LanguageModel::open(path, &Default::default(), &Default::default()).unwrap()
}

#[test]
fn models_written_as_gguf_are_the_same_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama", "llama_linear", "qwen3", "olmo2"] {
        let path = folder.path().join(format!("{name}.gguf"));
        let exported =
            export(&mut open(&fixture(name)), ExportFormat::Gguf, GgmlType::F32, &path).unwrap();
        assert_eq!((exported.difference, exported.same_top), (0.0, 1.0), "{name}");
        let file = GgufFile::open(&path).unwrap();
        assert!(file.tensors().contains_key("blk.0.attn_q.weight"), "{name}");
    }
}

#[test]
fn rounded_weights_read_back_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(&fixture("llama"));
    for dtype in [GgmlType::F16, GgmlType::BF16] {
        let path = folder.path().join(dtype.to_string());
        let exported = export(&mut model, ExportFormat::HuggingFace, dtype, &path).unwrap();
        assert!(exported.difference > 0.0 && exported.divergence < 1e-3, "{exported:?}");
    }
    // Rows that are no whole blocks become f16.
    for dtype in [GgmlType::Q8_0, GgmlType::Q4_0, GgmlType::Q4_1] {
        let path = folder.path().join(format!("{dtype}.gguf"));
        let exported = export(&mut model, ExportFormat::Gguf, dtype, &path).unwrap();
        assert!(exported.divergence < 0.1, "{exported:?}");
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
    ] {
        let error = export(&mut open(&fixture(name)), ExportFormat::Gguf, GgmlType::F32, &path);
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
    let Ok(stored) = std::fs::read_to_string(path.with_file_name("greedy.json")) else {
        eprintln!("skipped: no models/greedy.json; scripts/gguf_greedy.py writes it");
        return;
    };
    let stored: Vec<Value> = serde_json::from_str(&stored).unwrap();
    let mut model = open(&path);
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
    let mut model = open(&path);
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
