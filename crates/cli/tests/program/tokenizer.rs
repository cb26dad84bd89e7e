//! `feedforward tokenizer`: learned, used and shown.

use std::fmt::Write;

use crate::Folder;

fn play() -> String {
    (0..300).fold(String::new(), |mut text, i| {
        let _ =
            writeln!(text, "First Citizen {i}:\nBefore we proceed any further, hear me speak.\n");
        text
    })
}

#[test]
fn every_kind_is_learned_and_gives_its_text_back() {
    let folder = Folder::new("tokenizer-kinds");
    folder.write("play.txt", &play());
    for kind in ["bpe", "wordpiece", "unigram", "bytes", "characters"] {
        let train = [
            "tokenizer",
            "train",
            "play.txt",
            "--kind",
            kind,
            "--vocab-size",
            "320",
            "--out",
            kind,
        ];
        let ran = folder.run(&train).ok();
        assert!(
            ran.stdout.contains("Saved  ") && ran.stdout.contains("tokenizer inspect"),
            "{ran:?}"
        );
        let text = "hear me speak\n\nwe proceed 12\n";
        let ids = folder.run_piped(&["tokenizer", "encode", kind], text).ok();
        assert!(ids.stderr.is_empty() && ids.stdout.lines().count() == 3, "{ids:?}");
        let back = folder.run_piped(&["tokenizer", "decode", kind], &ids.stdout).ok();
        assert_eq!(back.stdout, text, "{kind}");
    }
}

#[test]
fn a_tokenizer_is_a_hugging_face_folder_and_is_not_overwritten() {
    let folder = Folder::new("tokenizer-folder");
    folder.write("play.txt", &play());
    let train = [
        "tokenizer",
        "train",
        "play.txt",
        "--vocab-size",
        "300",
        "--special",
        "<|endoftext|>",
        "--out",
        "t",
        "--json",
    ];
    let json = folder.run(&train).ok().json();
    assert_eq!((json["vocab_size"].as_u64(), json["kind"].as_str()), (Some(300), Some("bpe")));
    assert_eq!(folder.listing(), ["play.txt", "t", "t/tokenizer.json", "t/tokenizer_config.json"]);
    assert!(folder.read("t/tokenizer_config.json").contains("\"eos_token\": \"<|endoftext|>\""));
    folder.run(&train).fails(2, &["is there already"]);
    let encoded =
        folder.run_piped(&["tokenizer", "encode", "t", "--json"], "hear<|endoftext|>\r\n").ok();
    let line = encoded.json();
    assert_eq!(line["tokens"].as_array().unwrap().last().unwrap(), "<|endoftext|>");
    assert_eq!(line["ids"].as_array().unwrap().last().unwrap(), 299);
    let ids = line["ids"].to_string();
    let plain = folder.run_piped(&["tokenizer", "decode", "t", "--skip-special"], &ids).ok();
    assert_eq!(plain.stdout, "hear\n");
}

#[test]
fn inspecting_shows_what_a_tokenizer_does() {
    let folder = Folder::new("tokenizer-inspect");
    folder.write("play.txt", &play());
    folder
        .run(&[
            "tokenizer",
            "train",
            "play.txt",
            "--vocab-size",
            "400",
            "--special",
            "<|endoftext|>",
            "--out",
            "t",
        ])
        .ok();
    let shown = folder.run(&["tokenizer", "inspect", "t", "play.txt"]).ok().stdout;
    for part in ["bpe · ", "<|endoftext|>  ends", "Longest  ", "bytes a token", "First│ Citizen│ "]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let colored =
        folder.run(&["tokenizer", "inspect", "t", "play.txt", "--color", "always"]).ok().stdout;
    assert!(colored.contains("\u{1b}[48;5;"));
    let json = folder.run(&["tokenizer", "inspect", "t", "play.txt", "--json"]).ok().json();
    assert_eq!(json["text"]["bytes"], play().len());
    assert!(json["bytes_per_token"].as_f64().unwrap() > 3.0);
    assert_eq!(json["special"][0]["roles"][0], "ends");
    let without = folder.run(&["tokenizer", "inspect", "t/tokenizer.json", "--json"]).ok().json();
    assert_eq!((&without["hash"], &without["text"]), (&json["hash"], &serde_json::Value::Null));
}
