//! What operators become, by their numbers in the schema.

use super::Code;
use super::call::Call;
use super::flat::Table;
use super::net::{Net, Value};
use super::windows;
use crate::onnx::proto::AttributeProto;
use crate::onnx::{DType, Error, Result};

type Row = (i32, &'static str, fn(&mut Call<'_, '_>) -> Result<Value>);

/// Adds the nodes of an operator.
pub(super) fn translate<'a>(
    net: &mut Net<'a>,
    code: &Code,
    inputs: &[i32],
    outputs: &[i32],
    options: Option<Table<'a>>,
) -> Result<()> {
    if let Some(name) = &code.custom {
        return Err(Error::Unsupported(format!(
            "the operator {name} is another program's own (custom), which is not evaluated"
        )));
    }
    let several = match code.number {
        49 => Some(split as fn(&mut Call<'_, '_>) -> Result<Vec<Value>>),
        88 => Some(unpack as _),
        102 => Some(split_by as _),
        _ => None,
    };
    let row = ROWS.iter().find(|row| row.0 == code.number);
    let name = match (row, code.number) {
        (Some(row), _) => row.1,
        (None, 49) => "SPLIT",
        (None, 88) => "UNPACK",
        (None, 102) => "SPLIT_V",
        (None, number) => {
            return Err(Error::Unsupported(format!(
                "the operator {number} of TensorFlow Lite's schema is not evaluated"
            )));
        }
    };
    let mut call = Call { net, name, inputs, options, outputs };
    let values = match (several, row) {
        (Some(several), _) => several(&mut call)?,
        (None, Some(row)) => vec![row.2(&mut call)?],
        (None, None) => Vec::new(),
    };
    if values.len() != outputs.len() {
        return Err(call.unsupported(format!("it has {} outputs", outputs.len())));
    }
    for (&output, value) in outputs.iter().zip(values) {
        let at = usize::try_from(output).ok().filter(|&at| at < net.tensors.len());
        let at = at.ok_or_else(|| Error::Malformed(format!("{name}: an output is no tensor")))?;
        net.set(at, value)?;
    }
    Ok(())
}

static ROWS: &[Row] = &[
    (0, "ADD", |c| c.arithmetic("Add")),
    (1, "AVERAGE_POOL_2D", |c| windows::pool(c, "AveragePool")),
    (2, "CONCATENATION", concat),
    (3, "CONV_2D", windows::convolve),
    (4, "DEPTHWISE_CONV_2D", windows::depthwise),
    (6, "DEQUANTIZE", dequantize),
    (8, "FLOOR", |c| c.unary("Floor")),
    (9, "FULLY_CONNECTED", fully_connected),
    (14, "LOGISTIC", |c| c.unary("Sigmoid")),
    (17, "MAX_POOL_2D", |c| windows::pool(c, "MaxPool")),
    (18, "MUL", |c| c.arithmetic("Mul")),
    (19, "RELU", |c| c.unary("Relu")),
    (20, "RELU_N1_TO_1", |c| {
        let x = c.input(0)?;
        c.clip(&x, -1.0, 1.0)
    }),
    (21, "RELU6", |c| {
        let x = c.input(0)?;
        c.clip(&x, 0.0, 6.0)
    }),
    (22, "RESHAPE", reshape),
    (25, "SOFTMAX", |c| {
        let x = c.input(0)?;
        let beta = f64::from(c.float(0)?);
        let x = if beta == 1.0 {
            x
        } else {
            let beta = c.net.number(x.dtype, beta)?;
            c.net.node("Mul", &[&x, &beta], &[])
        };
        Ok(c.net.node("Softmax", &[&x], &[AttributeProto::int("axis", -1)]))
    }),
    (28, "TANH", |c| c.unary("Tanh")),
    (34, "PAD", |c| pad(c, "constant")),
    (36, "GATHER", gather),
    (39, "TRANSPOSE", |c| {
        let (x, order) = (c.input(0)?, c.ints(1)?);
        Ok(c.transpose(&x, &order))
    }),
    (40, "MEAN", |c| c.reduce("ReduceMean")),
    (41, "SUB", |c| c.arithmetic("Sub")),
    (42, "DIV", |c| c.arithmetic("Div")),
    (43, "SQUEEZE", |c| {
        let x = c.input(0)?;
        let axes = c.options.map(|o| o.ints(0)).transpose().map_err(|e| c.bad(e))?;
        let axes: Vec<i64> = axes.unwrap_or_default().into_iter().map(i64::from).collect();
        if axes.is_empty() {
            return Ok(c.net.node("Squeeze", &[&x], &[]));
        }
        let axes = c.list(&axes)?;
        Ok(c.net.node("Squeeze", &[&x, &axes], &[]))
    }),
    (45, "STRIDED_SLICE", strided_slice),
    (47, "EXP", |c| c.unary("Exp")),
    (50, "LOG_SOFTMAX", |c| {
        let x = c.input(0)?;
        Ok(c.net.node("LogSoftmax", &[&x], &[AttributeProto::int("axis", -1)]))
    }),
    (53, "CAST", |c| {
        let x = c.input(0)?;
        let to = c.outputs.first().and_then(|&i| usize::try_from(i).ok());
        let to = to.and_then(|i| c.net.tensors.get(i)).and_then(|t| super::dtype(t.code));
        let to = to.ok_or_else(|| c.unsupported("it casts to a type that is not read"))?;
        Ok(c.net.cast(&x, to))
    }),
    (54, "PRELU", |c| c.binary("PRelu")),
    (55, "MAXIMUM", |c| c.binary("Max")),
    (56, "ARG_MAX", |c| c.best("ArgMax")),
    (57, "MINIMUM", |c| c.binary("Min")),
    (58, "LESS", |c| c.compare("Less")),
    (59, "NEG", |c| c.unary("Neg")),
    (60, "PADV2", |c| pad(c, "constant")),
    (61, "GREATER", |c| c.compare("Greater")),
    (62, "GREATER_EQUAL", |c| c.compare("GreaterOrEqual")),
    (63, "LESS_EQUAL", |c| c.compare("LessOrEqual")),
    (64, "SELECT", select),
    (65, "SLICE", |c| {
        let (x, begin, size) = (c.input(0)?, c.ints(1)?, c.ints(2)?);
        let ends = begin
            .iter()
            .zip(&size)
            .map(|(&b, &n)| if n < 0 { i64::MAX } else { b.saturating_add(n) });
        let (ends, begin) = (ends.collect::<Vec<_>>(), begin);
        let (begin, ends) = (c.list(&begin)?, c.list(&ends)?);
        Ok(c.net.node("Slice", &[&x, &begin, &ends], &[]))
    }),
    (66, "SIN", |c| c.unary("Sin")),
    (69, "TILE", |c| {
        let (x, repeats) = (c.input(0)?, c.shape(1)?);
        Ok(c.net.node("Tile", &[&x, &repeats], &[]))
    }),
    (70, "EXPAND_DIMS", |c| {
        let (x, axes) = (c.input(0)?, c.ints(1)?);
        let axes = c.list(&axes)?;
        Ok(c.net.node("Unsqueeze", &[&x, &axes], &[]))
    }),
    (71, "EQUAL", |c| c.compare("Equal")),
    (72, "NOT_EQUAL", |c| {
        let same = c.compare("Equal")?;
        Ok(c.net.node("Not", &[&same], &[]))
    }),
    (73, "LOG", |c| c.unary("Log")),
    (74, "SUM", |c| c.reduce("ReduceSum")),
    (75, "SQRT", |c| c.unary("Sqrt")),
    (76, "RSQRT", |c| {
        let root = c.unary("Sqrt")?;
        Ok(c.net.node("Reciprocal", &[&root], &[]))
    }),
    (77, "SHAPE", |c| {
        let x = c.input(0)?;
        let shape = Value { dtype: DType::I64, ..c.net.node("Shape", &[&x], &[]) };
        Ok(if c.byte(0)? == 4 { shape } else { c.net.cast(&shape, DType::I32) })
    }),
    (78, "POW", |c| c.binary("Pow")),
    (79, "ARG_MIN", |c| c.best("ArgMin")),
    (81, "REDUCE_PROD", |c| c.reduce("ReduceProd")),
    (82, "REDUCE_MAX", |c| c.reduce("ReduceMax")),
    (83, "PACK", pack),
    (84, "LOGICAL_OR", |c| c.binary("Or")),
    (86, "LOGICAL_AND", |c| c.binary("And")),
    (87, "LOGICAL_NOT", |c| c.unary("Not")),
    (89, "REDUCE_MIN", |c| c.reduce("ReduceMin")),
    (92, "SQUARE", |c| {
        let x = c.input(0)?;
        Ok(c.net.node("Mul", &[&x, &x], &[]))
    }),
    (98, "LEAKY_RELU", |c| {
        let (x, slope) = (c.input(0)?, c.float(0)?);
        Ok(c.net.node("LeakyRelu", &[&x], &[AttributeProto::float("alpha", slope)]))
    }),
    (99, "SQUARED_DIFFERENCE", |c| {
        let d = c.binary("Sub")?;
        Ok(c.net.node("Mul", &[&d, &d], &[]))
    }),
    (100, "MIRROR_PAD", |c| {
        let mode = if c.byte(0)? == 0 { "reflect" } else { "symmetric" };
        if mode == "symmetric" {
            return Err(c.unsupported("mode SYMMETRIC is not evaluated"));
        }
        pad(c, mode)
    }),
    (101, "ABS", |c| c.unary("Abs")),
    (104, "CEIL", |c| c.unary("Ceil")),
    (108, "COS", |c| c.unary("Cos")),
    (111, "ELU", |c| c.unary("Elu")),
    (116, "ROUND", |c| c.unary("Round")),
    (117, "HARD_SWISH", |c| c.unary("HardSwish")),
    (123, "SELECT_V2", select),
    (126, "BATCH_MATMUL", |c| {
        let (mut a, mut b) = (c.input(0)?, c.input(1)?);
        for (field, x) in [&mut a, &mut b].into_iter().enumerate() {
            if c.flag(field)? {
                let n = x.dims.len() as i64;
                if n < 2 {
                    return Err(c.bad("its inputs are no matrices"));
                }
                let order: Vec<i64> = (0..n - 2).chain([n - 1, n - 2]).collect();
                *x = c.transpose(x, &order);
            }
        }
        Ok(c.net.node("MatMul", &[&a, &b], &[]))
    }),
    (130, "BROADCAST_TO", |c| {
        let (x, shape) = (c.input(0)?, c.shape(1)?);
        Ok(c.net.node("Expand", &[&x, &shape], &[]))
    }),
    (150, "GELU", |c| {
        let x = c.input(0)?;
        let approximate = if c.flag(0)? { "tanh" } else { "none" };
        Ok(c.net.node("Gelu", &[&x], &[AttributeProto::text("approximate", approximate)]))
    }),
    (158, "SIGN", |c| c.unary("Sign")),
];

fn concat(c: &mut Call<'_, '_>) -> Result<Value> {
    let all = (0..c.inputs.len()).map(|i| c.input(i)).collect::<Result<Vec<_>>>()?;
    let inputs: Vec<&Value> = all.iter().collect();
    let y = c.net.node("Concat", &inputs, &[AttributeProto::int("axis", c.int(0, 0)?)]);
    c.fused(y, 1)
}

/// Stored integers become numbers where they are read; half-precision floats are cast.
fn dequantize(c: &mut Call<'_, '_>) -> Result<Value> {
    let x = c.input(0)?;
    if !x.dtype.is_float() {
        return Err(c.unsupported("it takes computed integers, which are not evaluated"));
    }
    Ok(c.net.cast(&x, DType::F32))
}

/// f(x Wᵀ + b)
fn fully_connected(c: &mut Call<'_, '_>) -> Result<Value> {
    if c.byte(1)? != 0 {
        return Err(c.unsupported("its weights are shuffled"));
    }
    let (mut x, w) = (c.input(0)?, c.input(1)?);
    let &[_, Some(inputs)] = &w.dims[..] else {
        return Err(c.bad("its weights are no matrix"));
    };
    if !x.dtype.is_float() || !w.dtype.is_float() {
        return Err(c.unsupported("quantised integers are not evaluated"));
    }
    if x.dims.len() != 2 && !c.flag(2)? {
        x = c.reshape(&x, &[-1, inputs as i64])?;
    }
    let w = c.transpose(&w, &[1, 0]);
    let mut y = c.net.node("MatMul", &[&x, &w], &[]);
    if let Some(b) = c.maybe(2)? {
        y = c.net.node("Add", &[&y, &b], &[]);
    }
    c.fused(y, 0)
}

fn reshape(c: &mut Call<'_, '_>) -> Result<Value> {
    let x = c.input(0)?;
    if c.place(1)?.is_some() {
        let shape = c.shape(1)?;
        return Ok(c.net.node("Reshape", &[&x, &shape], &[]));
    }
    let sizes = c.options.map(|o| o.ints(0)).transpose().map_err(|e| c.bad(e))?;
    let sizes: Vec<i64> = sizes.unwrap_or_default().into_iter().map(i64::from).collect();
    c.reshape(&x, &sizes)
}

fn pad(c: &mut Call<'_, '_>, mode: &str) -> Result<Value> {
    let (x, pairs) = (c.input(0)?, c.ints(1)?);
    let (begins, ends) = (pairs.iter().step_by(2), pairs.iter().skip(1).step_by(2));
    let pads = begins.chain(ends).copied().collect::<Vec<_>>();
    let pads = c.list(&pads)?;
    let attribute = AttributeProto::text("mode", mode);
    Ok(match c.maybe(2)? {
        Some(value) => {
            let value = c.net.node("Squeeze", &[&value], &[]);
            c.net.node("Pad", &[&x, &pads, &value], &[attribute])
        }
        None => c.net.node("Pad", &[&x, &pads], &[attribute]),
    })
}

fn gather(c: &mut Call<'_, '_>) -> Result<Value> {
    if c.int(1, 0)? != 0 {
        return Err(c.unsupported("batch_dims is not evaluated"));
    }
    let (x, ids) = (c.input(0)?, c.input(1)?);
    let axis = AttributeProto::int("axis", c.int(0, 0)?);
    Ok(c.net.node("Gather", &[&x, &ids], &[axis]))
}

fn select(c: &mut Call<'_, '_>) -> Result<Value> {
    let (condition, a, b) = (c.input(0)?, c.input(1)?, c.input(2)?);
    Ok(Value { dtype: a.dtype, ..c.net.node("Where", &[&condition, &a, &b], &[]) })
}

fn pack(c: &mut Call<'_, '_>) -> Result<Value> {
    let axis = c.int(1, 0)?;
    let axes = c.list(&[axis])?;
    let mut parts = Vec::new();
    for i in 0..c.inputs.len() {
        let x = c.input(i)?;
        parts.push(c.net.node("Unsqueeze", &[&x, &axes], &[]));
    }
    let inputs: Vec<&Value> = parts.iter().collect();
    Ok(c.net.node("Concat", &inputs, &[AttributeProto::int("axis", axis)]))
}

fn unpack(c: &mut Call<'_, '_>) -> Result<Vec<Value>> {
    let x = c.input(0)?;
    let (n, axis) = (c.outputs.len(), c.int(1, 0)?);
    let sizes = c.list(&vec![1; n])?;
    let parts = c.net.nodes("Split", &[&x, &sizes], &[AttributeProto::int("axis", axis)], n);
    let axes = c.list(&[axis])?;
    Ok(parts.iter().map(|part| c.net.node("Squeeze", &[part, &axes], &[])).collect())
}

fn split(c: &mut Call<'_, '_>) -> Result<Vec<Value>> {
    let [axis] = c.ints(0)?[..] else { return Err(c.bad("its axis is no number")) };
    let (x, n) = (c.input(1)?, c.outputs.len());
    let attributes =
        [AttributeProto::int("axis", axis), AttributeProto::int("num_outputs", n as i64)];
    Ok(c.net.nodes("Split", &[&x], &attributes, n))
}

fn split_by(c: &mut Call<'_, '_>) -> Result<Vec<Value>> {
    let (x, sizes) = (c.input(0)?, c.ints(1)?);
    let [axis] = c.ints(2)?[..] else { return Err(c.bad("its axis is no number")) };
    if sizes.iter().any(|&size| size < 0) || sizes.len() != c.outputs.len() {
        return Err(c.unsupported("it leaves a size open"));
    }
    let n = sizes.len();
    let sizes = c.list(&sizes)?;
    Ok(c.net.nodes("Split", &[&x, &sizes], &[AttributeProto::int("axis", axis)], n))
}

/// NumPy's `x[begin:end:stride]`; a bit of a mask for each axis.
fn strided_slice(c: &mut Call<'_, '_>) -> Result<Value> {
    let x = c.input(0)?;
    let (begin, end, stride) = (c.ints(1)?, c.ints(2)?, c.ints(3)?);
    let masks = [c.int(0, 0)?, c.int(1, 0)?, c.int(4, 0)?];
    if c.int(2, 0)? != 0 || c.int(3, 0)? != 0 || c.flag(5)? {
        return Err(c.unsupported("ellipses, new axes and offsets are not evaluated"));
    }
    let n = begin.len();
    if end.len() != n || stride.len() != n || n > x.dims.len() || n > 32 {
        return Err(c.bad("its begins, ends and strides are no list of axes"));
    }
    let set = |mask: i64, i: usize| mask >> i & 1 == 1;
    let (mut from, mut to, mut squeezed) = (begin.clone(), end, Vec::new());
    for i in 0..n {
        if set(masks[2], i) {
            squeezed.push(c.axis(i as i64, x.dims.len())?);
            to[i] = if begin[i] == -1 { i64::MAX } else { begin[i].saturating_add(1) };
            continue;
        }
        if set(masks[0], i) {
            from[i] = if stride[i] < 0 { i64::MAX } else { 0 };
        }
        if set(masks[1], i) {
            to[i] = if stride[i] < 0 { i64::MIN } else { i64::MAX };
        }
    }
    let steps: Vec<i64> = (0..n).map(|i| if set(masks[2], i) { 1 } else { stride[i] }).collect();
    let axes: Vec<i64> = (0..n as i64).collect();
    let [from, to, axes, steps] = [from, to, axes, steps].map(|list| c.list(&list));
    let y = c.net.node("Slice", &[&x, &from?, &to?, &axes?, &steps?], &[]);
    if squeezed.is_empty() {
        return Ok(y);
    }
    let axes = c.list(&squeezed)?;
    Ok(c.net.node("Squeeze", &[&y, &axes], &[]))
}
