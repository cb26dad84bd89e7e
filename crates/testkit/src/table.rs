//! All checks of all operations on this machine, for `feedforward check`.

use crate::failure::write_failures;
use crate::stored::stored_check;
use crate::{CheckResult, Failure, Machine, compare_paths, gradient_check, nan_check};
use ff_graph::Case;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The results of the checks of one case.
///
/// ```
/// use ff_testkit::{Machine, check_case};
/// let case = &(ff_ops::registry()[0].cases)()[0];
/// let row = check_case(case, &Machine::new()?);
/// assert!(row.passed() && row.gradient < 1e-6 && row.same_bits);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The case's name, `operation/variant`.
    pub case: String,
    /// The largest relative error of gradients against central differences in f64.
    pub gradient: f64,
    /// Whether 1, 2 and 4 threads give the same bits.
    pub same_bits: bool,
    /// The largest error of f32 on any instruction set against f64, relative to the largest value
    /// of the tensor.
    pub paths: f64,
    /// Whether NaN and infinity propagate correctly.
    pub nan: bool,
    /// The largest error in f64 against the embedded results of PyTorch, relative to the largest
    /// value of the tensor; `None` without such results.
    pub parity: Option<f64>,
    /// The number of values compared.
    pub compared: usize,
    /// All failures.
    pub failures: Vec<Failure>,
    /// The duration.
    pub time: Duration,
}

impl Row {
    /// Whether all checks passed.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// The time in milliseconds.
    pub fn millis(&self) -> f64 {
        self.time.as_secs_f64() * 1e3
    }

    /// Fails a test with the messages of all failures, if any.
    ///
    /// # Panics
    /// If a check failed.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.passed(), "{self}");
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed() {
            let Self { case, gradient, paths, .. } = self;
            return write!(f, "{case}: passed, gradient {gradient:.1e}, paths {paths:.1e}");
        }
        write_failures(f, &self.failures)
    }
}

/// Runs every check on one case: gradients and promises, paths, NaN, parity. A panic counts as a
/// failure.
pub fn check_case(case: &Case, machine: &Machine) -> Row {
    let start = Instant::now();
    let run = || {
        (gradient_check(case), compare_paths(case, machine), nan_check(case), stored_check(case))
    };
    let caught = catch_unwind(AssertUnwindSafe(run));
    let mut row = Row {
        case: case.name.clone(),
        gradient: f64::INFINITY,
        same_bits: false,
        paths: f64::INFINITY,
        nan: false,
        parity: None,
        compared: 0,
        failures: Vec::new(),
        time: Duration::ZERO,
    };
    match caught {
        Ok((gradient, paths, nan, parity)) => {
            row.gradient = gradient.worst;
            row.same_bits = paths.threads.passed();
            row.paths = paths.isas.worst;
            row.nan = nan.passed();
            row.parity = parity.as_ref().map(|parity| parity.worst);
            let checks = [gradient, paths.threads, paths.isas, nan].into_iter().chain(parity);
            for CheckResult { compared, failures, .. } in checks {
                row.compared += compared;
                row.failures.extend(failures);
            }
        }
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            row.failures.push(Failure::Promise {
                case: case.name.clone(),
                check: "panic",
                message: text.unwrap_or("of unknown kind").to_owned(),
            });
        }
    }
    row.time = start.elapsed();
    row
}

/// Runs every check on every case of [`ff_ops::registry`]; `progress` is called with each finished
/// row.
///
/// # Errors
/// If the system denies a device.
///
/// ```no_run
/// let rows = ff_testkit::check_all(|_row| ())?;
/// assert!(rows.iter().all(ff_testkit::Row::passed));
/// # Ok::<(), ff_graph::Error>(())
/// ```
pub fn check_all(mut progress: impl FnMut(&Row)) -> ff_graph::Result<Vec<Row>> {
    let machine = Machine::new()?;
    let cases = ff_ops::registry().iter().flat_map(|entry| (entry.cases)());
    Ok(cases
        .map(|case| {
            let row = check_case(&case, &machine);
            progress(&row);
            row
        })
        .collect())
}
