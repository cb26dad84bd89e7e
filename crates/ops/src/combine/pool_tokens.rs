//! Pooling of tokens.

use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, for_rows};
use ff_tensor::{DType, TensorMut, TensorRef};
use std::sync::Arc;

/// The vector of a sequence: its first token, or the mean of its tokens, padding excluded.
///
/// Forward: y = x₀, or Σₜ xₜ/n over the n tokens whose segment is not negative; zeros where there
/// is none
/// Backward:  dx₀ = dy and 0 elsewhere, or dxₜ = dy/n for those tokens
///
/// Inputs: x, then the segments (i32) if `segments`. Kept: the segments.
///
/// # Shapes
/// x `[B, T, features]`, segments `[B, T]` → y `[B, features]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::PoolTokens;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0, 9.0], &[1, 3, 1]).unwrap());
/// let segments = graph.input(Tensor::from_slice(&device, &[0i32, 0, -1], &[1, 3]).unwrap());
/// let mean = PoolTokens { mean: true, segments: true }.op();
/// assert_eq!(graph.apply(&mean, &[&x, &segments])?.slice::<f32>()?, [1.5]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolTokens {
    /// Whether to pool by the mean, rather than the first token.
    pub mean: bool,
    /// Whether segments, which mark padding, are an input.
    pub segments: bool,
}

impl PoolTokens {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    /// The weight of a token.
    fn weight(self, segments: Option<&[i32]>, tokens: usize, t: usize) -> f64 {
        if !self.mean {
            return if t == 0 { 1.0 } else { 0.0 };
        }
        let counts = |t: usize| segments.is_none_or(|segments| segments[t] >= 0);
        let n = (0..tokens).filter(|&t| counts(t)).count();
        if counts(t) { 1.0 / n as f64 } else { 0.0 }
    }
}

impl FloatOp for PoolTokens {
    fn name(&self) -> &'static str {
        "pool_tokens"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let names = if self.segments { "x, segments" } else { "x" };
        check::inputs(x, 1 + usize::from(self.segments), names)?;
        check::float(&x[0])?;
        let &[batch, tokens, features] = x[0].shape.dims() else {
            let message = format!("x must be [B, T, features], found {}", x[0].shape);
            return Err(OpError::shape(message));
        };
        if tokens == 0 {
            return Err(OpError::shape("sequences must have at least one token"));
        }
        if let Some(segments) = x.get(1) {
            if segments.dtype != DType::I32 {
                let expected = "i32 for the segments";
                return Err(OpError::dtype(expected, segments.dtype));
            }
            if segments.shape.dims() != [batch, tokens] {
                let message =
                    format!("segments must be [{batch}, {tokens}], found {}", segments.shape);
                return Err(OpError::shape(message));
            }
        }
        let n = x[0].shape.len();
        let contract = Contract::new([x[0].with_shape([batch, features])]).cost(2 * n, n);
        let keeps = need[0] && self.segments;
        Ok(if keeps { contract.keep_input(1) } else { contract })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let &[batch, tokens, features] = x[0].shape().dims() else { return Ok(()) };
        let segments = x.get(1).map(TensorRef::slice::<i32>).transpose()?;
        let x = x[0].slice::<T>()?;
        let y = y[0].slice_mut::<T>()?;
        for_rows(
            cx.cpu(),
            batch,
            tokens * features,
            [(y, features)],
            #[inline(always)]
            |b, [y]| {
                let segments = segments.map(|s| &s[b * tokens..][..tokens]);
                y.fill(T::ZERO);
                for t in 0..tokens {
                    let weight = T::of(self.weight(segments, tokens, t));
                    if weight != T::ZERO {
                        let x = &x[(b * tokens + t) * features..][..features];
                        y.iter_mut().zip(x).for_each(|(y, &x)| *y += weight * x);
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
        let &[batch, tokens, features] = kept.spec(0).shape.dims() else { return Ok(()) };
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        let Some((dx, accumulate)) = dx[0].take::<T>()? else {
            return Ok(());
        };
        let segments = if self.segments { Some(kept.input(1)?.slice::<i32>()?) } else { None };
        let width = tokens * features;
        for_rows(
            cx.cpu(),
            batch,
            width,
            [(dx, width)],
            #[inline(always)]
            |b, [dx]| {
                let segments = segments.map(|s| &s[b * tokens..][..tokens]);
                let dy = &dy[b * features..][..features];
                for (t, dx) in dx.chunks_exact_mut(features.max(1)).enumerate() {
                    let weight = T::of(self.weight(segments, tokens, t));
                    for (dx, &dy) in dx.iter_mut().zip(dy) {
                        let old = if accumulate { *dx } else { T::ZERO };
                        *dx = if weight == T::ZERO { old } else { old + weight * dy };
                    }
                }
            },
        );
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, mean, segments, dims: &[usize; 3]| {
        let mut inputs = vec![CaseInput::normal(dims)];
        if segments {
            inputs.push(CaseInput::constant([dims[0], dims[1]], Fill::Integers(3)));
        }
        Case::new(format!("pool_tokens/{name}"), PoolTokens { mean, segments }.op(), inputs)
    };
    vec![
        case("first", false, false, &[2, 3, 4]),
        case("mean", true, false, &[3, 5, 67]),
        case("mean_of_segments", true, true, &[2, 4, 3]),
        case("one", true, false, &[1, 1, 1]),
        case("no_rows", true, false, &[0, 3, 2]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};

    #[test]
    fn padding_does_not_count_and_gets_no_gradient() {
        let inputs =
            [tensor(&[1.0f32, 2.0, 4.0, 8.0], &[2, 2, 1]), tensor(&[0i32, -1, -1, -2], &[2, 2])];
        let op = PoolTokens { mean: true, segments: true }.op();
        let run = Run::new(&op, &inputs).unwrap();
        // The second sequence is all padding.
        assert_eq!(run.output::<f32>(0), [1.0, 0.0]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let op = PoolTokens { mean: true, segments: true };
        let x = [Spec::new([2, 3, 4], DType::F32), Spec::new([3, 2], DType::I32)];
        let error = FloatOp::contract(&op, &x, &[true, false]).unwrap_err().to_string();
        assert!(error.contains("[2, 3]") && error.ends_with("found [3, 2]"), "{error}");
        let error = FloatOp::contract(&op, &x[..1], &[true]).unwrap_err().to_string();
        assert!(error.contains("expected 2 inputs"), "{error}");
    }
}
