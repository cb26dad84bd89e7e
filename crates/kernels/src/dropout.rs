use crate::{Float, for_pieces};
use ff_tensor::{CpuDevice, Key};

/// Philox blocks drawn at a time: one AVX-512 register of 32-bit numbers.
const BLOCKS: usize = 16;
/// The values of a chunk, four numbers per block, are eight bytes of the mask.
const CHUNK: usize = 4 * BLOCKS;

/// The length of the mask of `n` values, a bit each.
///
/// ```
/// assert_eq!(ff_kernels::dropout_mask_len(9), 2);
/// ```
pub fn dropout_mask_len(n: usize) -> usize {
    n.div_ceil(8)
}

/// Draws the mask of dropout: a bit per value, 0 with probability p; value i is bit i mod 8 of byte
/// i / 8.
///
/// The mask is a function of the key and of i, on any thread: value i = 64c + 16w + l is dropped if
/// word w of block 16c + l of the key's stream is less than p · 2³².
///
/// ```
/// let (device, mut mask) = (ff_tensor::Device::default(), [0]);
/// ff_kernels::draw_dropout(device.cpu(), ff_tensor::Key::new(1), 0.0, &mut mask);
/// assert_eq!(mask, [0xff]);
/// ```
pub fn draw_dropout(cpu: &CpuDevice, key: Key, p: f64, mask: &mut [u8]) {
    // The conversion saturates: with p just below 1 the single largest number is still kept.
    let threshold = (p * 4_294_967_296.0).round() as u32;
    #[cfg(target_arch = "x86_64")]
    let vectors = cpu.isa() >= ff_tensor::Isa::Avx512;
    for_pieces(
        cpu,
        mask,
        #[inline(always)]
        |start, mask| {
            // A piece starts at a multiple of a chunk.
            for (c, mask) in mask.chunks_mut(CHUNK / 8).enumerate() {
                let first = (start / (CHUNK / 8) + c) as u64 * BLOCKS as u64;
                #[cfg(target_arch = "x86_64")]
                let blocks = if vectors {
                    // SAFETY: a device is only opened with instructions that the CPU has.
                    unsafe { key.blocks_avx512(first) }
                } else {
                    key.blocks::<BLOCKS>(first)
                };
                #[cfg(not(target_arch = "x86_64"))]
                let blocks = key.blocks::<BLOCKS>(first);
                for (word, mask) in blocks.iter().zip(mask.chunks_mut(BLOCKS / 8)) {
                    let mut bits = 0u16;
                    for (l, &number) in word.iter().enumerate() {
                        bits |= u16::from(number >= threshold) << l;
                    }
                    mask.copy_from_slice(&bits.to_le_bytes()[..mask.len()]);
                }
            }
        },
    );
}

/// y = x ⊙ m, or y += x ⊙ m if `accumulate` is set, with mᵢ = 1 / (1 − p) where the mask of
/// [`draw_dropout`] has a 1 and 0 elsewhere.
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let (x, mut y) = ([1.0f32; 3], [0.0; 3]);
/// ff_kernels::dropout(device.cpu(), &[0b101], 0.5, &x, &mut y, false);
/// assert_eq!(y, [2.0, 0.0, 2.0]);
/// ```
pub fn dropout<T: Float>(
    cpu: &CpuDevice,
    mask: &[u8],
    p: f64,
    x: &[T],
    y: &mut [T],
    accumulate: bool,
) {
    assert_eq!(x.len(), y.len(), "dropout: lengths");
    assert_eq!(mask.len(), dropout_mask_len(x.len()), "dropout: mask");
    let factor = T::of(1.0 / (1.0 - p));
    for_pieces(
        cpu,
        y,
        #[inline(always)]
        |start, y| {
            // Local copies, which writes to y cannot alias: otherwise the loops stay scalar.
            let (factor, accumulate) = (factor, accumulate);
            let x = &x[start..start + y.len()];
            // A piece starts at a whole byte.
            let mask = &mask[start / 8..];
            for ((x, y), mask) in x.chunks(BLOCKS).zip(y.chunks_mut(BLOCKS)).zip(mask.chunks(2)) {
                let bits = mask.iter().rev().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
                if let (Ok(x), Ok(y)) = (<&[T; BLOCKS]>::try_from(x), y.try_into()) {
                    scale(bits, factor, x, y, accumulate);
                    continue;
                }
                for (l, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                    let value = x * kept(bits, l, factor);
                    *y = if accumulate { *y + value } else { value };
                }
            }
        },
    );
}

/// The values of one register.
#[inline(always)]
fn scale<T: Float>(bits: u32, factor: T, x: &[T; BLOCKS], y: &mut [T; BLOCKS], accumulate: bool) {
    if accumulate {
        for l in 0..BLOCKS {
            y[l] += x[l] * kept(bits, l, factor);
        }
    } else {
        for l in 0..BLOCKS {
            y[l] = x[l] * kept(bits, l, factor);
        }
    }
}

/// The factor of value l: a product rather than a selection, so that NaN stays NaN.
#[inline(always)]
fn kept<T: Float>(bits: u32, l: usize, factor: T) -> T {
    if bits & (1 << l) == 0 { T::ZERO } else { factor }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{Device, DeviceOptions};

    #[test]
    fn the_mask_is_the_documented_function_of_key_and_place() {
        let (key, p) = (Key::new(3), 0.3);
        for threads in [1, 2] {
            let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
            for n in [0, 1, 15, 17, 63, 65, 8191, 20_000, 70_000] {
                let x: Vec<f64> = (0..n).map(f64::from).collect();
                let mut y = vec![1.0; x.len()];
                let mut mask = vec![0; dropout_mask_len(x.len())];
                draw_dropout(device.cpu(), key, p, &mut mask);
                dropout(device.cpu(), &mask, p, &x, &mut y, true);
                let mut alone = vec![f64::NAN; x.len()];
                dropout(device.cpu(), &mask, p, &x, &mut alone, false);
                for (i, (&y, &alone)) in y.iter().zip(&alone).enumerate() {
                    let (chunk, word, lane) = (i / 64, i % 64 / 16, i % 16);
                    let bits = key.block((16 * chunk + lane) as u64)[word];
                    let kept = f64::from(bits) >= (p * 2f64.powi(32)).round();
                    let expected = if kept { i as f64 * (1.0 / 0.7) } else { 0.0 };
                    assert_eq!([y, alone], [1.0 + expected, expected]);
                }
            }
        }
    }
}
