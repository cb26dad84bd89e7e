use crate::layers::{FeedforwardBlock, HiddenLayer, Layer, RecipeLayer, Residual};
use crate::{ActivationKind, Builder, ConfigError};
use ff_ops::Activation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A gated feedforward block with a residual connection after each hidden layer (Shazeer, 2020): y
/// = x + (f(x W₁ᵀ + b₁) ⊙ (x W₃ᵀ + b₃)) W₂ᵀ + b₂.
///
/// Parameters: `gate_proj`, `up_proj` and `down_proj`, each with `weight` and, if the network has
/// biases, `bias`.
///
/// # Shapes
/// `[…, C] → […, C]`
///
/// ```
/// use ff_nn::{Builder, ModelConfig, layers::Gated, models::{Mlp, MlpConfig}};
/// let network =
///     ModelConfig { hidden: vec![8], gated: Some(Gated::default()), ..Default::default() };
/// let mut builder = Builder::new();
/// Mlp::new(&mut builder, &MlpConfig { numeric: 4, outputs: 1, network, ..Default::default() });
/// let params = builder.plan()?;
/// let gate = params.info(params.id("layers.0.gated.gate_proj.weight").unwrap());
/// assert_eq!(gate.spec.shape.dims(), [16, 8]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gated {
    /// The activation f of the gate: SwiGLU with `silu`, GEGLU with `gelu`.
    pub activation: ActivationKind,
    /// The hidden width, as a multiple of the width of the block.
    pub expansion: f64,
}

impl Default for Gated {
    fn default() -> Self {
        Self { activation: Activation::Silu.into(), expansion: 2.0 }
    }
}

/// The largest `expansion`: transformers use up to 8.
const MOST: f64 = 64.0;

impl Gated {
    /// f; `None` for PReLU, which has a parameter of its own.
    fn element_wise(&self) -> Option<Activation> {
        match self.activation {
            ActivationKind::ElementWise(activation) => Some(activation),
            ActivationKind::Auto => Some(Activation::Relu),
            ActivationKind::Prelu => None,
        }
    }
}

impl RecipeLayer for Gated {
    fn validate(&self) -> Result<(), ConfigError> {
        if !(self.expansion > 0.0 && self.expansion <= MOST) {
            let message = format!("must be above 0 and at most {MOST}, found {}", self.expansion);
            return Err(ConfigError::new("expansion", message));
        }
        if self.element_wise().is_none() {
            let message = "prelu needs a parameter for its slope, which gates lack; use leaky_relu";
            return Err(ConfigError::new("activation", message));
        }
        Ok(())
    }

    fn build(&self, b: &mut Builder, hidden: &HiddenLayer<'_>) -> Box<dyn Layer> {
        // Configs are validated before a network is built.
        let activation = self.element_wise().unwrap_or(Activation::Silu);
        let width = ((hidden.features as f64 * self.expansion).round() as usize).max(1);
        let op = ff_ops::FeedforwardBlock {
            activation,
            gated: true,
            bias: hidden.bias,
            recompute: false,
            bf16: hidden.bf16,
        };
        let names = ["gate_proj", "up_proj", "down_proj"];
        let init = [activation, Activation::Identity].map(hidden.init);
        let block = FeedforwardBlock::with_names(b, op, (hidden.features, width), names, init);
        Box::new(Residual::new(block))
    }

    fn summary(&self) -> String {
        format!("gated block, {}, {} times as wide", self.activation.name(), self.expansion)
    }
}
