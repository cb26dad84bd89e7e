use crate::{Float, for_pieces};
use ff_tensor::{CpuDevice, Key};

/// Philox blocks drawn at a time: one AVX-512 register of 32-bit numbers.
const BLOCKS: usize = 16;
/// Four numbers per block.
const CHUNK: usize = 4 * BLOCKS;

/// y = x ⊙ m, or y += x ⊙ m if `accumulate` is set, with mᵢ = 0 with probability p and 1 / (1 − p)
/// otherwise.
///
/// The mask is a function of the key and of i: forward and backward draw the same one, on any
/// thread. Value i = 64c + 16w + l is dropped if word w of block 16c + l of the key's stream is
/// less than p · 2³².
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let (x, mut y) = ([1.0f32; 100], [0.0; 100]);
/// ff_kernels::dropout(device.cpu(), ff_tensor::Key::new(1), 0.5, &x, &mut y, false);
/// assert!(y.iter().all(|&y| y == 0.0 || y == 2.0));
/// ```
pub fn dropout<T: Float>(
    cpu: &CpuDevice,
    key: Key,
    p: f64,
    x: &[T],
    y: &mut [T],
    accumulate: bool,
) {
    assert_eq!(x.len(), y.len(), "dropout: lengths");
    // The conversion saturates: with p just below 1 the single largest number is still kept.
    let threshold = (p * 4_294_967_296.0).round() as u32;
    let factor = T::of(1.0 / (1.0 - p));
    #[cfg(target_arch = "x86_64")]
    let vectors = cpu.isa() >= ff_tensor::Isa::Avx512;
    for_pieces(
        cpu,
        y,
        #[inline(always)]
        |start, y| {
            // Local copies, which writes to y cannot alias: otherwise the loops stay scalar.
            let (threshold, factor, accumulate) = (threshold, factor, accumulate);
            let x = &x[start..start + y.len()];
            // A piece starts at a multiple of a chunk.
            for (c, (x, y)) in x.chunks(CHUNK).zip(y.chunks_mut(CHUNK)).enumerate() {
                let first = ((start + c * CHUNK) / 4) as u64;
                #[cfg(target_arch = "x86_64")]
                let blocks = if vectors {
                    // SAFETY: a device is only opened with instructions that the CPU has.
                    unsafe { key.blocks_avx512(first) }
                } else {
                    key.blocks::<BLOCKS>(first)
                };
                #[cfg(not(target_arch = "x86_64"))]
                let blocks = key.blocks::<BLOCKS>(first);
                for (word, (x, y)) in blocks.iter().zip(x.chunks(BLOCKS).zip(y.chunks_mut(BLOCKS)))
                {
                    let values = y.iter_mut().zip(x).zip(word);
                    if accumulate {
                        for ((y, &x), &bits) in values {
                            *y += x * mask(bits, threshold, factor);
                        }
                    } else {
                        for ((y, &x), &bits) in values {
                            *y = x * mask(bits, threshold, factor);
                        }
                    }
                }
            }
        },
    );
}

/// The factor of a value: a product rather than a selection, so that NaN stays NaN.
#[inline(always)]
fn mask<T: Float>(bits: u32, threshold: u32, factor: T) -> T {
    if bits < threshold { T::ZERO } else { factor }
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
            for n in [0, 1, 15, 17, 63, 65, 8191, 20_000] {
                let x: Vec<f64> = (0..n).map(f64::from).collect();
                let mut y = vec![1.0; x.len()];
                dropout(device.cpu(), key, p, &x, &mut y, true);
                for (i, &y) in y.iter().enumerate() {
                    let (chunk, word, lane) = (i / 64, i % 64 / 16, i % 16);
                    let bits = key.block((16 * chunk + lane) as u64)[word];
                    let kept = f64::from(bits) >= (p * 2f64.powi(32)).round();
                    assert_eq!(y, 1.0 + if kept { i as f64 * (1.0 / 0.7) } else { 0.0 });
                }
            }
        }
    }
}
