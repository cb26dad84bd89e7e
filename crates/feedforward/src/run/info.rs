//! `run.json`: how a run was started, and what it needs to be resumed.

use super::difference;
use super::folder::RunFolder;
use crate::error::{Error, Result};
use crate::files::{read_text, write_text};
use ff_tensor::Device;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How a run was started.
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
    /// The recipe it was started with, as far as results depend on it.
    #[serde(default)]
    pub(crate) recipe: Option<String>,
    /// What else the task needs, such as a language model's config: a resumed run does without the
    /// files that its recipe names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<serde_json::Value>,
}

const FORMAT: u32 = 1;

impl RunInfo {
    /// A run that starts now, from the current folder.
    pub(crate) fn new(
        command: &[String],
        device: &Device,
        data_hash: &str,
        recipe: String,
    ) -> Result<Self> {
        let here = Path::new(".");
        Ok(Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            command: command.to_vec(),
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

    /// Writes `run.json`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, folder: &RunFolder) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::run(folder.path(), e.to_string()))?;
        write_text(&folder.info(), &text)
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// The file is missing, damaged, or of another format.
    pub(crate) fn load(folder: &RunFolder) -> Result<Self> {
        let path = folder.info();
        let text = read_text(&path)?;
        let info: Self = serde_json::from_str(&text).map_err(|e| {
            let way_out = "copy the run again from its source, or train its recipe anew";
            Error::run(&path, format!("does not describe a run: {e}; {way_out}"))
        })?;
        if info.format != FORMAT {
            return Err(Error::run(
                &path,
                format!("has run format {}, this version reads {FORMAT}", info.format),
            ));
        }
        Ok(info)
    }

    /// Refuses to resume with another recipe than the run was started with.
    ///
    /// # Errors
    /// The recipe was edited; the message says where.
    pub(crate) fn refuse_edited(&self, folder: &RunFolder, now: &str, command: &str) -> Result<()> {
        let edited = |before: &&str| !difference::same_values(before, now);
        let Some(before) = self.recipe.as_deref().filter(edited) else { return Ok(()) };
        let changes = difference::changes(before, now);
        let shown = if changes.is_empty() { String::new() } else { format!(" ({changes})") };
        Err(Error::run(
            &folder.recipe(),
            format!(
                "was edited since the run was started{shown}; take that back to resume, or train the edited recipe anew: \
                 feedforward {command} {}",
                folder.recipe().display()
            ),
        ))
    }
}

/// The error for a run without a model, and what to do.
pub(crate) fn no_model(folder: &RunFolder) -> Error {
    let shown = folder.path().display();
    let finished = RunInfo::load(folder).is_ok_and(|info| info.finished);
    let message = if finished {
        format!(
            "its model has no config.json; copy the run again from its source, or train anew: \
             feedforward train {shown}/recipe.toml"
        )
    } else {
        format!("has no model yet; resume it with `feedforward train --resume {shown}`")
    };
    Error::run(folder.path(), message)
}
