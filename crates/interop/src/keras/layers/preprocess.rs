//! Layers that prepare columns.

use super::normalise::floats;
use super::{Call, Row, Value};
use crate::keras::Result;
use crate::onnx::proto::AttributeProto;
use crate::onnx::{DType, Data, Tensor};

pub(super) static LAYERS: &[Row] = &[
    ("Normalization", normalization),
    ("Rescaling", rescaling),
    ("Discretization", discretization),
    ("CategoryEncoding", |c| {
        let ids = c.input()?;
        let depth =
            c.config.size("num_tokens")?.ok_or_else(|| c.config.bad("it has no num_tokens"))?;
        let mode = c.config.text("output_mode", "multi_hot")?.to_owned();
        let dtype = c.float()?;
        encode(c, &ids, &mode, depth, dtype)
    }),
    ("StringLookup", lookup),
    ("IntegerLookup", lookup),
];

/// The least deviation by which Keras divides.
const LEAST: f64 = 1e-7;

/// (x − μ) / max(σ, 1e-7)
fn normalization(c: &mut Call<'_>) -> Result<Value> {
    let x = c.float_input()?;
    let rank = x.dims.len();
    let mut axes = Vec::new();
    for axis in c.config.integers("axis")?.unwrap_or(vec![-1]) {
        axes.push(c.axis(axis, rank)?);
    }
    axes.sort_unstable();
    let (mean, variance) = (c.config.numbers("mean")?, c.config.numbers("variance")?);
    let mut dims = vec![1; rank];
    for &axis in &axes {
        dims[axis] = c.width(&x, axis)?;
    }
    let sizes: Vec<usize> = axes.iter().map(|&axis| dims[axis]).collect();
    let (mean, variance) = if let (Some(mean), Some(variance)) = (mean, variance) {
        (mean, variance)
    } else {
        let weights = c.weights(&[&sizes, &sizes, &[]])?;
        (floats(c, &weights[0])?, floats(c, &weights[1])?)
    };
    let n = crate::onnx::count(&sizes).map_err(|e| c.config.bad(e))?;
    let fill = |v: Vec<f64>| match v[..] {
        [one] => Some(vec![one; n]),
        _ => Some(v).filter(|v| v.len() == n),
    };
    let (Some(mean), Some(variance)) = (fill(mean), fill(variance)) else {
        return Err(c.config.unsupported(format!("a mean of another shape than {sizes:?}")));
    };
    // As Keras does, in the type of the computation.
    let single = x.dtype == DType::F32;
    let std = variance.iter().map(|&v| {
        let std = if single { f64::from((v as f32).sqrt()) } else { v.sqrt() };
        std.max(LEAST)
    });
    let (mean, std) = (c.numbers(x.dtype, &dims, mean)?, c.numbers(x.dtype, &dims, std.collect())?);
    if c.config.flag("invert", false)? {
        let y = c.node("Mul", &[&x, &std]);
        return Ok(c.node("Add", &[&y, &mean]));
    }
    let y = c.node("Sub", &[&x, &mean]);
    Ok(c.node("Div", &[&y, &std]))
}

/// x s + t
fn rescaling(c: &mut Call<'_>) -> Result<Value> {
    let mut y = c.float_input()?;
    for (key, operator, default) in [("scale", "Mul", 1.0), ("offset", "Add", 0.0)] {
        let values = c.config.numbers(key)?.unwrap_or(vec![default]);
        let dims: Vec<usize> = if values.len() == 1 { Vec::new() } else { vec![values.len()] };
        let values = c.numbers(y.dtype, &dims, values)?;
        y = c.binary(operator, &y, &values);
    }
    Ok(y)
}

/// The number of boundaries at or below x; all of them for NaN.
fn discretization(c: &mut Call<'_>) -> Result<Value> {
    let x = c.float_input()?;
    let bounds = c.config.numbers("bin_boundaries")?;
    let bounds = bounds.ok_or_else(|| c.config.unsupported("it has no bin_boundaries"))?;
    let mode = c.config.text("output_mode", "int")?.to_owned();
    c.config.get("num_bins");
    c.config.get("epsilon");
    let n = bounds.len();
    let wide = column(c, &x);
    let bounds = c.numbers(x.dtype, &[n], bounds)?;
    let above = c.binary("Less", &wide, &bounds);
    let above = c.cast(&Value { dtype: DType::Bool, ..above }, DType::F32);
    let above = c.reduce("ReduceSum", &above, &[x.dims.len()], false);
    let all = c.scalar(DType::F32, n as f64)?;
    let ids = c.node("Sub", &[&all, &above]);
    let ids = Value { dims: x.dims, ..c.cast(&ids, DType::I64) };
    if mode == "int" {
        c.config.flag("sparse", false)?;
        return Ok(ids);
    }
    encode(c, &ids, &mode, n + 1, DType::F32)
}

/// x with an axis of one element behind it.
fn column(c: &mut Call<'_>, x: &Value) -> Value {
    let axis = c.integers(&[x.dims.len() as i64]);
    let mut y = c.node("Unsqueeze", &[x, &axis]);
    y.dims.push(Some(1));
    y
}

/// Ids as one column for each of `depth`: see `output_mode` of Keras.
fn encode(c: &mut Call<'_>, ids: &Value, mode: &str, depth: usize, to: DType) -> Result<Value> {
    if c.config.flag("sparse", false)? {
        return Err(c.config.unsupported("sparse=True is not evaluated"));
    }
    let ids = c.cast(ids, DType::I64);
    let rank = ids.dims.len();
    crate::onnx::count(&[depth]).map_err(|e| c.config.bad(e))?;
    let known: Vec<i64> = (0..depth as i64).collect();
    let known = c.integers(&known);
    let wide = if mode == "one_hot" && rank > 1 && ids.dims[rank - 1] == Some(1) {
        ids
    } else {
        column(c, &ids)
    };
    let same = c.binary("Equal", &wide, &known);
    let hot = c.cast(&Value { dtype: DType::Bool, ..same }, to);
    match mode {
        "one_hot" => Ok(hot),
        "multi_hot" | "binary" if rank == 2 => Ok(c.reduce("ReduceMax", &hot, &[1], false)),
        "count" if rank == 2 => Ok(c.reduce("ReduceSum", &hot, &[1], false)),
        other => Err(c
            .config
            .unsupported(format!("output_mode={other:?} of this input is not evaluated"))),
    }
}

/// The place of each value in a vocabulary, behind the places of gaps and unknown values.
fn lookup(c: &mut Call<'_>) -> Result<Value> {
    let x = c.input()?;
    let whole = c.config.text("vocabulary_dtype", "")? == "int64"
        || c.config.what.ends_with("(IntegerLookup)");
    if c.config.flag("invert", false)? {
        return Err(c.config.unsupported("invert=True is not evaluated"));
    }
    for key in ["max_tokens", "vocabulary_size", "oov_method", "salt", "encoding"] {
        c.config.get(key);
    }
    let unknown = c.config.number("num_oov_indices", 1.0)? as usize;
    if unknown > 1 {
        return Err(c.config.unsupported(
            "num_oov_indices above 1 needs the hashes of TensorFlow, which are not evaluated",
        ));
    }
    if c.config.flag("pad_to_max_tokens", false)? {
        return Err(c.config.unsupported("pad_to_max_tokens=True is not evaluated"));
    }
    let mode = c.config.text("output_mode", "int")?.to_owned();
    let token = |key: &str| c.config.get(key).map(text_of);
    let (mask, oov) = (token("mask_token"), token("oov_token"));
    let listed = c.config.get("vocabulary").and_then(|v| v.as_array());
    let mut words: Vec<String> = if let Some(list) = listed {
        list.iter().map(text_of).collect()
    } else {
        let asset = c.store.assets.get(&c.place);
        let asset =
            asset.ok_or_else(|| c.config.unsupported("its vocabulary is not in the file"))?;
        let mut words: Vec<String> = asset.lines().map(str::to_owned).collect();
        while words.last().is_some_and(String::is_empty) {
            words.pop();
        }
        words
    };
    let masked = mask.is_some() && mode == "int";
    let start = usize::from(masked) + unknown;
    // A vocabulary may begin with the tokens of gaps and unknown values.
    let mut special: Vec<String> = mask.iter().filter(|_| masked).cloned().collect();
    special.extend(oov.iter().filter(|_| unknown == 1).cloned());
    if !special.is_empty() && words.starts_with(&special) {
        words.drain(..special.len());
    }
    let depth = start + words.len();
    let mut ids: Vec<i64> = (start as i64..depth as i64).collect();
    if let Some(mask) = mask.filter(|_| masked) {
        words.retain(|word| *word != mask);
        ids.truncate(words.len());
        words.push(mask);
        ids.push(0);
    }
    // Without a place for unknown values they are no index of anything, which is an error later.
    let other = if unknown == 1 { i64::from(masked) } else { i64::MIN / 2 };
    let n = words.len();
    let (x, keys): (_, Data) = if whole {
        let keys = words.iter().map(|word| word.parse::<f64>().ok()).collect::<Option<Vec<_>>>();
        let keys = keys.ok_or_else(|| c.config.bad("its vocabulary should hold integers"))?;
        (c.cast(&x, DType::F64), keys.into())
    } else if x.dtype == DType::Text {
        (x, words.into())
    } else {
        return Err(c.config.bad("it looks up texts, and its input is numbers"));
    };
    let attributes = [
        AttributeProto::tensor("keys_tensor", &Tensor::new(&[n], keys)?),
        AttributeProto::tensor("values_tensor", &Tensor::new(&[n], ids)?),
        AttributeProto::tensor("default_tensor", &Tensor::new(&[1], vec![other])?),
    ];
    let ids = c.ml_node("LabelEncoder", &x, DType::I64, &attributes);
    if mode == "int" {
        c.config.flag("sparse", false)?;
        return Ok(ids);
    }
    encode(c, &ids, &mode, depth, DType::F32)
}

fn text_of(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
