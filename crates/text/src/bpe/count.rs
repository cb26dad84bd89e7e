//! Distinct words and how often they occur, in little memory.

use xxhash_rust::xxh3::xxh3_64;

/// Words and their counts: one table of fixed slots over one string of bytes.
///
/// A distinct word takes its bytes and 32 to 64 bytes of the table.
#[derive(Default)]
pub(crate) struct WordCounts {
    slots: Vec<Slot>,
    bytes: Vec<u8>,
    words: usize,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    start: u64,
    length: u32,
    /// The upper half of the word's hash.
    tag: u32,
    /// 0 where the slot is free.
    count: u64,
}

impl WordCounts {
    /// The number of distinct words.
    pub(crate) fn len(&self) -> usize {
        self.words
    }

    /// The bytes of all distinct words.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Counts a word `count` more times.
    #[inline]
    pub(crate) fn add(&mut self, word: &[u8], count: u64) {
        if self.words * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let hash = xxh3_64(word);
        let tag = (hash >> 32) as u32;
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.count == 0 {
                *slot =
                    Slot { start: self.bytes.len() as u64, length: word.len() as u32, tag, count };
                self.bytes.extend_from_slice(word);
                self.words += 1;
                return;
            }
            if slot.tag == tag
                && slot.length as usize == word.len()
                && self.bytes[slot.start as usize..][..word.len()] == *word
            {
                slot.count += count;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Counts all words of another table, which is empty afterwards.
    pub(crate) fn absorb(&mut self, other: &mut Self) {
        if self.words == 0 {
            std::mem::swap(self, other);
            return;
        }
        for (word, count) in other.iter() {
            self.add(word, count);
        }
        other.slots.fill(Slot::default());
        other.bytes.clear();
        other.words = 0;
    }

    /// All words with their counts, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let taken = self.slots.iter().filter(|slot| slot.count > 0);
        taken.map(|slot| (&self.bytes[slot.start as usize..][..slot.length as usize], slot.count))
    }

    fn grow(&mut self) {
        let length = (self.slots.len() * 2).max(1 << 10);
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); length]);
        for slot in old.into_iter().filter(|slot| slot.count > 0) {
            let word = &self.bytes[slot.start as usize..][..slot.length as usize];
            let mut at = xxh3_64(word) as usize & (length - 1);
            while self.slots[at].count > 0 {
                at = (at + 1) & (length - 1);
            }
            self.slots[at] = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn counts_are_those_of_a_map() {
        let (mut counts, mut other) = (WordCounts::default(), WordCounts::default());
        let mut map = BTreeMap::new();
        for i in 0..20_000u64 {
            let word = (i * i % 3001).to_string();
            let counts = if i % 3 == 0 { &mut other } else { &mut counts };
            counts.add(word.as_bytes(), i % 4 + 1);
            *map.entry(word).or_insert(0) += i % 4 + 1;
        }
        counts.absorb(&mut other);
        let found: BTreeMap<String, u64> =
            counts.iter().map(|(w, n)| (String::from_utf8_lossy(w).into_owned(), n)).collect();
        assert_eq!(found, map);
        assert_eq!((counts.len(), other.len()), (map.len(), 0));
        assert_eq!(counts.bytes(), map.keys().map(String::len).sum::<usize>());
    }
}
