//! Tests from files to windows of tokens.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::tokenize::tokenize_into;
use super::*;
use ff_table::DataError;

use ff_tensor::ThreadPool;

use crate::error::{Result, TextError};

const TEXT: &str =
    "First Citizen:\r\nBefore we proceed any further, hear me speak.\n\nAll: Speak, spëak! 🙂\n";

fn config(paths: &[&str]) -> TextConfig {
    TextConfig { paths: paths.iter().map(Into::into).collect(), ..TextConfig::default() }
}

fn run(config: &TextConfig, base: &Path, tokenizer: &Tokenizer) -> Result<TextReport> {
    let threads = ThreadPool::new(2);
    tokenize_into(config, base, tokenizer, &base.join("tokens"), 50, &threads, &mut |_| ())
}

fn each(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}

fn all(data: &TokenData) -> Vec<i32> {
    let mut ids = vec![0; data.tokens() as usize];
    data.read(0, &mut ids).unwrap();
    ids
}

fn text(tokenizer: &Tokenizer, data: &TokenData) -> String {
    let ids: Vec<u32> = all(data).into_iter().map(|id| id as u32).collect();
    tokenizer.decode(&ids).unwrap()
}

#[test]
fn a_single_text_is_divided_at_a_character() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), TEXT).unwrap();
    for tokenizer in
        [Tokenizer::bytes(&["<e>"]).unwrap(), Tokenizer::characters(TEXT, &[]).unwrap()]
    {
        let report = run(&config(&["a.txt"]), folder.path(), &tokenizer).unwrap();
        let data = TextData::open(&folder.path().join("tokens")).unwrap();
        let (train, valid) =
            (text(&tokenizer, &data.train), text(&tokenizer, &data.valid.clone().unwrap()));
        let count = TEXT.chars().count();
        assert_eq!(train.chars().count(), (count as f64 * 0.9) as usize);
        assert_eq!(train.clone() + &valid, TEXT);
        assert_eq!(
            (report.train.bytes, report.valid.bytes),
            (train.len() as u64, valid.len() as u64)
        );
        assert_eq!((report.train.documents, report.valid.documents), (1, 1));
        data.verify().unwrap();
    }
}

#[test]
fn the_last_documents_are_held_out() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = each(10, |i| format!("{{\"body\": \"text {i}\", \"n\": [{i}]}}\n\n"));
    std::fs::write(folder.path().join("a.jsonl"), "\u{feff}".to_owned() + &lines).unwrap();
    let tokenizer = Tokenizer::bytes(&["<|endoftext|>", "<s>"]).unwrap();
    let config = TextConfig {
        text_column: "body".into(),
        valid: 0.2,
        add_bos: Some(true),
        ..config(&["a.jsonl"])
    };
    let report = run(&config, folder.path(), &tokenizer).unwrap();
    assert_eq!((report.train.documents, report.valid.documents), (8, 2));
    assert_eq!((report.train.bytes, report.valid.bytes), (8 * 6, 2 * 6));
    let data = TextData::open(&folder.path().join("tokens")).unwrap();
    let valid = data.valid.unwrap();
    assert_eq!(text(&tokenizer, &valid), "<s>text 8<|endoftext|><s>text 9<|endoftext|>");
    assert_eq!((valid.document_start(1), valid.document_start(2)), (Some(8), None));
    let mut numbers = [0; 10];
    valid.segments(3, &mut numbers).unwrap();
    assert_eq!(numbers, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    valid.positions(3, &mut numbers).unwrap();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    // The stream spans several shards; a window may begin anywhere.
    assert_eq!(all(&data.train)[41..61], {
        let mut window = [0; 20];
        data.train.read(41, &mut window).unwrap();
        window
    });
    assert!(
        data.train.read(60, &mut [0; 20]).is_err()
            && data.train.read(u64::MAX, &mut [0; 2]).is_err()
    );
    assert!(matches!(valid.check_vocabulary(257), Err(TextError::Vocabulary { id: 257, .. })));
    assert!(valid.check_vocabulary(258).is_ok());
    assert!(valid.check_context(15, "valid").is_ok() && valid.check_context(16, "valid").is_err());
}

#[test]
fn files_of_every_kind_give_the_same_documents() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    std::fs::create_dir_all(base.join("many/deep")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(base.join(name), bytes).unwrap();
    write("many/a.txt", b"one");
    write("many/deep/b.md", "tw\u{f6}".as_bytes());
    write("many/.hidden", b"no");
    write("all.txt", "one|tw\u{f6}|".as_bytes());
    let json = "{\"text\": \"one\"}\n{\"text\": \"tw\\u00f6\"}";
    write("a.jsonl", json.as_bytes());
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(json.as_bytes()).unwrap();
    write("a.jsonl.gz", &gz.finish().unwrap());
    write("b.jsonl.zst", &zstd::encode_all(json.as_bytes(), 1).unwrap());
    write("a.csv", "id,text\n1,one\n2,tw\u{f6}\n".as_bytes());
    let mut writer = ff_table::TableWriter::create(&base.join("a.parquet")).unwrap();
    let mut texts = ff_table::TextValues::default();
    texts.push("one");
    texts.push("tw\u{f6}");
    let column = ff_table::Column::new("text", ff_table::Values::Text(texts));
    writer.write(&ff_table::Table::new(vec![column]).unwrap()).unwrap();
    writer.finish().unwrap();
    let tokenizer = Tokenizer::bytes(&["<|endoftext|>"]).unwrap();
    for path in ["many", "all.txt", "a.jsonl", "a.jsonl.gz", "b.jsonl.zst", "a.csv", "a.parquet"] {
        let separator = (path == "all.txt").then(|| "|".to_owned());
        let config = TextConfig { document_separator: separator, valid: 0.5, ..config(&[path]) };
        let report = run(&config, base, &tokenizer).unwrap();
        assert_eq!((report.documents.read, report.documents.kept), (2, 2), "{path}");
        let data = TextData::open(&base.join("tokens")).unwrap();
        assert_eq!(text(&tokenizer, &data.train), "one<|endoftext|>", "{path}");
        assert_eq!(text(&tokenizer, &data.valid.unwrap()), "tw\u{f6}<|endoftext|>", "{path}");
    }
    let held_out = TextConfig { valid_paths: vec!["a.csv".into()], ..config(&["many"]) };
    let report = run(&held_out, base, &tokenizer).unwrap();
    assert_eq!((report.train, report.files), (report.valid, 3));
}

#[test]
fn tokens_that_are_there_are_used_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), TEXT).unwrap();
    let tokenizer = Tokenizer::bytes(&[]).unwrap();
    let config = config(&["a.txt"]);
    let first = run(&config, folder.path(), &tokenizer).unwrap();
    let again = run(&config, folder.path(), &tokenizer).unwrap();
    assert!(!first.reused && again.reused);
    assert_eq!(TextReport { reused: false, ..again }, first);
    let other = TextConfig { valid: 0.2, ..config.clone() };
    assert!(!run(&other, folder.path(), &tokenizer).unwrap().reused);
    let characters = Tokenizer::characters(TEXT, &[]).unwrap();
    assert!(!run(&other, folder.path(), &characters).unwrap().reused);
    // A call that was killed leaves shards without an index, and temporary files.
    let tokens = folder.path().join("tokens");
    std::fs::remove_file(tokens.join("index.json")).unwrap();
    std::fs::write(tokens.join(".ff-1.tmp"), "half").unwrap();
    std::fs::write(tokens.join("shard-00099.tokens"), "old").unwrap();
    assert!(matches!(TextData::open(&tokens), Err(TextError::Tokens { .. })));
    assert!(!run(&config, folder.path(), &tokenizer).unwrap().reused);
    let left: Vec<_> =
        std::fs::read_dir(&tokens).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name == ".ff-1.tmp" || name == "shard-00099.tokens"));
}

#[test]
fn a_shard_that_is_cut_missing_or_changed_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), TEXT).unwrap();
    run(&config(&["a.txt"]), folder.path(), &Tokenizer::bytes(&[]).unwrap()).unwrap();
    let tokens = folder.path().join("tokens");
    let path = tokens.join("shard-00001.tokens");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = TextData::open(&tokens).unwrap_err();
        assert!(
            matches!(&error, TextError::Tokens { path: at, .. } if *at == path),
            "{length}: {error}"
        );
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        // The zeros behind the header's numbers mean nothing.
        let found = TextData::open(&tokens).and_then(|data| data.verify());
        assert_eq!(found.is_err(), !(40..48).contains(&at), "{at}");
    }
    std::fs::write(&path, [whole.as_slice(), &[0]].concat()).unwrap();
    assert!(TextData::open(&tokens).is_err());
    std::fs::remove_file(&path).unwrap();
    assert!(TextData::open(&tokens).unwrap_err().to_string().contains("missing"));
}

#[test]
fn an_index_that_is_changed_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), TEXT).unwrap();
    run(&config(&["a.txt"]), folder.path(), &Tokenizer::bytes(&[]).unwrap()).unwrap();
    let path = folder.path().join("tokens/index.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"format\": 1", "\"format\": 2"),
        ("\"tokens\": 50", "\"tokens\": 51"),
        ("\"tokens\": 50", "\"tokens\": 18446744073709551615"),
        ("shard-00001.tokens", "../shard-00001.tokens"),
        ("\"key\"", "\"kay\""),
    ] {
        std::fs::write(&path, whole.replacen(from, to, 1)).unwrap();
        let error = TextData::open(&folder.path().join("tokens")).unwrap_err();
        assert!(matches!(error, TextError::Tokens { .. }), "{from} {error}");
    }
}

#[test]
fn broken_text_is_an_error_replaced_or_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    std::fs::write(base.join("a.txt"), b"good one\nbad \xff one\nlast \xe2\x82").unwrap();
    std::fs::write(base.join("a.jsonl"), b"{\"text\":\"good\"}\n{\"text\":\"b\xffd\"}\n").unwrap();
    let tokenizer = Tokenizer::bytes(&[]).unwrap();
    let with = |path: &str, utf8, separator: Option<&str>| {
        let clean = CleanConfig { utf8, ..CleanConfig::default() };
        let document_separator = separator.map(str::to_owned);
        let config = TextConfig { clean, document_separator, valid: 0.0, ..config(&[path]) };
        run(&config, base, &tokenizer)
    };
    let read = || text(&tokenizer, &TokenData::open(&base.join("tokens")).unwrap());
    let error = with("a.txt", BrokenText::Error, None).unwrap_err();
    assert!(
        error.to_string().ends_with("a.txt`, line 2: byte 0xff at offset 13 is not UTF-8"),
        "{error}"
    );
    let error = with("a.jsonl", BrokenText::Error, None).unwrap_err();
    assert!(error.to_string().contains("line 2: byte 0xff, number 11 of the line"), "{error}");
    with("a.txt", BrokenText::Replace, None).unwrap();
    assert_eq!(read(), "good one\nbad \u{fffd} one\nlast \u{fffd}");
    let report = with("a.txt", BrokenText::Drop, Some("\n")).unwrap();
    assert_eq!(read(), "good one");
    assert_eq!(report.documents.dropped, BTreeMap::from([("broken UTF-8".to_owned(), 2)]));
    assert_eq!((report.documents.read, report.documents.kept), (3, 1));
    with("a.jsonl", BrokenText::Replace, None).unwrap();
    assert_eq!(read(), "goodb\u{fffd}d");
    with("a.jsonl", BrokenText::Drop, None).unwrap();
    assert_eq!(read(), "good");
    let error = with("a.txt", BrokenText::Drop, None).unwrap_err();
    assert!(error.to_string().contains("1 documents were read, dropped were 1 broken UTF-8"));
}

#[test]
fn broken_text_of_tables_and_half_characters_are_judged_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    let lines = concat!(
        "{\"text\":\"good\",\"other\":\"\\ud83d\\ude42\"}\n",
        "{\"text\":\"b\\ud83dd\"}\n",
        "{\"other\":\"\\ude42\",\"text\":\"last\"}\n",
    );
    std::fs::write(base.join("halves.jsonl"), lines).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for name in ["broken.parquet", "broken.arrow"] {
        std::fs::copy(fixtures.join(name), base.join(name)).unwrap();
    }
    let tokenizer = Tokenizer::bytes(&["|"]).unwrap();
    for (name, error, replaced, dropped) in [
        (
            "halves.jsonl",
            "line 2: `\\ud83d`, at byte 11 of the line, is half a character",
            "good|b\u{fffd}d|last",
            "good",
        ),
        (
            "broken.parquet",
            "`text` holds bytes that are not UTF-8 in row 2",
            "good|b\u{fffd}d|last",
            "good|last",
        ),
        (
            "broken.arrow",
            "`text` holds bytes that are not UTF-8 in row 2",
            "good|b\u{fffd}d|last",
            "good|last",
        ),
    ] {
        let with = |utf8| {
            let clean = CleanConfig { utf8, ..CleanConfig::default() };
            run(&TextConfig { clean, valid: 0.0, ..config(&[name]) }, base, &tokenizer)
        };
        let read = || {
            let data = TokenData::open(&base.join("tokens")).unwrap();
            let starts: Vec<u64> =
                (0..data.documents()).map(|d| data.document_start(d).unwrap()).collect();
            let ids: Vec<u32> = all(&data).into_iter().map(|id| id as u32).collect();
            let ends = starts.iter().skip(1).copied().chain([data.tokens()]);
            let part =
                |(&from, to): (&u64, u64)| tokenizer.decode(&ids[from as usize..to as usize]);
            starts.iter().zip(ends).map(part).collect::<Result<Vec<_>>>().unwrap().join("|")
        };
        let found = with(BrokenText::Error).unwrap_err().to_string();
        assert!(found.contains(error), "{found}");
        with(BrokenText::Replace).unwrap();
        assert_eq!(read(), replaced, "{name}");
        with(BrokenText::Drop).unwrap();
        assert_eq!(read(), dropped, "{name}");
    }
}

#[test]
fn other_encodings_are_named_by_their_byte_order_mark() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    let wide: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, mark) in
        [("a.txt", [0xff, 0xfe]), ("a.jsonl", [0xff, 0xfe]), ("b.txt", [0xfe, 0xff])]
    {
        std::fs::write(base.join(name), [&mark[..], &wide].concat()).unwrap();
        for utf8 in [BrokenText::Error, BrokenText::Replace, BrokenText::Drop] {
            let clean = CleanConfig { utf8, ..CleanConfig::default() };
            let config = TextConfig { clean, valid: 0.0, ..config(&[name]) };
            let error = run(&config, base, &Tokenizer::bytes(&[]).unwrap()).unwrap_err();
            assert!(error.to_string().contains("the file is UTF-16, by its byte order mark"));
            assert!(error.hint().contains("iconv -f UTF-16 -t UTF-8"), "{}", error.hint());
        }
    }
}

#[test]
fn documents_begin_as_the_tokenizer_begins_a_text() {
    let json = serde_json::json!({
        "version": "1.0", "normalizer": null, "decoder": null,
        "added_tokens": [{"id": 2, "content": "<s>", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false}],
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]}}},
        "model": {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1, "<s>": 2}, "unk_token": "[UNK]"},
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    std::fs::write(folder.path().join("a.txt"), "a a|a").unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    assert_eq!(tokenizer.begin(), [2]);
    assert_eq!(tokenizer.encode_prompt("a a").unwrap(), [2, 0, 0]);
    assert_eq!(tokenizer.encode_prompt("").unwrap(), [2]);
    let ids = |add_bos| {
        let document_separator = Some("|".into());
        let config = TextConfig { add_bos, document_separator, valid: 0.0, ..config(&["a.txt"]) };
        run(&config, folder.path(), &tokenizer).unwrap();
        all(&TokenData::open(&folder.path().join("tokens")).unwrap())
    };
    assert_eq!(ids(None), [2, 0, 0, 2, 0]);
    assert_eq!(ids(Some(false)), [0, 0, 0]);
    assert_eq!(ids(Some(true)), [2, 0, 0, 2, 0]);
}

#[test]
fn too_little_text_and_wrong_text_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    let tokenizer = Tokenizer::characters("ab", &[]).unwrap();
    let error = |name: &str, text: &str, separator: Option<&str>| {
        std::fs::write(base.join(name), text).unwrap();
        let document_separator = separator.map(str::to_owned);
        let config = TextConfig { document_separator, ..config(&[name]) };
        run(&config, base, &tokenizer).unwrap_err().to_string()
    };
    assert!(error("a.txt", "", None).contains("there is no text"));
    assert!(error("a.txt", " \n", None).contains("dropped were 1 empty"));
    assert!(error("a.txt", "a", None).contains("no text left to train on"));
    assert!(error("a.txt", "ab", Some("|")).contains("a single document"));
    assert!(error("a.txt", "ab\nabc", None).contains("a.txt`, line 1: no token for"));
    assert!(
        error("a.jsonl", "{\"text\": \"a\"}\n{\"text\"", None).contains("line 2: no JSON object")
    );
    assert!(error("a.jsonl", "{\"txt\": \"a\"}", None).contains("line 1: there is no key `text`"));
    assert!(error("a.jsonl", "{\"text\": 1}", None).contains("holds a number"));
    assert!(error("a.csv", "x,y\na,b\n", None).contains("no column `text`"));
    assert!(error("a.parquet", "PAR1", None).contains("Parquet"));
    let missing = run(&config(&["b.txt"]), base, &tokenizer).unwrap_err();
    assert!(matches!(missing, TextError::Data(DataError::NotFound { .. })));
    std::fs::create_dir(base.join("empty")).unwrap();
    let empty = run(&config(&["empty"]), base, &tokenizer).unwrap_err();
    assert!(empty.to_string().contains("holds no file"));
    assert!(matches!(
        run(&config(&[]), base, &tokenizer),
        Err(TextError::Data(DataError::Config(_)))
    ));
}

#[test]
fn a_long_text_in_many_parts_is_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = each(120_000, |i| format!("line {i}: hëar me speak\r\n"));
    let huge = "x".repeat(3 << 20);
    let tokenizer = Tokenizer::bytes(&[]).unwrap();
    for text_ in [lines, huge] {
        std::fs::write(folder.path().join("a.txt"), &text_).unwrap();
        let tokens = folder.path().join("tokens");
        let config = TextConfig { valid: 0.25, ..config(&["a.txt"]) };
        let report = tokenize_into(
            &config,
            folder.path(),
            &tokenizer,
            &tokens,
            1 << 20,
            &ThreadPool::new(1),
            &mut |_| (),
        )
        .unwrap();
        assert_eq!(report.train.tokens + report.valid.tokens, text_.len() as u64);
        assert!(text(&tokenizer, &TokenData::open(&tokens).unwrap()) == text_);
    }
}

#[test]
fn documents_are_dropped_for_reasons_that_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    let long =
        "It was the best of times, it was the worst of times, it was the age of wisdom and of ";
    let near = format!("{long}foolishness");
    let rows = [
        long.to_owned() + "folly",
        "short".into(),
        long.to_owned() + "folly\n",
        near.clone(),
        "line that repeats\nline that repeats\nline that repeats\nand one that ends it".into(),
        "#### $$$$ %%%% &&&& **** ((((( )))))".into(),
        "buy now buy now buy now buy now buy now buy now".into(),
        String::new(),
        "a document that is kept, to ann@example.org".into(),
        "x".repeat(500),
    ];
    let lines: Vec<String> =
        rows.iter().map(|text| serde_json::json!({ "text": text }).to_string()).collect();
    std::fs::write(base.join("a.jsonl"), lines.join("\n")).unwrap();
    let clean = CleanConfig {
        min_chars: Some(10),
        max_chars: Some(400),
        max_symbols: Some(0.5),
        max_repeated_lines: Some(0.4),
        max_top_ngram: Some(0.5),
        ngram_words: 2,
        duplicates: Duplicates::Near,
        near_threshold: 0.7,
        mask_emails: true,
        ..CleanConfig::default()
    };
    let tokenizer = Tokenizer::bytes(&["<|endoftext|>"]).unwrap();
    let config = TextConfig { clean, valid: 0.0, ..config(&["a.jsonl"]) };
    let report = run(&config, base, &tokenizer).unwrap();
    let counts = &report.documents;
    let reasons = [
        "duplicate",
        "empty",
        "near duplicate",
        "repeated lines",
        "repeated words",
        "symbols",
        "too long",
        "too short",
    ];
    assert_eq!(counts.dropped, reasons.map(|reason| (reason.to_owned(), 1)).into());
    assert_eq!((counts.read, counts.kept), (10, 2));
    assert_eq!(counts.examples["near duplicate"].len(), 1);
    assert!(counts.examples["near duplicate"][0].ends_with("a.jsonl`, line 4"));
    assert_eq!(counts.masked, [("email".to_owned(), 1)].into());
    let kept = text(&tokenizer, &TokenData::open(&base.join("tokens")).unwrap());
    let wanted =
        [&rows[0], "<|endoftext|>", "a document that is kept, to <email>", "<|endoftext|>"];
    assert_eq!(kept, wanted.concat());
    // Held-out files are compared with the text before them.
    std::fs::write(
        base.join("b.jsonl"),
        format!("{}\n{}", lines[3], "{\"text\": \"something else\"}"),
    )
    .unwrap();
    let config = TextConfig { valid_paths: vec!["b.jsonl".into()], ..config };
    let report = run(&config, base, &tokenizer).unwrap();
    assert_eq!((report.documents.dropped["duplicate"], report.valid.documents), (2, 1));
}

#[test]
fn masks_and_cuts_of_a_single_long_text_agree() {
    let folder = tempfile::tempdir().unwrap();
    let line = "call +49 30 901820 or ann@example.org\n";
    std::fs::write(folder.path().join("a.txt"), line.repeat(60_000)).unwrap();
    let clean = CleanConfig { mask_emails: true, mask_phones: true, ..CleanConfig::default() };
    let tokenizer = Tokenizer::bytes(&[]).unwrap();
    let tokens = folder.path().join("tokens");
    let config = TextConfig { clean, valid: 0.5, ..config(&["a.txt"]) };
    let report = tokenize_into(
        &config,
        folder.path(),
        &tokenizer,
        &tokens,
        1 << 20,
        &ThreadPool::new(1),
        &mut |_| (),
    )
    .unwrap();
    let masked = "call <phone> or <email>\n";
    assert_eq!(report.train.tokens, 30_000 * masked.len() as u64);
    assert_eq!(
        (report.documents.masked["email"], report.documents.masked["phone"]),
        (60_000, 60_000)
    );
    assert!(text(&tokenizer, &TokenData::open(&tokens).unwrap()) == masked.repeat(60_000));
}
