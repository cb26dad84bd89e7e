//! The encoder with its head.

use super::recipe::SequenceRecipe;
use crate::embedding::{Modules, Pooling, TextReader, is_encoder};
use crate::error::{Error, Result};
use crate::files::read_text;
use crate::language::{model_folder, read_encoder, read_tokenizer};
use ff_graph::{Graph, ParamId, Params};
use ff_nn::models::{Encoder, EncoderConfig, EncoderDropout, EncoderHead, LanguageOptions};
use ff_nn::{Builder, Loss};
use ff_table::TargetSchema;
use ff_tensor::{DType, Device};
use ff_train::optim::GroupConfig;
use std::path::{Path, PathBuf};

/// The folder that a run starts from, and the network that it trains.
pub(super) struct Base {
    pub(super) folder: PathBuf,
    pub(super) config: EncoderConfig,
    pub(super) reader: TextReader,
    /// Whether its last layer predicts the same classes already.
    same_output: bool,
}

/// An encoder with its head and its loss.
pub(crate) struct Network {
    pub(super) encoder: Encoder,
    pub(super) config: EncoderConfig,
    pub(super) loss: Loss,
    pub(super) frozen: bool,
}

impl Base {
    /// Opens the recipe's encoder for a target.
    ///
    /// # Errors
    /// There is none, it is of another kind, or its tokenizer does not fit.
    pub(super) fn open(
        recipe: &SequenceRecipe,
        path: &Path,
        target: &TargetSchema,
    ) -> Result<Self> {
        let root =
            if path.join("modules.json").exists() { path.to_owned() } else { model_folder(path)? };
        let modules = Modules::read(&root)?;
        let folder = modules.folder.clone();
        if !is_encoder(&folder) {
            let message = "is no encoder that can be trained: model.encoder takes BERT, RoBERTa, \
                           DistilBERT and ModernBERT; of other models, `feedforward embed` writes \
                           vectors that `feedforward train` learns from";
            return Err(Error::run(path, message));
        }
        let wrong =
            |error: ff_nn::ConfigError| Error::run(&folder.join("config.json"), error.to_string());
        let own = EncoderConfig::parse(&read_text(&folder.join("config.json"))?).map_err(wrong)?;
        let mean = match recipe.model.pooling.or(modules.pooling) {
            Some(pooling) => pooling == Pooling::Mean,
            None => own.head == EncoderHead::Sequence && own.mean_pooled,
        };
        let config = own.for_sequences(&target.classes, mean).map_err(wrong)?;
        let same_output = own.head == EncoderHead::Sequence
            && !target.classes.is_empty()
            && own.label_names() == target.classes;
        let tokenizer = read_tokenizer(&folder, config.vocab_size)?.ok_or_else(|| {
            let message = "has no tokenizer (tokenizer.json, vocab.txt, or vocab.json and merges.txt); \
                           add the model's own";
            Error::run(&folder, message)
        })?;
        let positions = config.longest();
        let reader =
            TextReader::new(tokenizer, &modules, recipe.model.max_tokens, positions, false)?;
        Ok(Self { folder, config, reader, same_output })
    }

    /// The network with first values for its head.
    ///
    /// # Errors
    /// Memory is short.
    pub(super) fn build(
        &self,
        recipe: &SequenceRecipe,
        loss: Loss,
        device: &Device,
    ) -> Result<(Network, Graph)> {
        let (model, config) = (&recipe.model, self.config.clone());
        let options = options(recipe);
        let hidden = if model.frozen { 0.0 } else { model.dropout };
        let dropout = EncoderDropout { hidden, head: model.head_dropout };
        let mut builder = Builder::new();
        let encoder = Encoder::with_dropout(&mut builder, &config, &options, dropout);
        if model.frozen {
            builder.freeze_where(|name| config.depth_of(name) <= config.layers);
        }
        let params = builder.build(device, DType::F32, recipe.train.seed, true)?;
        let network = Network { encoder, config, loss, frozen: model.frozen };
        Ok((network, Graph::new(device, params)))
    }

    /// Reads the encoder's weights, and those of its head that go on.
    ///
    /// # Errors
    /// The files do not fit the config.
    pub(super) fn read_weights(&self, params: &mut Params) -> Result<()> {
        read_encoder(&self.folder, &self.config, params, self.same_output)
    }
}

/// How the encoder computes.
pub(super) fn options(recipe: &SequenceRecipe) -> LanguageOptions {
    LanguageOptions { precision: recipe.model.precision, ..LanguageOptions::default() }
}

/// The rates of layers: the head's factor, then the factor of the decay for each layer below the
/// last one. Groups of the recipe come first.
pub(super) fn add_groups(recipe: &mut SequenceRecipe, config: &EncoderConfig) {
    let (decay, head) = (recipe.model.layer_decay, recipe.model.head_rate);
    let groups = &mut recipe.optimizer.groups;
    let mut add = |pattern: String, lr_scale: f64| {
        if lr_scale != 1.0 {
            let lr_scale = Some(lr_scale);
            groups.push(GroupConfig { pattern, lr_scale, optional: true, ..Default::default() });
        }
    };
    let below = |depth: usize| decay.powi((config.layers - depth) as i32);
    add(config.scope_of(0), below(0));
    for depth in 1..=config.layers {
        add(config.scope_of(depth), below(depth));
    }
    for name in config.head_scopes() {
        add(name, head);
    }
}

/// Makes the outputs of a trained regression those of the target's own unit: y = σ z + μ.
///
/// # Errors
/// The graph has no such layer.
pub(super) fn rescale(
    graph: &mut Graph,
    config: &EncoderConfig,
    mean: f64,
    std: f64,
) -> Result<()> {
    let params = graph.params_mut();
    let ids: Vec<(ParamId, bool)> = params
        .iter()
        .filter(|(_, info)| config.is_output(&info.spec.name))
        .map(|(id, info)| (id, info.spec.name.ends_with("bias")))
        .collect();
    for (id, bias) in ids {
        let shift = if bias { mean } else { 0.0 };
        for value in params.values_mut::<f32>(id)? {
            *value = (f64::from(*value) * std + shift) as f32;
        }
    }
    Ok(())
}
