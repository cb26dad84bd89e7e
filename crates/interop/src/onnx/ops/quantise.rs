//! Integers that stand for floats.

use super::super::data::DType;
use super::super::session::{Call, Outcome, axis};
use super::super::tensor::Tensor;
use super::elementwise::cast;
use super::linear::matmul;
use super::shape::{floats, tensor};
use super::{Operator, op};

pub(super) const OPS: &[Operator] = &[
    op("DequantizeLinear", &["axis"], |c| {
        let x = c.input(0)?;
        let (values, _) = floats(x)?;
        let scale = c.input(1)?;
        let place = places(c, x)?;
        let (scales, zeros) = (floats(scale)?.0, zeros(c)?);
        let real = |(i, v): (usize, &f64)| {
            let k = place(i);
            (v - zeros.get(k).copied().unwrap_or(0.0)) * scales[k]
        };
        let y = values.iter().enumerate().map(real).collect();
        Ok(vec![tensor(x.dims(), scale.dtype(), y)?])
    }),
    op("DynamicQuantizeLinear", &[], dynamic),
    op("MatMulInteger", &[], |c| {
        // Rows of A and columns of B have zeros of their own, or one for all.
        let part = |i: usize| -> Result<Tensor, String> {
            let x = c.input(i)?;
            let (mut values, _) = floats(x)?;
            if let Some(zero) = c.get(i + 2) {
                let (zeros, _) = floats(zero)?;
                let width = x.dims().last().copied().unwrap_or(1).max(1);
                let each = match (zeros.len(), i) {
                    (1, _) => 0,
                    (n, 0) if x.dims().len() >= 2 && n == x.dims()[x.dims().len() - 2] => 1,
                    (n, 1) if n == width => 2,
                    _ => {
                        return Err(
                            "zeros are one for all, for each row of A or for each column of B"
                                .into(),
                        );
                    }
                };
                let n = zeros.len().max(1);
                for (k, v) in values.iter_mut().enumerate() {
                    *v -= zeros[match each {
                        0 => 0,
                        1 => k / width % n,
                        _ => k % width,
                    }];
                }
            }
            tensor(x.dims(), DType::F64, values)
        };
        cast(&matmul(c, &part(0)?, &part(1)?)?, DType::I32)
    }),
    op("QuantizeLinear", &["axis", "output_dtype", "saturate"], |c| {
        let x = c.input(0)?;
        let (values, _) = floats(x)?;
        let to = match (c.get(2), c.dtype("output_dtype")?) {
            (Some(zero), _) => zero.dtype(),
            (None, found) => found.unwrap_or(DType::U8),
        };
        let [low, high] = range(to)?;
        let place = places(c, x)?;
        let (scales, zeros) = (floats(c.input(1)?)?.0, zeros(c)?);
        // In single precision, as x and its scale are.
        let stored = |(i, v): (usize, &f64)| {
            let k = place(i);
            let q = f64::from(*v as f32 / scales[k] as f32).round_ties_even();
            (q + zeros.get(k).copied().unwrap_or(0.0)).clamp(low, high)
        };
        Ok(vec![tensor(x.dims(), to, values.iter().enumerate().map(stored).collect())?])
    }),
];

/// The smallest and the largest integer of a type.
fn range(dtype: DType) -> Result<[f64; 2], String> {
    Ok(match dtype {
        DType::U8 => [0.0, 255.0],
        DType::I8 => [-128.0, 127.0],
        DType::U16 => [0.0, 65_535.0],
        DType::I16 => [-32_768.0, 32_767.0],
        DType::I32 => [f64::from(i32::MIN), f64::from(i32::MAX)],
        other => return Err(format!("elements of type {} hold no quantised floats", other.name())),
    })
}

/// The zeros of a quantised tensor, none for 0.
fn zeros(c: &Call<'_>) -> Result<Vec<f64>, String> {
    Ok(c.get(2).map(floats).transpose()?.map(|(zeros, _)| zeros).unwrap_or_default())
}

/// Which scale each element has: one for all, or one for each position of an axis.
fn places(c: &Call<'_>, x: &Tensor) -> Result<Box<dyn Fn(usize) -> usize>, String> {
    let n = c.input(1)?.data().len();
    if c.get(2).is_some_and(|zero| zero.data().len() != n) {
        return Err("each scale has one zero".into());
    }
    if n == 1 {
        return Ok(Box::new(|_| 0));
    }
    let a = axis(c.int("axis", 1)?, x.dims().len())?;
    if c.input(1)?.dims().len() != 1 || n != x.dims()[a] {
        return Err(format!("{n} scales are not one for each of {} positions", x.dims()[a]));
    }
    let inner: usize = x.dims()[a + 1..].iter().product::<usize>().max(1);
    Ok(Box::new(move |i| i / inner % n))
}

/// Eight bits over the range of the values and 0.
fn dynamic(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let (values, _) = floats(x)?;
    let (low, high) = values.iter().fold((0.0f64, 0.0f64), |(a, b), &v| (a.min(v), b.max(v)));
    let scale = ((high as f32 - low as f32) / 255.0).max(f32::MIN_POSITIVE);
    let zero = (-low as f32 / scale).round_ties_even().clamp(0.0, 255.0);
    let q = values
        .iter()
        .map(|&v| f64::from(((v as f32 / scale).round_ties_even() + zero).clamp(0.0, 255.0)));
    Ok(vec![
        tensor(x.dims(), DType::U8, q.collect())?,
        Tensor::scalar(vec![scale]),
        Tensor::scalar(vec![zero as u8]),
    ])
}
