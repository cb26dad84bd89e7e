//! The network of an estimator: hidden layers and an output layer.

use feedforward::graph::{Graph, Result, Value};
use feedforward::nn::layers::{
    Activate, BatchNorm, Dropout, Feedforward, Layer, LayerNorm, RmsNorm, Sequence,
};
use feedforward::nn::{Builder, NormKind};
use feedforward::ops::Activation;
use serde::{Deserialize, Serialize};

/// The shape of a network.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkConfig {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) hidden: Vec<Hidden>,
}

/// A hidden layer: dropout(f(norm(x Wᵀ + b))).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hidden {
    pub(crate) width: usize,
    pub(crate) activation: String,
    pub(crate) norm: NormKind,
    pub(crate) dropout: f64,
}

/// The layers, with the parameters that recipes give them: `layers.i.weight`, `output.weight`.
#[derive(Debug)]
pub(crate) struct Network {
    hidden: Vec<Sequence>,
    output: Feedforward,
}

impl Network {
    /// The layers; `activations` has the function of each hidden one.
    pub(crate) fn new(b: &mut Builder, config: &NetworkConfig, activations: &[Activation]) -> Self {
        let mut width = config.inputs;
        let mut hidden = Vec::new();
        for (i, (layer, &f)) in config.hidden.iter().zip(activations).enumerate() {
            hidden.push(b.scope(&format!("layers.{i}"), |b| sequence(b, width, layer, f)));
            width = layer.width;
        }
        let f = Activation::Identity;
        let output = b.scope("output", |b| Feedforward::new(b, width, config.outputs, f));
        Self { hidden, output }
    }

    /// The outputs, or with `layers` those of so many hidden layers.
    pub(crate) fn forward(
        &self,
        graph: &mut Graph,
        mut x: Value,
        layers: Option<usize>,
    ) -> Result<Value> {
        for layer in self.hidden.iter().take(layers.unwrap_or(usize::MAX)) {
            x = layer.forward(graph, x)?;
        }
        if layers.is_some() { Ok(x) } else { self.output.forward(graph, x) }
    }
}

fn sequence(b: &mut Builder, inputs: usize, layer: &Hidden, f: Activation) -> Sequence {
    let mut sequence = Sequence::new();
    let width = layer.width;
    let fused = if layer.norm == NormKind::None { f } else { Activation::Identity };
    let init = feedforward::nn::Init::for_activation(f);
    sequence.push(Feedforward::with_init(b, inputs, width, fused, true, init));
    b.scope("norm", |b| match layer.norm {
        NormKind::None => {}
        NormKind::Batch => sequence.push(BatchNorm::new(b, width)),
        NormKind::Layer => sequence.push(LayerNorm::new(b, width)),
        NormKind::Rms => sequence.push(RmsNorm::new(b, width)),
    });
    if layer.norm != NormKind::None {
        sequence.push(Activate::new(f));
    }
    if layer.dropout > 0.0 {
        sequence.push(Dropout::new(b, layer.dropout));
    }
    sequence
}
