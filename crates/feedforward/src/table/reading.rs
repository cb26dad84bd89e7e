//! Settings for reading new rows: the model's, with overrides.

use super::recipe::Recipe;
use crate::error::{Error, Result};
use ff_table::{SourceOptions, Transforms};
use std::path::Path;

/// The model's settings of reading with overrides such as `data.header=false`.
///
/// # Errors
/// An override is malformed, or concerns something else than reading.
pub(super) fn source_options(
    transforms: &Transforms,
    path: &Path,
    sets: &[String],
) -> Result<SourceOptions> {
    let mut options = transforms.source_options();
    if sets.is_empty() {
        return Ok(options);
    }
    let path = format!("data.path={}", toml::Value::String(path.to_string_lossy().into_owned()));
    let all: Vec<String> = std::iter::once(path).chain(sets.iter().cloned()).collect();
    let recipe = Recipe::parse("", "the command line", &all)?;
    for set in sets {
        let key = set.split('=').next().unwrap_or_default().trim();
        let known = key.strip_prefix("data.").is_some_and(|key| options.change(key, &recipe.data));
        if !known {
            let keys = SourceOptions::KEYS.map(|key| format!("data.{key}")).join(", ");
            let message = format!("`{key}` says nothing about how these rows are read; {keys} do");
            return Err(Error::usage(message));
        }
    }
    Ok(options)
}
