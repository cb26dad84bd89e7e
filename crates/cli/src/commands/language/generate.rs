use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use feedforward::language::{
    GenerateOptions, Generated, LanguageModel, StopReason, TranslateOptions, Translator,
};
use feedforward::tensor::Device;
use serde_json::{Value, json};

use crate::arguments::language::Generate;
use crate::failure::Failure;
use crate::show::{Working, count, duration};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Generate, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let device = Device::open(arguments.machine.options()).map_err(feedforward::Error::from)?;
    if Translator::is_at(&arguments.model)? {
        return translate(arguments, terminal, &device);
    }
    if arguments.beams.is_some() {
        return Err(Failure::usage(
            "--beams is for encoders with decoders (Marian, T5), and this is not one",
        )
        .help("leave it out; --temperature 0 takes the likeliest token every time"));
    }
    let working = Working::new(terminal, format!("opening {}", arguments.model.display()));
    let adapters: Vec<&Path> = arguments.adapter.as_deref().into_iter().collect();
    let language = arguments.language();
    let opened = LanguageModel::open_to_generate(&arguments.model, &adapters, &device, &language);
    drop(working);
    let mut model = opened?;
    let unknown = GenerateOptions::not_applied(model.generation());
    if !unknown.is_empty() {
        let keys = unknown.join(", ");
        terminal.line(terminal.dim(format!("generation_config.json: not applied: {keys}")))?;
    }
    let options = arguments.options(&GenerateOptions::from_model(model.generation())?)?;
    let prompts: Vec<&str> = arguments.prompt.iter().map(String::as_str).collect();
    let several = prompts.len() > 1;
    let started = Instant::now();
    // A single text streams; several are generated together and shown at the end.
    let working = several.then(|| Working::new(terminal, "writing"));
    let mut show = |_: usize, text: &str| {
        if arguments.json || several {
            return Ok(());
        }
        let stdout = Path::new("standard output");
        let error = feedforward::formats::Error::io(stdout, "writing");
        Ok(Terminal::data(text).map_err(error)?)
    };
    let written = model.generate_all(&prompts, &options, &mut show);
    drop(working);
    let written = written?;
    let seconds = started.elapsed().as_secs_f64();
    if arguments.json {
        let results: Vec<_> = prompts
            .iter()
            .zip(&written)
            .map(|(prompt, written)| object(prompt, written, seconds))
            .collect();
        Terminal::object(&json!({ "model": arguments.model, "generated": results }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let positions = model.config().max_positions;
    for (prompt, written) in prompts.iter().zip(&written).filter(|_| several) {
        terminal.line(terminal.dim(format!("{prompt:?}")))?;
        Terminal::data(&format!("{}\n", written.text))?;
        let tokens = count(written.tokens.len() as u64);
        let reason = reason(written.reason, positions);
        terminal.line(terminal.dim(format!("{tokens} tokens · stopped by {reason}")))?;
    }
    let tokens = written.iter().map(|written| written.tokens.len()).sum();
    if let ([written], false) = (&written[..], several) {
        Terminal::data("\n")?;
        let reason = reason(written.reason, positions);
        let speed = speed(tokens, seconds);
        terminal.line(terminal.dim(format!("{speed} · stopped by {reason}")))?;
    } else {
        terminal.line(terminal.dim(speed(tokens, seconds)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the target of each prompt: its translation, or what else the model has learned.
fn translate(
    arguments: &Generate,
    terminal: &Terminal,
    device: &Device,
) -> Result<ExitCode, Failure> {
    let unused = arguments.sampling();
    if !unused.is_empty() {
        return Err(Failure::usage(format!(
            "{} chooses among tokens, and this model writes the best text that it finds",
            unused.join(", ")
        ))
        .help("leave it out; --beams and --max-tokens are for encoders with decoders"));
    }
    let (adapter, language) = (arguments.adapter.as_deref(), arguments.language());
    let mut model = Translator::open_to_generate(&arguments.model, adapter, device, &language)?;
    let usual = model.usual();
    let positions = model.config().max_positions.unwrap_or_default();
    let max_tokens = arguments.max_tokens.unwrap_or(usual.max_tokens);
    let beams = arguments.beams.unwrap_or(usual.beams);
    let options = TranslateOptions { max_tokens, beams, ..usual };
    let mut results = Vec::new();
    for prompt in &arguments.prompt {
        let started = Instant::now();
        let working = Working::new(terminal, "writing");
        let written = model.translate(prompt, &options);
        drop(working);
        let written = written?;
        let seconds = started.elapsed().as_secs_f64();
        if !arguments.json {
            Terminal::data(&format!("{}\n", written.text))?;
            let reason = reason(written.reason, positions);
            let speed = speed(written.tokens.len(), seconds);
            terminal.line(terminal.dim(format!("{speed} · stopped by {reason}")))?;
        }
        results.push(object(prompt, &written, seconds));
    }
    if arguments.json {
        Terminal::object(&json!({ "model": arguments.model, "generated": results }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A generated text, for scripts.
fn object(prompt: &str, written: &Generated, seconds: f64) -> Value {
    json!({
        "prompt": prompt,
        "text": written.text,
        "prompt_tokens": written.prompt_tokens,
        "tokens": written.tokens,
        "reason": written.reason,
        "seconds": seconds,
    })
}

fn reason(reason: StopReason, positions: usize) -> String {
    match reason {
        StopReason::End => "the text's end".into(),
        StopReason::StopText => "a stop text".into(),
        StopReason::MaxTokens => "--max-tokens".into(),
        StopReason::Positions => {
            format!("the model's last position, of which it has {}", count(positions as u64))
        }
        StopReason::Asked => "a request".into(),
    }
}

fn speed(tokens: usize, seconds: f64) -> String {
    let rate = tokens as f64 / seconds.max(1e-9);
    format!("{} tokens in {}, {rate:.0} a second", count(tokens as u64), duration(seconds))
}
