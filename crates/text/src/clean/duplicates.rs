//! Documents that repeat earlier ones: by hash, and by MinHash with locality-sensitive hashing.

use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::repetition::hash;
use crate::config::{CleanConfig, Duplicates};

/// The least values that a signature holds; the share on which two agree estimates that of common
/// shingles, to ± 0.035 near 0.8.
const HASHES: usize = 128;

/// How surely two documents as alike as the threshold are compared.
const RECALL: f64 = 0.95;

/// The least of each of 128 hashes over a document's shingles, 16 bits of each.
#[derive(Clone)]
pub(super) struct Signature(Box<[u16; HASHES]>);

impl Signature {
    /// The signature of a text's sequences of so many words, case and marks aside.
    pub(super) fn of(text: &str, shingle: usize) -> Self {
        let lower = text.to_lowercase();
        let words: Vec<&str> =
            lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let (factors, terms) = permutations();
        let mut least = [u32::MAX; HASHES];
        let mut take = |shingle: &[&str]| {
            let value = (hash(shingle) >> 32) as u32;
            for ((least, factor), term) in least.iter_mut().zip(&factors).zip(&terms) {
                *least = (*least).min(factor.wrapping_mul(value).wrapping_add(*term));
            }
        };
        if words.len() <= shingle {
            take(&words);
        } else {
            words.windows(shingle).for_each(take);
        }
        // The least of many values is small: its upper bits say little, so all are mixed.
        let mixed = least.map(|value| {
            let value = (value ^ (value >> 15)).wrapping_mul(0x2c1b_3c6d);
            ((value ^ (value >> 12)).wrapping_mul(0x297a_2d39) >> 16) as u16
        });
        Self(Box::new(mixed))
    }

    /// The estimated share of common shingles.
    fn similarity(&self, other: &Self) -> f64 {
        let equal = self.0.iter().zip(other.0.iter()).filter(|(a, b)| a == b).count();
        equal as f64 / HASHES as f64
    }

    /// The hash of each band of so many values.
    fn bands(&self, rows: usize) -> impl Iterator<Item = u64> {
        self.0.chunks_exact(rows).enumerate().map(move |(band, values)| {
            let mut bytes = [0; 2 * HASHES];
            for (bytes, value) in bytes.chunks_exact_mut(2).zip(values) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
            xxh3_64_with_seed(&bytes[..2 * rows], band as u64)
        })
    }
}

/// Documents that were kept, as later ones are compared with them.
pub(super) struct Seen {
    exact: HashSet<u128>,
    near: bool,
    threshold: f64,
    rows: usize,
    signatures: Vec<Signature>,
    /// The first document with a band's hash.
    bands: HashMap<u64, u32>,
}

impl Seen {
    pub(super) fn new(config: &CleanConfig) -> Self {
        Self {
            exact: HashSet::new(),
            near: config.duplicates == Duplicates::Near,
            threshold: config.near_threshold,
            rows: rows(config.near_threshold),
            signatures: Vec::new(),
            bands: HashMap::new(),
        }
    }

    /// Why a document is dropped; one that is kept is remembered.
    pub(super) fn reason_to_drop(
        &mut self,
        hash: u128,
        signature: Option<&Signature>,
    ) -> Option<&'static str> {
        if !self.exact.insert(hash) {
            return Some("duplicate");
        }
        let signature = signature.filter(|_| self.near)?;
        let bands: Vec<u64> = signature.bands(self.rows).collect();
        let alike = bands
            .iter()
            .filter_map(|band| self.bands.get(band))
            .any(|&other| self.signatures[other as usize].similarity(signature) >= self.threshold);
        if alike {
            return Some("near duplicate");
        }
        let number = self.signatures.len() as u32;
        self.signatures.push(signature.clone());
        for band in bands {
            self.bands.entry(band).or_insert(number);
        }
        None
    }
}

/// The most values of a band with which documents at the threshold are still compared.
fn rows(threshold: f64) -> usize {
    let recall = |rows: usize| {
        let bands = (HASHES / rows) as i32;
        1.0 - (1.0 - threshold.powi(rows as i32)).powi(bands)
    };
    (1..=32).rev().find(|&rows| recall(rows) >= RECALL).unwrap_or(1)
}

/// 128 functions `factor * value + term` of 32 bits with odd factors, which are permutations.
fn permutations() -> ([u32; HASHES], [u32; HASHES]) {
    let number = |i: usize, seed| xxh3_64_with_seed(&i.to_le_bytes(), seed) as u32;
    (std::array::from_fn(|i| number(i, 1) | 1), std::array::from_fn(|i| number(i, 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: impl Iterator<Item = usize>) -> String {
        words.map(|i| format!("word{i} ")).collect::<Vec<_>>().concat()
    }

    #[test]
    fn similarity_is_the_share_of_common_words() {
        // Sets of single words: |a ∩ b| / |a ∪ b| = (1000 - k) / (1000 + k).
        let a = Signature::of(&text(0..1000), 1);
        let mut error = 0.0f64;
        for k in (0..1000).step_by(50) {
            let b = Signature::of(&text(k..1000 + k), 1);
            let truth = (1000 - k) as f64 / (1000 + k) as f64;
            // Three deviations of 128 draws.
            let deviation = 3.0 * (truth * (1.0 - truth) / HASHES as f64).sqrt();
            assert!((a.similarity(&b) - truth).abs() <= deviation + 0.01, "{k}");
            error += a.similarity(&b) - truth;
        }
        assert!((error / 20.0).abs() < 0.02, "{error}");
    }

    #[test]
    fn bands_find_what_is_alike() {
        assert_eq!([0.5, 0.8, 0.9, 1.0, 0.0].map(rows), [3, 7, 12, 32, 1]);
        let config = CleanConfig { duplicates: Duplicates::Near, ..CleanConfig::default() };
        let mut seen = Seen::new(&config);
        let mut judge = |text: &str, hash| seen.reason_to_drop(hash, Some(&Signature::of(text, 5)));
        let one = text(0..500);
        assert_eq!(judge(&one, 1), None);
        assert_eq!(judge(&one, 1), Some("duplicate"));
        assert_eq!(judge(&one.replacen("word250 ", "other ", 1), 2), Some("near duplicate"));
        assert_eq!(judge(&one.to_uppercase().replace(' ', ", "), 3), Some("near duplicate"));
        assert_eq!(judge(&text(250..750), 4), None);
        assert_eq!((judge("two words", 5), judge("Two words!", 6)), (None, Some("near duplicate")));
        assert_eq!((judge("", 7), judge("!", 8)), (None, Some("near duplicate")));
    }
}
