//! A run's events as calls of a Python function, and Ctrl-C.

use crate::interpreter::{attached, called, calling};
use feedforward::trainer::{Event, Observer};
use feedforward::{Notice, Watcher};
use pyo3::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The time between two looks at the interpreter's signals.
const LOOK: Duration = Duration::from_millis(50);
/// The time between two calls about steps.
const STEPS: Duration = Duration::from_millis(100);

/// Tells a function of events as `(kind, JSON)`; a true answer or an exception stops the run, with
/// everything saved.
pub(crate) struct Listener {
    tell: Py<PyAny>,
    looked: Instant,
    told: Instant,
    stop: bool,
    /// What the function or a signal raised.
    pub(crate) raised: Option<PyErr>,
}

impl Listener {
    pub(crate) fn new(tell: Py<PyAny>) -> Self {
        let now = Instant::now();
        Self { tell, looked: now, told: now, stop: false, raised: None }
    }

    fn tell(&mut self, kind: &str, values: &Value) {
        if self.raised.is_some() {
            return;
        }
        let answer = attached(|py| {
            let arguments = (kind, values.to_string()).into_pyobject(py)?;
            called(self.tell.bind(py), &arguments)?.is_truthy()
        });
        match answer {
            Ok(stop) => self.stop |= stop,
            Err(error) => self.raised = Some(error),
        }
    }
}

impl Observer for Listener {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Phase(name) => self.tell("phase", &json!({ "name": name })),
            Event::Start { step, total_steps, steps_per_epoch } => self.tell(
                "start",
                &json!({ "step": step, "total_steps": total_steps, "steps_per_epoch": steps_per_epoch }),
            ),
            Event::Step { step, epoch, loss, .. } if self.told.elapsed() >= STEPS => {
                self.told = Instant::now();
                self.tell("step", &json!({ "step": step, "epoch": epoch, "loss": loss }));
            }
            Event::Epoch { record, best } => {
                let mut values = serde_json::to_value(record).unwrap_or_default();
                values["best"] = best.into();
                self.tell("epoch", &values);
            }
            _ => {}
        }
    }

    fn interrupted(&mut self) -> bool {
        if self.looked.elapsed() >= LOOK && self.raised.is_none() {
            self.looked = Instant::now();
            let looked = attached(|py| calling(|| py.check_signals()));
            self.raised = looked.err();
        }
        self.stop || self.raised.is_some()
    }
}

impl Watcher for Listener {
    fn notice(&mut self, notice: &Notice<'_>) {
        match notice {
            Notice::Run(path) => self.tell("run", &json!({ "path": path })),
            Notice::Data(data) => {
                let notes: Vec<String> = data.notes.iter().map(ToString::to_string).collect();
                let totals = serde_json::to_value(data.totals).unwrap_or_default();
                self.tell(
                    "data",
                    &json!({ "source": data.source, "totals": totals, "notes": notes }),
                );
            }
            Notice::Model(model) => self.tell(
                "model",
                &json!({ "layers": model.layers, "parameters": model.parameters, "training": model.training,
                         "steps": model.throughput.is_some() }),
            ),
            Notice::Text(text) => self.tell(
                "text",
                &json!({ "source": text.source, "findings": text.findings, "tokenizer": text.tokenizer,
                         "train_tokens": text.train_tokens, "valid_tokens": text.valid_tokens }),
            ),
            Notice::Sample(sample) => self.tell(
                "sample",
                &json!({ "step": sample.step, "prompt": sample.prompt, "text": sample.text }),
            ),
            _ => {}
        }
    }
}
