//! The training loop.

mod batches;
mod divergence;
mod step_loss;
mod sweep;

use crate::best::BestWeights;
use crate::checkpoint::{Checkpoint, CheckpointPlace};
use crate::config::{Monitor, TrainConfig};
use crate::error::{Error, Result};
use crate::history::{Best, Evaluation, Progress};
use crate::objective::Objective;
use crate::observe::{Event, Observer};
use crate::optim::{LossSum, Optimizer, Status};
use crate::schedule::Schedule;
use batches::Batches;
pub use batches::pass_order;
use ff_graph::{Graph, Mode};
use std::time::Instant;
use step_loss::StepLoss;

/// The reason for the end of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// All epochs or steps are complete.
    Finished,
    /// The monitored score did not improve within the patience.
    Early,
    /// The observer asked to stop; the state is saved and can be resumed.
    Interrupted,
}

/// Trains the parameters of a graph.
#[derive(Debug)]
pub struct Trainer {
    graph: Graph,
    optimizer: Optimizer,
    schedule: Schedule,
    config: TrainConfig,
    progress: Progress,
    batches: Batches,
    best: BestWeights,
    /// The epoch after which training stops, whatever its planned length.
    last_epoch: Option<usize>,
    /// Whether to keep `best`.
    holds_best: bool,
    /// The epoch of the best weights in their own file.
    best_saved: Option<usize>,
}

/// The result of an optimiser step.
struct StepResult {
    /// The mean loss before the update.
    loss: f64,
    grad_norm: f64,
}

impl Trainer {
    /// A trainer at step 0.
    pub fn new(
        mut graph: Graph,
        optimizer: Optimizer,
        schedule: Schedule,
        mut config: TrainConfig,
    ) -> Self {
        graph.set_seed(config.seed);
        if optimizer.needs_closure() {
            // L-BFGS uses all rows at every step.
            config.accumulate = usize::MAX;
        }
        Self {
            graph,
            optimizer,
            schedule,
            config,
            progress: Progress::default(),
            batches: Batches::new(),
            best: BestWeights::default(),
            last_epoch: None,
            holds_best: true,
            best_saved: None,
        }
    }

    /// The same trainer with epochs of a fixed number of optimiser steps instead of passes over the
    /// rows, for data too large for whole passes between evaluations. The last, smaller step of a
    /// pass is dropped.
    #[must_use]
    pub fn with_period(mut self, steps: u64) -> Self {
        self.batches.period = Some(steps.max(1));
        self
    }

    /// The same trainer, stopping after an epoch. Learning rates stay those of the planned length.
    #[must_use]
    pub fn until_epoch(mut self, epoch: usize) -> Self {
        self.last_epoch = Some(epoch);
        self
    }

    /// The same trainer without a copy of the best weights in memory; [`Objective::after_epoch`]
    /// may keep them.
    #[must_use]
    pub fn without_best(mut self) -> Self {
        self.holds_best = false;
        self
    }

    /// The progress of training.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The graph with the trained parameters.
    pub fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    /// Returns the graph.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    /// Returns the graph and the optimiser with its state, for further training.
    pub fn into_parts(self) -> (Graph, Optimizer) {
        (self.graph, self.optimizer)
    }

    /// Restores the state of a checkpoint; the resumed run is bit-identical to an uninterrupted
    /// one.
    ///
    /// # Errors
    /// If the checkpoint belongs to another model, optimiser or kernel path.
    pub fn resume(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let Self { graph, optimizer, schedule, best, .. } = self;
        checkpoint.restore(graph.params_mut(), optimizer, schedule, best)?;
        self.progress = checkpoint.progress().clone();
        // The file of the best weights may be newer than the checkpoint or missing: it is
        // rewritten.
        self.best_saved = None;
        Ok(())
    }

    /// Trains until all epochs are complete, the score stops improving, or the observer asks to
    /// stop; then restores the best weights. Saves the state to `checkpoint` periodically, and
    /// always before returning.
    ///
    /// # Errors
    /// If the loss is not finite (the last good state is saved), an operation fails, or the disk is
    /// full.
    pub fn fit(
        &mut self,
        objective: &mut dyn Objective,
        observer: &mut dyn Observer,
        checkpoint: Option<&CheckpointPlace<'_>>,
    ) -> Result<Stop> {
        let steps_per_epoch = self.batches.steps_per_epoch(&self.config, objective.rows());
        let total_steps = self.batches.total_steps(&self.config, objective.rows());
        let last = self.last_epoch.map_or(u64::MAX, |epoch| epoch as u64 * steps_per_epoch);
        let step = self.progress.step;
        observer.event(Event::Start { step, total_steps: total_steps.min(last), steps_per_epoch });
        let (mut clock, mut saved) = (Instant::now(), Instant::now());
        // A state saved right after the last step of an epoch lacks the end of that epoch.
        while self.progress.step < total_steps || self.progress.step_in_epoch > 0 {
            if self.out_of_patience() || self.last_epoch.is_some_and(|e| self.progress.epoch >= e) {
                break;
            }
            while self.progress.step_in_epoch < steps_per_epoch && self.progress.step < total_steps
            {
                let lr = self.schedule.lr_at(self.progress.step, total_steps);
                self.tell_progress(total_steps);
                let step = self.step(objective, lr);
                if matches!(step, Err(Error::Diverged { .. })) {
                    self.save(checkpoint, observer)?;
                }
                let StepResult { loss, grad_norm } = step?;
                self.count_seconds(&mut clock);
                let (step, epoch) = (self.progress.step, self.progress.epoch + 1);
                let total_steps = total_steps.min(last);
                observer.event(Event::Step { step, total_steps, epoch, loss, lr, grad_norm });
                let interrupted = observer.interrupted();
                if interrupted || saved.elapsed().as_secs_f64() >= self.config.checkpoint_seconds {
                    self.save(checkpoint, observer)?;
                    saved = Instant::now();
                }
                if interrupted {
                    return Ok(Stop::Interrupted);
                }
            }
            let last = self.progress.step.saturating_sub(1);
            self.end_epoch(objective, self.schedule.lr_at(last, total_steps))?;
            self.count_seconds(&mut clock);
            if let Some(record) = self.progress.history.last() {
                let best = self.progress.best.map(|b| b.epoch);
                observer.event(Event::Epoch { record, best });
            }
        }
        self.save(checkpoint, observer)?;
        self.restore_best()?;
        Ok(if self.out_of_patience() { Stop::Early } else { Stop::Finished })
    }

    /// Tells what changes with it the part of training that is over.
    fn tell_progress(&mut self, total_steps: u64) {
        let progress = self.progress.step as f64 / total_steps.max(1) as f64;
        self.graph.set_progress(progress);
        self.optimizer.set_progress(progress);
    }

    /// One optimiser step: forward and backward over its micro-batches, then the update.
    fn step(&mut self, objective: &mut dyn Objective, lr: f64) -> Result<StepResult> {
        self.graph.set_mode(Mode::Train);
        let mut loss = StepLoss {
            rows: {
                let (rows, lengths) = (objective.rows(), objective.lengths());
                self.batches.next(&self.config, &self.progress, rows, lengths)
            },
            graph: &mut self.graph,
            objective: &mut *objective,
            batch_size: self.config.batch_size,
            step: self.progress.step,
            seed: self.config.seed,
            first: None,
            not_finite: None,
        };
        let report = self.optimizer.minimize(&mut loss, lr);
        let (first, not_finite) = (loss.first, loss.not_finite);
        if let Some(batch) = not_finite {
            return Err(self.loss_not_finite(objective, &batch));
        }
        let report = report?;
        if report.status == Status::NonFinite {
            return Err(self.gradient_not_finite());
        }
        self.graph.commit_state()?;
        let LossSum { sum, count } = first.unwrap_or_default();
        let loss = if count > 0.0 { sum / count } else { 0.0 };
        self.progress.add_step(sum, count, report.grad_norm);
        self.progress.first_loss.get_or_insert(loss);
        Ok(StepResult { loss, grad_norm: report.grad_norm })
    }

    /// Evaluates the averaged weights, if any, keeps the best, and informs the schedule.
    fn end_epoch(&mut self, objective: &mut dyn Objective, lr: f64) -> Result<()> {
        self.graph.reset();
        self.graph.set_mode(Mode::Eval);
        self.optimizer.swap_average(self.graph.params_mut())?;
        let evaluation = objective.evaluate(&mut self.graph)?;
        self.graph.reset();
        let record = self.progress.end_epoch(evaluation, lr);
        let is_best = if let Some(score) = self.monitored(evaluation) {
            self.schedule.observe(score, true);
            self.keep_if_best(score)?
        } else {
            // Without a validation part, the last epoch counts as the best.
            self.schedule.observe(record.train_loss, false);
            true
        };
        objective.after_epoch(&mut self.graph, &record, is_best)?;
        self.graph.reset();
        self.optimizer.swap_average(self.graph.params_mut())?;
        self.check_growth(record.train_loss)
    }

    /// The score that selects the best epoch; higher is better.
    fn monitored(&self, evaluation: Option<Evaluation>) -> Option<f64> {
        evaluation.map(|evaluation| match self.config.monitor {
            Monitor::Loss => -evaluation.loss,
            Monitor::Score => evaluation.score,
        })
    }

    fn keep_if_best(&mut self, value: f64) -> Result<bool> {
        let best = self.progress.best;
        let better = best.is_none_or(|best| {
            let same = self.config.latest_best && value == best.value;
            let share = self.config.min_gain.unwrap_or_default();
            let least = self.config.min_delta + share * best.value.abs();
            value > best.value + least || same
        });
        let is_best = better && value.is_finite();
        if is_best {
            self.progress.best = Some(Best { epoch: self.progress.epoch, value });
            if self.holds_best {
                self.best.keep(self.graph.params())?;
            }
        }
        Ok(is_best)
    }

    fn out_of_patience(&self) -> bool {
        let patience = |best| self.config.patience_after(best);
        let over = |best: Best| self.progress.epoch - best.epoch >= patience(best.epoch);
        self.config.patience > 0 && self.progress.best.is_some_and(over)
    }

    fn restore_best(&mut self) -> Result<()> {
        if self.config.restore_best && !self.best.is_empty() {
            self.best.restore(self.graph.params_mut())?;
        } else {
            self.optimizer.swap_average(self.graph.params_mut())?;
        }
        Ok(())
    }

    fn count_seconds(&mut self, clock: &mut Instant) {
        let now = Instant::now();
        self.progress.seconds += (now - *clock).as_secs_f64();
        *clock = now;
    }

    fn save(
        &mut self,
        place: Option<&CheckpointPlace<'_>>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let Some(place) = place else { return Ok(()) };
        let Self { graph, optimizer, schedule, progress, best, .. } = &*self;
        Checkpoint::save(place, graph, optimizer, schedule, progress, best)?;
        let epoch = progress.best.map(|best| best.epoch);
        if epoch != self.best_saved && !best.is_empty() {
            Checkpoint::save_best(place, graph.params(), best)?;
            self.best_saved = epoch;
        }
        observer.event(Event::Checkpoint(place.path));
        Ok(())
    }
}
