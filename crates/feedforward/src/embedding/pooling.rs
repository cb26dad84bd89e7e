//! From the vectors of tokens to that of a text.

use serde::{Deserialize, Serialize};

/// How the vectors of a text's tokens become one.
///
/// ```
/// use feedforward::embedding::Pooling;
/// assert_eq!("cls".parse(), Ok(Pooling::Cls));
/// assert_eq!(Pooling::Mean.to_string(), "mean");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean over all tokens.
    Mean,
    /// The first token, `[CLS]`.
    Cls,
    /// The last token.
    Last,
}

impl std::fmt::Display for Pooling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
        })
    }
}

impl std::str::FromStr for Pooling {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "mean" => Ok(Self::Mean),
            "cls" => Ok(Self::Cls),
            "last" => Ok(Self::Last),
            _ => Err("pooling is one of mean, cls and last".into()),
        }
    }
}
