//! Counter-based random numbers: the n-th number of a stream is a function of (key, n), so the
//! backward pass can redraw masks on any thread instead of storing them. Philox-4x32-10: Salmon et
//! al., "Parallel random numbers: as easy as 1, 2, 3", 2011.

use crate::normal::box_muller;

/// The key of a stream of random numbers: a seed and everything that distinguishes one use from
/// another.
///
/// ```
/// use ff_tensor::Key;
/// let dropout = Key::new(7).with(1000).with_name("layers.0.dropout");
/// assert_eq!(dropout.bits(5), dropout.bits(5));
/// assert_ne!(dropout.bits(5), dropout.with(1).bits(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// The key of a seed.
    pub fn new(seed: u64) -> Self {
        Key(mix(seed ^ 0x6665_6564_666f_7277))
    }

    /// The derived key of a step, a micro-batch or an epoch.
    #[must_use]
    pub fn with(self, part: u64) -> Self {
        Key(mix(self.0.rotate_left(23) ^ mix(part)))
    }

    /// The derived key of a name.
    #[must_use]
    pub fn with_name(self, name: &str) -> Self {
        // FNV-1a, so that a name's hash never changes between versions.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        self.with(hash)
    }

    /// Block `block` of the stream: four 32-bit numbers.
    pub fn block(self, block: u64) -> [u32; 4] {
        self.blocks::<1>(block).map(|[word]| word)
    }

    /// `N` blocks of the stream from block `first` on: word `w` of block `first + l` is `[w][l]`,
    /// so that a loop over blocks is a loop over adjacent values, which compilers vectorise.
    ///
    /// ```
    /// let key = ff_tensor::Key::new(7);
    /// let blocks = key.blocks::<16>(100);
    /// assert_eq!(blocks[2][5], key.block(105)[2]);
    /// ```
    // Inlined, so that the caller's instruction set is used.
    #[inline(always)]
    pub fn blocks<const N: usize>(self, first: u64) -> [[u32; N]; 4] {
        let at = |l: usize| first.wrapping_add(l as u64);
        let low = std::array::from_fn(|l| at(l) as u32);
        let high = std::array::from_fn(|l| (at(l) >> 32) as u32);
        self.words(low, high)
    }

    /// The blocks of these counters.
    #[inline(always)]
    fn words<const N: usize>(self, low: [u32; N], high: [u32; N]) -> [[u32; N]; 4] {
        philox([self.0 as u32, (self.0 >> 32) as u32], [low, high, [0; N], [0; N]])
    }

    /// [`Self::blocks`] of sixteen blocks: each word lies in the low half of 64 bits, where
    /// products leave it, and the high halves never count, so that nothing moves between lanes
    /// before the end.
    ///
    /// # Safety
    /// The CPU has AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub unsafe fn blocks_avx512(self, first: u64) -> [[u32; 16]; 4] {
        use std::arch::x86_64::{
            __m256i, __m512i, _mm512_add_epi64, _mm512_cvtepi64_epi32, _mm512_mul_epu32,
            _mm512_set_epi64, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_srli_epi64,
            _mm512_ternarylogic_epi64,
        };
        let all = |word: u32| _mm512_set1_epi64(i64::from(word));
        let xor = |a: __m512i, b: __m512i, c: __m512i| _mm512_ternarylogic_epi64::<0x96>(a, b, c);
        let high = |a: __m512i| _mm512_srli_epi64::<32>(a);
        let eight = |first: u64| {
            let counters = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
            let counters = _mm512_add_epi64(_mm512_set1_epi64(first.cast_signed()), counters);
            [counters, high(counters), _mm512_setzero_si512(), _mm512_setzero_si512()]
        };
        let (mut low, mut up) = (eight(first), eight(first.wrapping_add(8)));
        let mut key = [self.0 as u32, (self.0 >> 32) as u32];
        for _ in 0..10 {
            let keys = key.map(all);
            for words in [&mut low, &mut up] {
                let a = _mm512_mul_epu32(words[0], all(0xd251_1f53));
                let b = _mm512_mul_epu32(words[2], all(0xcd9e_8d57));
                *words = [xor(high(b), words[1], keys[0]), b, xor(high(a), words[3], keys[1]), a];
            }
            key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
        }
        std::array::from_fn(|w| {
            let halves: [__m256i; 2] =
                [_mm512_cvtepi64_epi32(low[w]), _mm512_cvtepi64_epi32(up[w])];
            // SAFETY: both types are 64 bytes of any bits.
            unsafe { std::mem::transmute::<[__m256i; 2], [u32; 16]>(halves) }
        })
    }

    /// [`Self::blocks_avx512`], and a bit for each number, which says whether it is at least
    /// `threshold`: for word w of block l, bit 16w + l.
    ///
    /// # Safety
    /// The CPU has AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub unsafe fn blocks_at_least_avx512(
        self,
        first: u64,
        threshold: u32,
    ) -> ([[u32; 16]; 4], u64) {
        use std::arch::x86_64::{_mm512_cmpge_epu32_mask, _mm512_loadu_si512, _mm512_set1_epi32};
        // SAFETY: as the caller states.
        let blocks = unsafe { self.blocks_avx512(first) };
        let threshold = _mm512_set1_epi32(threshold.cast_signed());
        let bits = blocks.iter().rev().fold(0, |bits, word| {
            // SAFETY: a word's sixteen numbers are as many as the register's.
            let numbers = unsafe { _mm512_loadu_si512(word.as_ptr().cast()) };
            bits << 16 | u64::from(_mm512_cmpge_epu32_mask(numbers, threshold))
        });
        (blocks, bits)
    }

    /// The results of [`Rng::uniform`] for draw `first` of this key and the `N` − 1 after it.
    ///
    /// ```
    /// use ff_tensor::{Key, Rng};
    /// let mut rng = Rng::new(Key::new(7));
    /// assert_eq!(Key::new(7).uniforms::<2>(0), [rng.uniform(), rng.uniform()]);
    /// ```
    // Inlined, so that the caller's instruction set is used.
    #[inline(always)]
    pub fn uniforms<const N: usize>(self, first: u64) -> [f64; N] {
        let [high, low, ..] = self.blocks::<N>(first);
        std::array::from_fn(|l| unit(u64::from(high[l]) << 32 | u64::from(low[l])))
    }

    /// The results of [`Rng::normal`] for normal draw `first` of this key and the `N` − 1 after it.
    ///
    /// ```
    /// use ff_tensor::{Key, Rng};
    /// let mut rng = Rng::new(Key::new(7));
    /// assert_eq!(Key::new(7).normals::<2>(0), [rng.normal(), rng.normal()]);
    /// ```
    // Inlined, so that the caller's instruction set is used.
    #[inline(always)]
    pub fn normals<const N: usize>(self, first: u64) -> [f64; N] {
        // Each takes two uniform numbers.
        let (u, v) = (self.every_other::<N>(2 * first), self.every_other::<N>(2 * first + 1));
        let mut normals = [0.0; N];
        for l in 0..N {
            normals[l] = box_muller(u[l], v[l]);
        }
        normals
    }

    /// The results of [`Rng::uniform`] for draws `first`, `first` + 2 and so on.
    #[inline(always)]
    fn every_other<const N: usize>(self, first: u64) -> [f64; N] {
        let at = |l: usize| first.wrapping_add(2 * l as u64);
        let low = std::array::from_fn(|l| at(l) as u32);
        let high = std::array::from_fn(|l| (at(l) >> 32) as u32);
        let [high, low, ..] = self.words::<N>(low, high);
        std::array::from_fn(|l| unit(u64::from(high[l]) << 32 | u64::from(low[l])))
    }

    /// The `i`-th 32-bit number of the stream.
    pub fn bits(self, i: u64) -> u32 {
        self.block(i / 4)[(i % 4) as usize]
    }
}

/// A number in `[0, 1)`, a multiple of 2⁻⁵³.
#[inline(always)]
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Spreads a counter over 64 bits (the finaliser of SplitMix64).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Ten rounds over `N` counters at once, one counter per column.
#[inline(always)]
fn philox<const N: usize>(mut key: [u32; 2], mut counter: [[u32; N]; 4]) -> [[u32; N]; 4] {
    for _ in 0..10 {
        let mut next = [[0; N]; 4];
        for l in 0..N {
            let a = u64::from(counter[0][l]) * 0xd251_1f53;
            let b = u64::from(counter[2][l]) * 0xcd9e_8d57;
            next[0][l] = (b >> 32) as u32 ^ counter[1][l] ^ key[0];
            next[1][l] = b as u32;
            next[2][l] = (a >> 32) as u32 ^ counter[3][l] ^ key[1];
            next[3][l] = a as u32;
        }
        counter = next;
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

/// Numbers drawn sequentially from a [`Key`]'s stream.
///
/// ```
/// use ff_tensor::{Key, Rng};
/// let mut rng = Rng::new(Key::new(0));
/// let u = rng.uniform();
/// assert!((0.0..1.0).contains(&u));
/// assert!(rng.below(10) < 10);
/// ```
#[derive(Debug, Clone)]
pub struct Rng {
    key: Key,
    next: u64,
}

impl Rng {
    /// A generator at the beginning of a key's stream.
    pub fn new(key: Key) -> Self {
        Self { key, next: 0 }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let block = self.key.block(self.next);
        self.next += 1;
        u64::from(block[0]) << 32 | u64::from(block[1])
    }

    /// A number in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        unit(self.bits())
    }

    /// A draw from the standard normal distribution (Box–Muller).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform(), self.uniform());
        box_muller(u, v)
    }

    /// A uniform integer in `[0, n)`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // Lemire's multiplication; the loop removes the bias due to 2^64 not being a multiple of n.
        let mut product = u128::from(self.bits()) * u128::from(n);
        if (product as u64) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u64) < threshold {
                product = u128::from(self.bits()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// Shuffles the items (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn vectors_draw_the_same_numbers() {
        if !is_x86_feature_detected!("avx512f") {
            return;
        }
        for first in [0, 7, (1 << 32) - 9, u64::MAX - 3, 0x1234_5678_9abc_def0] {
            for seed in 0..3 {
                let key = Key::new(seed);
                // SAFETY: the CPU has AVX-512 F.
                assert_eq!(unsafe { key.blocks_avx512(first) }, key.blocks::<16>(first));
                // SAFETY: the same.
                let (blocks, bits) = unsafe { key.blocks_at_least_avx512(first, 1 << 31) };
                assert_eq!(blocks, key.blocks::<16>(first));
                for (i, number) in blocks.iter().flatten().enumerate() {
                    assert_eq!(bits >> i & 1 == 1, *number >= 1 << 31);
                }
            }
        }
    }

    /// The known-answer vectors of the authors' Random123 library.
    #[test]
    fn philox_gives_the_published_numbers() {
        let zeros = philox([0; 2], [[0]; 4]).map(|[word]| word);
        assert_eq!(zeros, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = philox([u32::MAX; 2], [[u32::MAX]; 4]).map(|[word]| word);
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn blocks_are_the_same_numbers_as_one_by_one() {
        let key = Key::new(11);
        // The second start crosses the boundary between the counter's words, the third wraps
        // around.
        for first in [0, u64::from(u32::MAX) - 3, u64::MAX - 2] {
            let blocks = key.blocks::<8>(first);
            for l in 0..8 {
                let one = key.block(first.wrapping_add(l as u64));
                assert_eq!(blocks.map(|word| word[l]), one);
            }
        }
    }

    #[test]
    fn moments_of_uniform_and_normal() {
        let mut rng = Rng::new(Key::new(3));
        let n = 200_000;
        let (mut mean_u, mut mean_n, mut var_n) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            mean_u += rng.uniform();
            let z = rng.normal();
            mean_n += z;
            var_n += z * z;
        }
        let n = f64::from(n);
        // Five standard errors: 0.289 / sqrt(n), 1 / sqrt(n), sqrt(2 / n).
        assert!((mean_u / n - 0.5).abs() < 5.0 * 0.289 / n.sqrt());
        assert!((mean_n / n).abs() < 5.0 / n.sqrt());
        assert!((var_n / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Rng::new(Key::new(1)).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        Rng::new(Key::new(1)).shuffle::<u8>(&mut []);
    }
}
