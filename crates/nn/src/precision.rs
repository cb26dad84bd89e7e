use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The precision of matrix products.
///
/// ```
/// assert_eq!(serde_json::to_string(&ff_nn::Precision::Bf16).unwrap(), "\"bf16\"");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f32.
    #[default]
    F32,
    /// bf16 with sums in f32; parameters and their gradients stay f32.
    Bf16,
}
