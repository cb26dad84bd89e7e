//! The shapes that depend on the step alone; their equations stand at [`ScheduleKind`].

use super::{Anneal, DecayType, ScheduleConfig, ScheduleKind, Span};
use std::f64::consts::PI;

/// The rate of step `step` ≤ `total`, without warm-up.
pub(super) fn lr(config: &ScheduleConfig, lr: f64, step: u64, total: u64) -> f64 {
    let progress = if total == 0 { 0.0 } else { step as f64 / total as f64 };
    let min_lr = config.min_lr.unwrap_or(0.0);
    match config.kind {
        ScheduleKind::Constant | ScheduleKind::Plateau => lr,
        ScheduleKind::Step => lr * config.gamma.unwrap_or(0.1).powf(drops(config, step, total)),
        ScheduleKind::Exponential => lr * config.gamma.unwrap_or(1.0).powf(step as f64),
        ScheduleKind::Cosine => {
            let progress = config.cycle.map_or(progress, |cycle| {
                in_cycle(cycle.steps(total).max(1), config.cycle_multiplier.unwrap_or(1), step)
            });
            min_lr + (lr - min_lr) * (1.0 + (PI * progress).cos()) / 2.0
        }
        ScheduleKind::Linear => {
            let start = config.start_factor.unwrap_or(1.0);
            let end = config.end_factor.unwrap_or(0.0);
            lr * (start + (end - start) * progress)
        }
        ScheduleKind::Polynomial => {
            min_lr + (lr - min_lr) * (1.0 - progress).powf(config.power.unwrap_or(1.0))
        }
        ScheduleKind::OneCycle => one_cycle(config, lr, step, total),
        ScheduleKind::WarmupStableDecay => {
            let decay = config.decay.unwrap_or(Span::Fraction(0.2)).steps(total).min(total);
            let start = total - decay;
            if step <= start {
                return lr;
            }
            let s = (step - start) as f64 / decay as f64;
            let left = match config.decay_type.unwrap_or_default() {
                DecayType::OneMinusSqrt => 1.0 - s.sqrt(),
                DecayType::Linear => 1.0 - s,
                DecayType::Cosine => 0.5 + 0.5 * (PI * s).cos(),
            };
            min_lr + (lr - min_lr) * left
        }
    }
}

/// How many times the rate has dropped.
fn drops(config: &ScheduleConfig, step: u64, total: u64) -> f64 {
    match (config.step_size, &config.milestones) {
        (Some(size), _) => (step / size.steps(total).max(1)) as f64,
        (None, Some(milestones)) => {
            milestones.iter().filter(|at: &&Span| at.steps(total) <= step).count() as f64
        }
        (None, None) => 0.0,
    }
}

/// How far step is into its cycle, from 0 to 1.
fn in_cycle(first: u64, multiplier: u64, mut step: u64) -> f64 {
    let mut length = first;
    if multiplier == 1 {
        step %= length;
    }
    while step >= length {
        step -= length;
        length = length.saturating_mul(multiplier);
    }
    step as f64 / length as f64
}

fn one_cycle(config: &ScheduleConfig, lr: f64, step: u64, total: u64) -> f64 {
    let up = config.pct_start.unwrap_or(0.3);
    let start = lr / config.div_factor.unwrap_or(25.0);
    let end = start / config.final_div_factor.unwrap_or(1e4);
    let (total, step) = (total as f64, step as f64);
    // Where each phase ends and at what rate; as in PyTorch the last step, not the one after it, has the last rate.
    let phases: &[(f64, f64)] = if config.three_phase.unwrap_or(false) {
        &[(up * total - 1.0, lr), (2.0 * up * total - 2.0, start), (total - 1.0, end)]
    } else {
        &[(up * total - 1.0, lr), (total - 1.0, end)]
    };
    let (mut from, mut rate) = (0.0, start);
    for &(to, next) in phases {
        if step <= to {
            let progress = (step - from) / (to - from);
            // A phase that ends where it began has no way to go.
            let progress = if progress.is_finite() { progress } else { 1.0 };
            return match config.anneal.unwrap_or_default() {
                Anneal::Cos => next + (rate - next) / 2.0 * ((PI * progress).cos() + 1.0),
                Anneal::Linear => (next - rate) * progress + rate,
            };
        }
        (from, rate) = (to, next);
    }
    end
}
