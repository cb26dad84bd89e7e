//! Root mean square normalisation.

use super::weight_gradient;
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, dot, for_rows};
use ff_tensor::{Shape, TensorMut, TensorRef};
use std::sync::Arc;

/// Root mean square normalisation, `torch.nn.RMSNorm` over the last dimension (Zhang and Sennrich,
/// 2019).
///
/// Forward, for each group of C features:  x̂ = x r with r = 1/√(Σx²/C + ε),  y = (w + o) ⊙ x̂
/// Backward, with g = (w + o) ⊙ dy:  dx = r (g − x̂ Σ(g ⊙ x̂)/C),  dw = Σₙ dy ⊙ x̂
///
/// A group is a row, or as many features as w has: each head of a query or a key is normalised
/// separately, with a shared w.
///
/// Inputs: x, then w, if any. Kept: x and w; saved: r, one number per group.
///
/// # Shapes
/// x `[…, k·C]`, w `[C]` → y `[…, k·C]`; without w, k = 1.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::RmsNorm;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[-3.0f32, 3.0], &[1, 2]).unwrap());
/// let y = graph.apply(&RmsNorm::op(0.0, false), &[&x])?;
/// assert_eq!(y.slice::<f32>()?, [-1.0, 1.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsNorm {
    /// ε, added to the mean square; usually 1e-6 or 1e-5.
    pub eps: f64,
    /// Whether the layer has a weight.
    pub weight: bool,
    /// o, added to the weight: 1 for weights that are stored less 1, as Gemma's are.
    pub offset: f64,
}

impl RmsNorm {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(eps: f64, weight: bool) -> Arc<dyn Op> {
        Arc::new(Self { eps, weight, offset: 0.0 })
    }
}

impl FloatOp for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let names = if self.weight { "x, weight" } else { "x" };
        check::inputs(x, 1 + usize::from(self.weight), names)?;
        check::float(&x[0])?;
        check::eps(self.eps)?;
        if !self.offset.is_finite() {
            let message = format!("the offset must be a finite number, found {}", self.offset);
            return Err(OpError::shape(message));
        }
        let groups = match x.get(1) {
            Some(weight) => groups(weight, &x[0])?,
            None => 1,
        };
        let n = x[0].shape.len();
        let mut contract = Contract::new([x[0]]).cost(4 * n, 9 * n);
        if need.contains(&true) {
            let rstd = x[0].with_shape(x[0].shape.with_last(groups));
            contract = contract.keep_input(0).save(rstd);
        }
        if need[0] && self.weight {
            contract = contract.keep_input(1);
        }
        Ok(contract)
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let width = if self.weight { x[1].shape().last() } else { x[0].shape().last() };
        let rows = rows(x[0].shape(), width);
        let weight = if self.weight { Some(x[1].slice::<T>()?) } else { None };
        let (eps, offset) = (self.eps, T::of(self.offset));
        let x = x[0].slice::<T>()?;
        let y = y[0].slice_mut::<T>()?;
        let (rstds, saved) = match saved {
            [rstds] => (rstds.slice_mut()?, 1),
            _ => (&mut [][..], 0),
        };
        for_rows(
            cx.cpu(),
            rows,
            4 * width,
            [(y, width), (rstds, saved)],
            #[inline(always)]
            |i, [y, rstd]| {
                rstd.fill(normalise(&x[i * width..][..width], weight, (eps, offset), y));
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
        let width = kept.spec(usize::from(self.weight)).shape.last();
        let rows = rows(&kept.spec(0).shape, width);
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = dy.slice_mut::<T>()?;
        let x = kept.input(0)?.slice::<T>()?;
        let rstd = kept.saved(0)?.slice::<T>()?;
        if self.weight
            && let Some((dweight, accumulate)) = dx[1].take::<T>()?
        {
            weight_gradient(cx.cpu(), (x, dy), (None, rstd), dweight, accumulate);
        }
        if let Some((dx, accumulate)) = dx[0].take::<T>()? {
            let weight = if self.weight { Some(kept.input(1)?) } else { None };
            let weight = weight.map(|w| w.slice::<T>()).transpose()?;
            let offset = T::of(self.offset);
            // dy is no longer needed: g replaces it.
            for_rows(
                cx.cpu(),
                rows,
                6 * width,
                [(dx, width), (dy, width)],
                #[inline(always)]
                |i, [dx, g]| {
                    if let Some(weight) = weight {
                        g.iter_mut().zip(weight).for_each(|(g, &w)| *g *= w + offset);
                    }
                    let x = &x[i * width..][..width];
                    let rstd = rstd[i];
                    let slope = T::of(dot(g, x) * rstd.f64() / width as f64);
                    for ((dx, &g), &x) in dx.iter_mut().zip(&*g).zip(x) {
                        let d = rstd * (g - x * rstd * slope);
                        *dx = if accumulate { *dx + d } else { d };
                    }
                },
            );
        }
        Ok(())
    }
}

/// The number of groups of the weight's size in a row of x.
fn groups(weight: &Spec, x: &Spec) -> OpResult<usize> {
    let (width, features) = (weight.shape.last(), x.shape.last());
    let fits = width == features || width > 0 && features % width == 0;
    if weight.shape.rank() != 1 || x.shape.rank() == 0 || !fits {
        let message = format!(
            "the weight must be [{features}], one value per feature of x {}, or a divisor of that \
             size; found {}",
            x.shape, weight.shape
        );
        return Err(OpError::shape(message));
    }
    check::same_dtype("the weight", weight, x)?;
    Ok(if width == features { 1 } else { features / width })
}

/// The number of groups in x.
fn rows(x: &Shape, width: usize) -> usize {
    if x.last() == width { x.rows() } else { x.len() / width }
}

/// A row y = x / √(mean x² + ε) ⊙ (w + o), and 1 / √(mean x² + ε).
#[inline(always)]
fn normalise<T: Float>(x: &[T], weight: Option<&[T]>, (eps, offset): (f64, T), y: &mut [T]) -> T {
    let rstd = T::of(1.0 / (dot(x, x) / x.len() as f64 + eps).sqrt());
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * rstd);
    if let Some(weight) = weight {
        y.iter_mut().zip(weight).for_each(|(y, &w)| *y *= w + offset);
    }
    rstd
}

pub(crate) fn cases() -> Vec<Case> {
    let grouped = |name: &str, eps: f64, weight: bool, dims: &[usize], features: usize| {
        let mut inputs = vec![CaseInput::new(dims, Fill::Normal(2.0))];
        if weight {
            inputs.push(CaseInput::normal([features]));
        }
        Case::new(format!("rms_norm/{name}"), RmsNorm::op(eps, weight), inputs)
    };
    let case = |name: &str, eps, weight, dims: &[usize]| {
        grouped(name, eps, weight, dims, dims[dims.len() - 1])
    };
    vec![
        case("weight", 1e-5, true, &[5, 3]),
        case("plain", 1e-5, false, &[5, 3]),
        case("folded", 1e-5, true, &[2, 3, 4]),
        // With a small eps, the gradient of a single feature almost vanishes: x̂ = ±1.
        case("one", 0.5, true, &[1, 1]),
        case("no_rows", 1e-5, true, &[0, 3]),
        case("wide", 1e-5, true, &[4, 67]),
        grouped("heads", 1e-6, true, &[2, 3, 12], 4),
        Case::new(
            "rms_norm/offset",
            Arc::new(RmsNorm { eps: 1e-6, weight: true, offset: 1.0 }),
            vec![CaseInput::new([4, 6], Fill::Normal(2.0)), CaseInput::normal([3])],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};

    #[test]
    fn values_whose_squares_overflow_and_nan() {
        // 1e30² overflows f32; the mean square is computed in f64.
        let inputs = [tensor(&[1e30f32, -1e30, f32::NAN, 1.0], &[2, 2])];
        let op = RmsNorm::op(1e-5, false);
        let run = Run::new(&op, &inputs).unwrap();
        let y = run.output::<f32>(0);
        // Two roundings, of r and of the product.
        assert!((y[0] - 1.0).abs() <= 2.0 * f32::EPSILON && y[1] == -y[0]);
        assert!(y[2].is_nan() && y[3].is_nan());
    }
}
