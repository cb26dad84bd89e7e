//! The training loop.

mod pass;
mod sweep;

use crate::checkpoint::{Checkpoint, CheckpointPlace};
use crate::optim::{self, Optimizer, Skip, first_non_finite_gradient};
use crate::schedule::Schedule;
use crate::{Best, EpochRecord, Error, Event, Monitor, Observer, Progress, Result, TrainConfig};
use ff_graph::{Graph, Mode, Value};
use ff_tensor::{Key, Rng};
use std::time::Instant;

use pass::{Pass, PassError, augmentation_key};

/// A loss so many times its first value, over a whole epoch, is called divergence.
const DIVERGED: f64 = 100.0;

/// The loss of some rows, as a sum and the number of rows (or weights) that it is to be divided by.
///
/// ```
/// fn mean(loss: &ff_train::BatchLoss) -> ff_graph::Result<f64> { Ok(loss.sum.item()? / loss.count.item()?) }
/// ```
#[derive(Debug)]
pub struct BatchLoss {
    /// The sum.
    pub sum: Value,
    /// The count.
    pub count: Value,
    /// What backward starts from where that is not the sum: the sum and what else is made small, such as a router's
    /// balance. It is not part of the loss that is told.
    pub total: Option<Value>,
}

/// What an evaluation found on the validation part.
///
/// ```
/// let found = ff_train::Evaluation { loss: 0.1, score: 0.97 };
/// assert!(found.score > 0.9);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// The mean loss.
    pub loss: f64,
    /// Accuracy, R²: higher is better.
    pub score: f64,
}

/// What is trained: turns rows into a loss.
///
/// ```
/// use ff_graph::{Graph, Result};
/// use ff_tensor::Key;
/// use ff_train::{BatchLoss, Evaluation, Objective};
/// /// Trains on the rows of another objective and never evaluates.
/// struct Blind<O>(O);
/// impl<O: Objective> Objective for Blind<O> {
///     fn rows(&self) -> usize {
///         self.0.rows()
///     }
///     fn loss(&mut self, graph: &mut Graph, rows: &[u32], key: Key) -> Result<BatchLoss> {
///         self.0.loss(graph, rows, key)
///     }
///     fn evaluate(&mut self, _graph: &mut Graph) -> Result<Option<Evaluation>> {
///         Ok(None)
///     }
/// }
/// ```
pub trait Objective {
    /// How many rows there are to train on.
    fn rows(&self) -> usize;

    /// The loss of these rows; `key` is for what is random about the batch.
    ///
    /// # Errors
    /// An operation failed.
    fn loss(&mut self, graph: &mut Graph, rows: &[u32], key: Key) -> ff_graph::Result<BatchLoss>;

    /// The loss and score on the validation part; `None` where there is none. The graph is in evaluation mode.
    ///
    /// # Errors
    /// An operation failed.
    fn evaluate(&mut self, graph: &mut Graph) -> ff_graph::Result<Option<Evaluation>>;

    /// Called when an epoch has been evaluated, with its figures and whether they are the best so far; the graph is in
    /// evaluation mode and holds the weights that were judged.
    ///
    /// # Errors
    /// What it does with them failed, such as writing a file.
    fn judged(&mut self, graph: &mut Graph, record: &EpochRecord, is_best: bool) -> Result<()> {
        let _ = (graph, record, is_best);
        Ok(())
    }
}

/// Why training ended.
///
/// ```
/// assert_ne!(ff_train::Stop::Finished, ff_train::Stop::Interrupted);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// All epochs or steps are done.
    Finished,
    /// No gain for as many epochs as the patience allows.
    Early,
    /// The observer asked; the state is saved and `resume` goes on.
    Interrupted,
}

/// Trains the parameters of a graph.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_tensor::{DType, Device};
/// use ff_train::{TrainConfig, Trainer, optim::{Optimizer, OptimizerConfig}, schedule::{Schedule, ScheduleConfig}};
/// let device = Device::default();
/// let params = Params::allocate(&device, DType::F32, vec![], true)?;
/// let optimizer = Optimizer::new(&OptimizerConfig::default(), &params, &device)?;
/// let schedule = Schedule::new(&ScheduleConfig::default(), 1e-3)?;
/// let trainer = Trainer::new(Graph::new(&device, params), optimizer, schedule, TrainConfig::default());
/// assert_eq!(trainer.progress().step, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    graph: Graph,
    optimizer: Optimizer,
    schedule: Schedule,
    config: TrainConfig,
    progress: Progress,
    best_values: Vec<f32>,
    best_state: Vec<f32>,
    /// The epoch of the best weights that lie in a file of their own.
    best_saved: Option<usize>,
    order: Vec<u32>,
    /// What `order` is of: the number of rows and the pass.
    order_of: Option<(usize, u64)>,
    /// Optimiser steps between evaluations, where those are not whole passes over the data.
    period: Option<u64>,
    /// Whether the weights of the best epoch are held beside the trained ones.
    holds_best: bool,
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
        if optimizer.needs_objective() {
            // L-BFGS looks at all rows at every step.
            config.accumulate = usize::MAX;
        }
        Self {
            graph,
            optimizer,
            schedule,
            config,
            progress: Progress::default(),
            best_values: Vec::new(),
            best_state: Vec::new(),
            best_saved: None,
            order: Vec::new(),
            order_of: None,
            period: None,
            holds_best: true,
        }
    }

    /// The same trainer, for which an epoch is so many optimiser steps in place of a pass over the rows: what evaluates
    /// from time to time on data that is too much for one pass. The last, smaller step of a pass is left out.
    #[must_use]
    pub fn with_period(mut self, steps: u64) -> Self {
        self.period = Some(steps.max(1));
        self
    }

    /// The same trainer without a copy of the best weights in memory: [`Objective::judged`] keeps them where it likes.
    #[must_use]
    pub fn without_best(mut self) -> Self {
        self.holds_best = false;
        self
    }

    /// Where training stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The graph, whose parameters are trained.
    pub fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    /// Gives the graph back.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    /// Takes up the state of a checkpoint: training goes on with the bits of a run that was never stopped.
    ///
    /// # Errors
    /// The checkpoint is of another model, optimiser or kernel path.
    pub fn resume(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.restore(
            self.graph.params_mut(),
            &mut self.optimizer,
            &mut self.schedule,
            &mut self.best_values,
            &mut self.best_state,
        )?;
        self.progress = checkpoint.progress().clone();
        // The file of the best weights may be newer than the checkpoint, or gone: it is written anew.
        self.best_saved = None;
        Ok(())
    }

    /// Trains until the epochs are over, nothing gets better, or the observer asks to stop; then puts the best weights
    /// back. Saves the state to `checkpoint` from time to time, always before it returns.
    ///
    /// # Errors
    /// The loss is not finite (the last good state is saved), an operation failed, or the disk is full.
    pub fn fit(
        &mut self,
        objective: &mut dyn Objective,
        observer: &mut dyn Observer,
        checkpoint: Option<&CheckpointPlace<'_>>,
    ) -> Result<Stop> {
        let steps_per_epoch = self.steps_per_epoch(objective.rows());
        let total_steps = self.total_steps(objective.rows());
        observer.event(Event::Start { step: self.progress.step, total_steps, steps_per_epoch });
        let mut saved = Instant::now();
        let mut clock = Instant::now();
        let mut stop = Stop::Finished;
        // A state saved right after the last step still lacks the end of its epoch.
        while self.progress.step < total_steps || self.progress.step_in_epoch > 0 {
            if self.out_of_patience() {
                stop = Stop::Early;
                break;
            }
            while self.progress.step_in_epoch < steps_per_epoch && self.progress.step < total_steps
            {
                let lr = self.schedule.lr_at(self.progress.step, total_steps);
                let step = self.step(objective, lr);
                if let (Err(Error::Diverged { .. }), Some(place)) = (&step, checkpoint) {
                    self.save(place, observer)?;
                }
                let (loss, grad_norm) = step?;
                let now = Instant::now();
                self.progress.seconds += (now - clock).as_secs_f64();
                clock = now;
                observer.event(Event::Step {
                    step: self.progress.step,
                    total_steps,
                    epoch: self.progress.epoch + 1,
                    loss,
                    lr,
                    grad_norm,
                });
                let interrupted = observer.interrupted();
                let due = (now - saved).as_secs_f64() >= self.config.checkpoint_seconds;
                if let Some(place) = checkpoint
                    && (interrupted || due)
                {
                    self.save(place, observer)?;
                    saved = Instant::now();
                }
                if interrupted {
                    return Ok(Stop::Interrupted);
                }
            }
            let last = self.progress.step.saturating_sub(1);
            self.end_epoch(objective, self.schedule.lr_at(last, total_steps))?;
            self.progress.seconds += clock.elapsed().as_secs_f64();
            clock = Instant::now();
            if let Some(record) = self.progress.history.last() {
                let best = self.progress.best.map(|b| b.epoch);
                observer.event(Event::Epoch { record, best });
            }
        }
        if stop == Stop::Finished && self.out_of_patience() {
            stop = Stop::Early;
        }
        if let Some(place) = checkpoint {
            self.save(place, observer)?;
        }
        self.restore_best()?;
        Ok(stop)
    }

    fn out_of_patience(&self) -> bool {
        let since = self.progress.best.map(|best| self.progress.epoch - best.epoch);
        self.config.patience > 0 && since.is_some_and(|since| since >= self.config.patience)
    }

    fn steps_per_epoch(&self, rows: usize) -> u64 {
        self.period.unwrap_or_else(|| self.config.steps_per_epoch(rows))
    }

    fn total_steps(&self, rows: usize) -> u64 {
        match (self.config.steps, self.period) {
            (None, Some(_)) => self.config.epochs as u64 * self.whole_steps(rows),
            _ => self.config.total_steps(rows),
        }
    }

    /// The steps of a pass whose batches are all of one size; at least one.
    fn whole_steps(&self, rows: usize) -> u64 {
        let rows_a_step = self.config.batch_size.saturating_mul(self.config.accumulate);
        ((rows / rows_a_step) as u64).max(1)
    }

    /// Which pass over the rows the next step belongs to, and its number in it.
    fn place(&self, rows: usize) -> (u64, u64) {
        if self.period.is_none() {
            return (self.progress.epoch as u64, self.progress.step_in_epoch);
        }
        let steps = self.whole_steps(rows);
        (self.progress.step / steps, self.progress.step % steps)
    }

    /// The order of a pass's rows depends on the seed and the pass alone.
    fn shuffle(&mut self, rows: usize, pass: u64) {
        if self.order_of == Some((rows, pass)) {
            return;
        }
        self.order.clear();
        self.order.extend(0..rows as u32);
        let key = Key::new(self.config.seed).with_name("shuffle").with(pass);
        Rng::new(key).shuffle(&mut self.order);
        self.order_of = Some((rows, pass));
    }

    /// One optimiser step over its micro-batches: mean loss and gradient norm.
    fn step(&mut self, objective: &mut dyn Objective, lr: f64) -> Result<(f64, f64)> {
        let (batch, accumulate) = (self.config.batch_size, self.config.accumulate);
        let rows = batch.saturating_mul(accumulate);
        let (pass, step_in_pass) = self.place(objective.rows());
        self.shuffle(objective.rows(), pass);
        let start = step_in_pass as usize * rows.min(self.order.len());
        let end = self.order.len().min(start.saturating_add(rows));
        let number = self.progress.step;
        self.graph.set_mode(Mode::Train);
        let mut pass = Pass {
            graph: &mut self.graph,
            objective: &mut *objective,
            rows: &self.order[start..end],
            batch,
            step: number,
            seed: self.config.seed,
            first_sum: None,
            failed: None,
        };
        let (sum, count, grad_norm) = if self.optimizer.needs_objective() {
            let minimized = self.optimizer.minimize(&mut pass, lr);
            let (first_sum, failed) = (pass.first_sum, pass.failed);
            if let Some((micro, loss)) = failed {
                let rows = start + micro * batch..end.min(start + (micro + 1) * batch);
                return Err(self.diagnose(objective, rows, micro, loss));
            }
            let report = minimized?;
            if report.stop == optim::Stop::NonFinite {
                return Err(self.non_finite_gradient());
            }
            let (sum, count) = first_sum.unwrap_or_default();
            (sum, count, report.grad_norm)
        } else {
            let (sum, count) = match pass.run() {
                Ok(found) => found,
                Err(PassError::NonFinite(micro, loss)) => {
                    let rows = start + micro * batch..end.min(start + (micro + 1) * batch);
                    return Err(self.diagnose(objective, rows, micro, loss));
                }
                Err(PassError::Op(error)) => return Err(error.into()),
            };
            if number == 0
                && let Some(name) = self.graph.params().untouched().next()
            {
                return Err(Error::Untrained(format!("parameter `{name}`")));
            }
            let report = self.optimizer.step(self.graph.params_mut(), count, lr)?;
            if report.skipped == Some(Skip::NonFinite) {
                return Err(self.non_finite_gradient());
            }
            (sum, count, report.grad_norm)
        };
        self.graph.commit_state()?;
        self.progress.step += 1;
        self.progress.step_in_epoch += 1;
        self.progress.loss_sum += sum;
        self.progress.loss_count += count;
        self.progress.grad_norm_sum += grad_norm;
        let mean = if count > 0.0 { sum / count } else { 0.0 };
        self.progress.first_loss.get_or_insert(mean);
        Ok((mean, grad_norm))
    }

    /// Runs a bad batch again, looking at every value, to name the operation and the parameters where it went wrong.
    fn diagnose(
        &mut self,
        objective: &mut dyn Objective,
        rows: std::ops::Range<usize>,
        micro: usize,
        loss: f64,
    ) -> Error {
        self.graph.reset();
        self.graph.set_step(self.progress.step, micro as u64);
        self.graph.set_check_finite(true);
        let key = augmentation_key(self.config.seed, self.progress.step, micro);
        let cause = objective.loss(&mut self.graph, &self.order[rows], key).err();
        self.graph.set_check_finite(false);
        self.graph.reset();
        let kind = if loss.is_nan() { "NaN" } else { "infinite" };
        let what = match cause {
            Some(cause) => format!("the loss is {kind}: {cause}"),
            None => format!("the loss is {kind}, though every value that leads to it is finite"),
        };
        Error::Diverged { step: self.progress.step + 1, what, hint: self.hint() }
    }

    fn non_finite_gradient(&mut self) -> Error {
        let found = match first_non_finite_gradient(self.graph.params_mut()) {
            Ok(found) => found,
            Err(error) => return error.into(),
        };
        let of = found.map_or(String::new(), |found| format!(" of `{}`", found.name));
        let what = format!("the gradient{of} is not finite; the update was not made");
        Error::Diverged { step: self.progress.step + 1, what, hint: self.hint() }
    }

    fn hint(&self) -> String {
        let lr = self.optimizer.config().lr();
        format!(
            "try a lower rate (--set optimizer.lr={}) or clipping (--set optimizer.clip_norm=1), and look for very \
             large values in the data",
            lr / 10.0
        )
    }

    fn end_epoch(&mut self, objective: &mut dyn Objective, lr: f64) -> Result<()> {
        self.graph.reset();
        self.graph.set_mode(Mode::Eval);
        self.optimizer.swap_average(self.graph.params_mut())?;
        let evaluation = objective.evaluate(&mut self.graph)?;
        self.graph.reset();
        let progress = &mut self.progress;
        progress.epoch += 1;
        let train_loss = progress.loss_sum / progress.loss_count.max(f64::MIN_POSITIVE);
        let record = EpochRecord {
            epoch: progress.epoch,
            step: progress.step,
            train_loss,
            valid_loss: evaluation.map(|e| e.loss),
            valid_score: evaluation.map(|e| e.score),
            lr,
            grad_norm: progress.grad_norm_sum / progress.step_in_epoch.max(1) as f64,
            seconds: progress.seconds,
        };
        progress.history.push(record.clone());
        (progress.loss_sum, progress.loss_count, progress.grad_norm_sum) = (0.0, 0.0, 0.0);
        progress.step_in_epoch = 0;
        // Without a validation part the last epoch is the best that is known.
        let value = match (evaluation, self.config.monitor) {
            (Some(e), Monitor::Loss) => Some(-e.loss),
            (Some(e), Monitor::Score) => Some(e.score),
            (None, _) => None,
        };
        let mut is_best = value.is_none();
        if let Some(value) = value {
            let better =
                progress.best.is_none_or(|best| value > best.value + self.config.min_delta);
            is_best = better && value.is_finite();
            if is_best {
                progress.best = Some(Best { epoch: progress.epoch, value });
            }
            if is_best && self.holds_best {
                let params = self.graph.params();
                self.best_values.clear();
                self.best_values.extend_from_slice(params.flat::<f32>()?);
                self.best_state.clear();
                self.best_state.extend_from_slice(params.state::<f32>()?);
            }
            self.schedule.observe(value, true);
        } else {
            self.schedule.observe(train_loss, false);
        }
        objective.judged(&mut self.graph, &record, is_best)?;
        self.graph.reset();
        self.optimizer.swap_average(self.graph.params_mut())?;
        let first = self.progress.first_loss.unwrap_or(f64::INFINITY).abs();
        if train_loss > DIVERGED * first.max(1e-3) {
            let what = format!("the training loss grew from {first:.4} to {train_loss:.4}");
            return Err(Error::Diverged { step: self.progress.step, what, hint: self.hint() });
        }
        Ok(())
    }

    fn restore_best(&mut self) -> Result<()> {
        if self.config.restore_best && !self.best_values.is_empty() {
            let params = self.graph.params_mut();
            params.flat_mut::<f32>()?.copy_from_slice(&self.best_values);
            params.state_mut::<f32>()?.copy_from_slice(&self.best_state);
        } else {
            self.optimizer.swap_average(self.graph.params_mut())?;
        }
        Ok(())
    }

    fn save(&mut self, place: &CheckpointPlace<'_>, observer: &mut dyn Observer) -> Result<()> {
        Checkpoint::save(
            place,
            self.graph.params(),
            &self.optimizer,
            &self.schedule,
            &self.progress,
            (&self.best_values, &self.best_state),
            self.graph.device().cpu(),
        )?;
        let best = self.progress.best.map(|best| best.epoch);
        if best != self.best_saved && !self.best_values.is_empty() {
            let params = self.graph.params();
            Checkpoint::save_best(place, params, (&self.best_values, &self.best_state))?;
            self.best_saved = best;
        }
        observer.event(Event::Checkpoint(place.path));
        Ok(())
    }
}
