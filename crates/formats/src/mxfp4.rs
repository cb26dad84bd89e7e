//! MXFP4 as safetensors files hold it: blocks of 32 values and their scales as tensors of bytes.

/// The values of 4 bits: a sign, two bits of an exponent, one of a fraction.
const VALUES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The values of blocks of 16 bytes, the lower half of a byte first, times 2 to the power of their
/// scale less 127; `None` if the numbers of bytes do not fit together (Rouhani et al., "OCP
/// Microscaling Formats", 2023).
///
/// ```
/// let mut block = [0u8; 16];
/// (block[0], block[15]) = (0x91, 0x70);
/// let values = ff_formats::mxfp4(&block, &[128]).unwrap();
/// assert_eq!((values[0], values[1], values[31]), (1.0, -1.0, 12.0));
/// assert!(ff_formats::mxfp4(&block, &[128, 128]).is_none());
/// ```
pub fn mxfp4(blocks: &[u8], scales: &[u8]) -> Option<Vec<f32>> {
    if blocks.len() != 16 * scales.len() {
        return None;
    }
    let mut values = Vec::with_capacity(2 * blocks.len());
    for (block, &scale) in blocks.chunks_exact(16).zip(scales) {
        let scale = 2f64.powi(i32::from(scale) - 127) as f32;
        for &byte in block {
            for bits in [byte & 15, byte >> 4] {
                let value = VALUES[usize::from(bits & 7)];
                values.push(scale * if bits & 8 == 0 { value } else { -value });
            }
        }
    }
    Some(values)
}
