//! Models in the formats that others read.

use super::model::{LanguageModel, ReadBack, base_tensors, write_gguf, write_huggingface};
use crate::error::{Error, Result};
use ff_formats::GgufFileType;
use ff_graph::ParamId;
use ff_text::ChatTemplate;
use serde_json::{Value, json};
use std::path::Path;

/// How many tokens the written model is compared on.
const PROBE: u64 = 48;

/// The format of a written model.
///
/// ```
/// use feedforward::language::ExportFormat;
/// assert_ne!(ExportFormat::HuggingFace, ExportFormat::Gguf);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// A Hugging Face folder.
    HuggingFace,
    /// A GGUF file.
    Gguf,
}

/// A written model, and how it compares with the one in memory.
///
/// ```
/// use feedforward::language::Exported;
/// let exported = Exported { bytes: 4, difference: 0.0, same_top: 1.0, divergence: 0.0 };
/// assert_eq!(exported.same_top, 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Exported {
    /// The size of the file or folder.
    pub bytes: u64,
    /// The largest difference of a logit.
    pub difference: f64,
    /// The share of tokens whose likeliest next token is the same.
    pub same_top: f64,
    /// The mean Kullback-Leibler divergence of the next token's distribution, in nats.
    pub divergence: f64,
}

/// Writes a model and reads it back: the weights must be those written, rounded to the type; the
/// tokens of a text, the rendered conversation and the tokens that end a text must be the same.
///
/// # Errors
/// The format has no form for the model or its tokenizer; the output exists, cannot be written, or
/// reads back as something else. Nothing of it stays.
///
/// ```no_run
/// use feedforward::language::{ExportFormat, LanguageModel, export};
/// let mut model =
///     LanguageModel::open("models/mine".as_ref(), &Default::default(), &Default::default())?;
/// let dtype = feedforward::formats::GgufFileType::Q8_0;
/// let exported = export(&mut model, ExportFormat::Gguf, dtype, "mine.gguf".as_ref())?;
/// println!("{} bytes", exported.bytes);
/// # Ok::<(), feedforward::Error>(())
/// ```
pub fn export(
    model: &mut LanguageModel,
    format: ExportFormat,
    dtype: GgufFileType,
    out: &Path,
) -> Result<Exported> {
    refuse_existing(out)?;
    // Other programs read a model without adapters.
    if model.uses_adapter() {
        model.merge_adapter()?;
    }
    let exported = write_and_check(model, format, dtype, out);
    if exported.is_err() {
        // It was not there before, and is of no use; the error says what went wrong.
        let _ = if out.is_dir() { std::fs::remove_dir_all(out) } else { std::fs::remove_file(out) };
    }
    exported
}

/// Writes the adapter in use alone, as the GGUF file of llama.cpp, and returns its size in bytes.
///
/// # Errors
/// No adapter is in use; it has what the format has no form for (DoRA, biases, parts trained
/// whole); the file exists or cannot be written.
///
/// ```no_run
/// use feedforward::language::{LanguageModel, export_adapter};
/// let run = "runs/tone".as_ref();
/// let model = LanguageModel::open(run, &Default::default(), &Default::default())?;
/// export_adapter(&model, feedforward::formats::GgufFileType::F32, "tone.gguf".as_ref())?;
/// # Ok::<(), feedforward::Error>(())
/// ```
pub fn export_adapter(model: &LanguageModel, dtype: GgufFileType, out: &Path) -> Result<u64> {
    refuse_existing(out)?;
    model.write_adapter(dtype, out)?;
    size(out)
}

fn refuse_existing(out: &Path) -> Result<()> {
    if out.exists() {
        return Err(Error::usage(format!(
            "{} exists; name another output, or remove it",
            out.display()
        )));
    }
    Ok(())
}

fn write_and_check(
    model: &mut LanguageModel,
    format: ExportFormat,
    dtype: GgufFileType,
    out: &Path,
) -> Result<Exported> {
    let read_back = match format {
        ExportFormat::HuggingFace => write_huggingface(model, dtype, out)?,
        ExportFormat::Gguf => write_gguf(model, dtype, out)?,
    };
    let device = model.parts().1.device().clone();
    let mut again = LanguageModel::open(out, &device, &model.parts().0.options().clone())?;
    check_weights(model, &mut again, &read_back, out)?;
    check_text(model, &again, out)?;
    let vocab = model.config().vocab_size;
    let len = PROBE.min(model.config().max_positions as u64);
    let ids: Vec<u32> = (0..len).map(|i| (i * 7919 % vocab as u64) as u32).collect();
    let (ours, theirs) = (model.logits(&ids)?, again.logits(&ids)?);
    let (difference, same_top, divergence) = compare(&ours, &theirs, vocab);
    Ok(Exported { bytes: size(out)?, difference, same_top, divergence })
}

fn different(out: &Path, what: &str) -> Error {
    Error::run(
        out,
        format!("what was written reads back as something else: {what}; it was removed"),
    )
}

/// Every parameter is the one in memory, rounded to the form it was written in.
fn check_weights(
    model: &mut LanguageModel,
    again: &mut LanguageModel,
    read_back: &ReadBack,
    out: &Path,
) -> Result<()> {
    let config = model.config().clone();
    let (_, graph) = model.parts();
    let (_, other) = again.parts();
    let device = graph.device().clone();
    let threads = device.cpu().threads();
    for tensor in base_tensors(&config, graph.params()) {
        let id = ParamId::new(tensor.param);
        let written = tensor.write(graph.params().values::<f32>(id)?);
        let expected = read_back(&tensor.name, &tensor.dims, &written, threads).unwrap_or_default();
        let found = tensor.write(other.params().values::<f32>(id)?);
        let same = expected.len() == found.len()
            && expected.iter().zip(found.iter()).all(|(a, b)| a.to_bits() == b.to_bits());
        if !same {
            return Err(different(out, &format!("tensor `{}`", tensor.name)));
        }
    }
    Ok(())
}

/// Texts, conversations and ends are the same.
fn check_text(model: &LanguageModel, again: &LanguageModel, out: &Path) -> Result<()> {
    const TEXT: &str = "It's 2026: ¿qué tal?\n\n  naïve 日本語 \t 12345 <|im_end|> x = f(y);\n";
    let (Some(ours), Some(theirs)) = (model.tokenizer(), again.tokenizer()) else {
        let same = model.tokenizer().is_none() && again.tokenizer().is_none();
        return if same { Ok(()) } else { Err(different(out, "the tokenizer")) };
    };
    if ours.encode_prompt(TEXT)? != theirs.encode_prompt(TEXT)? {
        return Err(different(out, "the tokens of a text"));
    }
    let chat = [
        json!({"role": "user", "content": "Hello"}),
        json!({"role": "assistant", "content": "Hi."}),
    ];
    let render = |template: Option<ChatTemplate>| -> Vec<Option<String>> {
        let text = |messages: &[Value], prompt| {
            template.as_ref().and_then(|t| t.render(messages, None, prompt).ok())
        };
        vec![text(&chat[..1], true), text(&chat, false)]
    };
    if render(ChatTemplate::of(ours)?) != render(ChatTemplate::of(theirs)?) {
        return Err(different(out, "a conversation by its chat template"));
    }
    if model.end_tokens() != again.end_tokens() {
        return Err(different(out, "the tokens that end a text"));
    }
    Ok(())
}

/// The largest difference of a logit, the share of the same likeliest tokens, the mean divergence.
fn compare(ours: &[f32], theirs: &[f32], vocab: usize) -> (f64, f64, f64) {
    let pairs = ours.iter().zip(theirs).map(|(a, b)| f64::from((a - b).abs()));
    let difference = pairs.fold(0.0, f64::max);
    let (mut same, mut divergence, mut rows) = (0.0, 0.0, 0.0);
    for (a, b) in ours.chunks_exact(vocab).zip(theirs.chunks_exact(vocab)) {
        let top =
            |row: &[f32]| row.iter().enumerate().max_by(|x, y| x.1.total_cmp(y.1)).map(|(i, _)| i);
        same += f64::from(u8::from(top(a) == top(b)));
        let log_sum = |row: &[f32]| {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
            f64::from(most) + sum.ln()
        };
        let (za, zb) = (log_sum(a), log_sum(b));
        let term = |(&x, &y): (&f32, &f32)| {
            let (log_p, log_q) = (f64::from(x) - za, f64::from(y) - zb);
            log_p.exp() * (log_p - log_q)
        };
        divergence += a.iter().zip(b).map(term).sum::<f64>();
        rows += 1.0;
    }
    (difference, same / rows, f64::max(divergence / rows, 0.0))
}

fn size(path: &Path) -> Result<u64> {
    let error = ff_formats::Error::io(path, "reading");
    let metadata = std::fs::metadata(path).map_err(&error)?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    let entries = std::fs::read_dir(path).map_err(&error)?;
    Ok(entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum())
}
