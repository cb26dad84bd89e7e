use std::path::Path;

use super::*;

/// The vocabularies of the sdist of llama-cpp-python with the ids of texts, once
/// `scripts/fetch-models.sh templates` has fetched them.
#[test]
fn the_vocabularies_of_llama_cpp_encode_exactly() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/llama.cpp");
    if !folder.exists() {
        eprintln!("skipped: no {}; scripts/fetch-models.sh templates fetches it", folder.display());
        return;
    }
    let mut exact = Vec::new();
    let mut others = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let with = |end: &str| path.with_file_name(format!("{file}{end}"));
        if path.extension().is_none_or(|end| end != "gguf") || !with(".inp").exists() {
            continue;
        }
        let name = file.trim_start_matches("ggml-vocab-").trim_end_matches(".gguf").to_owned();
        let gguf = GgufFile::open(&path).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let texts = std::fs::read_to_string(with(".inp")).unwrap();
        let ids = std::fs::read_to_string(with(".out")).unwrap();
        let mut differ = 0;
        for (text, ids) in texts.split("\n__ggml_vocab_test__\n").zip(ids.lines()) {
            let expected: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
            let found = tokenizer.encode(text).unwrap();
            if found != expected {
                differ += 1;
                if differ == 1 {
                    others
                        .push(format!("{name}: {text:?}\n  ours  {found:?}\n  llama {expected:?}"));
                }
            }
        }
        if differ == 0 {
            exact.push(name);
        }
    }
    assert!(others.is_empty(), "exact: {exact:?}\n{}", others.join("\n"));
    assert_eq!(exact.len(), 15, "{exact:?}");
}

/// Every expression of words compiles.
#[test]
fn pretokenizers_are_expressions() {
    for name in [
        "gpt-2",
        "smollm",
        "llama3",
        "qwen2",
        "qwen35",
        "tekken",
        "falcon",
        "deepseek-llm",
        "deepseek-coder",
        "deepseek-v3",
        "bloom",
        "viking",
        "default",
    ] {
        for words in words(name).unwrap() {
            let split = json!({ "type": "Split", "pattern": { "Regex": words }, "behavior": "Isolated",
                "invert": false });
            let found = serde_json::from_value::<tokenizers::PreTokenizerWrapper>(split);
            assert!(found.is_ok(), "{name}: {words}: {found:?}");
        }
    }
}
