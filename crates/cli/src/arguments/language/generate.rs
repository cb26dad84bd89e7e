//! The options of `feedforward generate`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use feedforward::language::GenerateOptions;
use feedforward::nn::Precision;
use feedforward::nn::models::LanguageOptions;
use feedforward::text::Grammar;

use crate::arguments::Machine;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// A Hugging Face folder, a GGUF file, or a run
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,
    /// The text to continue (repeatable)
    #[arg(long, short, value_name = "TEXT", required = true)]
    pub(crate) prompt: Vec<String>,
    /// Use an adapter with the model (PEFT's folder, a run that trained one, or a GGUF file)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) adapter: Option<PathBuf>,
    /// The maximum number of new tokens; 128 by default, 512 for encoders with decoders
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    /// Beams of an encoder with a decoder (Marian, T5); 1 is greedy
    #[arg(long, value_name = "N")]
    pub(crate) beams: Option<usize>,
    #[command(flatten)]
    sampling: Sampling,
    /// Multiply in bf16: faster, less precise
    #[arg(long)]
    bf16: bool,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object at the end
    #[arg(long)]
    pub(crate) json: bool,
}

impl Generate {
    /// The model's arithmetic.
    pub(crate) fn language(&self) -> LanguageOptions {
        let precision = if self.bf16 { Precision::Bf16 } else { Precision::F32 };
        LanguageOptions { precision, ..LanguageOptions::default() }
    }

    /// The given options that concern sampling alone.
    pub(crate) fn sampling(&self) -> Vec<&'static str> {
        self.sampling.given()
    }

    /// The options of generation; `usual` where none is given.
    ///
    /// # Errors
    /// A file of rules cannot be read.
    pub(crate) fn options(&self, usual: &GenerateOptions) -> Result<GenerateOptions, Failure> {
        self.sampling.options(usual, self.max_tokens)
    }
}

/// How the next token is chosen.
#[derive(Debug, Args)]
pub(crate) struct Sampling {
    /// The sampling temperature: 0 always takes the likeliest token; 0.8 unless the model's folder
    /// says otherwise
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Sample from the K likeliest tokens
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Sample from the likeliest tokens with this total probability
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Sample from tokens at least this fraction as likely as the likeliest
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f64>,
    /// Penalise earlier tokens; 1 is off
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    repetition_penalty: Option<f64>,
    /// A text to stop before (repeatable)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Continue past the end-of-text token
    #[arg(long)]
    ignore_end: bool,
    /// Read no guesses of the next tokens with the last one; the text is the same
    #[arg(long)]
    no_speculation: bool,
    /// The random seed of sampling
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write JSON by the schema in a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "rules")]
    json_schema: Option<PathBuf>,
    /// Write by the grammar in a file (Lark's form, from the rule `start`)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "rules")]
    grammar: Option<PathBuf>,
    /// Write what a regular expression matches whole
    #[arg(long, value_name = "PATTERN", group = "rules")]
    regex: Option<String>,
}

impl Sampling {
    /// The given options.
    fn given(&self) -> Vec<&'static str> {
        let given = [
            ("--temperature", self.temperature.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--min-p", self.min_p.is_some()),
            ("--repetition-penalty", self.repetition_penalty.is_some()),
            ("--stop", !self.stop.is_empty()),
            ("--ignore-end", self.ignore_end),
            ("--no-speculation", self.no_speculation),
            ("--json-schema", self.json_schema.is_some()),
            ("--grammar", self.grammar.is_some()),
            ("--regex", self.regex.is_some()),
        ];
        given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }

    /// The options of generation; `usual` where none is given.
    ///
    /// # Errors
    /// A file of rules cannot be read.
    pub(crate) fn options(
        &self,
        usual: &GenerateOptions,
        max_tokens: Option<usize>,
    ) -> Result<GenerateOptions, Failure> {
        let read = |path: &PathBuf| {
            let error = |e| Failure::failed(format!("{}: {e}", path.display()));
            std::fs::read_to_string(path).map_err(error)
        };
        let grammar = match (&self.json_schema, &self.grammar, &self.regex) {
            (Some(path), ..) => Some(Grammar::JsonSchema(read(path)?)),
            (_, Some(path), _) => Some(Grammar::Lark(read(path)?)),
            (.., Some(pattern)) => Some(Grammar::Regex(pattern.clone())),
            _ => None,
        };
        Ok(GenerateOptions {
            max_tokens: max_tokens.unwrap_or(usual.max_tokens),
            temperature: self.temperature.unwrap_or(usual.temperature),
            top_k: self.top_k.or(usual.top_k),
            top_p: self.top_p.or(usual.top_p),
            min_p: self.min_p.or(usual.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(usual.repetition_penalty),
            stop: self.stop.clone(),
            seed: self.seed,
            ignore_end: self.ignore_end,
            speculate: usual.speculate && !self.no_speculation,
            grammar,
        })
    }
}
