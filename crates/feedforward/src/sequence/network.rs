//! The encoder with its head.

use super::recipe::EncoderTable;
use crate::embedding::{Modules, Pooling, TextReader, is_encoder};
use crate::error::{Error, Result};
use crate::files::read_text;
use crate::language::{model_folder, read_encoder, read_tokenizer};
use ff_graph::{Graph, ParamId, Params};
use ff_nn::Builder;
use ff_nn::models::{
    Encoder, EncoderConfig, EncoderDropout, EncoderHead, EncoderOutputs, LanguageOptions,
};
use ff_tensor::{DType, Device};
use ff_train::optim::GroupConfig;
use std::path::{Path, PathBuf};

/// The folder that a run starts from, and the network that it trains.
pub(crate) struct Base {
    pub(crate) folder: PathBuf,
    pub(crate) config: EncoderConfig,
    pub(crate) reader: TextReader,
    /// What the files beside the encoder say.
    pub(crate) modules: Modules,
    /// The classes or tags of the head that the folder has.
    pub(crate) own_labels: Vec<String>,
    /// Whether its last layer predicts the same classes already.
    same_output: bool,
    /// Whether the vectors of tokens become one by their mean, and not as the first token's.
    pub(super) mean: bool,
}

/// An encoder with its head.
pub(crate) struct Network {
    pub(crate) encoder: Encoder,
    pub(crate) config: EncoderConfig,
}

impl Base {
    /// Opens the recipe's encoder for new outputs.
    ///
    /// # Errors
    /// There is none, it is of another kind, or its tokenizer does not fit.
    pub(crate) fn open(
        model: &EncoderTable,
        path: &Path,
        outputs: EncoderOutputs<'_>,
    ) -> Result<Self> {
        let root =
            if path.join("modules.json").exists() { path.to_owned() } else { model_folder(path)? };
        let modules = Modules::read(&root)?;
        let folder = modules.folder.clone();
        if !is_encoder(&folder) {
            let message = "is no encoder that can be trained: model.encoder takes BERT, RoBERTa, \
                           DistilBERT, ModernBERT and static embeddings; of other models, `feedforward embed` writes \
                           vectors that `feedforward train` learns from";
            return Err(Error::run(path, message));
        }
        let wrong =
            |error: ff_nn::ConfigError| Error::run(&folder.join("config.json"), error.to_string());
        let own = EncoderConfig::parse(&read_text(&folder.join("config.json"))?).map_err(wrong)?;
        let mean = match model.pooling.or(modules.pooling) {
            Some(pooling) => pooling == Pooling::Mean,
            None => own.head == EncoderHead::Sequence && own.mean_pooled,
        };
        let config = own.with_outputs(outputs, mean).map_err(wrong)?;
        let same_output = own.head == config.head
            && match config.head {
                EncoderHead::None => false,
                EncoderHead::MaskedLm => true,
                EncoderHead::Sequence | EncoderHead::Tokens => {
                    !config.is_regression()
                        && own.problem == config.problem
                        && own.label_names() == config.label_names()
                }
            };
        let tokenizer = read_tokenizer(&folder, config.vocab_size)?.ok_or_else(|| {
            let message = "has no tokenizer (tokenizer.json, vocab.txt, or vocab.json and merges.txt); \
                           add the model's own";
            Error::run(&folder, message)
        })?;
        let positions = config.longest();
        let reader = TextReader::new(tokenizer, &modules, model.max_tokens, positions, false)?;
        let own_labels = own.label_names();
        Ok(Self { folder, config, reader, modules, own_labels, same_output, mean })
    }

    /// The network with first values for its head.
    ///
    /// # Errors
    /// Memory is short.
    pub(crate) fn build(
        &self,
        model: &EncoderTable,
        seed: u64,
        device: &Device,
    ) -> Result<(Network, Graph)> {
        let mut builder = Builder::new();
        let network = self.register(model, &mut builder);
        let params = builder.build(device, DType::F32, seed, true)?;
        Ok((network, Graph::new(device, params)))
    }

    /// The network, with its parameters registered.
    pub(super) fn register(&self, model: &EncoderTable, builder: &mut Builder) -> Network {
        let config = self.config.clone();
        let options = options(model);
        let hidden = if model.frozen { 0.0 } else { model.dropout };
        let dropout = EncoderDropout { hidden, head: model.head_dropout };
        let encoder = Encoder::with_dropout(builder, &config, &options, dropout);
        if model.frozen {
            builder.freeze_where(|name| config.depth_of(name) <= config.layers);
        }
        Network { encoder, config }
    }

    /// Reads the encoder's weights, and those of its head that go on.
    ///
    /// # Errors
    /// The files do not fit the config.
    pub(crate) fn read_weights(&self, params: &mut Params) -> Result<()> {
        read_encoder(&self.folder, &self.config, params, self.same_output)
    }
}

/// How the encoder computes.
pub(crate) fn options(model: &EncoderTable) -> LanguageOptions {
    // Of masked tokens few are learned, and each has a logit for every token.
    let skip_ignored = true;
    LanguageOptions { precision: model.precision, skip_ignored, ..LanguageOptions::default() }
}

/// The rates of layers: the head's factor, then the factor of the decay for each layer below the
/// last one. Groups of the recipe come first.
pub(crate) fn add_groups(
    groups: &mut Vec<GroupConfig>,
    model: &EncoderTable,
    config: &EncoderConfig,
) {
    let decay = model.layer_decay;
    let below = |depth: usize| decay.powi((config.layers - depth) as i32);
    for depth in 0..=config.layers {
        add_group(groups, config.scope_of(depth), below(depth));
    }
    for name in config.head_scopes() {
        add_group(groups, name, model.head_rate.unwrap_or(1.0));
    }
}

/// The factor of the rate of the parameters of a pattern.
pub(super) fn add_group(groups: &mut Vec<GroupConfig>, pattern: String, lr_scale: f64) {
    if lr_scale != 1.0 {
        let lr_scale = Some(lr_scale);
        groups.push(GroupConfig { pattern, lr_scale, optional: true, ..Default::default() });
    }
}

/// Makes the outputs of a trained regression those of the targets' own units, y = σ z + μ, with a
/// mean and a standard deviation for each output; `is_output` knows the last layer's parameters.
///
/// # Errors
/// The graph has no such layer.
pub(crate) fn rescale(
    graph: &mut Graph,
    is_output: &dyn Fn(&str) -> bool,
    units: &[(f64, f64)],
) -> Result<()> {
    let params = graph.params_mut();
    let ids: Vec<(ParamId, bool)> = params
        .iter()
        .filter(|(_, info)| is_output(&info.spec.name))
        .map(|(id, info)| (id, info.spec.name.ends_with("bias")))
        .collect();
    for (id, bias) in ids {
        let values = params.values_mut::<f32>(id)?;
        let width = values.len() / units.len().max(1);
        for (row, &(mean, std)) in values.chunks_exact_mut(width.max(1)).zip(units) {
            let shift = if bias { mean } else { 0.0 };
            for value in row {
                *value = (f64::from(*value) * std + shift) as f32;
            }
        }
    }
    Ok(())
}
