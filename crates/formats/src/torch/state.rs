//! From the values of a pickle to named tensors.

use super::pickle::{Id, Pickle, Value};
use super::tensor::{DTYPES, Stored, View};
use super::{Failure, malformed};
use safetensors::tensor::TensorView;

/// The depth of containers in containers.
const DEEPEST: usize = 32;
/// More tensors than any model has.
const MOST: usize = 1 << 20;

/// The tensors within containers, named by the keys and places that lead to them.
pub(super) fn tensors(pickle: &Pickle<'_>, root: Id) -> Result<Vec<View>, Failure> {
    let mut found = Vec::new();
    collect(pickle, root, "", 0, &mut found)?;
    if found.is_empty() {
        return Err(malformed("it holds no tensor"));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(twice) = found.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(malformed(format!("two tensors are named `{}`", twice[0].name)));
    }
    Ok(found)
}

fn collect(
    pickle: &Pickle<'_>,
    id: Id,
    name: &str,
    depth: usize,
    found: &mut Vec<View>,
) -> Result<(), Failure> {
    if depth > DEEPEST || found.len() > MOST {
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
                collect(pickle, value, &inside(&key), depth + 1, found)?;
            }
        }
        Value::List(items) => {
            for (i, &item) in items.iter().enumerate() {
                collect(pickle, item, &inside(&i.to_string()), depth + 1, found)?;
            }
        }
        Value::Call(function, arguments) => {
            let list = list(pickle, *arguments)?;
            match function.as_str() {
                "torch._utils._rebuild_parameter"
                | "torch._utils._rebuild_parameter_with_state" => {
                    let inner = list.first().ok_or_else(|| malformed("a parameter is empty"))?;
                    collect(pickle, *inner, name, depth + 1, found)?;
                }
                f if f.starts_with("torch._utils._rebuild_tensor") => {
                    let name = if name.is_empty() { "tensor" } else { name };
                    found.push(view(pickle, name, list)?);
                }
                _ => {}
            }
        }
        _ => {}
    }
    Ok(())
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
