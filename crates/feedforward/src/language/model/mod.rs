//! Language models as Hugging Face folders: reading, writing, generation.

mod adapter;
mod architecture;
mod config;
mod decoder;
mod encoder;
mod export;
mod folder;
mod generate;
mod gguf;
mod held;
mod metadata;
mod sampling;
mod stacks;
mod translate;
mod turn;
mod weights;

pub(crate) use adapter::{
    Base, Places, adapter_folder, begin_adapter, is_adapter, merge_trained, write_adapter,
};
pub(crate) use config::folder_config;
pub use decoder::{LanguageModel, save};
pub use encoder::EncoderModel;
pub(crate) use encoder::{TASK_HEAD, encoder_batch, read_encoder};
pub(crate) use export::{ReadBack, write_gguf, write_huggingface};
pub use folder::{SaveOptions, model_folder};
pub(crate) use folder::{read_generation, read_tokenizer};
pub use generate::{Generated, GeneratedTokens, StopReason, generate, generate_tokens};
pub use sampling::GenerateOptions;
pub(crate) use translate::{
    Text as PairText, TranslatorFolder, Writer as TargetWriter, without_adapter,
};
pub use translate::{TranslateOptions, Translator};
pub use weights::read_weights;
pub(crate) use weights::{base_tensors, hash_weights, sizes_in_file, write_weights};
