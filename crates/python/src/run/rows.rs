//! Tables from Python: Arrow's bytes, or columns of NumPy arrays and lists.

use feedforward::table::source::InMemory;
use feedforward::table::{Column, Integers, Numbers, Table, TextValues, Values};
use numpy::prelude::*;
use numpy::{PyArray1, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyString};

/// A table in memory.
#[pyclass(frozen, module = "feedforward._core")]
pub(crate) struct Rows(pub(super) InMemory);

#[pymethods]
impl Rows {
    /// A table of columns: names, values, and whether the values are seconds since 1970.
    #[new]
    fn new(columns: Vec<(String, Bound<'_, PyAny>, bool)>) -> PyResult<Self> {
        let columns = columns
            .into_iter()
            .map(|(name, values, dates)| {
                let values =
                    if dates { self::dates(&values)? } else { self::values(&name, &values)? };
                Ok(Column::new(name, values))
            })
            .collect::<PyResult<Vec<_>>>()?;
        let shape = |c: &Column| format!("`{}` has {}", c.name, c.values.len());
        let shapes: Vec<String> = columns.iter().take(8).map(shape).collect();
        let table = Table::new(columns).ok_or_else(|| {
            let rows = shapes.join(", ");
            PyValueError::new_err(format!(
                "columns need names of their own and as many rows as each other: {rows}"
            ))
        })?;
        Ok(Self(InMemory::Columns(table.into())))
    }

    /// A table in the bytes of Arrow's stream format.
    #[staticmethod]
    fn arrow(bytes: &Bound<'_, PyBytes>) -> Self {
        Self(InMemory::Bytes(bytes.as_bytes().into()))
    }
}

fn dates(values: &Bound<'_, PyAny>) -> PyResult<Values> {
    Ok(Values::Date(values.cast::<PyArray1<f64>>()?.try_readonly()?.as_array().to_vec()))
}

/// An array of a type of numbers, or a list.
fn values(name: &str, values: &Bound<'_, PyAny>) -> PyResult<Values> {
    macro_rules! array {
        ($t:ty, $a:ident => $values:expr) => {
            if let Ok(array) = values.cast::<PyArray1<$t>>() {
                let array = array.try_readonly()?;
                let $a = array.as_array();
                return Ok($values);
            }
        };
    }
    array!(f64, a => Values::Number(Numbers::F64(a.to_vec())));
    array!(f32, a => Values::Number(Numbers::F32(a.to_vec())));
    array!(i64, a => Values::Integer(a.iter().map(|&v| Some(v)).collect::<Integers>()));
    array!(bool, a => Values::Bool(a.iter().map(|&v| Some(v)).collect()));
    if let Ok(list) = values.cast::<PyList>() {
        return of_list(name, list);
    }
    let found = match values.cast::<PyUntypedArray>() {
        Ok(array) => format!("an array of {} of shape {:?}", array.dtype(), array.shape()),
        Err(_) => format!("values of type {}", values.get_type().name()?),
    };
    let expected = "numbers, texts, truth values or dates, one for each row";
    Err(PyTypeError::new_err(format!("column `{name}` is {found}; expected {expected}")))
}

/// What the values of a list are, each kind able to hold those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Nothing,
    Bool,
    Integer,
    Float,
    Text,
}

fn of_list(name: &str, list: &Bound<'_, PyList>) -> PyResult<Values> {
    let mut kinds = Vec::with_capacity(list.len());
    for (row, value) in list.iter().enumerate() {
        kinds.push(kind(&value).ok_or_else(|| {
            let found = value.get_type().name().map_or_else(|_| "object".into(), |n| n.to_string());
            PyTypeError::new_err(format!(
                "column `{name}`, row {}: a value of type {found}; expected numbers, texts, truth \
                 values, dates or None",
                row + 1
            ))
        })?);
    }
    let widest = kinds.iter().copied().max().unwrap_or(Kind::Nothing);
    // A truth value among numbers is not one of them.
    let mixed = widest > Kind::Bool && kinds.contains(&Kind::Bool);
    let present = |row: usize| kinds[row] != Kind::Nothing;
    let each = list.iter().enumerate();
    match widest {
        Kind::Nothing => Ok(vec![f64::NAN; list.len()].into()),
        Kind::Bool => Ok(Values::Bool(
            each.map(|(i, v)| present(i).then(|| v.is_truthy()).transpose())
                .collect::<PyResult<_>>()?,
        )),
        Kind::Integer if !mixed => {
            let integers: PyResult<Vec<Option<i64>>> =
                each.map(|(i, v)| present(i).then(|| v.extract()).transpose()).collect();
            match integers {
                Ok(integers) => Ok(Values::Integer(integers.into_iter().collect())),
                Err(_) => texts(list, &kinds),
            }
        }
        Kind::Float if !mixed => Ok(each
            .map(|(i, v)| if present(i) { v.extract() } else { Ok(f64::NAN) })
            .collect::<PyResult<Vec<f64>>>()?
            .into()),
        _ => texts(list, &kinds),
    }
}

fn texts(list: &Bound<'_, PyList>, kinds: &[Kind]) -> PyResult<Values> {
    let mut texts = TextValues::default();
    for (value, kind) in list.iter().zip(kinds) {
        match kind {
            Kind::Nothing => texts.push_missing(""),
            Kind::Text => texts.push(value.cast::<PyString>()?.to_cow()?.as_ref()),
            _ => texts.push(value.str()?.to_cow()?.as_ref()),
        }
    }
    Ok(Values::Text(texts))
}

fn kind(value: &Bound<'_, PyAny>) -> Option<Kind> {
    if value.is_instance_of::<PyString>() {
        return Some(Kind::Text);
    }
    if value.is_none() {
        return Some(Kind::Nothing);
    }
    if value.is_instance_of::<PyBool>() {
        return Some(Kind::Bool);
    }
    if value.is_instance_of::<PyInt>() {
        return Some(Kind::Integer);
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        return Some(if float.value().is_nan() { Kind::Nothing } else { Kind::Float });
    }
    None
}
