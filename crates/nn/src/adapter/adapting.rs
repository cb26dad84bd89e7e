//! What a builder knows of the adapter that it gives the layers of a model.

use super::config::{AdaptedBiases, LoraConfig};
use super::pattern::matches;
use super::reach::Reach;
use ff_graph::{ParamId, ParamKind, ParamSpec};
use std::collections::HashMap;

/// The adapters that layers get while a model is built once more.
#[derive(Debug)]
pub(crate) struct Adapting {
    pub(super) name: String,
    pub(super) config: LoraConfig,
    pub(super) layers: Vec<(String, bool)>,
    /// The parameters of the first time.
    known: Option<HashMap<String, ParamId>>,
    /// The adapter's own parameters in place of the base model's.
    replaced: Vec<Replaced>,
    /// The stacks of experts' matrices, and whether each has an adapter.
    pub(super) stacks: Vec<(String, bool)>,
}

/// A parameter of the base model, and the one that an adapter has in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// The base model's.
    pub base: ParamId,
    /// The adapter's.
    pub own: ParamId,
}

impl Adapting {
    pub(crate) fn new(name: &str, config: LoraConfig) -> Self {
        Self {
            name: name.to_owned(),
            config,
            layers: Vec::new(),
            known: None,
            replaced: Vec::new(),
            stacks: Vec::new(),
        }
    }

    pub(crate) fn replaced(&self) -> &[Replaced] {
        &self.replaced
    }

    pub(crate) fn stacks(&self) -> &[(String, bool)] {
        &self.stacks
    }

    /// The embeddings of some tokens in place of those of a table, in one that is theirs and one
    /// for all of the table's values if the adapter is only read.
    pub(crate) fn tokens(&self) -> (&[u32], bool) {
        (&self.config.tokens, self.config.fixed)
    }

    pub(crate) fn part(&self, part: &str, end: &str) -> String {
        named(part, &self.name, end)
    }

    pub(crate) fn reach(&self) -> Reach {
        match self.config.invocation.as_slice() {
            [] => Reach::All,
            tokens => Reach::From(tokens.to_vec()),
        }
    }

    pub(crate) fn keeps_tied(&self) -> bool {
        self.config.keep_tied
    }

    /// The name of the adapter's own parameter in place of a base model's, if it has one.
    pub(crate) fn own_name(&mut self, full: &str, specs: &[ParamSpec]) -> Option<String> {
        let (module, end) = full.rsplit_once('.')?;
        let config = &self.config;
        let is_saved = config.saved.iter().any(|pattern| matches(pattern, full));
        let is_bias = |known: Option<ParamId>| {
            known.is_some_and(|id| specs[id.index()].kind == ParamKind::Bias)
        };
        let own = is_saved
            || match config.biases {
                AdaptedBiases::None => false,
                AdaptedBiases::All => is_bias(self.known(full, specs)),
                AdaptedBiases::Adapted => {
                    let weight = self.known(&format!("{module}.weight"), specs);
                    let linear =
                        weight.is_some_and(|id| specs[id.index()].kind == ParamKind::Weight);
                    linear && self.config.targets(module) && is_bias(self.known(full, specs))
                }
            };
        own.then(|| named(&format!("{module}.modules_to_save"), &self.name, end))
    }

    pub(crate) fn replace(&mut self, replaced: Replaced) {
        self.replaced.push(replaced);
    }

    pub(crate) fn layers(&self) -> &[(String, bool)] {
        &self.layers
    }

    /// The parameter of this name, if it was there before.
    pub(crate) fn known(&mut self, name: &str, specs: &[ParamSpec]) -> Option<ParamId> {
        let all = || specs.iter().enumerate().map(|(i, s)| (s.name.clone(), ParamId::new(i)));
        self.known.get_or_insert_with(|| all().collect()).get(name).copied()
    }
}

/// The name of a part of an adapter.
pub(super) fn named(part: &str, adapter: &str, end: &str) -> String {
    if adapter.is_empty() { format!("{part}.{end}") } else { format!("{part}.{adapter}.{end}") }
}
