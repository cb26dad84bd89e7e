//! Rows of texts and the encoder that learns from them, with the scores of a run.

use super::corpus::{Names, Part};
use super::goal::Goal;
use super::objective::EncoderObjective;
use super::recipe::{EncoderRecipe, ObjectiveKind};
use super::rows::Reading;
use super::scores::{EncoderScores, Judge, probabilities};
use crate::embedding::{TaskFile, task_file};
use crate::error::Result;
use crate::run::summary::headline;
use crate::sequence::{Base, Network, Shapes};
use ff_metrics::choose_threshold;
use ff_nn::models::EncoderOutputs;
use ff_table::Note;
use ff_tensor::Device;
use serde::Serialize;
use std::path::PathBuf;

/// Rows of texts, and the encoder that learns from them.
pub(crate) struct EncoderTask {
    pub(super) recipe: EncoderRecipe,
    pub(super) reading: Reading,
    /// The training, the validation and the test part.
    pub(super) parts: [Part; 3],
    pub(super) names: Names,
    pub(super) base: Base,
    pub(super) goal: Goal,
    pub(super) notes: Vec<Note>,
    pub(super) hash: String,
}

/// The scores of the trained encoder.
pub(crate) struct Outcome {
    /// Of the validation and the test part.
    pub(super) parts: [Option<EncoderScores>; 2],
}

impl Outcome {
    /// The scores of the test part, or, without one, of the validation part.
    pub(super) fn headline(&self) -> Option<(&'static str, &EncoderScores)> {
        let [valid, test] = &self.parts;
        headline(valid.as_ref(), test.as_ref())
    }
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EncoderSummary {
    /// The run's folder.
    pub run: PathBuf,
    /// What was learned.
    pub objective: ObjectiveKind,
    /// The scores of the validation part, which chose the epoch.
    pub valid: Option<EncoderScores>,
    /// The scores of the test part.
    pub test: Option<EncoderScores>,
    /// Total seconds, over all sessions of a resumed run.
    pub seconds: f64,
    /// Optimiser steps.
    pub steps: u64,
    /// Epochs.
    pub epochs: usize,
    /// The epoch whose weights are kept.
    pub best_epoch: Option<usize>,
    /// Trainable parameters.
    pub parameters: usize,
    /// Peak memory of the process, in bytes.
    pub peak_bytes: usize,
    /// Peak memory of pool and arena, in bytes.
    pub pool_bytes: usize,
    /// Why it ended: `finished`, `early` or `interrupted`.
    pub stopped: String,
}

impl EncoderTask {
    pub(super) fn kind(&self) -> ObjectiveKind {
        self.recipe.objective.kind
    }

    /// Rows of an optimiser step.
    pub(super) fn step(&self) -> usize {
        let train = &self.recipe.train;
        train.batch_size.saturating_mul(train.accumulate).min(self.parts[0].rows()).max(1)
    }

    pub(super) fn objective<'a>(&'a self, network: &'a Network) -> EncoderObjective<'a> {
        let batch = self.recipe.train.batch_size.min(self.parts[0].rows());
        let columns = self.parts[0].tokens.ids.len() / self.parts[0].rows().max(1);
        EncoderObjective {
            network,
            goal: &self.goal,
            names: &self.names,
            train: &self.parts[0],
            valid: &self.parts[1],
            batch,
            seed: self.recipe.train.seed,
            shapes: Shapes::new(&self.parts[0].tokens, batch * columns.max(1)),
        }
    }

    /// The setting of twice as many epochs.
    pub(super) fn longer(&self) -> String {
        format!("train.epochs={}", 2 * self.recipe.train.epochs)
    }
}

/// The outputs of an objective.
pub(super) fn outputs(kind: ObjectiveKind, names: &Names) -> EncoderOutputs<'_> {
    match kind {
        ObjectiveKind::Labels => EncoderOutputs::Labels(&names.all),
        ObjectiveKind::Numbers => EncoderOutputs::Numbers(&names.all),
        ObjectiveKind::Tags => EncoderOutputs::Tags(&names.all),
        ObjectiveKind::Masked => EncoderOutputs::MaskedTokens,
        ObjectiveKind::Pairs => EncoderOutputs::Vectors,
    }
}

impl EncoderTask {
    pub(super) fn judge<'a>(&'a self, thresholds: &'a [f64], device: &'a Device) -> Judge<'a> {
        Judge { kind: self.kind(), names: &self.names, thresholds, device }
    }

    /// The least probability of each label that is predicted, from the logits of the validation
    /// part.
    pub(super) fn thresholds(&self, logits: Option<&[f32]>) -> Result<Vec<f64>> {
        let labels = self.names.all.len();
        if self.kind() != ObjectiveKind::Labels {
            return Ok(Vec::new());
        }
        let (Some(aim), Some(logits)) = (self.recipe.evaluate.threshold, logits) else {
            return Ok(vec![0.5; labels]);
        };
        let (all, truth) = (probabilities(logits), &self.parts[1].values);
        let of = |label: usize| {
            let own: Vec<f64> = all.iter().skip(label).step_by(labels).copied().collect();
            let truth: Vec<bool> =
                truth.iter().skip(label).step_by(labels).map(|&t| t > 0.5).collect();
            // A label that all rows have, or none, has no threshold to choose.
            if truth.iter().all(|&t| t) || !truth.contains(&true) {
                return Ok(0.5);
            }
            Ok(choose_threshold(&own, &truth, None, aim)?.threshold)
        };
        (0..labels).map(of).collect()
    }

    pub(super) fn task_file(&self, thresholds: Vec<f64>) -> TaskFile {
        let mut task = task_file(self.reading.text.clone(), None, &self.base.reader);
        task.precision = self.recipe.model.precision;
        task.null_values.clone_from(&self.recipe.data.null_values);
        task.data_hash.clone_from(&self.hash);
        task.thresholds = thresholds;
        task.separator.clone_from(&self.reading.separator);
        if self.kind() == ObjectiveKind::Tags {
            task.scheme = Some(self.names.scheme);
        }
        task
    }
}
