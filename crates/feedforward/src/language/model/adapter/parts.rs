//! The tensors of an adapter's file, by what they belong to.

use super::settings::{Settings, is_saved};
use super::{PREFIX, TENSORS};
use ff_formats::TensorFile;
use ff_nn::{AdaptedBiases, LoraConfig};
use std::collections::{BTreeMap, BTreeSet};

/// What the tensors of a file belong to.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The layers with an adapter.
    pub(super) layers: BTreeSet<String>,
    /// Parameters that the adapter has in place of the base model's, by their tensors.
    pub(super) whole: BTreeSet<String>,
}

impl Parts {
    /// What the tensors of a file belong to, each layer with all parts of its adapter.
    ///
    /// # Errors
    /// A part is missing, or a tensor is none.
    pub(super) fn of(tensors: &TensorFile, config: &LoraConfig) -> Result<Self, String> {
        let mut whole = BTreeSet::new();
        let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let expected: Vec<&str> = pieces(config).map(|(_, _, stored)| stored).collect();
        for entry in tensors.entries() {
            let unknown = || {
                let name = &entry.name;
                format!("the tensor `{name}` is no part of a LoRA adapter that is supported")
            };
            let name = entry.name.strip_prefix(PREFIX).ok_or_else(unknown)?;
            let piece = expected.iter().find_map(|piece| {
                let layer = name.strip_suffix(piece)?.strip_suffix('.')?;
                Some((layer, *piece))
            });
            match piece {
                Some((layer, piece)) => found.entry(layer.to_owned()).or_default().push(piece),
                None if name.contains("lora_") || name.contains("token_adapter") => {
                    return Err(unknown());
                }
                None => drop(whole.insert(name.to_owned())),
            }
        }
        for (layer, found) in &found {
            if let Some(missing) = expected.iter().find(|piece| !found.contains(piece)) {
                return Err(format!("{layer} has an adapter without {missing}"));
            }
        }
        if found.is_empty() {
            return Err("holds no tensor of a layer's adapter".into());
        }
        Ok(Self { layers: found.into_keys().collect(), whole })
    }

    /// The modules that the adapter has for itself, which the config names.
    ///
    /// # Errors
    /// It names others.
    pub(super) fn saved(&self, settings: &Settings) -> Result<Vec<String>, String> {
        let mut saved = BTreeSet::new();
        let module =
            |tensor: &str| tensor.rsplit_once('.').map_or("", |(module, _)| module).to_owned();
        for tensor in &self.whole {
            let biases = settings.config.biases != AdaptedBiases::None;
            if settings.saves(&module(tensor)) {
                saved.insert(module(tensor));
            } else if !(biases && tensor.ends_with("bias") || settings.is_tied_output(tensor)) {
                return Err(format!(
                    "neither modules_to_save nor bias names {tensor}, which {TENSORS} has"
                ));
            }
        }
        let used = |name: &String| self.whole.iter().any(|tensor| is_saved(&module(tensor), name));
        match settings.saved.iter().find(|name| !used(name)) {
            Some(name) => Err(format!("modules_to_save names {name}, and no tensor belongs to it")),
            None => Ok(saved.into_iter().collect()),
        }
    }
}

/// The parts of a layer's adapter: the part and the end of the parameter's name, and the end of the
/// tensor's.
pub(super) fn pieces(
    config: &LoraConfig,
) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> + use<> {
    let bias = config.lora_bias.then_some(("lora_B", "bias", "lora_B.bias"));
    let magnitude = ("lora_magnitude_vector", "weight", "lora_magnitude_vector");
    [("lora_A", "weight", "lora_A.weight"), ("lora_B", "weight", "lora_B.weight")]
        .into_iter()
        .chain(bias)
        .chain(config.dora.then_some(magnitude))
}

/// The name of an adapter's parameter in the arena.
pub(super) fn parameter(layer: &str, part: &str, name: &str, end: &str) -> String {
    match name {
        "" => format!("{layer}.{part}.{end}"),
        name => format!("{layer}.{part}.{name}.{end}"),
    }
}
