//! Layers of several inputs.

use super::{Call, Row, Value, broadcast};
use crate::keras::Result;
use crate::onnx::proto::AttributeProto;

pub(super) static LAYERS: &[Row] = &[
    ("Add", |c| fold(c, "Add")),
    ("Subtract", |c| fold(c, "Sub")),
    ("Multiply", |c| fold(c, "Mul")),
    ("Maximum", |c| fold(c, "Max")),
    ("Minimum", |c| fold(c, "Min")),
    ("Average", |c| {
        let n = c.inputs().len();
        let sum = fold(c, "Add")?;
        c.with("Div", &sum, n as f64)
    }),
    ("Concatenate", |c| {
        let inputs = floats(c)?;
        let axis = c.config.integers("axis")?.unwrap_or(vec![-1]);
        concatenate(c, &inputs, axis[0])
    }),
];

/// The inputs in the type of the computation.
fn floats(c: &mut Call<'_>) -> Result<Vec<Value>> {
    let dtype = c.float()?;
    let inputs = c.inputs();
    // Values that are no floats keep their type where all do.
    if inputs.iter().all(|x| !x.dtype.is_float()) && !inputs.is_empty() {
        return Ok(inputs);
    }
    Ok(inputs.iter().map(|x| c.cast(x, dtype)).collect())
}

fn fold(c: &mut Call<'_>, operator: &str) -> Result<Value> {
    let inputs = floats(c)?;
    let [first, rest @ ..] = &inputs[..] else {
        return Err(c.config.bad("it is called without inputs"));
    };
    // Shapes of other ranks are aligned in another way than in NumPy.
    if rest.iter().any(|x| x.dims.len() != first.dims.len()) {
        return Err(c.config.unsupported("inputs of different ranks are not evaluated"));
    }
    Ok(rest.iter().fold(first.clone(), |all, x| c.binary(operator, &all, x)))
}

/// Values side by side.
pub(super) fn concatenate(c: &mut Call<'_>, inputs: &[Value], axis: i64) -> Result<Value> {
    let Some(first) = inputs.first() else {
        return Err(c.config.bad("it is called without inputs"));
    };
    let axis = c.axis(axis, first.dims.len())?;
    let mut dims = first.dims.clone();
    for x in &inputs[1..] {
        if x.dims.len() != dims.len() {
            return Err(c.config.bad("its inputs have different ranks"));
        }
        let whole = dims[axis].zip(x.dims[axis]).map(|(a, b)| a + b);
        dims = broadcast(&dims, &x.dims);
        dims[axis] = whole;
    }
    if let Some(x) = inputs.iter().find(|x| x.dtype != first.dtype) {
        let (a, b) = (first.dtype.name(), x.dtype.name());
        return Err(c.config.unsupported(format!("{a} and {b} side by side are not evaluated")));
    }
    let all: Vec<&Value> = inputs.iter().collect();
    let attribute = AttributeProto::int("axis", axis as i64);
    Ok(Value { dims, ..c.node_with("Concat", &all, &[attribute]) })
}
