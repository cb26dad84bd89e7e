use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use feedforward::language::{
    GenerateOptions, LanguageModel, StopReason, TranslateOptions, Translator,
};
use feedforward::tensor::Device;
use serde_json::json;

use crate::arguments::Generate;
use crate::failure::Failure;
use crate::show::{Working, count, duration};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Generate, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let device = Device::open(arguments.machine.options()?).map_err(feedforward::Error::from)?;
    if Translator::is_at(&arguments.model)? {
        return translate(arguments, terminal, &device);
    }
    if arguments.beams.is_some() {
        return Err(Failure::usage("--beams is for translation models, and this is none")
            .help("leave it out; --temperature 0 takes the likeliest token every time"));
    }
    let working = Working::new(terminal, format!("opening {}", arguments.model.display()));
    let opened = LanguageModel::open(&arguments.model, &device, &arguments.language());
    drop(working);
    let mut model = opened?;
    let options = arguments.options(&GenerateOptions::from_model(model.generation()));
    let mut results = Vec::new();
    let several = arguments.prompt.len() > 1;
    for (number, prompt) in arguments.prompt.iter().enumerate() {
        if several && !arguments.json {
            terminal.line(terminal.dim(format!("{prompt:?}")))?;
        }
        let started = Instant::now();
        let mut show = |text: &str| {
            if arguments.json {
                return Ok(());
            }
            let stdout = Path::new("standard output");
            let error = feedforward::formats::Error::io(stdout, "writing");
            Ok(Terminal::data(text).map_err(error)?)
        };
        let written = model.generate_at(number as u64, prompt, &options, &mut show)?;
        let seconds = started.elapsed().as_secs_f64();
        if !arguments.json {
            Terminal::data("\n")?;
            summary(terminal, written.tokens.len(), written.reason, seconds)?;
        }
        results.push(json!({
            "prompt": prompt,
            "text": written.text,
            "prompt_tokens": written.prompt_tokens,
            "tokens": written.tokens,
            "reason": written.reason,
            "seconds": seconds,
        }));
    }
    if arguments.json {
        Terminal::object(&json!({ "model": arguments.model, "generated": results }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A translation model reads the prompt whole and writes its translation.
fn translate(
    arguments: &Generate,
    terminal: &Terminal,
    device: &Device,
) -> Result<ExitCode, Failure> {
    let unused = arguments.sampling();
    if !unused.is_empty() {
        return Err(Failure::usage(format!(
            "{} chooses among tokens, and a translation is the best that is found",
            unused.join(", ")
        ))
        .help("leave it out; --beams and --max-tokens are for translations"));
    }
    let mut model = Translator::open(&arguments.model, device, &arguments.language())?;
    let usual = model.usual();
    let max_tokens = arguments.max_tokens.unwrap_or(usual.max_tokens);
    let beams = arguments.beams.unwrap_or(usual.beams);
    let options = TranslateOptions { max_tokens, beams, ..usual };
    let mut results = Vec::new();
    for prompt in &arguments.prompt {
        let started = Instant::now();
        let working = Working::new(terminal, "translating");
        let written = model.translate(prompt, &options);
        drop(working);
        let written = written?;
        let seconds = started.elapsed().as_secs_f64();
        if !arguments.json {
            Terminal::data(&format!("{}\n", written.text))?;
            summary(terminal, written.tokens.len(), written.reason, seconds)?;
        }
        results.push(json!({
            "prompt": prompt,
            "text": written.text,
            "prompt_tokens": written.prompt_tokens,
            "tokens": written.tokens,
            "reason": written.reason,
            "seconds": seconds,
        }));
    }
    if arguments.json {
        Terminal::object(&json!({ "model": arguments.model, "generated": results }))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(terminal: &Terminal, tokens: usize, reason: StopReason, seconds: f64) -> io::Result<()> {
    let reason = match reason {
        StopReason::End => "the text's end",
        StopReason::StopText => "a stop text",
        StopReason::MaxTokens => "--max-tokens",
        StopReason::Positions => "the model's last position",
        StopReason::Asked => "a request",
    };
    let line = format!(
        "{} tokens in {}, {:.0} a second · stopped by {reason}",
        count(tokens as u64),
        duration(seconds),
        tokens as f64 / seconds.max(1e-9),
    );
    terminal.line(terminal.dim(line))
}
