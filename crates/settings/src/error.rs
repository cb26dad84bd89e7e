/// A value outside its range: the key and the allowed values.
///
/// ```
/// let error = ff_settings::ConfigError::new("model.dropout", "must be less than 1, found 1.5");
/// assert_eq!(error.inside("recipe").key, "recipe.model.dropout");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ConfigError {
    /// The key, from the root of the settings or of the table that was checked, such as `betas` or
    /// `groups[0].match`.
    pub key: String,
    /// The value found, the values allowed and the remedy.
    pub message: String,
}

impl ConfigError {
    /// An error in the value of a key.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }

    /// The same error, with its key inside a table.
    pub fn inside(mut self, table: &str) -> Self {
        self.key = format!("{table}.{}", self.key);
        self
    }
}
