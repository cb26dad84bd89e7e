//! Low-rank adapters of linear layers.

use super::config::LoraConfig;
use crate::layers::{Dropout, Layer};
use crate::{Builder, Fan, Init};
use ff_graph::{Graph, Op, ParamId, ParamKind, ParamSpec, Result, Value};
use ff_ops::{Activate, Activation, LoraLinear};
use ff_tensor::DType;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// The adapters that layers get while a model is built once more.
#[derive(Debug)]
pub(crate) struct Adapting {
    name: String,
    config: LoraConfig,
    layers: Vec<(String, bool)>,
    /// The parameters of the first time.
    known: Option<HashMap<String, ParamId>>,
}

impl Adapting {
    pub(crate) fn new(name: &str, config: LoraConfig) -> Self {
        Self { name: name.to_owned(), config, layers: Vec::new(), known: None }
    }

    pub(crate) fn layers(&self) -> &[(String, bool)] {
        &self.layers
    }

    /// The parameter of this name, if it was there before.
    pub(crate) fn known(&mut self, name: &str, specs: &[ParamSpec]) -> Option<ParamId> {
        let all = || specs.iter().enumerate().map(|(i, s)| (s.name.clone(), ParamId::new(i)));
        self.known.get_or_insert_with(|| all().collect()).get(name).copied()
    }

    /// The adapter of the layer at the builder's path.
    pub(crate) fn low_rank(
        &mut self,
        builder: &mut Builder,
        out_features: usize,
        in_features: usize,
    ) -> Option<LowRank> {
        let layer = builder.path().to_owned();
        let adapted = self.config.targets(&layer);
        self.layers.push((layer.clone(), adapted));
        if !adapted {
            return None;
        }
        let rank = self.config.rank(&layer);
        // 1/√in as the bound, PEFT's Kaiming initialisation with a = √5.
        let init = Init::HeUniform { gain: (1.0 / 3.0f64).sqrt(), fan: Fan::In };
        let named = |matrix: &str| match self.name.as_str() {
            "" => format!("{matrix}.weight"),
            name => format!("{matrix}.{name}.weight"),
        };
        let a = builder.param(&named("lora_A"), [rank, in_features], ParamKind::Weight, init);
        let b = [out_features, rank];
        let b = builder.param(&named("lora_B"), b, ParamKind::Weight, Init::Zeros);
        let dropout = (self.config.dropout > 0.0).then(|| {
            builder.scope("lora_dropout", |builder| Dropout::new(builder, self.config.dropout))
        });
        let op = LoraLinear { scale: self.config.scale(&layer), ..LoraLinear::default() };
        Some(LowRank { op, ops: SmallVec::new(), a, b, dropout }.with_ops())
    }
}

/// The adapter of a linear layer: y = x Wᵀ + b + s (dropout(x) Aᵀ) Bᵀ, with parameters
/// `lora_A.weight` `[rank, in]` and `lora_B.weight` `[out, rank]`.
///
/// # Shapes
/// `[…, in] → […, out]`
#[derive(Debug)]
pub(crate) struct LowRank {
    op: LoraLinear,
    /// For layers without and with a bias; once more for an input of A's own.
    ops: SmallVec<[Arc<dyn Op>; 4]>,
    a: ParamId,
    b: ParamId,
    dropout: Option<Dropout>,
}

impl LowRank {
    fn with_ops(mut self) -> Self {
        let op = |own_input, bias| LoraLinear { own_input, bias, ..self.op }.op();
        self.ops = [op(false, false), op(false, true), op(true, false), op(true, true)].into();
        self
    }

    /// The same with bf16 products and an output of this type.
    pub(crate) fn in_bf16(mut self, output: DType) -> Self {
        self.op.bf16 = Some(output);
        self.with_ops()
    }

    /// f of the layer with this weight and bias, and its adapter.
    pub(crate) fn forward(
        &self,
        graph: &mut Graph,
        x: &Value,
        (weight, bias): (ParamId, Option<ParamId>),
        f: Activation,
    ) -> Result<Value> {
        let params = [Some(weight), bias, Some(self.a), Some(self.b)].into_iter().flatten();
        let params: SmallVec<[Value; 4]> = params.map(|id| graph.param(id)).collect();
        let dropped = match &self.dropout {
            Some(dropout) if graph.training() => Some(dropout.forward(graph, x.clone())?),
            _ => None,
        };
        let op = &self.ops[2 * usize::from(dropped.is_some()) + usize::from(bias.is_some())];
        let inputs: SmallVec<[&Value; 6]> =
            std::iter::once(x).chain(&params).chain(&dropped).collect();
        let y = graph.apply(op, &inputs)?;
        match f {
            Activation::Identity => Ok(y),
            f => graph.apply(&Activate::op(f), &[&y]),
        }
    }
}
