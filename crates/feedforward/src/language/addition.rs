//! Sums as text: a corpus that needs no download and whose answers can be checked.

use ff_settings::{ConfigError, Range};
use ff_tensor::{Key, Rng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// The table `[generate]`: generated text instead of files.
///
/// A document is one sum, `123+456=9750` and a line's end: both numbers with as many digits as
/// `digits` says, zeros in front; the result with one digit more, and, where `reversed`, its last
/// digit first, in the order in which one adds.
///
/// ```
/// use feedforward::language::Addition;
/// let sums = Addition { digits: 3, ..Addition::default() };
/// assert_eq!(sums.line(123, 456), ("123+456=".to_owned(), "9750".to_owned()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Addition {
    /// Digits of each number.
    pub digits: u32,
    /// Training sums; a pair is drawn with replacement, in either order.
    pub examples: usize,
    /// Test sums: pairs that appear in no training sum in either order.
    pub test: usize,
    /// Whether the result is written with its last digit first.
    pub reversed: bool,
    /// The seed of the pairs.
    pub seed: u64,
}

impl Default for Addition {
    fn default() -> Self {
        Self { digits: 3, examples: 400_000, test: 2_000, reversed: true, seed: 0 }
    }
}

/// A prompt and the answer that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The prompt.
    pub prompt: String,
    /// The expected answer.
    pub answer: String,
}

impl Addition {
    /// The most test pairs: a tenth of all pairs.
    fn most_test(&self) -> usize {
        let numbers = 10usize.pow(self.digits);
        (numbers * (numbers + 1) / 2 / 10).max(1)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=4).contains(&self.digits) {
            let message = format!("must lie between 1 and 4, found {}", self.digits);
            return Err(ConfigError::new("generate.digits", message));
        }
        Range::AtLeast(1.0).check("generate.examples", self.examples as f64)?;
        if self.test == 0 || self.test > self.most_test() {
            let message = format!(
                "must lie between 1 and {}, a tenth of all pairs, found {}",
                self.most_test(),
                self.test
            );
            return Err(ConfigError::new("generate.test", message));
        }
        Ok(())
    }

    /// A sum's prompt and its answer.
    pub fn line(&self, a: u64, b: u64) -> (String, String) {
        let width = self.digits as usize;
        let result = format!("{:0width$}", a + b, width = width + 1);
        let result: String = if self.reversed { result.chars().rev().collect() } else { result };
        (format!("{a:0width$}+{b:0width$}="), result)
    }

    fn pair(&self, rng: &mut Rng) -> (u64, u64) {
        let numbers = 10u64.pow(self.digits);
        (rng.below(numbers), rng.below(numbers))
    }

    /// The test sums, no pair twice in either order.
    pub fn test(&self) -> Vec<Question> {
        self.test_pairs()
            .into_iter()
            .map(|(a, b)| {
                let (prompt, answer) = self.line(a, b);
                Question { prompt, answer }
            })
            .collect()
    }

    fn test_pairs(&self) -> Vec<(u64, u64)> {
        let mut rng = Rng::new(Key::new(self.seed).with_name("test sums"));
        let mut seen = HashSet::new();
        let mut pairs = Vec::with_capacity(self.test);
        while pairs.len() < self.test.min(self.most_test()) {
            let (a, b) = self.pair(&mut rng);
            if seen.insert(unordered(a, b)) {
                pairs.push((a, b));
            }
        }
        pairs
    }

    /// The training text, without any pair of the test.
    pub fn text(&self) -> String {
        let held_out: HashSet<(u64, u64)> =
            self.test_pairs().into_iter().map(|(a, b)| unordered(a, b)).collect();
        let mut rng = Rng::new(Key::new(self.seed).with_name("training sums"));
        let mut text = String::with_capacity(self.examples * (3 * self.digits as usize + 5));
        let mut written = 0;
        while written < self.examples {
            let (a, b) = self.pair(&mut rng);
            if !held_out.contains(&unordered(a, b)) {
                let (prompt, answer) = self.line(a, b);
                text.push_str(&prompt);
                text.push_str(&answer);
                text.push('\n');
                written += 1;
            }
        }
        text
    }
}

fn unordered(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_test_pair_is_trained_on_in_either_order() {
        let sums = Addition { digits: 2, examples: 5_000, test: 300, ..Addition::default() };
        let test = sums.test();
        assert_eq!(test.len(), 300);
        let text = sums.text();
        assert_eq!(text.lines().count(), 5_000);
        let numbers = |line: &str| {
            let (a, rest) = line.split_once('+').unwrap();
            let (b, _) = rest.split_once('=').unwrap();
            unordered(a.parse().unwrap(), b.parse().unwrap())
        };
        let trained: HashSet<_> = text.lines().map(numbers).collect();
        assert!(test.iter().all(|q| !trained.contains(&numbers(&q.prompt))));
    }

    #[test]
    fn results_are_right_and_as_long_as_the_largest() {
        let sums = Addition::default();
        assert_eq!(sums.line(999, 999).1, "8991");
        assert_eq!(sums.line(7, 5).0, "007+005=");
        assert_eq!(Addition { reversed: false, ..sums }.line(7, 5).1, "0012");
    }

    #[test]
    fn as_many_test_pairs_as_there_may_be_are_found() {
        let sums = Addition { digits: 1, test: 5, examples: 1, ..Addition::default() };
        assert!(sums.validate().is_ok());
        assert_eq!(sums.test().len(), 5);
        assert!(Addition { test: 6, ..sums }.validate().is_err());
    }
}
