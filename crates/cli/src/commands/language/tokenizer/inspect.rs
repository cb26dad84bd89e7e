use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use feedforward::text::{TextMeasure, Tokenizer, measure};
use serde_json::json;

use super::text_config;
use crate::arguments::language::TokenizerInspect;
use crate::failure::Failure;
use crate::show::{Working, count};
use crate::terminal::Terminal;

/// The longest tokens that are shown.
const LONGEST: usize = 12;
/// Characters of a text that are shown as tokens.
const SAMPLE: usize = 400;

pub(super) fn run(arguments: &TokenizerInspect, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let tokenizer = Tokenizer::load(&arguments.tokenizer)?;
    let longest = longest(&tokenizer)?;
    let (config, _copies) = text_config(&arguments.files, &arguments.text).lasting()?;
    let mut measured = None;
    if !config.paths.is_empty() {
        let device = arguments.threads.device()?;
        let threads = device.cpu().threads();
        let working = Working::new(terminal, "reading");
        let text = measure(&config, Path::new("."), &tokenizer, threads);
        drop(working);
        measured = Some(text?);
    }
    let sample = config.paths.first().and_then(|file| beginning(file));
    let sample = sample.map(|text| pieces(&tokenizer, &text)).transpose()?;
    if arguments.json {
        return print_json(&tokenizer, &longest, measured, sample.as_deref());
    }
    terminal.answer(format!(
        "{} · {} · {} tokens · {}",
        terminal.bold(arguments.tokenizer.display()),
        tokenizer.kind(),
        count(tokenizer.vocab_size() as u64),
        terminal.dim(tokenizer.hash()),
    ))?;
    for (token, id) in tokenizer.special_tokens() {
        let roles = roles(&tokenizer, id).join(", ");
        let roles = if roles.is_empty() { roles } else { format!("  {roles}") };
        terminal.answer(format!("  {id:>7}  {token}{}", terminal.dim(roles)))?;
    }
    let shown: Vec<String> =
        longest.iter().map(|(id, text)| format!("{:?} ({id})", text.as_str())).collect();
    terminal.answer(format!("Longest  {}", shown.join(" ")))?;
    if let Some(measured) = measured {
        terminal.answer(format!(
            "Text     {} bytes in {} tokens: {:.2} bytes a token, {:.2} tokens a word · {} of {} tokens used",
            count(measured.bytes),
            count(measured.tokens),
            measured.bytes_per_token(),
            measured.tokens_per_word(),
            count(measured.distinct),
            count(tokenizer.vocab_size() as u64),
        ))?;
    }
    if let Some(sample) = sample {
        terminal.answer(colored(terminal, &sample))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_json(
    tokenizer: &Tokenizer,
    longest: &[(u32, String)],
    measured: Option<TextMeasure>,
    sample: Option<&[String]>,
) -> Result<ExitCode, Failure> {
    let special: Vec<_> = tokenizer
        .special_tokens()
        .into_iter()
        .map(|(token, id)| json!({ "id": id, "token": token, "roles": roles(tokenizer, id) }))
        .collect();
    let longest: Vec<_> =
        longest.iter().map(|(id, text)| json!({ "id": id, "text": text })).collect();
    Terminal::object(&json!({
        "kind": tokenizer.kind(), "vocab_size": tokenizer.vocab_size(), "hash": tokenizer.hash(),
        "special": special, "longest": longest, "text": measured,
        "bytes_per_token": measured.map(|m| m.bytes_per_token()),
        "tokens_per_word": measured.map(|m| m.tokens_per_word()), "sample": sample,
    }))?;
    Ok(ExitCode::SUCCESS)
}

/// The role of a special token.
fn roles(tokenizer: &Tokenizer, id: u32) -> Vec<&'static str> {
    let special = tokenizer.special();
    let all = [
        (special.bos, "begins"),
        (special.eos, "ends"),
        (special.pad, "fills up"),
        (special.unk, "stands for the unknown"),
    ];
    all.into_iter().filter(|(role, _)| *role == Some(id)).map(|(_, name)| name).collect()
}

/// The tokens of the longest texts, the longest first, and of equal length by id.
fn longest(tokenizer: &Tokenizer) -> Result<Vec<(u32, String)>, Failure> {
    let special: Vec<u32> = tokenizer.special_tokens().into_iter().map(|(_, id)| id).collect();
    let mut all = Vec::new();
    for id in 0..tokenizer.vocab_size() as u32 {
        if special.contains(&id) || tokenizer.token(id).is_none() {
            continue;
        }
        let text = tokenizer.decode(&[id])?;
        all.push((std::cmp::Reverse(text.chars().count()), id, text));
    }
    all.sort();
    all.truncate(LONGEST);
    Ok(all.into_iter().map(|(_, id, text)| (id, text)).collect())
}

/// The first characters of a file of plain text.
fn beginning(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(file).ok()?.take(4 * SAMPLE as u64).read_to_end(&mut bytes).ok()?;
    let valid = bytes.utf8_chunks().next()?.valid();
    let text: String = valid.chars().take(SAMPLE).collect();
    (!text.is_empty()).then_some(text)
}

/// The tokens of a text as texts; tokens that share a character are joined.
fn pieces(tokenizer: &Tokenizer, text: &str) -> Result<Vec<String>, Failure> {
    let mut stream = tokenizer.stream();
    let mut pieces = Vec::new();
    for id in tokenizer.encode(text)? {
        let piece = stream.push(id)?;
        if !piece.is_empty() {
            pieces.push(piece);
        }
    }
    Ok(pieces)
}

/// The colours of neighbouring tokens, of the 256 that terminals have.
const BACKGROUNDS: [u8; 5] = [24, 58, 53, 22, 94];

/// A text whose tokens have different background colours, or marks between them.
fn colored(terminal: &Terminal, pieces: &[String]) -> String {
    if !terminal.color {
        return pieces.join("│");
    }
    let mut text = String::new();
    for (piece, background) in pieces.iter().zip(BACKGROUNDS.iter().cycle()) {
        // A colour across a line break would fill the next line.
        let start = format!("\x1b[48;5;{background}m\x1b[38;5;255m");
        let piece = piece.replace('\n', &format!("↵\x1b[0m\n{start}"));
        text.extend([start.as_str(), &piece, "\x1b[0m"]);
    }
    text
}
