//! Reads the specification of an encoder from a `config.json`.

use super::config::{EncoderConfig, EncoderFamily};
use super::families::ALL;
use crate::transformer::fields::{self, Fields, Result};

impl EncoderFamily {
    /// Every family.
    pub fn all() -> &'static [&'static Self] {
        ALL
    }
}

impl EncoderConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If the text is not JSON, the family is not supported, or a field is missing, out of range or
    /// contradicts another one.
    pub fn parse(text: &str) -> Result<Self> {
        let json = fields::object(text)?;
        let family = fields::family(&json, ALL, |family| family.name)?;
        let mut config = Fields::read(&json, family.read)?;
        config.json = json;
        Ok(config)
    }
}
