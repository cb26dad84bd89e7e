//! Writing a graph of floats and 32-bit integers as a `.tflite` file.

mod build;
mod nodes;

use crate::onnx::proto::{ModelProto, NodeProto, TypeProto, ValueInfo};
use crate::onnx::{self, DType, Data, Error, Result, Session, Tensor};
use build::{Field, Part};
use std::collections::HashMap;

/// The version of the schema.
const SCHEMA: i32 = 3;

/// The shapes of computed values for one row and for two, and their types.
type Shapes = HashMap<String, ([Vec<usize>; 2], DType)>;

/// A tensor of the file under construction.
struct Slot {
    name: String,
    dtype: DType,
    /// The shape for one row, and that for any number, -1 where it varies.
    dims: [Vec<i32>; 2],
    data: Option<Vec<u8>>,
}

/// A model under construction.
struct Writer {
    slots: Vec<Slot>,
    /// The numbers of the schema that operators have, in the order of their first use.
    codes: Vec<i32>,
    operators: Vec<Part>,
    /// Values by their names in the graph.
    values: HashMap<String, usize>,
    /// What the graph stores.
    stored: HashMap<String, Tensor>,
    shapes: Shapes,
}

/// The bytes of a `.tflite` file that computes some outputs of a graph, with the signature
/// `serving_default`, and notes as the metadata `feedforward`.
///
/// # Errors
/// A node or a type has no counterpart, by name; there is no such output.
pub fn export(model: &onnx::Model, outputs: &[&str], notes: &str) -> Result<Vec<u8>> {
    let graph = model.graph()?;
    let mut writer = Writer {
        slots: Vec::new(),
        codes: Vec::new(),
        operators: Vec::new(),
        values: HashMap::new(),
        stored: HashMap::new(),
        shapes: shapes(model)?,
    };
    for tensor in &graph.initializer {
        let value = Tensor::from_proto(tensor, model.folder())?;
        writer.stored.insert(tensor.name.clone(), value);
    }
    let mut inputs = Vec::new();
    for port in model.inputs() {
        let slot = writer.computed(&port.name, &port.name)?;
        inputs.push((port.name.clone(), slot));
    }
    for node in needed(&graph.node, outputs) {
        nodes::write(&mut writer, node)?;
    }
    let mut ends = Vec::new();
    for &output in outputs {
        let slot = writer.values.get(output).copied();
        let slot =
            slot.ok_or_else(|| Error::Malformed(format!("the graph does not compute `{output}`")))?;
        ends.push((output.to_owned(), slot));
    }
    Ok(writer.file(&inputs, &ends, notes))
}

/// The nodes that some outputs need, in their order.
fn needed<'a>(nodes: &'a [NodeProto], outputs: &[&'a str]) -> Vec<&'a NodeProto> {
    let mut wanted: std::collections::HashSet<&str> = outputs.iter().copied().collect();
    let mut kept: Vec<&NodeProto> = Vec::new();
    for node in nodes.iter().rev() {
        if node.output.iter().any(|output| wanted.contains(output.as_str())) {
            wanted.extend(node.input.iter().map(String::as_str));
            kept.push(node);
        }
    }
    kept.reverse();
    kept
}

/// The shapes of all values for one row and for two, found by evaluating the graph.
fn shapes(model: &onnx::Model) -> Result<Shapes> {
    let mut proto: ModelProto = model.proto().clone();
    let mut found = Shapes::new();
    if let Some(graph) = &mut proto.graph {
        let own = |name: &String| ValueInfo {
            name: name.clone(),
            r#type: Some(TypeProto::default()),
            ..ValueInfo::default()
        };
        let names = graph.node.iter().flat_map(|node| &node.output);
        graph.output = names.filter(|name| !name.is_empty()).map(own).collect();
    }
    let session = Session::new(onnx::Model::from_proto(proto))?;
    for rows in [1, 2] {
        let mut inputs = Vec::new();
        for port in model.inputs() {
            let dims: Vec<usize> = port.dims.iter().flatten().map(|d| d.unwrap_or(rows)).collect();
            let n = onnx::count(&dims).map_err(Error::Malformed)?;
            let dtype = port.dtype.unwrap_or(DType::F32);
            let data = dtype.numbers(vec![0.0; n]).ok_or_else(|| {
                let message = "TensorFlow Lite has no operators on texts";
                Error::Unsupported(format!("input `{}`: {message}", port.name))
            })?;
            note(&mut found, &port.name, &dims, dtype, rows);
            inputs.push((port.name, Tensor::new(&dims, data)?));
        }
        for (name, tensor) in session.run(inputs)? {
            note(&mut found, &name, tensor.dims(), tensor.dtype(), rows);
        }
    }
    Ok(found)
}

fn note(found: &mut Shapes, name: &str, dims: &[usize], dtype: DType, rows: usize) {
    let entry =
        found.entry(name.to_owned()).or_insert_with(|| (<[Vec<usize>; 2]>::default(), dtype));
    entry.0[rows - 1] = dims.to_vec();
}

/// The code of a type in the schema; integers of 64 bits become those of 32.
fn code(dtype: DType) -> Option<u8> {
    match dtype {
        DType::F32 => Some(0),
        DType::I32 | DType::I64 => Some(2),
        DType::Bool => Some(6),
        _ => None,
    }
}

/// The options of an operator: their number in the schema's union, and the table.
type Options = Option<(u8, Vec<Option<Field>>)>;

impl Writer {
    /// A slot of a tensor that a node, or the caller, computes.
    fn computed(&mut self, name: &str, of: &str) -> Result<usize> {
        let Some(([one, two], dtype)) = self.shapes.get(of).cloned() else {
            return Err(Error::Malformed(format!("nothing computes `{of}`")));
        };
        let open = one.iter().zip(&two).map(|(&a, &b)| if a == b { a as i32 } else { -1 });
        let dims = [one.iter().map(|&d| d as i32).collect(), open.collect()];
        let slot = self.slot(name, dtype, dims, None)?;
        self.values.insert(of.to_owned(), slot);
        Ok(slot)
    }

    fn slot(
        &mut self,
        name: &str,
        dtype: DType,
        dims: [Vec<i32>; 2],
        data: Option<Vec<u8>>,
    ) -> Result<usize> {
        if code(dtype).is_none() {
            return Err(Error::Unsupported(format!(
                "`{name}` has elements of type {}, for which TensorFlow Lite has no operators",
                dtype.name()
            )));
        }
        self.slots.push(Slot { name: name.to_owned(), dtype, dims, data });
        Ok(self.slots.len() - 1)
    }

    /// A stored tensor; integers of 64 bits become those of 32.
    fn constant(&mut self, name: &str, tensor: &Tensor) -> Result<usize> {
        let data = match tensor.data() {
            Data::I64(values) => {
                let narrow = |&x: &i64| x.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
                values.iter().map(narrow).flat_map(i32::to_le_bytes).collect()
            }
            _ => tensor.bytes().unwrap_or_default(),
        };
        let dims: Vec<i32> = tensor.dims().iter().map(|&d| d as i32).collect();
        self.slot(name, tensor.dtype(), [dims.clone(), dims], Some(data))
    }

    /// The slot of a value by its name in the graph.
    fn value(&mut self, name: &str) -> Result<usize> {
        if let Some(&slot) = self.values.get(name) {
            return Ok(slot);
        }
        let Some(tensor) = self.stored.get(name).cloned() else {
            return Err(Error::Malformed(format!("nothing computes `{name}`")));
        };
        let slot = self.constant(name, &tensor)?;
        self.values.insert(name.to_owned(), slot);
        Ok(slot)
    }

    fn floats(&mut self, name: &str, values: &[f32]) -> Result<usize> {
        let tensor = if let [one] = values {
            Tensor::scalar(vec![*one])
        } else {
            Tensor::vector(values.to_vec())
        };
        self.constant(name, &tensor)
    }

    fn ints(&mut self, name: &str, values: &[i64]) -> Result<usize> {
        self.constant(name, &Tensor::vector(values.to_vec()))
    }

    /// A slot of the shape of another.
    fn like(&mut self, slot: usize, name: &str) -> Result<usize> {
        let (dtype, dims) = (self.slots[slot].dtype, self.slots[slot].dims.clone());
        self.slot(name, dtype, dims, None)
    }

    /// An operator of one output.
    fn operator(&mut self, number: i32, options: Options, inputs: &[usize], output: usize) {
        let at = self.codes.iter().position(|&known| known == number).unwrap_or_else(|| {
            self.codes.push(number);
            self.codes.len() - 1
        });
        let (kind, table) = match options {
            Some((kind, table)) => (Some(Field::Byte(kind)), Some(Field::Part(Part::Table(table)))),
            None => (None, None),
        };
        self.operators.push(Part::Table(vec![
            Some(Field::Int(at as i32)),
            Some(Field::ints(inputs.iter().map(|&i| i as i32).collect())),
            Some(Field::ints(vec![output as i32])),
            kind,
            table,
        ]));
    }

    fn file(self, inputs: &[(String, usize)], outputs: &[(String, usize)], notes: &str) -> Vec<u8> {
        let codes = self.codes.iter().map(|&number| {
            // The number stands twice: old readers know the byte.
            let old = Some(Field::Byte(number.min(127) as u8));
            Part::Table(vec![old, None, Some(Field::Int(1)), Some(Field::Int(number))])
        });
        let codes = codes.collect();
        // The first buffer stands for none.
        let mut buffers = vec![Part::Table(Vec::new())];
        let mut tensors = Vec::new();
        for slot in self.slots {
            let buffer = slot.data.map_or(0, |data| {
                buffers.push(Part::Table(vec![Some(Field::Part(Part::Bytes(data)))]));
                buffers.len() - 1
            });
            let [one, open] = slot.dims;
            let signature = open.contains(&-1).then_some(Field::Part(Part::Ints(open)));
            tensors.push(Part::Table(vec![
                Some(Field::ints(one)),
                Some(Field::Byte(code(slot.dtype).unwrap_or(0))),
                Some(Field::Int(buffer as i32)),
                Some(Field::text(&slot.name)),
                None,
                None,
                None,
                signature,
            ]));
        }
        let indices = |ports: &[(String, usize)]| {
            Some(Field::ints(ports.iter().map(|(_, slot)| *slot as i32).collect()))
        };
        let map = |ports: &[(String, usize)]| {
            let one = |(name, slot): &(String, usize)| {
                Part::Table(vec![Some(Field::text(name)), Some(Field::Int(*slot as i32))])
            };
            Some(Field::tables(ports.iter().map(one).collect()))
        };
        let graph = Part::Table(vec![
            Some(Field::tables(tensors)),
            indices(inputs),
            indices(outputs),
            Some(Field::tables(self.operators)),
            Some(Field::text("main")),
        ]);
        let signature =
            Part::Table(vec![map(inputs), map(outputs), Some(Field::text("serving_default"))]);
        let mut metadata = Vec::new();
        for (name, text) in [("min_runtime_version", "2.16.0"), ("feedforward", notes)] {
            buffers.push(Part::Table(vec![Some(Field::Part(Part::Bytes(text.into())))]));
            let at = buffers.len() as i32 - 1;
            metadata.push(Part::Table(vec![Some(Field::text(name)), Some(Field::Int(at))]));
        }
        let root = Part::Table(vec![
            Some(Field::Int(SCHEMA)),
            Some(Field::tables(codes)),
            Some(Field::tables(vec![graph])),
            Some(Field::text(concat!("feedforward ", env!("CARGO_PKG_VERSION")))),
            Some(Field::tables(buffers)),
            None,
            Some(Field::tables(metadata)),
            Some(Field::tables(vec![signature])),
        ]);
        build::file(root, *b"TFL3")
    }
}
