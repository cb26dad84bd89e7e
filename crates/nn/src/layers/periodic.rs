use crate::{Builder, Init};
use ff_graph::{Graph, Op, ParamId, ParamKind, Result, Value};
use ff_ops::PeriodicForm;
use smallvec::SmallVec;
use std::f64::consts::PI;
use std::sync::Arc;

/// A learned vector for each number of a row, from waves of learned frequencies, with the
/// parameters `frequencies` `[n, k]`, `phases` `[n, k]` (dense form only), `weight` `[n, m, waves]`
/// and `bias` `[n, m]`.
///
/// # Shapes
/// `[…, columns] → […, columns − n + n d]`; a column that is not embedded passes through as it is
///
/// ```
/// use ff_nn::{Builder, layers::Periodic};
/// use ff_ops::PeriodicForm;
/// let mut builder = Builder::new();
/// Periodic::new(&mut builder, &[true, false], PeriodicForm::Dense, [16, 4], 0.1);
/// assert_eq!(builder.plan()?.trainable_len(), 16 + 16 + 3 * 16 + 3);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Periodic {
    op: Arc<dyn Op>,
    params: SmallVec<[ParamId; 4]>,
}

impl Periodic {
    /// Vectors of width d from k frequencies for the embedded columns, with initial frequencies
    /// from N(0, sigma²).
    pub fn new(
        builder: &mut Builder,
        embedded: &[bool],
        form: PeriodicForm,
        [k, d]: [usize; 2],
        sigma: f64,
    ) -> Self {
        let n = embedded.iter().filter(|&&embedded| embedded).count();
        let (m, waves) = (d.saturating_sub(form.extra()), form.waves(k));
        let kind = ParamKind::Embedding;
        let mut params = SmallVec::new();
        params.push(builder.param("frequencies", [n, k], kind, Init::Normal { std: sigma }));
        if form == PeriodicForm::Dense {
            let turn = Init::Uniform { low: -PI, high: PI };
            params.push(builder.param("phases", [n, k], ParamKind::Bias, turn));
        }
        let bound = 1.0 / (waves.max(1) as f64).sqrt();
        let spread = Init::Uniform { low: -bound, high: bound };
        params.push(builder.param("weight", [n, m, waves], kind, spread));
        params.push(builder.param("bias", [n, m], ParamKind::Bias, spread));
        Self { op: ff_ops::Periodic::op(embedded, form), params }
    }

    /// The vectors of a batch.
    ///
    /// # Errors
    /// The shape does not fit, or memory is short.
    pub fn forward(&self, graph: &mut Graph, x: &Value) -> Result<Value> {
        let params: SmallVec<[Value; 4]> = self.params.iter().map(|&id| graph.param(id)).collect();
        let inputs: SmallVec<[&Value; 5]> = std::iter::once(x).chain(&params).collect();
        graph.apply(&self.op, &inputs)
    }

    /// The operation with its parameters, for the predictor.
    pub(crate) fn parts(&self) -> (&Arc<dyn Op>, &[ParamId]) {
        (&self.op, &self.params)
    }
}
