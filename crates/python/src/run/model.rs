//! A trained model of tables.

use super::{Tables, device, offered};
use crate::errors::of_library;
use crate::interpreter::compute;
use feedforward::table::source::with_tables;
use feedforward::table::{DataError, Intervals, Table, Unfamiliar, Values, class_values, load};
use feedforward::tensor::Device;
use feedforward::{Error, Predictions, RunFolder};
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A model with its transforms, for one call at a time.
#[pyclass(frozen, module = "feedforward._core")]
pub(crate) struct TableModel {
    model: Mutex<feedforward::TableModel>,
    device: Device,
}

/// Predicted numbers, or the number of each row's class and all probabilities; then columns with
/// cells unlike those of training, in sentences.
type Predicted<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, Vec<String>);

#[pymethods]
impl TableModel {
    /// Opens a run, or the folder of its model.
    #[new]
    #[pyo3(signature = (path, *, threads=0))]
    fn new(py: Python<'_>, path: PathBuf, threads: usize) -> PyResult<Self> {
        let open = || -> feedforward::Result<Self> {
            let device = Device::open(device(threads))?;
            let model = feedforward::TableModel::open(&folder(&path)?, &device)?;
            Ok(Self { model: Mutex::new(model), device })
        };
        compute(py, open)?.map_err(of_library)
    }

    /// The task, the target column, and the columns that it reads.
    fn facts(&self) -> (String, String, Vec<String>) {
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        let columns = model.transforms().feature_ranges().into_iter().map(|range| range.column);
        (model.file().task.to_string(), model.file().target.clone(), columns.collect())
    }

    /// The classes as values of their own type; none for numbers.
    fn classes<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let classes = {
            let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
            model.file().classes.clone()
        };
        let rows: Vec<usize> = (0..classes.len()).collect();
        let values = class_values(&classes, &rows);
        rows.iter()
            .map(|&row| match &values {
                Values::Integer(v) => v.get(row).into_bound_py_any(py),
                Values::Number(v) => v.get(row).into_bound_py_any(py),
                Values::Bool(v) => v[row].into_bound_py_any(py),
                _ => classes[row].as_str().into_bound_py_any(py),
            })
            .collect()
    }

    /// Predicts the rows of a table.
    #[pyo3(signature = (data, tables))]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        data: PathBuf,
        tables: Tables<'py>,
    ) -> PyResult<Predicted<'py>> {
        let (predictions, found) =
            self.with(py, &data, &tables, feedforward::TableModel::predict_with_findings)?;
        let (values, proba) = match predictions {
            Predictions::Values(values) => (PyArray1::from_vec(py, values).into_any(), None),
            Predictions::Classes { predicted, probabilities } => {
                let rows = predicted.len();
                let ids: Vec<i64> = predicted.into_iter().map(|class| class as i64).collect();
                let width = probabilities.len().checked_div(rows).unwrap_or(0);
                let proba = PyArray1::from_vec(py, probabilities).reshape([rows, width])?;
                let proba: Bound<'py, PyArray2<f64>> = proba;
                (PyArray1::from_vec(py, ids).into_any(), Some(proba.into_any()))
            }
        };
        let sentence = |c: &Unfamiliar| format!("{}: {}", c.column, c.describe());
        Ok((values, proba, found.iter().map(sentence).collect()))
    }

    /// How far the members of an ensemble disagree about each row.
    fn spread<'py>(
        &self,
        py: Python<'py>,
        data: PathBuf,
        tables: Tables<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let spread = self.with(py, &data, &tables, feedforward::TableModel::spread)?;
        Ok(PyArray1::from_vec(py, spread).into_any())
    }

    /// The interval or the set of classes of each row at a level.
    #[pyo3(signature = (data, tables, level))]
    fn interval<'py>(
        &self,
        py: Python<'py>,
        data: PathBuf,
        tables: Tables<'py>,
        level: f64,
    ) -> PyResult<Ends<'py>> {
        let found = self.with(py, &data, &tables, |model, table| {
            let predictions = model.predict(table)?;
            model.intervals(table, &predictions, level)
        })?;
        Ok(match found {
            Intervals::Sets(sets) => Ends::Sets(sets),
            Intervals::Numbers(ends) => {
                let rows = ends.len();
                Ends::Intervals(PyArray1::from_vec(py, ends.concat()).reshape([rows, 2])?)
            }
        })
    }
}

/// The ends of intervals `[rows, 2]`, or the numbers of the classes of each row's set.
#[derive(IntoPyObject)]
enum Ends<'py> {
    Intervals(Bound<'py, PyArray2<f64>>),
    Sets(Vec<Vec<usize>>),
}

impl TableModel {
    fn with<R: Send>(
        &self,
        py: Python<'_>,
        data: &Path,
        tables: &Tables<'_>,
        work: impl FnOnce(&mut feedforward::TableModel, &Table) -> feedforward::Result<R> + Send,
    ) -> PyResult<R> {
        let tables = offered(tables);
        let run = || -> feedforward::Result<R> {
            let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
            let options = model.transforms().source_options();
            let read = load(data, &options, self.device.cpu().threads());
            let (table, _) = read.map_err(|error: DataError| Error::from(error))?;
            work(&mut model, &table)
        };
        compute(py, || with_tables(tables, run))?.map_err(of_library)
    }
}

/// The folder of a model, from a run or itself.
fn folder(path: &Path) -> feedforward::Result<PathBuf> {
    if path.join("config.json").is_file() {
        return Ok(path.to_owned());
    }
    Ok(RunFolder::open(path)?.model())
}
