//! Windows over images of `f32`: products of matrices where channels meet, plain sums where each
//! channel is on its own.

use super::super::data::Data;
use super::super::session::Call;
use super::super::tensor::{Tensor, count};
use super::window::Window;
use ff_kernels::{MatRef, Planes, Windows, for_rows, gemm, plane_sums, window_sums};

/// Up to so many windows of an image, they are the rows of a product, and its kernels the matrix
/// that is packed.
const FEW: usize = 32;

/// Values of padded images at a time: half of a second cache of 512 KiB.
const BAND: usize = 1 << 16;

/// A window of two dimensions; one of one dimension has a height of 1.
#[derive(Clone, Copy)]
struct Plane {
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    before: [usize; 2],
    out: [usize; 2],
}

impl Plane {
    fn of(window: &Window) -> Option<Self> {
        let before: Vec<usize> =
            window.before.iter().map(|&p| usize::try_from(p).ok()).collect::<Option<_>>()?;
        let Window { size, kernel, stride, dilation, out, .. } = window;
        Self::with([size, kernel, stride, dilation, out], &before)
    }

    /// Of the image, the kernel, its stride and dilation and the result, and before the image.
    fn with(
        [size, kernel, stride, dilation, out]: [&[usize]; 5],
        before: &[usize],
    ) -> Option<Self> {
        let two = |v: &[usize], one: usize| match *v {
            [x] => Some([one, x]),
            [y, x] => Some([y, x]),
            _ => None,
        };
        Some(Self {
            size: two(size, 1)?,
            kernel: two(kernel, 1)?,
            stride: two(stride, 1)?,
            dilation: two(dilation, 1)?,
            before: two(before, 0)?,
            out: two(out, 1)?,
        })
    }

    fn area(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Rows of windows that make about `BAND` values of padded images, of which all make `n`.
    fn rows_within(&self, n: usize) -> usize {
        let least = 2 * self.kernel[0] * self.dilation[0] / self.stride[0];
        let rows = self.out[0] * BAND / n.max(1);
        if rows < self.out[0] { rows.max(least).clamp(1, self.out[0]) } else { self.out[0] }
    }

    fn places(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// The positions of the result, from first to last, whose tap `k` of axis `a` lies within the
    /// image.
    #[inline(always)]
    fn within(&self, a: usize, k: usize) -> (usize, usize) {
        let (shift, stride) = (k * self.dilation[a], self.stride[a]);
        let first = self.before[a].saturating_sub(shift).div_ceil(stride);
        let end = (self.size[a] + self.before[a]).saturating_sub(shift).div_ceil(stride);
        (first.min(self.out[a]), end.min(self.out[a]).max(first.min(self.out[a])))
    }

    /// A row of the image under tap `k` of the windows of row `y`.
    #[inline(always)]
    fn row(&self, y: usize, k: usize) -> Option<usize> {
        (y * self.stride[0] + k * self.dilation[0])
            .checked_sub(self.before[0])
            .filter(|&row| row < self.size[0])
    }
}

/// A convolution of `f32` in one or two dimensions; `None` for any other.
pub(super) fn conv(c: &Call<'_>, window: &Window, groups: usize) -> Result<Option<Tensor>, String> {
    let (x, w) = (c.input(0)?, c.input(1)?);
    let (Data::F32(images), Data::F32(weights)) = (x.data(), w.data()) else { return Ok(None) };
    let bias = match c.get(2).map(Tensor::data) {
        None => None,
        Some(Data::F32(bias)) => Some(bias.as_slice()),
        Some(_) => return Ok(None),
    };
    let Some(plane) = Plane::of(window) else { return Ok(None) };
    let (n, outputs) = (x.dims()[0], w.dims()[0]);
    let dims = [&[n, outputs], &window.out[..]].concat();
    let mut y = c.room(count(&dims)?);
    let places = plane.places();
    if y.is_empty() || images.is_empty() {
        return Ok(None);
    }
    let per_group = w.dims()[1];
    let (depth, each) = (per_group * plane.area(), outputs / groups);
    let size = plane.size[0] * plane.size[1];
    if groups == 1 && places <= FEW {
        count(&[n, places, depth])?;
        // Windows are rows here, and channels columns.
        let (mut rows, mut found) = (c.room(n * places * depth), c.room(n * places * outputs));
        let images = images.chunks_exact(per_group * size);
        for (image, to) in images.zip(rows.chunks_exact_mut(places * depth)) {
            plane.rows(image, to);
        }
        super::linear::by_rows(
            c,
            &rows,
            || MatRef::new(weights, outputs, depth).t(),
            bias,
            &mut found,
        );
        let found_rows = found.chunks_exact(places * outputs);
        for (found, y) in found_rows.zip(y.chunks_exact_mut(places * outputs)) {
            transpose(found, places, outputs, y);
        }
        c.done(rows);
        c.done(found);
        return Ok(Some(Tensor::of(&dims, y.into())?));
    }
    if per_group == 1 && each == 1 && plane.dilation[0] == 1 && plane.stride[1] <= 2 {
        let reach = plane.out[1] + (plane.kernel[1] - 1) * plane.dilation[1];
        count(&[plane.size[0], reach])?;
        let planes = Planes {
            images,
            size: plane.size,
            before: plane.before,
            weights,
            bias,
            kernel: plane.kernel,
            stride: plane.stride,
            dilation: plane.dilation[1],
            windows: plane.out,
        };
        plane_sums(c.cpu(), &planes, &mut y);
        return Ok(Some(Tensor::of(&dims, y.into())?));
    }
    let layout = Layout::of(&plane, per_group)?;
    count(&[groups, layout.group])?;
    let whole = layout.is_image(&plane);
    // Some rows at a time, whose padded values stay in the second cache.
    let band = if whole { plane.out[0] } else { plane.rows_within(groups * layout.group) };
    let mut padded = Vec::new();
    let images = images.chunks_exact(groups * per_group * size);
    for (image, y) in images.zip(y.chunks_exact_mut(outputs * places)) {
        for first in (0..plane.out[0]).step_by(band) {
            let rows = band.min(plane.out[0] - first);
            let part = Plane { out: [rows, plane.out[1]], ..plane };
            let own = (rows < plane.out[0]).then(|| Layout::of(&part, per_group)).transpose()?;
            let layout = own.as_ref().unwrap_or(&layout);
            if !whole {
                let n = groups * layout.group;
                if padded.len() < n {
                    c.done(std::mem::replace(&mut padded, c.room(n)));
                }
                layout.fill(c, &part, first, image, &mut padded[..n]);
            }
            let windows = Windows {
                images: if whole { image } else { &padded[..groups * layout.group] },
                group: layout.group,
                taps: &layout.taps,
                weights,
                bias,
                outputs: each,
                size: part.out,
                pitch: layout.pitch,
                apart: places,
            };
            window_sums(c.cpu(), &windows, &mut y[first * plane.out[1]..]);
        }
    }
    c.done(padded);
    Ok(Some(Tensor::of(&dims, y.into())?))
}

/// The sums that a transposed convolution of `f32` in one or two dimensions adds to the result;
/// `None` for any other.
pub(super) fn transposed(
    c: &Call<'_>,
    [stride, dilation, before]: [&[i64]; 3],
    out: &[usize],
    groups: usize,
) -> Result<Option<Tensor>, String> {
    let (x, w) = (c.input(0)?, c.input(1)?);
    let (Data::F32(images), Data::F32(weights)) = (x.data(), w.data()) else { return Ok(None) };
    let bias = match c.get(2).map(Tensor::data) {
        None => None,
        Some(Data::F32(bias)) => Some(bias.as_slice()),
        Some(_) => return Ok(None),
    };
    let all = |v: &[i64]| -> Vec<usize> { v.iter().map(|&x| x as usize).collect() };
    // The convolution whose gradient it is goes from the result to the input.
    let window = [out, &w.dims()[2..], &all(stride), &all(dilation), &x.dims()[2..]];
    let Some(plane) = Plane::with(window, &all(before)) else { return Ok(None) };
    let (n, channels, per_group) = (x.dims()[0], x.dims()[1], w.dims()[1]);
    let dims = [&[n, per_group * groups], out].concat();
    let mut y = c.room(count(&dims)?);
    let (size, places, each) = (plane.size[0] * plane.size[1], plane.places(), channels / groups);
    let depth = per_group * plane.area();
    if y.is_empty() || images.is_empty() || depth == 0 {
        return Ok(None);
    }
    let bias = |i: usize| bias.map_or(0.0, |bias| bias[i % bias.len()]);
    let tiled = plane.kernel == plane.stride
        && plane.before == [0, 0]
        && plane.dilation == [1, 1]
        && (0..2).all(|a| plane.out[a] * plane.stride[a] == plane.size[a]);
    if !tiled {
        for (i, row) in y.chunks_exact_mut(size).enumerate() {
            row.fill(bias(i));
        }
    }
    count(&[depth, places])?;
    let mut columns = c.room(depth * places);
    for (i, y) in y.chunks_exact_mut(per_group * size).enumerate() {
        let image = &images[i * each * places..][..each * places];
        let kernels = &weights[i % groups * each * depth..][..each * depth];
        let (kernels, image) =
            (MatRef::new(kernels, each, depth).t(), MatRef::new(image, each, places));
        gemm(c.cpu(), kernels, image, &mut columns, false);
        if !tiled {
            plane.fold(&columns, y);
            continue;
        }
        for_rows(
            c.cpu(),
            per_group,
            size,
            [(y, size)],
            #[inline(always)]
            |k, [y]| {
                let columns = &columns[k * size..][..size];
                plane.spread(columns, bias(i * per_group + k), y);
            },
        );
    }
    c.done(columns);
    Ok(Some(Tensor::of(&dims, y.into())?))
}

fn transpose(x: &[f32], rows: usize, cols: usize, y: &mut [f32]) {
    for (j, y) in y.chunks_exact_mut(rows).enumerate().take(cols) {
        for (y, x) in y.iter_mut().zip(x[j..].iter().step_by(cols)) {
            *y = *x;
        }
    }
}

impl Plane {
    /// The windows of an image as a matrix: a row for each place, a column for each channel and
    /// tap.
    fn rows(&self, image: &[f32], to: &mut [f32]) {
        let [height, width] = self.kernel;
        let size = self.size[0] * self.size[1];
        let rows = to.chunks_exact_mut(image.len() / size * self.area());
        for (place, to) in rows.enumerate() {
            let (y, x) = (place / self.out[1], place % self.out[1] * self.stride[1]);
            // The taps whose columns lie within the image.
            let tap = |column: usize| column.saturating_sub(x).div_ceil(self.dilation[1]);
            let first = tap(self.before[1]).min(width);
            let end = tap(self.size[1] + self.before[1]).clamp(first, width);
            let taps = to.chunks_exact_mut(width);
            let rows =
                image.chunks_exact(size).flat_map(|image| (0..height).map(move |k| (image, k)));
            for ((image, k), to) in rows.zip(taps) {
                let Some(row) = self.row(y, k).filter(|_| first < end) else {
                    to.fill(0.0);
                    continue;
                };
                let start = x + first * self.dilation[1] - self.before[1];
                let row = image[row * self.size[1]..][..self.size[1]][start..].iter();
                to[..first].fill(0.0);
                to[end..].fill(0.0);
                for (to, x) in to[first..end].iter_mut().zip(row.step_by(self.dilation[1])) {
                    *to = *x;
                }
            }
        }
    }
}

impl Plane {
    /// What each row of a matrix holds for a tap of one channel, plus a bias, where windows lie
    /// side by side.
    #[inline(always)]
    fn spread(&self, columns: &[f32], bias: f32, image: &mut [f32]) {
        let (kernel, width) = (self.kernel, self.out[1]);
        let lines = |ky: usize, i: usize| &columns[ky * kernel[1] * self.places() + i * width..];
        for (row, to) in image.chunks_exact_mut(self.size[1]).enumerate() {
            let lines = lines(row % kernel[0], row / kernel[0]);
            if kernel[1] == 2 {
                let (a, b) = (&lines[..width], &lines[self.places()..][..width]);
                for (to, (a, b)) in to.chunks_exact_mut(2).zip(a.iter().zip(b)) {
                    to[0] = a + bias;
                    to[1] = b + bias;
                }
                continue;
            }
            for kx in 0..kernel[1] {
                let line = &lines[kx * self.places()..][..width];
                for (to, x) in to[kx..].iter_mut().step_by(kernel[1]).zip(line) {
                    *to = x + bias;
                }
            }
        }
    }

    /// Adds to images what each row of a matrix holds for a channel and a tap.
    fn fold(&self, columns: &[f32], images: &mut [f32]) {
        let size = self.size[0] * self.size[1];
        let width = self.out[1];
        let mut lines = columns.chunks_exact(self.places());
        for image in images.chunks_exact_mut(size) {
            for ky in 0..self.kernel[0] {
                for kx in 0..self.kernel[1] {
                    let Some(line) = lines.next() else { return };
                    let (from, end) = self.within(1, kx);
                    if from == end {
                        continue;
                    }
                    let start = from * self.stride[1] + kx * self.dilation[1] - self.before[1];
                    for (i, line) in line.chunks_exact(width).enumerate() {
                        let Some(row) = self.row(i, ky) else { continue };
                        let row = &mut image[row * self.size[1]..][..self.size[1]][start..];
                        let row = row.iter_mut().step_by(self.stride[1]);
                        for (to, x) in row.zip(&line[from..end]) {
                            *to += x;
                        }
                    }
                }
            }
        }
    }
}

/// Where [`Windows`] has the values of an image: its channels with their padding; with a stride,
/// each channel as images of every so many rows and columns, from each that a tap starts at.
struct Layout {
    /// First row and column of each of these images.
    starts: Vec<[usize; 2]>,
    /// Their rows and columns.
    rows: usize,
    pitch: usize,
    /// The values of a group.
    group: usize,
    taps: Vec<usize>,
}

impl Layout {
    fn of(plane: &Plane, per_group: usize) -> Result<Self, String> {
        let [kernel, stride, dilation] = [plane.kernel, plane.stride, plane.dilation];
        let reach = |a: usize| plane.out[a] + (kernel[a] - 1) * dilation[a] / stride[a];
        let [rows, pitch] = [reach(0), reach(1)];
        let mut starts: Vec<[usize; 2]> = Vec::new();
        let mut within = Vec::with_capacity(plane.area());
        for ky in 0..kernel[0] {
            for kx in 0..kernel[1] {
                let tap = [ky * dilation[0], kx * dilation[1]];
                let start = [tap[0] % stride[0], tap[1] % stride[1]];
                let known = starts.iter().position(|s| *s == start);
                let image = known.unwrap_or_else(|| {
                    starts.push(start);
                    starts.len() - 1
                });
                within.push((image * rows + tap[0] / stride[0]) * pitch + tap[1] / stride[1]);
            }
        }
        let group = count(&[per_group, starts.len(), rows, pitch])?;
        let channel = starts.len() * rows * pitch;
        let taps = (0..per_group).flat_map(|c| within.iter().map(move |tap| c * channel + tap));
        let taps = taps.collect();
        Ok(Self { starts, rows, pitch, group, taps })
    }

    /// Whether the image has the values in this order already.
    fn is_image(&self, plane: &Plane) -> bool {
        self.starts == [[0, 0]] && plane.before == [0, 0] && [self.rows, self.pitch] == plane.size
    }

    /// The values of an image for windows from row `first` on.
    fn fill(&self, c: &Call<'_>, plane: &Plane, first: usize, image: &[f32], to: &mut [f32]) {
        let size = plane.size[0] * plane.size[1];
        let channel = self.starts.len() * self.rows * self.pitch;
        for_rows(
            c.cpu(),
            to.len() / channel,
            channel,
            [(to, channel)],
            #[inline(always)]
            |i, [to]| self.fill_channel(plane, first, &image[i * size..][..size], to),
        );
    }

    #[inline(always)]
    fn fill_channel(&self, plane: &Plane, first_row: usize, from: &[f32], to: &mut [f32]) {
        let [height, width] = plane.size;
        let images = to.chunks_exact_mut(self.rows * self.pitch);
        for (&[top, left], to) in self.starts.iter().zip(images) {
            // The columns that lie within the image.
            let stride = plane.stride[1];
            let first = plane.before[1].saturating_sub(left).div_ceil(stride);
            let end = (width + plane.before[1]).saturating_sub(left).div_ceil(stride);
            let (first, end) = (first.min(self.pitch), end.min(self.pitch));
            for (i, to) in to.chunks_exact_mut(self.pitch).enumerate() {
                let row = ((first_row + i) * plane.stride[0] + top).checked_sub(plane.before[0]);
                let Some(row) = row.filter(|&row| row < height && first < end) else {
                    to.fill(0.0);
                    continue;
                };
                let row = &from[row * width..][..width];
                let row = &row[first * stride + left - plane.before[1]..];
                to[..first].fill(0.0);
                to[end..].fill(0.0);
                let to = &mut to[first..end];
                match stride {
                    1 => to.copy_from_slice(&row[..to.len()]),
                    2 => every_other(row, to),
                    _ => {
                        for (y, x) in to.iter_mut().zip(row.iter().step_by(stride)) {
                            *y = *x;
                        }
                    }
                }
            }
        }
    }
}

/// Every second value.
#[inline(always)]
fn every_other(from: &[f32], to: &mut [f32]) {
    let whole = to.len().min(from.len() / 2);
    for (y, x) in to[..whole].iter_mut().zip(from.chunks_exact(2)) {
        *y = x[0];
    }
    if let (Some(y), Some(x)) = (to.get_mut(whole), from.get(2 * whole)) {
        *y = *x;
    }
}

/// The largest of each window of `f32`; `None` for other types and dimensions.
pub(super) fn max(c: &Call<'_>, window: &Window) -> Result<Option<Tensor>, String> {
    let greater = |y, x| if x > y { x } else { y };
    pooled(c, window, f32::NEG_INFINITY, greater, |_, _| {})
}

/// The mean of each window of `f32`, with the padding if `whole`; `None` for other types and
/// dimensions.
pub(super) fn average(
    c: &Call<'_>,
    window: &Window,
    whole: bool,
) -> Result<Option<Tensor>, String> {
    let mean = |plane: &Plane, y: &mut [f32]| {
        let sizes = if whole { window.padded() } else { plane.counts() };
        let inverse: Vec<f32> = sizes.into_iter().map(|n| 1.0 / n as f32).collect();
        for y in y.chunks_exact_mut(inverse.len()) {
            y.iter_mut().zip(&inverse).for_each(|(y, inverse)| *y *= inverse);
        }
    };
    pooled(c, window, 0.0, |y, x| y + x, mean)
}

impl Plane {
    /// How many values of the image each window holds.
    fn counts(&self) -> Vec<usize> {
        let along = |a: usize| -> Vec<usize> {
            let mut n = vec![0; self.out[a]];
            for k in 0..self.kernel[a] {
                let (from, end) = self.within(a, k);
                n[from..end].iter_mut().for_each(|n| *n += 1);
            }
            n
        };
        let (rows, columns) = (along(0), along(1));
        rows.iter().flat_map(|&n| columns.iter().map(move |m| n * m)).collect()
    }
}

/// f over the values of each window, from a first one on, and then `finish` over all of them.
#[inline(always)]
fn pooled(
    c: &Call<'_>,
    window: &Window,
    first: f32,
    f: impl Fn(f32, f32) -> f32 + Sync + Copy,
    finish: impl Fn(&Plane, &mut [f32]),
) -> Result<Option<Tensor>, String> {
    let x = c.input(0)?;
    let (Data::F32(images), Some(plane)) = (x.data(), Plane::of(window)) else { return Ok(None) };
    let dims = [&x.dims()[..2], &window.out[..]].concat();
    let mut y = c.room(count(&dims)?);
    let (size, places) = (plane.size[0] * plane.size[1], plane.places());
    if y.is_empty() || images.is_empty() {
        return Ok(None);
    }
    for_rows(
        c.cpu(),
        y.len() / places,
        places * plane.area(),
        [(&mut y, places)],
        #[inline(always)]
        |i, [y]| {
            y.fill(first);
            let image = &images[i * size..][..size];
            for (oy, y) in y.chunks_exact_mut(plane.out[1]).enumerate() {
                for ky in 0..plane.kernel[0] {
                    let Some(row) = plane.row(oy, ky) else { continue };
                    let row = &image[row * plane.size[1]..][..plane.size[1]];
                    for kx in 0..plane.kernel[1] {
                        let (from, end) = plane.within(1, kx);
                        if from == end {
                            continue;
                        }
                        let start =
                            from * plane.stride[1] + kx * plane.dilation[1] - plane.before[1];
                        let (y, row, own) = (&mut y[from..end], &row[start..], f);
                        match plane.stride[1] {
                            1 => {
                                for (y, &x) in y.iter_mut().zip(row) {
                                    *y = own(*y, x);
                                }
                            }
                            2 => {
                                let (pairs, rest) = row.as_chunks::<2>();
                                let n = y.len().min(pairs.len());
                                for (y, x) in y[..n].iter_mut().zip(pairs) {
                                    *y = own(*y, x[0]);
                                }
                                if let (Some(y), [x]) = (y.get_mut(n), rest) {
                                    *y = own(*y, *x);
                                }
                            }
                            stride => {
                                for (y, &x) in y.iter_mut().zip(row.iter().step_by(stride)) {
                                    *y = own(*y, x);
                                }
                            }
                        }
                    }
                }
            }
        },
    );
    finish(&plane, &mut y);
    Ok(Some(Tensor::of(&dims, y.into())?))
}
