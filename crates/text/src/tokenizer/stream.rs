//! Text as its ids come.

use super::Tokenizer;
use super::lengths::is_byte;
use crate::error::Result;
use crate::floor_boundary;

/// Text as its ids come: always the next part of what all ids decode to together, those of a prompt
/// before them included.
///
/// A character of several tokens waits for its last one.
///
/// ```
/// let tokenizer = ff_text::Tokenizer::bytes(&[])?;
/// let mut stream = tokenizer.stream();
/// let shown: Vec<String> = "é!".bytes().map(|b| stream.push(b.into())).collect::<Result<_, _>>()?;
/// assert_eq!(shown, ["", "é", "!"]);
/// # Ok::<(), ff_text::TextError>(())
/// ```
#[derive(Debug)]
pub struct TextStream {
    tokenizer: Tokenizer,
    /// The last ids; earlier ones change nothing in the text of later ones.
    ids: Vec<u32>,
    /// The bytes of these ids' text that were given.
    given: usize,
}

/// Ids that are kept before fewer are looked for that do as well.
const MANY: usize = 32;

impl TextStream {
    pub(super) fn of(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, ids: Vec::new(), given: 0 }
    }

    /// A stream behind the ids of a prompt, whose text is not given.
    pub(super) fn new(tokenizer: Tokenizer, prompt: &[u32]) -> Result<Self> {
        let mut stream = Self { tokenizer, ids: prompt.to_vec(), given: 0 };
        let text = stream.tokenizer.decode_plain(prompt)?;
        stream.given = text.len();
        stream.shorten(&text)?;
        Ok(stream)
    }

    /// The text that this id completes; empty if a character is still incomplete.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        // Bytes in a row are decoded together, over special tokens too: with a broken one, none of
        // them is a character.
        let byte = |id: u32| self.tokenizer.token(id).is_some_and(|token| is_byte(&token));
        let open = |id: &&u32| byte(**id) || self.tokenizer.is_special(**id);
        let open = self.ids.iter().rev().take_while(open).count();
        let text = self.tokenizer.decode_plain(&self.ids[..self.ids.len() - open])?;
        // The last character may be the beginning of another one.
        let broken = text.ends_with(char::REPLACEMENT_CHARACTER);
        let settled = text.len() - if broken { char::REPLACEMENT_CHARACTER.len_utf8() } else { 0 };
        let new = self.give(&text[..settled]);
        if open == 0 && self.ids.len() >= MANY {
            self.shorten(&text)?;
        }
        Ok(new)
    }

    /// The pending text: the beginning of an incomplete character.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<String> {
        let text = self.tokenizer.decode_plain(&self.ids)?;
        Ok(self.give(&text))
    }

    fn give(&mut self, text: &str) -> String {
        let new = text.get(floor_boundary(text, self.given)..).unwrap_or_default().to_owned();
        self.given = self.given.max(text.len());
        new
    }

    /// The ids of an incomplete character at the end, of which `waiting` bytes of text stand there.
    fn pending(&self, text: &str, waiting: usize) -> Result<Option<usize>> {
        if waiting == 0 {
            return Ok(Some(0));
        }
        let settled = &text[..text.len() - waiting];
        for ids in 1..self.ids.len().min(MANY / 4) {
            let (before, rest) = self.ids.split_at(self.ids.len() - ids);
            if self.tokenizer.decode_plain(before)? == settled
                && self.tokenizer.decode_plain(rest)? == text[settled.len()..]
            {
                return Ok(Some(ids));
            }
        }
        Ok(None)
    }

    /// Forgets ids before the last ones, if the text of these is the end of the whole text: of a
    /// first token, decoders take a space or a mark away.
    fn shorten(&mut self, text: &str) -> Result<()> {
        let waiting = text.len().saturating_sub(self.given);
        let count = self.ids.len();
        let Some(pending) = self.pending(text, waiting)? else { return Ok(()) };
        for at in (count.saturating_sub(MANY)..count - pending).rev() {
            let end = self.tokenizer.decode_plain(&self.ids[at..])?;
            if end.len() > waiting && text.ends_with(&end) {
                self.given = end.len() - waiting;
                self.ids.drain(..at);
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use crate::tokenizer::{Tokenizer, added_tokens, pretty};

    /// Pieces as Llama 2 has them: marks for blanks, bytes, and the first blank taken away.
    fn sentencepiece() -> Tokenizer {
        let words =
            ["<unk>", "▁", "▁hello", "▁world", "lo", "▁▁", "é", "<0xC3>", "<0xA9>", "<0x21>"];
        let vocab: serde_json::Map<_, _> =
            words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
        let json = json!({
            "version": "1.0", "added_tokens": added_tokens(&["<s>", "</s>"], words.len()),
            "normalizer": null, "pre_tokenizer": null, "post_processor": null,
            "decoder": { "type": "Sequence", "decoders": [
                { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
                { "type": "ByteFallback" }, { "type": "Fuse" },
                { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
            ] },
            "model": { "type": "BPE", "vocab": vocab, "merges": [], "unk_token": "<unk>" },
        });
        Tokenizer::from_json(pretty(&json), Vec::new(), "test").unwrap()
    }

    fn wordpiece() -> Tokenizer {
        let words = ["[UNK]", "the", "##re", "##'", ".", ",", "cat", "n't", "'", "s"];
        let vocab: serde_json::Map<_, _> =
            words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
        let json = json!({
            "version": "1.0", "added_tokens": added_tokens(&["[CLS]", "[SEP]"], words.len()),
            "normalizer": null, "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": null,
            "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": { "type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]",
                "continuing_subword_prefix": "##", "max_input_chars_per_word": 100 },
        });
        Tokenizer::from_json(pretty(&json), Vec::new(), "test").unwrap()
    }

    /// The text of a stream behind a prompt is the rest of what all ids decode to.
    fn check(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) {
        let mut stream = tokenizer.stream_after(prompt).unwrap();
        let mut text: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        text += &stream.finish().unwrap();
        let all = tokenizer.decode_plain(&[prompt, ids].concat()).unwrap();
        let before = tokenizer.decode_plain(prompt).unwrap();
        assert_eq!(format!("{before}{text}"), all, "{prompt:?} {ids:?}");
    }

    #[test]
    fn the_space_of_the_first_word_is_given() {
        let tokenizer = sentencepiece();
        let (hello, world, begin) = (2, 3, 10);
        let text = |prompt: &[u32]| tokenizer.stream_after(prompt).unwrap().push(world).unwrap();
        assert_eq!(text(&[hello]), " world");
        assert_eq!(text(&[begin, hello]), " world");
        // Of all ids it is the first word.
        assert_eq!((text(&[]), text(&[begin])), ("world".into(), "world".into()));
        // Behind a special token that is not shown.
        assert_eq!(text(&[hello, 11]), " world");
    }

    #[test]
    fn pieces_of_words_are_joined_and_marks_stay_close() {
        let tokenizer = wordpiece();
        let mut stream = tokenizer.stream_after(&[1]).unwrap();
        let shown: Vec<String> = [2, 6, 4].map(|id| stream.push(id).unwrap()).into();
        assert_eq!(shown, ["re", " cat", "."]);
    }

    #[test]
    fn bytes_that_are_no_text_are_given_once() {
        let tokenizer = Tokenizer::bytes(&["<s>"]).unwrap();
        let mut ids = vec![0x80; 100];
        ids.extend([0xc3, 0xa9, 0xff]);
        check(&tokenizer, &[0x21], &ids);
        let mut stream = tokenizer.stream();
        // All but the last one cannot become a character any more.
        let shown: Vec<String> = ids[98..101].iter().map(|&id| stream.push(id).unwrap()).collect();
        assert_eq!(shown, ["", "\u{fffd}", "\u{fffd}"]);
    }

    proptest! {
        #[test]
        fn a_stream_is_the_rest_of_all_ids(
            prompt in prop::collection::vec(0u32..12, 0..40),
            ids in prop::collection::vec(0u32..12, 0..90),
            bytes in prop::collection::vec(
                prop::sample::select(vec![0x21u32, 0xc3, 0xa9, 0xf0, 0x9f, 0x99, 0x82, 0x80, 256]), 0..90),
        ) {
            // A prompt is a text: its last character is whole.
            let mut whole = prompt.clone();
            while whole.last().is_some_and(|&id| id >= 7) {
                whole.pop();
            }
            check(&sentencepiece(), &whole, &ids);
            check(&wordpiece(), &prompt, &ids);
            check(&Tokenizer::bytes(&["<s>"]).unwrap(), &[0x21], &bytes);
        }
    }
}
