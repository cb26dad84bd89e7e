//! Language models as Hugging Face folders: reading, writing, generation.

mod encoder;
mod folder;
mod generate;
mod sampling;
mod translate;
mod weights;

pub use encoder::EncoderModel;
pub use folder::{LanguageModel, SaveOptions, model_folder, save};
pub use generate::{Generated, GeneratedTokens, StopReason, generate, generate_tokens};
pub use sampling::GenerateOptions;
pub use translate::{TranslateOptions, Translator};
pub use weights::read_weights;
pub(crate) use weights::write_weights;
