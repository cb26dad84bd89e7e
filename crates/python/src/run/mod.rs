//! Whole runs: training, plans, evaluation, inspection.

mod files;
mod language;
mod model;
mod rows;
mod search;
mod watch;

pub(crate) use files::{export, import_model};
pub(crate) use language::LanguageModel;
pub(crate) use model::TableModel;
pub(crate) use rows::Rows;
pub(crate) use search::{resume_tune, tune};

use crate::errors::of_library;
use crate::interpreter::compute;
use feedforward::language::{TextReading, evaluate_language, is_language_model};
use feedforward::table::source::{InMemory, not_opened, with_tables};
use feedforward::table::{BlockReader, Quality, SourceOptions};
use feedforward::tensor::DeviceOptions;
use feedforward::{
    Closing, Error, PredictOptions, Recipe, RunFolder, RunSummary, TrainOptions, TrainRecipe,
};
use pyo3::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use watch::Listener;

/// Tables in memory by the paths that name them.
type Tables<'py> = Vec<(String, Bound<'py, Rows>)>;

fn offered(tables: &Tables<'_>) -> Vec<(String, InMemory)> {
    tables.iter().map(|(path, rows)| (path.clone(), rows.get().0.clone())).collect()
}

fn device(threads: usize) -> DeviceOptions {
    DeviceOptions { threads, isa: None }
}

/// What to train: a recipe by its path or its text, or a table by its path, with overrides.
#[pyclass(frozen, module = "feedforward._core")]
pub(crate) struct Job {
    recipe: Option<(String, bool)>,
    table: Option<String>,
    quality: Quality,
    sets: Vec<String>,
}

#[pymethods]
impl Job {
    #[new]
    #[pyo3(signature = (sets, *, path=None, text=None, table=None, quality=None))]
    fn new(
        sets: Vec<String>,
        path: Option<String>,
        text: Option<String>,
        table: Option<String>,
        quality: Option<&str>,
    ) -> PyResult<Self> {
        let quality = match quality {
            None | Some("good") => Quality::Good,
            Some("fast") => Quality::Fast,
            Some("best") => Quality::Best,
            Some(other) => {
                let message = format!("quality=\"{other}\": expected fast, good or best");
                return Err(of_library(Error::usage(message)));
            }
        };
        let recipe = path.map(|path| (path, true)).or(text.map(|text| (text, false)));
        Ok(Self { recipe, table, quality, sets })
    }

    /// The command of its task: `train`, `pretrain`, `finetune`.
    fn command(&self, py: Python<'_>) -> PyResult<&'static str> {
        compute(py, || self.open().map(|recipe| recipe.command()))?.map_err(of_library)
    }

    /// The whole recipe as TOML.
    fn toml(&self, py: Python<'_>) -> PyResult<String> {
        compute(py, || self.open().map(|recipe| recipe.to_toml()))?.map_err(of_library)
    }

    /// Trains in a new folder, in about so many seconds if `budget` says so; the outcome as JSON.
    #[pyo3(signature = (tables, tell, *, out=None, threads=0, watch=false, budget=None))]
    #[allow(clippy::too_many_arguments)]
    fn train(
        &self,
        py: Python<'_>,
        tables: Tables<'_>,
        tell: Py<PyAny>,
        out: Option<PathBuf>,
        threads: usize,
        watch: bool,
        budget: Option<f64>,
    ) -> PyResult<String> {
        let options = options(out, threads, watch);
        watched(py, &tables, tell, |listener| match budget {
            None => self.open()?.train(&options, listener),
            Some(seconds) => self.within(seconds, threads, listener)?.train(&options, listener),
        })
    }

    /// What training would take, as JSON.
    #[pyo3(signature = (tables, tell, *, threads=0))]
    fn plan(
        &self,
        py: Python<'_>,
        tables: Tables<'_>,
        tell: Py<PyAny>,
        threads: usize,
    ) -> PyResult<String> {
        let options = device(threads);
        let plan = listened(py, &tables, tell, |listener| self.open()?.plan(options, listener))?;
        let mut json = serde_json::to_value(&plan).unwrap_or_default();
        json["way_to_fit"] = plan.way_to_fit.into();
        Ok(json.to_string())
    }

    /// The names of the table's columns.
    fn columns(&self, py: Python<'_>, tables: Tables<'_>) -> PyResult<Vec<String>> {
        let (tables, path) = (offered(&tables), self.table.as_deref().unwrap_or_default());
        let read = || {
            let mut reader = BlockReader::open(Path::new(path), &SourceOptions::default(), 16)?;
            Ok::<_, Error>(reader.next_block()?.map(|block| block.names()).unwrap_or_default())
        };
        compute(py, || with_tables(tables, read))?.map_err(of_library)
    }
}

impl Job {
    /// The recipe of a table that trains in so many seconds.
    fn within(
        &self,
        seconds: f64,
        threads: usize,
        listener: &mut Listener,
    ) -> feedforward::Result<Box<dyn TrainRecipe>> {
        let Some(table) = self.table.as_deref().filter(|_| self.recipe.is_none()) else {
            let message = "a time budget is for a table without a recipe, which states its length";
            return Err(Error::usage(message));
        };
        let device = device(threads);
        Ok(Recipe::within_seconds(table, seconds, &self.sets, device, listener)?.into())
    }

    fn open(&self) -> feedforward::Result<Box<dyn TrainRecipe>> {
        let sets = &self.sets;
        Ok(match (&self.recipe, &self.table) {
            (Some((path, true)), _) => {
                let path = Path::new(path);
                if !path.exists() {
                    return Err(not_opened(path, std::io::ErrorKind::NotFound.into()).into());
                }
                feedforward::open_recipe(path, sets)?
            }
            (Some((text, false)), _) => feedforward::parse_recipe(text, "the recipe", sets)?,
            (None, Some(table)) => Recipe::for_table(table, self.quality, sets)?.into(),
            (None, None) => return Err(Error::usage("name a table or a recipe")),
        })
    }
}

fn options(out: Option<PathBuf>, threads: usize, watch: bool) -> TrainOptions {
    TrainOptions { out, device: device(threads), command: vec!["python".into()], watch }
}

/// Runs `work` with a listener and without the interpreter. What a callback or a signal raised
/// comes before what became of the run.
fn listened<R: Send>(
    py: Python<'_>,
    tables: &Tables<'_>,
    tell: Py<PyAny>,
    work: impl FnOnce(&mut Listener) -> feedforward::Result<R> + Send,
) -> PyResult<R> {
    let tables = offered(tables);
    let mut listener = Listener::new(tell);
    let done = compute(py, || with_tables(tables, || work(&mut listener)))?;
    match listener.raised {
        Some(error) => Err(error),
        None => done.map_err(of_library),
    }
}

fn watched(
    py: Python<'_>,
    tables: &Tables<'_>,
    tell: Py<PyAny>,
    train: impl FnOnce(&mut Listener) -> feedforward::Result<RunSummary> + Send,
) -> PyResult<String> {
    let RunSummary { run, command, interrupted, steps, closing, json } =
        listened(py, tables, tell, train)?;
    let Closing { headline, verdict, lines, .. } = closing;
    Ok(json!({
        "run": run, "command": command, "interrupted": interrupted, "steps": steps,
        "headline": headline, "verdict": verdict, "lines": lines, "summary": json,
    })
    .to_string())
}

/// Resumes a stopped run; the outcome as JSON.
#[pyfunction]
#[pyo3(signature = (run, tables, tell, *, threads=0, watch=false))]
pub(crate) fn resume(
    py: Python<'_>,
    run: PathBuf,
    tables: Tables<'_>,
    tell: Py<PyAny>,
    threads: usize,
    watch: bool,
) -> PyResult<String> {
    let options = options(None, threads, watch);
    watched(py, &tables, tell, |listener| feedforward::resume(&run, &options, listener))
}

/// The scores of a run's model on new rows or on its own held-out part, as JSON.
#[pyfunction]
#[pyo3(signature = (run, data, tables, *, sets=vec![], adapter=None, text_column=None, threads=0))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn evaluate(
    py: Python<'_>,
    run: PathBuf,
    data: Option<PathBuf>,
    tables: Tables<'_>,
    sets: Vec<String>,
    adapter: Option<PathBuf>,
    text_column: Option<String>,
    threads: usize,
) -> PyResult<String> {
    let tables = offered(&tables);
    let work = || -> feedforward::Result<Value> {
        let (device, data) = (device(threads), data.as_deref());
        if is_language_model(&run) {
            let reading = TextReading { text_column, ..TextReading::default() };
            let found = evaluate_language(&run, adapter.as_deref(), data, &reading, device)?;
            return Ok(serde_json::to_value(found).unwrap_or_default());
        }
        let found = feedforward::evaluate(&run, data, &sets, device)?;
        Ok(json!({
            "part": found.part, "rows": found.rows, "scores": found.report.scores(),
            "left_out": found.left_out, "unfamiliar": found.unfamiliar,
        }))
    };
    let json = compute(py, || with_tables(tables, work))?.map_err(of_library)?;
    Ok(json.to_string())
}

/// Writes the rows of a file or a table with their predictions to a file; a summary as JSON.
#[pyfunction]
#[pyo3(signature = (run, data, tables, out, tell, *, proba=false, spread=false, interval=None, sets=vec![], force=false, threads=0))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn predict_file(
    py: Python<'_>,
    run: PathBuf,
    data: PathBuf,
    tables: Tables<'_>,
    out: PathBuf,
    tell: Py<PyAny>,
    proba: bool,
    spread: bool,
    interval: Option<f64>,
    sets: Vec<String>,
    force: bool,
    threads: usize,
) -> PyResult<String> {
    let out = Some(out);
    let device = device(threads);
    let options = PredictOptions { data, out, proba, spread, interval, set: sets, force, device };
    let done = listened(py, &tables, tell, |l| feedforward::predict(&run, &options, l))?;
    json_of(&done)
}

/// What is inside of a run, a model or a file of tensors, as JSON.
#[pyfunction]
pub(crate) fn inspect(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    json_of(&compute(py, || feedforward::inspect(&path))?.map_err(of_library)?)
}

/// The folder of a run, from itself or a path within.
#[pyfunction]
pub(crate) fn run_folder(path: PathBuf) -> PyResult<PathBuf> {
    RunFolder::open(&path).map(|folder| folder.path().to_owned()).map_err(of_library)
}

/// Whether a path is a language model's.
#[pyfunction]
pub(crate) fn is_language(path: PathBuf) -> bool {
    is_language_model(&path)
}

fn json_of(value: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(value)
        .map_err(|error| pyo3::exceptions::PyRuntimeError::new_err(error.to_string()))
}
