//! Convolutions and pooling. Channels are last in TensorFlow Lite and second in ONNX.

use super::call::Call;
use super::net::Value;
use crate::onnx::proto::AttributeProto;
use crate::onnx::{DType, Result, Tensor};

/// `SAME` or `VALID`, from the first option.
fn padding(c: &Call<'_, '_>) -> Result<AttributeProto> {
    Ok(AttributeProto::text("auto_pad", if c.byte(0)? == 0 { "SAME_UPPER" } else { "VALID" }))
}

fn second(c: &mut Call<'_, '_>, x: &Value) -> Result<Value> {
    if x.dims.len() != 4 || x.dtype != DType::F32 {
        return Err(c.unsupported("its input is no image of float32"));
    }
    Ok(c.transpose(x, &[0, 3, 1, 2]))
}

/// Kernels with their axes in another order.
fn kernels(c: &mut Call<'_, '_>, order: [usize; 4]) -> Result<(Tensor, [usize; 4])> {
    let stored = c.stored(1)?;
    let (&[a, b, d, e], Some(values)) = (stored.dims(), stored.data().floats()) else {
        return Err(c.unsupported("its weights have not four dimensions"));
    };
    let old = [a, b, d, e];
    let new = order.map(|axis| old[axis]);
    let strides = [b * d * e, d * e, e, 1];
    let mut moved = Vec::with_capacity(values.len());
    for i in 0..values.len() {
        let (mut rest, mut at) = (i, 0);
        for axis in (0..4).rev() {
            at += rest % new[axis] * strides[order[axis]];
            rest /= new[axis];
        }
        moved.push(values[at] as f32);
    }
    Ok((Tensor::new(&new, moved)?, new))
}

fn finish(
    c: &mut Call<'_, '_>,
    x: &Value,
    w: &Tensor,
    attributes: &[AttributeProto],
    fused: usize,
) -> Result<Value> {
    let w = c.net.put_data("kernels", w.dims(), w.data().clone())?;
    let bias = c.maybe(2)?;
    let mut inputs = vec![x, &w];
    inputs.extend(&bias);
    let y = c.net.node("Conv", &inputs, attributes);
    let y = c.transpose(&y, &[0, 2, 3, 1]);
    c.fused(y, fused)
}

pub(super) fn convolve(c: &mut Call<'_, '_>) -> Result<Value> {
    let x = c.input(0)?;
    let channels = x.dims.last().copied().flatten();
    let x = second(c, &x)?;
    // [out, height, width, in] → [out, in, height, width]
    let (w, [_, inner, height, width]) = kernels(c, [0, 3, 1, 2])?;
    let groups = match channels {
        Some(channels) if inner > 0 && channels % inner == 0 => channels / inner,
        _ => 1,
    };
    let attributes = [
        padding(c)?,
        AttributeProto::list("strides", &[c.int(2, 1)?, c.int(1, 1)?]),
        AttributeProto::list("dilations", &[c.int(5, 1)?, c.int(4, 1)?]),
        AttributeProto::list("kernel_shape", &[height as i64, width as i64]),
        AttributeProto::int("group", groups as i64),
    ];
    finish(c, &x, &w, &attributes, 3)
}

pub(super) fn depthwise(c: &mut Call<'_, '_>) -> Result<Value> {
    let x = c.input(0)?;
    let channels = x.dims.last().copied().flatten();
    let channels = channels.ok_or_else(|| c.unsupported("its channels vary"))?;
    let x = second(c, &x)?;
    // [1, height, width, channels · multiplier] → [channels · multiplier, 1, height, width]
    let (w, [_, _, height, width]) = kernels(c, [3, 0, 1, 2])?;
    let attributes = [
        padding(c)?,
        AttributeProto::list("strides", &[c.int(2, 1)?, c.int(1, 1)?]),
        AttributeProto::list("dilations", &[c.int(6, 1)?, c.int(5, 1)?]),
        AttributeProto::list("kernel_shape", &[height as i64, width as i64]),
        AttributeProto::int("group", channels as i64),
    ];
    finish(c, &x, &w, &attributes, 4)
}

pub(super) fn pool(c: &mut Call<'_, '_>, operator: &str) -> Result<Value> {
    let x = c.input(0)?;
    let x = second(c, &x)?;
    let attributes = [
        padding(c)?,
        AttributeProto::list("strides", &[c.int(2, 1)?, c.int(1, 1)?]),
        AttributeProto::list("kernel_shape", &[c.int(4, 1)?, c.int(3, 1)?]),
    ];
    let y = c.net.node(operator, &[&x], &attributes);
    let y = c.transpose(&y, &[0, 2, 3, 1]);
    c.fused(y, 5)
}
