//! Pairs of texts and the model that learns from them, with the scores of a run.

use super::corpus::Pairs;
use super::network::{Draft, Network};
use super::objective::Batches;
use super::recipe::TranslationRecipe;
use super::scores::{Judge, TranslationScores};
use crate::error::Result;
use crate::language::TranslatorFolder;
use crate::run::summary::headline;
use crate::run::task::TaskRecipe;
use ff_graph::Graph;
use ff_table::Note;

/// Pairs of texts, and the model that learns from them.
pub(crate) struct Translating {
    pub(super) recipe: TranslationRecipe,
    pub(super) base: TranslatorFolder,
    /// The columns of sources and targets.
    pub(super) columns: [String; 2],
    /// The training, the validation and the test part.
    pub(super) parts: [Pairs; 3],
    /// The most tokens of a source and of a target.
    pub(super) limits: [usize; 2],
    pub(super) notes: Vec<Note>,
    pub(super) hash: String,
}

/// The scores of the kept weights, of the validation and the test part.
pub(crate) struct Outcome {
    pub(super) parts: [Option<TranslationScores>; 2],
}

impl Outcome {
    /// The scores of the test part, or, without one, of the validation part.
    pub(super) fn headline(&self) -> Option<(&'static str, &TranslationScores)> {
        let [valid, test] = &self.parts;
        headline(valid.as_ref(), test.as_ref())
    }
}

impl Translating {
    pub(super) fn draft(&self) -> Draft {
        Draft::new(&self.recipe, &self.base.config)
    }

    pub(super) fn judge(&self) -> Judge<'_> {
        let settings = &self.recipe.evaluate;
        Judge { base: &self.base, settings, max_target: self.limits[1] }
    }

    /// Pairs of an optimiser step.
    pub(super) fn step(&self) -> usize {
        let train = &self.recipe.train;
        train.batch_size.saturating_mul(train.accumulate).min(self.parts[0].rows()).max(1)
    }

    pub(super) fn batches(&self) -> Batches<'_> {
        let batch = self.recipe.train.batch_size.min(self.parts[0].rows());
        Batches::new(&self.base.config, &self.parts[0], batch)
    }

    /// Target tokens of an optimiser step.
    pub(super) fn tokens_per_step(&self) -> f64 {
        let [_, targets] = self.parts[0].tokens();
        let per_epoch = self.recipe.loop_config().steps_per_epoch(self.parts[0].rows());
        targets as f64 / per_epoch.max(1) as f64
    }

    /// The scores of the held-out parts.
    pub(super) fn scores(
        &self,
        graph: &mut Graph,
        network: &Network,
    ) -> Result<[Option<TranslationScores>; 2]> {
        let mut found = [None, None];
        for (found, part) in found.iter_mut().zip(&self.parts[1..]) {
            if part.rows() > 0 {
                *found = Some(self.judge().scores(graph, &network.plain, part)?);
            }
        }
        Ok(found)
    }
}
