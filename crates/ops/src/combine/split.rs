//! The parts of a row.

use ff_graph::{
    Case, CaseInput, Contract, Cx, Kept, Op, OpError, OpResult, Slot, Spec, check, for_stored,
};
use ff_kernels::{Stored, for_rows};
use ff_tensor::{DType, TensorMut, TensorRef};
use std::sync::Arc;

/// The parts of each row, as the products of several matrices that are stored as one:
/// `torch.split(dim=-1)`.
///
/// Forward:  [y₁, y₂, …] = x
/// Backward:  dx = [dy₁, dy₂, …], with zeros for parts that nothing depends on
///
/// Kept: nothing.
///
/// # Shapes
/// x `[…, Σ widthᵢ]` → yᵢ `[…, widthᵢ]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Split;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0], &[1, 3]).unwrap());
/// let y = graph.apply_all(&Split::op(&[1, 2]), &[&x])?;
/// assert_eq!(y[1].slice::<f32>()?, [2.0, 3.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The features of each part.
    pub widths: Arc<[usize]>,
}

impl Split {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(widths: &[usize]) -> Arc<dyn Op> {
        Arc::new(Self { widths: widths.into() })
    }

    /// The first feature of each part, with its width.
    fn parts(&self) -> impl Iterator<Item = (usize, usize)> + Clone {
        self.widths.iter().scan(0, |end, &width| {
            *end += width;
            Some((*end - width, width))
        })
    }
}

impl Op for Split {
    fn name(&self) -> &'static str {
        "split"
    }

    fn contract(&self, x: &[Spec], _need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 1, "x")?;
        let (spec, total) = (x[0], self.widths.iter().sum::<usize>());
        if !(spec.dtype.is_float() || spec.dtype == DType::BF16) {
            return Err(OpError::dtype("f32, f64 or bf16", spec.dtype));
        }
        if self.widths.is_empty() || spec.shape.rank() == 0 || spec.shape.last() != total {
            let message = format!(
                "x must be […, {total}] for parts of {:?} features, found {}",
                self.widths, spec.shape
            );
            return Err(OpError::shape(message));
        }
        let part = |&width: &usize| spec.with_shape(spec.shape.with_last(width));
        Ok(Contract::new(self.widths.iter().map(part)))
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (rows, all) = (x[0].shape().rows(), x[0].shape().last());
        for_stored!(x[0].dtype(), S => {
            let x = x[0].slice::<S>()?;
            for ((start, width), y) in self.parts().zip(y) {
                for_rows(
                    cx.cpu(),
                    rows,
                    width,
                    [(y.slice_mut::<S>()?, width)],
                    #[inline(always)]
                    |i, [y]| y.copy_from_slice(&x[i * all + start..][..width]),
                );
            }
            Ok(())
        })
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        for_stored!(kept.spec(0).dtype, S => {
            let Some((dx, accumulate)) = dx[0].take::<S>()? else { return Ok(()) };
            let (rows, all) = (kept.spec(0).shape.rows(), kept.spec(0).shape.last());
            for ((start, width), dy) in self.parts().zip(dy) {
                let dy = match dy {
                    Some(dy) => Some(&*dy.slice_mut::<S>()?),
                    None => None,
                };
                for_rows(
                    cx.cpu(),
                    rows,
                    width,
                    [(&mut *dx, all)],
                    #[inline(always)]
                    |i, [dx]| {
                        let dx = &mut dx[start..start + width];
                        match dy.map(|dy| &dy[i * width..][..width]) {
                            Some(dy) if accumulate => {
                                for (dx, &dy) in dx.iter_mut().zip(dy) {
                                    *dx = S::from_compute(dx.compute() + dy.compute());
                                }
                            }
                            Some(dy) => dx.copy_from_slice(dy),
                            None if accumulate => {}
                            None => dx.fill(S::default()),
                        }
                    },
                );
            }
            Ok(())
        })
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, leading: &[usize], widths: &[usize]| {
        let mut dims = leading.to_vec();
        dims.push(widths.iter().sum());
        Case::new(format!("split/{name}"), Split::op(widths), vec![CaseInput::normal(dims)])
    };
    vec![
        case("two", &[5], &[3, 2]),
        case("one", &[5], &[3]),
        case("queries_keys_values", &[2, 3], &[4, 2, 2]),
        case("an_empty_one", &[4], &[2, 0, 3]),
        case("no_rows", &[0], &[2, 3]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};

    #[test]
    fn parts_that_do_not_fit_are_named() {
        let x = [Spec::new([4, 5], DType::F32)];
        let error = Split::op(&[3, 3]).contract(&x, &[true]).unwrap_err().to_string();
        assert!(error.contains("[…, 6] for parts of [3, 3] features, found [4, 5]"), "{error}");
    }

    #[test]
    fn parts_of_bf16_are_the_same_bits() {
        use ff_tensor::bf16;
        let values: Vec<bf16> = (0..6).map(|i| bf16::from_f32(i as f32)).collect();
        let run = Run::new(&Split::op(&[1, 2]), &[tensor(&values, &[2, 3])]).unwrap();
        assert_eq!(run.output::<bf16>(0), [values[0], values[3]]);
        assert_eq!(run.output::<bf16>(1), [values[1], values[2], values[4], values[5]]);
    }
}
