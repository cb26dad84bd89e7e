use crate::{Float, for_pieces, rows::Shared};
use ff_tensor::{CpuDevice, Isa, Key};

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

/// y = x ⊙ m with mᵢ = 0 with probability p and 1 / (1 − p) otherwise; `mask` gets a bit per value,
/// 1 where it is kept: value i is bit i mod 8 of byte i / 8.
///
/// The mask is a function of the key and of i, on any thread: value i = 64c + 16w + l is dropped if
/// word w of block 16c + l of the key's stream is less than p · 2³².
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let (x, mut y, mut mask) = ([1.0f32; 100], [0.0; 100], [0; 13]);
/// ff_kernels::dropout(device.cpu(), ff_tensor::Key::new(1), 0.5, &x, &mut y, &mut mask);
/// assert!(y.iter().all(|&y| y == 0.0 || y == 2.0));
/// ```
pub fn dropout<T: Float>(cpu: &CpuDevice, key: Key, p: f64, x: &[T], y: &mut [T], mask: &mut [u8]) {
    assert_eq!(x.len(), y.len(), "dropout: lengths");
    assert_eq!(mask.len(), dropout_mask_len(x.len()), "dropout: mask");
    // The conversion saturates: with p just below 1 the single largest number is still kept.
    let threshold = (p * 4_294_967_296.0).round() as u32;
    let factor = T::of(1.0 / (1.0 - p));
    let isa = cpu.isa();
    let mask = Shared::new(mask);
    for_pieces(
        cpu,
        y,
        #[inline(always)]
        |start, y| {
            // Local copies, which writes to y cannot alias: otherwise the loops stay scalar.
            let (threshold, factor, isa) = (threshold, factor, isa);
            let x = &x[start..start + y.len()];
            // SAFETY: a piece starts at a multiple of a chunk, so that pieces have bytes of their
            // own, and each is visited once.
            let mask = unsafe { mask.range(start / 8, dropout_mask_len(y.len())) };
            let chunks = x.chunks(CHUNK).zip(y.chunks_mut(CHUNK)).zip(mask.chunks_mut(CHUNK / 8));
            for (c, ((x, y), mask)) in chunks.enumerate() {
                let first = ((start + c * CHUNK) / 4) as u64;
                let (blocks, bits) = draw(isa, key, first, threshold);
                let bits = bits.to_le_bytes();
                match <&mut [u8; CHUNK / 8]>::try_from(&mut *mask) {
                    Ok(mask) => *mask = bits,
                    Err(_) => mask.copy_from_slice(&bits[..mask.len()]),
                }
                let words = blocks.iter().zip(x.chunks(BLOCKS).zip(y.chunks_mut(BLOCKS)));
                for (numbers, (x, y)) in words {
                    // A product rather than a selection, so that NaN stays NaN.
                    for ((y, &x), &number) in y.iter_mut().zip(x).zip(numbers) {
                        *y = x * if number < threshold { T::ZERO } else { factor };
                    }
                }
            }
        },
    );
}

/// dx = dy ⊙ m, or dx += dy ⊙ m if `accumulate` is set, with the mask that [`dropout`] drew.
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let (dy, mut dx) = ([1.0f32; 3], [0.0; 3]);
/// ff_kernels::dropout_backward(device.cpu(), &[0b101], 0.5, &dy, &mut dx, false);
/// assert_eq!(dx, [2.0, 0.0, 2.0]);
/// ```
pub fn dropout_backward<T: Float>(
    cpu: &CpuDevice,
    mask: &[u8],
    p: f64,
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    assert_eq!(dy.len(), dx.len(), "dropout: lengths");
    assert_eq!(mask.len(), dropout_mask_len(dy.len()), "dropout: mask");
    let factor = T::of(1.0 / (1.0 - p));
    for_pieces(
        cpu,
        dx,
        #[inline(always)]
        |start, dx| {
            let (factor, accumulate) = (factor, accumulate);
            let dy = &dy[start..start + dx.len()];
            // A piece starts at a whole byte.
            let words =
                dy.chunks(BLOCKS).zip(dx.chunks_mut(BLOCKS)).zip(mask[start / 8..].chunks(2));
            for ((dy, dx), mask) in words {
                let bits = u32::from(mask[0]) | u32::from(mask.get(1).copied().unwrap_or(0)) << 8;
                // A product rather than a selection, so that NaN stays NaN.
                let m = |l: u32| if bits >> l & 1 == 0 { T::ZERO } else { factor };
                let values = dx.iter_mut().zip(dy).zip(0..);
                if accumulate {
                    values.for_each(|((dx, &dy), l)| *dx += dy * m(l));
                } else {
                    values.for_each(|((dx, &dy), l)| *dx = dy * m(l));
                }
            }
        },
    );
}

/// The blocks of a chunk from this one on, and a bit for each number: whether it is at least the
/// threshold.
#[inline(always)]
fn draw(isa: Isa, key: Key, first: u64, threshold: u32) -> ([[u32; BLOCKS]; 4], u64) {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512 {
        // SAFETY: a device is only opened with instructions that the CPU has.
        return unsafe { key.blocks_at_least_avx512(first, threshold) };
    }
    let blocks = key.blocks::<BLOCKS>(first);
    let mut bits = 0;
    for (w, numbers) in blocks.iter().enumerate() {
        let mut word = 0;
        for (l, &number) in numbers.iter().enumerate() {
            word |= u16::from(number >= threshold) << l;
        }
        bits |= u64::from(word) << (BLOCKS * w);
    }
    (blocks, bits)
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
                let mut alone = vec![f64::NAN; x.len()];
                dropout(device.cpu(), key, p, &x, &mut alone, &mut mask);
                dropout_backward(device.cpu(), &mask, p, &x, &mut y, true);
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
