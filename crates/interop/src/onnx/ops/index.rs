//! Operators that read or write at the positions of a tensor.

use super::super::session::{Call, Outcome, axis, ints};
use super::super::tensor::{Tensor, count};
use super::elementwise::truths;
use super::shape::{indices, sizes};
use super::walk::{Walk, around, strides};
use super::{Operator, op};

pub(super) const OPS: &[Operator] = &[
    op("Compress", &["axis"], compress),
    op("Gather", &["axis"], gather),
    op("GatherElements", &["axis"], gather_elements),
    op("GatherND", &["batch_dims"], gather_nd),
    op("NonZero", &[], non_zero),
    op("OneHot", &["axis"], one_hot),
    op("ReverseSequence", &["batch_axis", "time_axis"], reverse_sequence),
    op("Scatter", &["axis"], scatter_elements),
    op("ScatterElements", &["axis", "reduction"], scatter_elements),
    op("ScatterND", &["reduction"], scatter_nd),
];

/// A position of a dimension of size `d`, counted from the end if negative.
fn place(i: i64, d: usize) -> Result<usize, String> {
    let from = if i < 0 { i + d as i64 } else { i };
    usize::try_from(from)
        .ok()
        .filter(|&i| i < d)
        .ok_or_else(|| format!("position {i} is none of {d}"))
}

fn gather(c: &Call<'_>) -> Outcome {
    let (x, at) = (c.input(0)?, c.input(1)?);
    let a = c.axis("axis", 0, x.dims().len())?;
    let [outer, d, inner] = around(x.dims(), a);
    let places = ints(at)?.into_iter().map(|i| place(i, d)).collect::<Result<Vec<_>, _>>()?;
    let dims = [&x.dims()[..a], at.dims(), &x.dims()[a + 1..]].concat();
    count(&dims)?;
    let starts = (0..outer).flat_map(|o| places.iter().map(move |&i| (o * d + i) * inner));
    Ok(vec![Tensor::of(&dims, x.data().runs(&starts.collect::<Vec<_>>(), inner, c.pool()))?])
}

/// The positions of data that the elements of `at` name along an axis.
fn along(dims: &[usize], at: &Tensor, a: usize) -> Result<Vec<usize>, String> {
    if at.dims().len() != dims.len() || (0..dims.len()).any(|i| i != a && at.dims()[i] > dims[i]) {
        return Err(format!(
            "positions of shape {:?} do not fit a tensor of shape {dims:?}",
            at.dims()
        ));
    }
    let own = strides(dims);
    // The position without that of the axis.
    let mut others = own.clone();
    others[a] = 0;
    let base = Walk::new(at.dims(), &others, 0);
    let places = ints(at)?;
    base.zip(places).map(|(base, i)| Ok(base + place(i, dims[a])? * own[a] as usize)).collect()
}

fn gather_elements(c: &Call<'_>) -> Outcome {
    let (x, at) = (c.input(0)?, c.input(1)?);
    let a = c.axis("axis", 0, x.dims().len())?;
    let from = along(x.dims(), at, a)?;
    Ok(vec![Tensor::of(at.dims(), x.data().pick(from.into_iter()))?])
}

/// For each index in the last dimension of `at`, where its slice starts; and the slice's shape.
fn slices(dims: &[usize], at: &Tensor, batch: usize) -> Result<(Vec<usize>, Vec<usize>), String> {
    let Some((&k, outer)) = at.dims().split_last() else {
        return Err("positions have no dimensions".into());
    };
    if batch + k > dims.len() || batch > outer.len() || outer[..batch] != dims[..batch] {
        return Err(format!(
            "positions of shape {:?} do not fit a tensor of shape {dims:?}",
            at.dims()
        ));
    }
    let own = strides(dims);
    let values = ints(at)?;
    let per: usize = outer[batch..].iter().product();
    let size: usize = dims[batch..].iter().product();
    let n = values.len().checked_div(k).unwrap_or_else(|| outer.iter().product());
    let starts = (0..n)
        .map(|i| {
            let index = &values[i * k..(i + 1) * k];
            index.iter().enumerate().try_fold(i / per.max(1) * size, |sum, (j, &at)| {
                Ok(sum + place(at, dims[batch + j])? * own[batch + j] as usize)
            })
        })
        .collect::<Result<_, String>>()?;
    Ok((starts, dims[batch + k..].to_vec()))
}

fn gather_nd(c: &Call<'_>) -> Outcome {
    let (x, at) = (c.input(0)?, c.input(1)?);
    let batch =
        usize::try_from(c.int("batch_dims", 0)?).map_err(|_| "its batch_dims are negative")?;
    let (starts, slice) = slices(x.dims(), at, batch)?;
    let dims = [&at.dims()[..at.dims().len() - 1], &slice].concat();
    let n = slice.iter().product::<usize>();
    count(&dims)?;
    Ok(vec![Tensor::of(&dims, x.data().runs(&starts, n, c.pool()))?])
}

/// Writes updates to positions of data; the last one stays, or all are combined.
fn scatter(c: &Call<'_>, at: &[usize]) -> Outcome {
    let (x, updates) = (c.input(0)?, c.input(2)?);
    if updates.data().len() != at.len() {
        return Err(format!("updates of shape {:?} do not fit their positions", updates.dims()));
    }
    let reduction = c.text("reduction", "none")?;
    let f: fn(f64, f64) -> f64 = match reduction {
        "none" => {
            let n = x.data().len();
            let both =
                x.data().clone().joined(updates.data()).ok_or("its inputs are of two types")?;
            let mut from: Vec<usize> = (0..n).collect();
            at.iter().enumerate().for_each(|(i, &at)| from[at] = n + i);
            return Ok(vec![Tensor::of(x.dims(), both.pick(from.into_iter()))?]);
        }
        "add" => |a, b| a + b,
        "mul" => |a, b| a * b,
        "max" => f64::max,
        "min" => f64::min,
        other => {
            return Err(format!(
                "its attribute `reduction` is `{other}`, which is none of the standard's"
            ));
        }
    };
    let (mut values, dtype) = super::shape::floats(x)?;
    let (updates, _) = super::shape::floats(updates)?;
    for (&at, update) in at.iter().zip(updates) {
        values[at] = f(values[at], update);
    }
    Ok(vec![super::shape::tensor(x.dims(), dtype, values)?])
}

fn scatter_elements(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let a = c.axis("axis", 0, x.dims().len())?;
    scatter(c, &along(x.dims(), c.input(1)?, a)?)
}

fn scatter_nd(c: &Call<'_>) -> Outcome {
    let (starts, slice) = slices(c.input(0)?.dims(), c.input(1)?, 0)?;
    let n = slice.iter().product::<usize>();
    let all: Vec<usize> = starts.into_iter().flat_map(|start| start..start + n).collect();
    scatter(c, &all)
}

fn compress(c: &Call<'_>) -> Outcome {
    let (x, chosen) = (c.input(0)?, truths(c.input(1)?)?);
    let (x, a) = match c.maybe_int("axis")? {
        Some(a) => (x.clone(), axis(a, x.dims().len())?),
        None => (x.reshaped(&[x.data().len()])?, 0),
    };
    let [outer, d, inner] = around(x.dims(), a);
    let kept: Vec<usize> = (0..d.min(chosen.len())).filter(|&i| chosen[i]).collect();
    let mut dims = x.dims().to_vec();
    dims[a] = kept.len();
    let from = (0..outer)
        .flat_map(|o| kept.iter().flat_map(move |&i| (o * d + i) * inner..(o * d + i + 1) * inner));
    Ok(vec![Tensor::of(&dims, x.data().pick(from))?])
}

fn non_zero(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let values = x.data().floats().ok_or("texts are no numbers")?;
    let found: Vec<Vec<usize>> =
        indices(x.dims()).zip(values).filter(|(_, v)| *v != 0.0).map(|(index, _)| index).collect();
    let rank = x.dims().len();
    let by_dimension = (0..rank).flat_map(|i| found.iter().map(move |index| index[i] as i64));
    Ok(vec![Tensor::of(&[rank, found.len()], by_dimension.collect::<Vec<_>>().into())?])
}

fn one_hot(c: &Call<'_>) -> Outcome {
    let (at, depth, values) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let number = |x: &super::super::Tensor| x.data().integers().ok_or("texts are no positions");
    let depth = number(depth)?
        .first()
        .copied()
        .and_then(|d| i64::try_from(d).ok())
        .ok_or("its depth is missing")?;
    let depth = sizes(&[depth])?[0];
    if values.data().len() != 2 {
        return Err("two values are expected".into());
    }
    let rank = at.dims().len() + 1;
    let a = axis(c.int("axis", -1)?, rank)?;
    let mut dims = at.dims().to_vec();
    dims.insert(a, depth);
    count(&dims)?;
    let places = number(at)?;
    let own = strides(at.dims());
    let mut view = own;
    view.insert(a, 0);
    let d = depth as i128;
    let inner: usize = dims[a + 1..].iter().product();
    let on = Walk::new(&dims, &view, 0).enumerate().map(|(i, from)| {
        let at = places[from];
        let at = if at < 0 { at + d } else { at };
        usize::from(at == (i / inner % depth) as i128)
    });
    Ok(vec![Tensor::of(&dims, values.data().pick(on))?])
}

fn reverse_sequence(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let lengths = sizes(&ints(c.input(1)?)?)?;
    let rank = x.dims().len();
    let (batch, time) = (c.axis("batch_axis", 1, rank)?, c.axis("time_axis", 0, rank)?);
    if batch == time
        || lengths.len() != x.dims()[batch]
        || lengths.iter().any(|&n| n > x.dims()[time])
    {
        return Err(format!("lengths {lengths:?} do not fit a tensor of shape {:?}", x.dims()));
    }
    let own = strides(x.dims());
    let at: Vec<usize> = indices(x.dims())
        .map(|mut index| {
            let n = lengths[index[batch]];
            if index[time] < n {
                index[time] = n - 1 - index[time];
            }
            index.iter().zip(&own).map(|(i, s)| i * *s as usize).sum()
        })
        .collect();
    Ok(vec![Tensor::of(x.dims(), x.data().pick(at.into_iter()))?])
}
