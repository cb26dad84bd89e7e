//! What a run tells whoever watches it; the library itself never prints.

use ff_table::{Note, Schema, SplitKind, TargetSchema, Totals};
use ff_train::Observer;
use std::path::Path;

/// A table was read and understood.
#[derive(Debug, Clone, Copy)]
pub struct DataNotice<'a> {
    /// The file.
    pub path: &'a Path,
    /// How it was read, in words.
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

/// The network and the plan of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelNotice {
    /// The layers in one line: `64 → 128 relu → 10`.
    pub layers: String,
    /// How many values are trained.
    pub parameters: usize,
    /// Optimiser, rate, batch and length in one line.
    pub training: String,
    /// The most bytes that pool and arena will hold.
    pub peak_bytes: usize,
    /// What a step computes, where speed is worth watching: language models.
    pub throughput: Option<Throughput>,
}

/// What an optimiser step computes.
///
/// ```
/// let work = feedforward::Throughput {
///     unit: "tokens",
///     units_per_step: 512.0,
///     flops_per_step: 1 << 30,
///     peak_flops: 1e11,
/// };
/// assert!(work.flops_per_step as f64 / work.peak_flops < 0.011); // seconds of a step at the peak
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// What is counted: tokens.
    pub unit: &'static str,
    /// How many of them a step has.
    pub units_per_step: f64,
    /// Floating-point operations of a step.
    pub flops_per_step: u64,
    /// Floating-point operations that the device does per second at most, measured just now.
    pub peak_flops: f64,
}

/// A corpus was read and made into tokens.
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
    /// Bytes of text per token.
    pub bytes_per_token: f64,
}

/// Conversations as the model sees them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PreviewNotice {
    /// The first ones, in pieces that are learned or not.
    pub examples: Vec<Vec<(String, bool)>>,
}

/// What a language model wrote from a fixed prompt at one moment of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleNotice<'a> {
    /// Optimiser steps done.
    pub step: u64,
    /// What it was given.
    pub prompt: &'a str,
    /// What it added.
    pub text: &'a str,
}

/// A notice, given once.
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
    /// The first conversations to learn from.
    Preview(&'a PreviewNotice),
    /// What the model writes by now.
    Sample(SampleNotice<'a>),
}

/// A watcher of a whole run.
pub trait Watcher: Observer {
    /// Called before training, with what was found out.
    fn notice(&mut self, notice: &Notice<'_>) {
        let _ = notice;
    }
}

/// Watches nothing.
impl Watcher for () {}
