//! What pretraining will take, before it starts.

use super::corpus::{self, Corpus};
use super::setup::{self, Measured, Setup};
use super::{PretrainRecipe, run};
use crate::watch::Watcher;
use crate::{Result, RunFolder, memory};
use ff_nn::models::DecoderConfig;
use ff_tensor::{Device, DeviceOptions};
use ff_train::language::LanguageObjective;
use serde::Serialize;
use std::time::Instant;

/// Parameters, memory by kind, arithmetic and time of a pretraining run.
///
/// The sizes of pool and arena are found by running a step and an evaluation on a device that only counts.
///
/// ```
/// fn fits(plan: &feedforward::pretrain::LanguagePlan) -> bool {
///     plan.available_bytes.is_none_or(|available| plan.pool_bytes < available)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LanguagePlan {
    /// The model in one line.
    pub layers: String,
    /// Values trained.
    pub parameters: usize,
    /// Bytes of the parameters.
    pub parameter_bytes: usize,
    /// Bytes of their gradients.
    pub gradient_bytes: usize,
    /// Bytes of the optimiser's state.
    pub optimizer_bytes: usize,
    /// The most bytes of inputs, activations and their gradients in a step.
    pub activation_bytes: usize,
    /// The most bytes that pool and arena hold from the system.
    pub pool_bytes: usize,
    /// Bytes that are free on this machine.
    pub available_bytes: Option<usize>,
    /// Floating-point operations of an optimiser step.
    pub flops_per_step: u64,
    /// Floating-point operations for a token trained on.
    pub flops_per_token: f64,
    /// Tokens of the training and of the validation part.
    pub tokens: [u64; 2],
    /// Tokens of a step.
    pub tokens_per_step: u64,
    /// Steps.
    pub total_steps: u64,
    /// Seconds of a step, measured on this machine; not a number where the plan does not fit.
    pub seconds_per_step: f64,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// Seconds to the end, evaluations left out.
    pub seconds: f64,
    /// A larger part of the plan made smaller so that it fits, where it does not: a micro-batch of so many windows.
    pub fitting_batch_size: Option<usize>,
}

/// Plans a run and measures a few of its steps; nothing is left on disk.
///
/// # Errors
/// The recipe or the text is not right.
pub fn plan_pretraining(
    recipe: &PretrainRecipe,
    options: DeviceOptions,
    watcher: &mut dyn Watcher,
) -> Result<LanguagePlan> {
    let device = run::open_device(recipe, options)?;
    setup::check(recipe)?;
    let place = tempfile::tempdir()
        .map_err(ff_formats::Error::io("a temporary folder".as_ref(), "making"))?;
    let folder = RunFolder::at(place.path());
    let corpus = corpus::prepare(recipe, &folder, watcher)?;
    let config = setup::config(recipe, &corpus.tokenizer)?;
    let train = &corpus.data.train;
    train.check_vocabulary(config.vocab_size)?;
    train.check_context(recipe.train.context, "training")?;
    let measured = setup::measure(recipe, &config, &corpus)?;
    let available_bytes = memory::available_bytes();
    let fits = available_bytes.is_none_or(|bytes| measured.peak_bytes < bytes);
    let seconds_per_step =
        if fits { time_steps(recipe, &config, &corpus, &device)? } else { f64::NAN };
    let fitting_batch_size = match available_bytes {
        Some(bytes) if !fits => fitting(recipe, &config, &corpus, bytes)?,
        _ => None,
    };
    let tokens_per_step = setup::tokens_per_step(recipe);
    let total_steps = setup::total_steps(recipe, train.tokens());
    Ok(LanguagePlan {
        layers: setup::layers(&config),
        parameters: measured.parameters,
        parameter_bytes: measured.parameter_bytes,
        gradient_bytes: measured.gradient_bytes,
        optimizer_bytes: measured.optimizer_bytes,
        activation_bytes: measured.activation_bytes,
        pool_bytes: measured.peak_bytes,
        available_bytes,
        flops_per_step: measured.flops,
        flops_per_token: measured.flops as f64 / tokens_per_step as f64,
        tokens: [train.tokens(), corpus.data.report.valid.tokens],
        tokens_per_step,
        total_steps,
        seconds_per_step,
        tokens_per_second: tokens_per_step as f64 / seconds_per_step,
        seconds: seconds_per_step * total_steps as f64,
        fitting_batch_size,
    })
}

/// The largest smaller micro-batch whose plan fits, if there is one.
pub(super) fn fitting(
    recipe: &PretrainRecipe,
    config: &DecoderConfig,
    corpus: &Corpus,
    bytes: usize,
) -> Result<Option<usize>> {
    let mut smaller = recipe.clone();
    while smaller.train.batch_size > 1 {
        smaller.train.batch_size /= 2;
        let Measured { peak_bytes, .. } = setup::measure(&smaller, config, corpus)?;
        if peak_bytes < bytes {
            return Ok(Some(smaller.train.batch_size));
        }
    }
    Ok(None)
}

/// The median time of some steps of the very run, within a few seconds.
fn time_steps(
    recipe: &PretrainRecipe,
    config: &DecoderConfig,
    corpus: &Corpus,
    device: &Device,
) -> Result<f64> {
    struct Laps(Vec<f64>, Instant, Instant);
    impl ff_train::Observer for Laps {
        fn event(&mut self, event: ff_train::Event<'_>) {
            if let ff_train::Event::Step { .. } = event {
                self.0.push(self.1.elapsed().as_secs_f64());
                self.1 = Instant::now();
            }
        }
        fn interrupted(&mut self) -> bool {
            self.0.len() >= 50 || self.2.elapsed().as_secs_f64() > 1.0 && self.0.len() >= 3
        }
    }
    let train = &corpus.data.train;
    let Setup { model, mut graph } = setup::build(recipe, config, device)?;
    setup::begin(recipe, config, &mut graph)?;
    let mut trainer = setup::trainer(recipe, graph, device, train.tokens())?;
    let batch = recipe.train.batch_size;
    let mut objective = LanguageObjective::new(
        &model,
        run::windows_of(recipe, &corpus.tokenizer)?,
        train,
        None,
        batch,
    );
    let mut laps = Laps(Vec::new(), Instant::now(), Instant::now());
    trainer.fit(&mut objective, &mut laps, None)?;
    // The first step touches its memory for the first time.
    let mut laps = if laps.0.len() > 1 { laps.0.split_off(1) } else { laps.0 };
    laps.sort_by(f64::total_cmp);
    Ok(laps.get(laps.len() / 2).copied().unwrap_or(f64::NAN))
}
