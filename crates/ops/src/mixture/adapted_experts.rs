//! Stacked weights with low-rank adapters.

use crate::linear::feedforward::products::{Exact, backward_weight};
use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, MatRef, file_rows, gemm};
use ff_tensor::{Shape, Tensor, TensorMut, TensorRef};
use std::sync::Arc;

/// The weights of a mixture's experts, each with a low-rank adapter: Wₑ + s Bₑ Aₑ.
///
/// Forward:  W′ₑ = Wₑ + s Bₑ Aₑ
/// Backward:  dWₑ = dW′ₑ,  dAₑ = s Bₑᵀ dW′ₑ,  dBₑ = s dW′ₑ Aₑᵀ
///
/// An expert reads few rows of a batch, and B may belong to two matrices whose outputs are one
/// layer, gate and up: W then has some of its rows, from `first` on. Kept: A and B.
///
/// # Shapes
/// W `[experts, out, in]`, A `[experts, rank, in]`, B `[experts, rows, rank]` → W′ `[experts, out,
/// in]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::AdaptedExperts;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let mut input = |values: &[f32], dims: &[usize]| {
///     graph.input(Tensor::from_slice(&device, values, dims).unwrap())
/// };
/// let w = input(&[1.0, 2.0], &[2, 1, 1]);
/// let (a, b) = (input(&[1.0, 1.0], &[2, 1, 1]), input(&[3.0, 4.0], &[2, 1, 1]));
/// let op = AdaptedExperts { scale: 2.0, first: 0 }.op();
/// assert_eq!(graph.apply(&op, &[&w, &a, &b])?.slice::<f32>()?, [7.0, 10.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptedExperts {
    /// s.
    pub scale: f64,
    /// The row of each expert's B that belongs to the first output.
    pub first: usize,
}

struct Sizes {
    experts: usize,
    out: usize,
    input: usize,
    rank: usize,
    /// The rows of B.
    rows: usize,
}

impl AdaptedExperts {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    fn sizes(&self, spec: impl Fn(usize) -> Shape) -> OpResult<Sizes> {
        let [w, a, b] = [0, 1, 2].map(spec);
        match (w.dims(), a.dims(), b.dims()) {
            (&[experts, out, input], &[a_experts, rank, a_in], &[b_experts, rows, b_rank])
                if a_experts == experts
                    && b_experts == experts
                    && a_in == input
                    && b_rank == rank
                    && self.first.checked_add(out).is_some_and(|end| end <= rows) =>
            {
                Ok(Sizes { experts, out, input, rank, rows })
            }
            _ => Err(OpError::shape(format!(
                "W [experts, out, in], A [experts, rank, in] and B [experts, rows, rank] with {} rows before those of W do \
                 not go together: found {w}, {a} and {b}",
                self.first
            ))),
        }
    }
}

impl FloatOp for AdaptedExperts {
    fn name(&self) -> &'static str {
        "adapted_experts"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 3, "W, A, B")?;
        check::float(&x[0])?;
        check::same_dtype("A", &x[1], &x[0])?;
        check::same_dtype("B", &x[2], &x[0])?;
        let Sizes { experts, out, input, rank, .. } = self.sizes(|i| x[i].shape)?;
        let product = 2 * experts * out * input * rank;
        let used = usize::from(need[1]) + usize::from(need[2]);
        let mut contract = Contract::new([x[0]]).cost(product, product * used);
        let scratch = |len: usize| Spec::new([len, rank], x[0].dtype);
        contract = contract.scratch(scratch(out));
        // One after the other.
        let (mut da, mut db) = (0, 0);
        if need[1] {
            contract = contract.keep_input(2);
            da = out;
        }
        if need[2] {
            contract = contract.keep_input(1);
            db = input;
        }
        Ok(if used > 0 { contract.dscratch(scratch(da.max(db))) } else { contract })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let sizes = self.sizes(|i| *x[i].shape())?;
        let Sizes { experts, out, input, rank, rows } = sizes;
        let [a, b] = [x[1].slice::<T>()?, x[2].slice::<T>()?];
        let y = if let Some(stack) = x[0].file_stack() {
            let to = y[0].slice_mut::<f32>()?.chunks_exact_mut((out * input).max(1));
            for (file, to) in stack.iter().zip(to) {
                file_rows(cx.cpu(), file, 0..out, to);
            }
            y[0].slice_mut::<T>()?
        } else {
            let y = y[0].slice_mut::<T>()?;
            y.copy_from_slice(x[0].slice::<T>()?);
            y
        };
        let mut scaled = Tensor::uninit(cx.device, [out, rank].into(), T::DTYPE)?;
        let scaled = scaled.slice_mut::<T>()?;
        for e in 0..experts {
            scale(&b[(e * rows + self.first) * rank..], self.scale, scaled);
            let left = MatRef::new(&*scaled, out, rank);
            let right = MatRef::new(&a[e * rank * input..][..rank * input], rank, input);
            gemm(cx.cpu(), left, right, &mut y[e * out * input..][..out * input], true);
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
        let Sizes { experts, out, input, rank, rows } = self.sizes(|i| kept.spec(i).shape)?;
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        let gradient = |e: usize| MatRef::new(&dy[e * out * input..][..out * input], out, input);
        if let Some((dw, accumulate)) = dx[0].take::<T>()? {
            if accumulate {
                dw.iter_mut().zip(dy).for_each(|(dw, &dy)| *dw += dy);
            } else {
                dw.copy_from_slice(dy);
            }
        }
        if let Some((da, accumulate)) = dx[1].take::<T>()? {
            let b = kept.input(2)?.slice::<T>()?;
            let mut scaled = Tensor::uninit(cx.device, [out, rank].into(), T::DTYPE)?;
            let scaled = scaled.slice_mut::<T>()?;
            for (e, da) in da.chunks_exact_mut(rank * input).enumerate() {
                scale(&b[(e * rows + self.first) * rank..], self.scale, scaled);
                let b = MatRef::new(&*scaled, out, rank);
                backward_weight::<Exact, T, T, T>(cx.cpu(), b, gradient(e), da, accumulate);
            }
        }
        if let Some((db, accumulate)) = dx[2].take::<T>()? {
            let a = kept.input(1)?.slice::<T>()?;
            if !accumulate {
                // The other rows have their gradient from other matrices.
                db.fill(T::ZERO);
            }
            let mut scaled = Tensor::uninit(cx.device, [rank, input].into(), T::DTYPE)?;
            let scaled = scaled.slice_mut::<T>()?;
            for e in 0..experts {
                scale(&a[e * rank * input..], self.scale, scaled);
                let a = MatRef::new(&*scaled, rank, input);
                let db = &mut db[(e * rows + self.first) * rank..][..out * rank];
                gemm(cx.cpu(), gradient(e), a.t(), db, true);
            }
        }
        Ok(())
    }
}

/// `to` = s · the first values of `from`.
fn scale<T: Float>(from: &[T], s: f64, to: &mut [T]) {
    let s = T::of(s);
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = s * from);
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, [experts, out, input, rank]: [usize; 4], first: usize, rows: usize| {
        let inputs = [[experts, out, input], [experts, rank, input], [experts, rows, rank]];
        let op = AdaptedExperts { scale: 0.5, first }.op();
        let inputs = inputs.map(CaseInput::normal).into();
        Case::new(format!("adapted_experts/{name}"), op, inputs)
    };
    vec![
        case("plain", [3, 4, 5, 2], 0, 4),
        case("first_rows", [2, 3, 5, 2], 0, 6),
        case("last_rows", [2, 3, 5, 2], 3, 6),
        case("one", [1, 1, 1, 1], 0, 1),
        case("larger_than_a_tile", [1, 15, 33, 2], 0, 15),
    ]
}
