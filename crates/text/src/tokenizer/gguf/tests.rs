use std::path::Path;

use super::*;
use ff_formats::GgufWriter;
use ff_tensor::ThreadPool;

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

/// The tokenizer of a file with this metadata, each key without `tokenizer.ggml.`.
fn of(metadata: &[(&str, GgufValue)]) -> Result<Tokenizer> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("t.gguf");
    let mut writer = GgufWriter::new();
    for (key, value) in metadata {
        writer.metadata(&format!("tokenizer.ggml.{key}"), value.clone());
    }
    writer.write(&path, &ThreadPool::new(1)).unwrap();
    Tokenizer::from_gguf(&GgufFile::open(&path).unwrap())
}

fn text(text: &str) -> GgufValue {
    GgufValue::String(text.into())
}

fn texts(texts: &[&str]) -> GgufValue {
    GgufValue::Array(texts.iter().map(|t| text(t)).collect())
}

fn types(types: &[i32]) -> GgufValue {
    GgufValue::Array(types.iter().map(|&kind| GgufValue::I32(kind)).collect())
}

#[test]
fn word_pieces_of_bert_are_read() {
    let tokens = texts(&["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁play", "ing", "▁.", "▁[", "▁cafe"]);
    let metadata = [
        ("model", text("bert")),
        ("tokens", tokens),
        ("token_type", types(&[3, 3, 3, 3, 1, 1, 1, 1, 1])),
        ("unknown_token_id", GgufValue::U32(1)),
        ("seperator_token_id", GgufValue::U32(3)),
        ("cls_token_id", GgufValue::U32(2)),
    ];
    let tokenizer = of(&metadata).unwrap();
    assert_eq!(tokenizer.encode("Playing. [x] Café ing").unwrap(), [4, 5, 6, 7, 1, 1, 8, 1]);
    assert_eq!(tokenizer.encode_with_special("play").unwrap(), [2, 4, 3]);
    assert_eq!(tokenizer.decode_plain(&[2, 4, 5, 6, 3]).unwrap(), "playing.");
    let exact: Vec<_> = metadata
        .iter()
        .cloned()
        .chain([("normalizer.lowercase", GgufValue::Bool(false))])
        .collect();
    assert_eq!(of(&exact).unwrap().encode("Play play café").unwrap(), [1, 4, 1]);
    // Newer files have the first token as that of a text's beginning.
    let mut newer = metadata.to_vec();
    newer[5].0 = "bos_token_id";
    assert_eq!(of(&newer).unwrap().encode_with_special("play").unwrap(), [2, 4, 3]);
    for missing in 3..6 {
        let mut fewer = metadata.to_vec();
        let (key, _) = fewer.remove(missing);
        let message = of(&fewer).unwrap_err().to_string();
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn pieces_of_gemma_4_are_read() {
    let tokens = [
        "<pad>", "<eos>", "<bos>", "<unk>", "<0xC3>", "<0xA9>", "▁", "a", "▁a", "\n", "\n\n",
        "<turn|>",
    ];
    let tokenizer = of(&[
        ("model", text("gemma4")),
        ("tokens", texts(&tokens)),
        ("token_type", types(&[3, 3, 3, 3, 6, 6, 1, 1, 1, 1, 1, 4])),
        ("merges", texts(&["▁ a", "\n \n"])),
        ("bos_token_id", GgufValue::U32(2)),
        ("unknown_token_id", GgufValue::U32(3)),
        ("add_bos_token", GgufValue::Bool(false)),
    ])
    .unwrap();
    let ids = tokenizer.encode("a  aé\n\n\n<turn|>a").unwrap();
    assert_eq!(ids, [7, 6, 8, 4, 5, 10, 9, 11, 7]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "a  aé\n\n\n<turn|>a");
    assert_eq!(tokenizer.encode_prompt("a").unwrap(), [2, 7]);
}

#[test]
fn what_is_not_read_is_named() {
    let tokens = || ("tokens", texts(&["a", "b"]));
    for (metadata, named) in [
        (vec![tokens()], "tokenizer.ggml.model"),
        (vec![("model", text("rwkv")), tokens()], "rwkv"),
        (vec![("model", text("gpt2")), ("pre", text("strange")), tokens()], "strange"),
        (vec![("model", text("gpt2"))], "tokens"),
        (vec![("model", text("gemma4")), tokens(), ("merges", texts(&["ab"]))], "`ab` is no pair"),
        (vec![("model", text("llama")), tokens()], "no score"),
    ] {
        let message = of(&metadata).unwrap_err().to_string();
        assert!(message.contains(named), "{named}: {message}");
    }
}
