//! The folder of a model, without its weights in memory.

use super::text::Text;
use super::{TranslateOptions, usual, with_its_output};
use crate::error::{Error, Result};
use crate::files::read_text;
use crate::language::model::adapter::{AdapterFile, adapter_folder, base_of, pair_tensors};
use crate::language::model::folder::{model_folder, read_generation};
use crate::language::model::weights::open_checked;
use ff_graph::Params;
use ff_nn::models::EncoderDecoderConfig;
use serde_json::{Map, Value as Json};
use std::path::{Path, PathBuf};

/// What a model's folder says and has beside its weights.
#[derive(Debug, Clone)]
pub(crate) struct TranslatorFolder {
    pub(crate) folder: PathBuf,
    pub(crate) config: EncoderDecoderConfig,
    /// The tokenizer, if there is one.
    pub(super) text: Option<Text>,
    pub(super) generation: Map<String, Json>,
    /// The adapter that named this model.
    pub(crate) adapter: Option<PathBuf>,
}

impl TranslatorFolder {
    /// Opens the folder of a model or of a run, or of an adapter that names its model.
    ///
    /// # Errors
    /// A file is missing or malformed; the tokenizer has more ids than the model.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let adapter = adapter_folder(path).filter(|_| model_folder(path).is_err());
        let folder = match &adapter {
            Some(adapter) => base_of(adapter, &AdapterFile::open(adapter)?)?,
            None => model_folder(path)?,
        };
        let config_path = folder.join("config.json");
        let config = EncoderDecoderConfig::parse(&read_text(&config_path)?)
            .map_err(|error| Error::run(&config_path, error.to_string()))?;
        let config = with_its_output(config, &folder)?;
        let text = Text::read(&folder, config.vocab_size)?;
        let generation = read_generation(&folder)?;
        Ok(Self { folder, config, text, generation, adapter })
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn text(&self) -> Result<&Text> {
        self.text.as_ref().ok_or_else(|| Error::usage(Text::missing(self.config.family.name)))
    }

    /// How its texts are written unless someone says otherwise.
    pub(crate) fn usual(&self) -> TranslateOptions {
        usual(&self.config, &self.generation)
    }

    /// Reads the weights into the parameters of a model that was built with the config, perhaps
    /// with an adapter.
    ///
    /// # Errors
    /// A tensor is missing, of another shape, or belongs to no layer.
    pub(crate) fn read_weights(&self, params: &mut Params) -> Result<()> {
        let tensors = pair_tensors(params);
        let ignored = |name: &str| self.config.family.is_ignored(name);
        open_checked(&self.folder, &tensors, &ignored)?.read_into(&tensors, params)
    }
}
