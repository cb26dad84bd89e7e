//! Line searches along a direction.

use super::{Descent, GRADIENTS, largest, slice};
use crate::optim::closure::Closure;
use ff_kernels::Float;

/// The minimum decrease of the loss, as a fraction of the decrease predicted by the slope.
const ARMIJO: f64 = 1e-4;
/// The maximum slope at the end, as a fraction of that at the start.
const CURVATURE: f64 = 0.9;

/// A point on the line: its distance, its loss, its slope along the direction, and the slot of its
/// gradient.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    pub(super) t: f64,
    pub(super) loss: f64,
    pub(super) slope: f64,
    pub(super) slot: usize,
}

impl Trial {
    /// Whether the loss is sufficiently below that of the start.
    fn falls_enough(&self, start: &Trial) -> bool {
        self.loss <= start.loss + ARMIJO * self.t * start.slope
    }

    fn is_flat_enough(&self, start: &Trial) -> bool {
        self.slope.abs() <= -CURVATURE * start.slope
    }
}

impl<C: Closure> Descent<'_, C> {
    /// A point where the strong Wolfe conditions hold: steps out until one is bracketed, then
    /// narrows the bracket (Nocedal and Wright 2006, algorithms 3.5 and 3.6), with the
    /// interpolation and safeguards of Schmidt's minFunc, as in PyTorch; the best end of the
    /// bracket if evaluations run out.
    pub(super) fn strong_wolfe<T: Float>(
        &mut self,
        start: Trial,
        t: f64,
        most: usize,
    ) -> Result<Trial, C::Error> {
        let mut previous = start;
        let mut trial = self.try_at::<T>(t, free(&[start]))?;
        let mut tries = 0;
        let (mut low, mut high) = loop {
            if tries >= most {
                break ordered(start, trial);
            }
            if !trial.falls_enough(&start) || (tries > 1 && trial.loss >= previous.loss) {
                break ordered(previous, trial);
            }
            if trial.is_flat_enough(&start) {
                return Ok(trial);
            }
            if trial.slope >= 0.0 {
                break ordered(previous, trial);
            }
            let bounds = (trial.t + 0.01 * (trial.t - previous.t), trial.t * 10.0);
            let t = cubic_minimum(&previous, &trial, bounds);
            let next = self.try_at::<T>(t, free(&[start, previous, trial]))?;
            (previous, trial) = (trial, next);
            tries += 1;
        };
        let reach = largest(slice::<T>(self.direction)?);
        let mut stalled = false;
        while tries < most && (high.t - low.t).abs() * reach >= self.rule.settings.tolerance_change
        {
            let t = within(&low, &high, &mut stalled);
            let new = self.try_at::<T>(t, free(&[start, low, high]))?;
            tries += 1;
            if !new.falls_enough(&start) || new.loss >= low.loss {
                (low, high) = ordered(low, new);
                continue;
            }
            if new.is_flat_enough(&start) {
                return Ok(new);
            }
            if new.slope * (high.t - low.t) >= 0.0 {
                high = low;
            }
            low = new;
        }
        Ok(low)
    }

    /// The first of t, t/2, t/4, … with a sufficient decrease; the start if evaluations run out.
    pub(super) fn backtrack<T: Float>(
        &mut self,
        start: Trial,
        mut t: f64,
        most: usize,
    ) -> Result<Trial, C::Error> {
        for _ in 0..most.max(1) {
            let trial = self.try_at::<T>(t, free(&[start]))?;
            if trial.falls_enough(&start) {
                return Ok(trial);
            }
            t *= 0.5;
        }
        Ok(start)
    }
}

/// A free slot; at most three of four are in use.
fn free(taken: &[Trial]) -> usize {
    (0..GRADIENTS).find(|slot| taken.iter().all(|trial| trial.slot != *slot)).unwrap_or(0)
}

fn ordered(a: Trial, b: Trial) -> (Trial, Trial) {
    if a.loss <= b.loss { (a, b) } else { (b, a) }
}

/// The minimum within bounds of the cubic through both losses and slopes; the midpoint if there is
/// none.
fn cubic_minimum(a: &Trial, b: &Trial, (least, most): (f64, f64)) -> f64 {
    let (a, b) = if a.t <= b.t { (a, b) } else { (b, a) };
    let d1 = a.slope + b.slope - 3.0 * (a.loss - b.loss) / (a.t - b.t);
    let d2 = (d1 * d1 - a.slope * b.slope).sqrt();
    let t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2));
    if t.is_nan() { f64::midpoint(least, most) } else { t.max(least).min(most) }
}

/// The next point in a bracket: the minimum of the cubic, but at least a tenth of the bracket from
/// an end that it reaches or approaches a second time.
fn within(low: &Trial, high: &Trial, stalled: &mut bool) -> f64 {
    let (left, right) = (low.t.min(high.t), low.t.max(high.t));
    let t = cubic_minimum(low, high, (left, right));
    let margin = 0.1 * (right - left);
    if (right - t).min(t - left) >= margin {
        *stalled = false;
        return t;
    }
    if *stalled || t >= right || t <= left {
        *stalled = false;
        return if (t - right).abs() < (t - left).abs() { right - margin } else { left + margin };
    }
    *stalled = true;
    t
}
