//! From the values of a pickle to named tensors.

use super::dtypes::DTYPES;
use super::tensor::{Stored, View};
use crate::pickle::{Failure, Id, Pickle, Value, malformed};
use safetensors::tensor::TensorView;
use std::collections::HashMap;

/// The depth of containers in containers.
const DEEPEST: usize = 32;
/// More values than the containers of any model hold.
const MOST: usize = 1 << 22;
/// The most bytes of tensors for a byte of the file: several may share a storage.
const SHARED: usize = 16;

/// The tensors within containers, named by the keys and places that lead to them.
pub(super) fn tensors(pickle: &Pickle<'_>, root: Id) -> Result<Vec<View>, Failure> {
    let mut search = Search { pickle, visited: 0, found: Vec::new() };
    search.visit(root, "", 0)?;
    let mut found = search.found;
    if found.is_empty() {
        return Err(malformed("it holds no tensor"));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(twice) = found.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(malformed(format!("two tensors are named `{}`", twice[0].name)));
    }
    Ok(found)
}

/// The values of tensors, from their storages in a file of so many bytes.
pub(super) fn gather(
    views: Vec<View>,
    storages: &HashMap<String, Vec<u8>>,
    file: usize,
) -> Result<Vec<Stored>, Failure> {
    let mut left = file.saturating_mul(SHARED);
    let gathered = views.into_iter().map(|view| {
        let stored = view.of(storages)?;
        left = left
            .checked_sub(stored.bytes.len())
            .ok_or_else(|| malformed("its tensors share so few values that it is no model's"))?;
        Ok(stored)
    });
    gathered.collect()
}

struct Search<'a, 'p> {
    pickle: &'a Pickle<'p>,
    visited: usize,
    found: Vec<View>,
}

impl Search<'_, '_> {
    fn visit(&mut self, id: Id, name: &str, depth: usize) -> Result<(), Failure> {
        let pickle = self.pickle;
        self.visited += 1;
        if depth > DEEPEST || self.visited > MOST {
            return Err(malformed("its containers are nested without end"));
        }
        let inside = |key: &str| if name.is_empty() { key.into() } else { format!("{name}.{key}") };
        match pickle.value(id) {
            Value::Dict(items) => {
                for &(key, value) in items {
                    let key = match pickle.value(key) {
                        Value::Text(text) => text.clone(),
                        Value::Int(n) => n.to_string(),
                        // A value under another key is no part of a model.
                        _ => continue,
                    };
                    self.visit(value, &inside(&key), depth + 1)?;
                }
            }
            Value::List(items) => {
                for (i, &item) in items.iter().enumerate() {
                    self.visit(item, &inside(&i.to_string()), depth + 1)?;
                }
            }
            Value::Module(_, attributes) => {
                for part in ["_parameters", "_buffers", "_modules"] {
                    if let Some(inner) = attribute(pickle, *attributes, part) {
                        self.visit(inner, name, depth + 1)?;
                    }
                }
            }
            Value::Call(function, arguments) => {
                let list = list(pickle, *arguments)?;
                match function.as_str() {
                    "torch._utils._rebuild_parameter"
                    | "torch._utils._rebuild_parameter_with_state" => {
                        let inner =
                            list.first().ok_or_else(|| malformed("a parameter is empty"))?;
                        self.visit(*inner, name, depth + 1)?;
                    }
                    f if f.starts_with("torch._utils._rebuild_tensor") => {
                        let name = if name.is_empty() { "tensor" } else { name };
                        self.found.push(view(pickle, name, list)?);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// An attribute of a module.
pub(super) fn attribute(pickle: &Pickle<'_>, attributes: Option<Id>, name: &str) -> Option<Id> {
    let Value::Dict(items) = pickle.value(attributes?) else { return None };
    let named = |id: Id| matches!(pickle.value(id), Value::Text(text) if text == name);
    items.iter().rev().find(|&&(key, _)| named(key)).map(|&(_, value)| value)
}

fn list<'a>(pickle: &'a Pickle<'_>, id: Id) -> Result<&'a [Id], Failure> {
    match pickle.value(id) {
        Value::List(items) => Ok(items),
        _ => Err(malformed("the arguments of a call are no tuple")),
    }
}

/// `(storage, offset, size, stride, …)`, where the storage is `("storage", class, key, device, n)`.
fn view(pickle: &Pickle<'_>, name: &str, arguments: &[Id]) -> Result<View, Failure> {
    let wrong = |what: &str| malformed(format!("tensor `{name}`: {what}"));
    let [storage, offset, dims, strides, rest @ ..] = arguments else {
        return Err(wrong("too few arguments"));
    };
    let Value::Stored(storage) = pickle.value(*storage) else {
        return Err(wrong("its values are not stored in this file"));
    };
    let [_, class, key, ..] = list(pickle, *storage)? else {
        return Err(wrong("its storage is not described"));
    };
    let (Value::Global(class), Value::Text(key)) = (pickle.value(*class), pickle.value(*key))
    else {
        return Err(wrong("its storage is not described"));
    };
    // Untyped storages come with the type among the other arguments.
    let stated = rest.iter().find_map(|&id| match pickle.value(id) {
        Value::Global(name) => name.strip_prefix("torch."),
        _ => None,
    });
    let class = class.rsplit('.').next().unwrap_or_default();
    let dtype = DTYPES
        .iter()
        .find(|d| !d.storage.is_empty() && d.storage == class || Some(d.torch) == stated);
    let dtype = dtype.ok_or_else(|| {
        Failure::Refused(format!("tensor `{name}` is of {class}, a type that is not read"))
    })?;
    let number = |id: Id| match pickle.value(id) {
        Value::Int(n) => usize::try_from(*n).map_err(|_| wrong("a negative size")),
        _ => Err(wrong("a size is no number")),
    };
    let numbers = |id: Id| -> Result<Vec<usize>, Failure> {
        list(pickle, id)?.iter().map(|&n| number(n)).collect()
    };
    let (dims, strides) = (numbers(*dims)?, numbers(*strides)?);
    if dims.len() != strides.len() {
        return Err(wrong("as many sizes as strides are needed"));
    }
    Ok(View {
        name: name.to_owned(),
        key: key.clone(),
        dtype: dtype.dtype,
        size: dtype.size,
        offset: number(*offset)?,
        dims,
        strides,
    })
}

/// The same tensors as the bytes of a safetensors file.
pub(super) fn serialized(tensors: &[Stored]) -> Result<Vec<u8>, Failure> {
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.dims.clone(), &tensor.bytes);
        Ok((tensor.name.as_str(), view.map_err(|e| malformed(format!("`{}`: {e}", tensor.name)))?))
    });
    let views: Vec<_> = views.collect::<Result<_, Failure>>()?;
    safetensors::serialize(views, None).map_err(|e| malformed(e.to_string()))
}
