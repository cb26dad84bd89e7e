//! Operations of `keras.ops` in functional models.

use super::activation::{named, softmax};
use super::merge::concatenate;
use super::shape::transpose;
use super::{Argument, Call, Row, Value, broadcast, joint};
use crate::keras::{Result, config};
use crate::onnx::proto::AttributeProto;
use crate::onnx::{DType, Tensor};

pub(super) static ROWS: &[Row] = &[
    ("Absolute", |c| unary(c, "Abs")),
    ("Add", |c| arithmetic(c, "Add")),
    ("Subtract", |c| arithmetic(c, "Sub")),
    ("Multiply", |c| arithmetic(c, "Mul")),
    ("Divide", |c| arithmetic(c, "Div")),
    ("TrueDivide", |c| arithmetic(c, "Div")),
    ("Maximum", |c| arithmetic(c, "Max")),
    ("Minimum", |c| arithmetic(c, "Min")),
    ("Power", |c| arithmetic(c, "Pow")),
    ("Equal", |c| compare(c, "Equal")),
    ("Greater", |c| compare(c, "Greater")),
    ("GreaterEqual", |c| compare(c, "GreaterOrEqual")),
    ("Less", |c| compare(c, "Less")),
    ("LessEqual", |c| compare(c, "LessOrEqual")),
    ("LogicalAnd", |c| compare(c, "And")),
    ("LogicalOr", |c| compare(c, "Or")),
    ("LogicalNot", |c| unary(c, "Not")),
    ("Isnan", |c| test(c, "IsNaN")),
    ("Isinf", |c| test(c, "IsInf")),
    ("Where", choose),
    ("Negative", |c| unary(c, "Neg")),
    ("Exp", |c| float_unary(c, "Exp")),
    ("Log", |c| float_unary(c, "Log")),
    ("Sqrt", |c| float_unary(c, "Sqrt")),
    ("Sin", |c| float_unary(c, "Sin")),
    ("Cos", |c| float_unary(c, "Cos")),
    ("Floor", |c| float_unary(c, "Floor")),
    ("Ceil", |c| float_unary(c, "Ceil")),
    ("Sign", |c| unary(c, "Sign")),
    ("Round", |c| {
        if c.config.number("decimals", 0.0)? != 0.0 {
            return Err(c.config.unsupported("decimals are not evaluated"));
        }
        float_unary(c, "Round")
    }),
    ("Square", |c| {
        let x = c.input()?;
        Ok(c.node("Mul", &[&x, &x]))
    }),
    ("Log1p", |c| {
        let x = floating(c)?;
        let y = c.with("Add", &x, 1.0)?;
        Ok(c.node("Log", &[&y]))
    }),
    ("Cast", |c| {
        let x = c.input()?;
        let name = c.config.text("dtype", "?")?;
        let to = config::dtype(name);
        let to = to.ok_or_else(|| c.config.unsupported(format!("a cast to {name}")))?;
        Ok(c.cast(&x, to))
    }),
    ("Concatenate", |c| {
        let inputs = c.inputs();
        let dtype =
            inputs.iter().skip(1).try_fold(inputs[..].first().map(|x| x.dtype), |all, x| {
                Some(Some(joint(all?, x.dtype)?))
            });
        let dtype =
            dtype.flatten().ok_or_else(|| c.config.unsupported("these types side by side"))?;
        let inputs: Vec<Value> = inputs.iter().map(|x| c.cast(x, dtype)).collect();
        let axis = c.config.integers("axis")?.unwrap_or(vec![-1]);
        concatenate(c, &inputs, axis[0])
    }),
    ("ExpandDims", |c| {
        let x = c.input()?;
        let axes = c.config.integers("axis")?.unwrap_or_default();
        let [axis] = axes[..] else {
            return Err(c.config.unsupported("several axes are not evaluated"));
        };
        let axis = c.axis(axis, x.dims.len() + 1)?;
        let list = c.integers(&[axis as i64]);
        let mut y = c.node("Unsqueeze", &[&x, &list]);
        y.dims.insert(axis, Some(1));
        Ok(y)
    }),
    ("Squeeze", |c| {
        let x = c.input()?;
        let axes = c.config.integers("axis")?.unwrap_or_default();
        let [axis] = axes[..] else {
            return Err(c.config.unsupported("several axes are not evaluated"));
        };
        let axis = c.axis(axis, x.dims.len())?;
        let list = c.integers(&[axis as i64]);
        let mut y = c.node("Squeeze", &[&x, &list]);
        y.dims.remove(axis);
        Ok(y)
    }),
    ("Reshape", |c| {
        let x = c.input()?;
        let shape = c.config.integers_or_null("newshape")?;
        let shape: Vec<i64> = shape.into_iter().map(|d| d.unwrap_or(-1)).collect();
        // The batch comes first, and is kept.
        match shape[..] {
            [-1, ref inner @ ..] if !inner.is_empty() && !inner.contains(&-1) => {
                let whole = x.dims[1..].iter().copied().product::<Option<usize>>();
                if whole != Some(inner.iter().map(|&d| d as usize).product()) {
                    return Err(c.config.unsupported("it moves elements between rows"));
                }
                c.reshape(&x, inner)
            }
            _ => Err(c.config.unsupported(format!("the shape {shape:?} is not evaluated"))),
        }
    }),
    ("Transpose", |c| {
        let x = c.input()?;
        let reversed: Vec<i64> = (0..x.dims.len() as i64).rev().collect();
        let order = c.config.integers("axes")?.unwrap_or(reversed);
        transpose(c, &x, &order)
    }),
    ("Mean", |c| reduction(c, "ReduceMean")),
    ("Sum", |c| reduction(c, "ReduceSum")),
    ("Max", |c| reduction(c, "ReduceMax")),
    ("Min", |c| reduction(c, "ReduceMin")),
    ("Take", take),
    ("Matmul", |c| {
        let (operands, _) = operands(c, false)?;
        let [a, b] = &operands[..] else {
            return Err(c.config.bad("it takes two values"));
        };
        if b.dims.len() == 2 {
            return Ok(c.product(a, b));
        }
        if a.dims.len() != b.dims.len() {
            return Err(c.config.unsupported("a product of these ranks is not evaluated"));
        }
        let mut y = c.product(a, b);
        let inner = a.dims.len() - 2;
        let batch = broadcast(&a.dims[..inner], &b.dims[..inner]);
        y.dims[..inner].clone_from_slice(&batch);
        Ok(y)
    }),
    ("Relu", |c| activation(c, "relu")),
    ("Relu6", |c| activation(c, "relu6")),
    ("Sigmoid", |c| activation(c, "sigmoid")),
    ("Tanh", |c| activation(c, "tanh")),
    ("Silu", |c| activation(c, "silu")),
    ("Selu", |c| activation(c, "selu")),
    ("Softplus", |c| activation(c, "softplus")),
    ("Softsign", |c| activation(c, "softsign")),
    ("HardSigmoid", |c| activation(c, "hard_sigmoid")),
    ("HardSilu", |c| activation(c, "hard_silu")),
    ("HardTanh", |c| activation(c, "hard_tanh")),
    ("Mish", |c| activation(c, "mish")),
    ("LogSigmoid", |c| activation(c, "log_sigmoid")),
    ("Elu", |c| {
        let x = floating(c)?;
        let alpha = c.config.number("alpha", 1.0)?;
        Ok(c.node_with("Elu", &[&x], &[AttributeProto::float("alpha", alpha as f32)]))
    }),
    ("LeakyRelu", |c| {
        let x = floating(c)?;
        let slope = c.config.number("negative_slope", 0.2)?;
        Ok(c.node_with("LeakyRelu", &[&x], &[AttributeProto::float("alpha", slope as f32)]))
    }),
    ("Gelu", |c| {
        let x = floating(c)?;
        let tanh = c.config.flag("approximate", true)?;
        let kind = if tanh { "tanh" } else { "none" };
        Ok(c.node_with("Gelu", &[&x], &[AttributeProto::text("approximate", kind)]))
    }),
    ("Softmax", |c| soft(c, "Softmax")),
    ("LogSoftmax", |c| soft(c, "LogSoftmax")),
];

/// The tensor and constants of its arguments in one type, and that type; quotients are floats.
fn operands(c: &mut Call<'_>, float: bool) -> Result<(Vec<Value>, DType)> {
    let arguments = std::mem::take(&mut c.arguments);
    let refuse = |c: &Call<'_>| c.config.unsupported("values of these types do not meet here");
    let mut dtype = None;
    let mut weak = DType::Bool;
    for argument in &arguments {
        match argument {
            Argument::Tensor(Value { dtype: found, .. }) => {
                dtype = Some(joint(dtype.unwrap_or(*found), *found).ok_or_else(|| refuse(c))?);
            }
            Argument::Constant(Some((tensor, false))) => {
                let found = tensor.dtype();
                dtype = Some(joint(dtype.unwrap_or(found), found).ok_or_else(|| refuse(c))?);
            }
            Argument::Constant(Some((tensor, true))) => {
                weak = joint(weak, tensor.dtype()).ok_or_else(|| refuse(c))?;
            }
            _ => return Err(refuse(c)),
        }
    }
    let mut dtype = dtype.unwrap_or(weak);
    // A number of no type of its own takes that of what it meets, unless only it is a float.
    if (weak.is_float() || float) && !dtype.is_float() {
        dtype = DType::F32;
    }
    let mut values = Vec::new();
    for argument in arguments {
        values.push(match argument {
            Argument::Tensor(value) => c.cast(&value, dtype),
            Argument::Constant(Some((tensor, _))) => {
                let numbers = tensor.data().floats().ok_or_else(|| refuse(c))?;
                c.numbers(dtype, tensor.dims(), numbers)?
            }
            _ => return Err(refuse(c)),
        });
    }
    Ok((values, dtype))
}

fn pair(c: &mut Call<'_>, float: bool) -> Result<[Value; 2]> {
    let (values, _) = operands(c, float)?;
    values.try_into().map_err(|_| c.config.bad("it takes two values"))
}

fn arithmetic(c: &mut Call<'_>, operator: &str) -> Result<Value> {
    let [a, b] = pair(c, operator == "Div")?;
    if a.dtype == DType::Bool {
        return Err(c.config.unsupported("arithmetic of truth values is not evaluated"));
    }
    Ok(c.binary(operator, &a, &b))
}

fn compare(c: &mut Call<'_>, operator: &str) -> Result<Value> {
    let [a, b] = pair(c, false)?;
    let y = c.binary(operator, &a, &b);
    Ok(Value { dtype: DType::Bool, ..y })
}

fn unary(c: &mut Call<'_>, operator: &str) -> Result<Value> {
    let x = c.input()?;
    Ok(c.node(operator, &[&x]))
}

fn test(c: &mut Call<'_>, operator: &str) -> Result<Value> {
    let x = floating(c)?;
    let y = c.node(operator, &[&x]);
    Ok(Value { dtype: DType::Bool, ..y })
}

/// The input; an integer becomes a float.
fn floating(c: &mut Call<'_>) -> Result<Value> {
    let x = c.input()?;
    Ok(if x.dtype.is_float() { x } else { c.cast(&x, DType::F32) })
}

fn float_unary(c: &mut Call<'_>, operator: &str) -> Result<Value> {
    let x = floating(c)?;
    Ok(c.node(operator, &[&x]))
}

fn activation(c: &mut Call<'_>, name: &str) -> Result<Value> {
    let x = floating(c)?;
    named(c, name, &x)
}

fn soft(c: &mut Call<'_>, operator: &str) -> Result<Value> {
    let x = floating(c)?;
    let axes = c.config.integers("axis")?.unwrap_or(vec![-1]);
    match axes[..] {
        [axis] => Ok(softmax(c, operator, &x, axis)),
        _ => Err(c.config.unsupported("several axes are not evaluated")),
    }
}

/// a where the condition holds, else b.
fn choose(c: &mut Call<'_>) -> Result<Value> {
    if c.arguments.len() != 3 {
        return Err(c.config.unsupported("where of a condition alone is not evaluated"));
    }
    let condition = c.arguments.remove(0);
    let condition = match condition {
        Argument::Tensor(value) => c.cast(&value, DType::Bool),
        Argument::Constant(Some((tensor, _))) => {
            let constant = c.constant(&tensor);
            c.cast(&constant, DType::Bool)
        }
        _ => return Err(c.config.bad("its condition is no tensor")),
    };
    let (values, dtype) = operands(c, false)?;
    let [a, b] = &values[..] else {
        return Err(c.config.bad("it takes two values"));
    };
    let dims = broadcast(&condition.dims, &broadcast(&a.dims, &b.dims));
    Ok(Value { dtype, dims, ..c.node("Where", &[&condition, a, b]) })
}

fn reduction(c: &mut Call<'_>, operator: &str) -> Result<Value> {
    let x = c.input()?;
    let axes = c.config.integers("axis")?;
    let axes = axes.ok_or_else(|| c.config.unsupported("it is over all axes, rows among them"))?;
    let axes = axes.iter().map(|&axis| c.axis(axis, x.dims.len())).collect::<Result<Vec<_>>>()?;
    if axes.contains(&0) {
        return Err(c.config.unsupported("it is over rows, whose number varies"));
    }
    c.config.get("initial");
    let keep = c.config.flag("keepdims", false)?;
    let x =
        if operator == "ReduceMean" && !x.dtype.is_float() { c.cast(&x, DType::F32) } else { x };
    Ok(c.reduce(operator, &x, &axes, keep))
}

/// Elements of an axis by constant positions, or rows of a constant by the ids of a tensor.
fn take(c: &mut Call<'_>) -> Result<Value> {
    let axes = c.config.integers("axis")?;
    let mut arguments = std::mem::take(&mut c.arguments);
    // Positions may also be an argument by name.
    let refuse = |c: &Call<'_>| c.config.unsupported("these arguments are not evaluated");
    if arguments.len() != 2 {
        return Err(refuse(c));
    }
    let (index, x) = (arguments.remove(1), arguments.remove(0));
    let value = |c: &mut Call<'_>, argument: Argument| match argument {
        Argument::Tensor(value) => Ok(value),
        Argument::Constant(Some((tensor, _))) => Ok(c.constant(&tensor)),
        _ => Err(refuse(c)),
    };
    let x = value(c, x)?;
    let index = match index {
        // A negative position counts from the end in both.
        Argument::Constant(Some((tensor, _))) => {
            let integers: Option<Vec<i64>> =
                tensor.data().integers().map(|v| v.into_iter().map(|n| n as i64).collect());
            let integers = integers.ok_or_else(|| refuse(c))?;
            c.constant(&Tensor::new(tensor.dims(), integers)?)
        }
        other => {
            let index = value(c, other)?;
            c.cast(&index, DType::I64)
        }
    };
    let axis = axes.ok_or_else(|| refuse(c))?;
    let axis = c.axis(axis[0], x.dims.len())?;
    let mut y = c.node_with("Gather", &[&x, &index], &[AttributeProto::int("axis", axis as i64)]);
    y.dims.splice(axis..=axis, index.dims);
    Ok(y)
}
