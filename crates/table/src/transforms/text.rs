//! Texts as weighted n-grams of words and characters.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;

use ff_tensor::ThreadPool;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;
use xxhash_rust::xxh3::xxh3_64;

use super::tile::Met;
use crate::config::NgramConfig;
use crate::table::Values;

/// Rows that a thread takes at a time.
const PIECE: usize = 256;

/// The longest text that is read, in bytes; the rest is left out.
const LONGEST: usize = 1 << 20;

/// How a text is encoded: the weights of its n-grams of words, and of characters within words
/// between spaces, each kind scaled to one length. Case is ignored.
///
/// An n-gram that occurs c times in a text and in d of n training rows has the weight (1 + ln c) ·
/// (1 + ln((1 + n) / (1 + d))), sublinear TF-IDF (`TfidfVectorizer` of scikit-learn). Words are
/// those of UAX #29, so that texts without spaces have them too; punctuation counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TextEncoder {
    /// The longest n-grams of words and of characters.
    pub longest: [usize; 2],
    /// The n-grams of words, those in most training rows first.
    pub words: Vec<String>,
    /// The n-grams of characters, likewise.
    pub characters: Vec<String>,
    /// The factor of each n-gram for its rarity: words, then characters.
    pub idf: Vec<f32>,
    #[serde(skip)]
    index: Index,
}

/// The place of each n-gram by its hash, words and characters apart; made when it is first needed.
#[derive(Clone, Debug, Default)]
struct Index(OnceLock<[Map; 2]>);

/// It follows from the other fields.
impl PartialEq for Index {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

type Map = HashMap<u64, u32, BuildHasherDefault<Hashed>>;

/// The hash of a key that is a hash.
#[derive(Clone, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The texts of a column as sparse rows: the entries of text i start at `offsets[i]` and end where
/// those of the next begin. Text 0 is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts {
    /// The first entry of each text, and the number of entries.
    pub offsets: Vec<i32>,
    /// The n-gram of each entry.
    pub indices: Vec<i32>,
    /// Its weight.
    pub values: Vec<f32>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { offsets: vec![0, 0], indices: Vec::new(), values: Vec::new() }
    }
}

impl Texts {
    /// The entries of a text: n-grams and their weights.
    pub fn entries(&self, text: usize) -> impl Iterator<Item = (usize, f32)> {
        let range = self.offsets[text] as usize..self.offsets[text + 1] as usize;
        let indices = self.indices[range.clone()].iter().map(|&j| j as usize);
        indices.zip(self.values[range].iter().copied())
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        4 * (self.offsets.len() + self.indices.len() + self.values.len())
    }

    /// Adds a text; `false` if there are more entries than an index can hold.
    fn push(&mut self, entries: impl IntoIterator<Item = (u32, f32)>) -> bool {
        for (index, value) in entries {
            self.indices.push(index as i32);
            self.values.push(value);
        }
        let end = i32::try_from(self.indices.len());
        self.offsets.extend(end);
        end.is_ok()
    }
}

/// Calls `visit(kind, n-gram)` with each n-gram of a text: kind 0 is words, 1 characters.
fn ngrams(text: &str, longest: [usize; 2], mut visit: impl FnMut(usize, &str)) {
    let cut = (0..=LONGEST.min(text.len())).rev().find(|&i| text.is_char_boundary(i));
    let text = text[..cut.unwrap_or(0)].to_lowercase();
    let words = text.split_word_bounds().filter(|word| !word.trim().is_empty());
    let words: Vec<&str> = words.collect();
    let mut gram = String::new();
    for from in 0..words.len() {
        gram.clear();
        for word in words[from..].iter().take(longest[0]) {
            if !gram.is_empty() {
                gram.push(' ');
            }
            gram.push_str(word);
            visit(0, &gram);
        }
    }
    if longest[1] < 2 {
        return;
    }
    let mut starts = Vec::new();
    // Texts without spaces are one long word here, and n-grams reach over their words.
    for word in text.split_whitespace() {
        gram.clear();
        gram.extend([" ", word, " "]);
        starts.clear();
        starts.extend(gram.char_indices().map(|(i, _)| i).chain([gram.len()]));
        for n in 2..=longest[1].min(starts.len() - 1) {
            starts.windows(n + 1).for_each(|w| visit(1, &gram[w[0]..w[n]]));
        }
    }
}

fn hash(gram: &str) -> u64 {
    xxh3_64(gram.as_bytes())
}

impl TextEncoder {
    /// The length of a row of weights of one kind: updates of the optimiser are about as large for
    /// n-grams as for standardised numbers.
    pub const LENGTH: f64 = 8.0;

    /// Fits to the training rows; `None` if no n-gram occurs in enough of them.
    pub(crate) fn fit(
        values: &Values,
        rows: &[usize],
        config: &NgramConfig,
        threads: &ThreadPool,
    ) -> Option<Self> {
        let longest = [config.words, config.characters];
        let least = config.min_frequency as u32;
        let counted = threads.map(rows.chunks(rows.len().div_ceil(8).max(1)), |rows| {
            let mut counts = [Map::default(), Map::default()];
            let mut seen = Vec::new();
            for &row in rows.iter().filter(|&&row| !values.is_missing(row)) {
                seen.clear();
                ngrams(&values.text(row), longest, |kind, gram| {
                    seen.push((kind, hash(gram)));
                });
                seen.sort_unstable();
                seen.dedup();
                for &(kind, hash) in &seen {
                    *counts[kind].entry(hash).or_insert(0) += 1;
                }
            }
            counts
        });
        let mut counts = [Map::default(), Map::default()];
        for (kind, part) in counted.into_iter().flat_map(|part| part.into_iter().enumerate()) {
            for (hash, n) in part {
                *counts[kind].entry(hash).or_insert(0) += n;
            }
        }
        let kept = counts.map(|counts| {
            let mut kept: Vec<(u32, u64)> = counts
                .into_iter()
                .filter(|&(_, n)| n >= least)
                .map(|(hash, n)| (n, hash))
                .collect();
            kept.sort_unstable_by_key(|&(n, hash)| (std::cmp::Reverse(n), hash));
            kept.truncate(config.max);
            kept
        });
        let n = rows.len() as f64;
        let idf = |&(d, _): &(u32, u64)| (1.0 + ((1.0 + n) / (1.0 + f64::from(d))).ln()) as f32;
        let idf: Vec<f32> = kept.iter().flatten().map(idf).collect();
        let places = |kept: &[(u32, u64)]| -> Map {
            kept.iter().enumerate().map(|(i, &(_, hash))| (hash, i as u32)).collect()
        };
        let places = [places(&kept[0]), places(&kept[1])];
        let mut texts = kept.map(|kept| vec![String::new(); kept.len()]);
        for &row in rows.iter().filter(|&&row| !values.is_missing(row)) {
            ngrams(&values.text(row), longest, |kind, gram| {
                if let Some(&place) = places[kind].get(&hash(gram)) {
                    let text = &mut texts[kind][place as usize];
                    if text.is_empty() {
                        gram.clone_into(text);
                    }
                }
            });
        }
        let [words, characters] = texts;
        (!idf.is_empty()).then(|| Self { longest, words, characters, idf, index: Index::default() })
    }

    /// The number of n-grams.
    pub fn size(&self) -> usize {
        self.idf.len()
    }

    /// The text of an n-gram, and whether it is one of words.
    pub fn gram(&self, index: usize) -> (&str, bool) {
        match self.words.get(index) {
            Some(gram) => (gram, true),
            None => (self.characters.get(index - self.words.len()).map_or("", |g| g), false),
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        let fits = self.idf.len() == self.words.len() + self.characters.len();
        fits && !self.idf.is_empty() && self.idf.iter().all(|idf| idf.is_finite())
    }

    fn index(&self) -> &[Map; 2] {
        self.index.0.get_or_init(|| {
            let of = |grams: &[String], first: usize| {
                grams.iter().map(|gram| hash(gram)).zip(first as u32..).collect()
            };
            [of(&self.words, 0), of(&self.characters, self.words.len())]
        })
    }

    /// The entries of a text; `found` is memory.
    fn entries(&self, text: &str, found: &mut Vec<u32>) -> Vec<(u32, f32)> {
        let index = self.index();
        found.clear();
        ngrams(text, self.longest, |kind, gram| found.extend(index[kind].get(&hash(gram))));
        found.sort_unstable();
        let mut entries: Vec<(u32, f32)> = found
            .chunk_by(|a, b| a == b)
            .map(|same| {
                let tf = 1.0 + (same.len() as f32).ln();
                (same[0], tf * self.idf[same[0] as usize])
            })
            .collect();
        let characters = entries.partition_point(|&(i, _)| (i as usize) < self.words.len());
        let (words, characters) = entries.split_at_mut(characters);
        for kind in [words, characters] {
            let squares: f64 = kind.iter().map(|&(_, v)| f64::from(v).powi(2)).sum();
            let factor = (Self::LENGTH / squares.sqrt()) as f32;
            for (_, v) in kind.iter_mut() {
                *v *= factor;
            }
        }
        entries
    }

    /// The texts of some rows, text i + 1 that of row i; `None` if there are too many entries.
    pub(super) fn encode(
        &self,
        values: &Values,
        rows: &[usize],
        threads: &ThreadPool,
    ) -> Option<(Texts, Met)> {
        let parts = threads.map(rows.chunks(PIECE), |rows| {
            let (mut found, mut met) = (Vec::new(), Met::default());
            let of = |&row: &usize| {
                if values.is_missing(row) {
                    return Vec::new();
                }
                let entries = self.entries(&values.text(row), &mut found);
                if entries.is_empty() {
                    met.unseen += 1;
                    met.example(values, row);
                }
                entries
            };
            (rows.iter().map(of).collect::<Vec<_>>(), met)
        });
        let (mut texts, mut all) = (Texts::default(), Met::default());
        for (part, met) in parts {
            all.join(met);
            if !part.into_iter().all(|entries| texts.push(entries)) {
                return None;
            }
        }
        Some((texts, all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grams(text: &str, longest: [usize; 2]) -> Vec<String> {
        let mut grams = Vec::new();
        ngrams(text, longest, |_, gram| grams.push(gram.to_owned()));
        grams
    }

    #[test]
    fn ngrams_are_those_of_words_and_within_words() {
        assert_eq!(grams("Don't go!", [2, 0]), ["don't", "don't go", "go", "go !", "!"]);
        assert_eq!(grams("ab c", [0, 3]), [" a", "ab", "b ", " ab", "ab ", " c", "c ", " c "]);
        // Ideographs are words of their own.
        assert_eq!(grams("天气好", [2, 0]), ["天", "天 气", "气", "气 好", "好"]);
        assert!(grams(" \u{3000}", [2, 5]).is_empty());
    }

    fn column(texts: &[&str]) -> Values {
        texts.iter().map(|text| Some(*text)).collect()
    }

    #[test]
    fn weights_agree_with_scikit_learn() {
        // TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform on these texts, times LENGTH.
        let values = column(&["a b b", "b c", "c d", ""]);
        let config = NgramConfig { words: 1, characters: 0, ..NgramConfig::default() };
        let threads = ThreadPool::new(2);
        let encoder = TextEncoder::fit(&values, &[0, 1, 2, 3], &config, &threads).unwrap();
        let mut words = encoder.words.clone();
        words.sort();
        assert_eq!(words, ["b", "c"]);
        let (texts, met) = encoder.encode(&values, &[1, 0, 3], &threads).unwrap();
        let weights: Vec<f32> = texts.entries(1).map(|(_, v)| v).collect();
        assert!(
            weights.iter().all(|v| (v - TextEncoder::LENGTH as f32 / 2f32.sqrt()).abs() < 1e-6),
            "{weights:?}"
        );
        let only: Vec<(usize, f32)> = texts.entries(2).collect();
        assert_eq!((only.len(), only[0].1), (1, TextEncoder::LENGTH as f32));
        assert_eq!((texts.entries(3).count(), texts.entries(0).count()), (0, 0));
        assert_eq!(met.unseen, 1);
    }

    #[test]
    fn words_and_characters_are_told_apart() {
        // Hashes by seeds of 0 and 1 take "you" and "yor" of two kinds for each other.
        let values = column(&["you yor", "you yor", "the thb", "the thb"]);
        let config = NgramConfig { words: 1, characters: 3, ..NgramConfig::default() };
        let threads = ThreadPool::new(1);
        let encoder = TextEncoder::fit(&values, &[0, 1, 2, 3], &config, &threads).unwrap();
        let (texts, _) = encoder.encode(&values, &[0, 2], &threads).unwrap();
        for (text, known) in [(1, ["you", "yor"]), (2, ["the", "thb"])] {
            let found: Vec<(&str, bool)> =
                texts.entries(text).map(|(index, _)| encoder.gram(index)).collect();
            for gram in known {
                assert!(
                    found.contains(&(gram, true)) && found.contains(&(gram, false)),
                    "{found:?}"
                );
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_threads() {
        let texts: Vec<String> = (0..900).map(|i| format!("row {} of {}", i % 7, i % 31)).collect();
        let values = column(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let rows: Vec<usize> = (0..900).collect();
        let run = |n| {
            let threads = ThreadPool::new(n);
            let fit = TextEncoder::fit(&values, &rows, &NgramConfig::default(), &threads).unwrap();
            let texts = fit.encode(&values, &rows, &threads).unwrap().0;
            (fit, texts)
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn a_column_of_single_texts_has_no_ngram() {
        let values = column(&["xy", "uv"]);
        let config = NgramConfig { characters: 0, ..NgramConfig::default() };
        assert!(TextEncoder::fit(&values, &[0, 1], &config, &ThreadPool::new(1)).is_none());
    }
}
