//! K-quants, blocks of 256 weights as eight parts of 32, and blocks of 32 weights of 5 bits: each
//! weight the value that reading the file as floats gives. Scale times level has at most 24 bits
//! and is exact, so that fused and separate products agree.

use super::decode::{Decode, bytes, half, word};
use super::levels::Levels;

/// 5 bits without and with a minimum.
pub(super) struct Q5<const MINIMUM: bool>;
pub(super) struct Q2K;
pub(super) struct Q3K;
/// 4 or 5 bits.
pub(super) struct Q45K<const FIVE: bool>;
pub(super) struct Q6K;

/// s q − m, with scale and minimum of each half.
#[inline(always)]
fn affine<V: Levels<N>, const N: usize>(
    levels: V::Ints,
    scales: [f32; 2],
    mins: [f32; 2],
) -> [V; N] {
    let levels = V::floats(levels);
    std::array::from_fn(|n| {
        let half = n * V::LANES / 16;
        levels[n].mul_add(V::splat(scales[half]), V::splat(-mins[half]))
    })
}

#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    half(u16::from_le_bytes([block[at], block[at + 1]]))
}

impl<V: Levels<N>, const N: usize, const MINIMUM: bool> Decode<V, N> for Q5<MINIMUM> {
    const BYTES: usize = if MINIMUM { 24 } else { 22 };
    #[inline(always)]
    unsafe fn decode(from: *const u8, _part: usize) -> [V; N] {
        let start = if MINIMUM { 4 } else { 2 };
        // SAFETY: guaranteed by the caller.
        let (d, m, fifth, q) = unsafe {
            let fifth = [word(from.add(start)), word(from.add(start + 2))].map(u32::from);
            let (d, m) = (half(word(from)), half(word(from.add(2))));
            (d, m, fifth[0] | fifth[1] << 16, V::nibbles(from.add(start + 4)))
        };
        let q = V::where_set(q, fifth, 16);
        if MINIMUM { affine(q, [d; 2], [-m; 2]) } else { affine(V::minus(q, 16), [d; 2], [0.0; 2]) }
    }
}

impl<V: Levels<N>, const N: usize> Decode<V, N> for Q2K {
    const BYTES: usize = 84;
    const PARTS: usize = 8;
    #[inline(always)]
    unsafe fn decode(from: *const u8, part: usize) -> [V; N] {
        // SAFETY: guaranteed by the caller.
        let (block, q) =
            unsafe { (bytes(from, 84), V::bits(from.add(16 + part / 4 * 32), part % 4 * 2, 3)) };
        let (d, dmin) = (half_at(block, 80), half_at(block, 82));
        let of = [block[2 * part], block[2 * part + 1]];
        let scales = of.map(|scale| d * f32::from(scale & 15));
        affine(q, scales, of.map(|scale| dmin * f32::from(scale >> 4)))
    }
}

impl<V: Levels<N>, const N: usize> Decode<V, N> for Q3K {
    const BYTES: usize = 110;
    const PARTS: usize = 8;
    #[inline(always)]
    unsafe fn decode(from: *const u8, part: usize) -> [V; N] {
        // SAFETY: guaranteed by the caller.
        let (block, low, high) = unsafe {
            let low = V::bits(from.add(32 + part / 4 * 32), part % 4 * 2, 3);
            (bytes(from, 110), low, V::bits(from, part, 1))
        };
        let d = half_at(block, 108);
        let scale = |group: usize| {
            let low = block[96 + group % 8] >> (group / 8 * 4) & 15;
            let high = block[104 + group % 4] >> (group / 4 * 2) & 3;
            d * (f32::from(low | high << 4) - 32.0)
        };
        let q = V::minus(V::join(low, high, 2), 4);
        affine(q, [scale(2 * part), scale(2 * part + 1)], [0.0; 2])
    }
}

impl<V: Levels<N>, const N: usize, const FIVE: bool> Decode<V, N> for Q45K<FIVE> {
    const BYTES: usize = if FIVE { 176 } else { 144 };
    const PARTS: usize = 8;
    #[inline(always)]
    unsafe fn decode(from: *const u8, part: usize) -> [V; N] {
        // SAFETY: guaranteed by the caller.
        let block = unsafe { bytes(from, 16) };
        let (d, dmin) = (half_at(block, 0), half_at(block, 2));
        let packed = &block[4..16];
        // Of six bits, the upper two of the last four parts are with those of the first.
        let (scale, min) = if part < 4 {
            (packed[part] & 63, packed[part + 4] & 63)
        } else {
            let low = packed[part + 4];
            (low & 15 | packed[part - 4] >> 6 << 4, low >> 4 | packed[part] >> 6 << 4)
        };
        let first = if FIVE { 48 } else { 16 };
        // SAFETY: as above.
        let mut q = unsafe { V::bits(from.add(first + part / 2 * 32), part % 2 * 4, 15) };
        if FIVE {
            // SAFETY: as above.
            q = V::join(q, unsafe { V::bits(from.add(16), part, 1) }, 4);
        }
        affine(q, [d * f32::from(scale); 2], [dmin * f32::from(min); 2])
    }
}

impl<V: Levels<N>, const N: usize> Decode<V, N> for Q6K {
    const BYTES: usize = 210;
    const PARTS: usize = 8;
    #[inline(always)]
    unsafe fn decode(from: *const u8, part: usize) -> [V; N] {
        let (run, place) = (part / 4, part % 4);
        // SAFETY: guaranteed by the caller.
        let (block, low, high) = unsafe {
            let low = V::bits(from.add(64 * run + place % 2 * 32), place / 2 * 4, 15);
            (bytes(from, 210), low, V::bits(from.add(128 + 32 * run), 2 * place, 3))
        };
        let d = half_at(block, 208);
        let scale = |group: usize| d * f32::from(block[192 + group].cast_signed());
        let q = V::minus(V::join(low, high, 4), 32);
        affine(q, [scale(2 * part), scale(2 * part + 1)], [0.0; 2])
    }
}
