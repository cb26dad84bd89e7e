//! The bytes of text that each token stands for.

use std::collections::HashMap;

use serde_json::Value;

use super::{Tokenizer, byte_alphabet};

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
        let around = [self.special.bos, self.special.eos];
        let length = |(text, id): (Vec<u8>, u32)| {
            if around.contains(&Some(id)) { 0 } else { text.len() as u32 }
        };
        self.texts().into_iter().zip(0..).map(length).collect()
    }

    /// The bytes that each id stands for, those of special tokens behind the byte 0xff, which no
    /// text has.
    #[cfg(feature = "grammar")]
    pub(crate) fn token_texts(&self) -> Vec<Vec<u8>> {
        let mut texts = self.texts();
        for (id, token) in self.inner.get_added_tokens_decoder() {
            if let Some(text) = texts.get_mut(id as usize).filter(|_| token.special) {
                text.insert(0, 0xff);
            }
        }
        texts
    }

    /// The bytes that each id stands for.
    fn texts(&self) -> Vec<Vec<u8>> {
        let json: Value = serde_json::from_str(&self.json).unwrap_or_default();
        let decoder = json["decoder"].to_string();
        let has = |name: &str| decoder.contains(&format!("\"type\":\"{name}\""));
        let (byte_level, fallback, wordpiece) =
            (has("ByteLevel"), has("ByteFallback"), has("WordPiece"));
        let bytes: HashMap<char, u8> = byte_alphabet().into_iter().zip(0..=255).collect();
        let added = self.inner.get_added_tokens_decoder();
        let text = |id: u32| {
            if let Some(token) = added.get(&id) {
                return token.content.clone().into_bytes();
            }
            let Some(token) = self.token(id) else { return Vec::new() };
            if byte_level {
                return token.chars().map(|c| bytes.get(&c).copied().unwrap_or(b'?')).collect();
            }
            if let Some(byte) = byte_of(&token).filter(|_| fallback) {
                return vec![byte];
            }
            if wordpiece {
                // A word stands behind a blank.
                let text = token.strip_prefix("##").map_or(format!(" {token}"), str::to_owned);
                return text.into_bytes();
            }
            token.replace('▁', " ").into_bytes()
        };
        (0..self.vocab_size as u32).map(text).collect()
    }
}

/// Whether a piece stands for one byte, as `<0x0A>`.
pub(super) fn is_byte(token: &str) -> bool {
    byte_of(token).is_some()
}

/// The byte that a piece such as `<0x0A>` stands for.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}
