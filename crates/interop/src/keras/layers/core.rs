//! Layers with weights, and those that only train.

use super::activation::apply;
use super::{Call, Row, Value};
use crate::keras::Result;
use crate::onnx::DType;
use crate::onnx::proto::AttributeProto;

pub(super) static LAYERS: &[Row] = &[
    ("Dense", dense),
    ("EinsumDense", einsum_dense),
    ("Embedding", embedding),
    ("Identity", pass),
    ("Dropout", pass),
    ("SpatialDropout1D", pass),
    ("SpatialDropout2D", pass),
    ("AlphaDropout", pass),
    ("GaussianDropout", pass),
    ("GaussianNoise", pass),
    ("ActivityRegularization", pass),
];

/// What changes its input in training only.
fn pass(c: &mut Call<'_>) -> Result<Value> {
    for key in ["rate", "noise_shape", "stddev", "l1", "l2", "data_format"] {
        c.config.get(key);
    }
    c.float_input()
}

/// f(x W + b)
fn dense(c: &mut Call<'_>) -> Result<Value> {
    let x = c.float_input()?;
    let units = c.config.size("units")?.ok_or_else(|| c.config.bad("it has no units"))?;
    if x.dims.len() < 2 {
        return Err(c.config.bad("its input has no features"));
    }
    let width = c.width(&x, x.dims.len() - 1)?;
    let bias = c.config.flag("use_bias", true)?;
    let shapes: [&[usize]; 2] = [&[width, units], &[units]];
    let weights = c.weights(&shapes[..=usize::from(bias)])?;
    let w = c.constant(&weights[0]);
    let w = c.cast(&w, x.dtype);
    let mut y = c.product(&x, &w);
    if bias {
        let b = c.constant(&weights[1]);
        let b = c.cast(&b, x.dtype);
        y = c.node("Add", &[&y, &b]);
    }
    let spec = c.config.get("activation").cloned().unwrap_or_default();
    apply(c, &spec, &y)
}

/// f(einsum(x, W) + b): see <https://keras.io/api/layers/core_layers/einsum_dense>.
fn einsum_dense(c: &mut Call<'_>) -> Result<Value> {
    let x = c.float_input()?;
    let equation = c.config.text("equation", "")?.replace(' ', "");
    let unread =
        |c: &Call<'_>| c.config.unsupported(format!("the equation `{equation}` is not evaluated"));
    let (input, rest) = equation.split_once(',').ok_or_else(|| unread(c))?;
    let (kernel, output) = rest.split_once("->").ok_or_else(|| unread(c))?;
    let letters = |part: &str| part.chars().all(|letter| letter.is_ascii_alphabetic());
    if ![input, kernel, output].into_iter().all(letters)
        || input.len() != x.dims.len()
        || input.chars().next() != output.chars().next()
    {
        return Err(unread(c));
    }
    let stated = c.config.integers_or_null("output_shape")?;
    // Sizes of the output: the batch, then as stated; what is not stated is that of the input.
    let mut sizes: Vec<Option<usize>> = vec![x.dims[0]];
    sizes.extend(stated.iter().map(|d| d.and_then(|d| usize::try_from(d).ok())));
    if sizes.len() != output.len() {
        return Err(unread(c));
    }
    let at = |part: &str, letter: char| part.chars().position(|other| other == letter);
    for (i, letter) in output.chars().enumerate() {
        if let (None, Some(axis)) = (sizes[i], at(input, letter)) {
            sizes[i] = x.dims[axis];
        }
    }
    let size = |letter: char| {
        let of_input = at(input, letter).and_then(|axis| x.dims[axis]);
        of_input.or_else(|| at(output, letter).and_then(|axis| sizes[axis]))
    };
    let shape: Option<Vec<usize>> = kernel.chars().map(size).collect();
    let shape = shape.ok_or_else(|| unread(c))?;
    let bias = c.config.text("bias_axes", "")?.to_owned();
    let mut bias_shape = Vec::new();
    if let Some(first) = output.chars().position(|letter| bias.contains(letter)) {
        // Axes behind the first of the bias, of size 1 where it has none.
        for letter in output.chars().skip(first) {
            let size = if bias.contains(letter) { size(letter) } else { Some(1) };
            bias_shape.push(size.ok_or_else(|| unread(c))?);
        }
    }
    let shapes: [&[usize]; 2] = [&shape, &bias_shape];
    let weights = c.weights(&shapes[..=usize::from(!bias.is_empty())])?;
    let w = c.constant(&weights[0]);
    let w = c.cast(&w, x.dtype);
    let attribute = AttributeProto::text("equation", &equation);
    let mut y = Value { dims: sizes, ..c.node_with("Einsum", &[&x, &w], &[attribute]) };
    if !bias.is_empty() {
        let b = c.constant(&weights[1]);
        let b = c.cast(&b, x.dtype);
        y = c.node("Add", &[&y, &b]);
    }
    let spec = c.config.get("activation").cloned().unwrap_or_default();
    apply(c, &spec, &y)
}

/// The row of each id.
fn embedding(c: &mut Call<'_>) -> Result<Value> {
    let ids = c.input()?;
    let dtype = c.float()?;
    let missing = |c: &Call<'_>, key: &str| c.config.bad(format!("it has no {key}"));
    let n = c.config.size("input_dim")?.ok_or_else(|| missing(c, "input_dim"))?;
    let width = c.config.size("output_dim")?.ok_or_else(|| missing(c, "output_dim"))?;
    if c.config.flag("mask_zero", false)? {
        return Err(c.config.unsupported("mask_zero=True is not evaluated"));
    }
    c.config.get("input_length");
    let weights = c.weights(&[&[n, width]])?;
    let rows = c.constant(&weights[0]);
    let rows = c.cast(&rows, dtype);
    let ids = c.cast(&ids, DType::I64);
    let mut y = c.node("Gather", &[&rows, &ids]);
    y.dims.clone_from(&ids.dims);
    y.dims.push(Some(width));
    Ok(y)
}
