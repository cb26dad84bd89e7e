//! Searches for settings.

use super::{Job, Tables, listened, options};
use feedforward::{Error, Recipe, TuneSummary};
use pyo3::prelude::*;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Searches settings for a table in a new folder; the outcome as JSON.
#[pyfunction]
#[pyo3(signature = (job, tables, tell, *, out=None, threads=0))]
pub(crate) fn tune(
    py: Python<'_>,
    job: &Bound<'_, Job>,
    tables: Tables<'_>,
    tell: Py<PyAny>,
    out: Option<PathBuf>,
    threads: usize,
) -> PyResult<String> {
    let (job, options) = (job.get(), options(out, threads, false));
    let done = listened(py, &tables, tell, |listener| {
        feedforward::tune(&job.table_recipe()?, &options, listener)
    })?;
    Ok(outcome(&done))
}

/// Resumes a stopped search; the outcome as JSON.
#[pyfunction]
#[pyo3(signature = (folder, tables, tell, *, threads=0))]
pub(crate) fn resume_tune(
    py: Python<'_>,
    folder: PathBuf,
    tables: Tables<'_>,
    tell: Py<PyAny>,
    threads: usize,
) -> PyResult<String> {
    let options = options(None, threads, false);
    let done = listened(py, &tables, tell, |listener| {
        feedforward::resume_tune(&folder, &options, listener)
    })?;
    Ok(outcome(&done))
}

fn outcome(summary: &TuneSummary) -> String {
    json!({
        "folder": summary.folder, "monitor": summary.monitor, "trials": summary.trials,
        "influence": summary.influence, "headline": summary.closing.headline,
        "lines": summary.closing.lines,
    })
    .to_string()
}

impl Job {
    /// The recipe of a table, for what only tables have.
    fn table_recipe(&self) -> feedforward::Result<Recipe> {
        let text = match &self.recipe {
            Some((path, true)) => std::fs::read_to_string(path).unwrap_or_default(),
            Some((text, false)) => text.clone(),
            None => String::new(),
        };
        if feedforward::names_encoder(&text, &self.sets) {
            return Err(Error::usage("a search is for the networks of tables, not model.encoder"));
        }
        Ok(match (&self.recipe, &self.table) {
            (Some((path, true)), _) => Recipe::load(Path::new(path), &self.sets)?,
            (Some((text, false)), _) => Recipe::parse(text, "the recipe", &self.sets)?,
            (None, table) => {
                let table = table.as_deref().unwrap_or_default();
                Recipe::for_table(table, self.quality, &self.sets)?
            }
        })
    }
}
