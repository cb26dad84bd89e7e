//! Attention and rotary positions.

use super::super::data::Data;
use super::super::session::{Call, Outcome, ints};
use super::super::tensor::Tensor;
use super::linear::{matmul, transposed};
use super::shape::{floats, join, tensor};
use super::walk::{Walk, broadcast};
use super::{Operator, op};

pub(super) const OPS: &[Operator] = &[
    op(
        "Attention",
        &[
            "is_causal",
            "kv_num_heads",
            "left_window_size",
            "q_num_heads",
            "qk_matmul_output_mode",
            "right_window_size",
            "scale",
            "softcap",
            "softmax_precision",
        ],
        attention,
    ),
    op("RotaryEmbedding", &["interleaved", "num_heads", "rotary_embedding_dim"], rotary),
];

/// `[N, sequence, heads · width] → [N, heads, sequence, width]`.
fn by_head(c: &Call<'_>, x: &Tensor, heads: Option<usize>) -> Result<Tensor, String> {
    match (x.dims(), heads) {
        ([_, _, _, _], _) => Ok(x.clone()),
        (&[n, s, width], Some(h)) if h > 0 && width % h == 0 => {
            transposed(c, &x.reshaped(&[n, s, h, width / h])?, &[0, 2, 1, 3])
        }
        (dims, heads) => {
            let heads = heads.unwrap_or(0);
            Err(format!("a tensor of shape {dims:?} does not divide into {heads} heads"))
        }
    }
}

/// A head for each group of queries.
pub(super) fn repeated(x: &Tensor, heads: usize) -> Result<Tensor, String> {
    let &[n, own, s, width] = x.dims() else { return Err("four dimensions are expected".into()) };
    if own == heads {
        return Ok(x.clone());
    }
    if own == 0 || !heads.is_multiple_of(own) {
        return Err(format!("{heads} heads of queries are no multiple of {own} heads of keys"));
    }
    let (group, size) = (heads / own, s * width);
    let at = (0..n * heads).flat_map(|i| {
        let from = i / heads * own + i % heads / group;
        from * size..(from + 1) * size
    });
    Tensor::of(&[n, heads, s, width], x.data().pick(at))
}

/// Which keys a query sees: 0 or −∞, and whatever a mask adds.
fn bias(c: &Call<'_>, dims: &[usize; 4], past: usize) -> Result<Vec<f64>, String> {
    let [n, h, q, kv] = *dims;
    let mut bias = vec![0.0; n * h * q * kv];
    if let Some(mask) = c.get(3) {
        let values: Vec<f64> = match mask.data() {
            Data::Bool(v) => {
                v.iter().map(|&seen| if seen { 0.0 } else { f64::NEG_INFINITY }).collect()
            }
            _ => floats(mask)?.0,
        };
        // A shorter mask hides the keys behind it.
        let mut shape = mask.dims().to_vec();
        let Some(last) = shape.last_mut() else { return Err("a mask has no dimensions".into()) };
        let own = std::mem::replace(last, kv);
        if own > kv || broadcast(&[&shape, dims])? != dims {
            return Err(format!(
                "a mask of shape {:?} does not broadcast to {dims:?}",
                mask.dims()
            ));
        }
        for (bias, at) in bias.iter_mut().zip(Walk::broadcast(&shape, dims)) {
            let (row, column) = (at / kv, at % kv);
            *bias = if column < own { values[row * own + column] } else { f64::NEG_INFINITY };
        }
    }
    let lengths = c.get(6).map(ints).transpose()?;
    if lengths.as_ref().is_some_and(|lengths| lengths.len() != n) {
        return Err("each sequence has one length".into());
    }
    let causal = c.int("is_causal", 0)? != 0;
    let (left, right) = (c.int("left_window_size", -1)?, c.int("right_window_size", -1)?);
    for (i, bias) in bias.iter_mut().enumerate() {
        let (key, query, sequence) = ((i % kv) as i64, (i / kv % q) as i64, i / (kv * q * h));
        let length = lengths.as_ref().map(|lengths| lengths[sequence]);
        let offset = match length {
            Some(length) if past == 0 => length - q as i64,
            _ => past as i64,
        };
        let distance = query + offset - key;
        let hidden = causal && distance < 0
            || left >= 0 && distance > left
            || right >= 0 && -distance > right
            || length.is_some_and(|length| key >= length);
        if hidden {
            *bias = f64::NEG_INFINITY;
        }
    }
    Ok(bias)
}

/// softmax(Q Kᵀ · scale + bias) V.
fn attention(c: &Call<'_>) -> Outcome {
    let heads =
        |name: &str| Ok::<_, String>(c.maybe_int(name)?.and_then(|h| usize::try_from(h).ok()));
    let flat = c.input(0)?.dims().len() == 3;
    let q = by_head(c, c.input(0)?, heads("q_num_heads")?)?;
    let mut k = by_head(c, c.input(1)?, heads("kv_num_heads")?)?;
    let mut v = by_head(c, c.input(2)?, heads("kv_num_heads")?)?;
    let mut past = 0;
    if let (Some(past_k), Some(past_v)) = (c.get(4), c.get(5)) {
        past = past_k.dims().get(2).copied().unwrap_or(0);
        (k, v) = (join(c, &[past_k, &k], 2)?, join(c, &[past_v, &v], 2)?);
    }
    let (&[n, h, queries, width], &[_, _, keys, _]) = (q.dims(), k.dims()) else {
        return Err("four dimensions are expected".into());
    };
    let dims = [n, h, queries, keys];
    let bias = bias(c, &dims, past)?;
    let scale = c.float("scale", 1.0 / (width as f64).sqrt())?;
    let all_k = repeated(&k, h)?;
    let products = matmul(c, &q, &transposed(c, &all_k, &[0, 1, 3, 2])?)?;
    let (mut scores, dtype) = floats(&products)?;
    let cap = c.float("softcap", 0.0)?;
    for x in &mut scores {
        *x *= scale;
    }
    let mut shown = scores.clone();
    // What the fourth output shows, by version.
    let mode = c.int("qk_matmul_output_mode", 0)?;
    if cap > 0.0 {
        for x in &mut scores {
            *x = cap * (*x / cap).tanh();
        }
        if mode == 1 {
            shown.clone_from(&scores);
        }
    }
    scores.iter_mut().zip(&bias).for_each(|(x, b)| *x += b);
    if mode == 2 {
        shown.clone_from(&scores);
    }
    for (row, bias) in scores.chunks_mut(keys.max(1)).zip(bias.chunks(keys.max(1))) {
        // A query that sees no key gets zeros.
        if bias.iter().all(|&b| b == f64::NEG_INFINITY) {
            row.fill(0.0);
            continue;
        }
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for x in row.iter_mut() {
            *x = (*x - most).exp();
        }
        let sum: f64 = row.iter().sum();
        for x in row.iter_mut() {
            *x /= sum;
        }
    }
    if mode == 3 {
        shown.clone_from(&scores);
    }
    let weights = tensor(&dims, dtype, scores)?;
    let mut y = matmul(c, &weights, &repeated(&v, h)?)?;
    if flat {
        let width = y.dims()[3];
        y = transposed(c, &y, &[0, 2, 1, 3])?.reshaped(&[n, queries, h * width])?;
    }
    Ok(vec![y, k, v, tensor(&dims, dtype, shown)?])
}

/// Pairs of numbers turned by the angle of their position.
fn rotary(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let heads = c.int("num_heads", 0)?;
    let flat = x.dims().len() == 3;
    let four = by_head(c, x, usize::try_from(heads).ok())?;
    let &[n, h, s, width] = four.dims() else {
        return Err("three or four dimensions are expected".into());
    };
    let turned = match c.int("rotary_embedding_dim", 0)? {
        0 => width,
        d => usize::try_from(d)
            .ok()
            .filter(|d| *d <= width)
            .ok_or("it turns more numbers than there are")?,
    };
    let half = turned / 2;
    let interleaved = c.int("interleaved", 0)? != 0;
    let (cos, _) = floats(c.input(1)?)?;
    let (sin, _) = floats(c.input(2)?)?;
    let positions = c.get(3).map(ints).transpose()?;
    let (mut values, dtype) = floats(&four)?;
    for b in 0..n {
        for t in 0..s {
            let row = match &positions {
                Some(at) => usize::try_from(*at.get(b * s + t).ok_or("a position is missing")?)
                    .map_err(|_| "a position is negative")?,
                None => b * s + t,
            };
            let end = (row + 1) * half;
            if end > cos.len() || end > sin.len() {
                return Err(format!("position {row} is beyond the angles"));
            }
            for head in 0..h {
                let at = ((b * h + head) * s + t) * width;
                for i in 0..half {
                    let (j, k) = if interleaved {
                        (at + 2 * i, at + 2 * i + 1)
                    } else {
                        (at + i, at + half + i)
                    };
                    let (x, y, cos, sin) =
                        (values[j], values[k], cos[row * half + i], sin[row * half + i]);
                    (values[j], values[k]) = (cos * x - sin * y, sin * x + cos * y);
                }
            }
        }
    }
    let y = tensor(four.dims(), dtype, values)?;
    if flat {
        return Ok(vec![transposed(c, &y, &[0, 2, 1, 3])?.reshaped(x.dims())?]);
    }
    Ok(vec![y])
}
