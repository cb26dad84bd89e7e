//! Builds without the feature `grammar`.

use super::Grammar;
use crate::error::{Result, TextError};
use crate::tokenizer::Tokenizer;
use std::convert::Infallible;

/// The rules with what was written so far; not in this build.
#[derive(Debug, Clone)]
pub struct GrammarMatcher(Infallible);

/// The tokens that can follow; not in this build.
#[derive(Debug)]
pub struct AllowedTokens(Infallible);

impl GrammarMatcher {
    pub(super) fn new(
        grammar: &Grammar,
        _tokenizer: &Tokenizer,
        _end: &[u32],
        _vocab_size: usize,
    ) -> Result<Self> {
        let message = format!("this build cannot write by a {}", grammar.kind());
        Err(TextError::corpus(
            message,
            "Build it with `--features grammar`; docs/chat.md says how.",
        ))
    }

    /// The tokens that can follow.
    ///
    /// # Errors
    /// Never.
    pub fn allowed(&mut self) -> Result<AllowedTokens> {
        match self.0 {}
    }

    /// How many of these tokens can follow.
    ///
    /// # Errors
    /// Never.
    pub fn fitting(&mut self, _tokens: &[u32]) -> Result<usize> {
        match self.0 {}
    }

    /// Takes note of a token.
    ///
    /// # Errors
    /// Never.
    pub fn push(&mut self, _token: u32) -> Result<()> {
        match self.0 {}
    }
}

impl AllowedTokens {
    /// Whether a token can follow.
    pub fn contains(&self, _token: u32) -> bool {
        match self.0 {}
    }
}
