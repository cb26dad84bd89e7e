//! Weighted sums over windows of single channels: depthwise convolutions.
//!
//! A tile has several rows of results. A register of an image's row serves each of them that has
//! the row under its window, and rows outside the image are left out, so that most of the work of
//! an image of few rows is never done.

use crate::rows::Shared;
use crate::simd::{Work, dispatch};
use crate::vector::Vector;
use ff_tensor::{CpuDevice, Isa};
use std::marker::PhantomData;
use std::ops::Range;

/// Multiply-adds that justify a task.
const WORTH_A_TASK: usize = 1 << 16;

/// Values behind a plane that registers may read: three registers of 16.
const SLACK: usize = 48;

/// Images of one channel each, and windows on them.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    /// The images `[planes, height, width]`.
    pub images: &'a [f32],
    /// Height and width.
    pub size: [usize; 2],
    /// Zeros before the first row and column.
    pub before: [usize; 2],
    /// The weights `[channels, kernel height, kernel width]`; plane i has those of channel
    /// i mod channels.
    pub weights: &'a [f32],
    /// The bias of each channel.
    pub bias: Option<&'a [f32]>,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// The steps between windows.
    pub stride: [usize; 2],
    /// The columns between taps; those of neighbouring rows lie in neighbouring rows.
    pub dilation: usize,
    /// Rows and columns of windows.
    pub windows: [usize; 2],
}

/// `y[p, i, j] = bias[c] + Σ weights[c, a, b] · image[p, s₀i + a − before₀, s₁j + d·b − before₁]`,
/// with c = p mod channels; outside the image nothing is added.
///
/// # Shapes
/// → y `[planes, rows, columns]`
///
/// # Panics
/// If lengths do not match.
///
/// ```
/// use ff_kernels::{Planes, plane_sums};
/// // The sums of neighbours in a row of three, with a zero on either side.
/// let mut y = [0.0; 3];
/// let planes = Planes {
///     images: &[1.0, 2.0, 4.0],
///     size: [1, 3],
///     before: [0, 1],
///     weights: &[1.0, 1.0, 1.0],
///     bias: None,
///     kernel: [1, 3],
///     stride: [1, 1],
///     dilation: 1,
///     windows: [1, 3],
/// };
/// plane_sums(ff_tensor::Device::default().cpu(), &planes, &mut y);
/// assert_eq!(y, [3.0, 7.0, 6.0]);
/// ```
pub fn plane_sums(cpu: &CpuDevice, planes: &Planes<'_>, y: &mut [f32]) {
    let Planes { images, size, weights, bias, kernel, windows, .. } = *planes;
    let (image, places) = (size[0] * size[1], windows[0] * windows[1]);
    if y.is_empty() {
        return;
    }
    let (count, area) = (y.len() / places.max(1), kernel[0] * kernel[1]);
    let channels = weights.len() / area.max(1);
    assert!(
        y.len() == count * places
            && images.len() == count * image
            && channels > 0
            && weights.len() == channels * area
            && bias.is_none_or(|bias| bias.len() == channels)
            && planes.stride.iter().all(|&s| s > 0),
        "{count} planes of {size:?} under {channels} kernels of {kernel:?}"
    );
    let layout = Layout::of(planes);
    let out = Shared::new(y);
    let tasks = count.min((count * places * area / WORTH_A_TASK).max(1));
    let task = |task: usize| {
        let range = task * count / tasks..(task + 1) * count / tasks;
        let part = Part { planes, layout: &layout, out: &out, range };
        match cpu.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => dispatch(cpu, Run::<std::arch::x86_64::__m512>(part, PhantomData)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => dispatch(cpu, Run::<std::arch::x86_64::__m256>(part, PhantomData)),
            _ => dispatch(cpu, Run::<[f32; 4]>(part, PhantomData)),
        }
    };
    if tasks == 1 { task(0) } else { cpu.threads().run(tasks, &task) }
}

/// An image's rows with their padding. With a step of several columns, a row is the columns
/// 0, s, 2s, …, then 1, s + 1, …, so that neighbouring windows read neighbouring values.
struct Layout {
    /// The values of each of these parts.
    part: usize,
    /// Where each tap of the first window lies within a row.
    taps: Vec<usize>,
}

impl Layout {
    fn of(planes: &Planes<'_>) -> Self {
        let stride = planes.stride[1];
        let last = planes.kernel[1].saturating_sub(1) * planes.dilation;
        let part = planes.windows[1] + last / stride;
        let place = |tap: usize| tap * planes.dilation;
        let taps = (0..planes.kernel[1]).map(place).map(|x| x % stride * part + x / stride);
        Self { part, taps: taps.collect() }
    }
}

/// Some of the planes.
struct Part<'a> {
    planes: &'a Planes<'a>,
    layout: &'a Layout,
    out: &'a Shared<'a, f32>,
    range: Range<usize>,
}

struct Run<'a, V>(Part<'a>, PhantomData<V>);

impl<V: Vector<T = f32>> Work for Run<'_, V> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let part = self.0;
        let Planes { images, size, weights, bias, kernel, stride, windows, .. } = *part.planes;
        let (image, area) = (size[0] * size[1], kernel[0] * kernel[1]);
        let channels = weights.len() / area;
        // Padding stays zero from plane to plane.
        let mut rows = vec![0.0; size[0] * stride[1] * part.layout.part + SLACK];
        for plane in part.range.clone() {
            part.fill(&images[plane * image..][..image], &mut rows);
            let channel = plane % channels;
            let plane = Plane {
                planes: part.planes,
                taps: &part.layout.taps,
                rows: &rows,
                pitch: stride[1] * part.layout.part,
                weights: &weights[channel * area..][..area],
                bias: bias.map_or(0.0, |bias| bias[channel]),
                // SAFETY: each plane is visited once.
                y: unsafe {
                    part.out.range(plane * windows[0] * windows[1], windows[0] * windows[1])
                },
            };
            plane.sums::<V>();
        }
    }
}

impl Part<'_> {
    /// The rows of an image as the layout has them.
    #[inline(always)]
    fn fill(&self, image: &[f32], to: &mut [f32]) {
        let Planes { size, before, stride, .. } = *self.planes;
        let part = self.layout.part;
        let stride = stride[1];
        let rows = image.chunks_exact(size[1].max(1));
        if stride == 1 {
            let n = size[1].min(part.saturating_sub(before[1]));
            for (row, to) in rows.zip(to.chunks_exact_mut(part)).take_while(|_| n > 0) {
                to[before[1]..][..n].copy_from_slice(&row[..n]);
            }
            return;
        }
        for (row, to) in rows.zip(to.chunks_exact_mut(stride * part)) {
            for (first, to) in to.chunks_exact_mut(part).enumerate() {
                let start = before[1].saturating_sub(first).div_ceil(stride);
                let Some(from) = row.get(start * stride + first - before[1]..) else { continue };
                for (to, x) in to[start.min(part)..].iter_mut().zip(from.iter().step_by(stride)) {
                    *to = *x;
                }
            }
        }
    }
}

/// An image at work.
struct Plane<'a> {
    planes: &'a Planes<'a>,
    taps: &'a [usize],
    rows: &'a [f32],
    pitch: usize,
    weights: &'a [f32],
    bias: f32,
    y: &'a mut [f32],
}

impl Plane<'_> {
    #[inline(always)]
    fn sums<V: Vector<T = f32>>(mut self) {
        let [rows, columns] = self.planes.windows;
        let mut i = 0;
        while i < rows {
            let mut j = 0;
            let left = rows - i;
            while j < columns {
                let registers = (columns - j).div_ceil(V::LANES);
                j += V::LANES
                    * match (left, registers) {
                        (4.., 3..) => self.tile::<V, 4, 3>(i, j),
                        (4.., 2) => self.tile::<V, 4, 2>(i, j),
                        (4.., _) => self.tile::<V, 4, 1>(i, j),
                        (2..=3, 2..) => self.tile::<V, 2, 3>(i, j),
                        (2..=3, _) => self.tile::<V, 2, 1>(i, j),
                        (_, 2..) => self.tile::<V, 1, 3>(i, j),
                        (_, _) => self.tile::<V, 1, 1>(i, j),
                    };
            }
            i += match left {
                4.. => 4,
                2..=3 => 2,
                _ => 1,
            };
        }
    }

    /// `R` rows from `i` on of `NV` registers from column `j` on; returns `NV`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    fn tile<V: Vector<T = f32>, const R: usize, const NV: usize>(
        &mut self,
        i: usize,
        j: usize,
    ) -> usize {
        let [rows, columns] = self.planes.windows;
        debug_assert!(i + R <= rows);
        let sums = self.registers::<V, R, NV>(i, j);
        let bias = V::splat(self.bias);
        for r in 0..R {
            let y = &mut self.y[(i + r) * columns..][j..columns];
            for v in 0..NV {
                let left = y.len().saturating_sub(v * V::LANES).min(V::LANES);
                let to = y.as_mut_ptr().wrapping_add(v * V::LANES);
                // SAFETY: the row has as many values as the mask has lanes.
                unsafe { sums[r][v].plus(bias).write_some(to, V::mask(left)) };
            }
        }
        NV
    }

    #[inline(always)]
    // Indexed loops, which the compiler unrolls: only then do values stay in registers.
    #[allow(clippy::needless_range_loop)]
    fn registers<V: Vector<T = f32>, const R: usize, const NV: usize>(
        &self,
        i: usize,
        j: usize,
    ) -> [[V; NV]; R] {
        let Planes { size, before, kernel, stride, windows, .. } = *self.planes;
        // The last register of a row reads into the next row, or into the slack.
        assert!(
            j < windows[1]
                && NV * V::LANES <= SLACK
                && self.rows.len() >= size[0] * self.pitch + SLACK
                && self.weights.len() >= kernel[0] * kernel[1]
                && self.taps.len() == kernel[1]
        );
        let step = stride[0];
        let mut sums = [[V::splat(0.0); NV]; R];
        // The rows of the image under these windows.
        let start = before[0].saturating_sub(i * step);
        let end = (size[0] + before[0]).saturating_sub(i * step).min((R - 1) * step + kernel[0]);
        for t in start..end {
            let row = &self.rows[(i * step + t - before[0]) * self.pitch..];
            // The results that have this row under their window.
            let first = (t + 1).saturating_sub(kernel[0]);
            // Divisions take longer than a row of a small kernel.
            let (first, last) =
                if step == 1 { (first, t) } else { (first.div_ceil(step), t / step) };
            // With constant bounds, the loop over results has no branches.
            let part = Row { taps: self.taps, values: &row[j..], weights: self.weights, t, step };
            match (first, last.min(R - 1)) {
                (0, 0) => part.add::<V, R, NV>(0, 0, &mut sums),
                (0, 1) if R > 1 => part.add::<V, R, NV>(0, 1, &mut sums),
                (0, 2) if R > 2 => part.add::<V, R, NV>(0, 2, &mut sums),
                (0, 3) if R > 3 => part.add::<V, R, NV>(0, 3, &mut sums),
                (1, l) if l == R - 1 => part.add::<V, R, NV>(1, R - 1, &mut sums),
                (2, l) if l == R - 1 => part.add::<V, R, NV>(2, R - 1, &mut sums),
                (3, l) if l == R - 1 => part.add::<V, R, NV>(3, R - 1, &mut sums),
                (first, last) => part.add::<V, R, NV>(first, last, &mut sums),
            }
        }
        sums
    }
}

/// A row of the image under the windows of some results.
struct Row<'a> {
    taps: &'a [usize],
    /// From the first window's first column on.
    values: &'a [f32],
    weights: &'a [f32],
    /// The row, from the first one under the first window, and the step between windows.
    t: usize,
    step: usize,
}

impl Row<'_> {
    /// Adds it to the results from `first` to `last`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    fn add<V: Vector<T = f32>, const R: usize, const NV: usize>(
        &self,
        first: usize,
        last: usize,
        sums: &mut [[V; NV]; R],
    ) {
        let kernel = self.taps.len();
        for (b, &tap) in self.taps.iter().enumerate() {
            let from = self.values.as_ptr().wrapping_add(tap);
            let mut x = [V::splat(0.0); NV];
            for v in 0..NV {
                // SAFETY: a tap's windows lie within its row, and a register reaches at most
                // `SLACK` values behind one of them.
                x[v] = unsafe { V::read(from.wrapping_add(v * V::LANES)) };
            }
            for r in 0..R {
                if first <= r && r <= last {
                    // SAFETY: t − r · step is a row of the kernel for these results.
                    let w = unsafe {
                        *self.weights.get_unchecked((self.t - r * self.step) * kernel + b)
                    };
                    let w = V::splat(w);
                    for v in 0..NV {
                        sums[r][v] = w.mul_add(x[v], sums[r][v]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{Device, DeviceOptions, Key, Rng};

    /// The definition, in f64.
    fn reference(p: &Planes<'_>, count: usize) -> Vec<f64> {
        let ([height, width], [kh, kw]) = (p.size, p.kernel);
        let channels = p.weights.len() / (kh * kw);
        let mut y = Vec::new();
        for plane in 0..count {
            let image = &p.images[plane * height * width..];
            let channel = plane % channels;
            for i in 0..p.windows[0] {
                for j in 0..p.windows[1] {
                    let mut sum = p.bias.map_or(0.0, |bias| f64::from(bias[channel]));
                    for a in 0..kh {
                        for b in 0..kw {
                            let row = (i * p.stride[0] + a).checked_sub(p.before[0]);
                            let col = (j * p.stride[1] + b * p.dilation).checked_sub(p.before[1]);
                            let (Some(row), Some(col)) = (row, col) else { continue };
                            if row < height && col < width {
                                let w = p.weights[(channel * kh + a) * kw + b];
                                sum += f64::from(w) * f64::from(image[row * width + col]);
                            }
                        }
                    }
                    y.push(sum);
                }
            }
        }
        y
    }

    #[test]
    fn sums_are_those_of_the_definition_on_any_number_of_threads() {
        let mut rng = Rng::new(Key::new(8));
        let mut values =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.uniform() as f32 * 2.0 - 1.0).collect() };
        for (count, channels, size, kernel, stride, dilation, before) in [
            (1, 1, [1, 1], [1, 1], [1, 1], 1, [0, 0]),
            (6, 3, [2, 96], [5, 5], [1, 1], 1, [2, 2]),
            (4, 4, [3, 37], [3, 3], [1, 1], 1, [1, 1]),
            (5, 5, [13, 33], [7, 7], [1, 1], 1, [3, 3]),
            (2, 1, [9, 100], [5, 3], [2, 1], 1, [2, 1]),
            (3, 3, [11, 70], [3, 3], [2, 2], 1, [1, 1]),
            (2, 2, [6, 51], [1, 4], [3, 3], 2, [0, 3]),
            (2, 2, [1, 500], [1, 31], [1, 1], 1, [0, 30]),
            (90, 9, [20, 41], [3, 3], [1, 1], 1, [0, 0]),
            // A window that sees padding alone.
            (1, 1, [1, 1], [2, 2], [1, 1], 1, [4, 4]),
        ] {
            let reach = |a: usize, d: usize| size[a] + 2 * before[a] - d * (kernel[a] - 1) - 1;
            let windows = [reach(0, 1) / stride[0] + 1, reach(1, dilation) / stride[1] + 1];
            let (images, weights) =
                (values(count * size[0] * size[1]), values(channels * kernel[0] * kernel[1]));
            let bias = values(channels);
            let planes = Planes {
                images: &images,
                size,
                before,
                weights: &weights,
                bias: Some(&bias),
                kernel,
                stride,
                dilation,
                windows,
            };
            let expected = reference(&planes, count);
            for isa in [Isa::Plain, Isa::Avx2, Isa::Avx512] {
                if isa > Isa::detect() {
                    continue;
                }
                let [one, three] = [1, 3].map(|threads| {
                    let device = Device::open(DeviceOptions { threads, isa: Some(isa) }).unwrap();
                    let mut y = vec![f32::NAN; expected.len()];
                    plane_sums(device.cpu(), &planes, &mut y);
                    y
                });
                assert_eq!(one, three, "{isa}");
                // A rounding of at most k + 1 halves of an epsilon for each term in [-1, 1].
                let area = kernel[0] * kernel[1];
                let bound = f64::from(f32::EPSILON) * (area + 2).pow(2) as f64 / 2.0;
                for (i, (y, e)) in one.iter().zip(&expected).enumerate() {
                    let off = (f64::from(*y) - e).abs();
                    assert!(off <= bound, "{isa} {kernel:?} at {i}: {y}, expected {e}");
                }
            }
        }
    }

    #[test]
    fn nan_and_infinity_reach_their_windows_only() {
        let images = [0.0, f32::NAN, 0.0, 0.0, 0.0, f32::INFINITY];
        let planes = Planes {
            images: &images,
            size: [1, 6],
            before: [0, 1],
            weights: &[1.0, 1.0, 1.0],
            bias: None,
            kernel: [1, 3],
            stride: [1, 1],
            dilation: 1,
            windows: [1, 6],
        };
        let mut y = [0.0; 6];
        plane_sums(Device::default().cpu(), &planes, &mut y);
        assert!(y[..3].iter().all(|y| y.is_nan()));
        assert_eq!(y[3..], [0.0, f32::INFINITY, f32::INFINITY]);
    }
}
