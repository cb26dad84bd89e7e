//! Language models from text: the recipe, the run, its plan, its scores and its page.

mod addition;
mod config;
mod corpus;
mod evaluate;
mod judge;
mod plan;
mod recipe;
mod report;
mod run;
mod samples;
mod score;
mod setup;

pub use addition::{Addition, Question};
pub use config::{ModelTable, PretrainConfig, SampleConfig, TokenizerTable, WindowOrder};
pub use evaluate::{LanguageEvaluation, evaluate_language, is_language_model};
pub use judge::{Choice, Choices, Exact, TextScores};
pub use plan::{LanguagePlan, plan_pretraining};
pub use recipe::PretrainRecipe;
pub use run::{PretrainSummary, pretrain, resume};
