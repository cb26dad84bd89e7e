//! Softmax and normalisations.

use super::super::data::Data;
use super::super::session::{Call, Outcome, axis};
use super::super::tensor::Tensor;
use super::reduce::log_sum_exp;
use super::shape::{floats, rows_along, tensor};
use super::walk::Walk;
use super::{Operator, op, single};

pub(super) const OPS: &[Operator] = &[
    op(
        "BatchNormalization",
        &["epsilon", "is_test", "momentum", "training_mode", "spatial"],
        batch_norm,
    ),
    op("GroupNormalization", &["epsilon", "num_groups", "stash_type"], group_norm),
    op("Hardmax", &["axis"], |c| {
        along(c, |v| {
            let best = (1..v.len()).fold(0, |b, i| if v[i] > v[b] { i } else { b });
            v.iter_mut().enumerate().for_each(|(i, x)| *x = f64::from(u8::from(i == best)));
        })
    }),
    op("InstanceNormalization", &["epsilon"], instance_norm),
    op("LayerNormalization", &["axis", "epsilon", "stash_type"], layer_norm),
    op("LogSoftmax", &["axis"], |c| {
        along(c, |v| {
            let sum = log_sum_exp(v);
            for x in v.iter_mut() {
                *x -= sum;
            }
        })
    }),
    op("LpNormalization", &["axis", "p"], lp_norm),
    op("MeanVarianceNormalization", &["axes"], mean_variance),
    op("RMSNormalization", &["axis", "epsilon", "stash_type"], rms_norm),
    op("Softmax", &["axis"], |c| {
        let x = c.input(0)?;
        let rank = x.dims().len();
        let a = c.axis("axis", if c.opset() < 13 { 1 } else { -1 }, rank)?;
        if let (Data::F32(v), true) = (x.data(), c.opset() < 13 || a + 1 == rank) {
            let width: usize = x.dims()[a..].iter().product();
            let y = single::softmax(c, v, width);
            return Ok(vec![Tensor::of(x.dims(), y.into())?]);
        }
        along(c, |v| {
            let sum = log_sum_exp(v);
            for x in v.iter_mut() {
                *x = (*x - sum).exp();
            }
        })
    }),
];

/// f on the values along an axis; before version 13 on those of all dimensions from it on.
fn along(c: &Call<'_>, f: impl Fn(&mut [f64])) -> Outcome {
    let x = c.input(0)?;
    let rank = x.dims().len();
    let old = c.opset() < 13;
    let a = c.int("axis", if old { 1 } else { -1 })?;
    if old {
        let a = if a == rank as i64 { rank } else { axis(a, rank)? };
        let rows: usize = x.dims()[..a].iter().product();
        let flat = x.reshaped(&[rows, x.dims()[a..].iter().product()])?;
        return Ok(vec![over_rows(&flat, 1, f)?.reshaped(x.dims())?]);
    }
    Ok(vec![over_rows(x, axis(a, rank)?, f)?])
}

fn over_rows(x: &Tensor, axis: usize, f: impl Fn(&mut [f64])) -> Result<Tensor, String> {
    let (mut values, dtype) = floats(x)?;
    let mut row = Vec::new();
    for places in rows_along(x, axis) {
        row.clear();
        row.extend(places.clone().map(|at| values[at]));
        if !row.is_empty() {
            f(&mut row);
        }
        for (at, value) in places.zip(&row) {
            values[at] = *value;
        }
    }
    tensor(x.dims(), dtype, values)
}

/// A number for each channel, in the second dimension.
fn per_channel(x: &Tensor, channels: usize) -> Result<Vec<f64>, String> {
    if x.data().len() != channels {
        return Err(format!("{channels} channels need as many numbers, found {:?}", x.dims()));
    }
    Ok(floats(x)?.0)
}

/// Channels, and the elements of each in a row.
fn channels(x: &Tensor) -> Result<[usize; 2], String> {
    match x.dims() {
        [_, c, rest @ ..] => Ok([*c, rest.iter().product()]),
        dims => Err(format!("rows of channels are expected, found {dims:?}")),
    }
}

fn batch_norm(c: &Call<'_>) -> Outcome {
    if c.int("training_mode", 0)? != 0 || c.opset() < 7 && c.int("is_test", 0)? == 0 {
        return training_batch_norm(c);
    }
    let x = c.input(0)?;
    let [n, inner] = if x.dims().len() == 1 { [1, x.dims()[0]] } else { channels(x)? };
    let parts = (1..5).map(|i| per_channel(c.input(i)?, n)).collect::<Result<Vec<_>, _>>()?;
    let [scale, bias, mean, var] = &parts[..] else {
        return Err("four vectors are expected".into());
    };
    let eps = c.float("epsilon", 1e-5)?;
    if let Data::F32(v) = x.data() {
        let line = |k: usize| {
            let slope = scale[k] / (var[k] + eps).sqrt();
            (slope as f32, (bias[k] - mean[k] * slope) as f32)
        };
        let lines: Vec<(f32, f32)> = (0..n).map(line).collect();
        let mut y = Vec::with_capacity(v.len());
        for (i, row) in v.chunks(inner.max(1)).enumerate() {
            let (slope, shift) = lines[i % n];
            y.extend(row.iter().map(|x| x * slope + shift));
        }
        return Ok(vec![Tensor::of(x.dims(), y.into())?]);
    }
    let (mut values, dtype) = floats(x)?;
    for (i, v) in values.iter_mut().enumerate() {
        let k = i / inner.max(1) % n;
        *v = (*v - mean[k]) / (var[k] + eps).sqrt() * scale[k] + bias[k];
    }
    Ok(vec![tensor(x.dims(), dtype, values)?])
}

/// The statistics are those of the batch, and move the running ones.
fn training_batch_norm(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let [n, inner] = channels(x)?;
    let parts = (1..5).map(|i| per_channel(c.input(i)?, n)).collect::<Result<Vec<_>, _>>()?;
    let [scale, bias, mean, var] = &parts[..] else {
        return Err("four vectors are expected".into());
    };
    let (eps, momentum) = (c.float("epsilon", 1e-5)?, c.float("momentum", 0.9)?);
    let (mut values, dtype) = floats(x)?;
    let (mut means, mut vars) = (mean.clone(), var.clone());
    for k in 0..n {
        let own: Vec<usize> = (0..values.len()).filter(|i| i / inner.max(1) % n == k).collect();
        let row: Vec<f64> = own.iter().map(|&i| values[i]).collect();
        let [m, v] = moments(&row);
        for (&i, x) in own.iter().zip(&row) {
            values[i] = (x - m) / (v + eps).sqrt() * scale[k] + bias[k];
        }
        means[k] = mean[k] * momentum + m * (1.0 - momentum);
        vars[k] = var[k] * momentum + v * (1.0 - momentum);
    }
    let stats = |values, i: usize| tensor(&[n], c.input(i)?.dtype(), values);
    Ok(vec![tensor(x.dims(), dtype, values)?, stats(means, 3)?, stats(vars, 4)?])
}

/// Mean and variance.
fn moments(v: &[f64]) -> [f64; 2] {
    let n = v.len().max(1) as f64;
    let mean = v.iter().sum::<f64>() / n;
    [mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n]
}

/// Standardised rows of a flat array.
fn standardise(values: &mut [f64], width: usize, eps: f64) -> Vec<[f64; 2]> {
    let rows = values.chunks_mut(width.max(1));
    rows.map(|row| {
        let [mean, var] = moments(row);
        let inverse = 1.0 / (var + eps).sqrt();
        for x in row.iter_mut() {
            *x = (*x - mean) * inverse;
        }
        [mean, inverse]
    })
    .collect()
}

fn group_norm(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let [n, inner] = channels(x)?;
    let groups =
        usize::try_from(c.int("num_groups", 0)?).ok().filter(|&g| g > 0 && n.is_multiple_of(g));
    let groups = groups.ok_or_else(|| format!("{n} channels do not make its groups"))?;
    let (mut values, dtype) = floats(x)?;
    standardise(&mut values, n / groups * inner, c.float("epsilon", 1e-5)?);
    // Before version 21, a number for each group.
    let each = if c.opset() < 21 && c.input(1)?.data().len() == groups { n / groups } else { 1 };
    let (scale, bias) = (per_channel(c.input(1)?, n / each)?, per_channel(c.input(2)?, n / each)?);
    for (i, v) in values.iter_mut().enumerate() {
        let k = i / inner.max(1) % n / each;
        *v = *v * scale[k] + bias[k];
    }
    Ok(vec![tensor(x.dims(), dtype, values)?])
}

fn instance_norm(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let [n, inner] = channels(x)?;
    let (scale, bias) = (per_channel(c.input(1)?, n)?, per_channel(c.input(2)?, n)?);
    let (mut values, dtype) = floats(x)?;
    standardise(&mut values, inner, c.float("epsilon", 1e-5)?);
    for (i, v) in values.iter_mut().enumerate() {
        let k = i / inner.max(1) % n;
        *v = *v * scale[k] + bias[k];
    }
    Ok(vec![tensor(x.dims(), dtype, values)?])
}

/// Values times a scale plus a bias that broadcast to them from the right.
fn affine(c: &Call<'_>, x: &Tensor, values: &mut [f64]) -> Result<(), String> {
    let fits = |t: &Tensor| {
        super::walk::broadcast(&[t.dims(), x.dims()]).is_ok_and(|dims| dims == x.dims())
    };
    for (i, add) in [(1, false), (2, true)] {
        let Some(t) = c.get(i) else { continue };
        if !fits(t) {
            return Err(format!("a shape of {:?} does not broadcast to {:?}", t.dims(), x.dims()));
        }
        let (own, _) = floats(t)?;
        for (v, at) in values.iter_mut().zip(Walk::broadcast(t.dims(), x.dims())) {
            *v = if add { *v + own[at] } else { *v * own[at] };
        }
    }
    Ok(())
}

/// The values of an input that may be missing; `None` for another type.
#[allow(clippy::option_option)]
fn single_or_none(x: Option<&Tensor>) -> Option<Option<&[f32]>> {
    match x.map(Tensor::data) {
        None => Some(None),
        Some(Data::F32(v)) => Some(Some(v)),
        Some(_) => None,
    }
}

fn layer_norm(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let a = c.axis("axis", -1, x.dims().len())?;
    if let (Data::F32(v), Data::F32(scale)) = (x.data(), c.input(1)?.data())
        && c.outputs() == 1
        && c.input(1)?.dims() == &x.dims()[a..]
        && c.get(2).is_none_or(|bias| bias.dims() == &x.dims()[a..])
        && let Some(bias) = single_or_none(c.get(2))
    {
        let y = single::layer_norm(c, v, scale, bias, c.float("epsilon", 1e-5)? as f32);
        return Ok(vec![Tensor::of(x.dims(), y.into())?]);
    }
    let (mut values, dtype) = floats(x)?;
    let stats = standardise(&mut values, x.dims()[a..].iter().product(), c.float("epsilon", 1e-5)?);
    affine(c, x, &mut values)?;
    let dims: Vec<usize> =
        x.dims().iter().enumerate().map(|(i, &d)| if i < a { d } else { 1 }).collect();
    let stash = super::super::DType::F32;
    let stat = |i: usize| tensor(&dims, stash, stats.iter().map(|s| s[i]).collect());
    Ok(vec![tensor(x.dims(), dtype, values)?, stat(0)?, stat(1)?])
}

fn rms_norm(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let a = c.axis("axis", -1, x.dims().len())?;
    let (mut values, dtype) = floats(x)?;
    let (width, eps) = (x.dims()[a..].iter().product::<usize>(), c.float("epsilon", 1e-5)?);
    for row in values.chunks_mut(width.max(1)) {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
        let inverse = 1.0 / (mean + eps).sqrt();
        for x in row.iter_mut() {
            *x *= inverse;
        }
    }
    affine(c, x, &mut values)?;
    Ok(vec![tensor(x.dims(), dtype, values)?])
}

fn lp_norm(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let a = c.axis("axis", -1, x.dims().len())?;
    let p = c.int("p", 2)?;
    let y = over_rows(x, a, |v| {
        let norm = match p {
            1 => v.iter().map(|x| x.abs()).sum::<f64>(),
            _ => v.iter().map(|x| x * x).sum::<f64>().sqrt(),
        };
        if norm != 0.0 {
            for x in v.iter_mut() {
                *x /= norm;
            }
        }
    })?;
    if p == 1 || p == 2 { Ok(vec![y]) } else { Err(format!("p is {p}, neither 1 nor 2")) }
}

fn mean_variance(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let rank = x.dims().len();
    let axes = c.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let axes = axes.into_iter().map(|a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    let mean = super::reduce::reduced(x, &axes, true, |v| moments(v)[0])?;
    let std = super::reduce::reduced(x, &axes, true, |v| moments(v)[1].sqrt())?;
    let ((mut values, dtype), (mean_values, _), (std_values, _)) =
        (floats(x)?, floats(&mean)?, floats(&std)?);
    for (v, at) in values.iter_mut().zip(Walk::broadcast(mean.dims(), x.dims())) {
        *v = (*v - mean_values[at]) / (std_values[at] + 1e-9);
    }
    Ok(vec![tensor(x.dims(), dtype, values)?])
}
