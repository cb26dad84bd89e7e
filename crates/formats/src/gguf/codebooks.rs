//! Blocks whose values come from a codebook.

use super::bits::{half, nibble};

/// The codebooks, as `tests/fixtures/gguf/make.py` writes them: for each entry its values.
const BOOKS: &[u8; 33_792] = include_bytes!("codebooks.bin");
const IQ2_XXS: usize = 0;
const IQ2_XS: usize = IQ2_XXS + 256 * 8;
const IQ2_S: usize = IQ2_XS + 512 * 8;
const IQ3_XXS: usize = IQ2_S + 1024 * 8;
const IQ3_S: usize = IQ3_XXS + 256 * 4;
const IQ1: usize = IQ3_S + 512 * 4;

/// Value i of an entry of N values.
fn entry<const N: usize>(book: usize, entry: u16, i: usize) -> f32 {
    f32::from(BOOKS[book + usize::from(entry) * N + i] as i8)
}

fn signed(x: f32, negative: u8) -> f32 {
    if negative & 1 == 1 { -x } else { x * 1.0 }
}

/// Seven signs, and an eighth that makes the number of negative ones even.
fn signs(seven: u32) -> u8 {
    let seven = (seven & 127) as u8;
    seven | ((seven.count_ones() & 1) as u8) << 7
}

fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// 16 values, closer together near zero.
const UNEVEN: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(UNEVEN[usize::from(nibble(&block[2..], i))]);
    }
}

pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let (d, high) = (half(block, 0), u16_at(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        let group = i / 32;
        let low = block[4 + group / 2] >> (group % 2 * 4) & 15;
        let scale = low | ((high >> (2 * group) & 3) as u8) << 4;
        let q = UNEVEN[usize::from(nibble(&block[8 + 16 * group..][..16], i % 32))];
        *out = d * f32::from(scale as i8 - 32) * f32::from(q);
    }
}

pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        let (at, part) = (2 + i / 32 * 8, i % 32 / 8);
        let word = u32_at(block, at + 4);
        let db = d * (0.5 + (word >> 28) as f32) * 0.25;
        let value = entry::<8>(IQ2_XXS, block[at + part].into(), i % 8);
        *out = signed(db * value, signs(word >> (7 * part)) >> (i % 8));
    }
}

pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        let q = u16_at(block, 2 + i / 8 * 2);
        let scale = block[66 + i / 32] >> (i % 32 / 16 * 4) & 15;
        let db = d * (0.5 + f32::from(scale)) * 0.25;
        *out = signed(db * entry::<8>(IQ2_XS, q & 511, i % 8), signs(u32::from(q >> 9)) >> (i % 8));
    }
}

pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        let part = i / 8;
        let high = block[66 + part / 4] >> (part % 4 * 2) & 3;
        let q = u16::from(block[2 + part]) | u16::from(high) << 8;
        let scale = block[74 + i / 32] >> (i % 32 / 16 * 4) & 15;
        let db = d * (0.5 + f32::from(scale)) * 0.25;
        *out = signed(db * entry::<8>(IQ2_S, q, i % 8), block[34 + part] >> (i % 8));
    }
}

pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        let word = u32_at(block, 66 + i / 32 * 4);
        let db = d * (0.5 + (word >> 28) as f32) * 0.5;
        let value = entry::<4>(IQ3_XXS, block[2 + i / 4].into(), i % 4);
        *out = signed(db * value, signs(word >> (7 * (i % 32 / 8))) >> (i % 8));
    }
}

pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        let part = i / 4;
        let high = block[66 + part / 8] >> (part % 8) & 1;
        let q = u16::from(block[2 + part]) | u16::from(high) << 8;
        let scale = block[106 + i / 64] >> (i % 64 / 32 * 4) & 15;
        let db = d * f32::from(1 + 2 * scale);
        *out = signed(db * entry::<4>(IQ3_S, q, i % 4), block[74 + i / 8] >> (i % 8));
    }
}

/// How far all values of a group are moved.
const DELTA: f32 = 0.125;

pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let d = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        let word = u16_at(block, 34 + i / 32 * 2);
        let dl = d * f32::from(2 * (word >> 12 & 7) + 1);
        let delta = if word & 0x8000 == 0 { DELTA } else { -DELTA };
        let q = u16::from(block[2 + i / 8]) | (word >> (3 * (i % 32 / 8)) & 7) << 8;
        *out = dl * (entry::<8>(IQ1, q, i % 8) + delta);
    }
}

pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let scales = &block[48..];
    // The scale of all is spread over the highest four bits of the others.
    let d = (0..4).fold(0, |d, k| d | u16_at(scales, 2 * k) >> 12 << (4 * k));
    let d = half::f16::from_bits(d).to_f32();
    for (i, out) in out.iter_mut().enumerate() {
        let group = i / 16;
        let scale = u16_at(scales, group / 4 * 2) >> (3 * (group % 4)) & 7;
        let dl = d * f32::from(2 * scale + 1);
        let high = block[32 + group] >> (i % 16 / 8 * 4);
        let delta = if high & 8 == 0 { DELTA } else { -DELTA };
        let q = u16::from(block[i / 8]) | u16::from(high & 7) << 8;
        *out = dl * (entry::<8>(IQ1, q, i % 8) + delta);
    }
}
