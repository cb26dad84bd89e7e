use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use feedforward::text::{TokenizerKind, TokenizerOptions, train_tokenizer};
use serde_json::json;

use super::text_config;
use crate::arguments::language::TokenizerTrain;
use crate::failure::Failure;
use crate::show::{TextBar, count, duration, quoted_path};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &TokenizerTrain, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let out = &arguments.out;
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        if out.join(name).exists() {
            return Err(Failure::usage(format!("{} is there already", out.join(name).display()))
                .help("nothing is ever overwritten: choose another folder, or remove it first"));
        }
    }
    // A folder that cannot be written is reported before training; nothing is left where training
    // fails.
    let there = out.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    feedforward::formats::check_writable(there).map_err(feedforward::Error::from)?;
    let options = TokenizerOptions {
        kind: arguments.kind.into(),
        vocab_size: arguments.vocab_size,
        special: arguments.special.clone(),
        pretokenizer: arguments.split.into(),
        min_frequency: arguments.min_frequency,
    };
    let (config, _copies) = text_config(&arguments.files, &arguments.text).lasting()?;
    let started = Instant::now();
    let mut bar = TextBar::new(terminal);
    let device = arguments.threads.device()?;
    let trained = train_tokenizer(
        &config,
        Path::new("."),
        &options,
        device.cpu().threads(),
        &mut |progress| {
            bar.show(progress);
        },
    );
    bar.end();
    let trained = trained?;
    let tokenizer = &trained.tokenizer;
    tokenizer.save(out)?;
    let seconds = started.elapsed().as_secs_f64();
    if arguments.json {
        Terminal::object(&json!({
            "out": out, "kind": tokenizer.kind(), "vocab_size": tokenizer.vocab_size(),
            "hash": tokenizer.hash(), "documents": trained.documents, "bytes": trained.bytes,
            "words": trained.words, "seconds": seconds,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let words = trained.words.map_or(String::new(), |n| format!(" · {} distinct words", count(n)));
    terminal.line(format!(
        "Text   {} documents · {} bytes{words}",
        count(trained.documents),
        count(trained.bytes)
    ))?;
    terminal.line(format!(
        "{}  {} · {} · {} tokens · {}",
        terminal.bold("Saved"),
        out.display(),
        tokenizer.kind(),
        count(tokenizer.vocab_size() as u64),
        duration(seconds),
    ))?;
    let fixed = matches!(tokenizer.kind(), TokenizerKind::Bytes | TokenizerKind::Characters);
    if !fixed && tokenizer.vocab_size() < arguments.vocab_size {
        let why = if tokenizer.kind() == TokenizerKind::Bpe {
            format!("no other pair occurs {} times", arguments.min_frequency)
        } else {
            "the text has no more pieces".into()
        };
        terminal.line(format!("  fewer than {}: {why}", count(arguments.vocab_size as u64)))?;
    }
    let files: Vec<String> = arguments.files.iter().map(|file| quoted_path(file)).collect();
    terminal.line(format!(
        "{}   feedforward tokenizer inspect {} {}",
        terminal.bold("Next"),
        quoted_path(out),
        files.join(" ")
    ))?;
    Ok(ExitCode::SUCCESS)
}
