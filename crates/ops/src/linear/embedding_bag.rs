//! Weighted sums of embeddings: the first layer of sparse rows.

use ff_graph::for_float;
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, for_columns, for_rows};
use ff_tensor::{DType, MAX_RANK, Shape, TensorMut, TensorRef};
use std::ops::Range;
use std::sync::Arc;

/// A linear layer on sparse rows: for each bag the weighted sum of its rows of a table, and a bias
/// (`torch.nn.EmbeddingBag` with `mode="sum"` and weights of its samples).
///
/// Forward:  yₙ = b + Σₖ vₖ · row jₖ of the table, over the entries k of bag idₙ, which are those
/// from offset idₙ up to offset idₙ + 1
/// Backward: row j of dtable = Σ vₖ dyₙ over all n and the entries k of bag idₙ with jₖ = j, in the
/// order of n and k; db = Σ dyₙ
///
/// Inputs: the ids, the offsets, j, v, the table and b; v gets no gradient. Kept: the first four.
///
/// # Shapes
/// ids `[…]` (i32), offsets `[bags + 1]` (i32), j `[entries]` (i32), v `[entries]`, table `[rows,
/// features]`, b `[features]` → y `[…, features]`
///
/// # Errors
/// Forward rejects ids without a bag, offsets that do not ascend and entries outside the table.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::EmbeddingBag;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let ints = |v: &[i32]| Tensor::from_slice(&device, v, &[v.len()]).map(|t| graph.input(t));
/// let floats =
///     |v: &[f32], dims: &[usize]| Tensor::from_slice(&device, v, dims).map(|t| graph.input(t));
/// let (ids, offsets, j) = (ints(&[1, 0])?, ints(&[0, 0, 2])?, ints(&[2, 0])?);
/// let (v, table) = (floats(&[0.5, 2.0], &[2])?, floats(&[1.0, 3.0, 8.0], &[3, 1])?);
/// let b = floats(&[0.25], &[1])?;
/// let y = graph.apply(&EmbeddingBag::op(), &[&ids, &offsets, &j, &v, &table, &b])?;
/// assert_eq!(y.slice::<f32>()?, [6.25, 0.25]); // the second bag is empty
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingBag;

impl EmbeddingBag {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op() -> Arc<dyn Op> {
        Arc::new(Self)
    }
}

/// The entries of each bag.
struct Bags<'a> {
    offsets: &'a [i32],
    indices: &'a [i32],
}

impl Bags<'_> {
    fn entries(&self, id: i32) -> Range<usize> {
        self.offsets[id as usize] as usize..self.offsets[id as usize + 1] as usize
    }

    /// Checks a bag's entries.
    fn check(&self, id: i32, rows: usize) -> OpResult {
        let bags = self.offsets.len() - 1;
        if usize::try_from(id).map_or(true, |id| id >= bags) {
            return Err(OpError::domain(format!("id {id} is not one of the {bags} bags")));
        }
        let [from, to] = [0, 1].map(|i| self.offsets[id as usize + i]);
        if from < 0 || to < from || to as usize > self.indices.len() {
            return Err(OpError::domain(format!("bag {id} goes from entry {from} to {to}")));
        }
        let outside = |&&j: &&i32| usize::try_from(j).map_or(true, |j| j >= rows);
        match self.indices[self.entries(id)].iter().find(outside) {
            Some(j) => Err(OpError::domain(format!(
                "row {j} in bag {id} is outside the table of {rows} rows"
            ))),
            None => Ok(()),
        }
    }
}

impl Op for EmbeddingBag {
    fn name(&self) -> &'static str {
        "embedding_bag"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 6, "ids, offsets, indices, values, table, bias")?;
        let [ids, offsets, indices, values, table, bias] = x else {
            return Err(OpError::shape("six inputs"));
        };
        let integers = ["i32 for the ids", "i32 for the offsets", "i32 for the indices"];
        for (name, spec) in integers.into_iter().zip([ids, offsets, indices]) {
            if spec.dtype != DType::I32 {
                return Err(OpError::dtype(name, spec.dtype));
            }
        }
        check::float(table)?;
        let &[rows, features] = table.shape.dims() else {
            let message = format!("the table must be [rows, features], found {}", table.shape);
            return Err(OpError::shape(message));
        };
        let fits = offsets.shape.rank() == 1
            && !offsets.shape.is_empty()
            && indices.shape.rank() == 1
            && values.shape.dims() == indices.shape.dims()
            && bias.shape.dims() == [features]
            && ids.shape.rank() < MAX_RANK;
        if !fits {
            return Err(OpError::shape(format!(
                "for a table {} with ids {}, found offsets {}, indices {}, values {} and a bias {}",
                table.shape, ids.shape, offsets.shape, indices.shape, values.shape, bias.shape
            )));
        }
        let mut dims = [0; MAX_RANK];
        let rank = ids.shape.rank();
        dims[..rank].copy_from_slice(ids.shape.dims());
        dims[rank] = features;
        let y = table.with_shape(Shape::new(&dims[..=rank])?);
        let work = 2 * ids.shape.len() * mean_entries(offsets.shape.len(), indices.shape.len());
        let contract = Contract::new([y]).cost(work * features, work * features + rows * features);
        Ok(if need[4] || need[5] { (0..4).fold(contract, Contract::keep_input) } else { contract })
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        for_float!(x[4].dtype(), T => Self::run_forward::<T>(cx, x, y))
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        for_float!(kept.spec(4).dtype, T => Self::run_backward::<T>(cx, kept, dy, dx))
    }
}

impl EmbeddingBag {
    fn run_forward<T: Float>(
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
    ) -> OpResult {
        let ids = x[0].slice::<i32>()?;
        let bags = Bags { offsets: x[1].slice()?, indices: x[2].slice()? };
        let &[rows, features] = x[4].shape().dims() else { return Ok(()) };
        ids.iter().try_for_each(|&id| bags.check(id, rows))?;
        let (values, table, bias) = (x[3].slice::<T>()?, x[4].slice::<T>()?, x[5].slice::<T>()?);
        let y = y[0].slice_mut::<T>()?;
        let work = features * mean_entries(bags.offsets.len(), bags.indices.len());
        for_rows(
            cx.cpu(),
            ids.len(),
            work,
            [(y, features)],
            #[inline(always)]
            |n, [y]| {
                y.copy_from_slice(bias);
                for k in bags.entries(ids[n]) {
                    let (v, row) = (values[k], &table[bags.indices[k] as usize * features..]);
                    y.iter_mut().zip(&row[..features]).for_each(|(y, &w)| *y += v * w);
                }
            },
        );
        Ok(())
    }

    /// Each task owns columns of the table and processes all entries in order.
    fn run_backward<T: Float>(
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let &[rows, features] = kept.spec(4).shape.dims() else { return Ok(()) };
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        let ids = kept.input(0)?.slice::<i32>()?;
        let bags = Bags { offsets: kept.input(1)?.slice()?, indices: kept.input(2)?.slice()? };
        let values = kept.input(3)?.slice::<T>()?;
        let of = |n: usize, columns: &Range<usize>| {
            &dy[n * features + columns.start..n * features + columns.end]
        };
        if let Some((dtable, accumulate)) = dx[4].take::<T>()? {
            let entries = ids.len() * mean_entries(bags.offsets.len(), bags.indices.len());
            for_columns(
                cx.cpu(),
                features,
                entries + if accumulate { 0 } else { rows },
                [dtable],
                #[inline(always)]
                |columns, [mut dtable]| {
                    if !accumulate {
                        (0..dtable.rows()).for_each(|j| dtable.row(j).fill(T::ZERO));
                    }
                    for (n, &id) in ids.iter().enumerate() {
                        let dy = of(n, &columns);
                        for k in bags.entries(id) {
                            let v = values[k];
                            let row = dtable.row(bags.indices[k] as usize);
                            row.iter_mut().zip(dy).for_each(|(d, &dy)| *d += v * dy);
                        }
                    }
                },
            );
        }
        if let Some((dbias, accumulate)) = dx[5].take::<T>()? {
            if !accumulate {
                dbias.fill(T::ZERO);
            }
            let all = 0..features;
            for n in 0..ids.len() {
                dbias.iter_mut().zip(of(n, &all)).for_each(|(d, &dy)| *d += dy);
            }
        }
        Ok(())
    }
}

/// The entries of a bag, on average and at least one.
fn mean_entries(offsets: usize, entries: usize) -> usize {
    entries / (offsets - 1).max(1) + 1
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, ids: &[usize], offsets: &[i32], [rows, features]: [usize; 2]| {
        let bags = offsets.len() - 1;
        let entries = offsets[bags] as usize;
        let inputs = vec![
            CaseInput::constant(ids, Fill::Integers(bags)),
            CaseInput::constant([bags + 1], Fill::Indices(offsets.to_vec())),
            CaseInput::constant([entries], Fill::Integers(rows)),
            CaseInput::constant([entries], Fill::Normal(1.0)),
            CaseInput::normal([rows, features]),
            CaseInput::normal([features]),
        ];
        Case::new(format!("embedding_bag/{name}"), EmbeddingBag::op(), inputs)
    };
    vec![
        case("rows", &[5], &[0, 3, 3, 7], [6, 4]),
        case("members", &[3, 2], &[0, 2, 5], [4, 3]),
        case("one", &[1], &[0, 1], [1, 1]),
        case("no_ids", &[0], &[0, 2], [3, 2]),
        case("wide", &[9], &[0, 0, 20, 21, 30], [7, 67]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};

    fn run(ids: &[i32], offsets: &[i32], indices: &[i32]) -> ff_graph::Result<Run> {
        let inputs = [
            tensor(ids, &[ids.len()]),
            tensor(offsets, &[offsets.len()]),
            tensor(indices, &[indices.len()]),
            tensor(&vec![2.0f32; indices.len()], &[indices.len()]),
            tensor(&[1.0f32, 2.0, 3.0], &[3, 1]),
            tensor(&[0.5f32], &[1]),
        ];
        // Values without a gradient.
        Run::with_constants(&EmbeddingBag::op(), &inputs, 4)
    }

    #[test]
    fn a_row_in_several_entries_gets_the_sum_of_their_gradients() {
        let run = run(&[0, 1, 0], &[0, 2, 3], &[1, 1, 2]).unwrap();
        assert_eq!(run.output::<f32>(0), [8.5, 6.5, 8.5]);
        // 2 · (1 + 1) twice from bag 0, 2 · 10 from bag 1.
        let gradients = run.backward(&[1.0f32, 10.0, 1.0]);
        assert_eq!(gradients, [vec![0.0, 8.0, 20.0], vec![12.0]]);
    }

    #[test]
    fn entries_that_do_not_fit_are_named() {
        let error = |ids: &[i32], offsets: &[i32], indices: &[i32]| {
            run(ids, offsets, indices).err().unwrap().to_string()
        };
        assert!(error(&[2], &[0, 1, 2], &[0, 0]).contains("id 2 is not one of the 2 bags"));
        assert!(error(&[-1], &[0, 1], &[0]).contains("id -1 is not"));
        assert!(error(&[0], &[1, 0], &[0]).contains("bag 0 goes from entry 1 to 0"));
        assert!(error(&[0], &[0, 9], &[0]).contains("from entry 0 to 9"));
        assert!(error(&[0], &[0, 1], &[3]).contains("row 3 in bag 0 is outside"));
    }
}
