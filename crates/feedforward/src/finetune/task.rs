//! Conversations and the base model that learns from them, with the scores of a run.

use super::conversations::Conversations;
use super::network::Draft;
use super::preference::{self, Preferred, Reference};
use super::recipe::FinetuneRecipe;
use crate::error::Result;
use crate::language::SampleConfig;
use crate::language::objective::evaluate;
use crate::run::task::TaskRecipe;
use ff_graph::Graph;
use ff_nn::LoraConfig;
use ff_nn::models::{CausalLm, DecoderConfig};
use ff_text::Tokenizer;
use std::path::PathBuf;
use std::rc::Rc;

/// Conversations as rows, and the base model that learns from them.
#[derive(Clone)]
pub(crate) struct FineTuning {
    pub(super) recipe: FinetuneRecipe,
    /// The folder of the base model.
    pub(super) base: PathBuf,
    pub(super) config: DecoderConfig,
    pub(super) tokenizer: Tokenizer,
    /// The tokens behind which the adapter acts.
    pub(super) invocation: Vec<u32>,
    pub(super) data: Rc<Conversations>,
    pub(super) hash: String,
}

/// The loss of the kept weights on what was held out.
pub(crate) struct Outcome {
    pub(super) after: Option<f64>,
    pub(super) preferred: Option<Preferred>,
}

impl FineTuning {
    /// The same conversations with another recipe, whose `[data]` and context are the same.
    pub(super) fn with_recipe(&self, recipe: FinetuneRecipe) -> Self {
        Self { recipe, ..self.clone() }
    }

    /// The network, without memory.
    pub(super) fn draft(&self) -> Draft {
        Draft::new(&self.recipe, &self.config, &self.invocation)
    }

    /// The specification of the adapter.
    pub(super) fn adapter(&self) -> LoraConfig {
        self.recipe.adapter.config(&self.invocation)
    }

    /// Whether conversations are held out.
    pub(super) fn is_evaluated(&self) -> bool {
        self.data.valid.is_some()
    }

    pub(super) fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Bytes of the base model that stay in its files.
    pub(super) fn file_bytes(&self) -> Result<usize> {
        let draft = self.draft();
        Ok(draft.in_file(&self.recipe, &self.config, &self.base)?.values().sum())
    }

    pub(super) fn steps(&self) -> u64 {
        self.recipe.loop_config().total_steps(self.data.items())
    }

    pub(super) fn tokens_per_step(&self) -> f64 {
        let train = &self.recipe.train;
        let items = (train.batch_size * train.accumulate).min(self.data.items());
        (items * self.data.rows_each * self.data.train.windows().context) as f64
    }

    /// The loss on what was held out: a learned token of conversations, or a pair.
    pub(super) fn held_out(
        &self,
        graph: &mut Graph,
        network: &CausalLm,
        reference: Option<&Reference>,
    ) -> Result<(Option<f64>, Option<Preferred>)> {
        let Some(valid) = &self.data.valid else { return Ok((None, None)) };
        let batch = self.recipe.train.batch_size;
        if let Some(loss) = self.recipe.preference.loss() {
            let known = reference.map_or(&[][..], |reference| &reference.valid);
            let found = preference::evaluate(graph, network, valid, batch, loss, known)?;
            return Ok((Some(found.loss), Some(found)));
        }
        let windows = valid.windows();
        let (sum, count) = evaluate(graph, network, windows, valid, batch, usize::MAX)?;
        Ok((Some(sum / count.max(1.0)), None))
    }

    pub(super) fn sample(&self) -> SampleConfig {
        let mut sample = self.recipe.sample.clone();
        if sample.prompts.is_empty() {
            sample.prompts.clone_from(&self.data.prompts);
        }
        sample
    }
}
