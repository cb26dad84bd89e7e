//! The tables of a pretraining recipe that are not those of other recipes.

use ff_nn::Precision;
use ff_settings::{ConfigError, Range};
use ff_text::Pretokenizer;
use ff_text::TokenizerKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The table `[model]` of a pretraining recipe: a config to train from scratch, or a model to
/// continue from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelTable {
    /// A Hugging Face folder (or a run) with the weights, config and tokenizer to continue from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// A `config.json` to build the model from, with first weights drawn by the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_file: Option<PathBuf>,
    /// The same keys as in a `config.json`, written here; they override those of `config_file`.
    /// `vocab_size` and the longest context come from the tokenizer and from `train.context` where
    /// they are not given.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// The type of matrix products: f32, or bf16 with f32 sums and f32 weights.
    pub precision: Precision,
    /// Recompute each block in the backward pass instead of keeping its activations: less memory, a
    /// third more arithmetic.
    pub recompute: bool,
}

/// The table `[tokenizer]` of a pretraining recipe: one to load, or one to train on the corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerTable {
    /// A `tokenizer.json`, or a folder with one (or with `vocab.json` and `merges.txt`); a model in
    /// `model.from` brings its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The kind of tokenizer to train on the corpus where none is loaded.
    pub kind: TokenizerKind,
    /// The division of text into words that no token crosses, for byte pairs.
    pub pretokenizer: Pretokenizer,
    /// The most tokens; unused for bytes and characters.
    pub vocab_size: usize,
    /// Tokens that never come from text; the first one ends a document.
    pub special: Vec<String>,
}

impl Default for TokenizerTable {
    fn default() -> Self {
        Self {
            path: None,
            kind: TokenizerKind::Bpe,
            pretokenizer: Pretokenizer::default(),
            vocab_size: 4096,
            special: vec!["<|endoftext|>".into()],
        }
    }
}

impl TokenizerTable {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let least = 256 + self.special.len();
        if self.kind == TokenizerKind::Bpe && self.vocab_size < least {
            let message = format!(
                "must be at least {least} for byte-level BPE, a token for each byte and each special one; found {}",
                self.vocab_size
            );
            return Err(ConfigError::new("tokenizer.vocab_size", message));
        }
        Ok(())
    }
}

/// The table `[train]` of a pretraining recipe.
///
/// ```
/// let train = feedforward::language::PretrainConfig { steps: Some(100), ..Default::default() };
/// assert!(train.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainConfig {
    /// The most optimiser steps; overrides `passes` where given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Passes over the corpus.
    pub passes: usize,
    /// Tokens predicted per window.
    pub context: usize,
    /// Windows per micro-batch, which is in memory at a time.
    pub batch_size: usize,
    /// Micro-batches per optimiser step; the loss is averaged over all their tokens.
    pub accumulate: usize,
    /// Windows in passes over the whole corpus, or from random places.
    pub windows: WindowOrder,
    /// Train and evaluate only on the tokens behind this one in their document, such as "=" or
    /// "<|assistant|>".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Steps between two evaluations; a twentieth of all steps by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<u64>,
    /// The most windows of the validation part per evaluation; all of them at the end.
    pub eval_windows: usize,
    /// The part of each target that is spread over all tokens.
    pub label_smoothing: f64,
    /// The weight of the loss that keeps the sum of exponentials of the logits near 1; 1e-4 is
    /// usual.
    pub z_loss: f64,
    /// Keep the weights of the best evaluation instead of the last ones.
    pub restore_best: bool,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The least seconds between two checkpoints; one is always made at the end and on Ctrl-C.
    pub checkpoint_seconds: f64,
    /// Threads; 0 for one per core. Results do not depend on it.
    pub threads: usize,
}

/// Where windows start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowOrder {
    /// Every window once per pass, in a new random order each time.
    #[default]
    Passes,
    /// Anywhere, drawn with replacement.
    Random,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            steps: None,
            passes: 1,
            context: 256,
            batch_size: 8,
            accumulate: 1,
            windows: WindowOrder::Passes,
            after: None,
            eval_every: None,
            eval_windows: 256,
            label_smoothing: 0.0,
            z_loss: 0.0,
            restore_best: true,
            seed: 0,
            checkpoint_seconds: 60.0,
            threads: 0,
        }
    }
}

impl PretrainConfig {
    /// Checks every value's range.
    ///
    /// # Errors
    /// The first key whose value is not allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("steps", self.steps.unwrap_or(1)),
            ("passes", self.passes as u64),
            ("context", self.context as u64),
            ("batch_size", self.batch_size as u64),
            ("accumulate", self.accumulate as u64),
            ("eval_every", self.eval_every.unwrap_or(1)),
            ("eval_windows", self.eval_windows as u64),
        ];
        for (key, value) in at_least_one {
            Range::AtLeast(1.0).check(&format!("train.{key}"), value as f64)?;
        }
        Range::AtLeast(0.0).check("train.checkpoint_seconds", self.checkpoint_seconds)?;
        Range::AtLeast(0.0).check("train.z_loss", self.z_loss)?;
        Range::BelowOne.check("train.label_smoothing", self.label_smoothing)
    }
}

/// The table `[sample]`: samples written during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SampleConfig {
    /// Prompts to continue before training, at each evaluation and at the end.
    pub prompts: Vec<String>,
    /// The most tokens to write.
    pub max_tokens: usize,
    /// The sampling temperature; 0 takes the likeliest token.
    pub temperature: f64,
    /// Sample from this many of the likeliest tokens; 0 for all.
    pub top_k: usize,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self { prompts: Vec::new(), max_tokens: 100, temperature: 0.8, top_k: 0 }
    }
}

impl SampleConfig {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        Range::AtLeast(0.0).check("sample.temperature", self.temperature)
    }
}
