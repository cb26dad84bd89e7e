//! Ctrl-C and callbacks during training.

use crate::interpreter::{attached, called, calling};
use feedforward::trainer::{Event, Observer};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::time::{Duration, Instant};

/// The time between two looks at the interpreter's signals.
const LOOK: Duration = Duration::from_millis(50);

/// Calls a Python function after each epoch, and notices Ctrl-C.
pub(crate) struct Listener<'a> {
    callback: Option<&'a Py<PyAny>>,
    looked: Instant,
    stop: bool,
    /// What a callback or a signal raised.
    pub(crate) raised: Option<PyErr>,
}

impl<'a> Listener<'a> {
    pub(crate) fn new(callback: Option<&'a Py<PyAny>>) -> Self {
        Self { callback, looked: Instant::now(), stop: false, raised: None }
    }
}

impl Observer for Listener<'_> {
    fn event(&mut self, event: Event<'_>) {
        let (Event::Epoch { record, .. }, Some(callback)) = (event, self.callback) else { return };
        let called = attached(|py| {
            let values = PyDict::new(py);
            values.set_item("epoch", record.epoch)?;
            values.set_item("loss", record.train_loss)?;
            values.set_item("valid_loss", record.valid_loss)?;
            values.set_item("lr", record.lr)?;
            called(callback.bind(py), &PyTuple::new(py, [values])?)?.is_truthy()
        });
        match called {
            Ok(stop) => self.stop |= stop,
            Err(error) => self.raised = Some(error),
        }
    }

    fn interrupted(&mut self) -> bool {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            let looked = attached(|py| calling(|| py.check_signals()));
            if let Err(error) = looked {
                self.raised = Some(error);
            }
        }
        self.stop || self.raised.is_some()
    }
}
