use crate::{Builder, Init};
use ff_graph::{Graph, Op, ParamId, ParamKind, Result, Value};
use std::sync::Arc;

/// A linear layer on sparse rows, with the parameters `weight` `[inputs, dim]` and `bias` `[dim]`:
/// see [`ff_ops::EmbeddingBag`].
///
/// # Shapes
/// ids `[…]` of bags `→ […, dim]`
///
/// ```
/// use ff_nn::{Builder, Init, layers::EmbeddingBag};
/// let mut builder = Builder::new();
/// builder.scope("texts.0", |b| EmbeddingBag::new(b, 100, 8, Init::Zeros));
/// assert_eq!(builder.plan()?.len(), 100 * 8 + 8);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct EmbeddingBag {
    op: Arc<dyn Op>,
    weight: ParamId,
    bias: ParamId,
}

/// Sparse rows: the ids of a batch, and the entries of every bag (offsets, indices and values).
#[derive(Debug, Clone)]
pub struct BagInput {
    /// The bag of each row `[…]`.
    pub ids: Value,
    /// The first entry of each bag, and the number of entries.
    pub offsets: Value,
    /// The input of each entry.
    pub indices: Value,
    /// Its value.
    pub values: Value,
}

impl EmbeddingBag {
    /// A layer with this initialiser of its weight; the bias starts at 0.
    pub fn new(builder: &mut Builder, inputs: usize, dim: usize, init: Init) -> Self {
        let weight = builder.param("weight", [inputs, dim], ParamKind::Embedding, init);
        let bias = builder.param("bias", [dim], ParamKind::Bias, Init::Zeros);
        Self { op: ff_ops::EmbeddingBag::op(), weight, bias }
    }

    /// The weight and the bias.
    pub fn params(&self) -> [ParamId; 2] {
        [self.weight, self.bias]
    }

    /// The output of the layer.
    ///
    /// # Errors
    /// An id has no bag, an entry is none of the inputs, or memory is short.
    pub fn forward(&self, graph: &mut Graph, x: &BagInput) -> Result<Value> {
        let [weight, bias] = self.params().map(|id| graph.param(id));
        let BagInput { ids, offsets, indices, values } = x;
        graph.apply(&self.op, &[ids, offsets, indices, values, &weight, &bias])
    }
}
