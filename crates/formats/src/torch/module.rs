//! Modules of PyTorch: classes, settings and parts, never executed.

use super::state::attribute;
use crate::pickle::{Failure, Id, Pickle, Reads, Value, malformed};
use crate::{Error, Result, TensorFile};
use std::collections::BTreeMap;
use std::path::Path;

/// The deepest container in a container.
const DEEPEST: usize = 16;
/// More modules than any model has.
const MOST: usize = 1 << 16;

/// A layer or a container of `torch.nn`, from a file of `torch.save(module, path)`.
///
/// Its tensors have the names of the state dict: `0.weight`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TorchModule {
    /// The class with its Python module, such as `torch.nn.modules.linear.Linear`.
    pub class: String,
    /// Its attributes that are numbers, texts or tuples of integers.
    pub settings: BTreeMap<String, Setting>,
    /// The modules in it, by name and in their order.
    pub parts: Vec<(String, Self)>,
}

/// An attribute of a module.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// A truth value.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// A tuple of integers.
    Integers(Vec<i64>),
}

impl TorchModule {
    /// Reads the module of a file, and its tensors; `None` for a file of tensors alone.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or names a class outside `torch.nn`, whose code would
    /// have to be executed.
    pub fn open(path: &Path) -> Result<(Option<Self>, TensorFile)> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "reading"))?;
        let (module, tensors) = super::read(path, &bytes, Reads::Modules)?;
        Ok((module, TensorFile::parse(path, tensors)?))
    }

    /// The class without its Python module.
    pub fn class_name(&self) -> &str {
        self.class.rsplit('.').next().unwrap_or_default()
    }

    /// The classes of the layers in it, in the order in which they were added.
    pub fn layers(&self) -> Vec<&str> {
        let inner = self.parts.iter().flat_map(|(_, part)| part.layers());
        if self.parts.is_empty() { vec![self.class_name()] } else { inner.collect() }
    }

    /// The module that a pickle made; `None` for anything else.
    pub(super) fn of(pickle: &Pickle<'_>, root: Id) -> Result<Option<Self>, Failure> {
        if !matches!(pickle.value(root), Value::Module(..)) {
            return Ok(None);
        }
        let mut left = MOST;
        read(pickle, root, 0, &mut left).map(Some)
    }
}

fn read(
    pickle: &Pickle<'_>,
    id: Id,
    depth: usize,
    left: &mut usize,
) -> Result<TorchModule, Failure> {
    *left = left.saturating_sub(1);
    if depth > DEEPEST || *left == 0 {
        return Err(malformed("its modules are nested without end"));
    }
    let Value::Module(class, attributes) = pickle.value(id) else {
        return Err(malformed("a part of a module is no module"));
    };
    let items = |id: Option<Id>| match id.map(|id| pickle.value(id)) {
        Some(Value::Dict(items)) => items.as_slice(),
        _ => &[],
    };
    let name = |id: Id| match pickle.value(id) {
        Value::Text(text) => Ok(text.clone()),
        _ => Err(malformed("the name of a module's part is no text")),
    };
    let mut module = TorchModule { class: class.clone(), ..TorchModule::default() };
    for &(key, value) in items(*attributes) {
        if let Some(setting) = setting(pickle, value) {
            module.settings.insert(name(key)?, setting);
        }
    }
    for &(key, part) in items(attribute(pickle, *attributes, "_modules")) {
        // A part may be None.
        if !matches!(pickle.value(part), Value::Plain) {
            module.parts.push((name(key)?, read(pickle, part, depth + 1, left)?));
        }
    }
    Ok(module)
}

fn setting(pickle: &Pickle<'_>, id: Id) -> Option<Setting> {
    match pickle.value(id) {
        Value::Flag(set) => Some(Setting::Flag(*set)),
        Value::Int(n) => Some(Setting::Number(*n as f64)),
        Value::Float(x) => Some(Setting::Number(*x)),
        Value::Text(text) => Some(Setting::Text(text.clone())),
        Value::List(items) => {
            let integer = |&id: &Id| match pickle.value(id) {
                Value::Int(n) => Some(*n),
                _ => None,
            };
            items.iter().map(integer).collect::<Option<_>>().map(Setting::Integers)
        }
        _ => None,
    }
}
