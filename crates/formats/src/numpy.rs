//! Arrays of NumPy (`.npy`): one of numbers, or a pickle of a dict of arrays, in which Keras keeps
//! the weights of a layer.
//!
//! Nothing of a pickle is executed: [`Pickle`] builds containers and notes which of a handful of
//! functions would be called with which arguments, and an array is read from those. Source of the
//! header: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use crate::pickle::{Failure, Id, Pickle, Reads, Value, malformed};
use crate::{Result, guarded_call};
use std::borrow::Cow;
use std::path::Path;

/// The first bytes of a file.
const MAGIC: &[u8] = b"\x93NUMPY";
/// The deepest that an array lies in objects.
const DEEPEST: usize = 8;
/// The most bytes of arrays for a byte of the file: several may be the same.
const SHARED: usize = 16;
/// The most dimensions, those of NumPy 2.
const MOST_DIMS: usize = 64;

/// An array of a file.
///
/// ```
/// let array = ff_formats::NumpyArray::default();
/// assert!(array.name.is_none() && array.bytes.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumpyArray<'a> {
    /// Its key in a dict of arrays.
    pub name: Option<String>,
    /// Kind and bytes of an element, as NumPy writes them: `f4`, `i8`, `b1`.
    pub dtype: String,
    /// Its shape.
    pub dims: Vec<usize>,
    /// The elements, row by row, little-endian.
    pub bytes: Cow<'a, [u8]>,
}

/// The arrays of a `.npy` file: one, or those of a pickled dict by their keys. Of a pickle, arrays
/// of NumPy and JAX and variables of Keras on TensorFlow and JAX are read, and nothing is executed.
///
/// ```
/// let mut file = b"\x93NUMPY\x01\x00\x46\x00".to_vec();
/// let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
/// file.extend(format!("{header:<69}\n").bytes());
/// file.extend([1.0f32, 2.5].iter().flat_map(|x| x.to_le_bytes()));
/// let arrays = ff_formats::numpy_arrays("x.npy".as_ref(), &file)?;
/// assert_eq!((arrays[0].dtype.as_str(), &arrays[0].dims), ("f4", &vec![2]));
/// # Ok::<(), ff_formats::Error>(())
/// ```
///
/// # Errors
/// The file is damaged, holds an object of Python that is not read, by name, or numbers of another
/// kind or order of bytes.
pub fn numpy_arrays<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<NumpyArray<'a>>> {
    let read = guarded_call(|| read(bytes));
    read.unwrap_or_else(|panic| Err(malformed(panic))).map_err(|failure| failure.at(path))
}

fn read(bytes: &[u8]) -> Result<Vec<NumpyArray<'_>>, Failure> {
    let (header, rest) = header(bytes)?;
    let field = |name: &str| {
        let at = header.find(&format!("'{name}':"));
        at.map(|at| header[at + name.len() + 3..].trim_start())
            .ok_or_else(|| malformed(format!("its header has no `{name}`")))
    };
    let dtype = field("descr")?;
    let dtype = dtype.strip_prefix('\'').and_then(|text| text.split_once('\''));
    let (dtype, _) =
        dtype.ok_or_else(|| malformed("its elements have several parts, which are not read"))?;
    let fortran = field("fortran_order")?.starts_with("True");
    let shape = field("shape")?.strip_prefix('(').and_then(|text| text.split_once(')'));
    let (shape, _) = shape.ok_or_else(|| malformed("its header has no shape"))?;
    let dims = shape.split(',').map(str::trim).filter(|part| !part.is_empty());
    let dims: Option<Vec<usize>> = dims.map(|part| part.parse().ok()).collect();
    let dims = dims.ok_or_else(|| malformed("its shape has a size that is none"))?;
    if dtype.ends_with('O') {
        let mut pickle = Pickle::new(rest, Reads::Arrays);
        let root = pickle.load()?;
        return Objects { pickle: &pickle }.dict(root);
    }
    let (order, dtype) = dtype.split_at_checked(1).ok_or_else(|| unread(dtype))?;
    Ok(vec![plain(None, order, dtype, dims, fortran, rest)?])
}

/// The text of the header, and what follows it.
fn header(bytes: &[u8]) -> Result<(&str, &[u8]), Failure> {
    let cut = || malformed("it ends within its header");
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| malformed("it is no array of NumPy"))?;
    let ([major, _], rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = if *major == 1 {
        let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        (usize::from(u16::from_le_bytes(*length)), rest)
    } else {
        let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        (u32::from_le_bytes(*length) as usize, rest)
    };
    let (header, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    Ok((std::str::from_utf8(header).map_err(|_| malformed("its header is no text"))?, rest))
}

/// An array of its parts, in rows whatever order they lie in.
fn plain<'a>(
    name: Option<String>,
    order: &str,
    dtype: &str,
    dims: Vec<usize>,
    fortran: bool,
    bytes: &'a [u8],
) -> Result<NumpyArray<'a>, Failure> {
    let size = match dtype {
        "b1" | "i1" | "u1" => 1,
        "f2" | "i2" | "u2" => 2,
        "f4" | "i4" | "u4" => 4,
        "f8" | "i8" | "u8" => 8,
        other => return Err(unread(other)),
    };
    if order == ">" && size > 1 {
        return Err(malformed("its numbers are big-endian, which is not read"));
    }
    let count = dims.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
    let needed = count.and_then(|n| n.checked_mul(size));
    if dims.len() > MOST_DIMS || needed != Some(bytes.len()) {
        return Err(malformed(format!(
            "its shape {dims:?} of {dtype} does not go with its {} bytes",
            bytes.len()
        )));
    }
    let mut bytes = Cow::Borrowed(bytes);
    if fortran && dims.len() > 1 && !bytes.is_empty() {
        bytes = Cow::Owned(in_rows(&dims, size, &bytes));
    }
    Ok(NumpyArray { name, dtype: dtype.to_owned(), dims, bytes })
}

/// Elements that lie by their first dimension, row by row.
fn in_rows(dims: &[usize], size: usize, bytes: &[u8]) -> Vec<u8> {
    let mut rows = Vec::with_capacity(bytes.len());
    let mut index = vec![0; dims.len()];
    while rows.len() < bytes.len() {
        let at = index.iter().zip(dims).rev().fold(0, |at, (i, dim)| at * dim + i);
        rows.extend_from_slice(&bytes[at * size..][..size]);
        for d in (0..dims.len()).rev() {
            index[d] += 1;
            if index[d] < dims[d] {
                break;
            }
            index[d] = 0;
        }
    }
    rows
}

fn unread(dtype: &str) -> Failure {
    malformed(format!("elements of the type `{dtype}` are not read"))
}

/// The values of a pickle as arrays.
struct Objects<'p, 'a> {
    pickle: &'p Pickle<'a>,
}

impl<'a> Objects<'_, 'a> {
    /// The arrays of a dict, which is the only element of an array of objects.
    fn dict(&self, root: Id) -> Result<Vec<NumpyArray<'a>>, Failure> {
        let state = self.pickle.state(root).map(|state| self.list(state));
        let element = match state {
            Some([_, shape, _, _, elements]) if self.list(*shape).is_empty() => {
                match self.list(*elements) {
                    [one] => *one,
                    _ => root,
                }
            }
            _ => root,
        };
        let Value::Dict(items) = self.pickle.value(element) else {
            return Err(malformed("its pickle holds no dict of arrays"));
        };
        let mut left = self.pickle.bytes_read().saturating_mul(SHARED);
        let mut arrays = Vec::new();
        for (key, value) in items {
            let Value::Text(key) = self.pickle.value(*key) else {
                return Err(malformed("a key of its dict is no text"));
            };
            let array = self.array(Some(key.clone()), *value, 0)?;
            left = left.checked_sub(array.bytes.len()).ok_or_else(|| {
                malformed("its arrays share so few bytes that they are no model's")
            })?;
            arrays.push(array);
        }
        Ok(arrays)
    }

    /// An array, by the functions that would make it.
    fn array(&self, name: Option<String>, id: Id, depth: usize) -> Result<NumpyArray<'a>, Failure> {
        let none = || malformed("a value of its dict is no array that is read");
        if depth > DEEPEST {
            return Err(malformed("its arrays lie in objects without end"));
        }
        let Value::Call(function, arguments) = self.pickle.value(id) else { return Err(none()) };
        let arguments_of = || self.list(*arguments);
        match function.as_str() {
            "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct" => {
                self.stored(name, self.pickle.state(id).ok_or_else(none)?)
            }
            "numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar" => {
                let &[dtype, bytes] = arguments_of() else { return Err(none()) };
                let (order, dtype) = self.dtype(dtype).ok_or_else(none)?;
                let bytes = self.pickle.bytes(bytes).ok_or_else(none)?;
                plain(name, order, dtype, Vec::new(), false, bytes)
            }
            // Of the function, its arguments and the array's state, the last is the array.
            "jax._src.array._reconstruct_array" => {
                let &[_, _, state, _] = arguments_of() else { return Err(none()) };
                self.stored(name, state)
            }
            "keras.src.backend.Variable" => {
                let state = self.pickle.state(id).and_then(|state| self.entry(state, "_value"));
                self.array(name, state.ok_or_else(none)?, depth + 1)
            }
            // A variable of TensorFlow is made of its first value by a function with arguments.
            Pickle::PARTIAL => {
                let state = self.pickle.state(*arguments).map(|state| self.list(state));
                let Some([_, _, named, _]) = state else { return Err(none()) };
                let value = self.entry(*named, "initial_value");
                self.array(name, value.ok_or_else(none)?, depth + 1)
            }
            _ => Err(none()),
        }
    }

    /// An array from its state: version, shape, type, order and bytes.
    fn stored(&self, name: Option<String>, state: Id) -> Result<NumpyArray<'a>, Failure> {
        let damaged = || malformed("the state of an array in its pickle is damaged");
        let &[_, shape, dtype, fortran, bytes] = self.list(state) else { return Err(damaged()) };
        let dims = self.list(shape).iter().map(|dim| match self.pickle.value(*dim) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        });
        let dims = dims.collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        let (order, dtype) = self.dtype(dtype).ok_or_else(damaged)?;
        let fortran = matches!(self.pickle.value(fortran), Value::Flag(true));
        let bytes = self.pickle.bytes(bytes).ok_or_else(damaged)?;
        plain(name, order, dtype, dims, fortran, bytes)
    }

    /// The order of bytes and the name of a type.
    fn dtype(&self, id: Id) -> Option<(&str, &str)> {
        let Value::Call(function, arguments) = self.pickle.value(id) else { return None };
        let text = |id: Id| match self.pickle.value(id) {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        };
        let name = text(*self.list(*arguments).first()?)?;
        let order = self.pickle.state(id).and_then(|state| text(*self.list(state).get(1)?));
        (function == "numpy.dtype").then(|| (order.unwrap_or("<"), name))
    }

    /// The value of a dict under a name.
    fn entry(&self, dict: Id, name: &str) -> Option<Id> {
        let Value::Dict(items) = self.pickle.value(dict) else { return None };
        let named = |id: Id| matches!(self.pickle.value(id), Value::Text(text) if text == name);
        items.iter().find(|(key, _)| named(*key)).map(|(_, value)| *value)
    }

    /// The items of a list; none of anything else.
    fn list(&self, id: Id) -> &[Id] {
        match self.pickle.value(id) {
            Value::List(items) => items,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NumpyArray, numpy_arrays};

    fn file(header: &str, elements: &[u8]) -> Vec<u8> {
        let mut file = b"\x93NUMPY\x02\x00".to_vec();
        file.extend((header.len() as u32).to_le_bytes());
        file.extend(header.bytes());
        file.extend(elements);
        file
    }

    fn read(bytes: &[u8]) -> Result<Vec<NumpyArray<'_>>, String> {
        numpy_arrays("a.npy".as_ref(), bytes).map_err(|e| e.to_string())
    }

    #[test]
    fn columns_become_rows() {
        let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }\n";
        let bytes = file(header, &[1, 4, 2, 5, 3, 6]);
        let arrays = read(&bytes).unwrap();
        assert_eq!((&*arrays[0].bytes, &arrays[0].dims), (&[1, 2, 3, 4, 5, 6][..], &vec![2, 3]));
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (header, expected) in [
            ("{'descr': '>f4', 'fortran_order': False, 'shape': (), }", "big-endian"),
            ("{'descr': '<V2', 'fortran_order': False, 'shape': (2,), }", "type `V2`"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (), }", "several parts"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (9, 9), }", "with its 4 bytes"),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
                "with its 4 bytes",
            ),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "a size that is none"),
            ("{'descr': '<f4', 'shape': (), }", "no `fortran_order`"),
        ] {
            let error = read(&file(header, &[0; 4])).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
