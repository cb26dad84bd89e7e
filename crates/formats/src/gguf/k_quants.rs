//! From floats to K-quants, byte for byte as llama.cpp makes them without an importance matrix:
//! blocks of 256 values in groups, whose scales are quantised too.
//!
//! The groups of a block are fitted side by side, one in each lane, so that every sum has its
//! order.

use half::f16;
use std::array::from_fn;

/// Value i of group l at `[i][l]`.
type Groups<const N: usize, const L: usize> = [[f32; L]; N];

/// Groups whose largest value is smaller count as zeros.
const ZERO: f32 = 1e-15;

fn groups<const N: usize, const L: usize>(block: &[f32; 256]) -> Groups<N, L> {
    from_fn(|i| from_fn(|l| block[l * N + i]))
}

/// The nearest integer, of a tie the even one: adding 1.5 · 2^23 leaves it in the lower bits. Past
/// 2^22 other bits remain, those of llama.cpp.
#[inline(always)]
fn nearest(x: f32) -> i32 {
    ((x + 12_582_912.0).to_bits() & 0x007f_ffff).cast_signed() - 0x0040_0000
}

/// Scales s and minima m of groups, x ≈ s q − m, and the levels q.
struct Fit<const N: usize, const L: usize> {
    scale: [f32; L],
    min: [f32; L],
    levels: [[i32; L]; N],
}

/// Numbers of levels that the range of a group is tried to have: `first + step · i` more than there
/// are.
struct Tries {
    first: f32,
    step: f32,
    last: u8,
}

/// The least weighted error of s q − m with q of 0 to `most`, among some tries; for `absolute` the
/// sum of absolute errors, otherwise of squares.
fn affine<const N: usize, const L: usize>(
    x: &Groups<N, L>,
    weights: &Groups<N, L>,
    most: i32,
    tries: &Tries,
    absolute: bool,
) -> Fit<N, L> {
    let (mut min, mut max, mut sum_w) = (x[0], x[0], weights[0]);
    let mut sum_x: [f32; L] = from_fn(|l| weights[0][l] * x[0][l]);
    for (x, w) in x.iter().zip(weights).skip(1) {
        for l in 0..L {
            min[l] = if x[l] < min[l] { x[l] } else { min[l] };
            max[l] = if x[l] > max[l] { x[l] } else { max[l] };
            sum_w[l] += w[l];
            sum_x[l] += w[l] * x[l];
        }
    }
    min = min.map(|min| if min > 0.0 { 0.0 } else { min });
    let flat: [bool; L] = from_fn(|l| max[l] == min[l]);
    let level = |inverse: &[f32; L], min: &[f32; L], x: &[f32; L]| -> [i32; L] {
        from_fn(|l| nearest(inverse[l] * (x[l] - min[l])).clamp(0, most))
    };
    let error = |scale: &[f32; L], min: &[f32; L], levels: &[[i32; L]; N]| {
        let mut error = [0.0; L];
        for ((x, w), q) in x.iter().zip(weights).zip(levels) {
            for l in 0..L {
                let more = scale[l] * q[l] as f32 + min[l] - x[l];
                error[l] += w[l] * if absolute { more.abs() } else { more * more };
            }
        }
        error
    };
    let inverse: [f32; L] = from_fn(|l| most as f32 / (max[l] - min[l]));
    let mut scale = inverse.map(|inverse| 1.0 / inverse);
    let mut levels: [[i32; L]; N] = from_fn(|i| level(&inverse, &min, &x[i]));
    let mut best = error(&scale, &min, &levels);
    for i in 0..=tries.last {
        let more = tries.first + tries.step * f32::from(i) + most as f32;
        let inverse: [f32; L] = from_fn(|l| more / (max[l] - min[l]));
        let tried: [[i32; L]; N] = from_fn(|i| level(&inverse, &min, &x[i]));
        let (mut sum_q, mut sum_q2, mut sum_xq) = ([0.0; L], [0.0; L], [0.0; L]);
        for ((x, w), q) in x.iter().zip(weights).zip(&tried) {
            for l in 0..L {
                let wq = w[l] * q[l] as f32;
                sum_q[l] += wq;
                sum_q2[l] += wq * q[l] as f32;
                sum_xq[l] += wq * x[l];
            }
        }
        // The scale and minimum of least squares for these levels; a minimum above zero has no
        // form.
        let determinant: [f32; L] = from_fn(|l| sum_w[l] * sum_q2[l] - sum_q[l] * sum_q[l]);
        let free: [f32; L] =
            from_fn(|l| (sum_q2[l] * sum_x[l] - sum_q[l] * sum_xq[l]) / determinant[l]);
        let its_min = free.map(|min| if min > 0.0 { 0.0 } else { min });
        let its_scale: [f32; L] = from_fn(|l| {
            let both = (sum_w[l] * sum_xq[l] - sum_x[l] * sum_q[l]) / determinant[l];
            if free[l] > 0.0 { sum_xq[l] / sum_q2[l] } else { both }
        });
        let its = error(&its_scale, &its_min, &tried);
        let better: [bool; L] = from_fn(|l| determinant[l] > 0.0 && its[l] < best[l]);
        for l in 0..L {
            best[l] = if better[l] { its[l] } else { best[l] };
            scale[l] = if better[l] { its_scale[l] } else { scale[l] };
            min[l] = if better[l] { its_min[l] } else { min[l] };
        }
        for (q, tried) in levels.iter_mut().zip(&tried) {
            for l in 0..L {
                q[l] = if better[l] { tried[l] } else { q[l] };
            }
        }
    }
    for l in (0..L).filter(|&l| flat[l]) {
        scale[l] = 0.0;
        for q in &mut levels {
            q[l] = 0;
        }
    }
    Fit { scale, min: min.map(|min| -min), levels }
}

/// The value furthest from zero of each group, the first of equal ones.
fn furthest<const N: usize, const L: usize>(x: &Groups<N, L>) -> [f32; L] {
    let mut most = [0f32; L];
    for x in x {
        for l in 0..L {
            most[l] = if x[l].abs() > most[l].abs() { x[l] } else { most[l] };
        }
    }
    most
}

/// Scales s of x ≈ s q with q of −`half` to `half` − 1, by the squares of x, among 19 tries; levels
/// count from zero on.
fn symmetric<const N: usize, const L: usize>(x: &Groups<N, L>, half: i32) -> Fit<N, L> {
    let most = furthest(x);
    let level = |inverse: &[f32; L], x: &[f32; L]| -> [i32; L] {
        from_fn(|l| nearest(inverse[l] * x[l]).clamp(-half, half - 1))
    };
    let sums = |levels: &[[i32; L]; N]| {
        let (mut sum_xq, mut sum_q2) = ([0.0; L], [0.0; L]);
        for (x, q) in x.iter().zip(levels) {
            for l in 0..L {
                let (w, q) = (x[l] * x[l], q[l] as f32);
                sum_xq[l] += w * x[l] * q;
                sum_q2[l] += w * q * q;
            }
        }
        (sum_xq, sum_q2)
    };
    let inverse = most.map(|most| -half as f32 / most);
    let mut levels: [[i32; L]; N] = from_fn(|i| level(&inverse, &x[i]));
    let (sum_xq, sum_q2) = sums(&levels);
    let mut scale: [f32; L] =
        from_fn(|l| if sum_q2[l] == 0.0 { 0.0 } else { sum_xq[l] / sum_q2[l] });
    let mut best: [f32; L] = from_fn(|l| scale[l] * sum_xq[l]);
    for i in (-9i8..=9).filter(|&i| i != 0) {
        let inverse = most.map(|most| -(half as f32 + 0.1 * f32::from(i)) / most);
        let tried: [[i32; L]; N] = from_fn(|i| level(&inverse, &x[i]));
        let (sum_xq, sum_q2) = sums(&tried);
        let better: [bool; L] =
            from_fn(|l| sum_q2[l] > 0.0 && sum_xq[l] * sum_xq[l] > best[l] * sum_q2[l]);
        for l in (0..L).filter(|&l| better[l]) {
            scale[l] = sum_xq[l] / sum_q2[l];
            best[l] = scale[l] * sum_xq[l];
        }
        for (q, tried) in levels.iter_mut().zip(&tried) {
            for l in 0..L {
                q[l] = if better[l] { tried[l] } else { q[l] };
            }
        }
    }
    finished(&most, half, Fit { scale, min: [0.0; L], levels })
}

/// As [`symmetric`], but levels are changed one after the other as long as it helps.
fn refined<const N: usize, const L: usize>(x: &Groups<N, L>, half: i32) -> Fit<N, L> {
    let most = furthest(x);
    let mut levels = [[0; L]; N];
    let (mut sum_xq, mut sum_q2) = ([0.0; L], [0.0; L]);
    for (x, q) in x.iter().zip(&mut levels) {
        for l in 0..L {
            q[l] = nearest(-half as f32 / most[l] * x[l]).clamp(-half, half - 1);
            let (w, level) = (x[l] * x[l], q[l] as f32);
            sum_xq[l] += w * x[l] * level;
            sum_q2[l] += w * level * level;
        }
    }
    // Once a round changes nothing, neither do more.
    for _ in 0..5 {
        for (x, q) in x.iter().zip(&mut levels) {
            for l in 0..L {
                let (w, level) = (x[l] * x[l], q[l] as f32);
                let rest_xq = sum_xq[l] - w * x[l] * level;
                let rest_q2 = sum_q2[l] - w * level * level;
                let other = nearest(x[l] * rest_q2 / rest_xq).clamp(-half, half - 1);
                let level = other as f32;
                let its_xq = rest_xq + w * x[l] * level;
                let its_q2 = rest_q2 + w * level * level;
                let better = its_xq * its_xq * sum_q2[l] > sum_xq[l] * sum_xq[l] * its_q2;
                if rest_xq > 0.0 && other != q[l] && its_q2 > 0.0 && better {
                    (q[l], sum_xq[l], sum_q2[l]) = (other, its_xq, its_q2);
                }
            }
        }
    }
    let scale = from_fn(|l| if sum_q2[l] > 0.0 { sum_xq[l] / sum_q2[l] } else { 0.0 });
    finished(&most, half, Fit { scale, min: [0.0; L], levels })
}

/// Levels from zero on; groups of zeros.
fn finished<const N: usize, const L: usize>(
    most: &[f32; L],
    half: i32,
    mut fit: Fit<N, L>,
) -> Fit<N, L> {
    for l in 0..L {
        let zero = most[l].abs() < ZERO;
        fit.scale[l] = if zero { 0.0 } else { fit.scale[l] };
        for q in &mut fit.levels {
            q[l] = if zero { 0 } else { q[l] + half };
        }
    }
    fit
}

/// The first of the largest, at least zero.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, &x| if x > most { x } else { most })
}

/// The scale furthest from zero, the first of equal ones.
fn furthest_scale(scales: &[f32]) -> f32 {
    scales.iter().fold(0f32, |most, &x| if x.abs() > most.abs() { x } else { most })
}

/// A 16-bit float and its value.
fn half(x: f32) -> ([u8; 2], f32) {
    let half = f16::from_f32(x);
    (half.to_le_bytes(), half.to_f32())
}

/// The levels of the whole block, found again for the quantised scales d and minima; groups without
/// a scale keep theirs.
fn levels<const N: usize, const L: usize>(
    x: &Groups<N, L>,
    fit: &Fit<N, L>,
    scale_min: impl Fn(usize) -> (f32, f32),
    range: (i32, i32),
) -> [u8; 256] {
    let mut levels = [0; 256];
    for l in 0..L {
        let (d, min) = scale_min(l);
        for (i, level) in levels[l * N..][..N].iter_mut().enumerate() {
            let found = nearest((x[i][l] + min) / d).clamp(range.0, range.1) - range.0;
            *level = if d == 0.0 { fit.levels[i][l] } else { found } as u8;
        }
    }
    levels
}

/// 64 bytes of 2-bit values: four runs of 32 values share 32 bytes.
fn pairs(levels: &[u8; 256], out: &mut Vec<u8>, value: impl Fn(u8) -> u8) {
    for runs in levels.as_chunks::<128>().0 {
        out.extend(
            (0..32).map(|i| (0..4).fold(0, |byte, r| byte | value(runs[32 * r + i]) << (2 * r))),
        );
    }
}

/// 128 bytes of 4-bit values: runs of `N` values beside the next ones.
fn nibbles<const N: usize>(levels: &[u8; 256], out: &mut Vec<u8>) {
    for runs in levels.chunks_exact(2 * N) {
        out.extend((0..N).map(|i| runs[i] & 15 | runs[i + N] << 4));
    }
}

pub(super) fn q2_k(block: &[f32; 256], out: &mut Vec<u8>) {
    let x: Groups<16, 16> = groups(block);
    let weights = x.map(|x| x.map(f32::abs));
    let fit = affine(&x, &weights, 3, &Tries { first: -0.5, step: 0.1, last: 15 }, true);
    let quantised = |values: &[f32; 16]| {
        let most = largest(values);
        let inverse = 15.0 / most;
        let of = |value: f32| if most > 0.0 { nearest(inverse * value) as u8 } else { 0 };
        (values.map(of), half(if most > 0.0 { most / 15.0 } else { 0.0 }))
    };
    let ((scales, (d_bytes, d)), (mins, (min_bytes, dmin))) =
        (quantised(&fit.scale), quantised(&fit.min));
    let both: [u8; 16] = from_fn(|l| scales[l] | mins[l] << 4);
    let scale_min = |l: usize| (d * f32::from(both[l] & 15), dmin * f32::from(both[l] >> 4));
    let levels = levels(&x, &fit, scale_min, (0, 3));
    out.extend(both);
    pairs(&levels, out, |q| q);
    out.extend([d_bytes, min_bytes].concat());
}

pub(super) fn q3_k(block: &[f32; 256], out: &mut Vec<u8>) {
    let x: Groups<16, 16> = groups(block);
    let fit = refined(&x, 4);
    let most = furthest_scale(&fit.scale);
    let inverse = -32.0 / most;
    let (d_bytes, d) = half(if most == 0.0 { 0.0 } else { 1.0 / inverse });
    let scales: [u8; 16] = fit.scale.map(|scale| {
        // Through eight bits, as a scale out of range goes.
        let q = i32::from(nearest(inverse * scale) as i8);
        if most == 0.0 { 0 } else { (q.clamp(-32, 31) + 32) as u8 }
    });
    let scale_min = |l: usize| (d * (f32::from(scales[l]) - 32.0), 0.0);
    let levels = levels(&x, &fit, scale_min, (-4, 3));
    out.extend(
        (0..32).map(|i| (0..8).fold(0, |byte, r| byte | (levels[32 * r + i] >> 2 & 1) << r)),
    );
    pairs(&levels, out, |q| q & 3);
    out.extend((0..8).map(|l| scales[l] & 15 | scales[l + 8] << 4));
    out.extend((0..4).map(|l| (0..4).fold(0, |byte, r| byte | scales[l + 4 * r] >> 4 << (2 * r))));
    out.extend(d_bytes);
}

/// The levels of Q4_K or Q5_K, of 0 to `most`; writes the scales.
fn scaled(block: &[f32; 256], most: i32, tries: &Tries, out: &mut Vec<u8>) -> [u8; 256] {
    let x: Groups<32, 8> = groups(block);
    let mut sum = [0.0; 8];
    for x in &x {
        for l in 0..8 {
            sum[l] += x[l] * x[l];
        }
    }
    let mean = sum.map(|sum| (sum / 32.0).sqrt());
    let weights = x.map(|x| from_fn(|l| mean[l] + x[l].abs()));
    let fit = affine(&x, &weights, most, tries, false);
    let quantised = |values: &[f32; 8]| {
        let most = largest(values);
        let inverse = if most > 0.0 { 63.0 / most } else { 0.0 };
        (values.map(|value| (nearest(inverse * value) as u8).min(63)), half(most / 63.0))
    };
    let ((scales, (d_bytes, d)), (mins, (min_bytes, dmin))) =
        (quantised(&fit.scale), quantised(&fit.min));
    out.extend([d_bytes, min_bytes].concat());
    out.extend((0..4).map(|l| scales[l] | scales[l + 4] >> 4 << 6));
    out.extend((0..4).map(|l| mins[l] | mins[l + 4] >> 4 << 6));
    out.extend((4..8).map(|l| scales[l] & 15 | mins[l] << 4));
    let scale_min = |l: usize| (d * f32::from(scales[l]), dmin * f32::from(mins[l]));
    levels(&x, &fit, scale_min, (0, most))
}

pub(super) fn q4_k(block: &[f32; 256], out: &mut Vec<u8>) {
    let levels = scaled(block, 15, &Tries { first: -1.0, step: 0.1, last: 20 }, out);
    nibbles::<32>(&levels, out);
}

pub(super) fn q5_k(block: &[f32; 256], out: &mut Vec<u8>) {
    let levels = scaled(block, 31, &Tries { first: -0.5, step: 0.1, last: 15 }, out);
    out.extend(
        (0..32).map(|i| (0..8).fold(0, |byte, r| byte | (levels[32 * r + i] >> 4 & 1) << r)),
    );
    nibbles::<32>(&levels, out);
}

pub(super) fn q6_k(block: &[f32; 256], out: &mut Vec<u8>) {
    let x: Groups<16, 16> = groups(block);
    let fit = symmetric(&x, 32);
    let most = furthest_scale(&fit.scale);
    if most.abs() < ZERO {
        out.extend([0; 210]);
        return;
    }
    let inverse = -128.0 / most;
    let (d_bytes, d) = half(1.0 / inverse);
    let scales = fit.scale.map(|scale| nearest(inverse * scale).min(127) as i8);
    let levels = levels(&x, &fit, |l| (d * f32::from(scales[l]), 0.0), (-32, 31));
    nibbles::<64>(&levels, out);
    pairs(&levels, out, |q| q >> 4);
    out.extend(scales.map(i8::cast_unsigned));
    out.extend(d_bytes);
}
