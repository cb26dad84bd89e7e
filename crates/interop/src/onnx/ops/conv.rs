//! Convolutions and pooling over windows.

use super::super::data::Data;
use super::super::session::{Call, Outcome};
use super::super::tensor::{Tensor, count};
use super::shape::{floats, indices, tensor};
use super::walk::strides;
use super::window::Window;
use super::{Operator, op, single, windows};

const WINDOW: &[&str] = &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];

pub(super) const OPS: &[Operator] = &[
    op(
        "AveragePool",
        &[
            "auto_pad",
            "ceil_mode",
            "count_include_pad",
            "dilations",
            "kernel_shape",
            "pads",
            "strides",
        ],
        average,
    ),
    op("Conv", WINDOW, conv),
    op(
        "ConvTranspose",
        &[
            "auto_pad",
            "dilations",
            "group",
            "kernel_shape",
            "output_padding",
            "output_shape",
            "pads",
            "strides",
        ],
        transposed,
    ),
    op("GlobalAveragePool", &[], |c| {
        let x = c.input(0)?;
        let [n, channels, inner @ ..] = x.dims() else {
            return Err("images of channels are expected".into());
        };
        if let (Data::F32(v), false) = (x.data(), x.data().is_empty() || inner.is_empty()) {
            let size: usize = inner.iter().product();
            let sums = single::row_sums(c, v, size);
            let means: Vec<f32> = sums.into_iter().map(|x| x / size as f32).collect();
            let dims: Vec<usize> =
                [*n, *channels].into_iter().chain(inner.iter().map(|_| 1)).collect();
            return Ok(vec![Tensor::of(&dims, means.into())?]);
        }
        global(c, |v| v.iter().sum::<f64>() / v.len() as f64)
    }),
    op("GlobalMaxPool", &[], |c| {
        let x = c.input(0)?;
        if let (Data::F32(v), [n, channels, inner @ ..]) = (x.data(), x.dims())
            && !v.is_empty()
            && !inner.is_empty()
        {
            let size: usize = inner.iter().product();
            let dims: Vec<usize> =
                [*n, *channels].into_iter().chain(inner.iter().map(|_| 1)).collect();
            return Ok(vec![Tensor::of(&dims, single::row_maxima(c, v, size).into())?]);
        }
        global(c, |v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }),
    op(
        "LpPool",
        &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "p", "pads", "strides"],
        lp,
    ),
    op(
        "MaxPool",
        &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"],
        max,
    ),
];

fn conv(c: &Call<'_>) -> Outcome {
    let (x, w) = (c.input(0)?, c.input(1)?);
    let (&[n, channels, ..], &[outputs, per_group, ref kernel @ ..]) = (x.dims(), w.dims()) else {
        return Err("images of channels are expected".into());
    };
    let window = Window::new(c, x.dims(), Some(kernel))?;
    let groups = usize::try_from(c.int("group", 1)?)
        .ok()
        .filter(|&g| g > 0 && channels == g * per_group && outputs % g == 0);
    let groups = groups.ok_or_else(|| {
        format!("{channels} channels and kernels of shape {:?} do not go together", w.dims())
    })?;
    if c.get(2).is_some_and(|b| b.data().len() != outputs) {
        return Err(format!("{outputs} channels need as many biases"));
    }
    if let Some(y) = windows::conv(c, &window, groups)? {
        return Ok(vec![y]);
    }
    let ((images, dtype), (weights, _)) = (floats(x)?, floats(w)?);
    let bias = c.get(2).map(floats).transpose()?.map(|(b, _)| b);
    let (size, area): (usize, usize) = (window.size.iter().product(), kernel.iter().product());
    let places = window.places();
    let dims = [&[n, outputs], &window.out[..]].concat();
    let mut y = Vec::with_capacity(count(&dims)?);
    for image in 0..n {
        for output in 0..outputs {
            let group = output / (outputs / groups);
            for places in &places {
                let mut sum = bias.as_ref().map_or(0.0, |b| b[output]);
                for channel in 0..per_group {
                    let from =
                        &images[(image * channels + group * per_group + channel) * size..][..size];
                    let kernel = &weights[(output * per_group + channel) * area..][..area];
                    sum += places.iter().map(|&(k, at)| kernel[k] * from[at]).sum::<f64>();
                }
                y.push(sum);
            }
        }
    }
    Ok(vec![tensor(&dims, dtype, y)?])
}

/// The gradient of a convolution by its images: each element adds a kernel to the result.
fn transposed(c: &Call<'_>) -> Outcome {
    let (x, w) = (c.input(0)?, c.input(1)?);
    let (&[n, channels, ref size @ ..], &[in_channels, per_group, ref kernel @ ..]) =
        (x.dims(), w.dims())
    else {
        return Err("images of channels are expected".into());
    };
    let rank = size.len();
    let groups = usize::try_from(c.int("group", 1)?)
        .ok()
        .filter(|&g| g > 0 && channels == in_channels && channels % g == 0);
    let groups = groups.filter(|_| kernel.len() == rank && rank > 0).ok_or_else(|| {
        format!("{channels} channels and kernels of shape {:?} do not go together", w.dims())
    })?;
    let outputs = per_group * groups;
    let list = |name: &str, default: i64, n: usize| -> Result<Vec<i64>, String> {
        let found = c.ints(name)?.unwrap_or_else(|| vec![default; n]);
        let fits = found.len() == n && found.iter().all(|x| (0..1 << 24).contains(x));
        fits.then_some(found)
            .ok_or_else(|| format!("its attribute `{name}` is no list of {n} sizes"))
    };
    let (stride, dilation) = (list("strides", 1, rank)?, list("dilations", 1, rank)?);
    let (mut pads, extra) = (list("pads", 0, 2 * rank)?, list("output_padding", 0, rank)?);
    if stride.contains(&0) || dilation.contains(&0) {
        return Err("a stride or a dilation is 0".into());
    }
    let stated = c.ints("output_shape")?;
    let auto = c.text("auto_pad", "NOTSET")?;
    let mut out = Vec::with_capacity(rank);
    for i in 0..rank {
        let span = dilation[i] * (kernel[i] as i64 - 1) + 1;
        let full = stride[i] * (size[i] as i64 - 1) + extra[i] + span;
        let wanted = match (&stated, auto) {
            (Some(stated), _) => Some(
                *stated
                    .get(stated.len().wrapping_sub(rank) + i)
                    .ok_or("its attribute `output_shape` has too few sizes")?,
            ),
            (None, "SAME_UPPER" | "SAME_LOWER") => Some(size[i] as i64 * stride[i]),
            (None, "NOTSET" | "VALID") => None,
            (None, other) => {
                return Err(format!(
                    "its attribute `auto_pad` is `{other}`, which is none of the standard's"
                ));
            }
        };
        if auto == "VALID" {
            (pads[i], pads[rank + i]) = (0, 0);
        }
        if let Some(wanted) = wanted {
            let pad = (full - wanted).max(0);
            let (less, more) = (pad / 2, pad - pad / 2);
            (pads[i], pads[rank + i]) =
                if auto == "SAME_UPPER" { (less, more) } else { (more, less) };
            out.push(wanted);
        } else {
            out.push(full - pads[i] - pads[rank + i]);
        }
    }
    let out = super::shape::sizes(&out)?;
    let dims = [&[n, outputs], &out[..]].concat();
    if c.get(2).is_some_and(|bias| bias.data().len() != outputs) {
        return Err(format!("{outputs} channels need as many biases"));
    }
    if let Some(y) = windows::transposed(c, [&stride, &dilation, &pads[..rank]], &out, groups)? {
        return Ok(vec![y]);
    }
    let mut y = vec![0.0f64; count(&dims)?];
    let ((images, dtype), (weights, _)) = (floats(x)?, floats(w)?);
    if let Some(bias) = c.get(2) {
        let (bias, _) = floats(bias)?;
        let width: usize = out.iter().product::<usize>().max(1);
        for (i, row) in y.chunks_mut(width).enumerate() {
            row.fill(bias[i % outputs]);
        }
    }
    // As many products as these are listed below.
    count(&[size, kernel].concat())?;
    let own = strides(&out);
    let (area, width) = (kernel.iter().product::<usize>(), out.iter().product::<usize>());
    let taps: Vec<Vec<usize>> = indices(kernel).collect();
    // For each element and tap, where its product goes.
    let mut places = Vec::new();
    for (at, index) in indices(size).enumerate() {
        for (k, tap) in taps.iter().enumerate() {
            let place = (0..rank).try_fold(0usize, |sum, i| {
                let to = index[i] as i64 * stride[i] + tap[i] as i64 * dilation[i] - pads[i];
                let to = usize::try_from(to).ok().filter(|&to| to < out[i])?;
                Some(sum + to * own[i] as usize)
            });
            if let Some(place) = place {
                places.push((at, k, place));
            }
        }
    }
    let (inner, each) = (size.iter().product::<usize>(), channels / groups);
    for image in 0..n {
        for channel in 0..channels {
            let from = &images[(image * channels + channel) * inner..][..inner];
            for j in 0..per_group {
                let to = image * outputs + channel / each * per_group + j;
                let to = &mut y[to * width..][..width];
                let kernel = &weights[(channel * per_group + j) * area..][..area];
                for &(at, k, place) in &places {
                    to[place] += from[at] * kernel[k];
                }
            }
        }
    }
    Ok(vec![tensor(&dims, dtype, y)?])
}

/// f of each window: the values within the image, and the size of the window with its padding.
fn pool(c: &Call<'_>, f: impl Fn(&[f64], usize) -> f64) -> Outcome {
    let x = c.input(0)?;
    let window = Window::new(c, x.dims(), None)?;
    let (values, dtype) = floats(x)?;
    let size: usize = window.size.iter().product();
    let (places, padded) = (window.places(), window.padded());
    let dims = [&x.dims()[..2], &window.out[..]].concat();
    let mut y = Vec::with_capacity(count(&dims)?);
    let mut row = Vec::new();
    for image in values.chunks(size.max(1)) {
        for (places, &all) in places.iter().zip(&padded) {
            row.clear();
            row.extend(places.iter().map(|&(_, at)| image[at]));
            y.push(f(&row, all));
        }
    }
    Ok(vec![tensor(&dims, dtype, y)?])
}

fn average(c: &Call<'_>) -> Outcome {
    let include = c.int("count_include_pad", 0)? != 0;
    let window = Window::new(c, c.input(0)?.dims(), None)?;
    if let Some(y) = windows::average(c, &window, include)? {
        return Ok(vec![y]);
    }
    pool(c, |v, all| v.iter().sum::<f64>() / if include { all } else { v.len() } as f64)
}

fn lp(c: &Call<'_>) -> Outcome {
    let p = c.int("p", 2)? as f64;
    pool(c, |v, _| v.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p))
}

/// The largest of each window, and where it lies in the tensor.
fn max(c: &Call<'_>) -> Outcome {
    if c.outputs() < 2
        && let Some(y) = windows::max(c, &Window::new(c, c.input(0)?.dims(), None)?)?
    {
        return Ok(vec![y]);
    }
    let most = pool(c, |v, _| v.iter().copied().fold(f64::NEG_INFINITY, f64::max))?;
    if c.outputs() < 2 {
        return Ok(most);
    }
    let x = c.input(0)?;
    let window = Window::new(c, x.dims(), None)?;
    let by_column = c.int("storage_order", 0)? != 0;
    let (values, _) = floats(x)?;
    let size: usize = window.size.iter().product();
    let own = strides(&window.size);
    let places = window.places();
    let mut at = Vec::with_capacity(most[0].data().len());
    for (i, image) in values.chunks(size.max(1)).enumerate() {
        for places in &places {
            let best = places
                .iter()
                .map(|&(_, at)| at)
                .reduce(|b, at| if image[at] > image[b] { at } else { b });
            let mut place = best.ok_or("a window lies outside of the image")?;
            if by_column {
                let index: Vec<usize> =
                    own.iter().zip(&window.size).map(|(s, d)| place / *s as usize % d).collect();
                place = index.iter().zip(&window.size).rev().fold(0, |sum, (i, d)| sum * d + i);
            }
            at.push((i * size + place) as i64);
        }
    }
    let dims = most[0].dims().to_vec();
    Ok(most.into_iter().chain([Tensor::of(&dims, at.into())?]).collect())
}

fn global(c: &Call<'_>, f: impl Fn(&[f64]) -> f64) -> Outcome {
    let x = c.input(0)?;
    if x.dims().len() < 3 {
        return Err("images of channels are expected".into());
    }
    let axes: Vec<usize> = (2..x.dims().len()).collect();
    Ok(vec![super::reduce::reduced(x, &axes, true, f)?])
}
