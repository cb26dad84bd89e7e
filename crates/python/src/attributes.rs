//! Keyword arguments as the attributes of an operation.

use feedforward::ops::{Activation, Reduction};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::HashSet;

/// Keyword arguments, taken one by one; those left over are an error.
pub(crate) struct Attributes<'py> {
    of: String,
    given: Option<Bound<'py, PyDict>>,
}

impl<'py> Attributes<'py> {
    pub(crate) fn new(of: &str, given: Option<&Bound<'py, PyDict>>) -> PyResult<Self> {
        Ok(Self { of: of.to_owned(), given: given.map(Bound::copy).transpose()? })
    }

    /// The attribute of this name, or its default.
    pub(crate) fn take<T>(&mut self, name: &str, default: T) -> PyResult<T>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        Ok(self.optional(name)?.unwrap_or(default))
    }

    /// The attribute of this name; `None` where it is not given or `None`.
    pub(crate) fn optional<T>(&mut self, name: &str) -> PyResult<Option<T>>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        let Some(given) = &self.given else { return Ok(None) };
        let Some(value) = given.get_item(name)? else { return Ok(None) };
        given.del_item(name)?;
        if value.is_none() {
            return Ok(None);
        }
        value.extract::<T>().map(Some).map_err(|error| {
            let error: PyErr = error.into();
            let problem = error.value(value.py()).to_string();
            PyTypeError::new_err(format!("{}: {name}: {problem}", self.of))
        })
    }

    /// The attribute of this name, which has no default.
    pub(crate) fn required<T>(&mut self, name: &str) -> PyResult<T>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        let missing = || PyTypeError::new_err(format!("{}: `{name}` is missing", self.of));
        let missing = missing();
        self.optional(name)?.ok_or(missing)
    }

    /// The choice of this name, by default the first.
    pub(crate) fn one_of<T: Copy>(&mut self, name: &str, all: &[(&str, T)]) -> PyResult<T> {
        let given: Option<String> = self.optional(name)?;
        let chosen = match &given {
            None => all.first(),
            Some(given) => all.iter().find(|(choice, _)| choice == given),
        };
        chosen.map(|&(_, choice)| choice).ok_or_else(|| {
            let choices: Vec<&str> = all.iter().map(|&(choice, _)| choice).collect();
            let (given, choices) = (given.unwrap_or_default(), choices.join(", "));
            PyValueError::new_err(format!("{name} `{given}`: expected one of {choices}"))
        })
    }

    pub(crate) fn reduction(&mut self) -> PyResult<Reduction> {
        self.one_of("reduction", &[("mean", Reduction::Mean), ("sum", Reduction::Sum)])
    }

    /// Numbers of rows, each once.
    pub(crate) fn distinct(&mut self, name: &str) -> PyResult<Vec<u32>> {
        let ids: Vec<u32> = self.required(name)?;
        let mut seen = HashSet::new();
        match ids.iter().find(|&&id| !seen.insert(id)) {
            None => Ok(ids),
            Some(id) => Err(PyValueError::new_err(format!("{}: {name} has {id} twice", self.of))),
        }
    }

    /// The activation, with its attribute, if it has one.
    pub(crate) fn activation(&mut self, default: Activation) -> PyResult<Activation> {
        let name: Option<String> = self.optional("activation")?;
        let mut f = name.as_deref().map_or(Ok(default), activation)?;
        if let Some((key, value)) = f.attribute() {
            f = f.with_attribute(self.take(key, value)?);
        }
        f.validate().map_err(PyValueError::new_err)?;
        Ok(f)
    }

    /// Refuses what was not taken.
    pub(crate) fn finish(self) -> PyResult<()> {
        let Some(given) = &self.given else { return Ok(()) };
        match given.keys().iter().next() {
            None => Ok(()),
            Some(key) => {
                let message = format!("{}: unexpected keyword argument `{key}`", self.of);
                Err(PyTypeError::new_err(message))
            }
        }
    }
}

/// An activation by name.
pub(crate) fn activation(name: &str) -> PyResult<Activation> {
    Activation::ALL.iter().find(|f| f.name() == name).copied().ok_or_else(|| {
        let names: Vec<&str> = Activation::ALL.iter().map(|f| f.name()).collect();
        let message = format!("unknown activation `{name}`; expected one of {}", names.join(", "));
        PyValueError::new_err(message)
    })
}
