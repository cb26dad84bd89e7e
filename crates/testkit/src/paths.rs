//! Every kernel path and number of threads on this machine against the plain path.

use crate::CheckResult;
use crate::fill::{Data, enlarged, fill};
use crate::run::{Outcome, Run};
use ff_graph::{Case, Result};
use ff_tensor::{DType, Device, DeviceOptions, Isa, Shape};

/// The tolerance of an f32 result against the f64 one, relative to the tensor's largest value. A
/// sum of n standard normal terms, added one after the other, errs by about n · 2⁻²⁴ / √6, so by
/// 1e-6 for n = 40, and by five times that in the worst of many values; intermediate functions add
/// a few units in the last place. A wrong lane or a missed row causes an error of 1e-2 or more.
pub const F32_TOLERANCE: f64 = 1e-5;

/// The same for enlarged cases, with up to ten times as many terms per sum.
const F32_TOLERANCE_LARGE: f64 = 1e-4;

/// The same for f64 on different instruction sets.
const F64_TOLERANCE: f64 = 1e-13;

/// The approximate number of input values that every kernel divides into several tasks.
const ENLARGED: usize = 20_000;

/// If a value lies within rounding of a kink, f32 and f64 may fall on different sides, and a whole
/// row of gradients differs. A large case may have one or two such rows; a wrong path has far more.
const KINKS: f64 = 0.02;

/// The devices of this machine: each instruction set, with 1, 2 and 4 threads.
///
/// ```
/// let machine = ff_testkit::Machine::new()?;
/// assert_eq!(machine.isas().next(), Some(ff_tensor::Isa::Plain));
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Machine {
    /// For each instruction set, one device per number of threads.
    devices: Vec<(Isa, Vec<(usize, Device)>)>,
}

impl Machine {
    /// Opens all devices.
    ///
    /// # Errors
    /// If the system denies a device.
    pub fn new() -> Result<Self> {
        let devices = [Isa::Plain, Isa::Avx2, Isa::Avx512]
            .into_iter()
            .filter(|&isa| isa <= Isa::detect())
            .map(|isa| {
                let open = |threads| {
                    let device = Device::open(DeviceOptions { threads, isa: Some(isa) });
                    Ok((threads, device.map_err(ff_graph::Error::of("testkit"))?))
                };
                Ok((isa, [1, 2, 4].into_iter().map(open).collect::<Result<_>>()?))
            })
            .collect::<Result<_>>()?;
        Ok(Self { devices })
    }

    /// The instruction sets, plain first.
    pub fn isas(&self) -> impl Iterator<Item = Isa> {
        self.devices.iter().map(|(isa, _)| *isa)
    }
}

/// The result of [`compare_paths`].
///
/// ```
/// use ff_testkit::{Machine, compare_paths};
/// let case = &(ff_ops::registry()[0].cases)()[0];
/// let paths = compare_paths(case, &Machine::new()?);
/// assert!(paths.threads.passed() && paths.isas.passed());
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Paths {
    /// The comparison of 1, 2 and 4 threads: identical bits.
    pub threads: CheckResult,
    /// The comparison of each instruction set with f64 on the plain path; `worst` is the largest
    /// error of f32 in the case's own shape.
    pub isas: CheckResult,
}

/// Runs a case forward and backward on every instruction set of this machine with 1, 2 and 4
/// threads.
///
/// Results must be bit-identical for any number of threads, and instruction sets must agree with
/// plain f64 within [`F32_TOLERANCE`]. If its dimensions can be multiplied, the case runs a second
/// time at a size that threads share.
pub fn compare_paths(case: &Case, machine: &Machine) -> Paths {
    let mut paths =
        Paths { threads: CheckResult::new(&case.name), isas: CheckResult::new(&case.name) };
    if let Err(error) = compare(case, machine, &mut paths, false) {
        paths.isas.engine("instruction sets", error);
    }
    if let Some(large) = enlarged(case, ENLARGED) {
        // Values may lie outside the domain of a larger shape (a class that does not exist): then
        // there is no large case.
        let data = fill(&large, 0);
        if Run::constant(&large).on(&Device::default(), &data).is_ok()
            && let Err(error) = compare(&large, machine, &mut paths, true)
        {
            paths.isas.engine("instruction sets", error);
        }
    }
    paths
}

fn compare(case: &Case, machine: &Machine, paths: &mut Paths, large: bool) -> Result<()> {
    let data = fill(case, 0);
    let run = Run::new(case);
    let run = if case.inputs.iter().any(|x| x.grad) { run } else { Run::constant(case) };
    let mut plain: Option<Outcome> = None;
    for (isa, devices) in &machine.devices {
        for dtype in [DType::F64, DType::F32] {
            // A large case tests f32, the type of training; f64 is the reference.
            let once = large && dtype == DType::F64;
            if once && plain.is_some() {
                continue;
            }
            let devices = if once { &devices[..1] } else { devices };
            let outcomes = on_threads(&Run { dtype, ..run.clone() }, &data, *isa, devices, paths)?;
            let plain = plain.get_or_insert_with(|| outcomes.clone());
            let tolerance = match dtype {
                DType::F32 if large => F32_TOLERANCE_LARGE,
                DType::F32 => F32_TOLERANCE,
                _ => F64_TOLERANCE,
            };
            let tensors = plain.tensors(case).zip(outcomes.tensors(case));
            for ((tensor, shape, expected), (_, _, found)) in tensors {
                let tensor = format!("{tensor} in {dtype} on {isa} against plain f64");
                let gradient = tensor.starts_with("gradient");
                if large && gradient && nearly_all(expected, found, tolerance) {
                    continue;
                }
                let pair = (expected, found);
                let error =
                    paths.isas.compare("instruction sets", &tensor, shape.dims(), pair, tolerance);
                if dtype == DType::F32 && !large {
                    paths.isas.worst = paths.isas.worst.max(error);
                }
            }
        }
    }
    Ok(())
}

/// Runs with each number of threads, compares the bits and returns the first outcome.
fn on_threads(
    run: &Run<'_>,
    data: &[Data],
    isa: Isa,
    devices: &[(usize, Device)],
    paths: &mut Paths,
) -> Result<Outcome> {
    let mut first: Option<Outcome> = None;
    for (threads, device) in devices {
        let outcome = run.on(device, data)?;
        let Some(first) = &first else {
            first = Some(outcome);
            continue;
        };
        let tensors = first.tensors(run.case).zip(outcome.tensors(run.case));
        for ((tensor, shape, expected), (_, _, found)) in tensors {
            let tensor = format!("{tensor} in {} on {isa} with {threads} threads", run.dtype);
            let pair = (expected, found);
            let error = paths.threads.compare("threads", &tensor, shape.dims(), pair, 0.0);
            paths.threads.worst = paths.threads.worst.max(error);
        }
    }
    Ok(first.unwrap_or_default())
}

impl Outcome {
    /// Every output and gradient with its name and shape.
    fn tensors(&self, case: &Case) -> impl Iterator<Item = (String, Shape, &[f64])> {
        let outputs = self.y.iter().enumerate();
        let outputs = outputs.map(|(j, (shape, y))| (format!("output {j}"), *shape, y.as_slice()));
        let shape = |i: usize| Shape::new(&case.inputs[i].dims).unwrap_or(Shape::scalar());
        let gradients: Vec<_> = self
            .dx
            .iter()
            .enumerate()
            .filter_map(|(i, dx)| {
                Some((format!("gradient of input {i}"), shape(i), dx.as_deref()?))
            })
            .collect();
        outputs.chain(gradients)
    }
}

/// Whether all values but a few agree, see [`KINKS`].
fn nearly_all(expected: &[f64], found: &[f64], tolerance: f64) -> bool {
    let scale = crate::failure::scale(expected);
    let apart = |&(&e, &f): &(&f64, &f64)| crate::failure::distance(e, f, scale) > tolerance;
    let count = expected.iter().zip(found).filter(apart).count();
    expected.len() == found.len() && count as f64 <= KINKS * expected.len() as f64
}
