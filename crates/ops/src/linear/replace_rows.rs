//! A table with some rows replaced.

use ff_graph::{
    Case, CaseInput, Contract, Cx, Kept, Op, OpError, OpResult, Slot, Spec, check, for_float,
};
use ff_kernels::{Float, file_rows};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// A table of which some rows are others: the embeddings of a few tokens that are trained, while
/// those of all other tokens stay as they are.
///
/// Forward:  yᵢ = tₖ for i = idₖ, else xᵢ
/// Backward:  dtₖ = dyᵢ for i = idₖ;  dxᵢ = 0 for these, else dyᵢ
///
/// Inputs: the table x, which may be in the form of its file, and the rows t. Kept: nothing.
///
/// # Shapes
/// x `[rows, features]`, t `[ids, features]` → y `[rows, features]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::ReplaceRows;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0], &[3, 1]).unwrap());
/// let t = graph.input(Tensor::from_slice(&device, &[9.0f32], &[1, 1]).unwrap());
/// let y = graph.apply(&ReplaceRows::op([1]), &[&x, &t])?;
/// assert_eq!(y.slice::<f32>()?, [1.0, 9.0, 3.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplaceRows {
    /// The numbers of the rows, each once.
    pub ids: Vec<u32>,
}

impl ReplaceRows {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(ids: impl Into<Vec<u32>>) -> Arc<dyn Op> {
        Arc::new(Self { ids: ids.into() })
    }
}

impl Op for ReplaceRows {
    fn name(&self) -> &'static str {
        "replace_rows"
    }

    fn contract(&self, x: &[Spec], _need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 2, "x, t")?;
        check::float(&x[0])?;
        check::same_dtype("t", &x[1], &x[0])?;
        let (&[rows, features], &[ids, t_features]) = (x[0].shape.dims(), x[1].shape.dims()) else {
            return Err(OpError::shape("expected x [rows, features] and t [ids, features]"));
        };
        if ids != self.ids.len() || features != t_features {
            return Err(OpError::shape(format!(
                "t must be [{}, {features}], found {}",
                self.ids.len(),
                x[1].shape
            )));
        }
        if let Some(id) = self.ids.iter().find(|&&id| id as usize >= rows) {
            return Err(OpError::shape(format!("there is no row {id} of {rows}")));
        }
        Ok(Contract::new([x[0]]).cost(0, 0))
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        if let Some(file) = x[0].file() {
            file_rows(cx.cpu(), file, 0..file.rows(), y[0].slice_mut::<f32>()?);
        }
        for_float!(x[1].dtype(), T => self.put::<T>(x, &mut y[0]))
    }

    fn backward(
        &self,
        _cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        for_float!(kept.spec(1).dtype, T => self.gradients::<T>(kept, dy, dx))
    }
}

impl ReplaceRows {
    fn put<T: Float>(&self, x: &[TensorRef<'_>], y: &mut TensorMut<'_>) -> OpResult {
        let width = x[1].shape().last();
        let y = y.slice_mut::<T>()?;
        if x[0].file().is_none() {
            y.copy_from_slice(x[0].slice::<T>()?);
        }
        for (&id, row) in self.ids.iter().zip(x[1].slice::<T>()?.chunks_exact(width.max(1))) {
            y[id as usize * width..][..width].copy_from_slice(row);
        }
        Ok(())
    }

    fn gradients<T: Float>(
        &self,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let width = kept.spec(1).shape.last();
        let dy = dy.slice_mut::<T>()?;
        if let Some((dt, accumulate)) = dx[1].take::<T>()? {
            for (&id, dt) in self.ids.iter().zip(dt.chunks_exact_mut(width.max(1))) {
                let dy = &dy[id as usize * width..][..width];
                for (dt, &dy) in dt.iter_mut().zip(dy) {
                    *dt = if accumulate { *dt + dy } else { dy };
                }
            }
        }
        if let Some((dx, accumulate)) = dx[0].take::<T>()? {
            for &id in &self.ids {
                dy[id as usize * width..][..width].fill(T::ZERO);
            }
            if accumulate {
                dx.iter_mut().zip(&*dy).for_each(|(dx, &dy)| *dx += dy);
            } else {
                dx.copy_from_slice(dy);
            }
        }
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, ids: &[u32], rows: usize, features: usize| {
        let inputs = [[rows, features], [ids.len(), features]].map(CaseInput::normal).into();
        Case::new(format!("replace_rows/{name}"), ReplaceRows::op(ids), inputs)
    };
    vec![
        case("some", &[3, 1], 5, 3),
        case("one", &[0], 1, 1),
        case("all", &[1, 0], 2, 4),
        case("none", &[], 3, 2),
    ]
}
