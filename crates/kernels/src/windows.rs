//! Weighted sums over sliding windows, without a matrix of windows.
//!
//! All windows of an image see tap k at the same distance from their first value, so that a product
//! of weights and windows reads the image itself: a register of neighbouring windows is a register
//! of neighbouring values. Windows that lie side by side in memory but reach over the end of a row
//! are computed too, and left out.

use crate::rows::Shared;
use crate::simd::{Work, dispatch};
use crate::vector::Vector;
use ff_tensor::{CpuDevice, Isa};
use std::marker::PhantomData;
use std::ops::Range;

/// Multiply-adds that justify a task.
const WORTH_A_TASK: usize = 1 << 17;

/// The values of a strip of windows, of all outputs or of all channels: a quarter of a second cache
/// of 512 KiB.
const STRIP: usize = 1 << 15;

/// The windows of the widest tile.
const TILE: usize = 48;

/// Taps from which on a strip is one tile: its values then come from the first cache for most
/// outputs.
const DEEP: usize = 128;

/// The most registers of windows in a tile.
const MOST: usize = 8;

/// Images, and windows on them.
///
/// An image is given with its padding. A step of several values is a step of one over images that
/// have every so many values only: `taps` may lie in any of them.
#[derive(Debug, Clone, Copy)]
pub struct Windows<'a> {
    /// The images of each group, one group behind the other.
    pub images: &'a [f32],
    /// The values of a group.
    pub group: usize,
    /// Where each tap of the first window lies within a group.
    pub taps: &'a [usize],
    /// The weights `[groups · outputs, taps]`.
    pub weights: &'a [f32],
    /// The bias of each output.
    pub bias: Option<&'a [f32]>,
    /// The outputs of each group.
    pub outputs: usize,
    /// Rows and columns of windows.
    pub size: [usize; 2],
    /// The distance of two rows of windows in the image.
    pub pitch: usize,
    /// The distance of two outputs' sums in y, where these windows are some rows of more.
    pub apart: usize,
}

/// `y[o, i, j] = bias[o] + Σₖ weights[o, k] · image[taps[k] + i · pitch + j]`, in the order of k.
///
/// # Shapes
/// → y `[groups · outputs, rows, columns]`, outputs `apart` values apart
///
/// # Panics
/// If a window reaches behind its group's last value, or lengths do not match.
///
/// ```
/// use ff_kernels::{Windows, window_sums};
/// // The sums of neighbours in a row of three.
/// let mut y = [0.0; 2];
/// let windows = Windows {
///     images: &[1.0, 2.0, 4.0],
///     group: 3,
///     taps: &[0, 1],
///     weights: &[1.0, 1.0],
///     bias: None,
///     outputs: 1,
///     size: [1, 2],
///     pitch: 3,
///     apart: 2,
/// };
/// window_sums(ff_tensor::Device::default().cpu(), &windows, &mut y);
/// assert_eq!(y, [3.0, 6.0]);
/// ```
pub fn window_sums(cpu: &CpuDevice, windows: &Windows<'_>, y: &mut [f32]) {
    let Windows { images, group, taps, weights, bias, outputs, size, pitch, apart } = *windows;
    let places = size[0] * size[1];
    if y.is_empty() || places == 0 {
        return;
    }
    let groups = y.len().div_ceil((outputs * apart).max(1));
    let all = (size[0] - 1) * pitch + size[1];
    let last = taps.iter().max().map_or(0, |tap| tap + all);
    assert!(
        y.len() >= (groups * outputs).saturating_sub(1) * apart + places
            && places <= apart
            && weights.len() == groups * outputs * taps.len()
            && bias.is_none_or(|bias| bias.len() == groups * outputs)
            && images.len() >= groups * group
            && last <= group
            && size[1] <= pitch,
        "{groups} groups of {outputs} sums of {} values over {size:?} windows",
        taps.len()
    );
    // Rows without a gap between them are one row.
    let (size, pitch) = if size[1] == pitch { ([1, all], all) } else { (size, pitch) };
    let windows = &Windows { size, pitch, ..*windows };
    let strip = if taps.len() >= DEEP {
        TILE
    } else {
        (STRIP / outputs.max(taps.len() / 4).max(1)).clamp(4 * TILE, 4096) / TILE * TILE
    };
    // The last one takes a rest of less than half a strip.
    let strips = ((all + strip / 2) / strip).max(1);
    let out = Shared::new(y);
    let work = groups * outputs * places * taps.len().max(1);
    let tasks = (groups * strips).min((work / WORTH_A_TASK).max(1));
    let task = |task: usize| {
        let from = task * groups * strips / tasks;
        let to = (task + 1) * groups * strips / tasks;
        for i in from..to {
            let start = i % strips * strip;
            let range = start..if (i + 1) % strips == 0 { all } else { start + strip };
            let strip =
                Strip { windows, out: &out, group: i / strips, range, whole: group - last + all };
            match cpu.isa() {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => {
                    dispatch(cpu, Run::<std::arch::x86_64::__m512>(strip, PhantomData));
                }
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => dispatch(cpu, Run::<std::arch::x86_64::__m256>(strip, PhantomData)),
                _ => dispatch(cpu, Run::<[f32; 4]>(strip, PhantomData)),
            }
        }
    };
    if tasks == 1 { task(0) } else { cpu.threads().run(tasks, &task) }
}

/// Some of a group's windows, by the place of their first value in the image.
struct Strip<'a> {
    windows: &'a Windows<'a>,
    out: &'a Shared<'a, f32>,
    group: usize,
    range: Range<usize>,
    /// Where registers of windows end at the latest.
    whole: usize,
}

struct Run<'a, V>(Strip<'a>, PhantomData<V>);

impl<V: Vector<T = f32>> Work for Run<'_, V> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let strip = self.0;
        let mut first = 0;
        // Sums take 24 of 32 registers, or 12 of 16.
        while first < strip.windows.outputs {
            let left = strip.windows.outputs - first;
            first += if V::LANES == 16 && left >= 8 {
                strip.tiles::<V, 8, 3>(first)
            } else if left >= 4 {
                if V::LANES == 16 {
                    strip.tiles::<V, 4, 6>(first)
                } else {
                    strip.tiles::<V, 4, 3>(first)
                }
            } else if left >= 2 {
                strip.tiles::<V, 2, 4>(first)
            } else {
                strip.tiles::<V, 1, MOST>(first)
            };
        }
    }
}

impl Strip<'_> {
    /// `MR` outputs from `first` on, `NV` registers of windows at a time.
    #[inline(always)]
    fn tiles<V: Vector<T = f32>, const MR: usize, const NV: usize>(&self, first: usize) -> usize {
        let Windows { images, group, taps, weights, bias, outputs, size, pitch, apart } =
            *self.windows;
        let images = &images[self.group * group..][..group];
        let output = self.group * outputs + first;
        let depth = taps.len();
        let weights: [&[f32]; MR] =
            std::array::from_fn(|r| &weights[(output + r) * depth..][..depth]);
        let bias: [f32; MR] = std::array::from_fn(|r| bias.map_or(0.0, |bias| bias[output + r]));
        let to = To { out: self.out, output, size, pitch, apart, bias };
        for at in self.range.clone().step_by(NV * V::LANES) {
            let end = self.range.end.min(at + NV * V::LANES);
            let left = end - at;
            if at + NV * V::LANES <= self.whole && left > V::LANES {
                let masks = [V::mask(V::LANES); NV];
                // SAFETY: the registers end within the group.
                let sums = unsafe { sums::<V, MR, NV, false>(images, taps, weights, at, masks) };
                to.keep(sums, at..end);
            } else if left > V::LANES {
                let mut masks = [V::mask(0); NV];
                for (v, mask) in masks.iter_mut().enumerate() {
                    *mask = V::mask(left.saturating_sub(v * V::LANES).min(V::LANES));
                }
                // SAFETY: the lanes of these masks are windows within the group.
                let sums = unsafe { sums::<V, MR, NV, true>(images, taps, weights, at, masks) };
                to.keep(sums, at..end);
            } else {
                let masks = [V::mask(left)];
                // SAFETY: as above.
                let sums = unsafe { sums::<V, MR, 1, true>(images, taps, weights, at, masks) };
                to.keep(sums, at..end);
            }
        }
        MR
    }
}

/// Where the sums of a tile's outputs go.
struct To<'a, const MR: usize> {
    out: &'a Shared<'a, f32>,
    /// The first output.
    output: usize,
    size: [usize; 2],
    pitch: usize,
    apart: usize,
    bias: [f32; MR],
}

impl<const MR: usize> To<'_, MR> {
    /// Writes the sums of these windows, with the bias of each output.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    fn keep<V: Vector<T = f32>, const NV: usize>(&self, sums: [[V; NV]; MR], range: Range<usize>) {
        let Self { out, output, size, pitch, apart, bias } = *self;
        if size[0] == 1 {
            for r in 0..MR {
                // SAFETY: each task has its own windows, or its own group.
                let y = unsafe { out.range((output + r) * apart + range.start, range.len()) };
                let bias = V::splat(bias[r]);
                for v in 0..NV {
                    let left = y.len().saturating_sub(v * V::LANES).min(V::LANES);
                    let to = y.as_mut_ptr().wrapping_add(v * V::LANES);
                    // SAFETY: as many values lie behind this place.
                    unsafe { sums[r][v].plus(bias).write_some(to, V::mask(left)) };
                }
            }
            return;
        }
        let mut found = [[0.0f32; 16 * MOST]; MR];
        for r in 0..MR {
            let bias = V::splat(bias[r]);
            for v in 0..NV {
                sums[r][v].plus(bias).store(&mut found[r][v * V::LANES..]);
            }
        }
        // The rows in which these windows lie.
        let mut j = range.start;
        while j < range.end {
            let (row, column) = (j / pitch, j % pitch);
            let next = range.end.min((row + 1) * pitch);
            if column < size[1] {
                let some = (size[1] - column).min(next - j);
                for (r, found) in found.iter().enumerate() {
                    let to = (output + r) * apart + row * size[1] + column;
                    // SAFETY: as above.
                    let y = unsafe { out.range(to, some) };
                    y.copy_from_slice(&found[j - range.start..][..some]);
                }
            }
            j = next;
        }
    }
}

/// The sums of a tile of windows, the first at `at`: all of them, or those in the masks.
///
/// # Safety
/// Behind each tap, the registers from `at` on, or their lanes in the masks, lie within the images.
/// There is a weight for each tap.
#[inline(always)]
unsafe fn sums<V: Vector<T = f32>, const MR: usize, const NV: usize, const SOME: bool>(
    images: &[f32],
    taps: &[usize],
    weights: [&[f32]; MR],
    at: usize,
    masks: [V::Mask; NV],
) -> [[V; NV]; MR] {
    let mut sums = [[V::splat(0.0); NV]; MR];
    for (k, &tap) in taps.iter().enumerate() {
        let from = images.as_ptr().wrapping_add(tap + at);
        let mut x = [V::splat(0.0); NV];
        // Indexed loops, which the compiler unrolls: only then do values stay in registers.
        for v in 0..NV {
            let from = from.wrapping_add(v * V::LANES);
            // SAFETY: guaranteed by the caller.
            x[v] = unsafe { if SOME { V::read_some(from, masks[v]) } else { V::read(from) } };
        }
        for r in 0..MR {
            // SAFETY: as above.
            let w = V::splat(unsafe { *weights[r].get_unchecked(k) });
            for v in 0..NV {
                sums[r][v] = w.mul_add(x[v], sums[r][v]);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{Device, DeviceOptions, Key, Rng};

    /// The definition, in f64.
    fn reference(w: &Windows<'_>, groups: usize) -> Vec<f64> {
        let depth = w.taps.len();
        let mut y = Vec::new();
        for output in 0..groups * w.outputs {
            let images = &w.images[output / w.outputs * w.group..];
            for i in 0..w.size[0] {
                for j in 0..w.size[1] {
                    let term = |k: usize| {
                        let x = images[w.taps[k] + i * w.pitch + j];
                        f64::from(w.weights[output * depth + k]) * f64::from(x)
                    };
                    let bias = w.bias.map_or(0.0, |bias| f64::from(bias[output]));
                    y.push(bias + (0..depth).map(term).sum::<f64>());
                }
            }
        }
        y
    }

    #[test]
    fn sums_are_those_of_the_definition_on_any_number_of_threads() {
        let mut rng = Rng::new(Key::new(7));
        let mut values =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.uniform() as f32 * 2.0 - 1.0).collect() };
        for (groups, outputs, channels, size, extra) in [
            (1, 1, 1, [1, 1], 0),
            (1, 13, 3, [7, 5], 2),
            (2, 8, 2, [1, 100], 4),
            (3, 1, 1, [9, 33], 2),
            (1, 31, 5, [40, 41], 0),
            (1, 4, 0, [3, 3], 1),
            (1, 13, 70, [5, 23], 2),
            (2, 5, 401, [1, 61], 0),
        ] {
            let pitch = size[1] + extra;
            let plane = (size[0] + 2) * pitch;
            let group = channels.max(1) * plane;
            let taps: Vec<usize> = (0..channels)
                .flat_map(|c| (0..3).flat_map(move |y| (0..=extra).map(move |x| (c, y, x))))
                .map(|(c, y, x)| c * plane + y * pitch + x)
                .collect();
            let images = values(groups * group);
            let weights = values(groups * outputs * taps.len());
            let bias = values(groups * outputs);
            let windows = Windows {
                images: &images,
                group,
                taps: &taps,
                weights: &weights,
                bias: Some(&bias),
                outputs,
                size,
                pitch,
                apart: size[0] * size[1],
            };
            let expected = reference(&windows, groups);
            for isa in [Isa::Plain, Isa::Avx2, Isa::Avx512] {
                if isa > Isa::detect() {
                    continue;
                }
                let [one, three] = [1, 3].map(|threads| {
                    let device = Device::open(DeviceOptions { threads, isa: Some(isa) }).unwrap();
                    let mut y = vec![f32::NAN; expected.len()];
                    window_sums(device.cpu(), &windows, &mut y);
                    y
                });
                assert_eq!(one, three, "{isa}");
                // A rounding of at most k + 1 halves of an epsilon for each term in [-1, 1].
                let bound = f64::from(f32::EPSILON) * (taps.len() + 2).pow(2) as f64 / 2.0;
                for (y, e) in one.iter().zip(&expected) {
                    assert!((f64::from(*y) - e).abs() <= bound, "{isa}: {y}, expected {e}");
                }
            }
        }
    }

    #[test]
    fn nan_and_infinity_reach_their_windows_only() {
        let images = [0.0, f32::NAN, 0.0, 0.0, f32::INFINITY];
        let windows = Windows {
            images: &images,
            group: 5,
            taps: &[0, 1],
            weights: &[1.0, 1.0],
            bias: None,
            outputs: 1,
            size: [1, 4],
            pitch: 4,
            apart: 4,
        };
        let mut y = [0.0; 4];
        window_sums(Device::default().cpu(), &windows, &mut y);
        assert!(y[0].is_nan() && y[1].is_nan());
        assert_eq!(y[2..], [0.0, f32::INFINITY]);
    }
}
