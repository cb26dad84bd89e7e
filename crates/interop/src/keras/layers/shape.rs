//! Layers that move elements, and pooling over all of an axis.

use super::{Call, Row, Value};
use crate::keras::Result;
use crate::onnx::proto::AttributeProto;

pub(super) static LAYERS: &[Row] = &[
    ("Flatten", |c| {
        let x = c.input()?;
        last_channels(c)?;
        c.reshape(&x, &[-1])
    }),
    ("Reshape", |c| {
        let x = c.input()?;
        let shape = c.config.integers("target_shape")?.unwrap_or_default();
        c.reshape(&x, &shape)
    }),
    ("Permute", |c| {
        let x = c.input()?;
        let order = c.config.integers("dims")?.unwrap_or_default();
        let all: Vec<i64> = std::iter::once(0).chain(order).collect();
        transpose(c, &x, &all)
    }),
    ("RepeatVector", |c| {
        let x = c.input()?;
        let n = c.config.size("n")?.unwrap_or(1);
        let width = c.width(&x, x.dims.len() - 1)?;
        let y = c.reshape(&x, &[1, width as i64])?;
        let times = c.integers(&[1, n as i64, 1]);
        let mut y = c.node("Tile", &[&y, &times]);
        y.dims[1] = Some(n);
        Ok(y)
    }),
    ("GlobalAveragePooling1D", |c| pool(c, "ReduceMean", 3)),
    ("GlobalMaxPooling1D", |c| pool(c, "ReduceMax", 3)),
    ("GlobalAveragePooling2D", |c| pool(c, "ReduceMean", 4)),
    ("GlobalMaxPooling2D", |c| pool(c, "ReduceMax", 4)),
];

/// Whether channels are the last dimension, as they are by default.
pub(super) fn last_channels(c: &Call<'_>) -> Result<()> {
    match c.config.text("data_format", "channels_last")? {
        "channels_last" => Ok(()),
        other => Err(c.config.unsupported(format!("data_format={other:?} is not evaluated"))),
    }
}

/// The mean or the largest of all axes but the first and the last.
fn pool(c: &mut Call<'_>, operator: &str, rank: usize) -> Result<Value> {
    let x = c.float_input()?;
    last_channels(c)?;
    let keep = c.config.flag("keepdims", false)?;
    if x.dims.len() != rank {
        return Err(c.config.bad(format!("its input has {} dimensions, not {rank}", x.dims.len())));
    }
    Ok(c.reduce(operator, &x, &(1..rank - 1).collect::<Vec<_>>(), keep))
}

/// Axes in another order.
pub(super) fn transpose(c: &mut Call<'_>, x: &Value, order: &[i64]) -> Result<Value> {
    let rank = x.dims.len();
    let order = order.iter().map(|&axis| c.axis(axis, rank)).collect::<Result<Vec<_>>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != (0..rank).collect::<Vec<_>>() {
        return Err(c.config.bad(format!("{order:?} is no order of {rank} axes")));
    }
    let list: Vec<i64> = order.iter().map(|&axis| axis as i64).collect();
    let mut y = c.node_with("Transpose", &[x], &[AttributeProto::list("perm", &list)]);
    y.dims = order.iter().map(|&axis| x.dims[axis]).collect();
    Ok(y)
}
