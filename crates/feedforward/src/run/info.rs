//! What a run notes down beside its checkpoints: how it was started, and each epoch's figures.

use crate::model::write_text;
use crate::watch::Watcher;
use crate::{Error, Result, RunFolder, TrainOptions};
use ff_nn::models::DecoderConfig;
use ff_tensor::Device;
use ff_train::{Event, Observer, Progress};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// `run.json`: what a resumed run must find again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RunInfo {
    pub(crate) format: u32,
    pub(crate) version: String,
    pub(crate) command: Vec<String>,
    /// Where relative paths of the recipe start.
    pub(crate) base: PathBuf,
    pub(crate) data_hash: String,
    pub(crate) isa: String,
    pub(crate) threads: usize,
    pub(crate) finished: bool,
    /// The recipe it was started with, as far as the result depends on it.
    #[serde(default)]
    pub(crate) recipe: Option<String>,
    /// What a language model is made from: its run goes on without the files that its recipe names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<DecoderConfig>,
}

const FORMAT: u32 = 1;

pub(crate) fn save_info(folder: &RunFolder, info: &RunInfo) -> Result<()> {
    let text =
        serde_json::to_string_pretty(info).map_err(|e| Error::run(folder.path(), e.to_string()))?;
    write_text(&folder.info(), &text)
}

pub(crate) fn load_info(folder: &RunFolder) -> Result<RunInfo> {
    let path = folder.info();
    let text = crate::model::read(&path)?;
    let info: RunInfo = serde_json::from_str(&text).map_err(|e| {
        let way_out = "copy the run again from where it was made, or train its recipe anew";
        Error::run(&path, format!("is not the note of a run: {e}; {way_out}"))
    })?;
    if info.format != FORMAT {
        return Err(Error::run(
            &path,
            format!("has run format {}, this version reads {FORMAT}", info.format),
        ));
    }
    Ok(info)
}

impl RunInfo {
    /// The note of a run that starts now, from the current folder.
    pub(crate) fn new(
        options: &TrainOptions,
        device: &Device,
        data_hash: &str,
        recipe: String,
    ) -> Result<Self> {
        let here = Path::new(".");
        Ok(Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            command: options.command.clone(),
            base: std::env::current_dir()
                .map_err(ff_formats::Error::io(here, "finding the current folder"))?,
            data_hash: data_hash.into(),
            isa: device.cpu().isa().to_string(),
            threads: device.cpu().threads().count(),
            finished: false,
            recipe: Some(recipe),
            config: None,
        })
    }

    /// A run goes on with the recipe it was started with.
    pub(crate) fn refuse_edited(&self, folder: &RunFolder, now: &str, command: &str) -> Result<()> {
        let Some(before) = self.recipe.as_deref().filter(|before| *before != now) else {
            return Ok(());
        };
        let changes = crate::compare::changes(before, now);
        let shown = if changes.is_empty() { String::new() } else { format!(" ({changes})") };
        Err(Error::run(
            &folder.recipe(),
            format!(
                "was edited since the run was started{shown}; take that back to go on, or train the edited recipe anew: \
                 feedforward {command} {}",
                folder.recipe().display()
            ),
        ))
    }
}

/// Who else hears of what happens, with the watcher to tell more.
type Hear<'a> = dyn FnMut(&Event<'_>, &mut dyn Watcher) + 'a;

/// Writes each epoch's line to `metrics.jsonl` and passes everything on.
pub(crate) struct MetricsLog<'a> {
    path: PathBuf,
    file: File,
    watcher: &'a mut dyn Watcher,
    failed: Option<Error>,
    also: Option<Box<Hear<'a>>>,
}

impl<'a> MetricsLog<'a> {
    /// Starts the file with the epochs that a checkpoint knows: a killed run may have written more.
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
        Ok(Self { path, file, watcher, failed: None, also: None })
    }

    /// Who else hears of everything.
    pub(crate) fn also(&mut self, hear: impl FnMut(&Event<'_>, &mut dyn Watcher) + 'a) {
        self.also = Some(Box::new(hear));
    }

    /// What kept a line from being written, if anything did.
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
        if let Some(also) = &mut self.also {
            also(&event, self.watcher);
        }
    }

    fn interrupted(&mut self) -> bool {
        // A disk that is full stops the run after the step, with everything saved that can be.
        self.failed.is_some() || self.watcher.interrupted()
    }
}
