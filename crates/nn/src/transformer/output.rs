use super::options::LanguageOptions;
use crate::layers::Table;
use ff_graph::{Error, Graph, Op, ParamId, Result, Value};
use ff_ops::{Activation, FeedforwardBf16, LinearCrossEntropy, SoftCap};
use ff_tensor::DType;
use smallvec::SmallVec;
use std::sync::Arc;

/// An output layer: logits x Wᵀ + b, within a soft bound if there is one, and their cross-entropy
/// as one operation that never holds all logits.
#[derive(Debug)]
pub(crate) struct Output {
    weight: Table,
    bias: Option<ParamId>,
    logits: Arc<dyn Op>,
    cap: Option<Arc<dyn Op>>,
    loss: Arc<dyn Op>,
}

impl Output {
    pub(crate) fn new(
        weight: Table,
        bias: Option<ParamId>,
        soft_cap: Option<f64>,
        options: &LanguageOptions,
    ) -> Self {
        let loss = LinearCrossEntropy {
            bias: bias.is_some(),
            soft_cap,
            z_loss: options.z_loss,
            label_smoothing: options.label_smoothing,
            bf16: options.bf16(),
            skip_ignored: options.skip_ignored,
            ..LinearCrossEntropy::default()
        };
        let logits = if options.bf16() {
            FeedforwardBf16::op(Activation::Identity, bias.is_some(), DType::F32)
        } else {
            ff_ops::Feedforward::op(Activation::Identity, bias.is_some())
        };
        Self { weight, bias, logits, cap: soft_cap.map(SoftCap::op), loss: loss.op() }
    }

    /// The logits `[…, classes]` of x `[…, features]`.
    pub(crate) fn logits(&self, graph: &mut Graph, x: &Value) -> Result<Value> {
        let params = self.params(graph)?;
        let inputs: SmallVec<[&Value; 4]> = std::iter::once(x).chain(&params).collect();
        let logits = graph.apply(&self.logits, &inputs)?;
        match &self.cap {
            Some(cap) => graph.apply(cap, &[&logits]),
            None => Ok(logits),
        }
    }

    /// The sum of the losses `[1]` and their count `[1]`; targets of −100 are ignored.
    pub(crate) fn loss(&self, graph: &mut Graph, x: &Value, targets: &Value) -> Result<[Value; 2]> {
        let params = self.params(graph)?;
        let inputs: SmallVec<[&Value; 4]> =
            std::iter::once(x).chain(&params).chain([targets]).collect();
        match graph.apply_all(&self.loss, &inputs)?.as_slice() {
            [sum, count] => Ok([sum.clone(), count.clone()]),
            _ => Err(Error::shape(self.loss.name(), "expected a loss and a count")),
        }
    }

    fn params(&self, graph: &mut Graph) -> Result<SmallVec<[Value; 2]>> {
        let weight = self.weight.value(graph)?;
        Ok(std::iter::once(weight).chain(self.bias.map(|id| graph.param(id))).collect())
    }
}
