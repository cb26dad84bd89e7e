//! Text into words, within which pairs are merged: the field's regular expressions as loops over
//! characters.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokenizers::utils::SysRegex;

use crate::tokenizer::byte_level;

/// How text is divided into words before pairs are merged.
///
/// ```
/// use ff_text::Pretokenizer;
///
/// let words = |how: Pretokenizer| how.words("it's  2026\n").collect::<Vec<_>>();
/// assert_eq!(words(Pretokenizer::Gpt2), ["it", "'s", " ", " 2026", "\n"]);
/// assert_eq!(words(Pretokenizer::Llama3), ["it", "'s", " ", " ", "202", "6", "\n"]);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Pretokenizer {
    /// GPT-2's: letters, digits and marks apart, each with a space before it.
    #[default]
    Gpt2,
    /// Llama 3's: digits in threes, a mark stays with the letters behind it, line ends apart.
    Llama3,
    /// Qwen 2's: as Llama 3's with each digit by itself.
    Qwen2,
}

impl Pretokenizer {
    /// The words of a text; one after the other they are the text.
    pub fn words(self, text: &str) -> impl Iterator<Item = &str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (word, later) = rest.split_at(self.first_word(rest));
            rest = later;
            Some(word)
        })
    }

    /// The regular expression that finds the same words.
    pub fn pattern(self) -> &'static str {
        match self {
            Self::Gpt2 => {
                r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
            }
            Self::Llama3 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            Self::Qwen2 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
        }
    }

    /// The same in a `tokenizer.json`, the byte level included.
    pub(crate) fn json(self) -> Value {
        if self == Self::Gpt2 {
            return byte_level(true);
        }
        json!({ "type": "Sequence", "pretokenizers": [
            {
                "type": "Split", "pattern": { "Regex": self.pattern() }, "behavior": "Isolated", "invert": false,
            },
            byte_level(false),
        ] })
    }

    /// The one that a `tokenizer.json` names, if it is one of these on the byte level.
    pub(crate) fn of_json(json: &Value) -> Option<Self> {
        let byte_level = |json: &Value, regex: bool| {
            json["type"] == "ByteLevel"
                && json["add_prefix_space"] == false
                && json["use_regex"].as_bool().unwrap_or(true) == regex
        };
        if byte_level(json, true) {
            return Some(Self::Gpt2);
        }
        let [split, bytes] = json["pretokenizers"].as_array()?.as_slice() else { return None };
        let isolated =
            split["type"] == "Split" && split["behavior"] == "Isolated" && split["invert"] == false;
        let pattern =
            split["pattern"]["Regex"].as_str().filter(|_| isolated && byte_level(bytes, false))?;
        [Self::Gpt2, Self::Llama3, Self::Qwen2].into_iter().find(|how| how.pattern() == pattern)
    }

    /// The end of the first word of a text that is not empty.
    #[inline]
    fn first_word(self, text: &str) -> usize {
        match self {
            Self::Gpt2 => gpt2(text),
            Self::Llama3 => llama3(text, 3),
            Self::Qwen2 => llama3(text, 1),
        }
    }
}

/// The character classes of the expressions.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    /// Anything else.
    Mark,
    Letter,
    Number,
    Space,
}

/// The class of each character, as the expressions' own engine sees it.
struct Classes(Vec<Class>);

impl Classes {
    fn get() -> &'static Self {
        static CLASSES: OnceLock<Classes> = OnceLock::new();
        CLASSES.get_or_init(|| {
            let all: String = ('\0'..=char::MAX).collect();
            let mut classes = vec![Class::Mark; char::MAX as usize + 1];
            let named =
                [(r"\p{L}+", Class::Letter), (r"\p{N}+", Class::Number), (r"\s+", Class::Space)];
            for (pattern, class) in named {
                // The three patterns are valid; without one of them its class would be empty.
                let Ok(regex) = SysRegex::new(pattern) else { continue };
                for (start, end) in regex.find_iter(&all) {
                    all[start..end].chars().for_each(|c| classes[c as usize] = class);
                }
            }
            Classes(classes)
        })
    }

    /// The class and length of the character at a place; a space behind the end.
    #[inline]
    fn at(&self, text: &str, at: usize) -> (Class, usize) {
        match text.as_bytes().get(at) {
            None => (Class::Space, 0),
            Some(&byte) if byte < 0x80 => (self.0[usize::from(byte)], 1),
            Some(_) => {
                let c = text[at..].chars().next().unwrap_or(' ');
                (self.0[c as usize], c.len_utf8())
            }
        }
    }

    /// The end of the characters of a class from a place on.
    #[inline]
    fn run(&self, text: &str, mut at: usize, class: Class) -> usize {
        loop {
            match self.at(text, at) {
                (found, length) if found == class && length > 0 => at += length,
                _ => return at,
            }
        }
    }
}

fn gpt2(text: &str) -> usize {
    let classes = Classes::get();
    let bytes = text.as_bytes();
    let first = bytes[0];
    if first == b'\'' {
        match &bytes[1..] {
            [b's' | b't' | b'm' | b'd', ..] => return 2,
            [b'r' | b'v', b'e', ..] | [b'l', b'l', ..] => return 3,
            _ => {}
        }
    }
    let from = usize::from(first == b' ');
    match classes.at(text, from) {
        (Class::Space, _) => spaces(classes, text),
        (class, length) => classes.run(text, from + length, class),
    }
}

fn llama3(text: &str, digits: usize) -> usize {
    let classes = Classes::get();
    let bytes = text.as_bytes();
    let (class, length) = classes.at(text, 0);
    if bytes[0] == b'\''
        && let Some(end) = contraction(text)
    {
        return end;
    }
    match class {
        Class::Letter => return classes.run(text, length, Class::Letter),
        Class::Number => {
            let mut end = length;
            for _ in 1..digits {
                match classes.at(text, end) {
                    (Class::Number, length) => end += length,
                    _ => break,
                }
            }
            return end;
        }
        Class::Mark | Class::Space => {}
    }
    if !matches!(bytes[0], b'\r' | b'\n') && classes.at(text, length).0 == Class::Letter {
        return classes.run(text, length, Class::Letter);
    }
    let from = usize::from(bytes[0] == b' ');
    if let (Class::Mark, length) = classes.at(text, from) {
        let end = classes.run(text, from + length, Class::Mark);
        let line_ends = bytes[end..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        return end + line_ends.count();
    }
    let end = classes.run(text, 0, Class::Space);
    match bytes[..end].iter().rposition(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(last) => last + 1,
        None => spaces(classes, text),
    }
}

/// `\s+(?!\S)|\s+`: all blanks but the last, which belongs to what follows; or the only one.
fn spaces(classes: &Classes, text: &str) -> usize {
    let end = classes.run(text, 0, Class::Space);
    if end == text.len() {
        return end;
    }
    let last = text[..end].chars().next_back().map_or(0, char::len_utf8);
    if end > last { end - last } else { end }
}

/// The end of an English contraction in letters of either case; the long s is an s as well.
fn contraction(text: &str) -> Option<usize> {
    let mut letters = text[1..].chars();
    let first = letters.next()?;
    match first {
        's' | 'S' | '\u{17f}' | 't' | 'T' | 'm' | 'M' | 'd' | 'D' => Some(1 + first.len_utf8()),
        'r' | 'R' | 'v' | 'V' => matches!(letters.next(), Some('e' | 'E')).then_some(3),
        'l' | 'L' => matches!(letters.next(), Some('l' | 'L')).then_some(3),
        _ => None,
    }
}

/// The last place before `limit`, and behind its half, at which a word begins whatever surrounds
/// it: behind a letter or number, before anything else.
pub(crate) fn word_border(text: &str, limit: usize) -> Option<usize> {
    let classes = Classes::get();
    let limit = limit.min(text.len());
    let mut at = limit;
    let mut behind_is_other = false;
    while at > limit / 2 {
        at -= 1;
        if !text.is_char_boundary(at) {
            continue;
        }
        let (class, length) = classes.at(text, at);
        let other = !matches!(class, Class::Letter | Class::Number);
        if behind_is_other && !other {
            return Some(at + length);
        }
        behind_is_other = other && at + length <= limit;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Pretokenizer; 3] = [Pretokenizer::Gpt2, Pretokenizer::Llama3, Pretokenizer::Qwen2];

    fn by_regex(how: Pretokenizer, text: &str) -> Vec<&str> {
        let regex = SysRegex::new(how.pattern()).unwrap();
        regex.find_iter(text).map(|(start, end)| &text[start..end]).collect()
    }

    proptest! {
        #[test]
        fn words_are_those_of_the_expressions(
            text in "([a-zA-Z'sStTmMdDrReEvVlLſ0-9 \t\r\n.,!()\u{a0}\u{301}äßЖ漢字٣Ⅷ½🙂'-]|'(s|RE|vE|ll)| {1,3}|\r\n|\\PC){0,40}"
        ) {
            for how in ALL {
                let words: Vec<&str> = how.words(&text).collect();
                prop_assert_eq!(&words, &by_regex(how, &text), "{:?}", how);
            }
        }

        #[test]
        fn a_text_may_be_cut_at_a_border(text in "[a-c1 '\\.\n\u{301}é]{0,40}", limit in 0usize..60) {
            if let Some(at) = word_border(&text, limit) {
                for how in ALL {
                    let parts: Vec<&str> = how.words(&text[..at]).chain(how.words(&text[at..])).collect();
                    prop_assert_eq!(parts, how.words(&text).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn borders_are_found() {
        assert_eq!(word_border("some words here", 12), Some(10));
        assert_eq!(word_border("some words here", 100), Some(10));
        assert_eq!(word_border("someverylongword", 12), None);
        assert_eq!(word_border("漢字漢字漢字。漢", 24), Some(18));
    }
}
