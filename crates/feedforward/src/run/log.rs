//! `metrics.jsonl`: each epoch's figures, written as they come.

use super::folder::RunFolder;
use super::watch::Watcher;
use crate::error::{Error, Result};
use ff_train::{Event, Observer, Progress};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// A second listener, with the watcher to pass more on to.
type Listener<'a> = dyn FnMut(&Event<'_>, &mut dyn Watcher) + 'a;

/// Writes a line an epoch and passes every event on.
pub(crate) struct MetricsLog<'a> {
    path: PathBuf,
    file: File,
    watcher: &'a mut dyn Watcher,
    failed: Option<Error>,
    listener: Option<Box<Listener<'a>>>,
}

impl<'a> MetricsLog<'a> {
    /// Starts the file with the epochs of the checkpoint: a killed run may have written more.
    pub(crate) fn open(
        folder: &RunFolder,
        progress: &Progress,
        watcher: &'a mut dyn Watcher,
    ) -> Result<Self> {
        let path = folder.metrics();
        ff_formats::write_atomic(&path, |file| {
            for record in &progress.history {
                serde_json::to_writer(&mut *file, record)?;
                file.write_all(b"\n")?;
            }
            Ok(())
        })?;
        let file = File::options().append(true).open(&path);
        let file = file.map_err(ff_formats::Error::io(&path, "opening"))?;
        Ok(Self { path, file, watcher, failed: None, listener: None })
    }

    /// Passes every event to a second listener.
    pub(crate) fn listen(&mut self, listener: impl FnMut(&Event<'_>, &mut dyn Watcher) + 'a) {
        self.listener = Some(Box::new(listener));
    }

    /// The error that kept a line from being written.
    pub(crate) fn close(self) -> Option<Error> {
        self.failed
    }
}

impl Observer for MetricsLog<'_> {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Epoch { record, .. } = event
            && self.failed.is_none()
        {
            let line = serde_json::to_string(record).unwrap_or_default() + "\n";
            if let Err(error) = self.file.write_all(line.as_bytes()) {
                self.failed = Some(ff_formats::Error::io(&self.path, "writing")(error).into());
            }
        }
        self.watcher.event(event);
        if let Some(listener) = &mut self.listener {
            listener(&event, self.watcher);
        }
    }

    fn interrupted(&mut self) -> bool {
        // A full disk stops the run after the step, with everything saved that can be.
        self.failed.is_some() || self.watcher.interrupted()
    }
}
