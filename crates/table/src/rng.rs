//! Random numbers for splits: counter-based, so that a number depends on the seed and its index
//! alone.

use std::hash::{BuildHasher, Hasher};

/// SplitMix64's output function over a counter (Steele, Lea, Flood, *Fast splittable pseudorandom
/// number generators*, 2014).
pub(crate) struct Rng {
    key: u64,
    counter: u64,
}

/// 2⁶⁴ / φ, odd: the step of the counter.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// A stream of its own for each (seed, purpose).
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        Self { key: mix(seed ^ mix(xxhash_rust::xxh3::xxh3_64(purpose.as_bytes()))), counter: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(STEP);
        mix(self.key.wrapping_add(self.counter))
    }

    /// A number below `n`, without bias: draws in the uneven end of the range are thrown away.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        debug_assert!(n > 0);
        let n = n as u64;
        let uneven = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.next()) * u128::from(n);
            if (wide as u64) >= uneven {
                return (wide >> 64) as usize;
            }
        }
    }

    /// Fisher and Yates' shuffle, from the end.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Builds hashers for keys that are hashes already.
#[derive(Clone, Copy, Default)]
pub(crate) struct IdentityHash;

/// Gives a key as its own hash.
#[derive(Default)]
pub(crate) struct IdentityHasher(u64);

impl BuildHasher for IdentityHash {
    type Hasher = IdentityHasher;
    fn build_hasher(&self) -> IdentityHasher {
        IdentityHasher(0)
    }
}

impl Hasher for IdentityHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = mix(self.0 ^ u64::from(byte));
        }
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose| {
            let mut rng = Rng::new(seed, purpose);
            (0..8).map(|_| rng.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, "split"), draw(7, "split"));
        assert_ne!(draw(7, "split"), draw(8, "split"));
        assert_ne!(draw(7, "split"), draw(7, "folds"));
    }

    #[test]
    fn below_is_even() {
        // 60,000 draws in 6 boxes: the standard deviation of a box is 91, so 5 of them are 456.
        let mut rng = Rng::new(0, "even");
        let mut boxes = [0usize; 6];
        for _ in 0..60_000 {
            boxes[rng.below(6)] += 1;
        }
        assert!(boxes.iter().all(|&n| n.abs_diff(10_000) < 456), "{boxes:?}");
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut items: Vec<_> = (0..101).collect();
        Rng::new(3, "p").shuffle(&mut items);
        assert_ne!(items, (0..101).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..101).collect::<Vec<_>>());
    }
}
