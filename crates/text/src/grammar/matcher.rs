//! Rules by the crate `llguidance`.

use super::Grammar;
use crate::error::{Result, TextError};
use crate::tokenizer::Tokenizer;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use std::fmt;
use std::sync::Arc;

/// The rules with what was written so far.
#[derive(Clone)]
pub struct GrammarMatcher {
    matcher: Matcher,
    kind: &'static str,
}

/// The tokens that can follow.
#[derive(Debug)]
pub struct AllowedTokens(SimpleVob);

impl GrammarMatcher {
    pub(super) fn new(
        grammar: &Grammar,
        tokenizer: &Tokenizer,
        end: &[u32],
        vocab_size: usize,
    ) -> Result<Self> {
        let kind = grammar.kind();
        let ends: Vec<u32> = end.iter().copied().filter(|&id| (id as usize) < vocab_size).collect();
        let Some(&first) = ends.first() else {
            let message =
                format!("a {kind} needs a token that ends a text, and the model has none");
            return Err(TextError::corpus(message, "Use a model whose tokenizer has one."));
        };
        let top = match grammar {
            Grammar::JsonSchema(schema) => {
                let schema = serde_json::from_str(schema).map_err(|e| wrong(kind, e))?;
                TopLevelGrammar::from_json_schema(schema)
            }
            Grammar::Lark(rules) => TopLevelGrammar::from_lark(rules.clone()),
            Grammar::Regex(pattern) => TopLevelGrammar::from_regex(pattern),
        };
        let mut texts = tokenizer.token_texts();
        texts.resize(vocab_size, Vec::new());
        let size = u32::try_from(vocab_size).map_err(|e| wrong(kind, e))?;
        let trie = TokTrie::from(&TokRxInfo::new(size, first), &texts).with_eos_tokens(&ends);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(|e| wrong(kind, e))?;
        factory.quiet();
        let matcher = Matcher::new(factory.create_parser(top));
        match matcher.get_error() {
            Some(error) => Err(wrong(kind, error)),
            None => Ok(Self { matcher, kind }),
        }
    }

    /// The tokens that can follow; only those that end a text once it is whole.
    ///
    /// # Errors
    /// The rules take more work than is allowed.
    pub fn allowed(&mut self) -> Result<AllowedTokens> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|e| wrong(self.kind, e))?;
        Ok(AllowedTokens(mask))
    }

    /// How many of these tokens can follow, one behind the other.
    ///
    /// # Errors
    /// The rules take more work than is allowed.
    pub fn fitting(&mut self, tokens: &[u32]) -> Result<usize> {
        self.matcher.validate_tokens(tokens).map_err(|e| wrong(self.kind, e))
    }

    /// Takes note of a token.
    ///
    /// # Errors
    /// The token was not allowed.
    pub fn push(&mut self, token: u32) -> Result<()> {
        self.matcher.consume_token(token).map_err(|e| wrong(self.kind, e))
    }
}

impl fmt::Debug for GrammarMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarMatcher").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl AllowedTokens {
    /// Whether a token can follow.
    pub fn contains(&self, token: u32) -> bool {
        (token as usize) < self.0.len() && self.0.is_allowed(token)
    }
}

fn wrong(kind: &str, error: impl fmt::Display) -> TextError {
    let error = error.to_string();
    // Behind an empty line, the crate describes its own state.
    let lines = error.lines().map(str::trim).take_while(|line| !line.is_empty());
    let message = lines.collect::<Vec<_>>().join(" ");
    let hint = "docs/chat.md says what is supported.";
    TextError::corpus(format!("the {kind} cannot be used: {message}"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What can be written from `text` on, of single bytes.
    fn next(grammar: &Grammar, text: &str) -> Option<String> {
        let tokenizer = Tokenizer::bytes(&["<|endoftext|>"]).unwrap();
        // A model's vocabulary may be padded.
        let mut matcher = grammar.matcher(&tokenizer, &[256], 300).unwrap();
        for &byte in text.as_bytes() {
            assert!(matcher.allowed().unwrap().contains(byte.into()), "{text}");
            matcher.push(byte.into()).unwrap();
        }
        let allowed = matcher.allowed().unwrap();
        assert!(!allowed.contains(257) && !allowed.contains(299) && !allowed.contains(1000));
        let bytes: String =
            (0..128u8).filter(|&b| allowed.contains(b.into())).map(char::from).collect();
        (!allowed.contains(256)).then_some(bytes)
    }

    #[test]
    fn only_what_the_rules_allow_follows() {
        let choice = Grammar::Regex("(yes|no|nod)".into());
        assert_eq!(next(&choice, "").as_deref(), Some("ny"));
        assert_eq!(next(&choice, "ye").as_deref(), Some("s"));
        assert_eq!(next(&choice, "no"), None);
        let sum = Grammar::Lark("start: NUM (\"+\" NUM)*\nNUM: /[0-9]/".into());
        assert_eq!(next(&sum, "1+").as_deref(), Some("0123456789"));
        assert_eq!(next(&sum, "1+2"), None);
        let schema = r#"{"type": "object", "properties": {"n": {"type": "integer", "maximum": 9, "minimum": 7}},
            "required": ["n"], "additionalProperties": false}"#;
        let schema = Grammar::JsonSchema(schema.into());
        assert!(next(&schema, "").unwrap().starts_with('{'));
        let digits = next(&schema, "{\"n\":").unwrap();
        assert_eq!(digits.replace([' ', '\n', '\t', '\r'], ""), "789");
        assert_eq!(next(&schema, "{\"n\":8}"), None);
    }

    #[test]
    fn tokens_are_tried_without_being_written() {
        let tokenizer = Tokenizer::bytes(&["<|endoftext|>"]).unwrap();
        let rule = Grammar::Regex("a+b".into());
        let mut matcher = rule.matcher(&tokenizer, &[256], 257).unwrap();
        let fitting = |matcher: &mut GrammarMatcher, text: &str| {
            let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
            matcher.fitting(&tokens).unwrap()
        };
        assert_eq!(fitting(&mut matcher, "aabx"), 3);
        assert_eq!(fitting(&mut matcher, "b"), 0);
        matcher.push(b'a'.into()).unwrap();
        assert_eq!(fitting(&mut matcher, "ba"), 1);
        assert_eq!(fitting(&mut matcher, ""), 0);
    }

    #[test]
    fn what_is_written_otherwise_is_an_error() {
        let tokenizer = Tokenizer::bytes(&["<|endoftext|>"]).unwrap();
        let mut matcher = Grammar::Regex("[0-9]+".into()).matcher(&tokenizer, &[256], 257).unwrap();
        assert!(matcher.push(b'a'.into()).is_err());
    }

    #[test]
    fn malformed_rules_are_named() {
        let tokenizer = Tokenizer::bytes(&["<|endoftext|>"]).unwrap();
        let message = |grammar: Grammar, end: &[u32]| {
            grammar.matcher(&tokenizer, end, 257).unwrap_err().to_string()
        };
        for (grammar, expected) in [
            (Grammar::JsonSchema("{\"type\":".into()), "JSON schema"),
            (Grammar::JsonSchema("{\"type\": \"horse\"}".into()), "JSON schema"),
            (Grammar::Lark("begin: \"a\"".into()), "grammar"),
            (Grammar::Regex("(a".into()), "regular expression"),
        ] {
            let message = message(grammar, &[256]);
            let begins = format!("the {expected} cannot be used: ");
            assert!(message.starts_with(&begins) && message.len() > begins.len(), "{message}");
        }
        let none = message(Grammar::Regex("a".into()), &[]);
        assert!(none.contains("a token that ends a text"), "{none}");
    }
}
