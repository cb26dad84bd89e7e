//! What a run shows before and while it works; the library itself never prints.

use ff_table::{Note, Schema, SplitKind, TargetSchema, Totals};
use ff_train::Observer;
use std::path::Path;

/// A table was read and understood.
///
/// ```
/// fn used(notice: &feedforward::DataNotice<'_>) -> String { format!("{} of {} rows", notice.totals.used, notice.totals.read) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct DataNotice<'a> {
    /// The file and how it was read, in words.
    pub source: &'a str,
    /// Rows read, dropped and used.
    pub totals: &'a Totals,
    /// What each column is and what becomes of it.
    pub schema: &'a Schema,
    /// What is predicted.
    pub target: &'a TargetSchema,
    /// How rows were split.
    pub split: SplitKind,
    /// Findings.
    pub notes: &'a [Note],
}

/// What will be trained and what it will take.
///
/// ```
/// fn line(notice: &feedforward::ModelNotice) -> String { format!("{}: {}", notice.layers, notice.parameters) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ModelNotice {
    /// The layers in one line: `64 → 128 relu → 10`.
    pub layers: String,
    /// How many values are trained.
    pub parameters: usize,
    /// Optimiser, rate, batch and length in one line.
    pub training: String,
    /// The most bytes that pool and arena will hold.
    pub peak_bytes: usize,
}

/// A corpus was read and made into tokens.
///
/// ```
/// fn line(notice: &feedforward::TextNotice) -> String { format!("{} tokens", notice.train_tokens) }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TextNotice {
    /// Where it came from and how it was read, in words.
    pub source: String,
    /// What was found, kept, dropped and why, a line each.
    pub findings: Vec<String>,
    /// The tokenizer in words.
    pub tokenizer: String,
    /// Tokens of the training part.
    pub train_tokens: u64,
    /// Tokens of the validation part.
    pub valid_tokens: u64,
    /// Bytes of text that a token stands for.
    pub bytes_per_token: f64,
}

/// What language model will be trained and what it will take.
///
/// ```
/// fn line(notice: &feedforward::LanguageNotice) -> String { format!("{}: {}", notice.layers, notice.parameters) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageNotice {
    /// The model in one line: `gpt2 · 4 layers × 128 · 4 heads`.
    pub layers: String,
    /// How many values are trained.
    pub parameters: usize,
    /// Optimiser, rate, batch and length in one line.
    pub training: String,
    /// The most bytes that pool and arena will hold.
    pub peak_bytes: usize,
    /// Tokens predicted at an optimiser step.
    pub tokens_per_step: u64,
    /// Floating-point operations of an optimiser step.
    pub flops_per_step: u64,
    /// Floating-point operations that the processor does a second at most, measured just now.
    pub peak_flops: f64,
}

/// What a language model wrote from a fixed prompt at one moment of training.
///
/// ```
/// fn text(sample: &feedforward::SampleNotice<'_>) -> String { format!("{}{}", sample.prompt, sample.text) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleNotice<'a> {
    /// Optimiser steps done.
    pub step: u64,
    /// What it was given.
    pub prompt: &'a str,
    /// What it added.
    pub text: &'a str,
}

/// Something that is shown once.
///
/// ```
/// use feedforward::Notice;
/// fn seed(notice: &Notice<'_>) -> Option<u64> {
///     if let Notice::Environment { seed, .. } = notice { Some(*seed) } else { None }
/// }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// Version, kernels, threads and seed.
    Environment {
        /// The kernels in use.
        isa: ff_tensor::Isa,
        /// How many threads.
        threads: usize,
        /// The seed.
        seed: u64,
    },
    /// The folder of the run.
    Run(&'a Path),
    /// The data.
    Data(DataNotice<'a>),
    /// The network and the plan.
    Model(&'a ModelNotice),
    /// A corpus.
    Text(&'a TextNotice),
    /// A language model and the plan.
    Language(&'a LanguageNotice),
    /// What the model writes by now.
    Sample(SampleNotice<'a>),
}

/// Who watches a whole run.
///
/// ```
/// use feedforward::{Notice, Watcher, trainer::{Event, Observer}};
/// struct Quiet;
/// impl Observer for Quiet {
///     fn event(&mut self, _event: Event<'_>) {}
/// }
/// impl Watcher for Quiet {
///     fn notice(&mut self, _notice: &Notice<'_>) {}
/// }
/// ```
pub trait Watcher: Observer {
    /// Called before training, with what was found out.
    fn notice(&mut self, notice: &Notice<'_>) {
        let _ = notice;
    }
}

/// Watches nothing.
impl Watcher for () {}
