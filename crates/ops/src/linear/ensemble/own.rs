use super::{Sizes, expect};
use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, MatRef, for_rows, gemm};
use ff_tensor::{Shape, Tensor, TensorMut, TensorRef};
use std::sync::Arc;

/// A linear layer for each member of an ensemble, such as its output layer.
///
/// Forward, for member m:  yₘ = xₘ Wₘᵀ + bₘ
/// Backward:  dxₘ = dyₘ Wₘ,  dWₘ = dyₘᵀ xₘ,  dbₘ = Σₙ dyₘ
///
/// An x that all members share has no dimension for them; its gradient is the sum over members.
///
/// Inputs: x, weight, bias. Kept: x and the weight.
///
/// # Shapes
/// x `[N, k, in]` or `[N, in]`, weight `[k, out, in]`, bias `[k, out]` → y `[N, k, out]`
///
/// ```
/// use ff_graph::{Op, Spec};
/// use ff_ops::MemberLinear;
/// use ff_tensor::{DType, Shape};
/// let spec = |dims: &[usize]| Spec::new(Shape::new(dims).unwrap(), DType::F32);
/// let x = [spec(&[8, 3, 2]), spec(&[3, 4, 2]), spec(&[3, 4])];
/// assert_eq!(MemberLinear::op().contract(&x, &[false; 3])?.outputs[0], spec(&[8, 3, 4]));
/// # Ok::<(), ff_graph::OpError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberLinear;

impl MemberLinear {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op() -> Arc<dyn Op> {
        Arc::new(Self)
    }
}

fn sizes(x: Shape, weight: Shape) -> OpResult<Sizes> {
    let &[members, output, input] = weight.dims() else {
        return Err(OpError::shape(format!("weight must be [members, out, in], found {weight}")));
    };
    Sizes::new(x, members, input, output)
}

impl Sizes {
    /// Member m's matrix in `[N, k, width]`, or the one that all share.
    fn member<'a, T>(&self, x: &'a [T], m: usize, width: usize, shared: bool) -> MatRef<'a, T> {
        if shared || x.is_empty() {
            return MatRef::new(x, self.rows, width);
        }
        MatRef::strided(&x[m * width..], self.rows, width, self.members * width, 1)
    }
}

impl FloatOp for MemberLinear {
    fn name(&self) -> &'static str {
        "member_linear"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 3, "x, weight, bias")?;
        check::float(&x[0])?;
        for (what, spec) in ["weight", "bias"].into_iter().zip(&x[1..]) {
            check::same_dtype(what, spec, &x[0])?;
        }
        let sizes = sizes(x[0].shape, x[1].shape)?;
        let Sizes { rows, members, input, output, .. } = sizes;
        expect("bias", x[2].shape, &[members, output])?;
        let y = x[0].with_shape([rows, members, output]);
        let product = 2 * rows * members * input * output;
        let products = usize::from(need[0]) + usize::from(need[1]);
        let contract = Contract::new([y]).cost(product, product * products);
        let mut contract = contract.scratch(x[0].with_shape([rows, output]));
        if need[0] {
            contract = contract.keep_input(1).dscratch(x[0].with_shape([rows, input]));
        }
        Ok(if need[1] { contract.keep_input(0) } else { contract })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let sizes = sizes(*x[0].shape(), *x[1].shape())?;
        let Sizes { rows, members, input, output, shared } = sizes;
        let (weight, bias) = (x[1].slice::<T>()?, x[2].slice::<T>()?);
        let x = x[0].slice::<T>()?;
        let y = y[0].slice_mut::<T>()?;
        let mut part = Tensor::uninit(cx.device, [rows, output].into(), T::DTYPE)?;
        let part = part.slice_mut::<T>()?;
        for m in 0..members {
            let weight = MatRef::new(&weight[m * output * input..], output, input).t();
            gemm(cx.cpu(), sizes.member(x, m, input, shared), weight, part, false);
            let bias = &bias[m * output..][..output];
            let width = members * output;
            for_rows(
                cx.cpu(),
                rows,
                2 * output,
                [(&mut *y, width)],
                #[inline(always)]
                |n, [y]| {
                    let part = &part[n * output..][..output];
                    for ((y, &part), &b) in y[m * output..].iter_mut().zip(part).zip(bias) {
                        *y = part + b;
                    }
                },
            );
        }
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let sizes = sizes(kept.spec(0).shape, kept.spec(1).shape)?;
        let Sizes { rows, members, input, output, shared } = sizes;
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        if let Some((db, accumulate)) = dx[2].take::<T>()? {
            ff_kernels::sum_columns(cx.cpu(), dy, db, accumulate);
        }
        if let Some((dweight, accumulate)) = dx[1].take::<T>()? {
            let x = kept.input(0)?.slice::<T>()?;
            for (m, dweight) in dweight.chunks_exact_mut((output * input).max(1)).enumerate() {
                let dy = sizes.member(dy, m, output, false).t();
                gemm(cx.cpu(), dy, sizes.member(x, m, input, shared), dweight, accumulate);
            }
        }
        let Some((dx, accumulate)) = dx[0].take::<T>()? else { return Ok(()) };
        let weight = kept.input(1)?.slice::<T>()?;
        let mut part = Tensor::uninit(cx.device, [rows, input].into(), T::DTYPE)?;
        let part = part.slice_mut::<T>()?;
        let width = if shared { input } else { members * input };
        for m in 0..members {
            let weight = MatRef::new(&weight[m * output * input..], output, input);
            gemm(cx.cpu(), sizes.member(dy, m, output, false), weight, part, false);
            let add = accumulate || shared && m > 0;
            let start = if shared { 0 } else { m * input };
            for_rows(
                cx.cpu(),
                rows,
                2 * input,
                [(&mut *dx, width)],
                #[inline(always)]
                |n, [dx]| {
                    let part = &part[n * input..][..input];
                    for (dx, &part) in dx[start..].iter_mut().zip(part) {
                        *dx = if add { *dx + part } else { part };
                    }
                },
            );
        }
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, shared: bool, [n, k, input, out]: [usize; 4]| {
        let x = if shared { vec![n, input] } else { vec![n, k, input] };
        let inputs = vec![
            CaseInput::normal(x),
            CaseInput::normal([k, out, input]),
            CaseInput::normal([k, out]),
        ];
        Case::new(format!("member_linear/{name}"), MemberLinear::op(), inputs)
    };
    vec![
        case("members", false, [5, 3, 4, 2]),
        case("shared", true, [5, 3, 4, 2]),
        case("one", false, [1, 1, 1, 1]),
        case("no_rows", false, [0, 2, 3, 4]),
        case("larger_than_a_tile", false, [15, 2, 9, 35]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::DType;

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let spec = |dims: &[usize]| Spec::new(Shape::new(dims).unwrap(), DType::F32);
        let message = |x: &[usize], weight: &[usize], bias: &[usize]| {
            let x = [spec(x), spec(weight), spec(bias)];
            MemberLinear::op().contract(&x, &[false; 3]).unwrap_err().to_string()
        };
        assert!(message(&[8, 2, 2], &[3, 4, 2], &[3, 4]).contains("[N, 3, 2], or [N, 2]"));
        assert!(message(&[8, 2], &[4, 2], &[3, 4]).contains("[members, out, in], found [4, 2]"));
        assert!(message(&[8, 2], &[3, 4, 2], &[4]).contains("bias must be [3, 4], found [4]"));
    }
}
