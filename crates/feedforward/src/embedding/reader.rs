//! From texts to the tokens that a model takes.

use super::modules::Modules;
use crate::error::{Error, Result};
use ff_text::Tokenizer;

/// A tokenizer with what a model's folder says about its texts.
#[derive(Debug)]
pub(crate) struct TextReader {
    pub(crate) tokenizer: Tokenizer,
    /// The tokens around every text.
    around: (Vec<u32>, Vec<u32>),
    /// The text before every text.
    pub(crate) prompt: Option<String>,
    /// Whether texts are made lower case before anything else.
    pub(crate) lower_case: bool,
    /// The most tokens of a text, with those around it.
    pub(crate) max_tokens: usize,
    /// Whether texts are for static embeddings: nothing stands around them.
    is_static: bool,
}

impl TextReader {
    /// A reader as a folder says, of texts of at most `max_tokens`, or as many as the folder says,
    /// or as many as the model has positions; static embeddings put nothing around a text.
    ///
    /// # Errors
    /// So many tokens do not fit into the model, or leave no place for a text.
    pub(crate) fn new(
        tokenizer: Tokenizer,
        modules: &Modules,
        max_tokens: Option<usize>,
        positions: usize,
        is_static: bool,
    ) -> Result<Self> {
        let around = if is_static { Default::default() } else { tokenizer.around()? };
        let max_tokens = max_tokens.or(modules.max_tokens).unwrap_or(positions);
        let least = around.0.len() + around.1.len() + 1;
        if max_tokens > positions || max_tokens < least {
            let message = format!(
                "a text has {least} to {positions} tokens with this model, so not at most {max_tokens}"
            );
            return Err(Error::usage(message));
        }
        let (prompt, lower_case) = (modules.prompt.clone(), modules.lower_case);
        Ok(Self { tokenizer, around, prompt, lower_case, max_tokens, is_static })
    }

    /// The tokens of texts, with those around them.
    pub(super) fn ids(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        let special = !self.is_static;
        let prompt = self.prompt.as_deref().unwrap_or_default();
        if prompt.is_empty() && !self.lower_case {
            return Ok(self.tokenizer.encode_all(texts, special)?);
        }
        let changed = |text: &&str| {
            let text = format!("{prompt}{text}");
            if self.lower_case { text.to_lowercase() } else { text }
        };
        let texts: Vec<String> = texts.iter().map(changed).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Ok(self.tokenizer.encode_all(&texts, special)?)
    }

    /// The parts of a text that the model takes, each with its share of the text's own tokens: one,
    /// or all windows of the most tokens with `windows`.
    pub(crate) fn parts(&self, ids: Vec<u32>, windows: bool) -> Vec<(Vec<u32>, f64)> {
        if ids.len() <= self.max_tokens {
            // A text without tokens of its own may have none around it either.
            let ids = if ids.is_empty() && !self.is_static { self.padding() } else { ids };
            return vec![(ids, 1.0)];
        }
        let (before, behind) = &self.around;
        let most = self.max_tokens - before.len() - behind.len();
        let own = &ids[before.len()..ids.len() - behind.len()];
        let count = if windows { own.len().div_ceil(most) } else { 1 };
        let part = |part: &[u32]| {
            let share = if count > 1 { part.len() as f64 / own.len() as f64 } else { 1.0 };
            ([before, part, behind].concat(), share)
        };
        own.chunks(most).take(count).map(part).collect()
    }

    /// The tokens of texts as the model takes them, and how many texts were cut.
    pub(crate) fn read(&self, texts: &[&str]) -> Result<(Vec<Vec<u32>>, usize)> {
        let all = self.ids(texts)?;
        let cut = all.iter().filter(|ids| ids.len() > self.max_tokens).count();
        let first = |ids| self.parts(ids, false).swap_remove(0).0;
        Ok((all.into_iter().map(first).collect(), cut))
    }

    /// The tokens of texts in as many sequences as they need.
    pub(crate) fn windows(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        let all = self.ids(texts)?;
        let parts = all.into_iter().flat_map(|ids| self.parts(ids, true));
        Ok(parts.map(|(ids, _)| ids).collect())
    }

    /// The tokens around every text.
    pub(crate) fn around(&self) -> (&[u32], &[u32]) {
        (&self.around.0, &self.around.1)
    }

    /// The token of an empty text.
    fn padding(&self) -> Vec<u32> {
        let special = self.tokenizer.special();
        vec![special.eos.or(special.pad).or(special.bos).unwrap_or(0)]
    }
}
