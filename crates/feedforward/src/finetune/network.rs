//! The network of a fine-tuning run: a base model with an adapter, or with some of its weights
//! free.

use super::recipe::FinetuneRecipe;
use crate::error::Result;
use crate::language::{Places, is_adapter, sizes_in_file};
use ff_graph::{Graph, Segment};
use ff_nn::models::{CausalLm, DecoderConfig, LanguageOptions};
use ff_nn::{Builder, Replaced, matches};
use ff_settings::ConfigError;
use ff_tensor::{DType, Device};
use std::collections::BTreeMap;
use std::path::Path;

/// A network whose parameters are not allocated yet.
pub(super) struct Draft {
    builder: Builder,
    pub(super) model: CausalLm,
    /// The linear layers, and whether each has an adapter.
    pub(super) layers: Vec<(String, bool)>,
    /// What the adapter has in place of the base model's parameters.
    replaced: Vec<Replaced>,
    /// The stacks of experts' matrices, and whether each has an adapter.
    stacks: Vec<(String, bool)>,
}

impl Draft {
    /// The network of a recipe; `invocation` are the tokens behind which its adapter acts.
    pub(super) fn new(recipe: &FinetuneRecipe, config: &DecoderConfig, invocation: &[u32]) -> Self {
        let options = LanguageOptions {
            precision: recipe.base.precision,
            recompute: recipe.base.recompute,
            skip_ignored: true,
            ..LanguageOptions::default()
        };
        let mut builder = Builder::new();
        let mut model = CausalLm::new(&mut builder, config, &options);
        if recipe.trains_adapter() {
            builder.adapt("", recipe.adapter.config(invocation));
            model = CausalLm::new(&mut builder, config, &options);
            builder.freeze_where(|name| !is_adapter(name));
        } else {
            let named = |name: &str| recipe.train.weights.iter().any(|w| matches(w, name));
            builder.freeze_where(|name| !named(name));
        }
        let layers = builder.linear_layers().to_vec();
        let replaced = builder.replaced().to_vec();
        let stacks = builder.expert_stacks().to_vec();
        Self { builder, model, layers, replaced, stacks }
    }

    /// What the adapter changes.
    pub(super) fn places(&self) -> Places<'_> {
        Places { layers: &self.layers, replaced: &self.replaced, stacks: &self.stacks }
    }

    /// Every pattern of the recipe names something.
    ///
    /// # Errors
    /// One names nothing.
    pub(super) fn check(&self, recipe: &FinetuneRecipe, config: &DecoderConfig) -> Result<()> {
        let params = self.builder.plan()?;
        let names: Vec<&str> = params.infos().iter().map(|i| i.spec.name.as_str()).collect();
        let base =
            |replaced: &Replaced| names[replaced.own.index()].replace(".modules_to_save", "");
        let own: Vec<String> = self.replaced.iter().map(base).collect();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let layers: Vec<&str> = self.layers.iter().map(|(layer, _)| layer.as_str()).collect();
        let [table, _] = config.tied_tensors();
        let tied = config.tied && recipe.adapter.keep_tied && own.contains(&table.as_str());
        if tied && !table.ends_with("embed_tokens.weight") {
            let message = format!(
                "PEFT's files cannot say that the output layer is {table} of the adapter; set it to false, which leaves the \
                 output layer as it was"
            );
            return Err(ConfigError::new("adapter.keep_tied", message).into());
        }
        let adapter = &recipe.adapter;
        if let Some(id) = adapter.tokens.iter().find(|&&id| id as usize >= config.vocab_size) {
            let message = format!("has {id}, and the model has {} tokens", config.vocab_size);
            return Err(ConfigError::new("adapter.tokens", message).into());
        }
        let stacks: Vec<&str> = self.stacks.iter().map(|(stack, _)| stack.as_str()).collect();
        for (key, patterns, found, all) in [
            ("adapter.targets", &adapter.targets, &layers, &layers),
            ("adapter.exclude", &adapter.exclude, &layers, &layers),
            ("adapter.modules_to_save", &adapter.modules_to_save, &own, &names),
            ("adapter.experts", &adapter.experts, &stacks, &stacks),
            ("train.weights", &recipe.train.weights, &names, &names),
        ] {
            let unused = patterns.iter().find(|p| !found.iter().any(|name| matches(p, name)));
            if let Some(pattern) = unused {
                let message = format!(
                    "\"{pattern}\" names no part of the model that can be trained so; its parts are {}",
                    kinds(all).join(", ")
                );
                return Err(ConfigError::new(key, message).into());
            }
        }
        Ok(())
    }

    /// The base model's matrices that stay in the form of their files, with their bytes: all that
    /// can, where only an adapter is trained.
    ///
    /// # Errors
    /// The files cannot be read.
    pub(super) fn in_file(
        &self,
        recipe: &FinetuneRecipe,
        config: &DecoderConfig,
        base: &Path,
    ) -> Result<BTreeMap<String, usize>> {
        if !recipe.trains_adapter() {
            return Ok(BTreeMap::new());
        }
        sizes_in_file(base, config, &self.builder.plan()?)
    }

    /// Leaves these parameters in the form of their files.
    pub(super) fn leave_in_file(mut self, names: &BTreeMap<String, usize>) -> Self {
        self.builder.leave_in_file(|name| names.contains_key(name));
        self
    }

    /// The network with first values in the adapter; the rest comes from the base model.
    ///
    /// # Errors
    /// Memory is short.
    pub(super) fn build(self, device: &Device, seed: u64) -> Result<(CausalLm, Graph)> {
        let params = self.builder.build_drawn(device, DType::F32, seed, true, is_adapter)?;
        Ok((self.model, Graph::new(device, params)))
    }

    /// The names of all parameters.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let params = self.builder.plan()?;
        Ok(params.infos().iter().map(|info| info.spec.name.clone()).collect())
    }

    /// The number of values of the base model.
    pub(super) fn base_values(&self) -> Result<usize> {
        let params = self.builder.plan()?;
        let base = params.infos().iter().filter(|info| !is_adapter(&info.spec.name));
        let base = base.filter(|info| info.spec.segment != Segment::State);
        Ok(base.map(|info| info.spec.shape.len()).sum())
    }
}

/// Names without what numbers layers, each once.
pub(crate) fn kinds(names: &[&str]) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for name in names {
        let parts: Vec<&str> = name
            .split('.')
            .map(|part| if part.bytes().all(|b| b.is_ascii_digit()) { "*" } else { part })
            .collect();
        let kind = parts.join(".");
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}
