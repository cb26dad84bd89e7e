//! The bytes of text that each token stands for.

use serde_json::Value;

use super::Tokenizer;

impl Tokenizer {
    /// The bytes of text that each id stands for; none for the tokens around a document.
    ///
    /// Bytes, characters and byte-level pairs are exact. Pieces with marks for blanks count a blank
    /// each, so that their sum can differ from the text by one byte a document.
    ///
    /// ```
    /// let tokenizer = ff_text::Tokenizer::characters("é=1", &["<|endoftext|>"])?;
    /// assert_eq!(tokenizer.token_bytes(), [1, 1, 2, 0]); // `1`, `=`, `é`, the end
    /// # Ok::<(), ff_text::TextError>(())
    /// ```
    pub fn token_bytes(&self) -> Vec<u32> {
        let json: Value = serde_json::from_str(&self.json).unwrap_or_default();
        let decoder = json["decoder"].to_string();
        let has = |name: &str| decoder.contains(&format!("\"type\":\"{name}\""));
        let (byte_level, fallback, wordpiece) =
            (has("ByteLevel"), has("ByteFallback"), has("WordPiece"));
        let added = self.inner.get_added_tokens_decoder();
        let around = [self.special.bos, self.special.eos];
        let length = |id: u32| {
            if around.contains(&Some(id)) {
                return 0;
            }
            if let Some(token) = added.get(&id) {
                return token.content.len();
            }
            let Some(token) = self.token(id) else { return 0 };
            if byte_level {
                return token.chars().count();
            }
            if fallback && is_byte(&token) {
                return 1;
            }
            if wordpiece {
                // A word stands behind a blank.
                return token.strip_prefix("##").map_or(token.len() + 1, str::len);
            }
            token.replace('▁', " ").len()
        };
        (0..self.vocab_size as u32).map(|id| length(id) as u32).collect()
    }
}

/// Whether a piece stands for one byte, as `<0x0A>`.
pub(super) fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}
