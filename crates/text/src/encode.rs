//! Long texts in parts that are encoded on all threads and give the ids of the whole.

use super::documents::{Piece, Place};
use super::floor_boundary;
use super::tokenizer::Tokenizer;
use crate::error::Result;

/// A text longer than this is encoded in parts of about half of it.
const LONG: usize = 1 << 20;

/// Characters before and after a cut that are encoded to see whether it changes anything.
const CONTEXT: usize = 128;

/// Places that are tried.
const TRIES: usize = 64;

/// A text longer than this is cut even where no place is known to change nothing.
const LONGEST: usize = 4 << 20;

/// A part of a document that is encoded by itself.
pub(super) struct Unit {
    /// The part, behind the context that it is encoded in.
    text: String,
    /// The bytes of the context.
    context: usize,
    pub(super) place: Place,
    pub(super) begins: bool,
    pub(super) ends: bool,
    /// The held-out part begins after this.
    pub(super) divides: bool,
}

impl Unit {
    /// The part without its context.
    pub(super) fn text(&self) -> &str {
        &self.text[self.context..]
    }

    /// The ids of the part.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(super) fn encode(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let mut ids = tokenizer.encode(&self.text)?;
        if self.context > 0 {
            let before = tokenizer.encode(&self.text[..self.context])?.len();
            ids.drain(..before.min(ids.len()));
        }
        Ok(ids)
    }
}

/// Cuts documents, as they come, into parts that are encoded by themselves.
pub(super) struct Cutter<'a> {
    tokenizer: &'a Tokenizer,
    /// The character at which a single text is divided.
    divide: Option<u64>,
    /// The text of a document that is not cut up yet, behind its context.
    text: String,
    context: usize,
    begun: bool,
    characters: u64,
}

/// A place to cut at, and where the context of the second part begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    at: usize,
    context: usize,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        let (text, begun, characters) = (String::new(), false, 0);
        Self { tokenizer, divide: None, text, context: 0, begun, characters }
    }

    /// Divides the next document at a character.
    pub(super) fn divide(&mut self, at: Option<u64>) {
        self.divide = at;
    }

    /// Takes a document's next piece.
    pub(super) fn push(&mut self, piece: &Piece, units: &mut Vec<Unit>) -> Result<()> {
        if piece.first {
            self.text.clear();
            (self.context, self.begun, self.characters) = (0, false, 0);
        }
        self.text.push_str(&piece.text);
        if let Some(divide) = self.divide {
            let left = divide.saturating_sub(self.characters) as usize;
            let at = self.text[self.context..].char_indices().nth(left);
            if let Some((at, _)) = at {
                self.divide = None;
                let at = self.context + at;
                units.push(Unit {
                    divides: true,
                    ..self.unit(Cut { at, context: at }, piece.place)
                });
            }
        }
        while self.text.len() > LONG {
            match self.cut()? {
                Some(cut) => units.push(self.unit(cut, piece.place)),
                // The next piece may hold a place to cut at.
                None if !piece.last => return Ok(()),
                None => break,
            }
        }
        if piece.last {
            let at = self.text.len();
            units.push(Unit { ends: true, ..self.unit(Cut { at, context: at }, piece.place) });
        }
        Ok(())
    }

    /// The text up to a place.
    fn unit(&mut self, cut: Cut, place: Place) -> Unit {
        let rest = self.text[cut.context..].to_owned();
        self.text.truncate(cut.at);
        let text = std::mem::replace(&mut self.text, rest);
        let context = std::mem::replace(&mut self.context, cut.at - cut.context);
        if self.divide.is_some() {
            self.characters += text[context..].chars().count() as u64;
        }
        let begins = !std::mem::replace(&mut self.begun, true);
        Unit { text, context, place, begins, ends: false, divides: false }
    }

    /// A place to cut at: one that changes nothing, or any one of a text that is very long.
    fn cut(&self) -> Result<Option<Cut>> {
        let mut limit = LONG / 2;
        loop {
            if let Some(cut) = neutral_cut(self.tokenizer, &self.text, limit)? {
                return Ok(Some(cut));
            }
            if limit >= self.text.len() {
                break;
            }
            limit *= 2;
        }
        if self.text.len() <= LONGEST {
            return Ok(None);
        }
        let at = floor_boundary(&self.text, LONGEST / 2);
        Ok(Some(Cut { at, context: at }))
    }
}

/// A place before `limit` at which the text can be cut so that its two parts have the ids that the
/// whole has.
///
/// A candidate lies before a blank or mark between letters, where tokenizers end a word; whether
/// this one does is tried on the text around it, with the blank's whole neighbourhood of words in
/// sight.
fn neutral_cut(tokenizer: &Tokenizer, text: &str, limit: usize) -> Result<Option<Cut>> {
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
        let cut = neutral(tokenizer, text, at)?;
        if cut.is_some() {
            return Ok(cut);
        }
        tries += 1;
        if tries == TRIES {
            break;
        }
    }
    // Bytes and characters do not depend on their neighbours, unless they are within a special
    // token.
    if tokenizer.is_simple() && limit > 0 { neutral(tokenizer, text, limit) } else { Ok(None) }
}

/// The cut at this place, if it changes nothing: alone, or with some text before the second part,
/// where a tokenizer begins a text with a mark of its own.
fn neutral(tokenizer: &Tokenizer, text: &str, at: usize) -> Result<Option<Cut>> {
    let before =
        |characters| text[..at].char_indices().rev().nth(characters).map_or(0, |(place, _)| place);
    let from = before(CONTEXT);
    let to = text[at..].char_indices().nth(CONTEXT).map_or(text.len(), |(i, _)| at + i);
    let left = tokenizer.encode(&text[from..at])?;
    let whole = tokenizer.encode(&text[from..to])?;
    let Some(right) = whole.strip_prefix(left.as_slice()) else { return Ok(None) };
    if tokenizer.encode(&text[at..to])? == right {
        return Ok(Some(Cut { at, context: at }));
    }
    let context = before(CONTEXT / 2);
    let begin = tokenizer.encode(&text[context..at])?;
    let with = tokenizer.encode(&text[context..to])?;
    let same = with.strip_prefix(begin.as_slice()) == Some(right);
    Ok(same.then_some(Cut { at, context }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tokenizer: &Tokenizer, text: &str, limit: usize) -> Option<usize> {
        neutral_cut(tokenizer, text, limit).unwrap().map(|cut| cut.at)
    }

    /// The ids of a document that comes in pieces of a megabyte.
    fn in_parts(tokenizer: &Tokenizer, text: &str) -> (Vec<u32>, usize) {
        let (mut cutter, mut units) = (Cutter::new(tokenizer), Vec::new());
        let mut from = 0;
        while from < text.len() {
            let to = floor_boundary(text, from + (1 << 20));
            let (first, last) = (from == 0, to == text.len());
            let piece = Piece {
                text: text[from..to].into(),
                first,
                last,
                broken: false,
                place: Place::default(),
            };
            cutter.push(&piece, &mut units).unwrap();
            // What waits for a place to cut at stays short.
            assert!(cutter.text.len() <= LONGEST + (1 << 20));
            from = to;
        }
        let parts: String = units.iter().map(Unit::text).collect();
        assert!(parts == text);
        (units.iter().flat_map(|unit| unit.encode(tokenizer).unwrap()).collect(), units.len())
    }

    #[test]
    fn a_tokenizer_that_begins_each_text_with_a_mark_is_cut_in_context() {
        // As Llama 2: a blank before the text, blanks as marks, and no words.
        let tokens = ["<unk>", "▁", "a", "b", "▁a", "▁b", "▁▁"];
        let vocab: serde_json::Map<_, _> =
            tokens.iter().enumerate().map(|(id, t)| ((*t).to_owned(), id.into())).collect();
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [], "pre_tokenizer": null, "post_processor": null,
            "normalizer": { "type": "Sequence", "normalizers": [
                { "type": "Prepend", "prepend": "▁" },
                { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
            ] },
            "decoder": null,
            "model": { "type": "BPE", "vocab": vocab, "unk_token": "<unk>",
                "merges": ["▁ a", "▁ b", "▁ ▁"] },
        });
        let llama = Tokenizer::from_json(json.to_string(), Vec::new(), "test").unwrap();
        let text = "ab a  b ba ".repeat(150_000);
        let (ids, parts) = in_parts(&llama, &text);
        assert!(parts > 1 && ids == llama.encode(&text).unwrap());
    }

    #[test]
    fn a_word_of_many_megabytes_is_cut_somewhere() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("vocab.json"), r#"{"a":0,"aa":1,"Ġ":2}"#).unwrap();
        std::fs::write(folder.path().join("merges.txt"), "a a\n").unwrap();
        let pairs = Tokenizer::load(folder.path()).unwrap();
        let (ids, parts) = in_parts(&pairs, &"a".repeat(9 << 20));
        assert!(parts >= 3 && ids.len() <= (9 << 19) + parts, "{parts}");
    }

    #[test]
    fn parts_have_the_ids_of_the_whole() {
        let text = "It's a word, and another one.\n\n  Übung macht 12 Meister 🙂 !\r\n".repeat(40);
        let characters = Tokenizer::characters(&text, &[]).unwrap();
        let cut = neutral_cut(&characters, &text, 1000).unwrap().unwrap().at;
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
            assert_eq!(at(&pairs, text, 1000), None);
        }
        assert_eq!(at(&pairs, &"aaa ".repeat(300), 1001), Some(999));
        let bytes = Tokenizer::bytes(&["<a>"]).unwrap();
        assert_eq!(at(&bytes, &"é".repeat(2000), 1001), Some(1000));
        assert_eq!(at(&bytes, &"<a>".repeat(2000), 1000), None);
    }
}
