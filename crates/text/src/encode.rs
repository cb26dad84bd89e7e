//! Long texts in parts that are encoded on all threads and give the ids of the whole.

use super::documents::{MAX_DOCUMENT, Piece, Place};
use super::floor_boundary;
use super::tokenizer::Tokenizer;
use crate::error::{Result, TextError};

/// A text longer than this is encoded in parts of about half of it.
const LONG: usize = 1 << 20;

/// Characters before and after a cut that are encoded to see whether it changes anything.
const CONTEXT: usize = 128;

/// Places that are tried.
const TRIES: usize = 64;

/// A part of a document that is encoded by itself.
pub(super) struct Unit {
    pub(super) text: String,
    pub(super) place: Place,
    pub(super) begins: bool,
    pub(super) ends: bool,
    /// The held-out part begins after this.
    pub(super) divides: bool,
}

/// Cuts documents, as they come, into parts that are encoded by themselves.
pub(super) struct Cutter<'a> {
    tokenizer: &'a Tokenizer,
    /// The character at which a single text is divided.
    divide: Option<u64>,
    /// The text of a document that is not cut up yet.
    text: String,
    begun: bool,
    characters: u64,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, divide: None, text: String::new(), begun: false, characters: 0 }
    }

    /// Divides the next document at a character.
    pub(super) fn divide(&mut self, at: Option<u64>) {
        self.divide = at;
    }

    /// Takes a document's next piece.
    pub(super) fn push(&mut self, piece: &Piece, units: &mut Vec<Unit>) -> Result<()> {
        if piece.first {
            self.text.clear();
            (self.begun, self.characters) = (false, 0);
        }
        self.text.push_str(&piece.text);
        if let Some(divide) = self.divide {
            let left = divide.saturating_sub(self.characters) as usize;
            let at = self.text.char_indices().nth(left).map(|(at, _)| at);
            if let Some(at) = at {
                self.divide = None;
                units.push(Unit { divides: true, ..self.unit(at, piece.place) });
            }
        }
        while self.text.len() > LONG {
            match self.cut(piece)? {
                Some(at) => units.push(self.unit(at, piece.place)),
                // The next piece may hold a place to cut at.
                None if !piece.last => return Ok(()),
                None => break,
            }
        }
        if piece.last {
            units.push(Unit { ends: true, ..self.unit(self.text.len(), piece.place) });
        }
        Ok(())
    }

    /// The text up to a place.
    fn unit(&mut self, at: usize, place: Place) -> Unit {
        let rest = self.text.split_off(at);
        let text = std::mem::replace(&mut self.text, rest);
        if self.divide.is_some() {
            self.characters += text.chars().count() as u64;
        }
        let begins = !std::mem::replace(&mut self.begun, true);
        Unit { text, place, begins, ends: false, divides: false }
    }

    fn cut(&self, piece: &Piece) -> Result<Option<usize>> {
        let mut limit = LONG / 2;
        loop {
            if let Some(at) = neutral_cut(self.tokenizer, &self.text, limit)? {
                return Ok(Some(at));
            }
            if limit >= self.text.len() {
                break;
            }
            limit *= 2;
        }
        if self.text.len() > MAX_DOCUMENT && !piece.last {
            return Err(no_place(&self.tokenizer.kind().to_string()));
        }
        Ok(None)
    }
}

/// A place at which the text can be cut so that its two parts have the ids that the whole has,
/// before `limit`.
///
/// A candidate lies before a blank or mark between letters, where tokenizers end a word; whether
/// this one does is tried on the text around it, with the blank's whole neighbourhood of words in
/// sight.
fn neutral_cut(tokenizer: &Tokenizer, text: &str, limit: usize) -> Result<Option<usize>> {
    let limit = floor_boundary(text, limit);
    // Of the part before the limit, a half is enough to find a place in.
    let from = floor_boundary(text, limit / 2);
    let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut tries = 0;
    for (at, here) in text[from..limit].char_indices().rev() {
        let at = from + at;
        if here.is_alphanumeric()
            || !letter(text[at + here.len_utf8()..].chars().next())
            || !letter(text[from..at].chars().next_back())
        {
            continue;
        }
        if is_neutral(tokenizer, text, at)? {
            return Ok(Some(at));
        }
        tries += 1;
        if tries == TRIES {
            break;
        }
    }
    // Bytes and characters do not depend on their neighbours, unless they are within a special
    // token.
    let anywhere = tokenizer.is_simple() && limit > 0 && is_neutral(tokenizer, text, limit)?;
    Ok(anywhere.then_some(limit))
}

fn is_neutral(tokenizer: &Tokenizer, text: &str, at: usize) -> Result<bool> {
    let from = text[..at].char_indices().rev().nth(CONTEXT).map_or(0, |(i, _)| i);
    let to = text[at..].char_indices().nth(CONTEXT).map_or(text.len(), |(i, _)| at + i);
    let mut parts = tokenizer.encode(&text[from..at])?;
    parts.extend(tokenizer.encode(&text[at..to])?);
    Ok(parts == tokenizer.encode(&text[from..to])?)
}

fn no_place(kind: &str) -> TextError {
    TextError::corpus(
        format!(
            "{} MiB of text have no place at which this {kind} tokenizer would cut it in two",
            MAX_DOCUMENT >> 20
        ),
        "Say what stands between documents (data.document_separator).",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_ids_of_the_whole() {
        let text = "It's a word, and another one.\n\n  Übung macht 12 Meister 🙂 !\r\n".repeat(40);
        let characters = Tokenizer::characters(&text, &[]).unwrap();
        let cut = neutral_cut(&characters, &text, 1000).unwrap().unwrap();
        assert!((500..1000).contains(&cut), "{cut}");
        let mut ids = characters.encode(&text[..cut]).unwrap();
        ids.extend(characters.encode(&text[cut..]).unwrap());
        assert_eq!(ids, characters.encode(&text).unwrap());
    }

    #[test]
    fn a_text_without_a_place_is_left_whole() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("vocab.json"), r#"{"a":0,"aa":1,"Ġ":2}"#).unwrap();
        std::fs::write(folder.path().join("merges.txt"), "a a\n").unwrap();
        let pairs = Tokenizer::load(folder.path()).unwrap();
        for text in ["", "a", &"a".repeat(2000), &" ".repeat(2000)] {
            assert_eq!(neutral_cut(&pairs, text, 1000).unwrap(), None);
        }
        assert_eq!(neutral_cut(&pairs, &"aaa ".repeat(300), 1001).unwrap(), Some(999));
        let bytes = Tokenizer::bytes(&["<a>"]).unwrap();
        assert_eq!(neutral_cut(&bytes, &"é".repeat(2000), 1001).unwrap(), Some(1000));
        assert_eq!(neutral_cut(&bytes, &"<a>".repeat(2000), 1000).unwrap(), None);
    }
}
