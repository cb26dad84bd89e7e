//! Operators along some dimensions: sums, extremes, orders.

use super::super::data::{DType, Data};
use super::super::session::{Call, Outcome, axis, ints};
use super::super::tensor::{Tensor, count};
use super::elementwise::truths;
use super::shape::{floats, rows_along, tensor};
use super::walk::strides;
use super::{Operator, op, single};

const AXES: &[&str] = &["axes", "keepdims", "noop_with_empty_axes"];
const ARG: &[&str] = &["axis", "keepdims", "select_last_index"];

pub(super) const OPS: &[Operator] = &[
    op("ArgMax", ARG, |c| arg(c, |a, b| a > b)),
    op("ArgMin", ARG, |c| arg(c, |a, b| a < b)),
    op("CumSum", &["exclusive", "reverse"], |c| scan(c, 0.0, |a, b| a + b)),
    op("CumProd", &["exclusive", "reverse"], |c| scan(c, 1.0, |a, b| a * b)),
    op("ReduceL1", AXES, |c| reduce(c, |v| v.iter().map(|x| x.abs()).sum())),
    op("ReduceL2", AXES, |c| reduce(c, |v| v.iter().map(|x| x * x).sum::<f64>().sqrt())),
    op("ReduceLogSum", AXES, |c| reduce(c, |v| v.iter().sum::<f64>().ln())),
    op("ReduceLogSumExp", AXES, |c| reduce(c, log_sum_exp)),
    op("ReduceMax", AXES, |c| {
        if let Some(y) = swift(c, |c, x, shape| {
            single::across(c, x, shape, |a, b| if a.is_nan() || a > b { a } else { b })
        })? {
            return Ok(vec![y]);
        }
        extreme(c, f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b })
    }),
    op("ReduceMean", AXES, |c| {
        match swift(c, |c, x, shape| {
            let n = shape[1] as f32;
            sums(c, x, shape).into_iter().map(|x| x / n).collect()
        })? {
            Some(y) => Ok(vec![y]),
            None => reduce(c, |v| v.iter().sum::<f64>() / v.len() as f64),
        }
    }),
    op("ReduceMin", AXES, |c| {
        extreme(c, f64::INFINITY, |a, b| if a.is_nan() || a < b { a } else { b })
    }),
    op("ReduceProd", AXES, |c| reduce(c, |v| v.iter().product())),
    op("ReduceSum", AXES, |c| match swift(c, sums)? {
        Some(y) => Ok(vec![y]),
        None => reduce(c, |v| v.iter().sum()),
    }),
    op("ReduceSumSquare", AXES, |c| reduce(c, |v| v.iter().map(|x| x * x).sum())),
    op("TopK", &["axis", "largest", "sorted"], top),
];

pub(super) fn log_sum_exp(v: &[f64]) -> f64 {
    let most = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most.is_infinite() {
        return most;
    }
    most + v.iter().map(|x| (x - most).exp()).sum::<f64>().ln()
}

/// Sums of `f32` over the middle of three dimensions.
pub(super) fn sums(c: &Call<'_>, x: &[f32], shape: [usize; 3]) -> Vec<f32> {
    if shape[2] == 1 {
        return single::row_sums(c, x, shape[1]);
    }
    single::across(c, x, shape, |a, b| a + b)
}

type Single = fn(&Call<'_>, &[f32], [usize; 3]) -> Vec<f32>;

/// f over neighbouring dimensions of `f32`; `None` for other types, dimensions or nothing.
fn swift(c: &Call<'_>, f: Single) -> Result<Option<Tensor>, String> {
    let x = c.input(0)?;
    let (Data::F32(v), false) = (x.data(), x.data().is_empty()) else { return Ok(None) };
    let Some(mut axes) = axes(c, x.dims().len())? else { return Ok(None) };
    axes.sort_unstable();
    axes.dedup();
    let (Some(&first), Some(&last)) = (axes.first(), axes.last()) else { return Ok(None) };
    if last - first + 1 != axes.len() {
        return Ok(None);
    }
    let size = |dims: &[usize]| dims.iter().product::<usize>();
    let shape = [&x.dims()[..first], &x.dims()[first..=last], &x.dims()[last + 1..]].map(size);
    let keep = c.int("keepdims", 1)? != 0;
    let dims: Vec<usize> = (0..x.dims().len())
        .filter(|i| keep || !axes.contains(i))
        .map(|i| if axes.contains(&i) { 1 } else { x.dims()[i] })
        .collect();
    Ok(Some(Tensor::of(&dims, f(c, v, shape).into())?))
}

/// f of the values along some dimensions, in the order of the others.
pub(super) fn reduced(
    x: &Tensor,
    axes: &[usize],
    keep: bool,
    f: impl Fn(&[f64]) -> f64,
) -> Result<Tensor, String> {
    let (values, dtype) = floats(x)?;
    // A dimension that is named twice is summed once.
    let mut axes = axes.to_vec();
    axes.sort_unstable();
    axes.dedup();
    let own = strides(x.dims());
    let rank = x.dims().len();
    let kept: Vec<usize> = (0..rank).filter(|i| !axes.contains(i)).collect();
    let view = |dims: &[usize]| -> (Vec<usize>, Vec<isize>) {
        (dims.iter().map(|&i| x.dims()[i]).collect(), dims.iter().map(|&i| own[i]).collect())
    };
    let ((outer, outer_strides), (inner, inner_strides)) = (view(&kept), view(&axes));
    let offsets: Vec<usize> = super::walk::Walk::new(&inner, &inner_strides, 0).collect();
    let mut row = Vec::with_capacity(offsets.len());
    let mut y = Vec::with_capacity(count(&outer)?);
    for at in super::walk::Walk::new(&outer, &outer_strides, 0) {
        row.clear();
        row.extend(offsets.iter().map(|offset| values[at + offset]));
        y.push(f(&row));
    }
    let dims: Vec<usize> = (0..rank)
        .filter(|i| keep || !axes.contains(i))
        .map(|i| if axes.contains(&i) { 1 } else { x.dims()[i] })
        .collect();
    tensor(&dims, dtype, y)
}

/// The dimensions that an operator runs along; `None` for an operator that passes its input on.
fn axes(c: &Call<'_>, rank: usize) -> Result<Option<Vec<usize>>, String> {
    let axes = c.ints_or_input("axes", 1)?.unwrap_or_default();
    if axes.is_empty() {
        return Ok((c.int("noop_with_empty_axes", 0)? == 0).then(|| (0..rank).collect()));
    }
    axes.into_iter().map(|a| axis(a, rank)).collect::<Result<_, _>>().map(Some)
}

fn reduce(c: &Call<'_>, f: impl Fn(&[f64]) -> f64) -> Outcome {
    let x = c.input(0)?;
    let keep = c.int("keepdims", 1)? != 0;
    match axes(c, x.dims().len())? {
        Some(axes) => Ok(vec![reduced(x, &axes, keep, f)?]),
        // Each element on its own.
        None => Ok(vec![reduced(x, &[], keep, f)?]),
    }
}

fn extreme(c: &Call<'_>, empty: f64, f: fn(f64, f64) -> f64) -> Outcome {
    let x = c.input(0)?;
    let best = |v: &[f64]| v.iter().copied().fold(empty, f);
    if x.dtype() != DType::Bool {
        return reduce(c, best);
    }
    let empty = f64::from(u8::from(empty > 0.0));
    let best = |v: &[f64]| v.iter().copied().fold(empty, f);
    truths(x)?;
    let axes = axes(c, x.dims().len())?.unwrap_or_default();
    Ok(vec![reduced(x, &axes, c.int("keepdims", 1)? != 0, best)?])
}

fn arg(c: &Call<'_>, better: fn(f64, f64) -> bool) -> Outcome {
    let x = c.input(0)?;
    let a = c.axis("axis", 0, x.dims().len())?;
    let last = c.int("select_last_index", 0)? != 0;
    if x.dims()[a] == 0 {
        return Err("no element is the largest of none".into());
    }
    let best = |v: &[f64]| {
        (1..v.len()).fold(0, |b, i| if better(v[i], v[b]) || last && v[i] == v[b] { i } else { b })
            as f64
    };
    // Positions are exact in f64, not in the type of x.
    let exact = tensor(x.dims(), DType::F64, floats(x)?.0)?;
    let index = reduced(&exact, &[a], c.int("keepdims", 1)? != 0, best)?;
    let data = index.data().integers().unwrap_or_default();
    Ok(vec![Tensor::of(index.dims(), Data::I64(data.into_iter().map(|i| i as i64).collect()))?])
}

fn scan(c: &Call<'_>, first: f64, f: fn(f64, f64) -> f64) -> Outcome {
    let x = c.input(0)?;
    let a = ints(c.input(1)?)?;
    let a = axis(*a.first().ok_or("its axis is missing")?, x.dims().len())?;
    let (exclusive, reverse) = (c.int("exclusive", 0)? != 0, c.int("reverse", 0)? != 0);
    let (values, dtype) = floats(x)?;
    let mut y = vec![0.0; values.len()];
    for row in rows_along(x, a) {
        let mut places: Vec<usize> = row.collect();
        if reverse {
            places.reverse();
        }
        let mut sum = first;
        for at in places {
            let next = f(sum, values[at]);
            y[at] = if exclusive { sum } else { next };
            sum = next;
        }
    }
    Ok(vec![tensor(x.dims(), dtype, y)?])
}

fn top(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let a = c.axis("axis", -1, x.dims().len())?;
    let k = ints(c.input(1)?)?;
    let k = k.first().and_then(|&k| usize::try_from(k).ok()).filter(|&k| k <= x.dims()[a]);
    let k = k.ok_or_else(|| format!("k is no number from 0 to {}", x.dims()[a]))?;
    let largest = c.int("largest", 1)? != 0;
    let (values, _) = floats(x)?;
    let mut dims = x.dims().to_vec();
    dims[a] = k;
    let own = strides(&dims);
    let n = count(&dims)?;
    let (mut at, mut index) = (vec![0; n], vec![0i64; n]);
    let inner = own[a] as usize;
    for (i, row) in rows_along(x, a).enumerate() {
        let places: Vec<usize> = row.collect();
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by(|&i, &j| {
            let (x, y) = (values[places[i]], values[places[j]]);
            let up = x.partial_cmp(&y).unwrap_or(std::cmp::Ordering::Equal);
            if largest { up.reverse() } else { up }.then(i.cmp(&j))
        });
        let start = i / inner.max(1) * inner * k + i % inner.max(1);
        for (j, &found) in order.iter().take(k).enumerate() {
            at[start + j * inner] = places[found];
            index[start + j * inner] = found as i64;
        }
    }
    Ok(vec![Tensor::of(&dims, x.data().pick(at.into_iter()))?, Tensor::of(&dims, index.into())?])
}
