//! Events of a run: the library never prints, it calls an [`Observer`].

use crate::history::EpochRecord;
use std::path::Path;

/// An event of a run.
///
/// ```
/// use ff_train::Event;
/// fn line(event: &Event<'_>) -> Option<String> {
///     match event {
///         Event::Step { step, loss, .. } => Some(format!("step {step}: {loss}")),
///         _ => None,
///     }
/// }
/// assert_eq!(line(&Event::Phase("reading")), None);
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A phase starts: reading, training, evaluating.
    Phase(&'a str),
    /// Training starts or resumes.
    Start {
        /// Completed steps.
        step: u64,
        /// The maximum number of steps.
        total_steps: u64,
        /// Steps per pass over the data.
        steps_per_epoch: u64,
    },
    /// An optimiser step ended.
    Step {
        /// Its number, from 1.
        step: u64,
        /// The maximum number of steps.
        total_steps: u64,
        /// Its epoch, from 1.
        epoch: usize,
        /// The mean loss of its rows.
        loss: f64,
        /// The learning rate.
        lr: f64,
        /// The norm of the gradient before clipping.
        grad_norm: f64,
    },
    /// An epoch ended, with its evaluation.
    Epoch {
        /// Its metrics.
        record: &'a EpochRecord,
        /// The best epoch so far, from 1.
        best: Option<usize>,
    },
    /// The state was saved.
    Checkpoint(&'a Path),
}

/// Receives the events of a run.
///
/// ```
/// use ff_train::{Event, Observer};
/// struct CountPhases(usize);
/// impl Observer for CountPhases {
///     fn event(&mut self, event: Event<'_>) {
///         self.0 += usize::from(matches!(event, Event::Phase(_)));
///     }
/// }
/// let mut phases = CountPhases(0);
/// phases.event(Event::Phase("reading"));
/// assert_eq!(phases.0, 1);
/// ```
pub trait Observer {
    /// Called for each event; must be quick.
    fn event(&mut self, event: Event<'_>);

    /// Whether to save and stop; asked after every step.
    fn interrupted(&mut self) -> bool {
        false
    }
}

/// Ignores all events.
impl Observer for () {
    fn event(&mut self, _event: Event<'_>) {}
}
