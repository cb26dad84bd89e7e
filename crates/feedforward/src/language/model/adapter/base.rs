//! What an adapter has to know of its base model, and where that model is.

use super::AdapterFile;
use super::names::is_adapter;
use crate::error::{Error, Result};
use crate::language::model::folder::model_folder;
use crate::language::model::weights::base_tensors;
use crate::run::folder::RunFolder;
use crate::run::info::RunInfo;
use ff_graph::Params;
use ff_nn::models::{DecoderConfig, EncoderDecoderConfig, FileTensor, plain_file_tensors};
use std::path::{Path, PathBuf};

/// The specification of a base model.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Base<'a> {
    /// A decoder.
    Decoder(&'a DecoderConfig),
    /// An encoder with a decoder.
    Pair(&'a EncoderDecoderConfig),
}

impl Base<'_> {
    /// The tensors of the model's files, without those of adapters.
    pub(super) fn tensors(self, params: &Params) -> Vec<FileTensor> {
        match self {
            Self::Decoder(config) => base_tensors(config, params),
            Self::Pair(_) => pair_tensors(params),
        }
    }

    /// The names of the embeddings and of the output layer in files.
    pub(super) fn tied_tensors(self) -> [String; 2] {
        match self {
            Self::Decoder(config) => config.tied_tensors(),
            Self::Pair(config) => config.tied_tensors(),
        }
    }

    /// Whether the output layer is the table of embeddings.
    pub(super) fn is_tied(self) -> bool {
        match self {
            Self::Decoder(config) => config.tied,
            Self::Pair(config) => config.tied,
        }
    }

    /// Whether matrices are transposed in files.
    pub(super) fn has_transposed_files(self) -> bool {
        matches!(self, Self::Decoder(config) if config.has_transposed_files())
    }

    /// The `task_type` of PEFT.
    pub(super) fn task(self) -> &'static str {
        match self {
            Self::Decoder(_) => "CAUSAL_LM",
            Self::Pair(_) => "SEQ_2_SEQ_LM",
        }
    }
}

/// The tensors of the files of an encoder with a decoder, without those of its adapter.
pub(crate) fn pair_tensors(params: &Params) -> Vec<FileTensor> {
    let mut tensors = plain_file_tensors(params);
    tensors.retain(|tensor| !is_adapter(&params.infos()[tensor.param].spec.name));
    tensors
}

/// The folder of the base model that an adapter names: from here, or from the folder that its run
/// was started in.
///
/// # Errors
/// It names none, or there is none.
pub(in crate::language::model) fn base_of(folder: &Path, file: &AdapterFile) -> Result<PathBuf> {
    let Some(base) = file.base() else {
        let message =
            "does not name its base model; give the base model, and this folder with --adapter";
        return Err(Error::run(folder, message));
    };
    let run = RunFolder::open(folder).and_then(|run| RunInfo::load(&run));
    let started = run.ok().map(|info| info.base.join(base));
    let found = started.iter().map(PathBuf::as_path).chain([base]);
    let found = found.into_iter().find_map(|path| model_folder(path).ok());
    found.ok_or_else(|| {
        let message = format!(
            "belongs to the base model {}, which is not there; give the base model, and this folder with --adapter",
            base.display()
        );
        Error::run(folder, message)
    })
}
