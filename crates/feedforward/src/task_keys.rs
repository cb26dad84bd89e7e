//! The keys by which a recipe states its task.

/// Keys that mark a recipe as one of an encoder with a decoder.
pub(crate) const TRANSLATION_KEYS: &[&str] = &["data.source"];
/// Keys that mark a recipe as one of fine-tuning.
pub(crate) const FINETUNE_KEYS: &[&str] = &["base"];
/// Keys that mark a recipe as one of pretraining.
pub(crate) const PRETRAIN_KEYS: &[&str] =
    &["tokenizer", "generate", "model.config", "model.config_file", "model.from"];

/// Keys that mark a recipe as one of an encoder for labels, numbers, tags, masked tokens or pairs.
pub(crate) const ENCODER_KEYS: &[&str] = &["objective.kind"];
/// Keys that mark a recipe as one of a published encoder over columns of texts.
pub(crate) const SEQUENCE_KEYS: &[&str] = &["model.encoder"];

/// Whether a recipe's text has one of these keys.
pub(crate) fn states_any(text: &str, keys: &[&str]) -> bool {
    let table: toml::Table = text.parse().unwrap_or_default();
    let has = |key: &&str| match key.split_once('.') {
        None => table.contains_key(*key),
        Some((name, key)) => table
            .get(name)
            .and_then(toml::Value::as_table)
            .is_some_and(|inner| inner.contains_key(key)),
    };
    keys.iter().any(has)
}

/// Whether an override (`key=value`) is of one of these keys, which have two parts.
pub(crate) fn is_set_of(set: &str, keys: &[&str]) -> bool {
    let key = set.split('=').next().unwrap_or_default().trim();
    keys.iter().any(|known| known.contains('.') && key == *known)
}
