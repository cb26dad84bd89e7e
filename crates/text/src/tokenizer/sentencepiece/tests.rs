use std::path::PathBuf;

use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/sentencepiece");

fn expected() -> Map<String, Value> {
    let path = Path::new(FIXTURES).join("expected.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn model(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(format!("{name}.model"))
}

/// A folder with a model as its only tokenizer.
fn folder(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(model(name), folder.path().join("tokenizer.model")).unwrap();
    folder
}

#[test]
fn ids_and_texts_are_those_of_sentencepiece() {
    let mut wrong = Vec::new();
    for (name, texts) in expected() {
        let folder = folder(&name);
        let read = Tokenizer::load(folder.path()).unwrap();
        let again = folder.path().join("again");
        read.save(&again).unwrap();
        for tokenizer in [read, Tokenizer::load(&again).unwrap()] {
            for case in texts.as_array().unwrap() {
                let text = case["text"].as_str().unwrap();
                let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
                let found = tokenizer.encode(text).unwrap();
                if found != ids {
                    wrong.push(format!("{name} {text:?}: {found:?} and not {ids:?}"));
                }
                // An unknown piece is ⁇ there, and several spaces at the beginning are left out.
                if ids.contains(&0) || text.starts_with(SPACE) {
                    continue;
                }
                let decoded = tokenizer.decode(&ids).unwrap();
                if decoded != case["decoded"].as_str().unwrap() {
                    wrong.push(format!("{name} {ids:?}: {decoded:?} and not {}", case["decoded"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tokens_around_a_text_follow_the_class() {
    for (config, begin, end) in [
        (json!({}), true, false),
        (json!({"tokenizer_class": "T5TokenizerFast"}), false, true),
        (json!({"tokenizer_class": "LlamaTokenizer", "add_bos_token": false}), false, false),
        (json!({"tokenizer_class": "GemmaTokenizer", "add_eos_token": true}), true, true),
    ] {
        let folder = folder("bpe_bytes");
        std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let ids = tokenizer.encode_with_special("the fox").unwrap();
        let plain = tokenizer.encode("the fox").unwrap();
        let around = |ids: &[u32], wanted: bool| if wanted { ids.to_vec() } else { Vec::new() };
        assert_eq!(ids, [around(&[1], begin), plain, around(&[2], end)].concat(), "{config}");
        assert_eq!((tokenizer.special().bos, tokenizer.special().eos), (Some(1), Some(2)));
    }
}

#[test]
fn files_that_lie_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.model");
    let refusal = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Tokenizer::load(folder.path()).unwrap_err().to_string()
    };
    let whole = std::fs::read(model("bpe_bytes")).unwrap();
    // A piece of two bytes that claims more, one without text, one twice, a score without a number.
    let piece = |len: u8, text: &[u8], kind: u8, score: f32| {
        let score = [&[0x15], &score.to_le_bytes()[..]].concat();
        let inside = [&[0x0a, len], text, &score, &[0x18, kind]].concat();
        [&[0x0a, inside.len() as u8], &inside[..]].concat()
    };
    let unknown = piece(1, b"?", 2, 0.0);
    let with = |more: Vec<u8>| [unknown.clone(), more].concat();
    for (bytes, says) in [
        (whole[..whole.len() - 3].to_vec(), "in the middle of a field"),
        (b"IQ== 0\nIg== 1\n".to_vec(), "no model of SentencePiece"),
        (Vec::new(), "no model of SentencePiece"),
        (with(piece(99, b"ab", 1, 0.0)), "in the middle of a field"),
        (with(vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), "in the middle"),
        (with(piece(0, b"", 1, 0.0)), "piece 1 has 0 bytes"),
        (with(piece(1, b"?", 1, 0.0)), "the pieces 0 and 1 are the same"),
        (with(piece(1, b"a", 1, f32::NAN)), "the score of piece 1 is no number"),
        (with(piece(1, b"a", 5, 0.0)), "of the kind 5"),
        (with(piece(1, b"\xff", 1, 0.0)), "utf-8"),
        (piece(1, b"a", 1, 0.0), "no piece for the unknown"),
        (with(vec![0x12, 2, 0x18, 3]), "`unigram` and `bpe`"),
    ] {
        let message = refusal(&bytes);
        assert!(message.contains(says), "{says}: {message}");
    }
    for len in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..len]).unwrap();
        let _ = Tokenizer::load(folder.path());
    }
}
