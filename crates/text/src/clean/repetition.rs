//! Shares of a text that repeat or are no words (the rules of Gopher's data, Rae et al. 2021).

use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The share of characters that are no letter, digit or blank.
pub(super) fn symbols(text: &str) -> f64 {
    let (mut symbols, mut all) = (0u64, 0u64);
    for c in text.chars() {
        all += 1;
        symbols += u64::from(!c.is_alphanumeric() && !c.is_whitespace());
    }
    share(symbols, all)
}

/// The share of lines, blank ones aside, that repeat an earlier line.
pub(super) fn repeated_lines(text: &str) -> f64 {
    let mut seen = HashSet::new();
    let (mut repeated, mut all) = (0, 0);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        all += 1;
        repeated += u64::from(!seen.insert(xxh3_64(line.as_bytes())));
    }
    share(repeated, all)
}

/// The share of the words' bytes that the most frequent sequence of so many words covers, if it
/// occurs more than once.
pub(super) fn top_ngram(text: &str, words: usize) -> f64 {
    let all: Vec<&str> = text.split_whitespace().collect();
    let total: usize = all.iter().map(|word| word.len()).sum();
    let mut counts: HashMap<u64, (u64, usize)> = HashMap::new();
    for ngram in all.windows(words) {
        let entry = counts.entry(hash(ngram)).or_insert((0, 0));
        *entry = (entry.0 + 1, ngram.iter().map(|word| word.len()).sum());
    }
    let covered = counts.values().filter(|(count, _)| *count > 1);
    let top = covered.map(|(count, bytes)| count * *bytes as u64).max();
    // Sequences that overlap themselves cover less than all their occurrences together.
    share(top.unwrap_or(0).min(total as u64), total as u64)
}

/// A hash of words in order.
pub(super) fn hash(words: &[&str]) -> u64 {
    let mut hasher = Xxh3::new();
    for word in words {
        hasher.update(word.as_bytes());
        hasher.update(b" ");
    }
    hasher.digest()
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_definitions() {
        assert_eq!(symbols("ab !"), 0.25);
        assert_eq!((symbols(""), symbols("漢字é1")), (0.0, 0.0));
        assert_eq!(repeated_lines("a\nb\n a\r\n\n\na\n"), 0.5);
        assert_eq!(repeated_lines(""), 0.0);
        assert_eq!(top_ngram("go on go on and out", 2), 8.0 / 14.0);
        assert_eq!(top_ngram("all of these differ", 2), 0.0);
        assert_eq!((top_ngram("a a a a", 2), top_ngram("a", 2)), (1.0, 0.0));
    }
}
