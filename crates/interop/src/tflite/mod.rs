//! TensorFlow Lite: the first graph of a `.tflite` file becomes an ONNX graph, and a graph such a
//! file; nothing is executed.
//!
//! Source: the schema of the format,
//! <https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs>.

mod call;
mod export;
mod flat;
mod net;
mod operators;
mod windows;

use crate::onnx::{self, DType, Error, Result};
pub use export::export;
use flat::{Checked, Table};
use net::{Net, Quantised, Tensor};
use std::collections::HashMap;
use std::path::Path;

/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 31;
/// The most tensors, operators and inputs of operators.
const MOST_PARTS: usize = if cfg!(feature = "fuzzing") { 10_000 } else { 1_000_000 };
/// The most dimensions of a tensor.
const MOST_DIMS: usize = 16;

/// Reads a `.tflite` file as an ONNX graph of the same computation. Inputs and outputs have the
/// names of the first signature, where there is one.
///
/// ```
/// let error = ff_interop::tflite::from_bytes(b"no model").unwrap_err();
/// assert!(error.to_string().contains("no TensorFlow Lite model"));
/// ```
///
/// # Errors
/// It cannot be read, is damaged, or has an operator, an option or a type that is not read, by
/// name.
pub fn open(path: &Path) -> Result<onnx::Model> {
    let io = ff_formats::Error::io(path, "reading");
    let size = std::fs::metadata(path).map_err(&io)?.len();
    if size > MOST_BYTES {
        let message = format!("{}: it has {size} bytes; 2 GiB are read at most", path.display());
        return Err(Error::Malformed(message));
    }
    let named = |error| match error {
        Error::Malformed(message) => Error::Malformed(format!("{}: {message}", path.display())),
        other => other,
    };
    from_bytes(&std::fs::read(path).map_err(&io)?).map_err(named)
}

/// Reads the bytes of a file.
///
/// # Errors
/// As [`open`].
pub fn from_bytes(bytes: &[u8]) -> Result<onnx::Model> {
    if bytes.get(4..8) != Some(b"TFL3") {
        return Err(bad("it does not begin like one"));
    }
    let root = Table::root(bytes).map_err(bad)?;
    let graphs = root.tables(2, MOST_PARTS).map_err(bad)?;
    let graph = graphs.first().ok_or_else(|| bad("it has no graph"))?;
    let buffers = root.tables(4, MOST_PARTS).map_err(bad)?;
    let codes = codes(&root).map_err(bad)?;
    let name = graph.text(4).unwrap_or_default();
    let tensors = tensors(graph, &buffers, bytes).map_err(bad)?;
    let mut net = Net::new(name, tensors);
    let names = signature(&root).map_err(bad)?;
    let ports = |i| -> Result<Vec<usize>> {
        let list = graph.ints(i).map_err(bad)?;
        list.into_iter()
            .map(|k| usize::try_from(k).ok().filter(|&k| k < net.tensors.len()))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| bad("an input or output is no tensor"))
    };
    let (inputs, outputs) = (ports(1)?, ports(2)?);
    for &input in &inputs {
        net.input(input, names.get(&input).copied())?;
    }
    let operators = graph.tables(3, MOST_PARTS).map_err(bad)?;
    let mut parts = MOST_PARTS;
    for operator in operators {
        let code = usize::try_from(operator.int(0, 0).map_err(bad)?).ok();
        let code = code.and_then(|at| codes.get(at));
        let code = code.ok_or_else(|| bad("an operator has no code"))?;
        let (inputs, outputs) = (operator.ints(1).map_err(bad)?, operator.ints(2).map_err(bad)?);
        parts = parts
            .checked_sub(inputs.len() + outputs.len())
            .ok_or_else(|| bad(format!("its operators have more than {MOST_PARTS} inputs")))?;
        let options = operator.table(4).map_err(bad)?;
        operators::translate(&mut net, code, &inputs, &outputs, options)?;
    }
    for output in outputs {
        net.output(output, names.get(&output).copied())?;
    }
    Ok(net.build())
}

fn bad(message: impl std::fmt::Display) -> Error {
    Error::Malformed(format!("this is no TensorFlow Lite model that can be read: {message}"))
}

/// An operator's number, or the name of one of another program's.
#[derive(Debug)]
pub(super) struct Code {
    number: i32,
    custom: Option<String>,
}

fn codes(root: &Table<'_>) -> Checked<Vec<Code>> {
    let all = root.tables(1, MOST_PARTS)?;
    let code = |table: &Table<'_>| {
        // Files of before 2020 have the number in a byte.
        let number = table.int(3, 0)?.max(i32::from(table.byte(0)? as i8));
        let custom = (number == 32).then(|| table.text(1).map(str::to_owned)).transpose()?;
        Ok(Code { number, custom })
    };
    all.iter().map(code).collect()
}

/// The names that the first signature gives to tensors of the first graph.
fn signature<'a>(root: &Table<'a>) -> Checked<HashMap<usize, &'a str>> {
    let mut names = HashMap::new();
    for signature in root.tables(7, MOST_PARTS)? {
        if signature.int(4, 0)? != 0 {
            continue;
        }
        for i in 0..2 {
            for entry in signature.tables(i, MOST_PARTS)? {
                names.insert(entry.int(1, 0)? as usize, entry.text(0)?);
            }
        }
        break;
    }
    Ok(names)
}

fn dtype(code: u8) -> Option<DType> {
    Some(match code {
        0 => DType::F32,
        1 => DType::F16,
        2 => DType::I32,
        3 => DType::U8,
        4 => DType::I64,
        5 => DType::Text,
        6 => DType::Bool,
        7 => DType::I16,
        9 => DType::I8,
        10 => DType::F64,
        12 => DType::U64,
        15 => DType::U32,
        16 => DType::U16,
        18 => DType::BF16,
        _ => return None,
    })
}

fn tensors<'a>(
    graph: &Table<'a>,
    buffers: &[Table<'a>],
    file: &'a [u8],
) -> Checked<Vec<Tensor<'a>>> {
    let all = graph.tables(0, MOST_PARTS)?;
    let mut found = Vec::with_capacity(all.len());
    for table in all {
        let name = table.text(3)?;
        let of = |message: &str| format!("tensor `{name}`: {message}");
        let mut shape = table.ints(0)?;
        let signature = table.ints(7)?;
        // Where dimensions vary, the shape has 1 and the signature -1.
        if signature.len() == shape.len() {
            shape = signature;
        }
        if shape.len() > MOST_DIMS {
            return Err(of("it has too many dimensions"));
        }
        let buffer = usize::try_from(table.int(2, 0)?).ok().and_then(|at| buffers.get(at));
        let mut bytes = match buffer {
            Some(buffer) => buffer.bytes(0)?,
            None => &[],
        };
        // Large files keep their data behind the tables.
        if let Some(buffer) = buffer.filter(|_| bytes.is_empty()) {
            let (offset, size) = (buffer.long(1)?, buffer.long(2)?);
            if offset > 1 {
                let range = usize::try_from(offset).ok().zip(usize::try_from(size).ok());
                let range = range.and_then(|(at, n)| file.get(at..at.checked_add(n)?));
                bytes = range.ok_or_else(|| of("its data lies outside of the file"))?;
            }
        }
        let quantised = match table.table(4)? {
            Some(q) => {
                let scales = q.floats(2)?;
                let axis = usize::try_from(q.int(6, 0)?).unwrap_or(usize::MAX);
                let zeros = q.longs(3)?;
                (!scales.is_empty()).then_some(Quantised { scales, zeros, axis })
            }
            None => None,
        };
        if table.table(6)?.is_some() {
            return Err(of("it is sparse, which is not read"));
        }
        found.push(Tensor {
            name,
            code: table.byte(1)?,
            dims: shape.into_iter().map(|d| usize::try_from(d).ok()).collect(),
            bytes,
            variable: table.flag(5)?,
            quantised,
        });
    }
    Ok(found)
}
