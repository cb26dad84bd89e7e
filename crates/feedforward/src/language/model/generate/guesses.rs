//! Guesses of the next tokens.

/// Guesses of the next tokens: those behind the same last tokens earlier in the text (Leviathan et
/// al., "Speculative decoding", 2023; Saxena, "Prompt lookup decoding", 2023).
pub(super) struct Guesses {
    /// How many are made at once.
    count: usize,
    /// How many tokens to write without guesses after a wrong one.
    pause: usize,
    /// How many of these are left.
    left: usize,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { count: Self::MOST / 2, pause: 0, left: 0 }
    }
}

impl Guesses {
    pub(super) const MOST: usize = 8;
    const LONGEST_PAUSE: usize = 31;

    /// At most `room` guesses of what follows a text.
    pub(super) fn next(&mut self, context: &[u32], room: usize) -> Vec<u32> {
        if self.left > 0 {
            self.left -= 1;
            return Vec::new();
        }
        let count = self.count.min(room);
        for n in [3, 2] {
            let Some(start) = context.len().checked_sub(n) else { continue };
            let (before, last) = (&context[..context.len() - 1], &context[start..]);
            if let Some(at) = before.windows(n).rposition(|tokens| tokens == last) {
                return context[at + n..].iter().take(count).copied().collect();
            }
        }
        Vec::new()
    }

    /// Takes note of how many guesses were right: more of them after right ones, a pause after
    /// wrong ones.
    pub(super) fn found(&mut self, right: usize, guessed: usize) {
        if right > 0 {
            self.pause = 0;
            self.count = (if right == guessed { 2 * right } else { right }).clamp(2, Self::MOST);
        } else if guessed > 0 {
            self.pause = (2 * self.pause + 1).min(Self::LONGEST_PAUSE);
            self.left = self.pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_follow_the_text_and_rest_after_wrong_ones() {
        let mut guesses = Guesses::default();
        let text = [9, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3];
        assert_eq!(guesses.next(&text, 100), [4, 5, 6, 7]);
        assert_eq!(guesses.next(&text, 3), [4, 5, 6]);
        // The last place of two tokens, where there is none of three.
        assert_eq!(guesses.next(&[1, 2, 5, 1, 2, 6, 0, 1, 2], 2), [6, 0]);
        assert!(guesses.next(&[1, 2, 3], 5).is_empty());
        assert!(guesses.next(&[1], 5).is_empty());
        // A text that repeats one token follows itself.
        assert_eq!(guesses.next(&[7, 7, 7, 7], 5), [7]);
        guesses.found(4, 4);
        assert_eq!(guesses.next(&text, 100).len(), 7);
        for pause in [1, 3, 7] {
            guesses.found(0, 2);
            for _ in 0..pause {
                assert!(guesses.next(&text, 100).is_empty());
            }
            assert!(!guesses.next(&text, 100).is_empty());
        }
        guesses.found(1, 4);
        assert_eq!(guesses.next(&text, 100).len(), 2);
    }
}
