//! Losses of preference tuning.

use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::Float;
use ff_tensor::{Shape, TensorMut, TensorRef};
use std::sync::Arc;

/// The loss of pairs of answers to the same question, of which one was chosen and one rejected,
/// summed over pairs.
///
/// With a = −ln p(chosen) and b = −ln p(rejected) of the model, a′ and b′ those of a reference
/// model, n and m the numbers of tokens of the two answers, ε the label smoothing, and
/// ℓ(z) = −(1 − ε) ln σ(z) − ε ln σ(−z):
///
/// Forward, for each [`Preference`]:
/// - `Dpo`: loss = ℓ(β h), h = (a′ − a) − (b′ − b)
/// - `Ipo`: loss = (h − 1/(2β))², h = (a′ − a)/n − (b′ − b)/m
/// - `SimPo`: loss = ℓ(β (b/m − a/n) − γ)
/// - `Orpo`: loss = a/n − β ln σ(o(e^(−a/n)) − o(e^(−b/m))), o(p) = ln p − ln(1 − p)
///
/// Backward: da = ∂loss/∂a, db = ∂loss/∂b; ℓ′(z) = ε σ(z) − (1 − ε) σ(−z), and o′ with respect to
/// ln p is 1/(1 − p)
///
/// Inputs: a, b, and for each pair the constants n, m, a′, b′.
///
/// # Shapes
/// a and b `[P]`, constants `[P, 4]` → loss `[1]`
///
/// DPO: Rafailov et al., 2023. IPO: Azar et al., 2023, divided by lengths as in `trl`. SimPO: Meng
/// et al., 2024. ORPO: Hong et al., 2024, the loss of the chosen answer being its mean over tokens.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::{Preference, PreferenceLoss};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], true)?);
/// let tensor = |x: &[f64], shape: &[usize]| Tensor::from_slice(&device, x, shape).unwrap();
/// let chosen = graph.variable(tensor(&[3.0], &[1]));
/// let rejected = graph.variable(tensor(&[4.0], &[1]));
/// // Two tokens each; the model is the reference.
/// let constants = graph.input(tensor(&[2.0, 2.0, 3.0, 4.0], &[1, 4]));
/// let op = PreferenceLoss { kind: Preference::Dpo, beta: 0.1, gamma: 0.0, label_smoothing: 0.0 };
/// let loss = graph.apply(&op.op(), &[&chosen, &rejected, &constants])?;
/// assert!((loss.item()? - 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PreferenceLoss {
    /// The formula.
    pub kind: Preference,
    /// β > 0.
    pub beta: f64,
    /// γ ≥ 0, the margin of `SimPo`.
    pub gamma: f64,
    /// ε, the probability of a wrong label, in `[0, 0.5)`; for `Dpo` and `SimPo`.
    pub label_smoothing: f64,
}

/// The formula of a [`PreferenceLoss`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// Direct preference optimisation.
    Dpo,
    /// Identity preference optimisation: a squared error, which stops driving a pair apart.
    Ipo,
    /// Odds-ratio preference optimisation: no reference model, and the chosen answer is learned.
    Orpo,
    /// Simple preference optimisation: no reference model, rewards by token, a margin.
    SimPo,
}

impl Preference {
    /// Whether the loss compares with a reference model.
    pub fn needs_reference(self) -> bool {
        matches!(self, Self::Dpo | Self::Ipo)
    }
}

const NAME: &str = "preference";

impl PreferenceLoss {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    /// The loss of a pair from a and b, and from n, m, a′ and b′.
    pub fn of_pair(&self, [a, b]: [f64; 2], constants: [f64; 4]) -> f64 {
        self.pair(a, b, constants)[0]
    }

    /// The loss of any pair where the model is its own reference, for `Dpo` and `Ipo`.
    pub fn of_equal_models(&self) -> f64 {
        self.of_pair([0.0; 2], [1.0, 1.0, 0.0, 0.0])
    }

    /// The reward of the chosen answer less that of the rejected one: β times the logarithm of p,
    /// or of its ratio to the reference's for `Dpo` and `Ipo`, a token but for `Dpo`.
    pub fn margin(&self, [a, b]: [f64; 2], [n, m, a_reference, b_reference]: [f64; 4]) -> f64 {
        self.beta
            * match self.kind {
                Preference::Dpo => (a_reference - a) - (b_reference - b),
                Preference::Ipo => (a_reference - a) / n - (b_reference - b) / m,
                Preference::SimPo | Preference::Orpo => b / m - a / n,
            }
    }

    /// The loss of a pair and its gradients by a and b.
    fn pair(&self, a: f64, b: f64, constants: [f64; 4]) -> [f64; 3] {
        let [n, m, a_reference, b_reference] = constants;
        let beta = self.beta;
        match self.kind {
            Preference::Dpo => {
                let [loss, slope] = self.logistic(beta * ((a_reference - a) - (b_reference - b)));
                [loss, -beta * slope, beta * slope]
            }
            Preference::Ipo => {
                let h = (a_reference - a) / n - (b_reference - b) / m;
                let error = h - 0.5 / beta;
                [error * error, -2.0 * error / n, 2.0 * error / m]
            }
            Preference::SimPo => {
                let [loss, slope] = self.logistic(beta * (b / m - a / n) - self.gamma);
                [loss, -beta * slope / n, beta * slope / m]
            }
            Preference::Orpo => {
                // A probability of 1 has no odds.
                let logs = [-a / n, -b / m].map(|log: f64| if log > -1e-6 { -1e-6 } else { log });
                let [chosen, rejected] = logs.map(|log| log - (-log.exp_m1()).ln());
                let [loss, slope] = logistic(chosen - rejected);
                let [by_chosen, by_rejected] = logs.map(|log| -1.0 / log.exp_m1());
                let da = (1.0 - beta * slope * by_chosen) / n;
                [a / n + beta * loss, da, beta * slope * by_rejected / m]
            }
        }
    }

    /// ℓ(z) and its slope.
    fn logistic(&self, z: f64) -> [f64; 2] {
        let smoothing = self.label_smoothing;
        let [[loss, slope], [flipped, flipped_slope]] = [z, -z].map(logistic);
        [
            crate::loss::times(1.0 - smoothing, loss) + crate::loss::times(smoothing, flipped),
            (1.0 - smoothing) * slope - smoothing * flipped_slope,
        ]
    }
}

/// −ln σ(z) and its slope −σ(−z).
fn logistic(z: f64) -> [f64; 2] {
    let e = (-z.abs()).exp();
    let loss = (-z).max(0.0) + e.ln_1p();
    [if z.is_nan() { z } else { loss }, -(if z > 0.0 { e } else { 1.0 } / (1.0 + e))]
}

/// The pairs of the inputs.
fn pairs<'a, T: Float>(
    a: &'a [T],
    b: &'a [T],
    constants: &'a [T],
) -> impl Iterator<Item = (f64, f64, [f64; 4])> + 'a {
    let constants = constants.as_chunks::<4>().0;
    a.iter().zip(b).zip(constants).map(|((a, b), c)| (a.f64(), b.f64(), c.map(Float::f64)))
}

impl FloatOp for PreferenceLoss {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 3, "chosen, rejected, constants")?;
        check::float(&x[0])?;
        check::same_dtype("the rejected answers", &x[1], &x[0])?;
        check::same_dtype("the constants", &x[2], &x[0])?;
        let &[pairs] = x[0].shape.dims() else {
            let message = format!("the chosen answers must be [P], found {}", x[0].shape);
            return Err(OpError::shape(message));
        };
        if x[1].shape != x[0].shape || x[2].shape.dims() != [pairs, 4] {
            let message = format!(
                "{pairs} chosen answers need rejected ones [{pairs}] and constants [{pairs}, 4], found {} and {}",
                x[1].shape, x[2].shape
            );
            return Err(OpError::shape(message));
        }
        if !(self.beta > 0.0 && self.beta.is_finite()) {
            let message = format!("beta must be finite and greater than 0, found {}", self.beta);
            return Err(OpError::shape(message));
        }
        if !(0.0..0.5).contains(&self.label_smoothing) {
            let found = self.label_smoothing;
            let message = format!("label_smoothing must lie in [0, 0.5), found {found}");
            return Err(OpError::shape(message));
        }
        let contract = Contract::new([Spec::new(Shape::scalar(), x[0].dtype)]);
        let contract = contract.cost(32 * pairs, 32 * pairs);
        Ok(if need.contains(&true) {
            (0..3).fold(contract, Contract::keep_input)
        } else {
            contract
        })
    }

    fn forward<T: Float>(
        &self,
        _cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (a, b, constants) = (x[0].slice::<T>()?, x[1].slice::<T>()?, x[2].slice::<T>()?);
        let loss: f64 = pairs(a, b, constants).map(|(a, b, c)| self.pair(a, b, c)[0]).sum();
        y[0].slice_mut::<T>()?[0] = T::of(loss);
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        _cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = dy.slice_mut::<T>()?[0].f64();
        let of = |i: usize| -> OpResult<&[T]> { Ok(kept.input(i)?.slice::<T>()?) };
        let (a, b, constants) = (of(0)?, of(1)?, of(2)?);
        for (i, slot) in dx.iter_mut().take(2).enumerate() {
            let Some((d, accumulate)) = slot.take::<T>()? else { continue };
            for (d, (a, b, c)) in d.iter_mut().zip(pairs(a, b, constants)) {
                let value = T::of(dy * self.pair(a, b, c)[1 + i]);
                *d = if accumulate { *d + value } else { value };
            }
        }
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let op =
        |kind, beta, gamma, label_smoothing| PreferenceLoss { kind, beta, gamma, label_smoothing };
    let case = |name: &str, op: PreferenceLoss, pairs: usize| {
        let inputs = vec![
            CaseInput::new([pairs], Fill::Uniform(1.0, 9.0)),
            CaseInput::new([pairs], Fill::Uniform(1.0, 9.0)),
            CaseInput::constant([pairs, 4], Fill::Uniform(2.0, 8.0)),
        ];
        Case::new(format!("{NAME}/{name}"), op.op(), inputs)
    };
    vec![
        case("dpo", op(Preference::Dpo, 0.1, 0.0, 0.0), 5),
        case("dpo_smoothed", op(Preference::Dpo, 0.5, 0.0, 0.2), 5),
        case("ipo", op(Preference::Ipo, 0.1, 0.0, 0.0), 5),
        case("orpo", op(Preference::Orpo, 0.2, 0.0, 0.0), 5),
        case("simpo", op(Preference::SimPo, 2.0, 1.0, 0.0), 5),
        case("simpo_smoothed", op(Preference::SimPo, 2.5, 0.5, 0.1), 5),
        case("one_pair", op(Preference::Dpo, 0.1, 0.0, 0.0), 1),
        case("no_pairs", op(Preference::Orpo, 0.1, 0.0, 0.0), 0),
        case("many", op(Preference::Ipo, 0.3, 0.0, 0.0), 67),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DPO: PreferenceLoss =
        PreferenceLoss { kind: Preference::Dpo, beta: 0.5, gamma: 0.0, label_smoothing: 0.0 };

    #[test]
    fn extreme_answers_have_finite_gradients() {
        // Certain answers, and those that are all but impossible.
        for kind in [Preference::Dpo, Preference::Ipo, Preference::Orpo, Preference::SimPo] {
            let op = PreferenceLoss { kind, ..DPO };
            for (a, b) in [(0.0, 0.0), (0.0, 1e4), (1e4, 0.0), (1e4, 1e4)] {
                let found = op.pair(a, b, [3.0, 5.0, 2.0, 2.0]);
                assert!(found.iter().all(|x| x.is_finite()), "{kind:?} {a} {b}: {found:?}");
                assert!(found[2] <= 0.0 || kind == Preference::Ipo, "{kind:?} {a} {b}: {found:?}");
            }
            let nan = op.pair(f64::NAN, 1.0, [3.0, 5.0, 2.0, 2.0]);
            assert!(nan[0].is_nan(), "{kind:?}: {nan:?}");
        }
    }

    #[test]
    fn a_pair_that_is_told_apart_teaches_less() {
        let slope = |b: f64| DPO.pair(1.0, b, [1.0, 1.0, 1.0, 1.0])[1];
        assert_eq!(slope(1.0), 0.25); // β σ(0)
        assert!(slope(0.0) > slope(1.0) && slope(1.0) > slope(9.0) && slope(9.0) > 0.0);
        // IPO is at rest where the margin is 1/(2β) a token.
        let ipo = PreferenceLoss { kind: Preference::Ipo, ..DPO };
        assert_eq!(ipo.pair(1.0, 2.0, [1.0, 1.0, 1.0, 1.0]), [0.0, 0.0, 0.0]);
    }
}
