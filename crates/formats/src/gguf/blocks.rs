//! From blocks of quantised values to floats, value for value as the Python package `gguf` computes
//! them.

use super::GgmlType;
use super::bits::{half, nibble};
use super::codebooks as book;
use half::{bf16, f16};

/// The values of a tensor; whether its type is one that is read.
pub(super) fn dequantize(dtype: GgmlType, bytes: &[u8], out: &mut [f32]) -> bool {
    use GgmlType as T;
    match dtype {
        T::F32 => plain(bytes, out, f32::from_le_bytes),
        T::F64 => plain(bytes, out, |b| f64::from_le_bytes(b) as f32),
        T::F16 => plain(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        T::BF16 => plain(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        T::Q4_0 => blocks(bytes, out, q4_0),
        T::Q4_1 => blocks(bytes, out, q4_1),
        T::Q5_0 => blocks(bytes, out, q5_0),
        T::Q5_1 => blocks(bytes, out, q5_1),
        T::Q8_0 => blocks(bytes, out, q8_0),
        T::Q2_K => blocks(bytes, out, q2_k),
        T::Q3_K => blocks(bytes, out, q3_k),
        T::Q4_K => blocks(bytes, out, q4_k),
        T::Q5_K => blocks(bytes, out, q5_k),
        T::Q6_K => blocks(bytes, out, q6_k),
        T::TQ1_0 => blocks(bytes, out, tq1_0),
        T::TQ2_0 => blocks(bytes, out, tq2_0),
        T::MXFP4 => blocks(bytes, out, mxfp4),
        T::NVFP4 => blocks(bytes, out, nvfp4),
        T::IQ4_NL => blocks(bytes, out, book::iq4_nl),
        T::IQ4_XS => blocks(bytes, out, book::iq4_xs),
        T::IQ3_XXS => blocks(bytes, out, book::iq3_xxs),
        T::IQ3_S => blocks(bytes, out, book::iq3_s),
        T::IQ2_XXS => blocks(bytes, out, book::iq2_xxs),
        T::IQ2_XS => blocks(bytes, out, book::iq2_xs),
        T::IQ2_S => blocks(bytes, out, book::iq2_s),
        T::IQ1_S => blocks(bytes, out, book::iq1_s),
        T::IQ1_M => blocks(bytes, out, book::iq1_m),
        _ => return false,
    }
    true
}

fn plain<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    for (out, &bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = read(bytes);
    }
}

fn blocks<const N: usize, const B: usize>(
    bytes: &[u8],
    out: &mut [f32],
    read: impl Fn(&[u8; B], &mut [f32; N]),
) {
    for (block, out) in bytes.as_chunks::<B>().0.iter().zip(out.as_chunks_mut::<N>().0) {
        read(block, out);
    }
}

fn bit(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 8] >> (i % 8) & 1
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(nibble(&block[2..], i) as i8 - 8);
    }
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(nibble(&block[4..], i)) + m;
    }
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        let q = nibble(&block[6..], i) | bit(&block[2..], i) << 4;
        *out = d * f32::from(q as i8 - 16);
    }
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        let q = nibble(&block[8..], i) | bit(&block[4..], i) << 4;
        *out = d * f32::from(q) + m;
    }
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half(block, 0);
    for (out, &q) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(q as i8) * d;
    }
}

/// Value i of 2-bit ones: four runs of 32 values share 32 bytes.
fn pair(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 80), half(block, 82));
    for (i, out) in out.iter_mut().enumerate() {
        let scale = block[i / 16];
        let q = f32::from(pair(&block[16..], i));
        *out = d * f32::from(scale & 15) * q - dmin * f32::from(scale >> 4);
    }
}

fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = half(block, 108);
    let (high, quants, scales) = (&block[..32], &block[32..96], &block[96..108]);
    for (i, out) in out.iter_mut().enumerate() {
        let group = i / 16;
        let scale =
            nibble(&scales[..8], group) | (scales[8 + group % 4] >> (group / 4 * 2) & 3) << 4;
        // The offset is zero where the bit is set.
        let offset = (high[i % 32] >> (i / 32) & 1 ^ 1) << 2;
        let q = pair(quants, i) as i8 - offset as i8;
        *out = d * f32::from(scale as i8 - 32) * f32::from(q);
    }
}

/// The 6-bit scale and minimum of a group.
fn scale_min(scales: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (scales[group] & 63, scales[group + 4] & 63);
    }
    let low = scales[group + 4];
    (low & 15 | scales[group - 4] >> 6 << 4, low >> 4 | scales[group] >> 6 << 4)
}

fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        let (scale, min) = scale_min(&block[4..16], i / 32);
        let q = nibble(&block[16 + i / 64 * 32..][..32], i % 64);
        *out = d * f32::from(scale) * f32::from(q) - dmin * f32::from(min);
    }
}

fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        let (scale, min) = scale_min(&block[4..16], i / 32);
        let high = block[16 + i % 32] >> (i / 32) & 1;
        let q = nibble(&block[48 + i / 64 * 32..][..32], i % 64) | high << 4;
        *out = d * f32::from(scale) * f32::from(q) - dmin * f32::from(min);
    }
}

fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half(block, 208);
    for (i, out) in out.iter_mut().enumerate() {
        let low = nibble(&block[i / 128 * 64..][..64], i % 128);
        let q = low | pair(&block[128..192], i) << 4;
        let scale = block[192 + i / 16] as i8;
        *out = d * f32::from(scale) * f32::from(q as i8 - 32);
    }
}

const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    let d = half(block, 52);
    for (i, out) in out.iter_mut().enumerate() {
        let (byte, power) = match i {
            0..160 => (block[i % 32], i / 32),
            160..240 => (block[32 + i % 16], (i - 160) / 16),
            _ => (block[48 + i % 4], (i - 240) / 4),
        };
        let q = byte.wrapping_mul(POWERS[power]);
        *out = d * f32::from(((u16::from(q) * 3) >> 8) as i8 - 1);
    }
}

fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half(block, 64);
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(pair(&block[..64], i) as i8 - 1);
    }
}

/// Twice the values of a 4-bit float.
const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    // Half of a power of two.
    let e = u32::from(block[0]);
    let d = f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 });
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(E2M1[usize::from(nibble(&block[1..], i))]);
    }
}

fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let byte = block[group];
        let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
        let d = match byte {
            0 | 0x7f => 0.0,
            _ if exponent == 0 => mantissa / 512.0 * 0.5,
            _ => (1.0 + mantissa / 8.0) * f32::powi(2.0, exponent - 7) * 0.5,
        };
        for (i, out) in out.iter_mut().enumerate() {
            *out = d * f32::from(E2M1[usize::from(nibble(&block[4 + 8 * group..][..8], i))]);
        }
    }
}
