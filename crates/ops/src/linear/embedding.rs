//! Embedding lookup.

use ff_graph::for_float;
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, file_rows, for_columns, for_rows};
use ff_tensor::{DType, TensorMut, TensorRef};
use std::sync::Arc;

/// The vector of each category or token, row `id` of a learned table: `torch.nn.Embedding`.
///
/// Forward:  yₙ = row idₙ of the table
/// Backward: row v of dtable = Σ dyₙ over all n with idₙ = v, in the order of n; 0 for the padding
/// row
///
/// Inputs: the ids and the table. Kept: the ids.
///
/// # Shapes
/// ids `[…]` (i32), table `[rows, features]` → y `[…, features]`
///
/// # Errors
/// Forward rejects ids outside the table, by value and position.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Embedding;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let ids = graph.input(Tensor::from_slice(&device, &[1i32, 0, 1], &[3]).unwrap());
/// let table = graph.input(Tensor::from_slice(&device, &[0.5f32, 7.0], &[2, 1]).unwrap());
/// let y = graph.apply(&Embedding::op(None), &[&ids, &table])?;
/// assert_eq!(y.slice::<f32>()?, [7.0, 0.5, 7.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedding {
    /// The padding row, which is not trained.
    pub padding: Option<usize>,
}

impl Embedding {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(padding: Option<usize>) -> Arc<dyn Op> {
        Arc::new(Self { padding })
    }
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 2, "ids, table")?;
        let (ids, table) = (&x[0], &x[1]);
        if ids.dtype != DType::I32 {
            return Err(OpError::dtype("i32 for the ids", ids.dtype));
        }
        check::float(table)?;
        let &[rows, features] = table.shape.dims() else {
            let message = format!("the table must be [rows, features], found {}", table.shape);
            return Err(OpError::shape(message));
        };
        if let Some(padding) = self.padding.filter(|&padding| padding >= rows) {
            let message = format!(
                "the padding row is {padding}, but the table has only {rows} \
                                   rows"
            );
            return Err(OpError::shape(message));
        }
        let mut dims = [0; ff_tensor::MAX_RANK];
        let rank = ids.shape.rank();
        if rank == dims.len() {
            let message = format!("ids {} leave no room for one more dimension", ids.shape);
            return Err(OpError::shape(message));
        }
        dims[..rank].copy_from_slice(ids.shape.dims());
        dims[rank] = features;
        let shape = ff_tensor::Shape::new(&dims[..=rank])?;
        let contract = Contract::new([table.with_shape(shape)]);
        Ok(if need[1] { contract.keep_input(0).cost(0, shape.len()) } else { contract })
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let ids = x[0].slice::<i32>()?;
        let &[rows, features] = x[1].shape().dims() else { return Ok(()) };
        let outside = |&id: &i32| usize::try_from(id).map_or(true, |id| id >= rows);
        if let Some(i) = ids.iter().position(outside) {
            let message = format!(
                "id {} at position {i} is outside the table of {rows} rows: ids go from 0 to \
                 {rows}, exclusive",
                ids[i]
            );
            return Err(OpError::domain(message));
        }
        if let Some(table) = x[1].file() {
            let rows = y[0].slice_mut::<f32>()?.chunks_exact_mut(features.max(1));
            for (y, &id) in rows.zip(ids) {
                file_rows(cx.cpu(), table, id as usize..id as usize + 1, y);
            }
            return Ok(());
        }
        for_float!(x[1].dtype(), T => {
                    let table = x[1].slice::<T>()?;
                    let y = y[0].slice_mut::<T>()?;
                    for_rows(cx.cpu(), ids.len(), features, [(y, features)],
        #[inline(always)]
        |i, [y]| {
                        y.copy_from_slice(&table[ids[i] as usize * features..][..features]);
                    });
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
        for_float!(kept.spec(1).dtype, T => self.run_backward::<T>(cx, kept, dy, dx))
    }
}

impl Embedding {
    /// Each task owns columns of the table and processes all ids in order, so that sums have the
    /// order of the ids.
    fn run_backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let features = kept.spec(1).shape.last();
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        let Some((dtable, accumulate)) = dx[1].take::<T>()? else {
            return Ok(());
        };
        let ids = kept.input(0)?.slice::<i32>()?;
        let work = ids.len() + if accumulate { 0 } else { kept.spec(1).shape.rows() };
        for_columns(
            cx.cpu(),
            features,
            work,
            [dtable],
            #[inline(always)]
            |columns, [mut dtable]| {
                if !accumulate {
                    (0..dtable.rows()).for_each(|v| dtable.row(v).fill(T::ZERO));
                }
                for (n, &id) in ids.iter().enumerate() {
                    if self.padding == Some(id as usize) {
                        continue;
                    }
                    let dy = &dy[n * features + columns.start..n * features + columns.end];
                    dtable.row(id as usize).iter_mut().zip(dy).for_each(|(d, &dy)| *d += dy);
                }
            },
        );
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, padding, ids: &[usize], rows: usize, features: usize| {
        let inputs = vec![
            CaseInput::constant(ids, Fill::Integers(rows)),
            CaseInput::normal([rows, features]),
        ];
        Case::new(format!("embedding/{name}"), Embedding::op(padding), inputs)
    };
    vec![
        case("rows", None, &[7], 4, 3),
        case("folded", None, &[2, 3], 5, 4),
        case("one", None, &[1], 1, 1),
        case("no_ids", None, &[0], 3, 2),
        case("wide", None, &[20], 9, 67),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};

    #[test]
    fn the_padding_row_is_read_but_not_learned() {
        let inputs = [tensor(&[0i32, 2, 0, 1], &[4]), tensor(&[1.0f32, 2.0, 3.0], &[3, 1])];
        let op = Embedding::op(Some(0));
        let run = Run::new(&op, &inputs).unwrap();
        assert_eq!(run.output::<f32>(0), [1.0, 3.0, 1.0, 2.0]);
        assert_eq!(run.backward(&[1.0f32, 2.0, 4.0, 8.0]), [[0.0, 8.0, 2.0]]);
    }

    #[test]
    fn an_id_outside_of_the_table_is_named() {
        for bad in [3, -1, i32::MIN, i32::MAX] {
            let inputs = [tensor(&[0i32, bad], &[2]), tensor(&[1.0f32, 2.0, 3.0], &[3, 1])];
            let result = Run::new(&Embedding::op(None), &inputs);
            let error = result.err().unwrap();
            assert!(matches!(error, ff_graph::Error::Op { source: OpError::Domain(_), .. }));
            let message = error.to_string();
            assert!(message.contains(&format!("id {bad} at position 1")), "{message}");
            assert!(message.contains("from 0 to 3"), "{message}");
        }
    }

    #[test]
    fn wrong_types_and_padding_are_named() {
        let op = Embedding::op(Some(4));
        let table = Spec::new([4, 2], DType::F32);
        let message = |ids, op: &Arc<dyn Op>| op.contract(&[ids, table], &[false; 2]).unwrap_err();
        let error = message(Spec::new([3], DType::I32), &op).to_string();
        assert!(error.contains("padding row is 4"), "{error}");
        let error = message(Spec::new([3], DType::F32), &Embedding::op(None)).to_string();
        assert!(error.contains("expected i32"), "{error}");
    }
}
