//! The propagation of NaN and infinity.

use crate::failure::unravel;
use crate::fill::{Data, fill, sample};
use crate::run::Run;
use crate::{CheckResult, Failure};
use ff_graph::{Case, Error, Mode, OpError, Result};
use ff_tensor::Device;

/// The number of values spoilt in each input, one at a time.
const PLACES: usize = 6;

/// The number of further draws of the inputs that reveal dependencies: a ReLU that is off in half
/// of them is off in all of them once in 2²⁴ times.
const DRAWS: u64 = 24;

/// The step of a value that reveals its dependents, with a larger one for step functions such as a
/// choice of experts.
const NEAR: f64 = 0.0625;
const FAR: f64 = 8.0;

/// Large enough to reach the limit, small enough for a finite square.
const HUGE: f64 = 1e150;

/// Checks that NaN and infinity in an input reach every dependent output, and no other.
///
/// Outputs that change with a value must be NaN if it is NaN; outputs that never change with it
/// must stay unchanged. Infinity gives the limit or NaN, never another finite number. An operation
/// that rejects such a value with a domain error also passes.
///
/// ```
/// let case = &(ff_ops::registry()[0].cases)()[0];
/// ff_testkit::nan_check(case).assert();
/// ```
pub fn nan_check(case: &Case) -> CheckResult {
    let mut result = CheckResult::new(&case.name);
    for mode in [Mode::Train, Mode::Eval] {
        if let Err(error) = check(case, mode, &mut result) {
            result.engine("NaN", error);
        }
    }
    result
}

/// The outputs, or `None` if the operation rejected a value.
type Outputs = Option<Vec<Vec<f64>>>;

struct Forward<'a> {
    case: &'a Case,
    device: Device,
    mode: Mode,
}

impl Forward<'_> {
    fn run(&self, data: &[Data], seed: u64) -> Result<Outputs> {
        let run = Run { mode: self.mode, seed, ..Run::constant(self.case) };
        match run.on(&self.device, data) {
            Ok(outcome) => Ok(Some(outcome.y.into_iter().map(|(_, y)| y).collect())),
            Err(Error::Op { source: OpError::Domain(_), .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn with(&self, data: &[Data], seed: u64, place: (usize, usize), value: f64) -> Result<Outputs> {
        let mut data = data.to_vec();
        if let Data::Float(values) = &mut data[place.0] {
            values[place.1] = value;
        }
        self.run(&data, seed)
    }

    /// Marks every output value that changes if the input value at `place` moves by `distance`.
    fn depends(
        &self,
        data: &[Data],
        seed: u64,
        place: (usize, usize),
        distance: f64,
        marks: &mut [Vec<bool>],
    ) -> Result<()> {
        let Some(base) = self.run(data, seed)? else { return Ok(()) };
        let x = data[place.0].floats().map_or(0.0, |x| x[place.1]);
        for moved in [x + distance, x - distance] {
            let Some(y) = self.with(data, seed, place, moved)? else { continue };
            for ((marks, base), y) in marks.iter_mut().zip(&base).zip(&y) {
                for ((mark, a), b) in marks.iter_mut().zip(base).zip(y) {
                    *mark |= a.to_bits() != b.to_bits();
                }
            }
        }
        Ok(())
    }
}

fn check(case: &Case, mode: Mode, result: &mut CheckResult) -> Result<()> {
    let forward = Forward { case, device: Device::default(), mode };
    let data = fill(case, 0);
    let draws: Vec<Vec<Data>> = (1..=DRAWS).map(|v| fill(case, v)).collect();
    let Some(base) = forward.run(&data, 0)? else { return Ok(()) };
    let unmarked = || base.iter().map(|y| vec![false; y.len()]).collect::<Vec<_>>();
    for (i, input) in case.inputs.iter().enumerate() {
        let Some(x) = data[i].floats() else { continue };
        for k in sample(&case.name, i, x.len(), PLACES) {
            let place = (i, k);
            let mut here = unmarked();
            forward.depends(&data, 0, place, NEAR, &mut here)?;
            let mut ever = here.clone();
            for (draw, seed) in draws.iter().zip(1..) {
                for distance in [NEAR, FAR] {
                    forward.depends(draw, seed, place, distance, &mut ever)?;
                }
            }
            let spoilt = |what: &str, value: f64| {
                let index = unravel(k, &input.dims);
                format!("{what} where input {i} at {index:?} is {value}")
            };
            if let Some(y) = forward.with(&data, 0, place, f64::NAN)? {
                for (j, found) in y.iter().enumerate() {
                    let wrong = (0..found.len()).find(|&o| {
                        let lost = here[j][o] && !found[o].is_nan();
                        // A single number depends on all inputs, even with a weight of zero.
                        let leaked = found.len() > 1
                            && !ever[j][o]
                            && found[o].to_bits() != base[j][o].to_bits();
                        lost || leaked
                    });
                    result.compared += found.len();
                    if let Some(o) = wrong {
                        let expected = if here[j][o] { f64::NAN } else { base[j][o] };
                        let tensor = spoilt(&format!("output {j}"), f64::NAN);
                        fail(result, tensor, o, expected, found[o]);
                    }
                }
            }
            for sign in [1.0, -1.0] {
                let infinite = sign * f64::INFINITY;
                let limit = forward.with(&data, 0, place, sign * HUGE)?;
                let found = forward.with(&data, 0, place, infinite)?;
                let (Some(limit), Some(found)) = (limit, found) else { continue };
                for (j, (limit, found)) in limit.iter().zip(&found).enumerate() {
                    let wrong = |&o: &usize| !is_limit(limit[o], found[o]);
                    result.compared += found.len();
                    if let Some(o) = (0..found.len()).find(wrong) {
                        let tensor = spoilt(&format!("output {j}"), infinite);
                        fail(result, tensor, o, limit[o], found[o]);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Whether the result at infinity is consistent with the result at a huge number.
fn is_limit(huge: f64, found: f64) -> bool {
    if found.is_nan() {
        return true;
    }
    if huge.is_finite() && huge.abs() < HUGE.sqrt() {
        (found - huge).abs() <= 1e-6 * huge.abs().max(1.0)
    } else {
        !found.is_finite()
    }
}

fn fail(result: &mut CheckResult, tensor: String, place: usize, expected: f64, found: f64) {
    let failure = Failure::Value {
        case: result.case.clone(),
        check: "NaN and infinity",
        tensor,
        index: vec![place],
        expected,
        found,
        error: f64::INFINITY,
        tolerance: 0.0,
    };
    result.failures.push(failure);
}
