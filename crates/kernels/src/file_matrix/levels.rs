//! 32 small integers as registers: the levels of quantised weights.

use crate::vector::Vector;

/// 32 integers, which become `N` registers of floats.
pub(super) trait Levels<const N: usize>: Vector<T = f32> {
    type Ints: Copy;

    /// Some bits of each of 32 bytes.
    ///
    /// # Safety
    /// 32 bytes can be read, and the CPU has the instructions of `Self`.
    unsafe fn bits(from: *const u8, shift: usize, mask: i32) -> Self::Ints;
    /// The lower halves of 16 bytes, then the upper ones.
    ///
    /// # Safety
    /// 16 bytes can be read, and the CPU has the instructions of `Self`.
    unsafe fn nibbles(from: *const u8) -> Self::Ints;
    /// low | high << shift.
    fn join(low: Self::Ints, high: Self::Ints, shift: usize) -> Self::Ints;
    /// `value` joined where a bit is set, the lowest for the first integer.
    fn where_set(ints: Self::Ints, bits: u32, value: i32) -> Self::Ints;
    fn minus(ints: Self::Ints, value: i32) -> Self::Ints;
    fn floats(ints: Self::Ints) -> [Self; N];
}

impl Levels<8> for [f32; 4] {
    type Ints = [i32; 32];

    #[inline(always)]
    unsafe fn bits(from: *const u8, shift: usize, mask: i32) -> [i32; 32] {
        // SAFETY: guaranteed by the caller.
        std::array::from_fn(|i| i32::from(unsafe { *from.add(i) }) >> shift & mask)
    }
    #[inline(always)]
    unsafe fn nibbles(from: *const u8) -> [i32; 32] {
        // SAFETY: guaranteed by the caller.
        std::array::from_fn(|i| i32::from(unsafe { *from.add(i % 16) }) >> (i / 16 * 4) & 15)
    }
    #[inline(always)]
    fn join(low: [i32; 32], high: [i32; 32], shift: usize) -> [i32; 32] {
        std::array::from_fn(|i| low[i] | high[i] << shift)
    }
    #[inline(always)]
    fn where_set(ints: [i32; 32], bits: u32, value: i32) -> [i32; 32] {
        std::array::from_fn(|i| ints[i] | if bits >> i & 1 == 1 { value } else { 0 })
    }
    #[inline(always)]
    fn minus(ints: [i32; 32], value: i32) -> [i32; 32] {
        ints.map(|x| x - value)
    }
    #[inline(always)]
    fn floats(ints: [i32; 32]) -> [Self; 8] {
        std::array::from_fn(|n| std::array::from_fn(|i| ints[4 * n + i] as f32))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Levels;
    // Loops and not closures of `from_fn`, which would be compiled without the instructions.
    #[allow(clippy::wildcard_imports)]
    use std::arch::x86_64::*;

    impl Levels<4> for __m256 {
        type Ints = [__m256i; 4];

        #[inline(always)]
        unsafe fn bits(from: *const u8, shift: usize, mask: i32) -> [__m256i; 4] {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let (shift, mask) = (_mm_cvtsi64_si128(shift as i64), _mm256_set1_epi32(mask));
                let mut ints = [_mm256_setzero_si256(); 4];
                for (n, ints) in ints.iter_mut().enumerate() {
                    let bytes = _mm_loadl_epi64(from.add(8 * n).cast());
                    let shifted = _mm256_srl_epi32(_mm256_cvtepu8_epi32(bytes), shift);
                    *ints = _mm256_and_si256(shifted, mask);
                }
                ints
            }
        }
        #[inline(always)]
        unsafe fn nibbles(from: *const u8) -> [__m256i; 4] {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let a = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
                let b = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast()));
                let low = _mm256_set1_epi32(15);
                let (c, d) = (_mm256_srli_epi32::<4>(a), _mm256_srli_epi32::<4>(b));
                [_mm256_and_si256(a, low), _mm256_and_si256(b, low), c, d]
            }
        }
        #[inline(always)]
        fn join(mut low: [__m256i; 4], high: [__m256i; 4], shift: usize) -> [__m256i; 4] {
            // SAFETY: the caller is compiled for this instruction set.
            unsafe {
                let shift = _mm_cvtsi64_si128(shift as i64);
                for (low, high) in low.iter_mut().zip(high) {
                    *low = _mm256_or_si256(*low, _mm256_sll_epi32(high, shift));
                }
                low
            }
        }
        #[inline(always)]
        fn where_set(mut ints: [__m256i; 4], bits: u32, value: i32) -> [__m256i; 4] {
            // SAFETY: as above.
            unsafe {
                let lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
                let value = _mm256_set1_epi32(value);
                for (n, ints) in ints.iter_mut().enumerate() {
                    let bits = _mm256_set1_epi32((bits >> (8 * n)).cast_signed());
                    let set = _mm256_cmpeq_epi32(_mm256_and_si256(bits, lanes), lanes);
                    *ints = _mm256_or_si256(*ints, _mm256_and_si256(set, value));
                }
                ints
            }
        }
        #[inline(always)]
        fn minus(mut ints: [__m256i; 4], value: i32) -> [__m256i; 4] {
            // SAFETY: as above.
            unsafe {
                for x in &mut ints {
                    *x = _mm256_sub_epi32(*x, _mm256_set1_epi32(value));
                }
                ints
            }
        }
        #[inline(always)]
        fn floats(ints: [__m256i; 4]) -> [Self; 4] {
            // SAFETY: as above.
            unsafe {
                [
                    _mm256_cvtepi32_ps(ints[0]),
                    _mm256_cvtepi32_ps(ints[1]),
                    _mm256_cvtepi32_ps(ints[2]),
                    _mm256_cvtepi32_ps(ints[3]),
                ]
            }
        }
    }

    impl Levels<2> for __m512 {
        type Ints = [__m512i; 2];

        #[inline(always)]
        unsafe fn bits(from: *const u8, shift: usize, mask: i32) -> [__m512i; 2] {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let (shift, mask) = (_mm_cvtsi64_si128(shift as i64), _mm512_set1_epi32(mask));
                let mut ints = [_mm512_setzero_si512(); 2];
                for (n, ints) in ints.iter_mut().enumerate() {
                    let bytes = _mm_loadu_si128(from.add(16 * n).cast());
                    let shifted = _mm512_srl_epi32(_mm512_cvtepu8_epi32(bytes), shift);
                    *ints = _mm512_and_si512(shifted, mask);
                }
                ints
            }
        }
        #[inline(always)]
        unsafe fn nibbles(from: *const u8) -> [__m512i; 2] {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
                let low = _mm512_and_si512(bytes, _mm512_set1_epi32(15));
                [low, _mm512_srli_epi32::<4>(bytes)]
            }
        }
        #[inline(always)]
        fn join(mut low: [__m512i; 2], high: [__m512i; 2], shift: usize) -> [__m512i; 2] {
            // SAFETY: the caller is compiled for this instruction set.
            unsafe {
                let shift = _mm_cvtsi64_si128(shift as i64);
                for (low, high) in low.iter_mut().zip(high) {
                    *low = _mm512_or_si512(*low, _mm512_sll_epi32(high, shift));
                }
                low
            }
        }
        #[inline(always)]
        fn where_set(mut ints: [__m512i; 2], bits: u32, value: i32) -> [__m512i; 2] {
            // SAFETY: as above.
            unsafe {
                let value = _mm512_set1_epi32(value);
                for (n, ints) in ints.iter_mut().enumerate() {
                    let set = (bits >> (16 * n)) as u16;
                    *ints = _mm512_mask_or_epi32(*ints, set, *ints, value);
                }
                ints
            }
        }
        #[inline(always)]
        fn minus(mut ints: [__m512i; 2], value: i32) -> [__m512i; 2] {
            // SAFETY: as above.
            unsafe {
                for x in &mut ints {
                    *x = _mm512_sub_epi32(*x, _mm512_set1_epi32(value));
                }
                ints
            }
        }
        #[inline(always)]
        fn floats(ints: [__m512i; 2]) -> [Self; 2] {
            // SAFETY: as above.
            unsafe { [_mm512_cvtepi32_ps(ints[0]), _mm512_cvtepi32_ps(ints[1])] }
        }
    }
}
