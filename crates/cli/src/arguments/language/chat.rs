//! The options of `feedforward chat`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use feedforward::nn::Precision;
use feedforward::nn::models::LanguageOptions;

use super::generate::Sampling;
use crate::arguments::Machine;

const HELP: &str = "\
In the conversation:
  /system TEXT  how the model should answer     /reset       forget the conversation
  /save FILE    append it to a file of records  /quit        leave (or Ctrl-D)
  /adapter NAME answer with this adapter, or with `none`
A line that ends with \\ goes on in the next one; lines between two lines of \"\"\" are one message.
Ctrl-C stops an answer.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ChatOptions {
    /// A Hugging Face folder, a GGUF file, or a run
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,
    /// Open an adapter with the model (repeatable): PEFT's folder, a run that trained one, or
    /// llama.cpp's GGUF file. The first is in use
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) adapter: Vec<PathBuf>,
    /// How the model should answer
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Read the messages from a file, one a line, instead of standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) prompts: Option<PathBuf>,
    /// A chat template (.jinja) instead of the model's own
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) template: Option<PathBuf>,
    /// The maximum number of tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) max_tokens: usize,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    /// Multiply in bf16: faster, less precise
    #[arg(long)]
    bf16: bool,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object per answer
    #[arg(long)]
    pub(crate) json: bool,
}

impl ChatOptions {
    /// The model's arithmetic.
    pub(crate) fn language(&self) -> LanguageOptions {
        let precision = if self.bf16 { Precision::Bf16 } else { Precision::F32 };
        LanguageOptions { precision, ..LanguageOptions::default() }
    }
}
