//! The factors of an adapter with magnitudes of its own.

use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, Kept, Op, OpError, OpResult, Slot, Spec, check, for_float,
};
use ff_kernels::{Float, MatRef, dot, file_rows, for_rows, gemm};
use ff_tensor::{Shape, Tensor, TensorMut, TensorRef};
use std::sync::Arc;

/// Rows of W that are read together.
const PANEL: usize = 256;

/// The factor of each output of a linear layer whose weight W and adapter s B A give directions
/// alone, with the magnitudes m (DoRA, Liu et al., 2024): g ⊙ ((W + s B A) x), where
///
/// Forward:  gⱼ = mⱼ / ‖Wⱼ + s Bⱼ A‖₂
/// Backward:  dmⱼ = dgⱼ / ‖Wⱼ + s Bⱼ A‖₂;  dW, dA and dB are 0
///
/// The norm counts as a constant in the backward pass, as section 4.3 of the paper proposes and
/// PEFT does: the gradients of A and B pass through the product alone, and no activation is kept
/// for the norm.
///
/// Inputs: m, W, A, B. Saved: the norms.
///
/// # Shapes
/// m `[out]`, W `[out, in]`, A `[rank, in]`, B `[out, rank]` → g `[out]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::DoraFactors;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let mut input = |values: &[f32], dims: &[usize]| {
///     graph.input(Tensor::from_slice(&device, values, dims).unwrap())
/// };
/// let (m, w) = (input(&[10.0], &[1]), input(&[3.0, 2.0], &[1, 2]));
/// let (a, b) = (input(&[0.0, 1.0], &[1, 2]), input(&[1.0], &[1, 1]));
/// // W + 2 B A = (3, 4).
/// let g = graph.apply(&DoraFactors { scale: 2.0 }.op(), &[&m, &w, &a, &b])?;
/// assert_eq!(g.slice::<f32>()?, [2.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DoraFactors {
    /// s.
    pub scale: f64,
}

impl DoraFactors {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }
}

/// The norms ‖Wⱼ + s Bⱼ A‖₂ of the rows of an adapted weight, which may be in the form of its file.
///
/// # Shapes
/// W `[out, in]`, A `[rank, in]`, B `[out, rank]` → `[out]`
///
/// # Errors
/// Memory is short, or a type is another than that of the norms.
pub fn adapted_row_norms<T: Float>(
    device: &ff_tensor::Device,
    [w, a, b]: [TensorRef<'_>; 3],
    scale: f64,
    norms: &mut [T],
) -> OpResult {
    let (rows, input, rank) = (w.shape().rows(), w.shape().last(), a.shape().rows());
    let [panel, factors] = scratch(rows, input, rank);
    let mut values = Tensor::uninit(device, panel, T::DTYPE)?;
    let mut factors = Tensor::uninit(device, factors, T::DTYPE)?;
    let factors = factors.slice_mut::<T>()?;
    let (a, b, cpu) = (a.slice::<T>()?, b.slice::<T>()?, device.cpu());
    for (i, norms) in norms.chunks_mut(PANEL).enumerate() {
        let (first, n) = (i * PANEL, norms.len());
        if let Some(file) = w.file() {
            file_rows(cpu, file, first..first + n, &mut values.slice_mut::<f32>()?[..n * input]);
        } else {
            let from = &w.slice::<T>()?[first * input..][..n * input];
            values.slice_mut::<T>()?[..n * input].copy_from_slice(from);
        }
        let panel = &mut values.slice_mut::<T>()?[..n * input];
        let factors = &mut factors[..n * rank];
        for (to, &b) in factors.iter_mut().zip(&b[first * rank..]) {
            *to = T::of(scale) * b;
        }
        let (left, a) = (MatRef::new(&*factors, n, rank), MatRef::new(a, rank, input));
        gemm(cpu, left, a, panel, true);
        let panel = &*panel;
        for_rows(
            cpu,
            n,
            2 * input,
            [(norms, 1)],
            #[inline(always)]
            |i, [norm]| {
                let row = &panel[i * input..][..input];
                norm[0] = T::of(dot(row, row).sqrt());
            },
        );
    }
    Ok(())
}

/// A panel of rows, and their factors.
fn scratch(rows: usize, input: usize, rank: usize) -> [Shape; 2] {
    [[rows.min(PANEL), input].into(), [rows.min(PANEL), rank].into()]
}

impl Op for DoraFactors {
    fn name(&self) -> &'static str {
        "dora_factors"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 4, "m, W, A, B")?;
        check::float(&x[0])?;
        for (what, spec) in ["W", "A", "B"].iter().zip(&x[1..]) {
            check::same_dtype(what, spec, &x[0])?;
        }
        let dims = [0, 1, 2, 3].map(|i| x[i].shape);
        let (out, input, rank) = match dims.each_ref().map(Shape::dims) {
            [&[m], &[out, input], &[rank, a_in], &[b_out, b_rank]]
                if m == out && a_in == input && b_out == out && b_rank == rank =>
            {
                (out, input, rank)
            }
            _ => {
                let [m, w, a, b] = dims;
                return Err(OpError::shape(format!(
                    "m [out], W [out, in], A [rank, in] and B [out, rank] do not go together: found {m}, {w}, {a} and {b}"
                )));
            }
        };
        let flops = 2 * out * input * (rank + 1);
        let [panel, factors] = scratch(out, input, rank).map(|shape| Spec::new(shape, x[0].dtype));
        let contract = Contract::new([x[0]]).cost(flops, out * usize::from(need[0]));
        let contract = contract.scratch(panel).scratch(factors);
        Ok(if need.contains(&true) { contract.save(x[0]) } else { contract.scratch(x[0]) })
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        for_float!(x[0].dtype(), T => self.run::<T>(cx, x, y, saved))
    }

    fn backward(
        &self,
        _cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        for_float!(kept.spec(0).dtype, T => gradients::<T>(kept, dy, dx))
    }
}

impl DoraFactors {
    fn run<T: Float>(
        self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let mut own = None;
        let norms = match saved {
            [norms, ..] => norms.slice_mut::<T>()?,
            [] => {
                own.insert(Tensor::uninit(cx.device, *x[0].shape(), T::DTYPE)?).slice_mut::<T>()?
            }
        };
        adapted_row_norms(cx.device, [x[1], x[2], x[3]], self.scale, norms)?;
        let values = y[0].slice_mut::<T>()?.iter_mut();
        values.zip(x[0].slice::<T>()?).zip(&*norms).for_each(|((g, &m), &norm)| *g = m / norm);
        Ok(())
    }
}

fn gradients<T: Float>(
    kept: &Kept<'_>,
    dy: &mut [Option<TensorMut<'_>>],
    dx: &mut [Slot<'_>],
) -> OpResult {
    let Some(dg) = &mut dy[0] else { return Ok(()) };
    let dg = &*dg.slice_mut::<T>()?;
    if let Some((dm, accumulate)) = dx[0].take::<T>()? {
        let norms = kept.saved(0)?.slice::<T>()?;
        for ((dm, &dg), &norm) in dm.iter_mut().zip(dg).zip(norms) {
            *dm = if accumulate { *dm + dg / norm } else { dg / norm };
        }
    }
    for slot in &mut dx[1..] {
        if let Some((values, false)) = slot.take::<T>()? {
            values.fill(T::ZERO);
        }
    }
    Ok(())
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, out: usize, input: usize, rank: usize| {
        // The norm is a constant of the backward pass, so only the gradient of m is that of g.
        let fixed = |dims: [usize; 2]| CaseInput::constant(dims, Fill::Normal(1.0));
        let inputs = vec![
            CaseInput::normal([out]),
            fixed([out, input]),
            fixed([rank, input]),
            fixed([out, rank]),
        ];
        Case::new(format!("dora_factors/{name}"), DoraFactors { scale: 0.5 }.op(), inputs)
    };
    vec![
        case("plain", 4, 3, 2),
        case("rank_one", 3, 5, 1),
        case("one", 1, 1, 1),
        case("larger_than_a_tile", 15, 37, 3),
        case("larger_than_a_panel", 257, 2, 1),
    ]
}
