//! The network, its cost and its use; and the additional parts of language models.

use serde::{Deserialize, Serialize};

use super::{Fact, exact};

/// The layers of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Model {
    /// The network in one line.
    pub summary: String,
    /// The layers from input to output.
    pub layers: Vec<Layer>,
}

/// One layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layer {
    /// The path in the network.
    pub name: String,
    /// The kind of layer, with its activation.
    pub kind: String,
    /// The shape of the weights or of the output, in brackets.
    pub shape: String,
    /// The number of parameters.
    pub parameters: u64,
    /// Whether the parameters are frozen.
    pub frozen: bool,
    /// The FLOP per step; 0 if not counted.
    pub flop: u64,
}

/// A quantity, planned, measured, or both.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// The quantity: `parameters`, `optimiser state`, `peak memory`, `step`.
    pub name: String,
    /// The planned figure.
    #[serde(with = "exact")]
    pub planned: Option<f64>,
    /// The measured figure.
    #[serde(with = "exact")]
    pub measured: Option<f64>,
    /// The unit.
    pub unit: Unit,
}

/// The unit of a figure, which determines its format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A count.
    #[default]
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Floating-point operations.
    Flop,
    /// A rate per second, such as rows or tokens.
    PerSecond,
}

/// The duration of one phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    /// The phase: `read`, `prepare`, `train`, `evaluate`, `explain`, `save`.
    pub phase: String,
    /// The duration.
    #[serde(with = "exact")]
    pub seconds: f64,
}

/// A command line, ready to paste.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Command {
    /// The effect.
    pub purpose: String,
    /// The command line.
    pub line: String,
}

/// The training text of a language model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextData {
    /// Counts of tokens, documents, drops and duplicates, and the tokenizer.
    pub facts: Vec<Fact>,
    /// What else was found about the texts.
    pub findings: Vec<String>,
    /// Bin edges of document lengths in tokens, one more than `length_counts`.
    #[serde(with = "exact")]
    pub length_edges: Vec<f64>,
    /// The number of documents in each bin.
    pub length_counts: Vec<u64>,
    /// A rendered example, token by token.
    pub example: Vec<Token>,
}

/// A token of the rendered example.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Token {
    /// The text.
    pub text: String,
    /// Whether the loss includes the token.
    pub trained: bool,
}

/// A text generated from a fixed prompt at one point of training.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// The point: `before`, `step 500`, `after`.
    pub when: String,
    /// The prompt.
    pub prompt: String,
    /// The generated text.
    pub text: String,
}
