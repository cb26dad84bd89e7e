//! The model of a run: with an adapter, or with some of its own weights free.

use super::recipe::TranslationRecipe;
use crate::error::Result;
use crate::language::{
    Base, Places, SaveOptions, Translator, TranslatorFolder, begin_adapter, is_adapter,
    merge_trained, without_adapter, write_adapter,
};
use crate::run::folder::RunFolder;
use ff_graph::{Graph, Mode};
use ff_nn::models::{EncoderDecoder, EncoderDecoderConfig, EncoderDecoderDropout, LanguageOptions};
use ff_nn::{Builder, matches};
use ff_settings::ConfigError;
use ff_tensor::{DType, Device};

/// A model that learns.
pub(crate) struct Network {
    /// With the loss and the dropout of the recipe.
    pub(super) learner: EncoderDecoder,
    /// The same parameters, with plain cross-entropy.
    pub(super) plain: EncoderDecoder,
}

/// A network whose parameters are not allocated yet.
pub(super) struct Draft {
    builder: Builder,
    network: Network,
    /// The linear layers, and whether each has an adapter.
    layers: Vec<(String, bool)>,
}

/// How the model of a recipe computes.
pub(super) fn options(recipe: &TranslationRecipe) -> LanguageOptions {
    LanguageOptions {
        precision: recipe.base.precision,
        recompute: recipe.base.recompute,
        label_smoothing: recipe.loss.label_smoothing,
        // Padding has no logits.
        skip_ignored: true,
        ..LanguageOptions::default()
    }
}

impl Draft {
    pub(super) fn new(recipe: &TranslationRecipe, config: &EncoderDecoderConfig) -> Self {
        let learning = options(recipe);
        let dropout = recipe.dropout(config);
        let (mut builder, learner) = register(recipe, config, &learning, dropout);
        let plain = LanguageOptions { label_smoothing: 0.0, ..learning };
        let (_, plain) = register(recipe, config, &plain, EncoderDecoderDropout::default());
        if recipe.trains_adapter() {
            builder.freeze_where(|name| !is_adapter(name));
        } else {
            let named = |name: &str| recipe.train.weights.iter().any(|w| matches(w, name));
            builder.freeze_where(|name| !named(name));
        }
        let layers = builder.linear_layers().to_vec();
        Self { builder, network: Network { learner, plain }, layers }
    }

    /// The number of layers with an adapter.
    pub(super) fn adapted(&self) -> usize {
        self.layers.iter().filter(|(_, adapted)| *adapted).count()
    }

    /// Every pattern of the recipe names something.
    ///
    /// # Errors
    /// One names nothing.
    pub(super) fn check(&self, recipe: &TranslationRecipe) -> Result<()> {
        let params = self.builder.plan()?;
        let names: Vec<&str> = params.infos().iter().map(|i| i.spec.name.as_str()).collect();
        let layers: Vec<&str> = self.layers.iter().map(|(layer, _)| layer.as_str()).collect();
        for (key, patterns, all) in [
            ("adapter.targets", &recipe.adapter.targets, &layers),
            ("adapter.exclude", &recipe.adapter.exclude, &layers),
            ("train.weights", &recipe.train.weights, &names),
        ] {
            let unused = patterns.iter().find(|p| !all.iter().any(|name| matches(p, name)));
            if let Some(pattern) = unused {
                let message = format!(
                    "\"{pattern}\" names no part of the model that can be trained so; its parts are {}",
                    crate::finetune::kinds(all).join(", ")
                );
                return Err(ConfigError::new(key, message).into());
            }
        }
        Ok(())
    }

    /// The network with first values in the adapter; the rest comes from the base model.
    ///
    /// # Errors
    /// Memory is short.
    pub(super) fn build(self, device: &Device, seed: u64) -> Result<(Network, Graph)> {
        let params = self.builder.build_drawn(device, DType::F32, seed, true, is_adapter)?;
        Ok((self.network, Graph::new(device, params)))
    }

    fn places(&self) -> Places<'_> {
        Places { layers: &self.layers, replaced: &[], stacks: &[] }
    }

    /// Reads the base model, and makes an adapter ready.
    ///
    /// # Errors
    /// The files do not fit the config.
    pub(super) fn read(
        &self,
        recipe: &TranslationRecipe,
        base: &TranslatorFolder,
        graph: &mut Graph,
    ) -> Result<()> {
        base.read_weights(graph.params_mut())?;
        if recipe.trains_adapter() {
            let (device, config) = (graph.device().clone(), recipe.adapter.config(&[]));
            begin_adapter(graph.params_mut(), &config, self.places(), &device)?;
        }
        Ok(())
    }

    /// Writes what was trained as a model of its own; an adapter as PEFT does, and merged into the
    /// model.
    ///
    /// # Errors
    /// The folder cannot be written, or reads back as something else.
    pub(super) fn save(
        &self,
        recipe: &TranslationRecipe,
        base: &TranslatorFolder,
        (network, mut graph): (EncoderDecoder, Graph),
        folder: &RunFolder,
    ) -> Result<()> {
        let options = options(recipe);
        let mut model = network;
        if recipe.trains_adapter() {
            let (device, config) = (graph.device().clone(), recipe.adapter.config(&[]));
            let origin = (recipe.base.model.as_path(), Base::Pair(&base.config));
            write_adapter(&folder.adapter(), &config, origin, graph.params(), self.places())?;
            merge_trained(graph.params_mut(), &config, self.places(), &device)?;
            (model, graph) = without_adapter(&base.config, graph.params(), &device, &options)?;
        }
        graph.set_mode(Mode::Eval);
        let mut saved = Translator::new(base.clone(), (model, graph), &options);
        saved.save(&folder.model(), &SaveOptions::default())
    }
}

/// A model whose parameters have the same places each time.
fn register(
    recipe: &TranslationRecipe,
    config: &EncoderDecoderConfig,
    options: &LanguageOptions,
    dropout: EncoderDecoderDropout,
) -> (Builder, EncoderDecoder) {
    let mut builder = Builder::new();
    let mut model = EncoderDecoder::with_dropout(&mut builder, config, options, dropout);
    if recipe.trains_adapter() {
        builder.adapt("", recipe.adapter.config(&[]));
        model = EncoderDecoder::with_dropout(&mut builder, config, options, dropout);
    }
    (builder, model)
}
