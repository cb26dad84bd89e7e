/// A value of a recipe that is not in its domain: which key, and what is allowed.
///
/// ```
/// let config = ff_nn::ModelConfig { dropout: 1.5, ..Default::default() };
/// let error = config.validate().unwrap_err();
/// assert_eq!(error.key, "model.dropout");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ConfigError {
    /// The key, from the recipe's root.
    pub key: String,
    /// What was found, what is allowed and what to do.
    pub message: String,
}

impl ConfigError {
    /// A value that is not in its domain.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}
