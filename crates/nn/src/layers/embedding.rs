use super::Layer;
use crate::{Builder, Init};
use ff_graph::{Graph, Op, ParamId, ParamKind, Result, Value};
use std::sync::Arc;

/// A learned vector per id, `torch.nn.Embedding`, with the parameter `weight` `[ids, dim]`.
///
/// # Shapes
/// ids `[…]` (i32) `→ […, dim]`
///
/// ```
/// use ff_nn::{Builder, layers::Embedding};
/// let mut builder = Builder::new();
/// let layer = builder.scope("embeddings.0", |b| Embedding::new(b, 100, 8));
/// assert_eq!(builder.plan()?.len(), 100 * 8);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Embedding {
    op: Arc<dyn Op>,
    table: Table,
}

/// A table of vectors, of which an adapter may have some rows for itself.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    weight: ParamId,
    rows: Option<(ParamId, Arc<dyn Op>)>,
}

impl Table {
    pub(crate) fn new(weight: ParamId) -> Self {
        Self { weight, rows: None }
    }

    pub(crate) fn value(&self, graph: &mut Graph) -> Result<Value> {
        let weight = graph.param(self.weight);
        let Some((rows, replace)) = &self.rows else { return Ok(weight) };
        let rows = graph.param(*rows);
        graph.apply(replace, &[&weight, &rows])
    }
}

impl Embedding {
    /// Vectors with an initial length of about 1, the scale of standardised numbers beside them.
    pub fn new(builder: &mut Builder, ids: usize, dim: usize) -> Self {
        Self::with_std(builder, ids, dim, None)
    }

    /// The same with a standard deviation of initial values; 1/√dim by default.
    pub fn with_std(builder: &mut Builder, ids: usize, dim: usize, std: Option<f64>) -> Self {
        let std = std.unwrap_or_else(|| 1.0 / (dim.max(1) as f64).sqrt());
        Self::with_init(builder, ids, dim, Init::Normal { std })
    }

    /// The same with an initialiser.
    pub fn with_init(builder: &mut Builder, ids: usize, dim: usize, init: Init) -> Self {
        let weight = builder.param("weight", [ids, dim], ParamKind::Embedding, init);
        Self { op: ff_ops::Embedding::op(None), table: Table::new(weight) }
    }

    /// The same table, with a row without a gradient.
    #[must_use]
    pub fn with_padding(mut self, row: usize) -> Self {
        self.op = ff_ops::Embedding::op(Some(row));
        self
    }

    /// The table, to share with an output layer.
    pub fn weight(&self) -> ParamId {
        self.table.weight
    }

    /// The same table with the vectors of these ids in another parameter.
    pub(crate) fn with_rows(mut self, rows: Option<(ParamId, Vec<u32>)>) -> Self {
        self.table.rows = rows.map(|(rows, ids)| (rows, ff_ops::ReplaceRows::op(ids)));
        self
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }
}

impl Layer for Embedding {
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let weight = self.table.value(graph)?;
        graph.apply(&self.op, &[&x, &weight])
    }
}
