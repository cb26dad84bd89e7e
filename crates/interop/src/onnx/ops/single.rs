//! Loops over `f32`, the type of most networks, on the threads and the instruction set of the
//! device.

use super::super::data::Data;
use super::super::rows::Rows;
use super::super::session::Call;
use super::super::tensor::Tensor;
use ff_kernels::{Float, for_rows, map as map_all, map2, maximum, sum, sum_of};

/// f of each element; `None` for another type.
#[inline(always)]
pub(super) fn map(
    c: &Call<'_>,
    x: &Tensor,
    f: impl Fn(f32) -> f32 + Sync + Copy,
) -> Option<Result<Tensor, String>> {
    let Data::F32(v) = x.data() else { return None };
    let mut y = c.room(v.len());
    map_all(c.cpu(), v, &mut y, f);
    Some(Tensor::of(x.dims(), y.into()))
}

/// f of the elements of two arrays in the shape that they broadcast to.
#[inline(always)]
pub(super) fn zip(
    c: &Call<'_>,
    (a, a_dims): (&[f32], &[usize]),
    (b, b_dims): (&[f32], &[usize]),
    to: &[usize],
    f: impl Fn(f32, f32) -> f32 + Sync + Copy,
) -> Vec<f32> {
    let n: usize = to.iter().product();
    let mut y = c.room(n);
    if n == 0 {
        return y;
    }
    let rows = Rows::broadcast(to, [a_dims, b_dims]);
    if rows.count == 1 {
        match rows.steps {
            [1, 1] => map2(c.cpu(), a, b, &mut y, false, f),
            [1, _] => {
                let b = b[0];
                map_all(c.cpu(), a, &mut y, move |a| f(a, b));
            }
            _ => {
                let a = a[0];
                map_all(c.cpu(), b, &mut y, move |b| f(a, b));
            }
        }
        return y;
    }
    for_rows(
        c.cpu(),
        rows.count,
        rows.len,
        [(&mut y, rows.len)],
        #[inline(always)]
        |row, [y]| {
            let [i, j] = rows.starts(row);
            let (a, b, own) = (&a[i as usize..], &b[j as usize..], f);
            match rows.steps {
                [1, 1] => {
                    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                        *y = own(a, b);
                    }
                }
                [1, 0] => {
                    let b = b[0];
                    for (y, &a) in y.iter_mut().zip(a) {
                        *y = own(a, b);
                    }
                }
                [0, 1] => {
                    let a = a[0];
                    for (y, &b) in y.iter_mut().zip(b) {
                        *y = own(a, b);
                    }
                }
                [p, q] => {
                    for (i, y) in y.iter_mut().enumerate() {
                        *y = own(a[i * p as usize], b[i * q as usize]);
                    }
                }
            }
        },
    );
    y
}

/// Values that stay in the first cache from pass to pass.
const BLOCK: usize = 1024;

/// The exponentials of rows, over their sum.
pub(super) fn softmax(c: &Call<'_>, x: &[f32], width: usize) -> Vec<f32> {
    let mut y = c.room(x.len());
    for_rows(
        c.cpu(),
        x.len() / width.max(1),
        8 * width,
        [(&mut y, width)],
        #[inline(always)]
        |row, [y]| {
            let x = &x[row * width..][..width];
            let mut most = f32::NEG_INFINITY;
            for x in x.chunks(BLOCK) {
                let more = maximum(x);
                most = if more > most || more.is_nan() { more } else { most };
            }
            let mut total = 0.0;
            if most.is_finite() {
                let mut sums = 0.0;
                for (y, x) in y.chunks_mut(BLOCK).zip(x.chunks(BLOCK)) {
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = Float::exp_weight(x - most);
                    }
                    sums += sum(y);
                }
                total = sums as f32;
            } else {
                // Infinities: not-a-number where the quotient is none.
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = Float::exp(x - most);
                    total += *y;
                }
            }
            let inverse = 1.0 / total;
            for y in y.iter_mut() {
                *y *= inverse;
            }
        },
    );
    y
}

/// Rows less their mean, over their standard deviation, times a scale plus a bias.
pub(super) fn layer_norm(
    c: &Call<'_>,
    x: &[f32],
    scale: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
) -> Vec<f32> {
    let width = scale.len();
    let mut y = c.room(x.len());
    for_rows(
        c.cpu(),
        x.len() / width.max(1),
        4 * width,
        [(&mut y, width)],
        #[inline(always)]
        |row, [y]| {
            let x = &x[row * width..][..width];
            let mean = (sum(x) / width as f64) as f32;
            let var = sum_of(
                x,
                #[inline(always)]
                |x| f64::from((x - mean) * (x - mean)),
            ) / width as f64;
            let inverse = 1.0 / (var as f32 + eps).sqrt();
            for ((y, &x), &s) in y.iter_mut().zip(x).zip(scale) {
                *y = (x - mean) * inverse * s;
            }
            if let Some(bias) = bias {
                for (y, &b) in y.iter_mut().zip(bias) {
                    *y += b;
                }
            }
        },
    );
    y
}

/// Of each row the elements at these places.
pub(super) fn picked(c: &Call<'_>, x: &[f32], width: usize, places: &[usize]) -> Vec<f32> {
    let mut y = c.room(x.len() / width.max(1) * places.len());
    let twice = places.len() == 2 * width && (0..places.len()).all(|i| places[i] == i / 2);
    for_rows(
        c.cpu(),
        x.len() / width.max(1),
        places.len(),
        [(&mut y, places.len())],
        #[inline(always)]
        |row, [y]| {
            let x = &x[row * width..][..width];
            if twice {
                for (y, &x) in y.chunks_exact_mut(2).zip(x) {
                    y[0] = x;
                    y[1] = x;
                }
            } else {
                for (y, &i) in y.iter_mut().zip(places) {
                    *y = x[i];
                }
            }
        },
    );
    y
}

/// The sum of each row.
pub(super) fn row_sums(c: &Call<'_>, x: &[f32], width: usize) -> Vec<f32> {
    let mut y = c.room(x.len() / width.max(1));
    let rows = y.len();
    for_rows(
        c.cpu(),
        rows,
        width,
        [(&mut y, 1)],
        #[inline(always)]
        |row, [y]| y[0] = sum(&x[row * width..][..width]) as f32,
    );
    y
}

/// The largest of each row.
pub(super) fn row_maxima(c: &Call<'_>, x: &[f32], width: usize) -> Vec<f32> {
    let mut y = c.room(x.len() / width.max(1));
    let rows = y.len();
    for_rows(
        c.cpu(),
        rows,
        width,
        [(&mut y, 1)],
        #[inline(always)]
        |row, [y]| y[0] = maximum(&x[row * width..][..width]),
    );
    y
}

/// f over the middle of three dimensions, from its first value on.
pub(super) fn across(
    c: &Call<'_>,
    x: &[f32],
    [outer, n, inner]: [usize; 3],
    f: impl Fn(f32, f32) -> f32 + Sync + Copy,
) -> Vec<f32> {
    let mut y = c.room(outer * inner);
    for_rows(
        c.cpu(),
        outer,
        n * inner,
        [(&mut y, inner)],
        #[inline(always)]
        |row, [y]| {
            let x = &x[row * n * inner..][..n * inner];
            let own = f;
            y.copy_from_slice(&x[..inner]);
            for k in 1..n {
                for (y, &x) in y.iter_mut().zip(&x[k * inner..]) {
                    *y = own(*y, x);
                }
            }
        },
    );
    y
}
