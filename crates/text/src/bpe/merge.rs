//! The most frequent pair, merged again and again.

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::count::WordCounts;

/// The learned merges.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Merges {
    /// The bytes of each token: those of the beginning, then a token a merge.
    pub(crate) tokens: Vec<Vec<u8>>,
    /// The two tokens that became one, for each merge.
    pub(crate) pairs: Vec<(u32, u32)>,
}

/// Words as the tokens that merges begin with.
pub(crate) struct Units {
    tokens: Vec<Vec<u8>>,
    words: Vec<Word>,
    /// The tokens of all words.
    ids: Vec<u32>,
    /// What a token begins with that is no beginning of a word.
    prefix: &'static str,
}

impl Units {
    /// The 256 bytes.
    pub(crate) fn bytes(counts: &WordCounts) -> Self {
        let tokens = (0..=255).map(|byte| vec![byte]).collect();
        let mut units = Self::new(tokens, counts, "");
        for (word, count) in counts.iter().filter(|(word, _)| word.len() > 1) {
            units.push(word.iter().map(|&byte| u32::from(byte)), count);
        }
        units
    }

    /// The characters in the order of their code points, then those that stand within words, with
    /// the prefix.
    pub(crate) fn pieces(counts: &WordCounts, prefix: &'static str) -> Self {
        let text = |word| std::str::from_utf8(word).unwrap_or_default();
        let (mut all, mut within) = (BTreeSet::new(), BTreeSet::new());
        for (word, _) in counts.iter() {
            all.extend(text(word).chars());
            within.extend(text(word).chars().skip(1));
        }
        let alone = all.iter().map(char::to_string);
        let marked = within.iter().map(|c| format!("{prefix}{c}"));
        let tokens = alone.chain(marked).map(String::into_bytes).collect();
        let number = |chars: BTreeSet<char>, first: usize| -> HashMap<char, u32> {
            chars.into_iter().zip(first as u32..).collect()
        };
        let (count, mut units) = (all.len(), Self::new(tokens, counts, prefix));
        let (all, within) = (number(all, 0), number(within, count));
        for (word, count) in counts.iter() {
            let chars = text(word).chars().enumerate();
            let id = |(i, c): (usize, char)| if i == 0 { all[&c] } else { within[&c] };
            units.push(chars.map(id), count);
        }
        units
    }

    fn new(tokens: Vec<Vec<u8>>, counts: &WordCounts, prefix: &'static str) -> Self {
        let words = Vec::with_capacity(counts.len());
        Self { tokens, words, ids: Vec::with_capacity(counts.bytes()), prefix }
    }

    fn push(&mut self, ids: impl Iterator<Item = u32>, count: u64) {
        let start = self.ids.len();
        self.ids.extend(ids);
        self.words.push(Word { start, length: (self.ids.len() - start) as u32, count });
    }
}

/// Learns merges until there are `tokens` tokens, or no pair occurs `min_frequency` times.
///
/// Each step merges the pair that occurs most often; of pairs that occur equally often, the greater
/// one: that whose left token's bytes are the greater, then whose right token's are (Sennrich's
/// subword-nmt, `max(stats, key=lambda x: (stats[x], x))`). Occurrences are counted by neighbours,
/// so that `aaa` holds `aa` twice, and merged from the left. Tokens of `reserved` bytes are not
/// made. `tokens` counts those of the beginning too. `progress` is called with the number of tokens
/// now and then.
///
/// For every pair there is a list of the words that held it when it arose, and a heap knows the
/// greatest count; a merge visits the words of its pair's list alone. Counts only fall once a pair
/// exists, so an entry of the heap that is too high is put back with the count of now. Words are
/// visited in any order: the counts are sums.
pub(crate) fn learn(
    units: Units,
    tokens: usize,
    min_frequency: u64,
    reserved: &[&str],
    progress: &mut dyn FnMut(usize),
) -> Merges {
    let Units { tokens: alphabet, words, ids, prefix } = units;
    let mut state = State::new(words, ids);
    let mut known: HashSet<Vec<u8>> =
        reserved.iter().map(|token| token.as_bytes().to_vec()).collect();
    let mut merges = Merges { tokens: alphabet, pairs: Vec::new() };
    let mut heap: BinaryHeap<Candidate> = BinaryHeap::new();
    let all: Vec<u32> = (0..state.pairs.len() as u32).collect();
    state.push(&all, &merges.tokens, &mut heap);
    while merges.tokens.len() < tokens
        && let Some(top) = heap.pop()
    {
        let pair = &state.pairs[top.pair as usize];
        if pair.count < top.count {
            if pair.count >= min_frequency.max(1) {
                heap.push(Candidate { count: pair.count, ..top });
            }
            continue;
        }
        if pair.count < min_frequency.max(1) {
            break;
        }
        let right = top.right.strip_prefix(prefix.as_bytes()).unwrap_or(&top.right);
        let bytes = [&top.left, right].concat();
        if !known.insert(bytes.clone()) {
            continue;
        }
        let new = merges.tokens.len() as u32;
        merges.pairs.push((pair.left, pair.right));
        merges.tokens.push(bytes);
        let arisen = state.merge(top.pair, new);
        state.push(&arisen, &merges.tokens, &mut heap);
        if new.is_multiple_of(64) {
            progress(new as usize);
        }
    }
    merges
}

/// A pair and how often it occurred when it was put on the heap.
#[derive(PartialEq, Eq)]
struct Candidate {
    count: u64,
    left: Box<[u8]>,
    right: Box<[u8]>,
    pair: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.count
            .cmp(&other.count)
            .then_with(|| self.left.cmp(&other.left))
            .then_with(|| self.right.cmp(&other.right))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Two neighbours, how often they occur, and the words that held them when they first became
/// neighbours.
struct Pair {
    left: u32,
    right: u32,
    count: u64,
    words: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Word {
    start: usize,
    length: u32,
    count: u64,
}

struct State {
    words: Vec<Word>,
    /// The tokens of all words; a word that shrinks leaves a gap behind it.
    tokens: Vec<u32>,
    pairs: Vec<Pair>,
    numbers: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
}

impl State {
    fn new(words: Vec<Word>, tokens: Vec<u32>) -> Self {
        let mut state = Self { words, tokens, pairs: Vec::new(), numbers: HashMap::default() };
        // Counted first, so that no list takes more memory than it needs.
        let mut places: Vec<u32> = Vec::new();
        for index in 0..state.words.len() {
            let Word { start, length, .. } = state.words[index];
            for at in start + 1..start + length as usize {
                let number = state.number(state.tokens[at - 1], state.tokens[at]) as usize;
                places.resize(state.pairs.len(), 0);
                places[number] += 1;
            }
        }
        for (pair, places) in state.pairs.iter_mut().zip(places) {
            pair.words.reserve_exact(places as usize);
        }
        for (index, word) in state.words.iter().enumerate() {
            let tokens = &state.tokens[word.start..][..word.length as usize];
            for pair in tokens.windows(2) {
                let number = state.numbers[&key(pair[0], pair[1])];
                state.pairs[number as usize].add(index as u32, word.count);
            }
        }
        state
    }

    /// The number of a pair, which exists from now on.
    fn number(&mut self, left: u32, right: u32) -> u32 {
        let next = self.pairs.len() as u32;
        let number = *self.numbers.entry(key(left, right)).or_insert(next);
        if number == next {
            self.pairs.push(Pair { left, right, count: 0, words: Vec::new() });
        }
        number
    }

    /// Merges a pair in all words that hold it; the numbers of the pairs that arose.
    fn merge(&mut self, pair: u32, new: u32) -> Vec<u32> {
        let merged = &mut self.pairs[pair as usize];
        merged.count = 0;
        let (left, right) = (merged.left, merged.right);
        let places = std::mem::take(&mut merged.words);
        self.numbers.remove(&key(left, right));
        let first = self.pairs.len() as u32;
        // The neighbours of the new token, and the pairs with them.
        let mut before: Neighbours = HashMap::default();
        let mut behind: Neighbours = HashMap::default();
        let mut twice: Option<u32> = None;
        for index in places {
            let word = &mut self.words[index as usize];
            let count = word.count;
            let tokens = &mut self.tokens[word.start..][..word.length as usize];
            let (mut from, mut to) = (0, 0);
            let mut after_new = false;
            while from < tokens.len() {
                let here = tokens[from] == left && tokens.get(from + 1) == Some(&right);
                if !here {
                    tokens[to] = tokens[from];
                    (from, to, after_new) = (from + 1, to + 1, false);
                    continue;
                }
                if after_new {
                    // The right token of the merge before and the left one of this were neighbours.
                    let number = *twice.get_or_insert_with(|| {
                        self.pairs.push(Pair {
                            left: new,
                            right: new,
                            count: 0,
                            words: Vec::new(),
                        });
                        self.pairs.len() as u32 - 1
                    });
                    self.pairs[number as usize].add(index, count);
                } else if to > 0 {
                    let neighbour = tokens[to - 1];
                    arise(&mut before, &mut self.pairs, neighbour, (neighbour, new), index, count);
                }
                let next_merges =
                    tokens.get(from + 2) == Some(&left) && tokens.get(from + 3) == Some(&right);
                if !next_merges && let Some(&neighbour) = tokens.get(from + 2) {
                    arise(&mut behind, &mut self.pairs, neighbour, (new, neighbour), index, count);
                }
                tokens[to] = new;
                (from, to, after_new) = (from + 2, to + 1, true);
            }
            word.length = to as u32;
        }
        // Each pair that arose took the place of one that is now rarer.
        for (neighbour, number) in before {
            let count = self.pairs[number as usize].count;
            self.lower(neighbour, left, count);
        }
        for (neighbour, number) in behind {
            let count = self.pairs[number as usize].count;
            self.lower(right, neighbour, count);
        }
        if let Some(number) = twice {
            let count = self.pairs[number as usize].count;
            self.lower(right, left, count);
        }
        for number in first..self.pairs.len() as u32 {
            let Pair { left, right, .. } = self.pairs[number as usize];
            self.numbers.insert(key(left, right), number);
        }
        (first..self.pairs.len() as u32).collect()
    }

    fn lower(&mut self, left: u32, right: u32, count: u64) {
        if let Some(&number) = self.numbers.get(&key(left, right)) {
            let pair = &mut self.pairs[number as usize];
            pair.count = pair.count.saturating_sub(count);
            if pair.count == 0 {
                pair.words = Vec::new();
                self.numbers.remove(&key(left, right));
            }
        }
    }

    fn push(&self, numbers: &[u32], tokens: &[Vec<u8>], heap: &mut BinaryHeap<Candidate>) {
        heap.extend(numbers.iter().map(|&number| {
            let Pair { left, right, count, .. } = self.pairs[number as usize];
            let bytes = |token: u32| tokens[token as usize].clone().into_boxed_slice();
            Candidate { count, left: bytes(left), right: bytes(right), pair: number }
        }));
    }
}

type Neighbours = HashMap<u32, u32, BuildHasherDefault<KeyHasher>>;

fn arise(
    neighbours: &mut Neighbours,
    pairs: &mut Vec<Pair>,
    neighbour: u32,
    (left, right): (u32, u32),
    word: u32,
    count: u64,
) {
    let number = *neighbours.entry(neighbour).or_insert_with(|| {
        pairs.push(Pair { left, right, count: 0, words: Vec::new() });
        pairs.len() as u32 - 1
    });
    pairs[number as usize].add(word, count);
}

impl Pair {
    fn add(&mut self, word: u32, count: u64) {
        self.count += count;
        if self.words.last() != Some(&word) {
            self.words.push(word);
        }
    }
}

fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// A hash of one integer; nothing here is in anybody's hands but the order in memory.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests;
