//! Dropout.

use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, dropout_mask_len};
use ff_tensor::{DType, Tensor, TensorMut, TensorRef};
use std::sync::Arc;

/// Inverted dropout, `torch.nn.Dropout` (Srivastava et al., 2014): in training, each value is zero
/// with probability p, and the others are scaled to preserve the mean; in evaluation, y = x.
///
/// Forward, with mᵢ = 0 with probability p, else 1 / (1 − p):  y = x ⊙ m
/// Backward:  dx = dy ⊙ m
///
/// Kept: the mask, a bit per value. It is a function of (seed, step, micro-batch, path) and the
/// index in x. Two uses of one path in one step share a mask, so every layer needs its own path.
///
/// # Shapes
/// x `[…]` → y `[…]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Dropout;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f32; 100], &[100]).unwrap());
/// let y = graph.apply(&Dropout::op(0.75, "layers.1"), &[&x])?;
/// assert!(y.slice::<f32>()?.iter().all(|&y| y == 0.0 || y == 4.0));
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dropout {
    /// The probability of dropping a value, in [0, 1).
    pub p: f64,
    /// The path of the layer, which distinguishes its masks from those of other layers.
    pub path: String,
    /// Whether p falls to 0 over the second half of training: see [`flat_cos`].
    pub fades: bool,
}

/// 1 over the first half of training, then half a cosine down to 0.
///
/// ```
/// use ff_ops::flat_cos;
/// assert_eq!((flat_cos(0.3), flat_cos(1.0)), (1.0, 0.0));
/// assert!((flat_cos(0.75) - 0.5).abs() < 1e-15);
/// ```
pub fn flat_cos(progress: f64) -> f64 {
    let t = (2.0 * progress - 1.0).clamp(0.0, 1.0);
    0.5 * (1.0 + (std::f64::consts::PI * t).cos())
}

impl Dropout {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(p: f64, path: impl Into<String>) -> Arc<dyn Op> {
        Arc::new(Self { p, path: path.into(), fades: false })
    }

    /// The same operation with a p that falls to 0 over the second half of training.
    pub fn fading(p: f64, path: impl Into<String>) -> Arc<dyn Op> {
        Arc::new(Self { p, path: path.into(), fades: true })
    }
}

impl FloatOp for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 1, "x")?;
        check::float(&x[0])?;
        if !(0.0..1.0).contains(&self.p) {
            let message = format!(
                "p, the probability of dropping a value, must lie in [0, 1), found {} in `{}`",
                self.p, self.path
            );
            return Err(OpError::shape(message));
        }
        let n = x[0].shape.len();
        let mask = Spec::new([dropout_mask_len(n)], DType::U8);
        let contract = Contract::new([x[0]]).cost(n, n);
        Ok(match need[0] {
            _ if self.p == 0.0 => contract,
            true => contract.save(mask),
            false => contract.scratch(mask),
        })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (x, y) = (x[0].slice::<T>()?, y[0].slice_mut::<T>()?);
        let Some(p) = self.share(cx) else {
            ff_kernels::copy(cx.cpu(), x, y, false);
            return Ok(());
        };
        let mut own = None;
        let mask = match saved {
            [saved] => saved.slice_mut::<u8>()?,
            _ => own
                .insert(Tensor::uninit(cx.device, [dropout_mask_len(x.len())].into(), DType::U8)?)
                .slice_mut::<u8>()?,
        };
        ff_kernels::dropout(cx.cpu(), cx.key.with_name(&self.path), p, x, y, mask);
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = dy.slice_mut::<T>()?;
        let Some((dx, accumulate)) = dx[0].take::<T>()? else { return Ok(()) };
        match self.share(cx) {
            Some(p) => {
                let mask = kept.saved(0)?.slice::<u8>()?;
                ff_kernels::dropout_backward(cx.cpu(), mask, p, dy, dx, accumulate);
            }
            None => ff_kernels::copy(cx.cpu(), dy, dx, accumulate),
        }
        Ok(())
    }
}

impl Dropout {
    /// The probability of this step, where anything is dropped.
    fn share(&self, cx: &Cx<'_>) -> Option<f64> {
        let p = if self.fades { self.p * flat_cos(cx.progress) } else { self.p };
        (cx.training && p > 0.0).then_some(p)
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, p: f64, dims: &[usize]| {
        let inputs = vec![CaseInput::normal(dims)];
        Case::new(format!("dropout/{name}"), Dropout::op(p, name), inputs)
    };
    vec![
        case("half", 0.5, &[5, 3]),
        case("none", 0.0, &[5, 3]),
        case("most", 0.9, &[2, 3, 40]),
        case("one", 0.1, &[1]),
        case("no_rows", 0.5, &[0, 3]),
        case("larger_than_a_chunk", 0.2, &[3, 67]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};
    use ff_graph::Mode;

    #[test]
    fn the_share_of_zeros_is_p_and_the_mean_stays() {
        let n = 100_000;
        for p in [0.1, 0.5, 0.9] {
            let inputs = [tensor(&vec![1.0f64; n], &[n])];
            let run = Run::new(&Dropout::op(p, "a"), &inputs).unwrap();
            let y = run.output::<f64>(0);
            let zeros = y.iter().filter(|&&y| y == 0.0).count() as f64 / n as f64;
            // Five standard errors of a proportion.
            let bound = 5.0 * (p * (1.0 - p) / n as f64).sqrt();
            assert!((zeros - p).abs() < bound, "{zeros} of {p}");
            let mean = y.iter().sum::<f64>() / n as f64;
            assert!((mean - 1.0).abs() < bound / (1.0 - p));
            // Backward has the same mask.
            assert_eq!(run.backward(&vec![1.0; n])[0], y);
        }
    }

    #[test]
    fn paths_draw_different_masks_and_evaluation_draws_none() {
        let x = [1.0f32; 256];
        let run = |path: &str, mode| {
            let run = Run::in_mode(mode, &Dropout::op(0.5, path), &[tensor(&x, &[256])]);
            run.unwrap().output::<f32>(0)
        };
        assert_eq!(run("a", Mode::Train), run("a", Mode::Train));
        assert_ne!(run("a", Mode::Train), run("b", Mode::Train));
        assert_eq!(run("a", Mode::Eval), x);
    }

    #[test]
    fn a_fading_share_ends_at_0() {
        let x = tensor(&[1.0f32; 4096], &[4096]);
        let device = ff_tensor::Device::default();
        let zeros = |progress: f64| {
            let mut graph = ff_graph::Graph::new(
                &device,
                ff_graph::Params::allocate(&device, DType::F32, vec![], false).unwrap(),
            );
            graph.set_progress(progress);
            let value = graph.input(x.clone());
            let y = graph.apply(&Dropout::fading(0.5, "a"), &[&value]).unwrap();
            y.slice::<f32>().unwrap().iter().filter(|&&y| y == 0.0).count()
        };
        // A half, a quarter, none; within five standard errors.
        assert!(zeros(0.5).abs_diff(2048) < 160 && zeros(0.75).abs_diff(1024) < 139);
        assert_eq!(zeros(1.0), 0);
    }

    #[test]
    fn a_share_outside_of_its_range_is_named() {
        for p in [-0.1, 1.0, 1.5, f64::NAN] {
            let error = Dropout::op(p, "layers.1")
                .contract(&[Spec::new([2], DType::F32)], &[false])
                .unwrap_err()
                .to_string();
            assert!(error.contains("[0, 1)") && error.contains("layers.1"), "{error}");
        }
    }
}
