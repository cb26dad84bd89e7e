//! The rows of each optimiser step.

use crate::config::TrainConfig;
use crate::history::Progress;
use ff_tensor::{Key, Rng};

/// Passes over the rows in a random order, cut into steps.
#[derive(Debug)]
pub(super) struct Batches {
    /// Optimiser steps between evaluations, unless these follow whole passes over the rows.
    pub(super) period: Option<u64>,
    order: Vec<u32>,
    /// The number of rows, and the pass of `order`.
    order_of: Option<(usize, u64)>,
}

impl Batches {
    pub(super) fn new() -> Self {
        Self { period: None, order: Vec::new(), order_of: None }
    }

    pub(super) fn steps_per_epoch(&self, config: &TrainConfig, rows: usize) -> u64 {
        self.period.unwrap_or_else(|| config.steps_per_epoch(rows))
    }

    pub(super) fn total_steps(&self, config: &TrainConfig, rows: usize) -> u64 {
        match (config.steps, self.period) {
            (None, Some(_)) => config.epochs as u64 * whole_steps(config, rows),
            _ => config.total_steps(rows),
        }
    }

    /// The rows of the next step.
    pub(super) fn next(
        &mut self,
        config: &TrainConfig,
        progress: &Progress,
        rows: usize,
    ) -> &[u32] {
        let (pass, step) = if self.period.is_none() {
            (progress.epoch as u64, progress.step_in_epoch)
        } else {
            let steps = whole_steps(config, rows);
            (progress.step / steps, progress.step % steps)
        };
        self.shuffle(config.seed, rows, pass);
        let rows_a_step = config.batch_size.saturating_mul(config.accumulate);
        let start = step as usize * rows_a_step.min(rows);
        let end = rows.min(start.saturating_add(rows_a_step));
        &self.order[start..end]
    }

    /// The order of the rows in a pass depends only on the seed and the pass.
    fn shuffle(&mut self, seed: u64, rows: usize, pass: u64) {
        if self.order_of == Some((rows, pass)) {
            return;
        }
        self.order.clear();
        self.order.extend(0..rows as u32);
        let key = Key::new(seed).with_name("shuffle").with(pass);
        Rng::new(key).shuffle(&mut self.order);
        self.order_of = Some((rows, pass));
    }
}

/// The steps of a pass with full batches; at least one.
fn whole_steps(config: &TrainConfig, rows: usize) -> u64 {
    let rows_a_step = config.batch_size.saturating_mul(config.accumulate);
    ((rows / rows_a_step) as u64).max(1)
}
