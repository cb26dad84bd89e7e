//! Activations, by name and as layers.

use super::{Call, Row, Value};
use crate::keras::Result;
use crate::onnx::proto::AttributeProto;
use serde_json::Value as Json;

pub(super) static LAYERS: &[Row] = &[
    ("Activation", |c| {
        let x = c.float_input()?;
        let spec = c.config.get("activation").cloned().unwrap_or_default();
        apply(c, &spec, &x)
    }),
    ("ReLU", |c| {
        let x = c.float_input()?;
        relu(c, &x)
    }),
    ("LeakyReLU", |c| {
        let x = c.float_input()?;
        // Keras 2 calls it alpha.
        let slope = c.config.maybe_number("alpha")?;
        let slope = c.config.number("negative_slope", slope.unwrap_or(0.3))?;
        Ok(leaky(c, &x, slope))
    }),
    ("ELU", |c| {
        let x = c.float_input()?;
        let alpha = c.config.number("alpha", 1.0)?;
        Ok(c.node_with("Elu", &[&x], &[AttributeProto::float("alpha", alpha as f32)]))
    }),
    ("PReLU", |c| {
        let x = c.float_input()?;
        let shared = c.config.integers("shared_axes")?.unwrap_or_default();
        let mut shape = Vec::new();
        for axis in 1..x.dims.len() {
            shape.push(if shared.contains(&(axis as i64)) { 1 } else { c.width(&x, axis)? });
        }
        let weights = c.weights(&[&shape])?;
        let alpha = c.constant(&weights[0]);
        let alpha = c.cast(&alpha, x.dtype);
        Ok(c.node("PRelu", &[&x, &alpha]))
    }),
    ("Softmax", |c| {
        let x = c.float_input()?;
        let axes = c.config.integers("axis")?.unwrap_or(vec![-1]);
        match axes[..] {
            [axis] => Ok(softmax(c, "Softmax", &x, axis)),
            _ => Err(c.config.unsupported("a softmax over several axes is not evaluated")),
        }
    }),
];

fn relu(c: &mut Call<'_>, x: &Value) -> Result<Value> {
    let slope = c.config.number("negative_slope", 0.0)?;
    let threshold = c.config.number("threshold", 0.0)?;
    let most = c.config.maybe_number("max_value")?;
    let mut y = if threshold == 0.0 {
        if slope == 0.0 { c.node("Relu", &[x]) } else { leaky(c, x, slope) }
    } else {
        // x above the threshold, and a slope that begins there.
        let bound = c.scalar(x.dtype, threshold)?;
        let above = c.node("Greater", &[x, &bound]);
        let below = c.with("Sub", x, threshold)?;
        let below = c.with("Mul", &below, slope)?;
        Value { dtype: x.dtype, ..c.node("Where", &[&above, x, &below]) }
    };
    if let Some(most) = most {
        y = c.with("Min", &y, most)?;
    }
    Ok(y)
}

fn leaky(c: &mut Call<'_>, x: &Value, slope: f64) -> Value {
    c.node_with("LeakyRelu", &[x], &[AttributeProto::float("alpha", slope as f32)])
}

pub(super) fn softmax(c: &mut Call<'_>, operator: &str, x: &Value, axis: i64) -> Value {
    c.node_with(operator, &[x], &[AttributeProto::int("axis", axis)])
}

/// The activation of a layer: nothing, a name, or an object.
pub(super) fn apply(c: &mut Call<'_>, spec: &Json, x: &Value) -> Result<Value> {
    let name = match spec {
        Json::Null => return Ok(x.clone()),
        Json::String(name) => name.as_str(),
        // A function of Keras, which has a module of Keras, or none.
        Json::Object(_) if spec["class_name"] == "function" => {
            let registered = spec["registered_name"].as_str().unwrap_or_default();
            if registered.contains('>') {
                let message =
                    format!("the activation {registered} is Python code, which is never executed");
                return Err(c.config.unsupported(message));
            }
            spec["config"].as_str().unwrap_or("?")
        }
        other => {
            let class = other["class_name"].as_str().unwrap_or("?");
            let message = format!(
                "the activation {class} is an object of its own, which is not evaluated; \
                 add it as a layer instead"
            );
            return Err(c.config.unsupported(message));
        }
    };
    named(c, name, x)
}

/// An activation by name.
pub(super) fn named(c: &mut Call<'_>, name: &str, x: &Value) -> Result<Value> {
    let name = name.rsplit("keras.activations.").next().unwrap_or(name);
    let float = AttributeProto::float;
    Ok(match name {
        "linear" => x.clone(),
        "relu" => c.node("Relu", &[x]),
        "relu6" => {
            let y = c.node("Relu", &[x]);
            c.with("Min", &y, 6.0)?
        }
        "leaky_relu" => leaky(c, x, 0.2),
        "softmax" => softmax(c, "Softmax", x, -1),
        "log_softmax" => softmax(c, "LogSoftmax", x, -1),
        "elu" => c.node("Elu", &[x]),
        "selu" => c.node("Selu", &[x]),
        "celu" => c.node("Celu", &[x]),
        "softplus" => c.node("Softplus", &[x]),
        "softsign" => c.node("Softsign", &[x]),
        "tanh" => c.node("Tanh", &[x]),
        "sigmoid" => c.node("Sigmoid", &[x]),
        "exponential" => c.node("Exp", &[x]),
        "mish" => c.node("Mish", &[x]),
        "gelu" => c.node("Gelu", &[x]),
        "silu" | "swish" => {
            let gate = c.node("Sigmoid", &[x]);
            c.node("Mul", &[x, &gate])
        }
        "hard_sigmoid" => hard_sigmoid(c, x)?,
        "hard_silu" | "hard_swish" => {
            let gate = hard_sigmoid(c, x)?;
            c.node("Mul", &[x, &gate])
        }
        "hard_tanh" => {
            let y = c.with("Max", x, -1.0)?;
            c.with("Min", &y, 1.0)?
        }
        "tanh_shrink" => {
            let y = c.node("Tanh", &[x]);
            c.node("Sub", &[x, &y])
        }
        "hard_shrink" => c.node_with("Shrink", &[x], &[float("lambd", 0.5), float("bias", 0.0)]),
        "soft_shrink" => c.node_with("Shrink", &[x], &[float("lambd", 0.5), float("bias", 0.5)]),
        "log_sigmoid" => {
            // −ln(1 + e^−x)
            let y = c.node("Neg", &[x]);
            let y = c.node("Softplus", &[&y]);
            c.node("Neg", &[&y])
        }
        "sparse_sigmoid" => {
            let y = c.with("Mul", x, 0.5)?;
            let y = c.with("Add", &y, 0.5)?;
            let y = c.with("Max", &y, 0.0)?;
            c.with("Min", &y, 1.0)?
        }
        "sparse_plus" => {
            // (x + 1)² / 4 between −1 and 1, and what follows it smoothly.
            let y = c.with("Max", x, -1.0)?;
            let bent = c.with("Min", &y, 1.0)?;
            let rest = c.node("Sub", &[&y, &bent]);
            let y = c.with("Add", &bent, 1.0)?;
            let y = c.node("Mul", &[&y, &y]);
            let y = c.with("Mul", &y, 0.25)?;
            c.node("Add", &[&y, &rest])
        }
        "squareplus" => {
            // (x + √(x² + 4)) / 2
            let y = c.node("Mul", &[x, x]);
            let y = c.with("Add", &y, 4.0)?;
            let y = c.node("Sqrt", &[&y]);
            let y = c.node("Add", &[x, &y]);
            c.with("Mul", &y, 0.5)?
        }
        "glu" => {
            let last = x.dims.len() - 1;
            let width = c.width(x, last)?;
            if width % 2 != 0 {
                return Err(c.config.bad(format!("glu cannot halve {width} columns")));
            }
            let a = part(c, x, last, 0, width / 2);
            let b = part(c, x, last, width / 2, width);
            let gate = c.node("Sigmoid", &[&b]);
            c.node("Mul", &[&a, &gate])
        }
        // Its threshold is the sum of partial sums in Keras 3.15, so that rows do not sum to 1.
        "sparsemax" => {
            let message = "sparsemax is not evaluated: versions of Keras disagree about it";
            return Err(c.config.unsupported(message));
        }
        other => {
            let message = format!("the activation {other} is not one of Keras' that is evaluated");
            return Err(c.config.unsupported(message));
        }
    })
}

/// min(max(x + 3, 0), 6) / 6
fn hard_sigmoid(c: &mut Call<'_>, x: &Value) -> Result<Value> {
    let y = c.with("Add", x, 3.0)?;
    let y = c.node("Relu", &[&y]);
    let y = c.with("Min", &y, 6.0)?;
    c.with("Div", &y, 6.0)
}

/// Columns `from..to` of an axis.
pub(super) fn part(c: &mut Call<'_>, x: &Value, axis: usize, from: usize, to: usize) -> Value {
    let [from_, to_, axis_] = [from, to, axis].map(|n| c.integers(&[n as i64]));
    let mut y = c.node("Slice", &[x, &from_, &to_, &axis_]);
    y.dims[axis] = Some(to - from);
    y
}
