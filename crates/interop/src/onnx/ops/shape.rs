//! Operators that move elements or make shapes.

use super::super::data::{DType, Data};
use super::super::session::{Attribute, Call, Outcome, axis, ints};
use super::super::tensor::{Tensor, count};
use super::linear::transposed;
use super::walk::{around, broadcast, expand, strides};
use super::{Operator, op};

pub(super) const OPS: &[Operator] = &[
    op("Concat", &["axis"], concat),
    op(
        "Constant",
        &[
            "value",
            "value_float",
            "value_floats",
            "value_int",
            "value_ints",
            "value_string",
            "value_strings",
        ],
        constant,
    ),
    op("ConstantOfShape", &["value"], constant_of_shape),
    op("DepthToSpace", &["blocksize", "mode"], depth_to_space),
    op("Expand", &[], |c| {
        let x = c.input(0)?;
        let to = sizes(&ints(c.input(1)?)?)?;
        Ok(vec![expand(c, x, &broadcast(&[x.dims(), &to])?)?])
    }),
    op("EyeLike", &["dtype", "k"], eye),
    op("Flatten", &["axis"], flatten),
    op("Pad", &["mode", "pads", "value"], pad),
    op("Range", &[], range),
    op("Reshape", &["allowzero"], reshape),
    op("Shape", &["start", "end"], shape),
    op("Size", &[], |c| Ok(vec![Tensor::scalar(vec![c.input(0)?.data().len() as i64])])),
    op("Slice", &["axes", "starts", "ends"], slice),
    op("SpaceToDepth", &["blocksize"], space_to_depth),
    op("Split", &["axis", "num_outputs", "split"], split),
    op("Squeeze", &["axes"], squeeze),
    op("Tile", &[], tile),
    op("Transpose", &["perm"], transpose),
    op("Trilu", &["upper"], trilu),
    op("Unsqueeze", &["axes"], unsqueeze),
];

/// Sizes of dimensions.
pub(super) fn sizes(values: &[i64]) -> Result<Vec<usize>, String> {
    let sizes: Option<Vec<usize>> = values.iter().map(|&d| usize::try_from(d).ok()).collect();
    let sizes = sizes.ok_or_else(|| format!("{values:?} is no shape"))?;
    count(&sizes)?;
    Ok(sizes)
}

pub(super) fn join(c: &Call<'_>, all: &[&Tensor], axis: usize) -> Result<Tensor, String> {
    let (first, rest) = all.split_first().ok_or("it has no inputs")?;
    let mut dims = first.dims().to_vec();
    for x in rest {
        let fits = x.dims().len() == dims.len()
            && (0..dims.len()).all(|i| i == axis || x.dims()[i] == dims[i]);
        if !fits {
            return Err(format!(
                "shapes {:?} and {:?} are not joined along dimension {axis}",
                first.dims(),
                x.dims()
            ));
        }
        dims[axis] += x.dims()[axis];
    }
    count(&dims)?;
    let parts: Vec<(&Data, usize)> =
        all.iter().map(|x| (x.data(), x.dims()[axis..].iter().product())).collect();
    let data = Data::by_turns(&parts, dims[..axis].iter().product(), c.pool());
    Tensor::of(&dims, data.ok_or("its inputs are of several types")?)
}

fn concat(c: &Call<'_>) -> Outcome {
    let all = c.all()?;
    let rank = all.first().ok_or("it has no inputs")?.dims().len();
    let at = c.maybe_int("axis")?.ok_or("its attribute `axis` is missing")?;
    Ok(vec![join(c, &all, axis(at, rank)?)?])
}

fn constant(c: &Call<'_>) -> Outcome {
    let mut values = c.node.attributes.values();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err("it should have one value".into());
    };
    Ok(vec![match value {
        Attribute::Tensor(tensor) => (**tensor).clone(),
        Attribute::Float(x) => Tensor::scalar(vec![*x]),
        Attribute::Int(x) => Tensor::scalar(vec![*x]),
        Attribute::Text(x) => Tensor::scalar(vec![x.clone()]),
        Attribute::Floats(x) => Tensor::vector(x.clone()),
        Attribute::Ints(x) => Tensor::vector(x.clone()),
        Attribute::Texts(x) => Tensor::vector(x.clone()),
        Attribute::Graph(_) => return Err("a graph is no value".into()),
    }])
}

fn constant_of_shape(c: &Call<'_>) -> Outcome {
    let dims = sizes(&ints(c.input(0)?)?)?;
    let value = match c.attribute("value") {
        Some(Attribute::Tensor(tensor)) => tensor.data().clone(),
        _ => vec![0.0f32].into(),
    };
    if value.len() != 1 {
        return Err("its value is no single element".into());
    }
    Ok(vec![Tensor::of(&dims, value.pick(std::iter::repeat_n(0, count(&dims)?)))?])
}

fn depth_to_space(c: &Call<'_>) -> Outcome {
    let (x, b) = (c.input(0)?, block(c)?);
    let [n, channels, h, w] = *x.dims() else { return Err("four dimensions are expected".into()) };
    if channels % (b * b) != 0 {
        return Err(format!("{channels} channels are no multiple of {b} × {b}"));
    }
    let d = channels / (b * b);
    let (inner, order): ([usize; 6], _) = match c.text("mode", "DCR")? {
        "DCR" => ([n, b, b, d, h, w], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, d, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        other => return Err(format!("its attribute `mode` is `{other}`, neither `DCR` nor `CRD`")),
    };
    Ok(vec![transposed(c, &x.reshaped(&inner)?, &order)?.reshaped(&[n, d, h * b, w * b])?])
}

fn space_to_depth(c: &Call<'_>) -> Outcome {
    let (x, b) = (c.input(0)?, block(c)?);
    let [n, channels, h, w] = *x.dims() else { return Err("four dimensions are expected".into()) };
    if h % b != 0 || w % b != 0 {
        return Err(format!("{h} × {w} is no multiple of {b}"));
    }
    let inner = x.reshaped(&[n, channels, h / b, b, w / b, b])?;
    Ok(vec![transposed(c, &inner, &[0, 3, 5, 1, 2, 4])?.reshaped(&[
        n,
        channels * b * b,
        h / b,
        w / b,
    ])?])
}

fn block(c: &Call<'_>) -> Result<usize, String> {
    let size = c.int("blocksize", 0)?;
    usize::try_from(size)
        .ok()
        .filter(|&b| b > 0 && b < 1 << 16)
        .ok_or_else(|| format!("{size} is no size of a block"))
}

fn eye(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let [rows, cols] = *x.dims() else { return Err("a matrix is expected".into()) };
    let (k, dtype) = (c.int("k", 0)?, c.dtype("dtype")?.unwrap_or(x.dtype()));
    let one = |i: usize| f64::from(u8::from((i % cols) as i64 - (i / cols) as i64 == k));
    let data = dtype.of_floats((0..rows * cols).map(one)).ok_or("texts have no one")?;
    Ok(vec![Tensor::of(x.dims(), data)?])
}

fn flatten(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let rank = x.dims().len();
    let at = c.int("axis", 1)?;
    let at = if at == rank as i64 { rank } else { axis(at, rank)? };
    let (rows, cols) = x.dims().split_at(at);
    Ok(vec![x.reshaped(&[rows.iter().product(), cols.iter().product()])?])
}

fn pad(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let rank = x.dims().len();
    let pads = c.ints_or_input("pads", 1)?.ok_or("its pads are missing")?;
    let axes = match c.get(3) {
        Some(axes) => {
            ints(axes)?.into_iter().map(|a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?
        }
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!(
            "{} pads are not two for each of {} dimensions",
            pads.len(),
            axes.len()
        ));
    }
    let mut both = vec![[0i64; 2]; rank];
    for (i, &a) in axes.iter().enumerate() {
        both[a] = [pads[i], pads[axes.len() + i]];
    }
    let size = |(d, [before, after]): (&usize, &[i64; 2])| {
        (*d as i64).checked_add(*before)?.checked_add(*after)
    };
    let dims: Option<Vec<i64>> = x.dims().iter().zip(&both).map(size).collect();
    let dims = sizes(&dims.ok_or("its pads are too large")?)?;
    let mode = c.text("mode", "constant")?;
    let value = match c.get(2) {
        Some(value) if value.data().len() == 1 && value.dtype() == x.dtype() => {
            value.data().clone()
        }
        Some(_) => return Err("its value is no element of the same type".into()),
        None => match c.attribute("value") {
            Some(_) => x
                .dtype()
                .of_floats([c.float("value", 0.0)?].into_iter())
                .ok_or("texts have no value of numbers")?,
            None => x.dtype().zeros(1),
        },
    };
    if !["constant", "edge", "wrap", "reflect"].contains(&mode) {
        return Err(format!("its attribute `mode` is `{mode}`, which is none of the standard's"));
    }
    if mode != "constant" && x.data().is_empty() {
        return Err("an empty tensor has no edge".into());
    }
    if count(&dims)? == 0 {
        return Ok(vec![Tensor::of(&dims, x.dtype().zeros(0))?]);
    }
    // The value stands behind the elements.
    let outside = x.data().len();
    let data = x.data().clone().joined(&value).ok_or("its value is of another type")?;
    let own = strides(x.dims());
    // For each dimension, what a position adds to that of the element, or nothing outside.
    let place = |i: usize, index: usize| {
        let d = x.dims()[i] as i64;
        let mut k = index as i64 - both[i][0];
        match mode {
            "constant" if k < 0 || k >= d => return None,
            "edge" => k = k.clamp(0, d - 1),
            "wrap" => k = k.rem_euclid(d.max(1)),
            "reflect" => {
                let period = 2 * (d - 1).max(1);
                k = k.rem_euclid(period);
                k = if k >= d { period - k } else { k };
                k = k.min(d - 1);
            }
            _ => {}
        }
        Some(k as usize * own[i] as usize)
    };
    let places: Vec<Vec<Option<usize>>> =
        dims.iter().enumerate().map(|(i, &d)| (0..d).map(|k| place(i, k)).collect()).collect();
    let mut at = Vec::with_capacity(count(&dims)?);
    let Some((last, outer)) = places.split_last() else { return Ok(vec![x.clone()]) };
    for index in indices(&dims[..rank - 1]) {
        let start = index.iter().zip(outer).try_fold(0, |sum, (&k, places)| Some(sum + places[k]?));
        match start {
            Some(start) => at.extend(last.iter().map(|k| k.map_or(outside, |k| start + k))),
            None => at.resize(at.len() + last.len(), outside),
        }
    }
    Ok(vec![Tensor::of(&dims, data.runs(&at, 1, c.pool()))?])
}

/// The index of each element of an array, in order.
pub(super) fn indices(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let dims = dims.to_vec();
    let n: usize = dims.iter().product();
    (0..n).map(move |mut at| {
        let mut index = vec![0; dims.len()];
        for i in (0..dims.len()).rev() {
            index[i] = at % dims[i];
            at /= dims[i];
        }
        index
    })
}

fn range(c: &Call<'_>) -> Outcome {
    let first = c.input(0)?;
    let all = c.all()?;
    if all.len() != 3 || all.iter().any(|x| x.dtype() != first.dtype() || x.data().len() != 1) {
        return Err("start, limit and step are three scalars of one type".into());
    }
    let value = |i: usize| {
        all[i].data().floats().and_then(|v| v.first().copied()).ok_or("texts have no range")
    };
    let (start, limit, step) = (value(0)?, value(1)?, value(2)?);
    let n = ((limit - start) / step).ceil().max(0.0);
    if n.is_nan() || n > super::super::tensor::MOST as f64 {
        return Err(format!("a range from {start} to {limit} in steps of {step} has no end"));
    }
    let values = (0..n as usize).map(|i| start + i as f64 * step);
    Ok(vec![Tensor::vector(first.dtype().of_floats(values).ok_or("texts have no range")?)])
}

fn reshape(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let wanted = ints(c.input(1)?)?;
    let keep = c.int("allowzero", 0)? == 0;
    let mut dims = Vec::with_capacity(wanted.len());
    let mut free = None;
    for (i, &d) in wanted.iter().enumerate() {
        dims.push(match d {
            0 if keep => *x
                .dims()
                .get(i)
                .ok_or_else(|| format!("{wanted:?} keeps a dimension that {:?} lacks", x.dims()))?,
            -1 if free.is_none() => {
                free = Some(i);
                1
            }
            d => usize::try_from(d).map_err(|_| format!("{wanted:?} is no shape"))?,
        });
    }
    if let Some(i) = free {
        let known = count(&dims)?;
        if known == 0 || !x.data().len().is_multiple_of(known) {
            return Err(format!("{:?} does not become {wanted:?}", x.dims()));
        }
        dims[i] = x.data().len() / known;
    }
    Ok(vec![x.reshaped(&dims)?])
}

fn shape(c: &Call<'_>) -> Outcome {
    let dims = c.input(0)?.dims();
    let rank = dims.len() as i64;
    let bound = |at: i64| if at < 0 { at + rank } else { at }.clamp(0, rank) as usize;
    let (start, end) = (bound(c.int("start", 0)?), bound(c.int("end", rank)?));
    let dims = dims.get(start..end).unwrap_or_default();
    Ok(vec![Tensor::vector(dims.iter().map(|&d| d as i64).collect::<Vec<_>>())])
}

fn slice(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let rank = x.dims().len();
    let starts = c.ints_or_input("starts", 1)?.ok_or("its starts are missing")?;
    let ends = c.ints_or_input("ends", 2)?.ok_or("its ends are missing")?;
    let axes = c.ints_or_input("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = match c.get(4) {
        Some(steps) => ints(steps)?,
        None => vec![1; starts.len()],
    };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("starts, ends, axes and steps differ in length".into());
    }
    let (mut dims, mut stride) = (x.dims().to_vec(), strides(x.dims()));
    let own = stride.clone();
    let mut first = 0;
    for i in 0..starts.len() {
        let a = axis(axes[i], rank)?;
        if axes[..i].iter().any(|&other| axis(other, rank) == Ok(a)) {
            return Err(format!("it names dimension {a} twice"));
        }
        let (d, step) = (x.dims()[a] as i64, steps[i]);
        let from_end = |at: i64| if at < 0 { at.saturating_add(d) } else { at };
        let (low, high) = if step > 0 { (0, d) } else { (-1, d - 1) };
        let (start, end) = (
            from_end(starts[i]).clamp(low.max(0), high.max(0)),
            from_end(ends[i]).clamp(low, high),
        );
        let n = match step {
            0 => return Err("a step of 0 goes nowhere".into()),
            step if step > 0 => (end - start).max(0) as u64,
            _ => (start - end).max(0) as u64,
        };
        let n = if d == 0 { 0 } else { n.div_ceil(step.unsigned_abs()) };
        dims[a] = n as usize;
        if n > 0 {
            first += start * own[a] as i64;
            stride[a] = if n > 1 { own[a] * step as isize } else { own[a] };
        }
    }
    Ok(vec![Tensor::of(&dims, x.data().view(&dims, &stride, first as usize, c.pool()))?])
}

fn split(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let a = c.axis("axis", 0, x.dims().len())?;
    let d = x.dims()[a];
    let parts = if let Some(parts) = c.ints_or_input("split", 1)? {
        sizes(&parts)?
    } else {
        let n = c.int("num_outputs", c.outputs() as i64)?;
        let n = usize::try_from(n)
            .ok()
            .filter(|&n| n > 0 && n <= c.outputs().max(1))
            .ok_or("its number of parts is not that of its outputs")?;
        let size = d.div_ceil(n);
        (0..n).map(|i| size.min(d.saturating_sub(i * size))).collect()
    };
    if parts.iter().sum::<usize>() != d {
        return Err(format!("parts of {parts:?} do not add up to {d}"));
    }
    let own = strides(x.dims());
    let mut start = 0;
    parts
        .into_iter()
        .map(|part| {
            let mut dims = x.dims().to_vec();
            dims[a] = part;
            let first = start * own[a] as usize;
            start += part;
            Tensor::of(&dims, x.data().view(&dims, &own, first, c.pool()))
        })
        .collect()
}

fn squeeze(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let rank = x.dims().len();
    let axes = match c.ints_or_input("axes", 1)? {
        Some(axes) => axes.into_iter().map(|a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).filter(|&i| x.dims()[i] == 1).collect(),
    };
    if let Some(&a) = axes.iter().find(|&&a| x.dims()[a] != 1) {
        return Err(format!("dimension {a} of {:?} is not 1", x.dims()));
    }
    let dims: Vec<usize> = (0..rank).filter(|i| !axes.contains(i)).map(|i| x.dims()[i]).collect();
    Ok(vec![x.reshaped(&dims)?])
}

fn unsqueeze(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let axes = c.ints_or_input("axes", 1)?.ok_or("its axes are missing")?;
    let rank = x.dims().len() + axes.len();
    let axes = axes.into_iter().map(|a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut own = x.dims().iter();
    let dims: Vec<usize> = (0..rank)
        .map(|i| if axes.contains(&i) { 1 } else { own.next().copied().unwrap_or(1) })
        .collect();
    Ok(vec![x.reshaped(&dims)?])
}

fn tile(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let repeats = sizes(&ints(c.input(1)?)?)?;
    if repeats.len() != x.dims().len() {
        return Err(format!("{repeats:?} has not one number for each dimension of {:?}", x.dims()));
    }
    // Each dimension becomes two: the repeats and itself.
    let mut inner = Vec::new();
    let mut stride = Vec::new();
    for (i, own) in strides(x.dims()).into_iter().enumerate() {
        inner.extend([repeats[i], x.dims()[i]]);
        stride.extend([0, own]);
    }
    count(&inner)?;
    let dims: Vec<usize> = repeats.iter().zip(x.dims()).map(|(r, d)| r * d).collect();
    Ok(vec![Tensor::of(&dims, x.data().view(&inner, &stride, 0, c.pool()))?])
}

fn transpose(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let rank = x.dims().len();
    let order: Vec<usize> = match c.ints("perm")? {
        Some(order) => order.into_iter().map(|a| axis(a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(format!("{order:?} is no order of {rank} dimensions"));
    }
    Ok(vec![transposed(c, x, &order)?])
}

fn trilu(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let [.., rows, cols] = *x.dims() else { return Err("a matrix is expected".into()) };
    let upper = c.int("upper", 1)? != 0;
    let k = match c.get(1) {
        Some(k) => ints(k)?.first().copied().unwrap_or(0),
        None => 0,
    };
    let zero = x.data().len();
    let data = x.data().clone().joined(&x.dtype().zeros(1)).ok_or("no zero")?;
    let at = (0..zero).map(|at| {
        let (i, j) = ((at / cols % rows) as i64, (at % cols) as i64);
        let kept = if upper { j - i >= k } else { j - i <= k };
        if kept { at } else { zero }
    });
    Ok(vec![Tensor::of(x.dims(), data.pick(at))?])
}

/// A row of numbers for each row of a tensor's `axis`: what normalisations and scans run along.
pub(super) fn rows_along(
    x: &Tensor,
    axis: usize,
) -> impl Iterator<Item = impl Iterator<Item = usize> + Clone> {
    let [outer, n, inner] = around(x.dims(), axis);
    (0..outer)
        .flat_map(move |o| (0..inner).map(move |i| (0..n).map(move |k| (o * n + k) * inner + i)))
}

/// The type of the floats of an operator that computes in `f64`.
pub(super) fn floats(x: &Tensor) -> Result<(Vec<f64>, DType), String> {
    let values = x
        .data()
        .floats()
        .ok_or_else(|| format!("numbers are expected, found {}", x.dtype().name()))?;
    Ok((values, x.dtype()))
}

/// Floats as a tensor of this type.
pub(super) fn tensor(dims: &[usize], dtype: DType, values: Vec<f64>) -> Result<Tensor, String> {
    let data = if dtype == DType::F64 {
        Some(Data::F64(values))
    } else {
        dtype.of_floats(values.into_iter())
    };
    Tensor::of(dims, data.ok_or("texts are no numbers")?)
}
