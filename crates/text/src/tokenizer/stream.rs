use super::Tokenizer;
use crate::error::Result;

/// Text as its ids come: a character of several tokens waits for its last one.
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
    /// The ids whose text depends on each other: those given last and those that wait.
    ids: Vec<u32>,
    /// The number of them given.
    given: usize,
}

/// More waiting ids than any character has: what they hold is no UTF-8.
const PATIENCE: usize = 8;

impl TextStream {
    pub(super) fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, ids: Vec::new(), given: 0 }
    }

    /// The text that this id completes; empty if a character is still incomplete.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        self.take(false)
    }

    /// The pending bytes: the beginning of an incomplete character.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<String> {
        self.take(true)
    }

    fn take(&mut self, all: bool) -> Result<String> {
        // Ids are decoded after those given last, because a first token may lose its space.
        let before = self.tokenizer.decode_plain(&self.ids[..self.given])?;
        let text = self.tokenizer.decode_plain(&self.ids)?;
        let waiting = self.ids.len() - self.given;
        if text.ends_with(char::REPLACEMENT_CHARACTER) && waiting < PATIENCE && !all {
            return Ok(String::new());
        }
        let new = text.strip_prefix(&before).unwrap_or(&text).to_owned();
        self.ids.drain(..self.given);
        self.given = self.ids.len();
        Ok(new)
    }
}
