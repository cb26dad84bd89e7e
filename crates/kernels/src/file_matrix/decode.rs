//! From 32 weights in the form of a file to registers, each weight exactly the value that reading
//! the file as floats gives.

use crate::vector::Vector;

/// 32 weights as `N` registers.
pub(super) trait Decode<V: Vector<T = f32>, const N: usize> {
    /// The bytes of a block.
    const BYTES: usize;
    /// The runs of 32 weights of a block.
    const PARTS: usize = 1;

    /// A part of the block's weights, in order.
    ///
    /// # Safety
    /// `BYTES` bytes can be read, `part` is below `PARTS`, and the CPU has the instructions of `V`.
    unsafe fn decode(from: *const u8, part: usize) -> [V; N];
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;
pub(super) struct Q8;
/// 4 bits without and with a minimum.
pub(super) struct Q4<const MINIMUM: bool>;

/// An f16 as f32: its exponent counts from 15 and not from 127, which a product with 2^112 mends,
/// subnormal numbers included.
#[inline(always)]
pub(super) fn half(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let finite = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let special = 0x7f80_0000 | magnitude;
    let value = if magnitude < 0x7c00 << 13 { finite } else { special };
    f32::from_bits(value | u32::from(bits & 0x8000) << 16)
}

/// # Safety
/// Two bytes can be read.
#[inline(always)]
pub(super) unsafe fn word(from: *const u8) -> u16 {
    // SAFETY: guaranteed by the caller; bytes have no alignment.
    u16::from_le_bytes(unsafe { from.cast::<[u8; 2]>().read() })
}

/// # Safety
/// `n` bytes can be read.
#[inline(always)]
pub(super) unsafe fn bytes<'a>(from: *const u8, n: usize) -> &'a [u8] {
    // SAFETY: guaranteed by the caller.
    unsafe { std::slice::from_raw_parts(from, n) }
}

/// Registers of plain code.
fn groups(values: &[f32; 32]) -> [[f32; 4]; 8] {
    std::array::from_fn(|n| std::array::from_fn(|i| values[4 * n + i]))
}

impl Decode<[f32; 4], 8> for F32 {
    const BYTES: usize = 128;
    #[inline(always)]
    unsafe fn decode(from: *const u8, _part: usize) -> [[f32; 4]; 8] {
        let value = |i: usize| {
            // SAFETY: guaranteed by the caller; bytes have no alignment.
            f32::from_le_bytes(unsafe { from.add(4 * i).cast::<[u8; 4]>().read() })
        };
        let values: [f32; 32] = std::array::from_fn(value);
        groups(&values)
    }
}

impl Decode<[f32; 4], 8> for F16 {
    const BYTES: usize = 64;
    #[inline(always)]
    unsafe fn decode(from: *const u8, _part: usize) -> [[f32; 4]; 8] {
        // SAFETY: guaranteed by the caller.
        let value = |i: usize| half(unsafe { word(from.add(2 * i)) });
        let values: [f32; 32] = std::array::from_fn(value);
        groups(&values)
    }
}

impl Decode<[f32; 4], 8> for Bf16 {
    const BYTES: usize = 64;
    #[inline(always)]
    unsafe fn decode(from: *const u8, _part: usize) -> [[f32; 4]; 8] {
        // SAFETY: guaranteed by the caller.
        let wide = |i: usize| u32::from(unsafe { word(from.add(2 * i)) }) << 16;
        let values: [f32; 32] = std::array::from_fn(|i| f32::from_bits(wide(i)));
        groups(&values)
    }
}

impl Decode<[f32; 4], 8> for Q8 {
    const BYTES: usize = 34;
    #[inline(always)]
    unsafe fn decode(from: *const u8, _part: usize) -> [[f32; 4]; 8] {
        // SAFETY: guaranteed by the caller.
        let (d, q) = unsafe { (half(word(from)), bytes(from.add(2), 32)) };
        let values: [f32; 32] = std::array::from_fn(|i| d * f32::from(q[i] as i8));
        groups(&values)
    }
}

impl<const MINIMUM: bool> Decode<[f32; 4], 8> for Q4<MINIMUM> {
    const BYTES: usize = if MINIMUM { 20 } else { 18 };
    #[inline(always)]
    unsafe fn decode(from: *const u8, _part: usize) -> [[f32; 4]; 8] {
        // SAFETY: guaranteed by the caller.
        let d = half(unsafe { word(from) });
        let values: [f32; 32] = if MINIMUM {
            // SAFETY: as above.
            let (m, q) = unsafe { (half(word(from.add(2))), bytes(from.add(4), 16)) };
            std::array::from_fn(|i| d * f32::from(nibble(q, i)) + m)
        } else {
            // SAFETY: as above.
            let q = unsafe { bytes(from.add(2), 16) };
            std::array::from_fn(|i| d * (f32::from(nibble(q, i)) - 8.0))
        };
        groups(&values)
    }
}

/// The low halves of 16 bytes come before the high ones.
#[inline(always)]
fn nibble(bytes: &[u8], i: usize) -> u8 {
    if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 }
}

#[cfg(target_arch = "x86_64")]
// Loops and not closures, which would be compiled without the instructions.
mod avx2 {
    use super::{Bf16, Decode, F16, F32, Q4, Q8, half, word};
    use crate::file_matrix::levels::Levels;
    use crate::vector::Vector;
    #[allow(clippy::wildcard_imports)]
    use std::arch::x86_64::*;

    impl Decode<__m256, 4> for F32 {
        const BYTES: usize = 128;
        #[inline(always)]
        unsafe fn decode(from: *const u8, _part: usize) -> [__m256; 4] {
            let mut values = [__m256::splat(0.0); 4];
            for (n, value) in values.iter_mut().enumerate() {
                // SAFETY: guaranteed by the caller.
                *value = unsafe { __m256::read(from.add(32 * n).cast()) };
            }
            values
        }
    }

    impl Decode<__m256, 4> for F16 {
        const BYTES: usize = 64;
        /// As [`half`], eight at a time.
        #[inline(always)]
        unsafe fn decode(from: *const u8, _part: usize) -> [__m256; 4] {
            let mut values = [__m256::splat(0.0); 4];
            for (n, value) in values.iter_mut().enumerate() {
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(16 * n).cast()));
                    let magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fff));
                    let magnitude = _mm256_slli_epi32::<13>(magnitude);
                    let scale = _mm256_castsi256_ps(_mm256_set1_epi32(0x7780_0000));
                    let finite = _mm256_mul_ps(_mm256_castsi256_ps(magnitude), scale);
                    let special = _mm256_or_si256(magnitude, _mm256_set1_epi32(0x7f80_0000));
                    let is_finite = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x7c00 << 13), magnitude);
                    let magnitude = _mm256_blendv_ps(
                        _mm256_castsi256_ps(special),
                        finite,
                        _mm256_castsi256_ps(is_finite),
                    );
                    let sign = _mm256_and_si256(bits, _mm256_set1_epi32(0x8000));
                    let sign = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(sign));
                    *value = _mm256_or_ps(magnitude, sign);
                }
            }
            values
        }
    }

    impl Decode<__m256, 4> for Bf16 {
        const BYTES: usize = 64;
        #[inline(always)]
        unsafe fn decode(from: *const u8, _part: usize) -> [__m256; 4] {
            let mut values = [__m256::splat(0.0); 4];
            for (n, value) in values.iter_mut().enumerate() {
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(16 * n).cast()));
                    *value = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words));
                }
            }
            values
        }
    }

    impl Decode<__m256, 4> for Q8 {
        const BYTES: usize = 34;
        #[inline(always)]
        unsafe fn decode(from: *const u8, _part: usize) -> [__m256; 4] {
            let mut values = [__m256::splat(0.0); 4];
            // SAFETY: guaranteed by the caller.
            let d = __m256::splat(half(unsafe { word(from) }));
            for (n, value) in values.iter_mut().enumerate() {
                // SAFETY: as above.
                unsafe {
                    let q = _mm_loadl_epi64(from.add(2 + 8 * n).cast());
                    *value = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)), d);
                }
            }
            values
        }
    }

    impl<const MINIMUM: bool> Decode<__m256, 4> for Q4<MINIMUM> {
        const BYTES: usize = if MINIMUM { 20 } else { 18 };
        #[inline(always)]
        unsafe fn decode(from: *const u8, _part: usize) -> [__m256; 4] {
            // SAFETY: guaranteed by the caller. Scale times level is exact, so it may be fused.
            unsafe {
                let d = __m256::splat(half(word(from)));
                if MINIMUM {
                    let m = __m256::splat(half(word(from.add(2))));
                    let mut values = __m256::floats(__m256::nibbles(from.add(4)));
                    for value in &mut values {
                        *value = _mm256_fmadd_ps(*value, d, m);
                    }
                    values
                } else {
                    let levels = __m256::minus(__m256::nibbles(from.add(2)), 8);
                    let mut values = __m256::floats(levels);
                    for value in &mut values {
                        *value = _mm256_mul_ps(*value, d);
                    }
                    values
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{Bf16, Decode, F16, F32, Q4, Q8, bytes};
    use crate::vector::Vector;
    #[allow(clippy::wildcard_imports)]
    use std::arch::x86_64::*;

    impl Decode<__m512, 2> for F32 {
        const BYTES: usize = 128;
        #[inline(always)]
        unsafe fn decode(from: *const u8, _part: usize) -> [__m512; 2] {
            // SAFETY: guaranteed by the caller.
            unsafe { [__m512::read(from.cast()), __m512::read(from.add(64).cast())] }
        }
    }

    impl Decode<__m512, 2> for F16 {
        const BYTES: usize = 64;
        #[inline(always)]
        unsafe fn decode(from: *const u8, _part: usize) -> [__m512; 2] {
            // SAFETY: guaranteed by the caller.
            [0, 32].map(|at| unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.add(at).cast())) })
        }
    }

    impl Decode<__m512, 2> for Bf16 {
        const BYTES: usize = 64;
        #[inline(always)]
        unsafe fn decode(from: *const u8, _part: usize) -> [__m512; 2] {
            // SAFETY: guaranteed by the caller.
            [0, 32].map(|at| unsafe {
                let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.add(at).cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words))
            })
        }
    }

    impl Decode<__m512, 2> for Q8 {
        const BYTES: usize = 34;
        #[inline(always)]
        unsafe fn decode(from: *const u8, _part: usize) -> [__m512; 2] {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let d = _mm512_cvtph_ps(_mm256_set1_epi16(super::word(from).cast_signed()));
                [2, 18].map(|at| {
                    let q = _mm512_cvtepi8_epi32(_mm_loadu_si128(from.add(at).cast()));
                    _mm512_mul_ps(_mm512_cvtepi32_ps(q), d)
                })
            }
        }
    }

    /// The sixteen values that 4 bits stand for are a register, in which the bits are looked up.
    impl<const MINIMUM: bool> Decode<__m512, 2> for Q4<MINIMUM> {
        const BYTES: usize = if MINIMUM { 20 } else { 18 };
        #[inline(always)]
        unsafe fn decode(from: *const u8, _part: usize) -> [__m512; 2] {
            const COUNT: [f32; 16] =
                [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
            // SAFETY: guaranteed by the caller.
            unsafe {
                let count = __m512::load(&COUNT);
                let (values, q) = if MINIMUM {
                    // d and m in turn.
                    let both: [u8; 4] = bytes(from, 4).try_into().unwrap_or_default();
                    let both = _mm256_set1_epi32(i32::from_le_bytes(both));
                    let both = _mm512_cvtph_ps(both);
                    let (d, m) = (_mm512_moveldup_ps(both), _mm512_movehdup_ps(both));
                    (_mm512_fmadd_ps(d, count, m), from.add(4))
                } else {
                    let d = _mm512_cvtph_ps(_mm256_set1_epi16(super::word(from).cast_signed()));
                    (_mm512_mul_ps(d, _mm512_sub_ps(count, __m512::splat(8.0))), from.add(2))
                };
                let q = _mm512_cvtepu8_epi32(_mm_loadu_si128(q.cast()));
                // Only the lowest four bits of an index count.
                [
                    _mm512_permutexvar_ps(q, values),
                    _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(q), values),
                ]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn every_half_is_that_of_the_half_crate() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32();
            let found = half(bits);
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan());
        }
    }
}
