//! Text that waits until it is certain not to be the beginning of a stop text.

use crate::error::Result;
use std::ops::Range;

/// Text that waits until it is certain not to be the beginning of a stop text.
///
/// Special tokens are part of it for stop texts alone: they are not given.
#[derive(Debug)]
pub(super) struct Held<'a> {
    stop: &'a [String],
    pub(super) given: String,
    waiting: String,
    /// The parts of `waiting` that are not given.
    hidden: Vec<Range<usize>>,
    pub(super) stopped: bool,
}

impl<'a> Held<'a> {
    pub(super) fn new(stop: &'a [String]) -> Self {
        Self {
            stop,
            given: String::new(),
            waiting: String::new(),
            hidden: Vec::new(),
            stopped: false,
        }
    }

    /// Takes text; behind a stop text nothing counts.
    pub(super) fn push(&mut self, text: &str) {
        if self.stopped {
            return;
        }
        self.waiting.push_str(text);
        let first = self.stop.iter().filter_map(|stop| self.waiting.find(stop.as_str())).min();
        if let Some(at) = first {
            self.waiting.truncate(at);
            self.stopped = true;
        }
    }

    /// Takes a special token.
    pub(super) fn push_hidden(&mut self, token: &str) {
        let start = self.waiting.len();
        self.hidden.push(start..start + token.len());
        self.push(token);
    }

    /// Gives what cannot become a stop text any more.
    pub(super) fn give(&mut self, on_text: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let mut len = self.waiting.len();
        if !self.stopped {
            let begins = |at: &usize| {
                let tail = &self.waiting[*at..];
                self.stop.iter().any(|stop| stop.starts_with(tail))
            };
            let starts = self.waiting.char_indices().map(|(at, _)| at);
            len = starts.into_iter().find(begins).unwrap_or(len);
        }
        let shown = |(at, _): &(usize, char)| !self.hidden.iter().any(|part| part.contains(at));
        let text: String =
            self.waiting[..len].char_indices().filter(shown).map(|(_, c)| c).collect();
        self.waiting.drain(..len);
        self.hidden.retain_mut(|part| {
            *part = part.start.saturating_sub(len)..part.end.saturating_sub(len);
            part.start < part.end
        });
        if !text.is_empty() {
            on_text(&text)?;
            self.given += &text;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, on_text: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        self.stopped = true;
        self.give(on_text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces that come out for those that go in.
    fn pieces(stop: &[&str], text: &[&str]) -> (Vec<String>, bool) {
        let stop: Vec<String> = stop.iter().map(|&s| s.to_owned()).collect();
        let mut held = Held::new(&stop);
        let mut out = Vec::new();
        let mut keep = |piece: &str| {
            out.push(piece.to_owned());
            Ok(())
        };
        for piece in text {
            // A special token in this test.
            match piece.strip_prefix('^') {
                Some(token) => held.push_hidden(token),
                None => held.push(piece),
            }
            held.give(&mut keep).unwrap();
            if held.stopped {
                return (out, true);
            }
        }
        held.finish(&mut keep).unwrap();
        (out, false)
    }

    #[test]
    fn text_waits_only_while_it_may_be_a_stop_text() {
        assert_eq!(
            pieces(&["END"], &["a E", "x", " END b"]),
            (vec!["a ".into(), "Ex".into(), " ".into()], true)
        );
        assert_eq!(pieces(&["END"], &["a EN"]), (vec!["a ".into(), "EN".into()], false));
        assert_eq!(pieces(&["é!", "\n\n"], &["é", "é", "!x"]), (vec!["é".into()], true));
        assert_eq!(pieces(&["<|turn|>"], &["ab", "^<|turn|>", "c"]), (vec!["ab".into()], true));
        // A stop text of both; other special tokens are not shown.
        assert_eq!(
            pieces(&["\n<|turn|>user"], &["a\n", "^<|end|>", "b\n", "^<|turn|>", "us", "er"]),
            (vec!["a".into(), "\n".into(), "b".into()], true)
        );
        assert_eq!(
            pieces(&["\n<|turn|>user"], &["a\n", "^<|turn|>", "we"]),
            (vec!["a".into(), "\nwe".into()], false)
        );
        assert_eq!(pieces(&[], &["a", "b"]), (vec!["a".into(), "b".into()], false));
    }
}
