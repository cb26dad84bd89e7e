//! A pickle's program, run as far as it builds containers.

use crate::torch::dtypes::DTYPES;
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// The most values that a program may make.
const MOST: usize = 1 << 24;

/// A value, by its number.
pub(crate) type Id = usize;

/// A value that a program made.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// None, and integers of more than 64 bits.
    Plain,
    Flag(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Bytes, by their place in the file; where tensors are read, they are texts.
    Bytes(usize, usize),
    /// Lists, tuples and sets.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A function or a class, never called.
    Global(String),
    /// A reference to values that are stored apart.
    Stored(Id),
    /// A call of a known function, with its arguments.
    Call(String, Id),
    /// A module of PyTorch, never made: its class and its attributes.
    Module(String, Option<Id>),
}

/// The classes of PyTorch's own layers and containers.
const MODULES: &str = "torch.nn.modules.";

/// Functions and classes that a file of tensors may name.
const KNOWN: &[&str] = &[
    "collections.OrderedDict",
    "collections.defaultdict",
    "torch.Size",
    "torch.device",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch.storage.TypedStorage",
    "torch.storage.UntypedStorage",
];

/// Functions and classes that a file of NumPy's arrays may name: those that make arrays, and the
/// variables of Keras around them.
const ARRAYS: &[&str] = &[
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "keras.src.backend.Variable",
    "functools.partial",
    "tensorflow.python.ops.resource_variable_ops.ResourceVariable",
    "tensorflow.python.framework.dtypes.as_dtype",
    "jax._src.array._reconstruct_array",
];

/// What a pickle is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Tensors of PyTorch.
    Tensors,
    /// The same, and its modules.
    Modules,
    /// Arrays of NumPy.
    Arrays,
}

/// Why a file is not read.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It is damaged.
    Malformed(String),
    /// It holds something other than tensors and plain containers.
    Refused(String),
}

impl Failure {
    pub(crate) fn at(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Malformed(message) => Error::Malformed { path, message },
            Self::Refused(message) => Error::Refused { path, message },
        }
    }
}

pub(crate) fn malformed(message: impl Into<String>) -> Failure {
    Failure::Malformed(message.into())
}

pub(crate) struct Pickle<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
    reads: Reads,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
    values: Vec<Value>,
    /// What calls are completed with, where arrays are read.
    states: HashMap<Id, Id>,
}

impl<'a> Pickle<'a> {
    /// The function of a call of what `functools.partial` gave; its argument is that.
    pub(crate) const PARTIAL: &'static str = "functools.partial()";

    pub(crate) fn new(program: &'a [u8], reads: Reads) -> Self {
        Self {
            whole: program,
            rest: program,
            reads,
            stack: vec![],
            marks: vec![],
            memo: vec![],
            values: vec![],
            states: HashMap::new(),
        }
    }

    /// What the call with this number is completed with.
    pub(crate) fn state(&self, id: Id) -> Option<Id> {
        self.states.get(&id).copied()
    }

    /// The bytes that a value is.
    pub(crate) fn bytes(&self, id: Id) -> Option<&'a [u8]> {
        match self.value(id) {
            Value::Bytes(start, end) => self.whole.get(*start..*end),
            _ => None,
        }
    }

    /// The bytes of the programs so far.
    pub(crate) fn bytes_read(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    pub(crate) fn value(&self, id: Id) -> &Value {
        &self.values[id]
    }

    /// The number of values that were made.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The bytes behind the program.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Runs one program.
    pub(crate) fn load(&mut self) -> Result<Id, Failure> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            let [op] = self.array()?;
            if op == b'.' {
                return self.pop();
            }
            self.step(op)?;
        }
    }

    fn step(&mut self, op: u8) -> Result<(), Failure> {
        match op {
            0x80 => drop(self.array::<1>()?),
            0x95 => drop(self.array::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.marked()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Value::Plain)?,
            0x88 | 0x89 => self.push(Value::Flag(op == 0x88))?,
            b'K' => {
                let [n] = self.array()?;
                self.push(Value::Int(n.into()))?;
            }
            b'M' => {
                let n = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(n.into()))?;
            }
            b'J' => {
                let n = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(n.into()))?;
            }
            b'G' => {
                let x = f64::from_be_bytes(self.array()?);
                self.push(Value::Float(x))?;
            }
            0x8a => {
                let [n] = self.array()?;
                let bytes = self.take(n.into())?;
                let value = if bytes.len() <= 8 {
                    let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                    let mut wide = [sign; 8];
                    wide[..bytes.len()].copy_from_slice(bytes);
                    Value::Int(i64::from_le_bytes(wide))
                } else {
                    Value::Plain
                };
                self.push(value)?;
            }
            b'X' | b'T' => {
                let n = u32::from_le_bytes(self.array()?);
                self.text(n as usize)?;
            }
            0x8c | b'U' => {
                let [n] = self.array()?;
                self.text(n.into())?;
            }
            0x8d => {
                let n = u64::from_le_bytes(self.array()?);
                self.text(usize::try_from(n).unwrap_or(usize::MAX))?;
            }
            b'B' => {
                let n = u32::from_le_bytes(self.array()?);
                self.raw(n as usize)?;
            }
            b'C' => {
                let [n] = self.array()?;
                self.raw(n.into())?;
            }
            0x8e => {
                let n = u64::from_le_bytes(self.array()?);
                self.raw(usize::try_from(n).unwrap_or(usize::MAX))?;
            }
            b'q' => {
                let [n] = self.array()?;
                self.remember(n.into())?;
            }
            b'r' => {
                let n = u32::from_le_bytes(self.array()?);
                self.remember(n as usize)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' => {
                let [n] = self.array()?;
                self.recall(n.into())?;
            }
            b'j' => {
                let n = u32::from_le_bytes(self.array()?);
                self.recall(n as usize)?;
            }
            b']' | b')' | 0x8f => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'l' | b't' | 0x91 => {
                let items = self.marked()?;
                self.push(Value::List(items))?;
            }
            b'd' => {
                let items = self.marked()?;
                self.push(Value::Dict(pairs(&items)))?;
            }
            0x85..=0x87 => {
                let n = usize::from(op - 0x84);
                let from = self.stack.len().checked_sub(n).ok_or_else(short)?;
                let items = self.stack.split_off(from);
                self.push(Value::List(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.marked()?;
                self.extend(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.marked()?;
                self.set(&items)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match self.value(id) {
                    Value::Text(text) => Ok(text.clone()),
                    _ => Err(malformed("the name of a class is no text")),
                };
                let (module, name) = (text(module)?, text(name)?);
                self.global(&module, &name)?;
            }
            b'Q' => {
                let id = self.pop()?;
                match self.class_beside_its_source(id) {
                    Some(class) => self.stack.push(class),
                    None => self.push(Value::Stored(id))?,
                }
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let name = match self.value(function) {
                    Value::Global(name) => name,
                    Value::Call(name, _) if name == "functools.partial" => {
                        let value = Value::Call(Self::PARTIAL.into(), function);
                        return self.push(value);
                    }
                    _ => return Err(malformed("something that is no function is called")),
                };
                let value = match name.as_str() {
                    // Filled by what follows.
                    "collections.OrderedDict" | "collections.defaultdict" => Value::Dict(vec![]),
                    name if name.starts_with(MODULES) => Value::Module(name.to_owned(), None),
                    name => Value::Call(name.to_owned(), arguments),
                };
                self.push(value)?;
            }
            b'b' => {
                let (attributes, object) = (self.pop()?, self.top()?);
                if self.reads == Reads::Arrays {
                    self.states.insert(object, attributes);
                }
                // Those of an OrderedDict, such as `_metadata`, are no part of a model.
                if let Value::Module(_, own) = &mut self.values[object] {
                    *own = Some(attributes);
                }
            }
            other => return Err(malformed(format!("opcode {other:#04x} of a pickle is not read"))),
        }
        Ok(())
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Failure> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(cut)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn line(&mut self) -> Result<String, Failure> {
        let end = self.rest.iter().position(|&b| b == b'\n').ok_or_else(cut)?;
        let line = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(line)
    }

    fn push(&mut self, value: Value) -> Result<(), Failure> {
        if self.values.len() == MOST {
            return Err(malformed("its pickle makes too many values"));
        }
        self.values.push(value);
        self.stack.push(self.values.len() - 1);
        Ok(())
    }

    fn text(&mut self, n: usize) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(self.take(n)?).into_owned();
        self.push(Value::Text(text))
    }

    fn raw(&mut self, n: usize) -> Result<(), Failure> {
        if self.reads != Reads::Arrays {
            return self.text(n);
        }
        let start = self.bytes_read();
        self.take(n)?;
        self.push(Value::Bytes(start, start + n))
    }

    fn pop(&mut self) -> Result<Id, Failure> {
        self.stack.pop().ok_or_else(short)
    }

    fn top(&self) -> Result<Id, Failure> {
        self.stack.last().copied().ok_or_else(short)
    }

    fn marked(&mut self) -> Result<Vec<Id>, Failure> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len()).ok_or_else(short)?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, place: usize) -> Result<(), Failure> {
        if place > self.values.len() {
            return Err(malformed("its pickle remembers values that it did not make"));
        }
        if self.memo.len() <= place {
            self.memo.resize(place + 1, None);
        }
        self.memo[place] = Some(self.top()?);
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), Failure> {
        let id = self.memo.get(place).copied().flatten();
        self.stack.push(id.ok_or_else(|| malformed("its pickle recalls what it never made"))?);
        Ok(())
    }

    fn extend(&mut self, items: &[Id]) -> Result<(), Failure> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(list) => list.extend_from_slice(items),
            _ => return Err(malformed("items are added to something that is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), Failure> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::Dict(dict) => dict.extend(pairs(items)),
            _ => return Err(malformed("keys are set in something that is no dict")),
        }
        Ok(())
    }

    /// The class in the layout before version 1.6, which stores `("module", class, file, source)`.
    fn class_beside_its_source(&self, id: Id) -> Option<Id> {
        let Value::List(items) = self.value(id) else { return None };
        let [kind, class, ..] = items.as_slice() else { return None };
        matches!(self.value(*kind), Value::Text(text) if text == "module").then_some(*class)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Failure> {
        let full = format!("{module}.{name}");
        let storage = module == "torch" && name.ends_with("Storage");
        let dtype = module == "torch" && DTYPES.iter().any(|d| d.torch == name);
        let tensors = || storage || dtype || KNOWN.contains(&full.as_str());
        let set = matches!(full.as_str(), "__builtin__.set" | "builtins.set");
        let (known, read) = match self.reads {
            Reads::Tensors => (tensors(), "tensors and plain containers"),
            Reads::Modules => (
                tensors() || full.starts_with(MODULES) || set,
                "layers of torch.nn, tensors and plain containers",
            ),
            Reads::Arrays => (
                ARRAYS.contains(&full.as_str()),
                "arrays of NumPy and JAX, Keras' variables around them, and plain containers",
            ),
        };
        if !known {
            return Err(Failure::Refused(format!(
                "holds an object of Python, `{full}`; only {read} are read"
            )));
        }
        self.push(Value::Global(full))
    }
}

fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    items.as_chunks::<2>().0.iter().map(|&[key, value]| (key, value)).collect()
}

fn cut() -> Failure {
    malformed("its pickle ends within its program")
}

fn short() -> Failure {
    malformed("its pickle takes more from the stack than it put there")
}
