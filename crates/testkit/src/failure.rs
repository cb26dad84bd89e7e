use std::fmt;

/// The failure of a check: case, check, position, expected and found value.
///
/// ```
/// use ff_testkit::Failure;
/// let failure = Failure::Value {
///     case: "snake".into(),
///     check: "gradient",
///     tensor: "input 1".into(),
///     index: vec![2, 0],
///     expected: 1.0,
///     found: 1.5,
///     error: 0.5,
///     tolerance: 1e-6,
/// };
/// assert_eq!(
///     failure.to_string(),
///     "snake: gradient: input 1 at [2, 0]: expected 1, found 1.5 (error 5.0e-1, allowed 1.0e-6)"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A number differs from the expected one.
    #[error(
        "{case}: {check}: {tensor} at {index:?}: expected {expected}, found {found} (error \
         {error:.1e}, allowed {tolerance:.1e})"
    )]
    Value {
        /// The name of the case.
        case: String,
        /// The check.
        check: &'static str,
        /// The tensor.
        tensor: String,
        /// The position in the tensor.
        index: Vec<usize>,
        /// The expected value.
        expected: f64,
        /// The value found.
        found: f64,
        /// The error, by the measure of the check.
        error: f64,
        /// The allowed error.
        tolerance: f64,
    },
    /// The engine failed to run the case.
    #[error("{case}: {check}: {source}")]
    Engine {
        /// The name of the case.
        case: String,
        /// The check.
        check: &'static str,
        /// The error.
        source: ff_graph::Error,
    },
    /// A violated promise about more than one number.
    #[error("{case}: {check}: {message}")]
    Promise {
        /// The name of the case.
        case: String,
        /// The check.
        check: &'static str,
        /// The expectation and the finding.
        message: String,
    },
}

/// The outcome of a check: the largest error and all failures.
///
/// ```
/// let case = &(ff_ops::registry()[0].cases)()[0];
/// let result = ff_testkit::gradient_check(case);
/// assert!(result.passed() && result.worst < 1e-6, "{result}");
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CheckResult {
    /// The name of the case.
    pub case: String,
    /// The largest error, by the measure of the check; 0 without comparisons.
    pub worst: f64,
    /// The number of values compared.
    pub compared: usize,
    /// The failures; empty if the check passed.
    pub failures: Vec<Failure>,
}

impl CheckResult {
    pub(crate) fn new(case: &str) -> Self {
        Self { case: case.to_owned(), ..Self::default() }
    }

    /// Whether the check passed.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Fails a test with the messages of all failures, if any.
    ///
    /// # Panics
    /// If the check failed.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.passed(), "{self}");
    }

    /// Adds the failures of another check of the same case.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.compared += other.compared;
        self.failures.extend(other.failures);
    }

    pub(crate) fn engine(&mut self, check: &'static str, source: ff_graph::Error) {
        self.failures.push(Failure::Engine { case: self.case.clone(), check, source });
    }

    pub(crate) fn promise(&mut self, check: &'static str, message: impl Into<String>) {
        let message = message.into();
        self.failures.push(Failure::Promise { case: self.case.clone(), check, message });
    }

    /// Compares two tensors relative to the largest expected magnitude, and reports the worst
    /// value; NaN only agrees with NaN, an infinity only with itself.
    pub(crate) fn compare(
        &mut self,
        check: &'static str,
        tensor: &str,
        dims: &[usize],
        (expected, found): (&[f64], &[f64]),
        tolerance: f64,
    ) -> f64 {
        if expected.len() != found.len() {
            self.promise(
                check,
                format!("{tensor}: expected {} values, found {}", expected.len(), found.len()),
            );
            return f64::INFINITY;
        }
        let scale = scale(expected);
        let mut worst = (0.0, 0);
        for (i, (&e, &f)) in expected.iter().zip(found).enumerate() {
            let error = distance(e, f, scale);
            if error > worst.0 {
                worst = (error, i);
            }
        }
        self.compared += expected.len();
        let (error, i) = worst;
        if error > tolerance {
            self.failures.push(Failure::Value {
                case: self.case.clone(),
                check,
                tensor: tensor.to_owned(),
                index: unravel(i, dims),
                expected: expected[i],
                found: found[i],
                error,
                tolerance,
            });
        }
        error
    }
}

/// The largest finite magnitude, or 1 if all values are zero, which makes errors absolute.
pub(crate) fn scale(values: &[f64]) -> f64 {
    let largest = values.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    if largest > 0.0 { largest } else { 1.0 }
}

pub(crate) fn distance(expected: f64, found: f64, scale: f64) -> f64 {
    if expected.to_bits() == found.to_bits() || expected == found {
        return 0.0;
    }
    if expected.is_nan() && found.is_nan() {
        return 0.0;
    }
    let error = (expected - found).abs() / scale;
    if error.is_nan() { f64::INFINITY } else { error }
}

/// The index in each dimension of the `i`-th value in memory.
pub(crate) fn unravel(mut i: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (place, &dim) in index.iter_mut().zip(dims).rev() {
        *place = i % dim.max(1);
        i /= dim.max(1);
    }
    index
}

impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed() {
            let Self { case, compared, worst, .. } = self;
            return write!(f, "{case}: {compared} values agree, worst error {worst:.1e}");
        }
        write_failures(f, &self.failures)
    }
}

/// One failure per line.
pub(crate) fn write_failures(f: &mut fmt::Formatter<'_>, failures: &[Failure]) -> fmt::Result {
    for (i, failure) in failures.iter().enumerate() {
        if i > 0 {
            writeln!(f)?;
        }
        write!(f, "{failure}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_that_of_each_dimension() {
        assert_eq!(unravel(23, &[2, 3, 4]), [1, 2, 3]);
        assert_eq!(unravel(5, &[6]), [5]);
        assert_eq!(unravel(0, &[]), Vec::<usize>::new());
    }

    #[test]
    fn nan_agrees_with_nan_alone() {
        let mut result = CheckResult::new("case");
        let nan = f64::NAN;
        assert_eq!(result.compare("c", "y", &[2], (&[nan, 1.0], &[nan, 1.0]), 0.0), 0.0);
        assert!(result.passed());
        result.compare("c", "y", &[2], (&[0.0, 1.0], &[0.0, nan]), 1e9);
        result.compare("c", "y", &[2], (&[0.0, f64::INFINITY], &[0.0, 1.0]), 1e9);
        assert_eq!(result.failures.len(), 2);
        assert!(
            result.failures[0].to_string().starts_with("case: c: y at [1]: expected 1, found NaN")
        );
    }

    #[test]
    fn tensors_of_different_length_never_agree() {
        let mut result = CheckResult::new("case");
        result.compare("c", "y", &[1], (&[1.0], &[]), 1.0);
        assert_eq!(result.to_string(), "case: c: y: expected 1 values, found 0");
    }
}
