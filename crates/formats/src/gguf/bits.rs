//! Values of two bytes and of half a byte.

use half::f16;

/// A 16-bit float at a place of a block.
pub(super) fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// A 4-bit value: the low halves of 16 bytes come before the high ones.
pub(super) fn nibble(bytes: &[u8], i: usize) -> u8 {
    let n = bytes.len();
    if i < n { bytes[i] & 15 } else { bytes[i - n] >> 4 }
}
