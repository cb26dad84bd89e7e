//! What a run shows before and while it works; the library itself never prints.

use ff_data::{Note, Schema, SplitKind, TargetSchema, Totals};
use ff_train::Observer;
use std::path::Path;

/// A table was read and understood.
///
/// ```
/// fn used(notice: &feedforward::DataNotice<'_>) -> String { format!("{} of {} rows", notice.totals.used, notice.totals.read) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct DataNotice<'a> {
    /// The file and how it was read, in words.
    pub source: &'a str,
    /// Rows read, dropped and used.
    pub totals: &'a Totals,
    /// What each column is and what becomes of it.
    pub schema: &'a Schema,
    /// What is predicted.
    pub target: &'a TargetSchema,
    /// How rows were split.
    pub split: SplitKind,
    /// Findings.
    pub notes: &'a [Note],
}

/// What will be trained and what it will take.
///
/// ```
/// fn line(notice: &feedforward::ModelNotice) -> String { format!("{}: {}", notice.layers, notice.parameters) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ModelNotice {
    /// The layers in one line: `64 → 128 relu → 10`.
    pub layers: String,
    /// How many values are trained.
    pub parameters: usize,
    /// Optimiser, rate, batch and length in one line.
    pub training: String,
    /// The most bytes that pool and arena will hold.
    pub peak_bytes: usize,
}

/// Something that is shown once.
///
/// ```
/// use feedforward::Notice;
/// fn seed(notice: &Notice<'_>) -> Option<u64> {
///     if let Notice::Environment { seed, .. } = notice { Some(*seed) } else { None }
/// }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// Version, kernels, threads and seed.
    Environment {
        /// The kernels in use.
        isa: ff_tensor::Isa,
        /// How many threads.
        threads: usize,
        /// The seed.
        seed: u64,
    },
    /// The folder of the run.
    Run(&'a Path),
    /// The data.
    Data(DataNotice<'a>),
    /// The network and the plan.
    Model(&'a ModelNotice),
}

/// Who watches a whole run.
///
/// ```
/// use feedforward::{Notice, Watcher, trainer::{Event, Observer}};
/// struct Quiet;
/// impl Observer for Quiet {
///     fn event(&mut self, _event: Event<'_>) {}
/// }
/// impl Watcher for Quiet {
///     fn notice(&mut self, _notice: &Notice<'_>) {}
/// }
/// ```
pub trait Watcher: Observer {
    /// Called before training, with what was found out.
    fn notice(&mut self, notice: &Notice<'_>) {
        let _ = notice;
    }
}

/// Watches nothing.
impl Watcher for () {}
