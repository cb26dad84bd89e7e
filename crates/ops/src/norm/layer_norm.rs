//! Layer normalisation.

use super::weight_gradient;
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, for_rows, sum, sum_columns, sum_of, sum_of2};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// Layer normalisation, `torch.nn.LayerNorm` over the last dimension (Ba et al., 2016): each row
/// separately.
///
/// Forward, with μ and σ² = Σ(x − μ)²/C of a row of C features: x̂ = (x − μ) r with r = 1/√(σ² +
/// ε), y = w ⊙ x̂ + b
/// Backward, with g = w ⊙ dy:  dx = r (g − Σg/C − x̂ Σ(g ⊙ x̂)/C),  dw = Σₙ dy ⊙ x̂,  db = Σₙ dy
///
/// Inputs: x, then w and b, if any. Kept: x and w; saved: μ and r, two numbers per row.
///
/// # Shapes
/// x `[…, features]`, w and b `[features]` → y `[…, features]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::LayerNorm;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[5.0f32, 9.0], &[1, 2]).unwrap());
/// let y = graph.apply(&LayerNorm::op(0.0, false, false), &[&x])?;
/// assert_eq!(y.slice::<f32>()?, [-1.0, 1.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// ε, added to the variance; usually 1e-5.
    pub eps: f64,
    /// Whether the layer has a weight.
    pub weight: bool,
    /// Whether the layer has a bias.
    pub bias: bool,
}

impl LayerNorm {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(eps: f64, weight: bool, bias: bool) -> Arc<dyn Op> {
        Arc::new(Self { eps, weight, bias })
    }

    /// The indices of w and b among the inputs.
    fn weight_and_bias(&self) -> (Option<usize>, Option<usize>) {
        (self.weight.then_some(1), self.bias.then_some(1 + usize::from(self.weight)))
    }
}

impl FloatOp for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let names = match (self.weight, self.bias) {
            (false, false) => "x",
            (true, false) => "x, weight",
            (false, true) => "x, bias",
            (true, true) => "x, weight, bias",
        };
        let (weight, bias) = self.weight_and_bias();
        check::inputs(x, 1 + usize::from(self.weight) + usize::from(self.bias), names)?;
        check::float(&x[0])?;
        check::eps(self.eps)?;
        for (index, what) in [(weight, "the weight"), (bias, "the bias")] {
            if let Some(i) = index {
                check::per_feature(what, &x[i], &x[0])?;
            }
        }
        let n = x[0].shape.len();
        let mut contract = Contract::new([x[0]]).cost(8 * n, 14 * n);
        let need_weight = weight.is_some_and(|i| need[i]);
        if need[0] || need_weight {
            let row = x[0].with_shape(x[0].shape.without_last());
            contract = contract.keep_input(0).save(row).save(row);
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
        let (rows, width) = (x[0].shape().rows(), x[0].shape().last());
        let (weight, bias) = self.weight_and_bias();
        let weight = weight.map(|i| x[i].slice::<T>()).transpose()?;
        let bias = bias.map(|i| x[i].slice::<T>()).transpose()?;
        let x = x[0].slice::<T>()?;
        let y = y[0].slice_mut::<T>()?;
        let (means, rstds, saved) = match saved {
            [means, rstds] => (means.slice_mut()?, rstds.slice_mut()?, 1),
            _ => (&mut [][..], &mut [][..], 0),
        };
        for_rows(
            cx.cpu(),
            rows,
            8 * width,
            [(y, width), (means, saved), (rstds, saved)],
            #[inline(always)]
            |i, [y, mean, rstd]| {
                let x = &x[i * width..][..width];
                let (row_mean, row_rstd) = normalise(x, (weight, bias), self.eps, y);
                mean.fill(row_mean);
                rstd.fill(row_rstd);
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
        let (weight, bias) = self.weight_and_bias();
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = dy.slice_mut::<T>()?;
        if let Some(i) = bias
            && let Some((dbias, accumulate)) = dx[i].take::<T>()?
        {
            sum_columns(cx.cpu(), dy, dbias, accumulate);
        }
        let need_weight = weight.is_some_and(|i| dx[i].is_needed());
        if !dx[0].is_needed() && !need_weight {
            return Ok(());
        }
        let x = kept.input(0)?.slice::<T>()?;
        let mean = kept.saved(0)?.slice::<T>()?;
        let rstd = kept.saved(1)?.slice::<T>()?;
        if let Some(i) = weight
            && let Some((dweight, accumulate)) = dx[i].take::<T>()?
        {
            weight_gradient(cx.cpu(), (x, dy), (Some(mean), rstd), dweight, accumulate);
        }
        if let Some((dx, accumulate)) = dx[0].take::<T>()? {
            let weight = weight.map(|i| kept.input(i)).transpose()?;
            let weight = weight.map(|w| w.slice::<T>()).transpose()?;
            // dy is no longer needed: g replaces it.
            for_rows(
                cx.cpu(),
                rows,
                10 * width,
                [(dx, width), (dy, width)],
                #[inline(always)]
                |i, [dx, g]| {
                    if let Some(weight) = weight {
                        g.iter_mut().zip(weight).for_each(|(g, &w)| *g *= w);
                    }
                    let x = &x[i * width..][..width];
                    let (mean, rstd) = (mean[i], rstd[i]);
                    let shift = T::of(sum(g) / width as f64);
                    let product = sum_of2(g, x, |g, x| (g * ((x - mean) * rstd)).f64());
                    let slope = T::of(product / width as f64);
                    for ((dx, &g), &x) in dx.iter_mut().zip(&*g).zip(x) {
                        let d = rstd * (g - shift - (x - mean) * rstd * slope);
                        *dx = if accumulate { *dx + d } else { d };
                    }
                },
            );
        }
        Ok(())
    }
}

/// A row y = (x − mean) · rstd ⊙ w + b, with its mean and rstd = 1 / √(variance + ε).
#[inline(always)]
fn normalise<T: Float>(
    x: &[T],
    (weight, bias): (Option<&[T]>, Option<&[T]>),
    eps: f64,
    y: &mut [T],
) -> (T, T) {
    let width = x.len() as f64;
    let mean = sum(x) / width;
    let variance = sum_of(x, |x| (x.f64() - mean) * (x.f64() - mean)) / width;
    let (mean, rstd) = (T::of(mean), T::of(1.0 / (variance + eps).sqrt()));
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - mean) * rstd);
    if let Some(weight) = weight {
        y.iter_mut().zip(weight).for_each(|(y, &w)| *y *= w);
    }
    if let Some(bias) = bias {
        y.iter_mut().zip(bias).for_each(|(y, &b)| *y += b);
    }
    (mean, rstd)
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, weight: bool, bias: bool, dims: &[usize]| {
        let features = dims[dims.len() - 1];
        let mut inputs = vec![CaseInput::new(dims, Fill::Normal(2.0))];
        for _ in 0..usize::from(weight) + usize::from(bias) {
            inputs.push(CaseInput::normal([features]));
        }
        Case::new(format!("layer_norm/{name}"), LayerNorm::op(1e-5, weight, bias), inputs)
    };
    vec![
        case("affine", true, true, &[5, 3]),
        case("no_bias", true, false, &[5, 3]),
        case("no_weight", false, true, &[5, 3]),
        case("plain", false, false, &[5, 3]),
        case("folded", true, true, &[2, 3, 4]),
        case("one_row", true, true, &[1, 7]),
        case("no_rows", true, true, &[0, 3]),
        case("wide", true, true, &[4, 67]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};

    /// In f32, Σx² − (Σx)² would lose all digits of this variance.
    #[test]
    fn a_large_mean_does_not_swallow_the_variance() {
        let x: Vec<f32> = (0..100).map(|i| 1e5 + (i % 2) as f32).collect();
        let op = LayerNorm::op(0.0, false, false);
        let run = Run::new(&op, &[tensor(&x, &[1, 100])]).unwrap();
        // The mean, 100000.5, and the deviations, ±0.5, are exact in f32.
        for (y, x) in run.output::<f32>(0).iter().zip(&x) {
            assert_eq!(*y, if *x == 1e5 { -1.0 } else { 1.0 });
        }
    }

    /// A single feature is its own mean: y = b for every x, and x has no gradient.
    #[test]
    fn one_feature() {
        let inputs = [[3.0f32], [2.0], [0.5]].map(|v| tensor(&v, &[1]));
        let run = Run::new(&LayerNorm::op(1e-5, true, true), &inputs).unwrap();
        assert_eq!(run.output::<f32>(0), [0.5]);
        assert_eq!(run.backward(&[7.0f32]), [[0.0], [0.0], [7.0]]);
    }

    #[test]
    fn nan_stays_in_its_row() {
        let inputs = [tensor(&[f32::NAN, 1.0, 2.0, 3.0], &[2, 2])];
        let op = LayerNorm::op(1e-5, false, false);
        let run = Run::new(&op, &inputs).unwrap();
        let y = run.output::<f32>(0);
        assert!(y[..2].iter().all(|y| y.is_nan()) && y[2..].iter().all(|y| y.is_finite()));
    }

    #[test]
    fn a_bad_eps_is_named() {
        let x = [Spec::new([2, 3], ff_tensor::DType::F32)];
        let error = LayerNorm::op(-1.0, false, false).contract(&x, &[false]).unwrap_err();
        assert!(error.to_string().starts_with("eps must be"), "{error}");
    }
}
