//! A linear layer with a low-rank adapter.

use super::feedforward::contract as linear_contract;
use super::feedforward::products::{
    Exact, Mixed, Multiply, Weight, backward_input, backward_weight,
};
use crate::Activation;
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, Kept, Op, OpError, OpResult, Slot, Spec, for_float,
};
use ff_kernels::{Epilogue, Float, MatRef, Stored, sum_columns};
use ff_tensor::{DType, Shape, Tensor, TensorMut, TensorRef, bf16};
use std::ops::Range;
use std::sync::Arc;

/// A linear layer with a low-rank adapter, y = x Wᵀ + b + s (x Aᵀ) Bᵀ (LoRA, Hu et al., 2022), as
/// one operation: fine-tuning trains A and B and leaves W as it is.
///
/// Forward, with h = s x Aᵀ:  y = x Wᵀ + b + h Bᵀ
/// Backward, with dh = s dy B:  dA = dhᵀ x,  dB = dyᵀ h,  dx = dy W + dh A,  and dW = dyᵀ x, db =
/// Σₙ dy where these are trained too
///
/// Inputs: x, W, b if any, A, B, the input of A where it is not x itself but x with dropout, and a
/// mask of rows (`i32`), of which 0 makes s of the row 0 (activated LoRA, Greenewald et al., 2025).
/// Kept: the input of A, h, the mask, and x for dW.
///
/// # Shapes
/// x `[…, in]`, W `[out, in]`, b `[out]`, A `[rank, in]`, B `[out, rank]`, mask `[…]` →
/// y `[…, out]`.
///
/// ```
/// use ff_graph::{Op, Spec};
/// use ff_ops::LoraLinear;
/// use ff_tensor::DType;
/// let op = LoraLinear { scale: 2.0, ..LoraLinear::default() };
/// let spec = |dims: &[usize]| Spec::new(ff_tensor::Shape::new(dims).unwrap(), DType::F32);
/// let x = [spec(&[8, 2]), spec(&[6, 2]), spec(&[1, 2]), spec(&[6, 1])];
/// assert_eq!(op.contract(&x, &[true; 4])?.outputs[0], spec(&[8, 6]));
/// # Ok::<(), ff_graph::OpError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraLinear {
    /// s.
    pub scale: f64,
    /// Whether the linear layer has a bias.
    pub bias: bool,
    /// Whether A has an input of its own.
    pub own_input: bool,
    /// Whether a mask of rows is the last input.
    pub masked: bool,
    /// The type of y where products are in bf16 with f32 sums, as in [`crate::FeedforwardBf16`].
    pub bf16: Option<DType>,
}

impl Default for LoraLinear {
    /// A scale of 1, without a bias, in the type of x.
    fn default() -> Self {
        Self { scale: 1.0, bias: false, own_input: false, masked: false, bf16: None }
    }
}

/// Rows and widths.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    input: usize,
    output: usize,
    rank: usize,
}

impl LoraLinear {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    /// The place of A; B is behind it.
    fn a(&self) -> usize {
        2 + usize::from(self.bias)
    }

    /// The place of the input of A.
    fn input(&self) -> usize {
        if self.own_input { self.a() + 2 } else { 0 }
    }

    /// The place of the mask.
    fn mask(&self) -> usize {
        self.a() + 2 + usize::from(self.own_input)
    }

    fn sizes(&self, spec: impl Fn(usize) -> Shape) -> OpResult<Sizes> {
        let (weight, a, b) = (spec(1), spec(self.a()), spec(self.a() + 1));
        match (weight.dims(), a.dims(), b.dims()) {
            (&[output, input], &[rank, a_in], &[b_out, b_rank])
                if a_in == input && b_out == output && b_rank == rank =>
            {
                Ok(Sizes { rows: spec(0).rows(), input, output, rank })
            }
            _ => Err(OpError::shape(format!(
                "an adapter of the weight {weight} must be [rank, in] and [out, rank], found {a} and {b}"
            ))),
        }
    }
}

impl Op for LoraLinear {
    fn name(&self) -> &'static str {
        "lora_linear"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let a = self.a();
        let expected = self.mask() + usize::from(self.masked);
        if x.len() != expected {
            let message = format!("expected {expected} inputs, found {}", x.len());
            return Err(OpError::shape(message));
        }
        let output = self.bf16.unwrap_or(x[0].dtype);
        let mut contract =
            linear_contract((Activation::Identity, self.bias), output, &x[..a], &need[..a])?;
        let Sizes { rows, input, output, rank } = self.sizes(|i| x[i].shape)?;
        if self.own_input && (x[a + 2].shape != x[0].shape || x[a + 2].dtype != x[0].dtype) {
            let message =
                format!("the input of A must be {}, found {}", x[0].shape, x[a + 2].shape);
            return Err(OpError::shape(message));
        }
        if self.masked {
            let mask = &x[self.mask()];
            if mask.dtype != DType::I32 {
                return Err(OpError::dtype("i32", mask.dtype));
            }
            if mask.shape.len() != rows {
                let message = format!("the mask must have {rows} rows, found {}", mask.shape);
                return Err(OpError::shape(message));
            }
        }
        let weights = x[1].dtype;
        if let Some(found) = x[2..a + 2].iter().map(|p| p.dtype).find(|&dtype| dtype != weights) {
            return Err(OpError::dtype("parameters of one type", found));
        }
        let is_mixed = |dtype| matches!(dtype, DType::F32 | DType::BF16);
        match self.bf16 {
            Some(output) => {
                if let Some(found) = [x[0].dtype, output].into_iter().find(|&d| !is_mixed(d)) {
                    return Err(OpError::dtype("f32 or bf16", found));
                }
                if weights != DType::F32 {
                    return Err(OpError::dtype("f32", weights));
                }
            }
            None if weights != x[0].dtype => {
                return Err(OpError::dtype("the type of x", weights));
            }
            None => {}
        }
        let [narrow, wide] = [2 * rows * rank * input, 2 * rows * rank * output];
        contract.flops += (narrow + wide) as u64;
        let h = Spec::new([rows, rank], weights);
        if !need.contains(&true) {
            return Ok(contract.scratch(h));
        }
        let (x_needed, a_needed, b_needed) = (need[self.input()], need[a], need[a + 1]);
        let dh = if x_needed || a_needed { wide } else { 0 };
        let products = narrow * (usize::from(x_needed) + usize::from(a_needed));
        contract.dflops += (dh + products + wide * usize::from(b_needed)) as u64;
        if a_needed {
            contract = contract.keep_input(self.input());
        }
        if x_needed {
            contract = contract.keep_input(a);
        }
        if self.masked {
            contract = contract.keep_input(self.mask());
        }
        Ok(contract.keep_input(a + 1).save(h).dscratch(h))
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        match (self.bf16, x[0].dtype()) {
            (None, dtype) => {
                for_float!(dtype, T => self.run_forward::<Exact, T, T, T>(cx, x, y, saved))
            }
            (Some(DType::BF16), DType::BF16) => {
                self.run_forward::<Mixed, bf16, f32, bf16>(cx, x, y, saved)
            }
            (Some(DType::BF16), _) => self.run_forward::<Mixed, f32, f32, bf16>(cx, x, y, saved),
            (Some(_), DType::BF16) => self.run_forward::<Mixed, bf16, f32, f32>(cx, x, y, saved),
            (Some(_), _) => self.run_forward::<Mixed, f32, f32, f32>(cx, x, y, saved),
        }
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        match (self.bf16, kept.spec(0).dtype) {
            (None, dtype) => {
                for_float!(dtype, T => self.run_backward::<Exact, T, T, T>(cx, kept, dy, dx))
            }
            (Some(DType::BF16), DType::BF16) => {
                self.run_backward::<Mixed, bf16, f32, bf16>(cx, kept, dy, dx)
            }
            (Some(DType::BF16), _) => self.run_backward::<Mixed, f32, f32, bf16>(cx, kept, dy, dx),
            (Some(_), DType::BF16) => self.run_backward::<Mixed, bf16, f32, f32>(cx, kept, dy, dx),
            (Some(_), _) => self.run_backward::<Mixed, f32, f32, f32>(cx, kept, dy, dx),
        }
    }
}

impl LoraLinear {
    fn run_forward<M, X, W, Y>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult
    where
        M: Multiply<X, W, Y> + Multiply<X, W, W> + Multiply<W, W, Y>,
        X: Stored,
        W: Float,
        Y: Stored<Compute = W>,
    {
        let sizes = self.sizes(|i| *x[i].shape())?;
        let Sizes { rows, input, output, rank } = sizes;
        let cpu = cx.cpu();
        let bias = if self.bias { Some(x[2].slice::<W>()?) } else { None };
        let own = MatRef::new(x[0].slice::<X>()?, rows, input);
        let y = y[0].slice_mut::<Y>()?;
        let weight = Weight::<W>::of(x[1])?;
        weight.forward::<M, X, Y>(cpu, Activation::Identity, own, bias, y, None)?;
        let mask = if self.masked { Some(x[self.mask()].slice::<i32>()?) } else { None };
        let mut scratch = None;
        let h = match saved {
            [h, ..] => h.slice_mut::<W>()?,
            [] => scratch.insert(narrow::<W>(cx, sizes)?).slice_mut::<W>()?,
        };
        if self.masked {
            h.fill(W::of(0.0));
        }
        let adapted = x[self.input()].slice::<X>()?;
        let a = MatRef::new(x[self.a()].slice::<W>()?, rank, input);
        let b = MatRef::new(x[self.a() + 1].slice::<W>()?, output, rank);
        for run in runs(mask, rows) {
            let adapted = part(adapted, &run, input);
            let h = &mut h[run.start * rank..run.end * rank];
            <M as Multiply<X, W, W>>::multiply(cpu, adapted, a.t(), h, false, Epilogue::default());
            self.scale_in_place(h);
            let (h, y) = (MatRef::new(&*h, run.len(), rank), &mut y[run.start * output..]);
            let y = &mut y[..run.len() * output];
            <M as Multiply<W, W, Y>>::multiply(cpu, h, b.t(), y, true, Epilogue::default());
        }
        Ok(())
    }

    fn run_backward<M, X, W, Y>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult
    where
        M: Multiply<Y, W, X>
            + Multiply<Y, X, W>
            + Multiply<Y, W, W>
            + Multiply<W, X, W>
            + Multiply<W, W, X>,
        X: Stored,
        W: Float,
        Y: Stored<Compute = W>,
    {
        let sizes = self.sizes(|i| kept.spec(i).shape)?;
        let Sizes { rows, input, output, rank } = sizes;
        let (cpu, at) = (cx.cpu(), self.a());
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<Y>()?;
        if self.bias
            && let Some((dbias, accumulate)) = dx[2].take::<W>()?
        {
            sum_columns(cpu, dy, dbias, accumulate);
        }
        let whole = MatRef::new(dy, rows, output);
        if let Some((dweight, accumulate)) = dx[1].take::<W>()? {
            let x = MatRef::new(kept.input(0)?.slice::<X>()?, rows, input);
            backward_weight::<M, X, W, Y>(cpu, whole, x, dweight, accumulate);
        }
        let mask = if self.masked { Some(kept.input(self.mask())?.slice::<i32>()?) } else { None };
        if let Some(db) = dx[at + 1].take::<W>()? {
            let (db, accumulate) = begun(db, self.masked);
            let h = kept.saved(0)?.slice::<W>()?;
            for run in runs(mask, rows) {
                let (dy, h) = (part(dy, &run, output), part(h, &run, rank));
                backward_weight::<M, W, W, Y>(cpu, dy, h, db, accumulate);
            }
        }
        let mut own = None;
        if let Some((dx, accumulate)) = dx[0].take::<X>()? {
            let weight = Weight::<W>::of(kept.input(1)?)?;
            weight.backward_input::<M, X, Y>(cpu, whole, dx, accumulate)?;
            own = Some((dx, true));
        }
        let da = dx[at].take::<W>()?;
        let adapted = if self.own_input { dx[self.input()].take::<X>()? } else { own };
        if da.is_none() && adapted.is_none() {
            return Ok(());
        }
        let mut da = da.map(|da| begun(da, self.masked));
        let mut adapted = adapted.map(|dx| begun(dx, self.masked));
        let mut dh = narrow::<W>(cx, sizes)?;
        let dh = dh.slice_mut::<W>()?;
        let b = MatRef::new(kept.input(at + 1)?.slice::<W>()?, output, rank);
        for run in runs(mask, rows) {
            let dh = &mut dh[run.start * rank..run.end * rank];
            backward_input::<M, W, W, Y>(cpu, part(dy, &run, output), b, dh, false);
            self.scale_in_place(dh);
            let dh = MatRef::new(&*dh, run.len(), rank);
            if let Some((da, accumulate)) = &mut da {
                let x = part(kept.input(self.input())?.slice::<X>()?, &run, input);
                backward_weight::<M, X, W, W>(cpu, dh, x, da, *accumulate);
            }
            if let Some((dx, accumulate)) = &mut adapted {
                let a = MatRef::new(kept.input(at)?.slice::<W>()?, rank, input);
                let dx = &mut dx[run.start * input..run.end * input];
                backward_input::<M, X, W, W>(cpu, dh, a, dx, *accumulate);
            }
        }
        Ok(())
    }

    fn scale_in_place<W: Float>(&self, h: &mut [W]) {
        let scale = W::of(self.scale);
        for h in &mut *h {
            *h *= scale;
        }
    }
}

/// The runs of rows that the mask chooses: all rows without one.
fn runs(mask: Option<&[i32]>, rows: usize) -> impl Iterator<Item = Range<usize>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let Some(mask) = mask else {
            return (std::mem::replace(&mut next, usize::MAX) == 0).then_some(0..rows);
        };
        let start = next + mask[next..].iter().position(|&on| on != 0)?;
        next = mask[start..].iter().position(|&on| on == 0).map_or(rows, |len| start + len);
        Some(start..next)
    })
}

/// A run of rows of a matrix.
fn part<'a, T>(values: &'a [T], run: &Range<usize>, width: usize) -> MatRef<'a, T> {
    MatRef::new(&values[run.start * width..run.end * width], run.len(), width)
}

/// A gradient that several runs of rows, or none, add to.
fn begun<T: Stored>((gradient, accumulate): (&mut [T], bool), masked: bool) -> (&mut [T], bool) {
    if masked && !accumulate {
        gradient.fill(T::from_compute(T::Compute::of(0.0)));
    }
    (gradient, accumulate || masked)
}

/// Memory for `[rows, rank]`, returned to the pool when dropped.
fn narrow<W: Float>(cx: &Cx<'_>, sizes: Sizes) -> OpResult<Tensor> {
    Ok(Tensor::uninit(cx.device, [sizes.rows, sizes.rank].into(), W::DTYPE)?)
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, op: LoraLinear, dims: &[usize], out: usize, rank: usize| {
        let input = dims[dims.len() - 1];
        let mut inputs = vec![CaseInput::normal(dims), CaseInput::normal([out, input])];
        if op.bias {
            inputs.push(CaseInput::normal([out]));
        }
        inputs.extend([CaseInput::normal([rank, input]), CaseInput::normal([out, rank])]);
        if op.own_input {
            inputs.push(CaseInput::normal(dims));
        }
        if op.masked {
            let rows = &dims[..dims.len() - 1];
            inputs.push(CaseInput::constant(rows, Fill::Indices(vec![0, 1, 1, 0, 1])));
        }
        Case::new(format!("lora_linear/{name}"), op.op(), inputs)
    };
    let plain = LoraLinear { scale: 2.0, ..LoraLinear::default() };
    let bias = LoraLinear { bias: true, scale: 0.5, ..plain };
    vec![
        case("plain", plain, &[5, 3], 4, 2),
        case("bias", bias, &[2, 3, 4], 5, 2),
        case("own_input", LoraLinear { own_input: true, ..bias }, &[5, 3], 4, 2),
        case("rank_one", plain, &[5, 3], 4, 1),
        case("wider_than_the_layer", plain, &[3, 2], 2, 5),
        case("one", plain, &[1, 1], 1, 1),
        case("no_rows", bias, &[0, 3], 2, 2),
        case("masked", LoraLinear { masked: true, ..bias }, &[2, 3, 4], 5, 2),
        case(
            "masked_own_input",
            LoraLinear { masked: true, own_input: true, ..plain },
            &[5, 3],
            4,
            2,
        ),
        case("larger_than_a_tile", bias, &[17, 33], 33, 3),
    ]
}
