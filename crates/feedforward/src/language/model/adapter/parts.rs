//! The tensors of an adapter's file, by what they belong to.

use super::names::{PREFIX, TENSORS};
use super::settings::{Settings, is_at_end, is_saved};
use ff_formats::TensorFile;
use ff_nn::{AdaptedBiases, LoraConfig};
use std::collections::{BTreeMap, BTreeSet};

/// The stacked matrices of a mixture's experts, in the order of the model's parameters.
pub(super) const STACKS: [&str; 2] = ["gate_up_proj", "down_proj"];
/// What follows the name of a table in the tensor of its trained rows.
pub(super) const TOKENS: &str = ".token_adapter.trainable_tokens_delta";

/// What the tensors of a file belong to.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The layers with an adapter.
    pub(super) layers: BTreeSet<String>,
    /// The stacks of experts' matrices with an adapter, and the modules that their tensors have.
    pub(super) stacks: BTreeMap<String, String>,
    /// The table of embeddings of which the adapter has some rows.
    pub(super) table: Option<String>,
    /// Parameters that the adapter has in place of the base model's, by their tensors.
    pub(super) whole: BTreeSet<String>,
}

impl Parts {
    /// What the tensors of a file belong to, each layer with all parts of its adapter.
    ///
    /// # Errors
    /// A part is missing, or a tensor is none.
    pub(super) fn of(tensors: &TensorFile, settings: &Settings) -> Result<Self, String> {
        let config = &settings.config;
        let (mut whole, mut table) = (BTreeSet::new(), None);
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
            if settings.tokens.is_some()
                && let Some(module) = name.strip_suffix(TOKENS)
            {
                if table.replace(module.to_owned()).is_some() {
                    return Err(format!("{TOKENS} is there for two tables"));
                }
                continue;
            }
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
        if let Some((named, _)) = &settings.tokens {
            let Some(module) = &table else {
                return Err(format!("trainable_token_indices is set, and there is no {TOKENS}"));
            };
            if named.as_ref().is_some_and(|named| !is_at_end(module, named)) {
                return Err(format!("trainable_token_indices does not name {module}"));
            }
        }
        let mut layers: BTreeSet<String> = found.into_keys().collect();
        let stacks = stacks(&mut layers, settings)?;
        Ok(Self { layers, stacks, table, whole })
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

/// The stacks of experts' matrices among the modules that have an adapter. The tensors of one
/// belong to the module itself; with two the first, gate and up, is wrapped by the second.
fn stacks(
    layers: &mut BTreeSet<String>,
    settings: &Settings,
) -> Result<BTreeMap<String, String>, String> {
    let mut stacks = BTreeMap::new();
    if settings.parameters.is_empty() {
        return Ok(stacks);
    }
    let meant = |stack: &str| settings.parameters.iter().any(|name| is_at_end(stack, name));
    let modules: Vec<String> =
        layers.iter().filter(|layer| layer.ends_with(".experts")).cloned().collect();
    for module in modules {
        let of = STACKS.map(|stack| format!("{module}.{stack}"));
        let of: Vec<&String> = of.iter().filter(|stack| meant(stack)).collect();
        for (i, stack) in of.iter().rev().enumerate() {
            let place = format!("{module}{}", ".base_layer".repeat(i));
            if !layers.remove(&place) {
                return Err(format!("{place} has no adapter for {stack}"));
            }
            stacks.insert((*stack).clone(), place);
        }
    }
    let used = |name: &&String| stacks.keys().any(|stack| is_at_end(stack, name));
    match settings.parameters.iter().find(|name| !used(name)) {
        Some(name) => Err(format!(
            "target_parameters names {name}, of which it has no tensors that are supported: the experts' \
             gate_up_proj and down_proj are"
        )),
        None => Ok(stacks),
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
