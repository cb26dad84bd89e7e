//! The prediction of an ensemble from those of its members.

use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, for_rows};
use ff_tensor::{Shape, TensorMut, TensorRef};
use std::sync::Arc;

/// What is averaged over the members of an ensemble.
///
/// ```
/// use ff_ops::MemberMean;
/// assert_eq!(MemberMean::of(true, 1), MemberMean::Sigmoid);
/// assert_eq!(MemberMean::of(true, 3), MemberMean::Softmax);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberMean {
    /// The outputs: numbers.
    Values,
    /// The probabilities of which outputs are logits.
    Softmax,
    /// The probability of which the one output is the logit.
    Sigmoid,
}

impl MemberMean {
    /// For outputs that are logits of classes, or values.
    pub fn of(logits: bool, outputs: usize) -> Self {
        match (logits, outputs) {
            (false, _) => Self::Values,
            (true, 1) => Self::Sigmoid,
            (true, _) => Self::Softmax,
        }
    }
}

/// The mean over the members of an ensemble, in the form that one network's outputs have.
///
/// Forward, with p = softmax(x) or σ(x):
///   values:  y = meanₘ xₘ
///   softmax:  y = ln meanₘ pₘ, whose softmax is the mean of the probabilities
///   sigmoid:  y = ln meanₘ pₘ − ln meanₘ (1 − pₘ), whose sigmoid is
/// Backward, with wₘ = pₘ / Σ p and vₘ = (1 − pₘ) / Σ (1 − p):
///   values:  dxₘ = dy/k
///   softmax:  dxₘ = g − pₘ Σ g, g = dy ⊙ wₘ
///   sigmoid:  dxₘ = dy (wₘ (1 − pₘ) + vₘ pₘ)
///
/// Kept: x and y, for the values nothing.
///
/// # Shapes
/// x `[N, k, C]` → y `[N, C]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::{MeanOfMembers, MemberMean};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], false)?);
/// let x = Tensor::from_slice(&device, &[0.0f64, 0.0, 0.0, 1000.0], &[1, 2, 2]).unwrap();
/// let x = graph.input(x);
/// let y = graph.apply(&MeanOfMembers::op(MemberMean::Softmax), &[&x])?;
/// assert_eq!(y.slice::<f64>()?, [0.25f64.ln(), 0.75f64.ln()]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeanOfMembers {
    /// What is averaged.
    pub mean: MemberMean,
}

impl MeanOfMembers {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(mean: MemberMean) -> Arc<dyn Op> {
        Arc::new(Self { mean })
    }
}

fn sizes(x: Shape, mean: MemberMean) -> OpResult<[usize; 3]> {
    match *x.dims() {
        [_, _, c] if mean == MemberMean::Sigmoid && c != 1 => {
            Err(OpError::shape(format!("a sigmoid is of one logit, x is {x}")))
        }
        [n, k, c] if k > 0 => Ok([n, k, c]),
        _ => Err(OpError::shape(format!("x must be [N, members, outputs], found {x}"))),
    }
}

/// max and ln Σ exp(· − max) of values.
#[inline(always)]
fn log_sum_exp<T: Float>(values: impl Iterator<Item = T> + Clone) -> (T, T) {
    let mut m = T::NEG_INFINITY;
    for v in values.clone() {
        m = m.maximum(v);
    }
    let mut sum = 0.0;
    for v in values {
        sum += (v - m).exp().f64();
    }
    (m, T::of(sum.ln()))
}

impl FloatOp for MeanOfMembers {
    fn name(&self) -> &'static str {
        "mean_of_members"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 1, "x")?;
        check::float(&x[0])?;
        let [n, _, c] = sizes(x[0].shape, self.mean)?;
        let work = x[0].shape.len() * if self.mean == MemberMean::Values { 1 } else { 4 };
        let contract = Contract::new([x[0].with_shape([n, c])]).cost(work, 2 * work);
        Ok(match self.mean {
            MemberMean::Values => contract,
            _ if need[0] => contract.keep_input(0).keep_output(0),
            _ => contract,
        })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let [n, k, c] = sizes(*x[0].shape(), self.mean)?;
        let x = x[0].slice::<T>()?;
        let log_k = T::of((k as f64).ln());
        for_rows(
            cx.cpu(),
            n,
            16 * k * c,
            [(y[0].slice_mut::<T>()?, c)],
            #[inline(always)]
            |n, [y]| {
                let members = x[n * k * c..][..k * c].chunks_exact(c.max(1));
                match self.mean {
                    MemberMean::Values => {
                        for (j, y) in y.iter_mut().enumerate() {
                            let mut sum = 0.0;
                            for x in members.clone() {
                                sum += x[j].f64();
                            }
                            *y = T::of(sum / k as f64);
                        }
                    }
                    MemberMean::Softmax => {
                        // ln Σₘ pₘ, one member after the other.
                        y.fill(T::NEG_INFINITY);
                        for x in members {
                            let (m, log) = log_sum_exp(x.iter().copied());
                            for (y, &x) in y.iter_mut().zip(x) {
                                *y = add_logs(*y, x - m - log);
                            }
                        }
                        for y in &mut *y {
                            *y -= log_k;
                        }
                    }
                    MemberMean::Sigmoid => {
                        let (a, b) = (members.clone().map(|x| -(-x[0]).softplus()), members);
                        let (m, log) = log_sum_exp(a);
                        let (other, other_log) = log_sum_exp(b.map(|x| -x[0].softplus()));
                        y[0] = (m - other) + (log - other_log);
                    }
                }
            },
        );
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let [n, k, c] = sizes(kept.spec(0).shape, self.mean)?;
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        let Some((dx, accumulate)) = dx[0].take::<T>()? else { return Ok(()) };
        let put = |dx: &mut T, v: T| *dx = if accumulate { *dx + v } else { v };
        let (x, y) = if self.mean == MemberMean::Values {
            (&[][..], &[][..])
        } else {
            (kept.input(0)?.slice::<T>()?, kept.output(0)?.slice::<T>()?)
        };
        let (log_k, share) = (T::of((k as f64).ln()), T::of(1.0 / k as f64));
        for_rows(
            cx.cpu(),
            n,
            32 * k * c,
            [(dx, k * c)],
            #[inline(always)]
            |n, [dx]| {
                let dy = &dy[n * c..][..c];
                for (m, dx) in dx.chunks_exact_mut(c.max(1)).enumerate() {
                    let at = (n * k + m) * c;
                    match self.mean {
                        MemberMean::Values => {
                            for (dx, &dy) in dx.iter_mut().zip(dy) {
                                put(dx, dy * share);
                            }
                        }
                        MemberMean::Softmax => {
                            let (x, y) = (&x[at..][..c], &y[n * c..][..c]);
                            let (m, log) = log_sum_exp(x.iter().copied());
                            let g = |j: usize| dy[j] * (x[j] - m - log - y[j] - log_k).exp();
                            let mut sum = 0.0;
                            for j in 0..c {
                                sum += g(j).f64();
                            }
                            let sum = T::of(sum);
                            for (j, dx) in dx.iter_mut().enumerate() {
                                put(dx, g(j) - (x[j] - m - log).exp() * sum);
                            }
                        }
                        MemberMean::Sigmoid => {
                            // Σ p = k σ(y) and Σ (1 − p) = k σ(−y).
                            let (x, y) = (x[at], y[n]);
                            let w = (y.softplus() - y + x - x.softplus() - log_k).exp();
                            let v = (y.softplus() - x.softplus() - log_k).exp();
                            put(&mut dx[0], dy[0] * (w * (-x).sigmoid() + v * x.sigmoid()));
                        }
                    }
                }
            },
        );
        Ok(())
    }
}

/// ln(eᵃ + eᵇ).
#[inline(always)]
fn add_logs<T: Float>(a: T, b: T) -> T {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == T::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

pub(crate) fn cases() -> Vec<Case> {
    use MemberMean::{Sigmoid, Softmax, Values};
    let case = |name: &str, mean, dims: [usize; 3]| {
        let op = MeanOfMembers::op(mean);
        Case::new(format!("mean_of_members/{name}"), op, vec![CaseInput::normal(dims)])
    };
    vec![
        case("values", Values, [5, 3, 2]),
        case("softmax", Softmax, [5, 3, 4]),
        case("sigmoid", Sigmoid, [5, 3, 1]),
        case("one", Softmax, [1, 1, 1]),
        case("one_member", Sigmoid, [4, 1, 1]),
        case("many_classes", Softmax, [3, 2, 37]),
        case("no_rows", Softmax, [0, 3, 2]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::DType;

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let message = |dims: &[usize], mean| {
            let x = Spec::new(Shape::new(dims).unwrap(), DType::F32);
            MeanOfMembers::op(mean).contract(&[x], &[false]).unwrap_err().to_string()
        };
        assert!(message(&[4, 2], MemberMean::Values).contains("[N, members, outputs]"));
        assert!(message(&[4, 0, 2], MemberMean::Values).contains("found [4, 0, 2]"));
        assert!(message(&[4, 2, 2], MemberMean::Sigmoid).contains("one logit"));
    }
}
