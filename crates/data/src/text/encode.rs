//! Long texts in parts that are encoded on all threads and give the ids of the whole.

use super::floor_boundary;
use super::tokenizer::Tokenizer;
use crate::error::Result;

/// A text longer than this is encoded in parts of about half of it.
pub(super) const LONG: usize = 1 << 20;

/// Characters before and after a cut that are encoded to see whether it changes anything.
const CONTEXT: usize = 128;

/// Places that are tried.
const TRIES: usize = 64;

/// A place at which the text can be cut so that its two parts have the ids that the whole has, before `limit`.
///
/// A candidate lies before a blank or mark between letters, where tokenizers end a word; whether this one does is
/// tried on the text around it, with the blank's whole neighbourhood of words in sight.
pub(super) fn neutral_cut(
    tokenizer: &Tokenizer,
    text: &str,
    limit: usize,
) -> Result<Option<usize>> {
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
    // Bytes and characters do not depend on their neighbours, unless they are within a special token.
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
