//! Convolutions and pooling over windows. Channels are last in Keras and second in ONNX.

use super::activation::apply;
use super::{Call, Row, Value};
use crate::keras::Result;
use crate::onnx::proto::AttributeProto;

pub(super) static LAYERS: &[Row] = &[
    ("Conv1D", |c| convolve(c, 1)),
    ("Conv2D", |c| convolve(c, 2)),
    ("DepthwiseConv1D", |c| depthwise(c, 1)),
    ("DepthwiseConv2D", |c| depthwise(c, 2)),
    ("SeparableConv1D", |c| separable(c, 1)),
    ("SeparableConv2D", |c| separable(c, 2)),
    ("MaxPooling1D", |c| pool(c, "MaxPool", 1)),
    ("MaxPooling2D", |c| pool(c, "MaxPool", 2)),
    ("AveragePooling1D", |c| pool(c, "AveragePool", 1)),
    ("AveragePooling2D", |c| pool(c, "AveragePool", 2)),
    ("ZeroPadding1D", |c| zeros(c, 1)),
    ("ZeroPadding2D", |c| zeros(c, 2)),
];

/// One number for each dimension, or the same for all.
fn each(c: &Call<'_>, key: &str, n: usize, default: i64) -> Result<Vec<i64>> {
    let all = match c.config.get(key) {
        None | Some(serde_json::Value::Null) => vec![default; n],
        Some(value) => match value.as_i64() {
            Some(one) => vec![one; n],
            None => c.config.integers(key)?.unwrap_or_default(),
        },
    };
    if all.len() == n && all.iter().all(|x| (1..1 << 24).contains(x)) {
        Ok(all)
    } else {
        Err(c.config.bad(format!("its {key} {all:?} are no {n} sizes")))
    }
}

/// An image, its channels second; its channels.
fn image(c: &mut Call<'_>, n: usize) -> Result<(Value, usize)> {
    let x = c.float_input()?;
    super::shape::last_channels(c)?;
    if x.dims.len() != n + 2 {
        let message = format!("its input has {} dimensions, not {}", x.dims.len(), n + 2);
        return Err(c.config.bad(message));
    }
    let channels = c.width(&x, n + 1)?;
    let second: Vec<i64> =
        [0, n as i64 + 1].into_iter().chain((0..n).map(|i| i as i64 + 1)).collect();
    Ok((super::shape::transpose(c, &x, &second)?, channels))
}

/// The channels last again.
fn last(c: &mut Call<'_>, x: &Value) -> Result<Value> {
    let n = x.dims.len() as i64 - 2;
    let order: Vec<i64> = [0].into_iter().chain((0..n).map(|i| i + 2)).chain([1]).collect();
    super::shape::transpose(c, x, &order)
}

/// A window: its attributes, and the sizes of the result.
struct Window {
    attributes: Vec<AttributeProto>,
    sizes: Vec<Option<usize>>,
}

fn window(c: &Call<'_>, x: &Value, kernel: &[i64], defaults: Option<&[i64]>) -> Result<Window> {
    let n = kernel.len();
    let stride = match (c.config.get("strides"), defaults) {
        (None | Some(serde_json::Value::Null), Some(defaults)) => defaults.to_vec(),
        _ => each(c, "strides", n, 1)?,
    };
    let dilation = each(c, "dilation_rate", n, 1)?;
    let span = |i: usize| dilation[i].saturating_mul(kernel[i] - 1).saturating_add(1);
    let mut attributes = vec![
        AttributeProto::list("kernel_shape", kernel),
        AttributeProto::list("strides", &stride),
        AttributeProto::list("dilations", &dilation),
    ];
    let steps = |d: usize, s: i64| d.div_ceil(s as usize);
    let size = |i: usize, grow: i64| -> Option<usize> {
        let d = x.dims[i + 2]?;
        let room = d as i64 + grow - span(i);
        Some(usize::try_from(room).ok()? / stride[i] as usize + 1)
    };
    let sizes: Vec<Option<usize>> = match c.config.text("padding", "valid")? {
        "valid" => (0..n).map(|i| size(i, 0)).collect(),
        "same" => {
            attributes.push(AttributeProto::text("auto_pad", "SAME_UPPER"));
            (0..n).map(|i| Some(steps(x.dims[i + 2]?, stride[i]))).collect()
        }
        "causal" if n == 1 => {
            attributes.push(AttributeProto::list("pads", &[span(0) - 1, 0]));
            vec![size(0, span(0) - 1)]
        }
        other => return Err(c.config.unsupported(format!("padding={other:?} is not evaluated"))),
    };
    if (0..n).any(|i| x.dims[i + 2].is_some() && sizes[i].is_none()) {
        return Err(c.config.bad(format!("its input {:?} is smaller than its window", x.dims)));
    }
    Ok(Window { attributes, sizes })
}

/// A convolution with weights in Keras' order, its kernels in ONNX' by a change of axes.
fn product(
    c: &mut Call<'_>,
    x: &Value,
    w: &Value,
    bias: Option<&Value>,
    at: Window,
    groups: usize,
) -> Value {
    let channels = w.dims[0];
    let mut attributes = at.attributes;
    attributes.push(AttributeProto::int("group", groups as i64));
    let mut inputs = vec![x, w];
    inputs.extend(bias);
    let mut y = c.node_with("Conv", &inputs, &attributes);
    y.dims = [x.dims[0], channels].into_iter().chain(at.sizes).collect();
    y
}

fn finish(c: &mut Call<'_>, y: &Value) -> Result<Value> {
    let y = last(c, y)?;
    let spec = c.config.get("activation").cloned().unwrap_or_default();
    apply(c, &spec, &y)
}

fn convolve(c: &mut Call<'_>, n: usize) -> Result<Value> {
    let (x, channels) = image(c, n)?;
    let filters = c.config.size("filters")?.ok_or_else(|| c.config.bad("it has no filters"))?;
    let groups = c.config.size("groups")?.unwrap_or(1);
    if groups == 0 || !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
        let message = format!("{channels} channels and {filters} filters make no {groups} groups");
        return Err(c.config.bad(message));
    }
    let kernel = each(c, "kernel_size", n, 1)?;
    let mut shape: Vec<usize> = kernel.iter().map(|&k| k as usize).collect();
    shape.extend([channels / groups, filters]);
    let bias = c.config.flag("use_bias", true)?;
    let shapes: [&[usize]; 2] = [&shape, &[filters]];
    let weights = c.weights(&shapes[..=usize::from(bias)])?;
    let at = window(c, &x, &kernel, None)?;
    let w = kernels(c, &weights[0], x.dtype)?;
    let bias = bias.then(|| c.constant(&weights[1])).map(|b| c.cast(&b, x.dtype));
    let y = product(c, &x, &w, bias.as_ref(), at, groups);
    finish(c, &y)
}

/// `[…, in, out]` as `[out, in, …]`.
fn kernels(
    c: &mut Call<'_>,
    weight: &crate::onnx::Tensor,
    dtype: crate::onnx::DType,
) -> Result<Value> {
    let n = weight.dims().len() as i64 - 2;
    let w = c.constant(weight);
    let w = c.cast(&w, dtype);
    let order: Vec<i64> = [n + 1, n].into_iter().chain(0..n).collect();
    super::shape::transpose(c, &w, &order)
}

/// `[…, in, times]` as `[in · times, 1, …]`.
fn kernels_each(
    c: &mut Call<'_>,
    weight: &crate::onnx::Tensor,
    dtype: crate::onnx::DType,
) -> Result<Value> {
    let n = weight.dims().len() - 2;
    let w = c.constant(weight);
    let w = c.cast(&w, dtype);
    let order: Vec<i64> = [n as i64, n as i64 + 1].into_iter().chain(0..n as i64).collect();
    let w = super::shape::transpose(c, &w, &order)?;
    let mut dims = vec![weight.dims()[n] * weight.dims()[n + 1], 1];
    dims.extend(&weight.dims()[..n]);
    let target: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
    let target = c.integers(&target);
    let mut w = c.node("Reshape", &[&w, &target]);
    w.dims = dims.into_iter().map(Some).collect();
    Ok(w)
}

fn depthwise(c: &mut Call<'_>, n: usize) -> Result<Value> {
    let (x, channels) = image(c, n)?;
    let times = c.config.size("depth_multiplier")?.unwrap_or(1);
    let kernel = each(c, "kernel_size", n, 1)?;
    let mut shape: Vec<usize> = kernel.iter().map(|&k| k as usize).collect();
    shape.extend([channels, times]);
    let bias = c.config.flag("use_bias", true)?;
    let all = channels.saturating_mul(times);
    let shapes: [&[usize]; 2] = [&shape, &[all]];
    let weights = c.weights(&shapes[..=usize::from(bias)])?;
    let at = window(c, &x, &kernel, None)?;
    let w = kernels_each(c, &weights[0], x.dtype)?;
    let bias = bias.then(|| c.constant(&weights[1])).map(|b| c.cast(&b, x.dtype));
    let y = product(c, &x, &w, bias.as_ref(), at, channels);
    finish(c, &y)
}

/// A convolution of each channel, then of the channels at each place.
fn separable(c: &mut Call<'_>, n: usize) -> Result<Value> {
    let (x, channels) = image(c, n)?;
    let filters = c.config.size("filters")?.ok_or_else(|| c.config.bad("it has no filters"))?;
    let times = c.config.size("depth_multiplier")?.unwrap_or(1);
    if c.config.size("groups")?.unwrap_or(1) != 1 {
        return Err(c.config.unsupported("groups are not evaluated"));
    }
    let kernel = each(c, "kernel_size", n, 1)?;
    let mut shape: Vec<usize> = kernel.iter().map(|&k| k as usize).collect();
    let mut point = vec![1; n];
    shape.extend([channels, times]);
    point.extend([channels.saturating_mul(times), filters]);
    let bias = c.config.flag("use_bias", true)?;
    let shapes: [&[usize]; 3] = [&shape, &point, &[filters]];
    let weights = c.weights(&shapes[..2 + usize::from(bias)])?;
    let at = window(c, &x, &kernel, None)?;
    let w = kernels_each(c, &weights[0], x.dtype)?;
    let y = product(c, &x, &w, None, at, channels);
    let w = kernels(c, &weights[1], x.dtype)?;
    let bias = bias.then(|| c.constant(&weights[2])).map(|b| c.cast(&b, x.dtype));
    let at = Window { attributes: Vec::new(), sizes: y.dims[2..].to_vec() };
    let y = product(c, &y, &w, bias.as_ref(), at, 1);
    finish(c, &y)
}

fn pool(c: &mut Call<'_>, operator: &str, n: usize) -> Result<Value> {
    let (x, _) = image(c, n)?;
    let size = each(c, "pool_size", n, 2)?;
    let at = window(c, &x, &size, Some(&size))?;
    let mut y = c.node_with(operator, &[&x], &at.attributes);
    y.dims = x.dims[..2].iter().copied().chain(at.sizes).collect();
    last(c, &y)
}

/// Zeros around the image.
fn zeros(c: &mut Call<'_>, n: usize) -> Result<Value> {
    let x = c.float_input()?;
    super::shape::last_channels(c)?;
    if x.dims.len() != n + 2 {
        return Err(c.config.bad(format!("its input has {} dimensions", x.dims.len())));
    }
    let mut all = Vec::new();
    let stated = c.config.get("padding").cloned().unwrap_or_default();
    let read = super::super::config::flatten(&stated, &mut all, 0);
    let all: Vec<i64> = all.into_iter().map(|x| x as i64).collect();
    let pads: Vec<[i64; 2]> = match (&all[..], n) {
        (&[one], _) => vec![[one, one]; n],
        (&[a, b], 1) => vec![[a, b]],
        (&[y, x], 2) => vec![[y, y], [x, x]],
        (&[a, b, c, d], 2) => vec![[a, b], [c, d]],
        _ => return Err(c.config.bad("its padding has another form")),
    };
    if !read || pads.iter().flatten().any(|p| !(0..1 << 24).contains(p)) {
        return Err(c.config.bad("its padding is no list of sizes"));
    }
    let mut list = vec![0i64; 2 * (n + 2)];
    let mut dims = x.dims.clone();
    for (i, [before, behind]) in pads.into_iter().enumerate() {
        (list[i + 1], list[n + 2 + i + 1]) = (before, behind);
        dims[i + 1] = dims[i + 1].map(|d| d + (before + behind) as usize);
    }
    let list = c.integers(&list);
    Ok(Value { dims, ..c.node("Pad", &[&x, &list]) })
}
