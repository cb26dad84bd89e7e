//! Rules that written text follows: a JSON schema, a grammar, a regular expression.
//!
//! Before each token, the rules say which tokens can continue the text; others are never chosen.

use crate::error::Result;
use crate::tokenizer::Tokenizer;

#[cfg(feature = "grammar")]
mod matcher;
#[cfg(not(feature = "grammar"))]
#[path = "grammar/absent.rs"]
mod matcher;

pub use matcher::{AllowedTokens, GrammarMatcher};

/// What a text must be.
///
/// ```
/// let choice = ff_text::Grammar::Regex("(yes|no)".into());
/// assert_eq!(choice.kind(), "regular expression");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grammar {
    /// JSON by a schema (draft 2020-12; `{}` allows any JSON), without blanks between its parts
    /// but those that models write.
    JsonSchema(String),
    /// A text of a context-free grammar in the form of `llguidance`, similar to Lark's, that begins
    /// with the rule `start`.
    Lark(String),
    /// A text that a regular expression matches whole.
    Regex(String),
}

impl Grammar {
    /// Its name in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "JSON schema",
            Self::Lark(_) => "grammar",
            Self::Regex(_) => "regular expression",
        }
    }

    /// Prepares the rules for a model with `vocab_size` logits, whose tokens `end` end a text.
    ///
    /// # Errors
    /// The rules are malformed, too large, or need what is not supported; there is no token that
    /// ends a text; the program was built without the feature `grammar`.
    pub fn matcher(
        &self,
        tokenizer: &Tokenizer,
        end: &[u32],
        vocab_size: usize,
    ) -> Result<GrammarMatcher> {
        GrammarMatcher::new(self, tokenizer, end, vocab_size)
    }
}
