use crate::{Builder, Init};
use ff_graph::{Graph, Op, ParamId, ParamKind, Params, Result, Value};
use ff_kernels::Float;
use std::sync::Arc;

/// A learned vector for each number of a row, piecewise linear in it, with the parameters `weight`
/// `[n, d]`, `bias` `[n, d]`, `bins` `[n, B, d]` and the fixed `edges` `[n, B + 1]`.
///
/// `bins` starts at 0, so that the vectors start as lines and bend where the data asks for it.
///
/// # Shapes
/// `[…, columns] → […, columns − n + n d]`; a column of no bins passes through as it is
///
/// ```
/// use ff_nn::{Builder, layers::PiecewiseLinear};
/// let mut builder = Builder::new();
/// PiecewiseLinear::new(&mut builder, &[4, 0, 2], 8);
/// assert_eq!(builder.plan()?.trainable_len(), 2 * 8 + 2 * 8 + 2 * 4 * 8);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct PiecewiseLinear {
    op: Arc<dyn Op>,
    params: [ParamId; 4],
}

impl PiecewiseLinear {
    /// Vectors of width `d` for the columns that have bins. [`PiecewiseLinear::set_edges`] places
    /// the bins.
    pub fn new(builder: &mut Builder, bins: &[usize], d: usize) -> Self {
        let n = bins.iter().filter(|&&bins| bins > 0).count();
        let most = bins.iter().copied().max().unwrap_or(0);
        // As a linear layer from one number to d would start, but for its gain.
        let bound = 1.0 / (d.max(1) as f64).sqrt();
        let spread = Init::Uniform { low: -bound, high: bound };
        let params = [
            builder.param("edges", [n, most + 1], ParamKind::Statistic, Init::Zeros),
            builder.param("weight", [n, d], ParamKind::Embedding, spread),
            builder.param("bias", [n, d], ParamKind::Bias, spread),
            builder.param("bins", [n, most, d], ParamKind::Embedding, Init::Zeros),
        ];
        Self { op: ff_ops::PiecewiseLinear::op(bins), params }
    }

    /// Places the bins: the edges of every column that has bins, ascending.
    ///
    /// # Errors
    /// The parameters are of another type.
    pub fn set_edges<T: Float>(&self, params: &mut Params, edges: &[Vec<f32>]) -> Result<()> {
        let width = params.info(self.params[0]).spec.shape.last();
        let values = params.values_mut::<T>(self.params[0])?;
        for (values, edges) in values.chunks_exact_mut(width.max(1)).zip(edges) {
            for (value, &edge) in values.iter_mut().zip(edges) {
                *value = T::of(f64::from(edge));
            }
        }
        Ok(())
    }

    /// The vectors of a batch.
    ///
    /// # Errors
    /// The shape does not fit, or memory is short.
    pub fn forward(&self, graph: &mut Graph, x: &Value) -> Result<Value> {
        let [edges, weight, bias, bins] = self.params.map(|id| graph.param(id));
        graph.apply(&self.op, &[x, &edges, &weight, &bias, &bins])
    }

    /// The operation with its parameters, for the predictor.
    pub(crate) fn parts(&self) -> (&Arc<dyn Op>, &[ParamId]) {
        (&self.op, &self.params)
    }
}
