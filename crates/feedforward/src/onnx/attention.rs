//! Attention and rotary positions as nodes.

use super::net::Net;
use crate::error::Result;
use ff_interop::onnx::DType;
use ff_interop::onnx::proto::AttributeProto;
use ff_nn::models::Rope;
use ff_ops::LongAngles;

/// The heads of attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads<'a> {
    /// Of queries.
    pub(crate) count: usize,
    /// Of keys and values, which those of queries share.
    pub(crate) shared: usize,
    /// The features of one.
    pub(crate) width: usize,
    /// The factor of scores; 1/√width if there is none.
    pub(crate) scale: Option<f64>,
    /// The soft bound of scores.
    pub(crate) cap: Option<f64>,
    /// The parameter with a score without a key for each head.
    pub(crate) sinks: Option<&'a str>,
}

/// The sine and cosine of each pair of features at each position, `[B, T, 1, pairs]`.
#[derive(Debug, Clone)]
pub(crate) struct Angles {
    cos: String,
    sin: String,
    pairs: usize,
}

impl Net<'_> {
    /// The angles of rotary positions `[B, T]`: in double precision, so that late positions lose no
    /// digits.
    pub(crate) fn angles(&mut self, positions: &str, rope: &Rope, scope: &str) -> Result<Angles> {
        let of = |part: &str| format!("{scope}/{part}");
        let at = self.cast(positions, &of("positions"), DType::F64);
        let last = self.whole(&of("last"), &[2])?;
        let at = self.node("Unsqueeze", &of("by_pair"), &[&at, &last]);
        let pairs = rope.inv_freq.len();
        let usual = self.put(&of("frequencies"), &[pairs], rope.inv_freq.clone())?;
        let frequencies = match &rope.long {
            None => usual,
            Some(long) => self.long_frequencies(positions, &usual, long, pairs, scope)?,
        };
        let angles = self.node("Mul", &of("angles"), &[&at, &frequencies]);
        let heads = self.whole(&of("heads"), &[2])?;
        let mut part = |operator: &str, name: &str| -> Result<String> {
            let y = self.node(operator, &of(&format!("{name}_double")), &[&angles]);
            let mut y = self.cast(&y, &of(&format!("{name}_single")), DType::F32);
            if rope.scaling != 1.0 {
                let factor = self.number(&of(&format!("{name}_factor")), rope.scaling)?;
                y = self.node("Mul", &of(&format!("{name}_scaled")), &[&y, &factor]);
            }
            Ok(self.node("Unsqueeze", &of(name), &[&y, &heads]))
        };
        Ok(Angles { cos: part("Cos", "cos")?, sin: part("Sin", "sin")?, pairs })
    }

    /// The frequencies of each sequence by its last position `[B, 1, pairs]`.
    fn long_frequencies(
        &mut self,
        positions: &str,
        usual: &str,
        long: &LongAngles,
        pairs: usize,
        scope: &str,
    ) -> Result<String> {
        let of = |part: &str| format!("{scope}/{part}");
        let tokens = self.whole(&of("tokens"), &[1])?;
        let last = self.node("ReduceMax", &of("last_position"), &[positions, &tokens]);
        let last = self.node("Unsqueeze", &of("last_by_pair"), &[&last, &tokens]);
        match long {
            LongAngles::Table { above, inv_freq } => {
                // Positions count from 0.
                let above = self.put(&of("above"), &[], vec![*above as i64 - 1])?;
                let is_long = self.node("Greater", &of("is_long"), &[&last, &above]);
                let long = self.put(&of("long_frequencies"), &[pairs], inv_freq.to_vec())?;
                Ok(self.node("Where", &of("own_frequencies"), &[&is_long, &long, usual]))
            }
            LongAngles::Base { above, base, factor } => {
                let double =
                    |net: &mut Self, name: &str, value: f64| net.put(&of(name), &[], vec![value]);
                let one = double(self, "one", 1.0)?;
                let most = double(self, "above", *above as f64)?;
                let count = self.cast(&last, &of("last_double"), DType::F64);
                let count = self.node("Add", &of("count"), &[&count, &one]);
                let count = self.node("Max", &of("counted"), &[&count, &most]);
                // base (factor n/above − factor + 1)^(d/(d − 2)), which is base up to the bound.
                let slope = double(self, "slope", factor / *above as f64)?;
                let less = double(self, "less", factor - 1.0)?;
                let grown = self.node("Mul", &of("factor_of_count"), &[&count, &slope]);
                let grown = self.node("Sub", &of("grown"), &[&grown, &less]);
                let dim = 2.0 * pairs as f64;
                let power = double(self, "power", dim / (dim - 2.0))?;
                let grown = self.node("Pow", &of("grown_power"), &[&grown, &power]);
                let base = double(self, "base", *base)?;
                let base = self.node("Mul", &of("own_base"), &[&base, &grown]);
                let exponents: Vec<f64> = (0..pairs).map(|i| -2.0 * i as f64 / dim).collect();
                let exponents = self.put(&of("exponents"), &[pairs], exponents)?;
                Ok(self.node("Pow", &of("own_frequencies"), &[&base, &exponents]))
            }
        }
    }

    /// Heads `[B, T, heads, width]` with the pairs of their first features turned.
    pub(crate) fn turned(
        &mut self,
        x: &str,
        width: usize,
        angles: &Angles,
        scope: &str,
    ) -> Result<String> {
        let of = |part: &str| format!("{scope}/{part}");
        let Angles { cos, sin, pairs } = angles;
        let rest = width - 2 * pairs;
        let widths = [*pairs, *pairs, rest];
        let parts = self.split(x, &of("pairs"), &widths[..if rest > 0 { 3 } else { 2 }])?;
        let [a, b, rest @ ..] = &parts[..] else { return Ok(x.to_owned()) };
        let mut mixed = |name: &str, operator: &str, x: &str, y: &str| {
            let left = self.node("Mul", &of(&format!("{name}_cos")), &[x, cos]);
            let right = self.node("Mul", &of(&format!("{name}_sin")), &[y, sin]);
            self.node(operator, &of(name), &[&left, &right])
        };
        let first = mixed("first", "Sub", a, b);
        let second = mixed("second", "Add", b, a);
        let mut all = vec![first.as_str(), second.as_str()];
        all.extend(rest.iter().map(String::as_str));
        Ok(self.with("Concat", &of("turned"), &all, AttributeProto::int("axis", -1)))
    }

    /// `[B, T, heads · width]` as `[B, T, heads, width]`.
    pub(crate) fn by_head(
        &mut self,
        x: &str,
        heads: usize,
        width: usize,
        name: &str,
    ) -> Result<String> {
        let shape = self.whole(&format!("{name}/shape"), &[0, 0, heads as i64, width as i64])?;
        Ok(self.node("Reshape", name, &[x, &shape]))
    }

    /// `[B, T, heads, width]` as `[B, heads, T, width]`.
    pub(crate) fn heads_first(&mut self, x: &str, name: &str) -> String {
        self.with("Transpose", name, &[x], AttributeProto::list("perm", &[0, 2, 1, 3]))
    }

    /// softmax(q kᵀ · scale + mask) v of each head, joined: queries `[B, T, heads, width]`, keys
    /// and values `[B, kv_heads, S, width]`, a mask that broadcasts with `[B, 1, T, S]` → `[B, T,
    /// heads · width]`.
    pub(crate) fn attend(
        &mut self,
        [q, k, v]: [&str; 3],
        mask: &str,
        heads: &Heads<'_>,
        scope: &str,
    ) -> Result<String> {
        let of = |part: &str| format!("{scope}/{part}");
        let (d, kv) = (heads.width, heads.shared);
        let group = heads.count / kv;
        let scale = heads.scale.unwrap_or_else(|| (d as f64).powf(-0.5));
        let scale = self.number(&of("scale"), scale)?;
        let q = self.node("Mul", &of("q_scaled"), &[q, &scale]);
        // Heads of queries that share keys are a dimension of their own, `[B, kv, group, T, d]`, so
        // that keys and values broadcast and are not repeated.
        let (q, k, v, mask) = if group > 1 {
            let shape = [0, 0, kv as i64, group as i64, d as i64];
            let shape = self.whole(&of("groups"), &shape)?;
            let q = self.node("Reshape", &of("q_groups"), &[&q, &shape]);
            let order = AttributeProto::list("perm", &[0, 2, 3, 1, 4]);
            let q = self.with("Transpose", &of("q"), &[&q], order);
            let axis = self.whole(&of("group"), &[2])?;
            let one =
                |net: &mut Self, x: &str, name: &str| net.node("Unsqueeze", &of(name), &[x, &axis]);
            (q, one(self, k, "k_shared"), one(self, v, "v_shared"), one(self, mask, "mask"))
        } else {
            (self.heads_first(&q, &of("q")), k.to_owned(), v.to_owned(), mask.to_owned())
        };
        let order: &[i64] = if group > 1 { &[0, 1, 2, 4, 3] } else { &[0, 1, 3, 2] };
        let order = AttributeProto::list("perm", order);
        let k = self.with("Transpose", &of("k_columns"), &[&k], order);
        let mut scores = self.node("MatMul", &of("scores"), &[&q, &k]);
        if let Some(cap) = heads.cap {
            scores = self.soft_cap(&scores, cap, &of("bounded"))?;
        }
        let scores = self.node("Add", &of("masked"), &[&scores, &mask]);
        let p = match heads.sinks {
            None => {
                let last = AttributeProto::int("axis", -1);
                self.with("Softmax", &of("p"), &[&scores], last)
            }
            Some(sinks) => self.with_sink(&scores, sinks, [kv, group], scope)?,
        };
        let y = self.node("MatMul", &of("mixed"), &[&p, &v]);
        let order: &[i64] = if group > 1 { &[0, 3, 1, 2, 4] } else { &[0, 2, 1, 3] };
        let y = self.with("Transpose", &of("by_token"), &[&y], AttributeProto::list("perm", order));
        let flat = self.whole(&of("flat"), &[0, 0, (heads.count * d) as i64])?;
        Ok(self.node("Reshape", &of("joined"), &[&y, &flat]))
    }

    /// exp(s) / (Σ exp(s) + exp(sink)) of each head, relative to the largest of them.
    fn with_sink(
        &mut self,
        scores: &str,
        sinks: &str,
        [kv, group]: [usize; 2],
        scope: &str,
    ) -> Result<String> {
        let of = |part: &str| format!("{scope}/{part}");
        let (_, values) = self.values(sinks)?;
        let grouped = [kv, group, 1, 1];
        let dims: &[usize] = if group > 1 { &grouped } else { &[kv, 1, 1] };
        let sink = self.put(sinks, dims, values.to_vec())?;
        let last = self.whole(&of("keys"), &[-1])?;
        let most = self.node("ReduceMax", &of("largest_score"), &[scores, &last]);
        let most = self.node("Max", &of("largest"), &[&most, &sink]);
        let mut power = |x: &str, name: &str| {
            let x = self.node("Sub", &of(&format!("{name}_below")), &[x, &most]);
            self.node("Exp", &of(name), &[&x])
        };
        let (scores, sink) = (power(scores, "powers"), power(&sink, "sink_power"));
        let sum = self.node("ReduceSum", &of("power_sum"), &[&scores, &last]);
        let sum = self.node("Add", &of("whole"), &[&sum, &sink]);
        Ok(self.node("Div", &of("p"), &[&scores, &sum]))
    }
}
