//! Attention by a state that each token changes, and attention with graphs of its own.

use super::super::data::DType;
use super::super::session::{Call, Outcome};
use super::super::tensor::{Tensor, count};
use super::attention::repeated;
use super::elementwise::cast;
use super::linear::{matmul, transposed};
use super::shape::{floats, tensor};
use super::{Operator, of, op};
use std::sync::Arc;

/// The domain of operators that may still change.
const PREVIEW: &str = "ai.onnx.preview";

pub(super) const OPS: &[Operator] = &[
    of(
        PREVIEW,
        "FlexAttention",
        &["prob_mod", "scale", "score_mod", "softmax_precision"],
        flexible,
    ),
    op(
        "LinearAttention",
        &["chunk_size", "kv_num_heads", "q_num_heads", "scale", "update_rule"],
        linear,
    ),
];

/// prob_mod(softmax(score_mod(Q Kᵀ · scale))) V.
fn flexible(c: &Call<'_>) -> Outcome {
    let (q, k, v) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let (&[n, h, queries, width], &[_, _, keys, _]) = (q.dims(), k.dims()) else {
        return Err("four dimensions are expected".into());
    };
    let own = if q.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let dtype = c.dtype("softmax_precision")?.unwrap_or(own);
    let wide = |x: &Tensor| cast(x, dtype).map(|mut found| found.swap_remove(0));
    let scale = c.float("scale", 1.0 / (width as f64).sqrt())?;
    let dims = [n, h, queries, keys];
    let all = transposed(c, &repeated(&wide(k)?, h)?, &[0, 1, 3, 2])?;
    let (mut scores, _) = floats(&matmul(c, &wide(q)?, &all)?)?;
    for x in &mut scores {
        *x *= scale;
    }
    let changed = |name: &str, x: Vec<f64>| -> Result<Vec<f64>, String> {
        if c.attribute(name).is_none() {
            return Ok(x);
        }
        let y = c.graph(name, vec![Arc::new(tensor(&dims, dtype, x)?)])?;
        match &y[..] {
            [y] if y.dims() == dims => Ok(floats(y)?.0),
            _ => Err(format!("its graph `{name}` does not keep the shape {dims:?}")),
        }
    };
    let mut p = changed("score_mod", scores)?;
    for row in p.chunks_mut(keys.max(1)) {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for x in row.iter_mut() {
            *x = (*x - most).exp();
        }
        let sum: f64 = row.iter().sum();
        for x in row {
            *x /= sum;
        }
    }
    let p = tensor(&dims, dtype, changed("prob_mod", p)?)?;
    let y = matmul(c, &p, &repeated(&wide(v)?, h)?)?;
    cast(&y, q.dtype())
}

/// Each key writes its value into a state, which a query reads.
///
/// With β the update rate and e^g the decay, S ← e^g S + β k (v − e^g Sᵀ k)ᵀ and y = scale · Sᵀ q;
/// without a rule of deltas β k vᵀ is written, and β = 1; without gates e^g = 1.
fn linear(c: &Call<'_>) -> Outcome {
    let rule = c.text("update_rule", "gated_delta")?;
    let (gated, delta) = match rule {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => {
            return Err(format!(
                "its attribute `update_rule` is `{other}`, which is none of the standard's"
            ));
        }
    };
    let heads = |name: &str| {
        let heads = usize::try_from(c.int(name, 0)?).ok().filter(|&heads| heads > 0);
        heads.ok_or_else(|| format!("its attribute `{name}` is no number of heads"))
    };
    let (h, kv) = (heads("q_num_heads")?, heads("kv_num_heads")?);
    let (q, k, v) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let (&[n, steps, q_width], &[kn, k_steps, k_width], &[vn, v_steps, v_width]) =
        (q.dims(), k.dims(), v.dims())
    else {
        return Err("three dimensions are expected".into());
    };
    let (d, e) = (k_width / kv, v_width / kv);
    if !h.is_multiple_of(kv)
        || [k_width % kv, v_width % kv] != [0, 0]
        || q_width != h * d
        || [kn, k_steps, vn, v_steps] != [n, steps, n, steps]
    {
        return Err(format!(
            "queries {:?}, keys {:?} and values {:?} do not go together in {h} and {kv} heads",
            q.dims(),
            k.dims(),
            v.dims()
        ));
    }
    let size = count(&[n, kv, d, e])?;
    let stated = c.float("scale", 0.0)?;
    let scale = if stated == 0.0 { 1.0 / (d as f64).sqrt() } else { stated };
    let dtype = q.dtype();
    let (q, k, v) = (floats(q)?.0, floats(k)?.0, floats(v)?.0);
    let mut states = c.get(3).map(floats).transpose()?.map_or_else(|| vec![0.0; size], |(s, _)| s);
    if states.len() != size {
        return Err(format!("a state of {} values, not {size}", states.len()));
    }
    // Values of each token, `[N, steps, width]`, of which some widths broadcast.
    let gate = |i: usize, used: bool, widths: [usize; 2]| {
        if !used {
            return Ok(None);
        }
        let (values, _) = floats(c.input(i)?)?;
        let width = values.len() / (n * steps).max(1);
        let fits = values.len() == n * steps * width && widths.contains(&width);
        fits.then_some(Some((values, width)))
            .ok_or_else(|| format!("its input {i} has not {widths:?} values a token"))
    };
    let (decay, beta) = (gate(4, gated, [k_width, kv])?, gate(5, delta, [kv, 1])?);
    let mut y = vec![0.0; count(&[n, steps, h, e])?];
    let mut read = vec![0.0; e];
    for token in 0..n * steps {
        let batch = token / steps;
        for head in 0..kv {
            let state = &mut states[(batch * kv + head) * d * e..][..d * e];
            let k = &k[token * k_width + head * d..][..d];
            let v = &v[token * v_width + head * e..][..e];
            if let Some((decay, width)) = &decay {
                let decay = &decay[token * width..][..*width];
                for (i, row) in state.chunks_mut(e.max(1)).enumerate() {
                    let g = decay[if *width == k_width { head * d + i } else { head }].exp();
                    for s in row {
                        *s *= g;
                    }
                }
            }
            read.fill(0.0);
            if delta {
                for (&k, row) in k.iter().zip(state.chunks(e.max(1))) {
                    read.iter_mut().zip(row).for_each(|(r, s)| *r += k * s);
                }
            }
            let rate = beta.as_ref().map_or(1.0, |(beta, width)| {
                beta[token * width + if *width == kv { head } else { 0 }]
            });
            for (&k, row) in k.iter().zip(state.chunks_mut(e.max(1))) {
                for ((s, &v), &read) in row.iter_mut().zip(v).zip(&read) {
                    *s += rate * k * (v - read);
                }
            }
            let group = h / kv;
            for own in head * group..(head + 1) * group {
                let q = &q[token * q_width + own * d..][..d];
                let y = &mut y[(token * h + own) * e..][..e];
                for (&q, row) in q.iter().zip(state.chunks(e.max(1))) {
                    y.iter_mut().zip(row).for_each(|(y, s)| *y += scale * q * s);
                }
            }
        }
    }
    let y = tensor(&[n, steps, h * e], dtype, y)?;
    Ok(vec![y, tensor(&[n, kv, d, e], dtype, states)?])
}
