//! Fine-tuning: a published model learns from conversations, by an adapter or in its own weights.

mod conversations;
mod examples;
mod memory;
mod merge;
mod network;
mod pack;
mod preference;
mod recipe;
mod records;
mod report;
mod summary;
mod task;
mod training;

pub use memory::Fitted;
pub use merge::merge;
pub use recipe::{
    AdapterTable, BaseTable, BiasName, FinetuneConfig, FinetuneRecipe, LossOn, PreferenceName,
    PreferenceTable, RecordsTable,
};
pub use summary::FinetuneSummary;
pub use training::finetune;

pub(crate) use network::kinds;
pub(crate) use task::FineTuning;
