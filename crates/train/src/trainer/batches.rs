//! The rows of each optimiser step.

use crate::config::TrainConfig;
use crate::history::Progress;
use ff_tensor::{Key, Rng};

/// Steps among whose rows those of much the same length are brought together.
const GROUPED_STEPS: usize = 32;

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

    /// The rows of the next step, by their lengths if they have any.
    pub(super) fn next(
        &mut self,
        config: &TrainConfig,
        progress: &Progress,
        rows: usize,
        lengths: Option<&[u32]>,
    ) -> &[u32] {
        let (pass, step) = if self.period.is_none() {
            (progress.epoch as u64, progress.step_in_epoch)
        } else {
            let steps = whole_steps(config, rows);
            (progress.step / steps, progress.step % steps)
        };
        self.shuffle(config, rows, pass, lengths);
        let rows_a_step = config.batch_size.saturating_mul(config.accumulate);
        let start = step as usize * rows_a_step.min(rows);
        let end = rows.min(start.saturating_add(rows_a_step));
        &self.order[start..end]
    }

    /// The order of the rows in a pass depends only on the seed, the pass and the lengths.
    fn shuffle(&mut self, config: &TrainConfig, rows: usize, pass: u64, lengths: Option<&[u32]>) {
        if self.order_of == Some((rows, pass)) {
            return;
        }
        let mut rng = shuffle(&mut self.order, config.seed, rows, pass);
        if let Some(lengths) = lengths {
            let step = config.batch_size.saturating_mul(config.accumulate).max(1);
            group(&mut self.order, lengths, config.batch_size, step, &mut rng);
        }
        self.order_of = Some((rows, pass));
    }
}

/// The order in which a pass goes over its rows: steps take as many as they need, one after the
/// other, where rows are not grouped by length.
///
/// ```
/// let order = ff_train::pass_order(7, 5, 0);
/// assert_eq!(order.len(), 5);
/// assert_ne!(order, ff_train::pass_order(7, 5, 1));
/// ```
pub fn pass_order(seed: u64, rows: usize, pass: u64) -> Vec<u32> {
    let mut order = Vec::new();
    shuffle(&mut order, seed, rows, pass);
    order
}

/// Shuffles the numbers of the rows; returns the generator behind its last draw.
fn shuffle(order: &mut Vec<u32>, seed: u64, rows: usize, pass: u64) -> Rng {
    order.clear();
    order.extend(0..rows as u32);
    let mut rng = Rng::new(Key::new(seed).with_name("shuffle").with(pass));
    rng.shuffle(order);
    rng
}

/// Sorts the rows of some steps by length, cuts them into micro-batches and shuffles these, so that
/// neither steps nor their order are of one length; the rows that do not fill a micro-batch stay
/// last.
fn group(order: &mut [u32], lengths: &[u32], batch: usize, step: usize, rng: &mut Rng) {
    let length = |row: &u32| lengths.get(*row as usize).copied().unwrap_or(0);
    for rows in order.chunks_mut(step.saturating_mul(GROUPED_STEPS)) {
        rows.sort_by_key(length);
        let mut batches: Vec<usize> = (0..rows.len() / batch).collect();
        rng.shuffle(&mut batches);
        let rest = rows.len() - rows.len() % batch;
        let batches = batches.iter().flat_map(|&i| &rows[i * batch..(i + 1) * batch]);
        let sorted: Vec<u32> = batches.chain(&rows[rest..]).copied().collect();
        rows.copy_from_slice(&sorted);
    }
}

/// The steps of a pass with full batches; at least one.
fn whole_steps(config: &TrainConfig, rows: usize) -> u64 {
    let rows_a_step = config.batch_size.saturating_mul(config.accumulate);
    ((rows / rows_a_step) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_batches_hold_rows_of_much_the_same_length_in_any_order() {
        let rows = 1000;
        let lengths: Vec<u32> = (0..rows).map(|i| (i * 7919 % 97) as u32).collect();
        let config = TrainConfig { batch_size: 8, accumulate: 2, ..TrainConfig::default() };
        let mut batches = Batches::new();
        let spread = |order: &[u32]| -> u32 {
            let of = |rows: &[u32]| {
                let lengths = rows.iter().map(|&row| lengths[row as usize]);
                lengths.clone().max().unwrap_or(0) - lengths.min().unwrap_or(0)
            };
            order.chunks(8).map(of).sum::<u32>()
        };
        batches.shuffle(&config, rows, 3, None);
        let plain = batches.order.clone();
        assert_eq!(plain, pass_order(config.seed, rows, 3));
        batches.order_of = None;
        batches.shuffle(&config, rows, 3, Some(&lengths));
        assert!(10 * spread(&batches.order) < spread(&plain), "{}", spread(&batches.order));
        let first: Vec<u32> =
            batches.order.iter().step_by(8).map(|&i| lengths[i as usize]).collect();
        assert!(!first.is_sorted() && !first.iter().rev().is_sorted());
        let mut all = batches.order.clone();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..rows as u32));
        // The same seed and pass, the same order; another pass, another one.
        let before = batches.order.clone();
        batches.order_of = None;
        batches.shuffle(&config, rows, 3, Some(&lengths));
        assert_eq!(batches.order, before);
        batches.shuffle(&config, rows, 4, Some(&lengths));
        assert_ne!(batches.order, before);
    }
}
