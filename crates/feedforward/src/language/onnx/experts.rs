//! A mixture of experts as nodes: each expert computes the tokens that are routed to it.

use crate::error::{Error, Result};
use crate::onnx::Net;
use ff_interop::onnx::proto::AttributeProto;
use ff_nn::models::MoeConfig;
use ff_ops::Activation;

impl Net<'_> {
    /// Σₑ wₑ Eₑ(x) over the experts of each token, with the shared one: `[B, T, features]` → the
    /// same.
    pub(super) fn experts(
        &mut self,
        x: &str,
        scope: &str,
        moe: &MoeConfig,
        f: Activation,
        features: usize,
    ) -> Result<String> {
        let of = |part: &str| format!("{scope}/{part}");
        let rows = self.whole(&of("rows"), &[-1, features as i64])?;
        let flat = self.node("Reshape", &of("tokens"), &[x, &rows]);
        let [weights, chosen] = self.routes(&flat, scope, moe)?;
        let zero = self.number(&of("zero"), 0.0)?;
        let mut sum = self.node("Mul", &of("nothing"), &[&flat, &zero]);
        for e in 0..moe.experts {
            let of = |part: &str| format!("{scope}.{e}/{part}");
            let number = self.put(&of("number"), &[], vec![e as i64])?;
            let here = self.node("Equal", &of("is_chosen"), &[&chosen, &number]);
            let at = self.node("NonZero", &of("places_by_axis"), &[&here]);
            let order = AttributeProto::list("perm", &[1, 0]);
            let at = self.with("Transpose", &of("places"), &[&at], order);
            let weight = self.node("GatherND", &of("weights"), &[&weights, &at]);
            let column = self.whole(&of("column"), &[1])?;
            let weight = self.node("Unsqueeze", &of("weight"), &[&weight, &column]);
            let [token, _] = &self.split(&at, &of("place"), &[1, 1])?[..] else {
                return Err(Error::usage("a place is a token and a choice"));
            };
            let token = token.clone();
            let own = self.node("GatherND", &of("tokens"), &[&flat, &token]);
            let y = self.expert(&own, scope, e, moe, f)?;
            let y = self.node("Mul", &of("weighted"), &[&y, &weight]);
            let add = AttributeProto::text("reduction", "add");
            sum = self.with("ScatterND", &of("sum"), &[&sum, &token, &y], add);
        }
        let shape = self.node("Shape", &of("shape"), &[x]);
        let mut y = self.node("Reshape", &of("mixed"), &[&sum, &shape]);
        if let Some(hidden) = moe.shared {
            let [gate, up, down] = ["gate_proj", "up_proj", "down_proj"]
                .map(|name| format!("{scope}.shared_expert.{name}"));
            let always = self.feedforward(x, [&gate, &up, &down], true, hidden, f)?;
            let open = self.product(x, &format!("{scope}.shared_expert_gate.weight"))?;
            let open = self.node("Sigmoid", &of("shared_gate"), &[&open]);
            let always = self.node("Mul", &of("shared"), &[&always, &open]);
            y = self.node("Add", &of("all"), &[&y, &always]);
        }
        Ok(y)
    }

    /// The weights and the numbers of each token's experts, `[N, top_k]`.
    fn routes(&mut self, x: &str, scope: &str, moe: &MoeConfig) -> Result<[String; 2]> {
        let of = |part: &str| format!("{scope}/{part}");
        let last = AttributeProto::int("axis", -1);
        let logits = self.linear(x, &format!("{scope}.gate"))?;
        let k = self.whole(&of("top_k"), &[moe.top_k as i64])?;
        let (logits_k, chosen) = {
            let last = [last.clone()];
            let found = self.graph.nodes("TopK", &of("chosen"), &[&logits, &k], &last, 2);
            match <[String; 2]>::try_from(found) {
                Ok([values, places]) => (values, places),
                Err(_) => return Err(Error::usage("a choice has values and places")),
            }
        };
        let weights = if moe.normalize {
            self.with("Softmax", &of("weights"), &[&logits_k], last)
        } else {
            let p = self.with("Softmax", &of("probabilities"), &[&logits], last.clone());
            self.with("GatherElements", &of("weights"), &[&p, &chosen], last)
        };
        Ok([weights, chosen])
    }

    /// An expert's block: (f(x Gᵀ) ⊙ x Uᵀ) Dᵀ, with biases and a clamped gate where it has them.
    fn expert(
        &mut self,
        x: &str,
        scope: &str,
        e: usize,
        moe: &MoeConfig,
        f: Activation,
    ) -> Result<String> {
        let of = |part: &str| format!("{scope}.{e}/{part}");
        let hidden = moe.intermediate_size;
        let (z, u) = if moe.stacked {
            let z = self.of_stack(x, scope, "gate_up_proj", e, [0, hidden], "gate")?;
            (z, self.of_stack(x, scope, "gate_up_proj", e, [hidden, 2 * hidden], "up")?)
        } else {
            let z = self.of_stack(x, scope, "gate_proj", e, [0, hidden], "gate")?;
            (z, self.of_stack(x, scope, "up_proj", e, [0, hidden], "up")?)
        };
        let h = match moe.clamp {
            None => {
                let z = self.activation(f, &z, &of("activation"))?;
                self.node("Mul", &of("gated"), &[&z, &u])
            }
            Some([alpha, limit]) => {
                // (clip(u, ±limit) + 1) ⊙ g σ(α g), g = min(z, limit)
                let [low, high] = [("low", -limit), ("high", limit)];
                let low = self.number(&of(low.0), low.1)?;
                let high = self.number(&of(high.0), high.1)?;
                let g = self.node("Min", &of("gate_below"), &[&z, &high]);
                let alpha = self.number(&of("alpha"), alpha)?;
                let s = self.node("Mul", &of("gate_argument"), &[&g, &alpha]);
                let s = self.node("Sigmoid", &of("gate_open"), &[&s]);
                let g = self.node("Mul", &of("gate_value"), &[&g, &s]);
                let u = self.node("Clip", &of("up_within"), &[&u, &low, &high]);
                let one = self.number(&of("one"), 1.0)?;
                let u = self.node("Add", &of("up_plus_one"), &[&u, &one]);
                self.node("Mul", &of("gated"), &[&g, &u])
            }
        };
        let (dims, _) = self.values(&format!("{scope}.experts.down_proj.weight"))?;
        let features = dims.get(1).copied().unwrap_or(0);
        self.of_stack(&h, scope, "down_proj", e, [0, features], "down")
    }

    /// x Wᵀ + b of some rows of an expert's matrix in a stack `[experts, out, in]`.
    fn of_stack(
        &mut self,
        x: &str,
        scope: &str,
        matrix: &str,
        e: usize,
        [from, to]: [usize; 2],
        part: &str,
    ) -> Result<String> {
        let name = format!("{scope}.experts.{matrix}");
        let (dims, w) = self.values(&format!("{name}.weight"))?;
        let &[_, outputs, inputs] = dims else {
            return Err(Error::usage(format!("`{name}.weight` is no stack of matrices")));
        };
        let start = (e * outputs + from) * inputs;
        let w = &w[start..start + (to - from) * inputs];
        let own = format!("{scope}.experts.{e}.{matrix}/{part}");
        let y = self.product_of(x, &own, w, [to - from, inputs])?;
        let bias = format!("{name}.bias");
        if !self.has(&bias) {
            return Ok(y);
        }
        let (_, b) = self.values(&bias)?;
        let b = b[e * outputs + from..e * outputs + to].to_vec();
        let b = self.put(&format!("{own}/bias"), &[to - from], b)?;
        Ok(self.node("Add", &format!("{own}/sum"), &[&y, &b]))
    }
}
