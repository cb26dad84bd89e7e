//! Analytic against numerical gradients, in f64.

use crate::CheckResult;
use crate::failure::unravel;
use crate::fill::{Data, fill, sample, weights};
use crate::run::{Outcome, Run};
use crate::{Failure, promises};
use ff_graph::Case;
use ff_tensor::Device;

/// ∛ε, at which the truncation error of a central difference, step² · f‴ / 6, equals its rounding
/// error, ε · |f| / step; both are then about 4e-11.
pub(crate) const STEP: f64 = 6.055_454_452_393_343e-6;

/// The tolerance of an analytic gradient against the numerical one, relative to the larger of the
/// two (or to a thousandth of the largest gradient of the case, below which a difference of about
/// 1e-10 is meaningless). A wrong term causes an error of 1e-3 or more; the numerical gradient is
/// accurate to about 1e-9.
pub const GRADIENT_TOLERANCE: f64 = 1e-6;

/// The fraction of the largest gradient to which small gradients are relative.
const FLOOR: f64 = 1e-3;

/// The number of values checked in larger inputs.
const MOST: usize = 64;

/// Checks the gradients of an operation and its other promises to the graph.
///
/// In f64: the analytic gradient of every input, for a random gradient of every output, against
/// central differences dx ≈ Σ dy (f(x + h) − f(x − h)) / 2h; larger inputs at 64 values. Then,
/// compared with that gradient: gradients that are added instead of written (a value used by two
/// nodes, parameters over two passes), parameters instead of values, one value as two inputs of a
/// node, a gradient for a single input or from a single output. Finally: every value of outputs,
/// saved tensors and gradients is written (buffers are poisoned), shapes match the contract,
/// planned memory equals used memory, and nothing is kept when nothing is needed.
///
/// ```
/// use ff_graph::{Case, CaseInput};
/// use ff_ops::{Activation, Feedforward};
/// use ff_testkit::gradient_check;
/// let op = Feedforward::op(Activation::Tanh, true);
/// let inputs = vec![CaseInput::normal([4, 3]), CaseInput::normal([2, 3]), CaseInput::normal([2])];
/// let result = gradient_check(&Case::new("mine", op, inputs));
/// assert!(result.passed(), "{result}");
/// ```
pub fn gradient_check(case: &Case) -> CheckResult {
    let mut result = CheckResult::new(&case.name);
    let device = Device::default();
    device.pool().set_poison(true);
    let data = fill(case, 0);
    match Run::new(case).on(&device, &data) {
        Ok(analytic) => {
            if let Err(error) = differences(case, &device, &data, &analytic, &mut result) {
                result.engine("gradient", error);
            }
            promises::check(case, &device, &data, &analytic, &mut result);
        }
        Err(error) => result.engine("gradient", error),
    }
    if device.pool().stats().live != 0 {
        let live = device.pool().stats().live;
        result.promise("memory", format!("{live} bytes are still held after the graph is gone"));
    }
    result
}

fn differences(
    case: &Case,
    device: &Device,
    data: &[Data],
    analytic: &Outcome,
    result: &mut CheckResult,
) -> ff_graph::Result<()> {
    let dy: Vec<Option<Vec<f64>>> = analytic
        .y
        .iter()
        .zip(&analytic.differentiable)
        .enumerate()
        .map(|(j, ((_, y), &carries))| carries.then(|| weights(&case.name, j, y.len())))
        .collect();
    let forward = Run::constant(case);
    let largest = analytic.dx.iter().flatten().flatten().fold(0.0f64, |m, v| m.max(v.abs()));
    for (i, input) in case.inputs.iter().enumerate().filter(|(_, input)| input.grad) {
        let tensor = format!("input {i}");
        let (Some(x), Some(dx)) = (data[i].floats(), &analytic.dx[i]) else {
            result.promise("gradient", format!("{tensor} has no gradient"));
            continue;
        };
        let values = sample(&case.name, i, x.len(), MOST).into_iter().map(|k| {
            let mut moved = data.to_vec();
            let mut at = |value: f64| {
                if let Data::Float(values) = &mut moved[i] {
                    values[k] = value;
                }
                forward.on(device, &moved)
            };
            let h = STEP * x[k].abs().max(1.0);
            let (up, down) = (x[k] + h, x[k] - h);
            Ok((k, Numeric::new(&dy, &at(up)?, &at(down)?, up - down), dx[k]))
        });
        result.derivatives(&tensor, &input.dims, largest, values)?;
    }
    Ok(())
}

impl CheckResult {
    /// Compares derivatives of a tensor, each an index with its numerical and its analytic value,
    /// and reports the worst.
    pub(crate) fn derivatives(
        &mut self,
        tensor: &str,
        dims: &[usize],
        largest: f64,
        values: impl Iterator<Item = ff_graph::Result<(usize, Numeric, f64)>>,
    ) -> ff_graph::Result<()> {
        let mut worst: Option<(f64, Failure)> = None;
        for value in values {
            let (k, numeric, found) = value?;
            let error = numeric.error(found, largest);
            self.compared += 1;
            if worst.as_ref().is_none_or(|(most, _)| error > *most) {
                let failure = Failure::Value {
                    case: self.case.clone(),
                    check: "gradient",
                    tensor: tensor.to_owned(),
                    index: unravel(k, dims),
                    expected: numeric.value,
                    found,
                    error,
                    tolerance: GRADIENT_TOLERANCE,
                };
                worst = Some((error, failure));
            }
        }
        if let Some((error, failure)) = worst {
            self.worst = self.worst.max(error);
            if error > GRADIENT_TOLERANCE {
                self.failures.push(failure);
            }
        }
        Ok(())
    }
}

/// A derivative from two values, with a bound on its rounding error.
pub(crate) struct Numeric {
    pub(crate) value: f64,
    rounding: f64,
}

impl Numeric {
    fn new(dy: &[Option<Vec<f64>>], up: &Outcome, down: &Outcome, width: f64) -> Self {
        let (mut sum, mut size) = (0.0, 0.0);
        for (j, dy) in dy.iter().enumerate() {
            let Some(dy) = dy else { continue };
            for ((&w, &a), &b) in dy.iter().zip(&up.y[j].1).zip(&down.y[j].1) {
                if a != b {
                    sum += w * (a - b);
                    size += w.abs() * a.abs().max(b.abs());
                }
            }
        }
        Self::of(sum, size, width)
    }

    /// The derivative from a difference of two sums with magnitudes of terms that add up to `size`.
    pub(crate) fn of(difference: f64, size: f64, width: f64) -> Self {
        // Every moved value may err by a few units in the last place at each end.
        Self { value: difference / width, rounding: 8.0 * f64::EPSILON * size / width }
    }

    /// The error of an analytic derivative, relative to the larger of the two. `largest` is the
    /// largest gradient of the case: errors of tiny ones are relative to its thousandth. Errors
    /// within rounding are always allowed.
    pub(crate) fn error(&self, analytic: f64, largest: f64) -> f64 {
        let apart = (analytic - self.value).abs();
        let magnitude = analytic.abs().max(self.value.abs()).max(FLOOR * largest);
        let yardstick = magnitude.max(self.rounding / GRADIENT_TOLERANCE);
        match (apart, apart / yardstick) {
            (0.0, _) => 0.0,
            (_, error) if error.is_nan() => f64::INFINITY,
            (_, error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_relative_unless_it_is_rounding() {
        let exact = Numeric::of(2e-5, 0.0, 1e-5);
        assert_eq!(exact.value, 2.0);
        assert_eq!(exact.error(2.0, 2.0), 0.0);
        assert!((exact.error(2.2, 2.2) - 0.2 / 2.2).abs() < 1e-12);
        assert_eq!(exact.error(f64::NAN, 2.0), f64::INFINITY);
        // A gradient against zero has a relative error of 1, but a tiny one beside a large
        // gradient.
        let nothing = Numeric::of(0.0, 0.0, 1e-5);
        assert_eq!(nothing.error(1e-9, 0.0), 1.0);
        assert!(nothing.error(1e-9, 1.0) <= 1e-6);
        // Two sums of size 1e3 may differ by 8 · 2.2e-16 · 1e3 from rounding alone.
        let noisy = Numeric::of(1e-12, 1e3, 1e-5);
        assert!(noisy.error(0.0, 0.0) < GRADIENT_TOLERANCE && noisy.error(1.0, 0.0) > 1e-3);
        assert_eq!(Numeric::of(f64::NAN, 1.0, 1e-5).error(1.0, 1.0), f64::INFINITY);
    }
}
