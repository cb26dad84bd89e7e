//! The metadata of a GGUF file.

use crate::error::{Error, Result};
use ff_formats::{GgufFile, GgufValue};

/// The metadata of a model's architecture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metadata<'a>(pub(super) &'a GgufFile);

impl<'a> Metadata<'a> {
    pub(super) fn architecture(self) -> &'a str {
        self.0.text("general.architecture").unwrap_or_default()
    }

    /// A value of the architecture's.
    pub(super) fn get(self, key: &str) -> Option<&'a GgufValue> {
        self.0.metadata().get(&format!("{}.{key}", self.architecture()))
    }

    pub(super) fn size(self, key: &str) -> Option<usize> {
        usize::try_from(self.get(key)?.as_u64()?).ok()
    }

    pub(super) fn needed(self, key: &str) -> Result<usize> {
        self.size(key).ok_or_else(|| {
            let message = format!(
                "the metadata has no number {}.{key}; copy the file again from its source",
                self.architecture()
            );
            Error::run(self.0.path(), message)
        })
    }

    /// A float, with the digits that tell it from other 32-bit floats.
    pub(super) fn float(self, key: &str) -> Option<f64> {
        match self.get(key)? {
            GgufValue::F32(x) => x.to_string().parse().ok(),
            other => other.as_f64(),
        }
    }
}
