//! Concatenation along the last dimension.

use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, for_rows};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// One to eight inputs side by side, such as numbers and embedded categories: `torch.cat(dim=-1)`.
///
/// Forward:  y = [x₁, x₂, …]
/// Backward:  dxᵢ = the columns of dy that xᵢ went to
///
/// Kept: nothing.
///
/// # Shapes
/// xᵢ `[…, featuresᵢ]` → y `[…, Σ featuresᵢ]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Concat;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let a = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0], &[2, 1]).unwrap());
/// let b = graph.input(Tensor::from_slice(&device, &[3.0f32, 4.0, 5.0, 6.0], &[2, 2]).unwrap());
/// let y = graph.apply(&Concat::op(), &[&a, &b])?;
/// assert_eq!(y.slice::<f32>()?, [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concat;

impl Concat {
    /// The maximum number of inputs.
    pub const MAX: usize = ff_graph::MAX_INPUTS;

    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op() -> Arc<dyn Op> {
        Arc::new(Self)
    }
}

impl FloatOp for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn contract(&self, x: &[Spec], _need: &[bool]) -> OpResult<Contract> {
        if x.is_empty() || x.len() > Self::MAX {
            let message = format!(
                "expected 1 to {} inputs, found {}; concatenate more in two steps",
                Self::MAX,
                x.len()
            );
            return Err(OpError::shape(message));
        }
        check::float(&x[0])?;
        for (i, spec) in x.iter().enumerate() {
            if spec.shape.rank() == 0 || spec.shape.without_last() != x[0].shape.without_last() {
                let message = format!(
                    "all dimensions but the last must match; input 0 is {}, input {i} is {}",
                    x[0].shape, spec.shape
                );
                return Err(OpError::shape(message));
            }
            if spec.dtype != x[0].dtype {
                check::same_dtype(&format!("input {i}"), spec, &x[0])?;
            }
        }
        let features = x.iter().map(|spec| spec.shape.last()).sum();
        Ok(Contract::new([x[0].with_shape(x[0].shape.with_last(features))]))
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (rows, width) = (y[0].shape().rows(), y[0].shape().last());
        let mut inputs: [(&[T], usize); Concat::MAX] = [(&[], 0); Concat::MAX];
        for (input, x) in inputs.iter_mut().zip(x) {
            *input = (x.slice()?, x.shape().last());
        }
        for_rows(
            cx.cpu(),
            rows,
            width,
            [(y[0].slice_mut()?, width)],
            #[inline(always)]
            |i, [y]| {
                let mut start = 0;
                for (x, width) in inputs {
                    y[start..start + width].copy_from_slice(&x[i * width..][..width]);
                    start += width;
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
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let (rows, all) = (dy.shape().rows(), dy.shape().last());
        let dy = &*dy.slice_mut::<T>()?;
        let mut start = 0;
        for (i, slot) in dx.iter_mut().enumerate() {
            let width = kept.spec(i).shape.last();
            if let Some((dx, accumulate)) = slot.take::<T>()? {
                for_rows(
                    cx.cpu(),
                    rows,
                    width,
                    [(dx, width)],
                    #[inline(always)]
                    |i, [dx]| {
                        let dy = &dy[i * all + start..][..width];
                        if accumulate {
                            dx.iter_mut().zip(dy).for_each(|(dx, &dy)| *dx += dy);
                        } else {
                            dx.copy_from_slice(dy);
                        }
                    },
                );
            }
            start += width;
        }
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, leading: &[usize], widths: &[usize]| {
        let inputs = widths
            .iter()
            .map(|&width| {
                let mut dims = leading.to_vec();
                dims.push(width);
                CaseInput::normal(dims)
            })
            .collect();
        Case::new(format!("concat/{name}"), Concat::op(), inputs)
    };
    vec![
        case("two", &[5], &[3, 2]),
        case("one", &[5], &[3]),
        case("eight", &[3], &[1, 2, 1, 3, 1, 1, 4, 1]),
        case("folded", &[2, 3], &[4, 1, 2]),
        case("an_empty_one", &[4], &[2, 0, 3]),
        case("no_rows", &[0], &[2, 3]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::DType;

    #[test]
    fn too_many_and_different_rows_are_named() {
        let spec = |rows: usize| Spec::new([rows, 2], DType::F32);
        let message = |x: &[Spec]| Concat::op().contract(x, &[false; 9]).unwrap_err().to_string();
        assert!(message(&[spec(4); 9]).contains("1 to 8 inputs, found 9"));
        assert!(message(&[]).contains("found 0"));
        let error = message(&[spec(4), spec(4), spec(5)]);
        assert!(error.contains("input 0 is [4, 2], input 2 is [5, 2]"), "{error}");
        let error = message(&[spec(4), Spec::new([4, 1], DType::I32)]);
        assert!(error.contains("input 1 is of type i32"), "{error}");
    }
}
