//! Memory: settings that fit into so much of it, and what other ways to learn would take.

use super::recipe::{AdapterTable, FinetuneRecipe};
use super::task::FineTuning;
use crate::error::{Error, Result};
use crate::run::folder::RunFolder;
use crate::run::measure::{measure, open_device};
use crate::run::plan::Sizes;
use crate::run::task::{Purpose, Task};
use crate::run::watch::Watcher;
use crate::words::bytes;
use ff_nn::matches;
use ff_tensor::DeviceOptions;
use serde::Serialize;

/// Memory of the process beside pool, arena and the model's files: the program, the tokenizer, the
/// conversations, the caches of answers.
const PROCESS: usize = 128 << 20;

/// Something else to train with the same conversations.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Way {
    #[serde(skip)]
    pub(super) what: &'static str,
    /// `train.weights`.
    pub(super) weights: Vec<String>,
    /// About the most memory of the process.
    pub(super) bytes: usize,
    /// The arithmetic of an optimiser step.
    pub(super) flops_per_step: u64,
}

/// A recipe that fits into some memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The recipe.
    pub recipe: FinetuneRecipe,
    /// About the most memory of the process.
    pub bytes: usize,
}

impl Fitted {
    /// The settings that were chosen, as `--set` takes them.
    pub fn settings(&self) -> String {
        let FinetuneRecipe { train, base, .. } = &self.recipe;
        format!(
            "train.batch_size={} train.accumulate={} base.recompute={}",
            train.batch_size, train.accumulate, base.recompute
        )
    }
}

impl FinetuneRecipe {
    /// The same recipe with micro-batches, and blocks that are recomputed where need be, such that
    /// the process takes at most so much memory.
    ///
    /// What is learned stays: an optimiser step has the same rows. Smaller micro-batches come
    /// first, since recomputing costs a third more arithmetic.
    ///
    /// # Errors
    /// The recipe, the conversations or the model is not right, or nothing fits.
    pub fn within_bytes(
        &self,
        most: usize,
        device: DeviceOptions,
        watcher: &mut dyn Watcher,
    ) -> Result<Fitted> {
        let device = open_device(self, device)?;
        let nowhere = RunFolder::at("");
        let task = FineTuning::prepare(self.clone(), Purpose::Plan(&nowhere), &device, watcher)?;
        let mut least = usize::MAX;
        for recipe in self.leaner() {
            let bytes = task.with_recipe(recipe.clone()).process_bytes()?;
            if bytes <= most {
                return Ok(Fitted { recipe, bytes });
            }
            least = least.min(bytes);
        }
        let mut adapter = self.clone();
        adapter.train.weights.clear();
        let advice = match adapter.leaner().last().filter(|_| !self.trains_adapter()) {
            Some(leanest) => {
                let taken = task.with_recipe(leanest).process_bytes()?;
                format!("an adapter (without train.weights) takes about {}", bytes(taken))
            }
            None => "make train.context smaller, or choose a smaller base model, or the same in fewer bits".into(),
        };
        Err(Error::usage(format!(
            "{} are too little for this run: it takes about {} with train.batch_size=1 and base.recompute=true; {advice}",
            bytes(most),
            bytes(least)
        )))
    }

    /// The recipe, and others that take less memory for the same steps, the quickest first.
    fn leaner(&self) -> impl Iterator<Item = Self> {
        let rows = self.train.batch_size;
        let batches = (1..=rows).rev().filter(move |&batch| rows.is_multiple_of(batch));
        let recomputed = [false, true].into_iter().filter(|again| *again || !self.base.recompute);
        recomputed.flat_map(move |recompute| {
            batches.clone().map(move |batch| {
                let mut recipe = self.clone();
                recipe.base.recompute = recompute;
                recipe.train.accumulate *= rows / batch;
                recipe.train.batch_size = batch;
                recipe
            })
        })
    }
}

impl FineTuning {
    /// About the most memory of the whole process.
    pub(super) fn process_bytes(&self) -> Result<usize> {
        self.process_bytes_of(&measure(self)?)
    }

    /// The same with sizes that are known.
    pub(super) fn process_bytes_of(&self, sizes: &Sizes) -> Result<usize> {
        Ok(sizes.pool_bytes + self.best_bytes(sizes) + self.file_bytes()? + PROCESS)
    }

    /// Bytes of the copy of the best weights, which evaluations keep.
    pub(super) fn best_bytes(&self, sizes: &Sizes) -> usize {
        if self.is_evaluated() { sizes.gradient_bytes } else { 0 }
    }

    /// What else could be trained with these conversations.
    ///
    /// # Errors
    /// The model's files cannot be read.
    pub(super) fn other_ways(&self) -> Result<Vec<Way>> {
        let (recipe, config) = (self.recipe(), self.config());
        let names = self.draft().names()?;
        let mut ways = vec![("or an adapter of rank 8", Vec::new())];
        let block = ["mlp", "block_sparse_moe"].into_iter();
        let block = block.map(str::to_owned).find(|block| names.iter().any(|n| matches(block, n)));
        ways.extend(block.map(|block| ("or feedforward blocks", vec![block])));
        if let Some(list) = names.iter().find_map(|name| layer_list(name)) {
            let layers = config.layers.len();
            let last = (layers - layers.div_ceil(4)..layers).map(|i| format!("{list}.{i}"));
            ways.push(("or the last quarter of layers", last.collect()));
        }
        ways.push(("or all weights", vec!["*".to_owned()]));
        ways.retain(|(_, weights)| *weights != recipe.train.weights);
        let way = |(what, weights): (&'static str, Vec<String>)| {
            let mut recipe = recipe.clone();
            recipe.train.weights.clone_from(&weights);
            recipe.adapter = AdapterTable::default();
            let task = self.with_recipe(recipe);
            let sizes = measure(&task)?;
            let bytes = task.process_bytes_of(&sizes)?;
            Ok(Way { what, weights, bytes, flops_per_step: sizes.flops })
        };
        ways.into_iter().map(way).collect()
    }
}

/// The name of the list of layers that a parameter is in: `layers` of `model.layers.0.mlp`.
fn layer_list(name: &str) -> Option<&str> {
    let parts: Vec<&str> = name.split('.').collect();
    let numbered = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let at = parts.iter().position(|part| numbered(part))?;
    parts.get(at.checked_sub(1)?).copied()
}
