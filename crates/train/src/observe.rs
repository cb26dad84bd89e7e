//! What a run tells while it runs: the library never prints, it calls an [`Observer`].

use crate::history::EpochRecord;
use std::path::Path;

/// What just happened.
///
/// ```
/// use ff_train::Event;
/// fn line(event: &Event<'_>) -> Option<String> {
///     match event {
///         Event::Step { step, loss, .. } => Some(format!("step {step}: {loss}")),
///         _ => None,
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A part of the work starts: reading, training, evaluating.
    Phase(&'a str),
    /// Training starts, or goes on from a checkpoint.
    Start {
        /// Steps already done.
        step: u64,
        /// Steps at most.
        total_steps: u64,
        /// Steps in a pass over the data.
        steps_per_epoch: u64,
    },
    /// An optimiser step is done.
    Step {
        /// Its number, from 1.
        step: u64,
        /// Steps at most.
        total_steps: u64,
        /// The epoch it belongs to, from 1.
        epoch: usize,
        /// The mean loss of its rows.
        loss: f64,
        /// The learning rate.
        lr: f64,
        /// The norm of the gradient before clipping.
        grad_norm: f64,
    },
    /// An epoch is done and evaluated.
    Epoch {
        /// Its figures.
        record: &'a EpochRecord,
        /// The best epoch so far, from 1.
        best: Option<usize>,
    },
    /// The state was saved.
    Checkpoint(&'a Path),
}

/// Who watches a run.
///
/// ```
/// use ff_train::{Event, Observer};
/// struct CountEpochs(usize);
/// impl Observer for CountEpochs {
///     fn event(&mut self, event: Event<'_>) {
///         self.0 += usize::from(matches!(event, Event::Epoch { .. }));
///     }
/// }
/// ```
pub trait Observer {
    /// Called for everything that happens; must be quick.
    fn event(&mut self, event: Event<'_>);

    /// Asked after every step: whether to save and stop.
    fn interrupted(&mut self) -> bool {
        false
    }
}

/// Watches nothing.
impl Observer for () {
    fn event(&mut self, _event: Event<'_>) {}
}
