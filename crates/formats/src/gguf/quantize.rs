//! From floats to blocks of quantised values, byte for byte as llama.cpp makes them.

use super::GgmlType;
use half::{bf16, f16};

/// Appends values in a form; whether it is one that is written.
pub(super) fn quantize(dtype: GgmlType, values: &[f32], out: &mut Vec<u8>) -> bool {
    match dtype {
        GgmlType::F32 => out.extend(values.iter().flat_map(|x| x.to_le_bytes())),
        GgmlType::F16 => out.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
        GgmlType::BF16 => out.extend(values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes())),
        GgmlType::Q8_0 => blocks(values, out, q8_0),
        GgmlType::Q4_0 => blocks(values, out, q4_0),
        GgmlType::Q4_1 => blocks(values, out, q4_1),
        _ => return false,
    }
    true
}

fn blocks(values: &[f32], out: &mut Vec<u8>, write: impl Fn(&[f32; 32], &mut Vec<u8>)) {
    values.as_chunks().0.iter().for_each(|block| write(block, out));
}

fn half(x: f32, out: &mut Vec<u8>) {
    out.extend(f16::from_f32(x).to_le_bytes());
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// 16 bytes of two values each: value i with value i + 16.
fn nibbles(block: &[f32; 32], out: &mut Vec<u8>, quant: impl Fn(f32) -> f32) {
    let q = |x: f32| (quant(x) as u8).min(15);
    out.extend((0..16).map(|i| q(block[i]) | q(block[i + 16]) << 4));
}

fn q8_0(block: &[f32; 32], out: &mut Vec<u8>) {
    let d = block.iter().fold(0f32, |most, x| most.max(x.abs())) / 127.0;
    let id = inverse(d);
    half(d, out);
    out.extend(block.iter().map(|x| (x * id).round() as i8 as u8));
}

fn q4_0(block: &[f32; 32], out: &mut Vec<u8>) {
    // The value furthest from zero, the first of equal ones.
    let most = block.iter().fold(0f32, |most, &x| if x.abs() > most.abs() { x } else { most });
    let d = most / -8.0;
    let id = inverse(d);
    half(d, out);
    nibbles(block, out, |x| x * id + 8.5);
}

fn q4_1(block: &[f32; 32], out: &mut Vec<u8>) {
    let (min, max) =
        block.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
    let d = (max - min) / 15.0;
    let id = inverse(d);
    half(d, out);
    half(min, out);
    nibbles(block, out, |x| (x - min) * id + 0.5);
}
