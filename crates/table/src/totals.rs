//! How many rows were read, dropped and used.

use serde::{Deserialize, Serialize};

/// Rows read, dropped and used: `read = used + Σ dropped` and `used = train + valid + test`.
///
/// ```
/// let totals =
///     ff_table::Totals { read: 10, used: 9, train: 7, valid: 1, test: 1, ..Default::default() };
/// assert!(!totals.add_up());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows of the file or files.
    pub read: usize,
    /// Rows that are part of the training, validation or test part.
    pub used: usize,
    /// Rows left out, by reason.
    pub dropped: Vec<Dropped>,
    /// Rows of the training part.
    pub train: usize,
    /// Rows of the validation part.
    pub valid: usize,
    /// Rows of the test part.
    pub test: usize,
}

/// Rows that were left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Why.
    pub reason: String,
    /// Their number.
    pub rows: usize,
}

impl Totals {
    /// Whether every row that was read is accounted for.
    pub fn add_up(&self) -> bool {
        let dropped: usize = self.dropped.iter().map(|dropped| dropped.rows).sum();
        self.read == self.used + dropped && self.used == self.train + self.valid + self.test
    }
}
