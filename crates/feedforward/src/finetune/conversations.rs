//! The conversations of a run: read, divided, shown.

use super::examples::{Counts, Encoder, Example};
use super::pack::Rows;
use super::recipe::{FinetuneRecipe, LossOn};
use super::records::{self, Shape, Turn};
use crate::error::{Error, Result};
use crate::language::hash_weights;
use crate::run::watch::{PreviewNotice, TextNotice};
use crate::words::{count, plural};
use ff_nn::models::DecoderConfig;
use ff_text::{ChatTemplate, Tokenizer};
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// Conversations that the preview shows.
const PREVIEW: usize = 3;
/// Answers that are written before and after training where the recipe names no prompts.
const SAMPLES: usize = 3;

/// Conversations as rows.
pub(super) struct Conversations {
    pub(super) shape: Shape,
    /// Rows of an item: two for a pair of answers, otherwise one.
    pub(super) rows_each: usize,
    /// Whether the model has a template of its own for conversations.
    has_template: bool,
    pub(super) train: Rows,
    pub(super) valid: Option<Rows>,
    pub(super) counts: Counts,
    pub(super) held_out: Counts,
    /// The first conversations in pieces.
    pub(super) preview: PreviewNotice,
    /// The conversations before their last answers, to be answered before and after training.
    pub(super) prompts: Vec<String>,
}

impl Conversations {
    /// The conversations or pairs to learn from.
    pub(super) fn items(&self) -> usize {
        self.train.rows() / self.rows_each
    }

    /// The rows to learn from, and those held out.
    pub(super) fn parts(&self) -> [Option<&Rows>; 2] {
        [Some(&self.train), self.valid.as_ref()]
    }

    pub(super) fn notice(&self, recipe: &FinetuneRecipe, tokenizer: &Tokenizer) -> TextNotice {
        TextNotice {
            source: format!(
                "{} · {}, {}",
                recipe.data.path.display(),
                self.shape.words(),
                self.format()
            ),
            findings: self.findings(),
            tokenizer: format!("{}, {} tokens", tokenizer.kind(), tokenizer.vocab_size()),
            train_tokens: self.counts.tokens as u64,
            valid_tokens: self.held_out.tokens as u64,
            bytes_per_token: f64::NAN,
        }
    }

    /// How a conversation becomes text.
    pub(super) fn format(&self) -> &'static str {
        match (self.shape, self.has_template) {
            (shape, _) if shape.is_text() => "as they are",
            (_, true) => "in the model's chat template",
            (_, false) => "in a plain format (the model has no chat template)",
        }
    }

    /// What was kept, cut and dropped.
    pub(super) fn findings(&self) -> Vec<String> {
        let (train, valid) = (&self.counts, &self.held_out);
        let mut findings = vec![format!(
            "{} to learn from, {} held out · {} of {} tokens are learned",
            plural(train.kept, if self.shape.is_pair() { "pair" } else { "conversation" }),
            count(valid.kept),
            count(train.learned),
            count(train.tokens)
        )];
        let (cut, dropped) = (train.cut + valid.cut, train.dropped + valid.dropped);
        if cut + dropped > 0 {
            findings.push(if self.shape.is_pair() {
                format!("longer than train.context, or empty: {} dropped", count(dropped))
            } else {
                format!(
                    "longer than train.context: {} cut after an answer, {} dropped",
                    count(cut),
                    count(dropped)
                )
            });
        }
        let uninvoked = train.uninvoked + valid.uninvoked;
        if uninvoked > 0 {
            let uninvoked = count(uninvoked);
            findings
                .push(format!("nothing to learn behind adapter.invocation: {uninvoked} dropped"));
        }
        findings
    }

    /// The preview with learned parts between « and ».
    pub(super) fn preview_text(&self) -> String {
        let mut text = String::from("What is learned stands between « and ».\n");
        if self.shape.is_pair() {
            text += "Of each pair the chosen answer comes first, then the rejected one.\n";
        }
        for example in &self.preview.examples {
            text += "\n";
            for (piece, learned) in example {
                let (open, close) = if *learned { ("«", "»") } else { ("", "") };
                text.extend([open, piece, close]);
            }
            text += "\n";
        }
        text
    }

    /// Reads the conversations of a recipe and divides them.
    ///
    /// # Errors
    /// The file has mistakes, or nothing to learn.
    pub(super) fn read(
        recipe: &FinetuneRecipe,
        config: &DecoderConfig,
        (tokenizer, invocation): (&Tokenizer, &[u32]),
    ) -> Result<Self> {
        let (path, train) = (&recipe.data.path, &recipe.train);
        let records = records::read(path)?;
        let shape = records.shape;
        let pairs = shape.is_pair();
        match recipe.preference.loss {
            None if pairs => {
                let message = "holds pairs of answers: name their loss with --preference dpo, ipo, orpo or simpo";
                return Err(Error::run(path, message));
            }
            Some(_) if !pairs => {
                let message = format!(
                    "holds {}; [preference] needs chosen and rejected answers",
                    shape.words()
                );
                return Err(Error::run(path, message));
            }
            _ => {}
        }
        let context = train.context.min(config.max_positions);
        let template = if shape.is_text() { None } else { ChatTemplate::of(tokenizer)? };
        let loss = if pairs { LossOn::Last } else { recipe.data.loss };
        let has_template = template.is_some();
        let encoder = Encoder { tokenizer, template, shape, loss, context, invocation };
        let held = (records.all.len() as f64 * recipe.data.valid).round() as usize;
        let (learned, held) = records.all.split_at(records.all.len() - held);
        let rejected = records.rejected.split_at(records.rejected.len().min(learned.len()));
        let of = |conversations: &[Vec<Turn>], rejected: &[Vec<Turn>]| {
            if pairs {
                encoder.pairs(conversations, rejected)
            } else {
                encoder.examples(conversations)
            }
        };
        let (examples, counts) = of(learned, rejected.0)?;
        let (valid, held_out) = of(held, rejected.1)?;
        if counts.learned == 0 {
            let message = match counts.dropped {
                _ if counts.uninvoked > 0 => format!(
                    "holds no token that would be learned: {} of {} conversations lack adapter.invocation, or have nothing \
                 to learn behind its last occurrence",
                    counts.uninvoked,
                    learned.len()
                ),
                0 => {
                    "holds no token that would be learned; look at data.loss and data.valid".into()
                }
                dropped => format!(
                    "holds no token that would be learned: {} of {} conversations are longer than the {context} tokens of \
                 train.context; raise it, or shorten them",
                    dropped,
                    learned.len()
                ),
            };
            return Err(Error::run(path, message));
        }
        let mut ids = examples.iter().chain(&valid).flat_map(|example| &example.ids);
        let unknown = ids.find(|&&id| id as usize >= config.vocab_size);
        if let Some(&id) = unknown {
            let vocab_size = config.vocab_size;
            return Err(ff_text::TextError::Vocabulary { id: id as u32, vocab_size }.into());
        }
        let packing = train.packing && !pairs;
        let rows = |examples: &[Example]| Rows::new(examples, context, packing);
        let pieces = |example: &Example| shown(tokenizer, example);
        let rows_each = 1 + usize::from(pairs);
        let preview =
            examples.iter().take(PREVIEW * rows_each).map(pieces).collect::<Result<_>>()?;
        let asked = if held.is_empty() { learned } else { held };
        let mut prompts = Vec::with_capacity(SAMPLES);
        for turns in asked.iter().take(10 * SAMPLES) {
            let prompt = encoder.prompt(turns)?;
            if prompts.len() < SAMPLES && tokenizer.encode_prompt(&prompt)?.len() < context {
                prompts.push(prompt);
            }
        }
        Ok(Self {
            shape,
            rows_each,
            has_template,
            train: rows(&examples),
            valid: (held_out.learned > 0).then(|| rows(&valid)),
            counts,
            held_out,
            preview: PreviewNotice { examples: preview },
            prompts,
        })
    }

    /// A hash of the rows, and of the base model's files.
    pub(super) fn hash(&self, base: &Path) -> Result<String> {
        let mut hasher = Xxh3::new();
        for rows in std::iter::once(&self.train).chain(&self.valid) {
            rows.hash(&mut |bytes| hasher.update(bytes));
        }
        hash_weights(base, &mut hasher)?;
        Ok(format!("{:032x}", hasher.digest128()))
    }
}

/// An example as text, in pieces that are learned or not.
fn shown(tokenizer: &Tokenizer, example: &Example) -> Result<Vec<(String, bool)>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for part in example.trained.chunk_by(|a, b| a == b) {
        let ids: Vec<u32> =
            example.ids[start..start + part.len()].iter().map(|&id| id as u32).collect();
        start += part.len();
        pieces.push((tokenizer.decode(&ids)?, part[0]));
    }
    Ok(pieces)
}
