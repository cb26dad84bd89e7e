//! The network of a fine-tuning run: a base model with an adapter, or with some of its weights
//! free.

use super::recipe::FinetuneRecipe;
use crate::error::Result;
use crate::language::{is_adapter, sizes_in_file};
use ff_graph::{Graph, Segment};
use ff_nn::models::{CausalLm, DecoderConfig, LanguageOptions};
use ff_nn::{Builder, Precision, matches};
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
}

impl Draft {
    pub(super) fn new(recipe: &FinetuneRecipe, config: &DecoderConfig) -> Self {
        let options = LanguageOptions {
            precision: recipe.base.precision,
            recompute: recipe.base.recompute,
            skip_ignored: true,
            ..LanguageOptions::default()
        };
        let mut builder = Builder::new();
        let mut model = CausalLm::new(&mut builder, config, &options);
        if recipe.trains_adapter() {
            builder.adapt("", recipe.adapter.config());
            model = CausalLm::new(&mut builder, config, &options);
            builder.freeze_where(|name| !is_adapter(name));
        } else {
            let named = |name: &str| recipe.train.weights.iter().any(|w| matches(w, name));
            builder.freeze_where(|name| !named(name));
        }
        let layers = builder.linear_layers().to_vec();
        Self { builder, model, layers }
    }

    /// Every pattern of the recipe names something.
    ///
    /// # Errors
    /// One names nothing.
    pub(super) fn check(&self, recipe: &FinetuneRecipe) -> Result<()> {
        let params = self.builder.plan()?;
        let names: Vec<&str> = params.infos().iter().map(|i| i.spec.name.as_str()).collect();
        let layers: Vec<&str> = self.layers.iter().map(|(layer, _)| layer.as_str()).collect();
        for (key, patterns, names) in [
            ("adapter.targets", &recipe.adapter.targets, &layers),
            ("train.weights", &recipe.train.weights, &names),
        ] {
            let unused = patterns.iter().find(|p| !names.iter().any(|name| matches(p, name)));
            if let Some(pattern) = unused {
                let message = format!(
                    "\"{pattern}\" names no part of the model that can be trained so; its parts are {}",
                    kinds(names).join(", ")
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
        if !recipe.trains_adapter() || recipe.base.precision != Precision::F32 {
            return Ok(BTreeMap::new());
        }
        sizes_in_file(base, config, &self.builder.plan()?)
    }

    /// Leaves these parameters in the form of their files.
    pub(super) fn leave_in_file(mut self, names: &BTreeMap<String, usize>) -> Self {
        self.builder.leave_in_file(|name| names.contains_key(name));
        self
    }

    /// The network with first values in what is trained; the rest comes from the base model.
    ///
    /// # Errors
    /// Memory is short.
    pub(super) fn build(self, device: &Device, seed: u64) -> Result<(CausalLm, Graph)> {
        let params = self.builder.build(device, DType::F32, seed, true)?;
        Ok((self.model, Graph::new(device, params)))
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
fn kinds(names: &[&str]) -> Vec<String> {
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
