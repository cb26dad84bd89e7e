//! Norms.

use super::{Call, Row, Value};
use crate::keras::Result;
use crate::onnx::proto::AttributeProto;
use crate::onnx::{DType, Tensor};

pub(super) static LAYERS: &[Row] = &[
    ("BatchNormalization", batch),
    ("LayerNormalization", layer),
    ("RMSNormalization", rms),
    ("GroupNormalization", group),
    ("UnitNormalization", unit),
];

/// The numbers of a tensor.
pub(super) fn floats(c: &Call<'_>, tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.data().floats().ok_or_else(|| c.config.bad("its weights are no numbers"))
}

/// x s + t, with s = γ / √(σ² + ε) and t = β − μ s.
fn batch(c: &mut Call<'_>) -> Result<Value> {
    let x = c.float_input()?;
    let rank = x.dims.len();
    let axes = c.config.integers("axis")?.unwrap_or(vec![-1]);
    let axis = c.axis(axes[0], rank)?;
    let width = c.width(&x, axis)?;
    let epsilon = c.config.number("epsilon", 1e-3)?;
    let (center, scale) = (c.config.flag("center", true)?, c.config.flag("scale", true)?);
    for key in ["momentum", "virtual_batch_size", "fused", "renorm_clipping", "renorm_momentum"] {
        c.config.get(key);
    }
    if c.config.flag("renorm", false)? {
        return Err(c.config.unsupported("renorm=True is not evaluated"));
    }
    let shape: &[usize] = &[width];
    let weights = c.weights(&vec![shape; 2 + usize::from(center) + usize::from(scale)])?;
    let all = weights.iter().map(|w| floats(c, w)).collect::<Result<Vec<_>>>()?;
    let mut all = all.into_iter();
    let mut next = |there: bool, value: f64| {
        if there { all.next().unwrap_or_default() } else { vec![value; width] }
    };
    let (gamma, beta) = (next(scale, 1.0), next(center, 0.0));
    let (mean, variance) = (next(true, 0.0), next(true, 1.0));
    let s: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
    let t = (0..width).map(|i| beta[i] - mean[i] * s[i]).collect();
    let mut dims = vec![1; rank - axis];
    dims[0] = width;
    let (s, t) = (c.numbers(x.dtype, &dims, s)?, c.numbers(x.dtype, &dims, t)?);
    let y = c.node("Mul", &[&x, &s]);
    Ok(c.node("Add", &[&y, &t]))
}

/// The first of trailing axes, and their sizes.
fn trailing(c: &Call<'_>, x: &Value, axes: &[i64]) -> Result<(usize, Vec<usize>)> {
    let rank = x.dims.len();
    let mut whole = axes.iter().map(|&axis| c.axis(axis, rank)).collect::<Result<Vec<_>>>()?;
    whole.sort_unstable();
    let first = rank - whole.len();
    if first == 0 || whole != (first..rank).collect::<Vec<_>>() {
        return Err(c.config.unsupported(format!("the axes {axes:?} are not the last ones")));
    }
    let sizes = (first..rank).map(|axis| c.width(x, axis)).collect::<Result<_>>()?;
    Ok((first, sizes))
}

fn layer(c: &mut Call<'_>) -> Result<Value> {
    let x = c.float_input()?;
    let axes = c.config.integers("axis")?.unwrap_or(vec![-1]);
    let epsilon = c.config.number("epsilon", 1e-3)?;
    let (center, scale) = (c.config.flag("center", true)?, c.config.flag("scale", true)?);
    if c.config.flag("rms_scaling", false)? {
        return Err(c.config.unsupported("rms_scaling=True is not evaluated"));
    }
    let (first, sizes) = trailing(c, &x, &axes)?;
    let weights = c.weights(&vec![&sizes[..]; usize::from(center) + usize::from(scale)])?;
    let last = weights.last();
    let gamma = match weights.first().filter(|_| scale) {
        Some(w) => stored(c, w, x.dtype),
        None => ones(c, x.dtype, &sizes)?,
    };
    let mut inputs = vec![&x, &gamma];
    let beta = if center { last.map(|w| stored(c, w, x.dtype)) } else { None };
    inputs.extend(&beta);
    let attributes = [
        AttributeProto::int("axis", first as i64),
        AttributeProto::float("epsilon", epsilon as f32),
    ];
    Ok(c.node_with("LayerNormalization", &inputs, &attributes))
}

fn stored(c: &mut Call<'_>, tensor: &Tensor, dtype: DType) -> Value {
    let w = c.constant(tensor);
    c.cast(&w, dtype)
}

fn ones(c: &mut Call<'_>, dtype: DType, sizes: &[usize]) -> Result<Value> {
    let n = crate::onnx::count(sizes).map_err(|e| c.config.bad(e))?;
    c.numbers(dtype, sizes, vec![1.0; n])
}

/// x / √(mean x² + ε) γ
fn rms(c: &mut Call<'_>) -> Result<Value> {
    let x = c.float_input()?;
    let axes = c.config.integers("axis")?.unwrap_or(vec![-1]);
    let epsilon = c.config.number("epsilon", 1e-6)?;
    let (first, sizes) = trailing(c, &x, &axes)?;
    let weights = c.weights(&[&sizes])?;
    let gamma = c.constant(&weights[0]);
    let gamma = c.cast(&gamma, x.dtype);
    let square = c.node("Mul", &[&x, &x]);
    let axes: Vec<usize> = (first..x.dims.len()).collect();
    let mean = c.reduce("ReduceMean", &square, &axes, true);
    let root = c.with("Add", &mean, epsilon)?;
    let root = c.node("Sqrt", &[&root]);
    let y = c.binary("Div", &x, &root);
    Ok(c.node("Mul", &[&y, &gamma]))
}

/// Groups of the last axis, each with the mean and variance of all but the batch.
fn group(c: &mut Call<'_>) -> Result<Value> {
    let x = c.float_input()?;
    let rank = x.dims.len();
    let axes = c.config.integers("axis")?.unwrap_or(vec![-1]);
    if c.axis(axes[0], rank)? != rank - 1 {
        return Err(c.config.unsupported("groups of another axis than the last are not evaluated"));
    }
    let width = c.width(&x, rank - 1)?;
    let groups = c.config.number("groups", 32.0)?;
    // −1 stands for a group for each column.
    let groups = if groups < 0.0 { width } else { groups as usize };
    let epsilon = c.config.number("epsilon", 1e-3)?;
    let (center, scale) = (c.config.flag("center", true)?, c.config.flag("scale", true)?);
    if groups == 0 || width % groups != 0 {
        return Err(c.config.bad(format!("{groups} groups do not divide {width} columns")));
    }
    let shape: &[usize] = &[width];
    let weights = c.weights(&vec![shape; usize::from(center) + usize::from(scale)])?;
    let mut inner =
        x.dims[1..rank - 1].iter().map(|d| d.map_or(-1, |d| d as i64)).collect::<Vec<_>>();
    inner.extend([groups as i64, (width / groups) as i64]);
    let split = c.reshape(&x, &inner)?;
    let axes: Vec<usize> = (1..=rank).filter(|&axis| axis != rank - 1).collect();
    let mean = c.reduce("ReduceMean", &split, &axes, true);
    let gap = c.binary("Sub", &split, &mean);
    let square = c.node("Mul", &[&gap, &gap]);
    let variance = c.reduce("ReduceMean", &square, &axes, true);
    let root = c.with("Add", &variance, epsilon)?;
    let root = c.node("Sqrt", &[&root]);
    let y = c.binary("Div", &gap, &root);
    let inner: Vec<i64> = x.dims[1..].iter().map(|d| d.map_or(-1, |d| d as i64)).collect();
    let mut y = c.reshape(&y, &inner)?;
    for (tensor, operator) in weights.iter().zip(if scale { ["Mul", "Add"] } else { ["Add"; 2] }) {
        let w = c.constant(tensor);
        let w = c.cast(&w, x.dtype);
        y = c.node(operator, &[&y, &w]);
    }
    Ok(y)
}

/// x / max(‖x‖, 1e-12)
fn unit(c: &mut Call<'_>) -> Result<Value> {
    let x = c.float_input()?;
    let axes = c.config.integers("axis")?.unwrap_or(vec![-1]);
    let axes = axes.iter().map(|&axis| c.axis(axis, x.dims.len())).collect::<Result<Vec<_>>>()?;
    let square = c.node("Mul", &[&x, &x]);
    let sum = c.reduce("ReduceSum", &square, &axes, true);
    let norm = c.node("Sqrt", &[&sum]);
    let norm = c.with("Max", &norm, 1e-12)?;
    Ok(c.binary("Div", &x, &norm))
}
