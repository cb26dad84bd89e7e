//! Attention with weights of its own.

use super::{Argument, Call, Row, Value};
use crate::keras::Result;
use crate::onnx::Tensor;
use crate::onnx::proto::AttributeProto;

pub(super) static LAYERS: &[Row] = &[("MultiHeadAttention", attention)];

/// What a call of the layer can name beside its tensors; only its default is evaluated.
const OPTIONS: [&str; 8] = [
    "key",
    "query_mask",
    "value_mask",
    "key_mask",
    "attention_mask",
    "return_attention_scores",
    "use_causal_mask",
    "mask",
];

/// A kernel and a bias.
type Dense = (Tensor, Option<Tensor>);

/// softmax(Q Kᵀ / √d) V for each head, of three products, and a product of all heads.
fn attention(c: &mut Call<'_>) -> Result<Value> {
    let dtype = c.float()?;
    let heads = c.config.size("num_heads")?.filter(|&h| h > 0);
    let width = c.config.size("key_dim")?.filter(|&d| d > 0);
    let (Some(heads), Some(width)) = (heads, width) else {
        return Err(c.config.bad("it has no heads"));
    };
    let value_width = c.config.size("value_dim")?.unwrap_or(width);
    let bias = c.config.flag("use_bias", true)?;
    for key in ["dropout", "flash_attention", "seed", "output_shape", "attention_axes"] {
        let value = c.config.get(key);
        let stated = value.is_some_and(|value| !value.is_null());
        if stated && key == "attention_axes" && value != Some(&serde_json::json!([1])) {
            return Err(c.config.unsupported(format!("{key} is not evaluated")));
        }
    }
    if c.config.flag("use_gate", false)? {
        return Err(c.config.unsupported("use_gate=True is not evaluated"));
    }
    for key in OPTIONS {
        if let Some(value) = c.options.get(key)
            && !value.is_null()
            && value != &serde_json::Value::Bool(false)
        {
            return Err(c.config.unsupported(format!("it is called with {key}")));
        }
    }
    let null = |argument: &Argument| matches!(argument, Argument::Constant(None));
    if c.arguments.iter().any(|a| !null(a) && !matches!(a, Argument::Tensor(_))) {
        return Err(c.config.unsupported("it is called with something that is no tensor"));
    }
    let inputs = c.inputs();
    let (query, value, key) = match &inputs[..] {
        [query, value] => (query, value, value),
        [query, value, key] => (query, value, key),
        all => return Err(c.config.bad(format!("it is called with {} tensors", all.len()))),
    };
    if [query, value, key].iter().any(|x| x.dims.len() != 3) {
        return Err(c.config.unsupported("inputs of another rank than 3 are not evaluated"));
    }
    let (query, value, key) = (c.cast(query, dtype), c.cast(value, dtype), c.cast(key, dtype));
    let [wq, wk, wv, wo] = parts(c, bias)?;
    let q = heads_of(c, &query, &wq, [heads, width])?;
    let k = heads_of(c, &key, &wk, [heads, width])?;
    let v = heads_of(c, &value, &wv, [heads, value_width])?;
    let q = c.with("Mul", &q, 1.0 / (width as f64).sqrt())?;
    let k = super::shape::transpose(c, &k, &[0, 1, 3, 2])?;
    let mut scores = c.node("MatMul", &[&q, &k]);
    scores.dims[3] = k.dims[3];
    let p = c.node_with("Softmax", &[&scores], &[AttributeProto::int("axis", -1)]);
    let mut y = c.node("MatMul", &[&p, &v]);
    y.dims[3] = v.dims[3];
    let y = super::shape::transpose(c, &y, &[0, 2, 1, 3])?;
    let length = y.dims[1].map_or(-1, |d| d as i64);
    let y = c.reshape(&y, &[length, (heads * value_width) as i64])?;
    let out = wo.0.dims().last().copied().unwrap_or(0);
    if wo.0.dims() != [heads, value_width, out] {
        let dims = wo.0.dims();
        return Err(c.config.bad(format!("its weight of the output has the shape {dims:?}")));
    }
    linear(c, &y, &wo, [heads * value_width, out])
}

/// The kernels and biases of queries, keys, values and the output.
fn parts(c: &Call<'_>, bias: bool) -> Result<[Dense; 4]> {
    let each = 1 + usize::from(bias);
    let mut all = Vec::new();
    let own = c.store.variables(&c.place).map_err(|e| c.config.bad(e))?;
    if own.is_empty() {
        for name in ["query_dense", "key_dense", "value_dense", "output_dense"] {
            let place = format!("{}/{name}", c.place);
            let found = c.store.variables(&place).map_err(|e| c.config.bad(e))?;
            if found.len() != each {
                let n = found.len();
                return Err(c.config.bad(format!("its {name} has {n} arrays, not {each}")));
            }
            all.extend(found);
        }
    } else {
        all = own;
    }
    let found = all.len();
    let mut all = all.into_iter();
    let mut next = || -> Option<Dense> {
        let kernel = all.next()?;
        if bias { Some((kernel, Some(all.next()?))) } else { Some((kernel, None)) }
    };
    match (next(), next(), next(), next(), found == 4 * each) {
        (Some(q), Some(k), Some(v), Some(o), true) => Ok([q, k, v, o]),
        _ => Err(c.config.bad(format!("it has {found} arrays, not {}", 4 * each))),
    }
}

/// x W + b, of a weight in whatever shape.
fn linear(
    c: &mut Call<'_>,
    x: &Value,
    (kernel, bias): &Dense,
    [rows, cols]: [usize; 2],
) -> Result<Value> {
    let w = c.constant(&kernel.reshaped(&[rows, cols]).map_err(|e| c.config.bad(e))?);
    let w = c.cast(&w, x.dtype);
    let mut y = c.product(x, &w);
    if let Some(bias) = bias {
        let b = c.constant(&bias.reshaped(&[cols]).map_err(|e| c.config.bad(e))?);
        let b = c.cast(&b, x.dtype);
        y = c.node("Add", &[&y, &b]);
    }
    Ok(y)
}

/// `[N, sequence, features] → [N, heads, sequence, width]`.
fn heads_of(
    c: &mut Call<'_>,
    x: &Value,
    weight: &Dense,
    [heads, width]: [usize; 2],
) -> Result<Value> {
    let features = c.width(x, 2)?;
    if weight.0.dims() != [features, heads, width] {
        let dims = weight.0.dims();
        return Err(c.config.bad(format!(
            "its weights should have the shape {:?}, found {dims:?}",
            [features, heads, width]
        )));
    }
    let y = linear(c, x, weight, [features, heads * width])?;
    let length = y.dims[1].map_or(-1, |d| d as i64);
    let y = c.reshape(&y, &[length, heads as i64, width as i64])?;
    super::shape::transpose(c, &y, &[0, 2, 1, 3])
}
