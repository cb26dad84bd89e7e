//! PReLU: a learned slope for negative inputs.

use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, MAX_COLUMNS, for_columns, for_rows, sum_of2, sum_pieces};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// ReLU with a learned slope for x ≤ 0, shared or per feature: `torch.nn.PReLU` (He et al., 2015).
///
/// Forward:  y = x for x > 0, else a x
/// Backward:  dx = dy for x > 0, else a dy;  da = Σ dy x over all x ≤ 0 that a stands for
///
/// Inputs: x and a. Kept: both, since y does not determine the sign of x: a may have either sign.
///
/// # Shapes
/// x `[…, features]`, a `[1]` or `[features]` → y `[…, features]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Prelu;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[-4.0f32, 2.0], &[1, 2]).unwrap());
/// let slope = graph.input(Tensor::from_slice(&device, &[0.25f32], &[1]).unwrap());
/// let y = graph.apply(&Prelu::op(), &[&x, &slope])?;
/// assert_eq!(y.slice::<f32>()?, [-1.0, 2.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prelu;

impl Prelu {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op() -> Arc<dyn Op> {
        Arc::new(Self)
    }
}

impl FloatOp for Prelu {
    fn name(&self) -> &'static str {
        "prelu"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 2, "x, slope")?;
        check::float(&x[0])?;
        check::same_dtype("the slope", &x[1], &x[0])?;
        let features = x[0].shape.last();
        if x[1].shape.dims() != [1] && x[1].shape.dims() != [features] {
            let message = format!(
                "the slope must be [1], or [{features}] for one per feature of x {}, found {}",
                x[0].shape, x[1].shape
            );
            return Err(OpError::shape(message));
        }
        let n = x[0].shape.len();
        let contract =
            Contract::new([x[0]]).cost(n, n * usize::from(need[0]) + 2 * n * usize::from(need[1]));
        Ok(match (need[0], need[1]) {
            (false, false) => contract,
            (false, true) => contract.keep_input(0),
            (true, _) => contract.keep_input(0).keep_input(1),
        })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (rows, width) = (x[0].shape().rows(), x[0].shape().last());
        let (x, slope) = (x[0].slice::<T>()?, x[1].slice::<T>()?);
        for_rows(
            cx.cpu(),
            rows,
            width,
            [(y[0].slice_mut()?, width)],
            #[inline(always)]
            |i, [y]| {
                let x = &x[i * width..][..width];
                match slope {
                    [a] => y.iter_mut().zip(x).for_each(|(y, &x)| *y = leaky(x, x, *a)),
                    _ => {
                        y.iter_mut()
                            .zip(x)
                            .zip(slope)
                            .for_each(|((y, &x), &a)| *y = leaky(x, x, a));
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
        let (rows, width) = (kept.spec(0).shape.rows(), kept.spec(0).shape.last());
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        let x = kept.input(0)?.slice::<T>()?;
        if let Some((dx, accumulate)) = dx[0].take::<T>()? {
            let slope = kept.input(1)?.slice::<T>()?;
            for_rows(
                cx.cpu(),
                rows,
                width,
                [(dx, width)],
                #[inline(always)]
                |i, [dx]| {
                    let part = i * width..(i + 1) * width;
                    for (j, ((dx, &x), &dy)) in
                        dx.iter_mut().zip(&x[part.clone()]).zip(&dy[part]).enumerate()
                    {
                        let d = leaky(x, dy, if let [a] = slope { *a } else { slope[j] });
                        *dx = if accumulate { *dx + d } else { d };
                    }
                },
            );
        }
        if let Some((da, accumulate)) = dx[1].take::<T>()? {
            if let [da] = da {
                let sum = sum_pieces(cx.cpu(), x.len(), |piece| {
                    sum_of2(&x[piece.clone()], &dy[piece], dslope)
                });
                *da = if accumulate { *da + T::of(sum) } else { T::of(sum) };
            } else {
                for_columns(
                    cx.cpu(),
                    width,
                    2 * rows,
                    [da],
                    #[inline(always)]
                    |columns, [mut da]| {
                        let mut sums = [0.0; MAX_COLUMNS];
                        for i in 0..rows {
                            let part = i * width + columns.start..i * width + columns.end;
                            let values = x[part.clone()].iter().zip(&dy[part]);
                            sums.iter_mut()
                                .zip(values)
                                .for_each(|(s, (&x, &dy))| *s += dslope(x, dy));
                        }
                        da.put(&sums, accumulate);
                    },
                );
            }
        }
        Ok(())
    }
}

/// `v` if x > 0, else a · v; a NaN in x goes through the product.
#[inline]
fn leaky<T: Float>(x: T, v: T, a: T) -> T {
    if x > T::ZERO { v } else { a * v }
}

/// dy · x where x ≤ 0.
#[inline]
fn dslope<T: Float>(x: T, dy: T) -> f64 {
    if x > T::ZERO { 0.0 } else { (dy * x).f64() }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, dims: &[usize], slopes: usize| {
        let inputs = vec![CaseInput::normal(dims), CaseInput::normal([slopes])];
        Case::new(format!("prelu/{name}"), Prelu::op(), inputs)
    };
    vec![
        case("one_slope", &[5, 3], 1),
        case("per_feature", &[5, 3], 3),
        case("folded", &[2, 3, 4], 4),
        case("one", &[1, 1], 1),
        case("no_rows", &[0, 3], 3),
        case("larger_than_a_block", &[4, 67], 67),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};

    #[test]
    fn nan_stays_nan_and_zero_is_on_the_left() {
        let inputs = [tensor(&[f32::NAN, 0.0], &[2]), tensor(&[0.5f32], &[1])];
        let run = Run::new(&Prelu::op(), &inputs).unwrap();
        let y = run.output::<f32>(0);
        assert!(y[0].is_nan() && y[1] == 0.0);
        assert_eq!(run.backward(&[0.0f32, 2.0])[0][1], 1.0);
    }
}
