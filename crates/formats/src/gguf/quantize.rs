//! From floats to blocks of quantised values, byte for byte as llama.cpp makes them.

use super::{GgmlType, k_quants as k};
use half::{bf16, f16};

/// Appends values in a form; whether it is one that is written.
pub(super) fn quantize(dtype: GgmlType, values: &[f32], out: &mut Vec<u8>) -> bool {
    match dtype {
        GgmlType::F32 => out.extend(values.iter().flat_map(|x| x.to_le_bytes())),
        GgmlType::F16 => out.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
        GgmlType::BF16 => out.extend(values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes())),
        GgmlType::Q8_0 => blocks(values, out, q8_0),
        GgmlType::Q4_0 => blocks(values, out, around::<4>),
        GgmlType::Q4_1 => blocks(values, out, between::<4>),
        GgmlType::Q5_0 => blocks(values, out, around::<5>),
        GgmlType::Q5_1 => blocks(values, out, between::<5>),
        GgmlType::Q2_K => blocks(values, out, k::q2_k),
        GgmlType::Q3_K => blocks(values, out, k::q3_k),
        GgmlType::Q4_K => blocks(values, out, k::q4_k),
        GgmlType::Q5_K => blocks(values, out, k::q5_k),
        GgmlType::Q6_K => blocks(values, out, k::q6_k),
        _ => return false,
    }
    true
}

fn blocks<const N: usize>(
    values: &[f32],
    out: &mut Vec<u8>,
    write: impl Fn(&[f32; N], &mut Vec<u8>),
) {
    values.as_chunks().0.iter().for_each(|block| write(block, out));
}

fn half(x: f32, out: &mut Vec<u8>) {
    out.extend(f16::from_f32(x).to_le_bytes());
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// 16 bytes of two values each: value i with value i + 16; of 5 bits, the fifth ones come before.
fn packed<const BITS: u32>(block: &[f32; 32], out: &mut Vec<u8>, quant: impl Fn(f32) -> f32) {
    let q = block.map(|x| (quant(x) as u8).min((1 << BITS) - 1));
    if BITS == 5 {
        let bits = q.iter().rev().fold(0u32, |bits, q| bits << 1 | u32::from(q >> 4));
        out.extend(bits.to_le_bytes());
    }
    out.extend((0..16).map(|i| q[i] & 15 | q[i + 16] << 4));
}

fn q8_0(block: &[f32; 32], out: &mut Vec<u8>) {
    let d = block.iter().fold(0f32, |most, x| most.max(x.abs())) / 127.0;
    let id = inverse(d);
    half(d, out);
    out.extend(block.iter().map(|x| (x * id).round() as i8 as u8));
}

/// Levels around zero; the value furthest from it, the first of equal ones, has the lowest.
fn around<const BITS: u32>(block: &[f32; 32], out: &mut Vec<u8>) {
    let most = block.iter().fold(0f32, |most, &x| if x.abs() > most.abs() { x } else { most });
    let zero = (1 << (BITS - 1)) as f32;
    let d = most / -zero;
    let id = inverse(d);
    half(d, out);
    packed::<BITS>(block, out, |x| x * id + (zero + 0.5));
}

/// Levels from the minimum to the maximum.
fn between<const BITS: u32>(block: &[f32; 32], out: &mut Vec<u8>) {
    let (min, max) =
        block.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
    let d = (max - min) / ((1 << BITS) - 1) as f32;
    let id = inverse(d);
    half(d, out);
    half(min, out);
    packed::<BITS>(block, out, |x| (x - min) * id + 0.5);
}
