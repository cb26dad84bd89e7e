use super::*;

const ODD: &str = "Zürich\r\n\tto be 🙂\n\n<|end|>\u{0}ß";

#[test]
fn simple_tokenizers_give_what_their_json_gives() {
    let characters = Tokenizer::characters(ODD, &["<|end|>", "<|end|>!"]).unwrap();
    let bytes = Tokenizer::bytes(&["<|end|>"]).unwrap();
    for tokenizer in [characters, bytes] {
        for text in [ODD, "", "<|end|>!<|end|>", "to<|end", "e"] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(ids, tokenizer.encode_inner(text, false).unwrap(), "{tokenizer:?} {text:?}");
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
    }
}

#[test]
fn a_saved_tokenizer_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    for (i, tokenizer) in [
        Tokenizer::characters(ODD, &["<|endoftext|>", "<pad>"]).unwrap(),
        Tokenizer::bytes(&["<s>"]).unwrap(),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = folder.path().join(i.to_string());
        tokenizer.save(&folder).unwrap();
        let read = Tokenizer::load(&folder).unwrap();
        assert_eq!((read.kind(), read.special()), (tokenizer.kind(), tokenizer.special()));
        assert_eq!((read.hash(), read.vocab_size()), (tokenizer.hash(), tokenizer.vocab_size()));
        let again = folder.join("again");
        read.save(&again).unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            let text = |folder: &std::path::Path| std::fs::read_to_string(folder.join(name));
            assert_eq!(text(&folder).unwrap(), text(&again).unwrap());
        }
    }
}

#[test]
fn gpt2s_old_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("vocab.json", r#"{"a":0,"b":1,"c":2,"ab":3,"Ġ":4,"Ġab":5,"<|endoftext|>":6}"#);
    write("merges.txt", "#version: 0.2\na b\nĠ ab\n");
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    assert_eq!(tokenizer.encode("ab ab<|endoftext|>c").unwrap(), [3, 5, 6, 2]);
    assert_eq!(tokenizer.special().eos, Some(6));
    assert_eq!(tokenizer.vocab_size(), 7);
    let by_name = Tokenizer::load(&folder.path().join("merges.txt")).unwrap();
    assert_eq!(by_name.hash(), tokenizer.hash());
}

#[test]
fn files_without_tokenizer_json_are_read_as_their_class_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("vocab.json", r#"{"a":0,"1":1,"2":2,"12":3,"Ġ":4,"<s>":5,"</s>":6,"Ġa":7}"#);
    write("merges.txt", "#version: 0.2\n1 2\nĠ a\n");
    let load = || Tokenizer::load(folder.path());
    let gpt2 = load().unwrap();
    assert_eq!(gpt2.encode("a12 a").unwrap(), [0, 3, 7]);
    // Qwen 2 has each digit by itself, and tokens that only the config lists.
    let added = r#""added_tokens_decoder": {"8": {"content": "<|im_start|>", "special": true},
        "9": {"content": "<tool>", "special": false}}"#;
    write(
        "tokenizer_config.json",
        &format!("{{\"tokenizer_class\": \"Qwen2TokenizerFast\", {added}}}"),
    );
    let qwen = load().unwrap();
    assert_eq!(qwen.encode("a12 a<|im_start|><tool>").unwrap(), [0, 1, 2, 7, 8, 9]);
    assert_eq!(qwen.decode_plain(&[0, 8, 9]).unwrap(), "a<tool>");
    let again = folder.path().join("again");
    qwen.save(&again).unwrap();
    let again = Tokenizer::load(&again).unwrap();
    assert_eq!((again.hash(), again.vocab_size()), (qwen.hash(), 10));
    // Without a class, the family of the model beside them tells.
    std::fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    write("config.json", r#"{"model_type": "qwen3_moe"}"#);
    assert_eq!(load().unwrap().encode("12").unwrap(), [1, 2]);
    write("config.json", r#"{"model_type": "roberta"}"#);
    let roberta = load().unwrap();
    assert_eq!(roberta.encode_with_special("12").unwrap(), [5, 3, 6]);
    assert_eq!(roberta.encode_prompt("12").unwrap(), [5, 3]);
    write("tokenizer_config.json", r#"{"tokenizer_class": "CLIPTokenizer"}"#);
    let error = load().unwrap_err();
    assert!(error.to_string().contains("of a CLIPTokenizer do not say how"), "{error}");
    // An id that the vocabulary would not give is refused.
    let gap = r#"{"added_tokens_decoder": {"20": {"content": "<x>", "special": true}}}"#;
    write("tokenizer_config.json", gap);
    assert!(load().unwrap_err().to_string().contains("gives `<x>` the id 20"));
}

#[test]
fn what_is_no_tokenizer_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Tokenizer::load(&path).unwrap_err().to_string()
    };
    for (text, message) in [
        ("", "no tokenizer"),
        ("{}", "no tokenizer"),
        ("{\"model\": 1", "no tokenizer"),
        (r#"{"model":{"type":"WordLevel","vocab":{},"unk_token":"u"}}"#, "vocabulary is empty"),
    ] {
        assert!(error("t.json", text).contains(message), "{text}");
    }
    assert!(Tokenizer::load(folder.path()).unwrap_err().to_string().contains("no tokenizer in"));
    assert!(Tokenizer::load("none".as_ref()).is_err());
    let bytes = Tokenizer::bytes(&[]).unwrap();
    assert!(matches!(bytes.decode(&[1, 256]), Err(TextError::Vocabulary { id: 256, .. })));
    assert!(Tokenizer::bytes(&["a", "a"]).is_err() && Tokenizer::bytes(&[""]).is_err());
}

/// `vocab.txt`, and `vocab.json` with `merges.txt`, give the ids of transformers
/// (scripts/encoder_tokenizers.py).
#[test]
fn tokenizers_of_encoders_are_read_without_tokenizer_json() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tokenizer/fixtures");
    let again = tempfile::tempdir().unwrap();
    for (name, kind) in [
        ("uncased", TokenizerKind::Wordpiece),
        ("cased", TokenizerKind::Wordpiece),
        ("roberta", TokenizerKind::Bpe),
    ] {
        let tokenizer = Tokenizer::load(&root.join(name)).unwrap();
        assert_eq!(tokenizer.kind(), kind);
        let json = std::fs::read_to_string(root.join(name).join("ids.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        tokenizer.save(&again.path().join(name)).unwrap();
        let saved = Tokenizer::load(&again.path().join(name)).unwrap();
        for (text, ids) in
            json["texts"].as_array().unwrap().iter().zip(json["ids"].as_array().unwrap())
        {
            let ids: Vec<u32> = serde_json::from_value(ids.clone()).unwrap();
            let text = text.as_str().unwrap();
            assert_eq!(tokenizer.encode_with_special(text).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(saved.encode_with_special(text).unwrap(), ids, "{name}: {text:?}");
        }
    }
}

#[test]
fn a_vocabulary_without_special_tokens_or_of_another_class_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let error = || Tokenizer::load(folder.path()).unwrap_err().to_string();
    write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\nword\n");
    assert!(error().contains("the vocabulary has no token `[SEP]`"), "{}", error());
    write("tokenizer_config.json", r#"{"tokenizer_class": "BertJapaneseTokenizer"}"#);
    assert!(error().contains("vocab.txt of a BertJapaneseTokenizer"), "{}", error());
    write("tokenizer_config.json", r#"{"sep_token": "word"}"#);
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    assert_eq!(tokenizer.encode_with_special("WORD x").unwrap(), [2, 3, 1, 3]);
}
