//! The loss of contrastive training with negatives from the same batch.

use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, MatRef, for_rows, gemm};
use ff_tensor::{Element, Shape, Tensor, TensorMut, TensorRef};
use std::sync::Arc;

/// Cross-entropy of each anchor's own candidate among all candidates of the batch, by cosine.
///
/// The rows of x are `columns` blocks of B: the anchors, their positives, and, with more columns,
/// negatives of each anchor. With u = x/max(‖x‖, 10⁻¹²), anchors a, all other rows c, and scale s:
///
/// Forward: S = s uₐ u꜀ᵀ, loss = Σᵢ (ln Σⱼ exp Sᵢⱼ − Sᵢᵢ), count = B
/// Backward:  G = s dloss (softmax(S) − I), duₐ = G u꜀, du꜀ = Gᵀ uₐ, dx = (du − (u·du) u)/‖x‖
///
/// `MultipleNegativesRankingLoss` of sentence-transformers (van den Oord et al., 2018; Henderson et
/// al., 2017) is loss/count. Outputs: loss and count. Kept: u, ‖x‖ and softmax(S).
///
/// # Shapes
/// x `[columns · B, features]` → loss `[1]`, count `[1]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::InBatchRanking;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], true)?);
/// // Two anchors whose candidates are one and the same.
/// let x = Tensor::from_slice(&device, &[1.0f64, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0, 1.0], &[4, 2]);
/// let x = graph.variable(x.unwrap());
/// let outputs = graph.apply_all(&InBatchRanking { columns: 2, scale: 20.0 }.op(), &[&x])?;
/// assert!((outputs[0].item()? - 4f64.ln()).abs() < 1e-12);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InBatchRanking {
    /// The blocks of rows: 2 for pairs, 3 for triplets.
    pub columns: usize,
    /// s > 0, the factor of cosines.
    pub scale: f64,
}

const NAME: &str = "in_batch_ranking";
/// The least length that a vector is divided by.
const LEAST: f64 = 1e-12;

impl InBatchRanking {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    /// B and the number of candidates.
    fn sizes(&self, rows: usize) -> [usize; 2] {
        let anchors = rows / self.columns;
        [anchors, rows - anchors]
    }
}

impl FloatOp for InBatchRanking {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 1, "x")?;
        check::float(&x[0])?;
        if self.columns < 2 {
            let message = format!("columns must be at least 2, found {}", self.columns);
            return Err(OpError::shape(message));
        }
        if !(self.scale > 0.0 && self.scale.is_finite()) {
            let message = format!("scale must be finite and greater than 0, found {}", self.scale);
            return Err(OpError::shape(message));
        }
        let (rows, features) = match x[0].shape.dims() {
            &[rows, features] if rows % self.columns == 0 => (rows, features),
            _ => {
                let message =
                    format!("x must be [{} · B, features], found {}", self.columns, x[0].shape);
                return Err(OpError::shape(message));
            }
        };
        let [anchors, candidates] = self.sizes(rows);
        let scores = anchors * candidates;
        let scalar = x[0].with_shape(Shape::scalar());
        let flops = 2 * scores * features + 4 * scores + 3 * rows * features;
        let dflops = 4 * scores * features + 2 * scores + 4 * rows * features;
        let contract = Contract::new([scalar, scalar]).constant_output(1);
        let (unit, length) = (x[0], x[0].with_shape([rows]));
        let shares = x[0].with_shape([anchors, candidates]);
        Ok(if need[0] {
            contract.cost(flops, dflops).save(unit).save(length).save(shares).dscratch(unit)
        } else {
            contract.cost(flops, 0).scratch(unit).scratch(length).scratch(shares)
        })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let &[rows, features] = x[0].shape().dims() else { return Ok(()) };
        let sizes = self.sizes(rows);
        let x = x[0].slice::<T>()?;
        let loss = if let [unit, length, shares] = saved {
            let room = [unit.slice_mut()?, length.slice_mut()?, shares.slice_mut()?];
            self.scores(cx, x, features, sizes, room)
        } else {
            let [anchors, candidates] = sizes;
            let own = |shape: Shape| Tensor::uninit(cx.device, shape, <T as Element>::DTYPE);
            let mut unit = own([rows, features].into())?;
            let (mut length, mut shares) =
                (own([rows].into())?, own([anchors, candidates].into())?);
            let room = [unit.slice_mut()?, length.slice_mut()?, shares.slice_mut()?];
            self.scores(cx, x, features, sizes, room)
        };
        y[0].slice_mut::<T>()?[0] = T::of(loss);
        y[1].slice_mut::<T>()?[0] = T::of(sizes[0] as f64);
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let &[rows, features] = kept.spec(0).shape.dims() else { return Ok(()) };
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let factor = T::of(self.scale * dy.slice_mut::<T>()?[0].f64());
        let Some((dx, accumulate)) = dx[0].take::<T>()? else { return Ok(()) };
        let [anchors, candidates] = self.sizes(rows);
        let of = |i: usize| -> OpResult<&[T]> { Ok(kept.saved(i)?.slice::<T>()?) };
        let (unit, length, shares) = (of(0)?, of(1)?, of(2)?);
        let mut du = Tensor::uninit(cx.device, [rows, features].into(), <T as Element>::DTYPE)?;
        let du = du.slice_mut::<T>()?;
        let (own, others) = unit.split_at(anchors * features);
        let (down, dothers) = du.split_at_mut(anchors * features);
        // The products with softmax(S); the identity is subtracted below.
        let shares = MatRef::new(shares, anchors, candidates);
        gemm(cx.cpu(), shares, MatRef::new(others, candidates, features), down, false);
        gemm(cx.cpu(), shares.t(), MatRef::new(own, anchors, features), dothers, false);
        let du = &*du;
        for_rows(
            cx.cpu(),
            rows,
            6 * features,
            [(dx, features)],
            #[inline(always)]
            |row, [dx]| {
                let (u, du) =
                    (&unit[row * features..][..features], &du[row * features..][..features]);
                // The row on the other side of a pair.
                let pair = match row {
                    row if row < anchors => Some(row + anchors),
                    row if row < 2 * anchors => Some(row - anchors),
                    _ => None,
                };
                let other = pair.map(|pair| &unit[pair * features..][..features]);
                let d = |i: usize| du[i] - other.map_or(T::ZERO, |other| other[i]);
                let along = (0..features).map(|i| (u[i] * d(i)).f64()).sum::<f64>();
                let along = T::of(along);
                let each = factor / length[row];
                // Below the least length, u is a multiple of x.
                let along = if length[row].f64() > LEAST { along } else { T::ZERO };
                for (i, dx) in dx.iter_mut().enumerate() {
                    let value = each * (d(i) - along * u[i]);
                    *dx = if accumulate { *dx + value } else { value };
                }
            },
        );
        Ok(())
    }
}

impl InBatchRanking {
    /// Fills u, the lengths and softmax(S), and gives the loss.
    fn scores<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[T],
        features: usize,
        [anchors, candidates]: [usize; 2],
        [unit, length, shares]: [&mut [T]; 3],
    ) -> f64 {
        let rows = anchors + candidates;
        for_rows(
            cx.cpu(),
            rows,
            3 * features,
            [(length, 1)],
            #[inline(always)]
            |row, [length]| {
                let x = &x[row * features..][..features];
                let squares = x.iter().map(|x| (*x * *x).f64()).sum::<f64>();
                length[0] = T::of(squares.sqrt().max(LEAST));
            },
        );
        let length = &*length;
        for_rows(
            cx.cpu(),
            rows,
            features,
            [(unit, features)],
            #[inline(always)]
            |row, [unit]| {
                let x = &x[row * features..][..features];
                unit.iter_mut().zip(x).for_each(|(u, &x)| *u = x / length[row]);
            },
        );
        let (own, others) = unit.split_at(anchors * features);
        let others = MatRef::new(others, candidates, features).t();
        gemm(cx.cpu(), MatRef::new(own, anchors, features), others, shares, false);
        let scale = self.scale;
        let mut loss = 0.0;
        if candidates == 0 {
            return loss;
        }
        for (i, row) in shares.chunks_exact_mut(candidates).enumerate() {
            let most = row.iter().map(|s| s.f64()).fold(f64::NEG_INFINITY, f64::max);
            // A NaN is no maximum, and has to stay.
            let most = if row.iter().any(|s| s.f64().is_nan()) { f64::NAN } else { most };
            let own = row[i].f64();
            let mut sum = 0.0;
            for s in row.iter_mut() {
                let share = (scale * (s.f64() - most)).exp();
                sum += share;
                *s = T::of(share);
            }
            loss += sum.ln() + scale * (most - own);
            for s in row {
                *s = T::of(s.f64() / sum);
            }
        }
        loss
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, columns, scale, rows: usize, features: usize, fill: Fill| {
        let inputs = vec![CaseInput::new([rows, features], fill)];
        Case::new(format!("{NAME}/{name}"), InBatchRanking { columns, scale }.op(), inputs)
    };
    let normal = || Fill::Normal(1.0);
    vec![
        case("pairs", 2, 20.0, 8, 5, normal()),
        case("triplets", 3, 20.0, 9, 4, normal()),
        case("soft", 2, 1.0, 10, 3, normal()),
        case("one_pair", 2, 20.0, 2, 3, normal()),
        case("one_triplet", 3, 5.0, 3, 3, normal()),
        case("short_vectors", 2, 20.0, 6, 4, Fill::Normal(0.2)),
        case("many", 2, 4.0, 20, 9, normal()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};
    use ff_tensor::DType;

    #[test]
    fn vectors_without_a_length_give_no_nan() {
        let x = [tensor(&[0.0f64; 8], &[4, 2])];
        let run = Run::new(&InBatchRanking { columns: 2, scale: 20.0 }.op(), &x).unwrap();
        assert!((run.output::<f64>(0)[0] - 4f64.ln()).abs() < 1e-12);
        assert!(run.backward(&[1.0f64]).into_iter().flatten().all(|d| d == 0.0));
    }

    #[test]
    fn shapes_and_settings_that_do_not_fit_are_named() {
        let of = |rows: usize, columns, scale| {
            let op = InBatchRanking { columns, scale }.op();
            op.contract(&[Spec::new([rows, 4], DType::F32)], &[false]).unwrap_err().to_string()
        };
        assert!(of(5, 2, 20.0).contains("found [5, 4]"));
        assert!(of(4, 1, 20.0).contains("columns"));
        assert!(of(4, 2, 0.0).contains("scale"));
    }
}
