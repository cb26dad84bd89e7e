//! Each operator of a graph as operators of TensorFlow Lite.

use super::build::Field;
use super::{Options, Writer};
use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::onnx::{DType, Error, Result, Tensor};

/// Operators of one value that keep its shape, by their numbers in the schema.
const UNARY: &[(&str, i32)] = &[
    ("Abs", 101),
    ("Cos", 108),
    ("Elu", 111),
    ("Exp", 47),
    ("Floor", 8),
    ("HardSwish", 117),
    ("Log", 73),
    ("Neg", 59),
    ("Not", 87),
    ("Relu", 19),
    ("Sigmoid", 14),
    ("Sin", 66),
    ("Sqrt", 75),
    ("Tanh", 28),
];

/// Operators of two values that broadcast, with the options that they have.
const BINARY: &[(&str, i32, u8)] = &[
    ("Add", ADD, 11),
    ("And", 86, 0),
    ("Div", 42, 29),
    ("Equal", 71, 0),
    ("Greater", 61, 0),
    ("GreaterOrEqual", 62, 0),
    ("Less", 58, 0),
    ("LessOrEqual", 63, 0),
    ("Max", MAX, 39),
    ("Min", MIN, 39),
    ("Mul", MUL, 21),
    ("Or", 84, 0),
    ("Sub", SUB, 28),
];

const ADD: i32 = 0;
const MUL: i32 = 18;
const SUB: i32 = 41;
const MAX: i32 = 55;
const MIN: i32 = 57;

/// An operator's options without anything but defaults.
fn plain(kind: u8) -> Options {
    (kind > 0).then(|| (kind, Vec::new()))
}

/// Adds the operators of a node.
pub(super) fn write(writer: &mut Writer, node: &NodeProto) -> Result<()> {
    let mut at = Step { writer, node };
    let operator = node.op_type.as_str();
    if let Some((_, number)) = UNARY.iter().find(|row| row.0 == operator) {
        let x = at.input(0)?;
        return at.ends(*number, None, &[x]);
    }
    if let Some((_, number, options)) = BINARY.iter().find(|row| row.0 == operator) {
        let (a, b) = (at.input(0)?, at.input(1)?);
        return at.ends(*number, plain(*options), &[a, b]);
    }
    match operator {
        "Identity" => {
            // The same value under another name.
            let x = at.input(0)?;
            if let Some(name) = node.output.first() {
                at.writer.values.insert(name.clone(), x);
            }
            Ok(())
        }
        "Cast" => {
            let x = at.input(0)?;
            at.ends(53, None, &[x])
        }
        "Clip" => {
            let (x, low, high) = (at.input(0)?, at.input(1)?, at.input(2)?);
            let y = at.step(MAX, 39, &[x, low], x)?;
            at.ends(MIN, plain(39), &[y, high])
        }
        "Concat" => {
            let inputs = (0..node.input.len()).map(|i| at.input(i)).collect::<Result<Vec<_>>>()?;
            let axis = at.int("axis", 0);
            at.ends(2, Some((10, vec![Some(Field::Int(axis as i32))])), &inputs)
        }
        "Gather" => {
            let (x, ids) = (at.input(0)?, at.input(1)?);
            let axis = at.int("axis", 0);
            at.ends(36, Some((23, vec![Some(Field::Int(axis as i32))])), &[x, ids])
        }
        "Gelu" => {
            let x = at.input(0)?;
            let tanh = at.attribute("approximate").and_then(|a| a.s.as_deref()) == Some(b"tanh");
            at.ends(150, Some((116, vec![Some(Field::Byte(tanh.into()))])), &[x])
        }
        "HardSigmoid" => {
            let x = at.input(0)?;
            let (alpha, beta) = (at.float("alpha", 0.2), at.float("beta", 0.5));
            let y = at.with(MUL, 21, x, alpha)?;
            let y = at.with(ADD, 11, y, beta)?;
            let y = at.with(MAX, 39, y, 0.0)?;
            let one = at.number(1.0)?;
            at.ends(MIN, plain(39), &[y, one])
        }
        "IsNaN" => {
            let x = at.input(0)?;
            at.ends(72, plain(54), &[x, x])
        }
        "LayerNormalization" => at.layer_norm(),
        "LeakyRelu" => {
            let x = at.input(0)?;
            let slope = at.float("alpha", 0.01);
            at.ends(98, Some((75, vec![Some(Field::Float(slope))])), &[x])
        }
        "MatMul" => at.product(),
        "Mean" => {
            let mut y = at.input(0)?;
            for i in 1..node.input.len() {
                let x = at.input(i)?;
                y = at.step(ADD, 11, &[y, x], y)?;
            }
            let share = at.number(1.0 / node.input.len() as f32)?;
            at.ends(MUL, plain(21), &[y, share])
        }
        "Mish" => {
            let x = at.input(0)?;
            let y = at.softplus(x)?;
            let y = at.step(28, 0, &[y], x)?;
            at.ends(MUL, plain(21), &[x, y])
        }
        "PRelu" => {
            let (x, slope) = (at.input(0)?, at.input(1)?);
            let above = at.with(MAX, 39, x, 0.0)?;
            let below = at.with(MIN, 39, x, 0.0)?;
            let below = at.step(MUL, 21, &[below, slope], x)?;
            at.ends(ADD, plain(11), &[above, below])
        }
        "ReduceMean" | "ReduceSum" => {
            let (x, axes) = (at.input(0)?, at.input(1)?);
            let keep = Field::Byte(u8::from(at.int("keepdims", 1) != 0));
            let number = if operator == "ReduceMean" { 40 } else { 74 };
            at.ends(number, Some((27, vec![Some(keep)])), &[x, axes])
        }
        "Reshape" => {
            let (x, shape) = (at.input(0)?, at.input(1)?);
            at.ends(22, plain(17), &[x, shape])
        }
        "Selu" => {
            // λ (max(x, 0) + α (e^min(x, 0) − 1))
            let x = at.input(0)?;
            let above = at.with(MAX, 39, x, 0.0)?;
            let below = at.with(MIN, 39, x, 0.0)?;
            let below = at.step(47, 0, &[below], x)?;
            let below = at.with(SUB, 28, below, 1.0)?;
            let alpha = at.float("alpha", 1.673_263_2);
            let below = at.with(MUL, 21, below, alpha)?;
            let sum = at.step(ADD, 11, &[above, below], x)?;
            let gamma = at.float("gamma", 1.050_701);
            let gamma = at.number(gamma)?;
            at.ends(MUL, plain(21), &[sum, gamma])
        }
        "Softmax" => {
            let x = at.input(0)?;
            let axis = at.int("axis", -1);
            if axis != -1 && axis != at.rank(x) as i64 - 1 {
                return Err(at.refuse("a softmax over another axis than the last"));
            }
            at.ends(25, Some((9, vec![Some(Field::Float(1.0))])), &[x])
        }
        "Softplus" => {
            let x = at.input(0)?;
            let name = at.output()?;
            let y = at.softplus(x)?;
            at.writer.values.insert(name, y);
            Ok(())
        }
        "Transpose" => {
            let x = at.input(0)?;
            let order = at.attribute("perm").map_or_else(Vec::new, |a| a.ints.clone());
            let order = at.writer.ints("order", &order)?;
            at.ends(39, None, &[x, order])
        }
        "Unsqueeze" => {
            let x = at.input(0)?;
            let axes = at.stored(1)?.data().floats().unwrap_or_default();
            let [axis] = axes[..] else { return Err(at.refuse("several new axes")) };
            let axis = at.writer.constant("axis", &Tensor::scalar(vec![axis as i64]))?;
            at.ends(70, None, &[x, axis])
        }
        "Where" => {
            let (condition, a, b) = (at.input(0)?, at.input(1)?, at.input(2)?);
            at.ends(123, None, &[condition, a, b])
        }
        other => Err(at.refuse(format!("the operator {other}"))),
    }
}

/// A node at work.
struct Step<'w, 'n> {
    writer: &'w mut Writer,
    node: &'n NodeProto,
}

impl Step<'_, '_> {
    fn refuse(&self, what: impl std::fmt::Display) -> Error {
        Error::Unsupported(format!(
            "{what} ({}) has no form in TensorFlow Lite; export as ONNX instead (--to onnx)",
            self.node.name
        ))
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }

    fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|attribute| attribute.f).unwrap_or(default)
    }

    fn input(&mut self, i: usize) -> Result<usize> {
        let name = self.node.input.get(i).map_or("", String::as_str);
        self.writer.value(name)
    }

    /// An input that the graph stores.
    fn stored(&self, i: usize) -> Result<Tensor> {
        let stored = self.node.input.get(i).and_then(|name| self.writer.stored.get(name));
        stored.cloned().ok_or_else(|| self.refuse("a computed axis"))
    }

    fn output(&self) -> Result<String> {
        let output = self.node.output.first();
        output.cloned().ok_or_else(|| Error::Malformed(format!("{} has no output", self.node.name)))
    }

    fn rank(&self, slot: usize) -> usize {
        self.writer.slots[slot].dims[0].len()
    }

    /// The operator that gives the node's output.
    fn ends(&mut self, number: i32, options: Options, inputs: &[usize]) -> Result<()> {
        let name = self.output()?;
        let output = self.writer.computed(&name, &name)?;
        self.writer.operator(number, options, inputs, output);
        Ok(())
    }

    /// An operator before the last, whose result has the shape of a value.
    fn step(&mut self, number: i32, options: u8, inputs: &[usize], like: usize) -> Result<usize> {
        let name = format!("{}/{}", self.node.name, self.writer.slots.len());
        let output = self.writer.like(like, &name)?;
        self.writer.operator(number, plain(options), inputs, output);
        Ok(output)
    }

    fn number(&mut self, x: f32) -> Result<usize> {
        self.writer.floats("number", &[x])
    }

    /// The same with a number.
    fn with(&mut self, number: i32, options: u8, x: usize, y: f32) -> Result<usize> {
        let y = self.number(y)?;
        self.step(number, options, &[x, y], x)
    }

    /// max(x, 0) + ln(1 + e^−|x|)
    fn softplus(&mut self, x: usize) -> Result<usize> {
        let y = self.step(101, 0, &[x], x)?;
        let y = self.step(59, 0, &[y], x)?;
        let y = self.step(47, 0, &[y], x)?;
        let y = self.with(ADD, 11, y, 1.0)?;
        let y = self.step(73, 0, &[y], x)?;
        let above = self.with(MAX, 39, x, 0.0)?;
        self.step(ADD, 11, &[above, y], x)
    }

    /// x W of a stored matrix as a layer, of others as a product.
    fn product(&mut self) -> Result<()> {
        let x = self.input(0)?;
        let stored = self.node.input.get(1).and_then(|name| self.writer.stored.get(name)).cloned();
        if let Some((w, &[rows, columns])) = stored.as_ref().map(|w| (w, w.dims()))
            && let Some(values) = w.data().floats()
            && w.dtype() == DType::F32
        {
            let at = |i: usize| values[i % rows * columns + i / rows] as f32;
            let turned: Vec<f32> = (0..values.len()).map(at).collect();
            let name = self.node.input[1].clone();
            let w = self.writer.constant(&name, &Tensor::new(&[columns, rows], turned)?)?;
            // No activation, weights as they are, dimensions kept.
            let keep = vec![None, None, Some(Field::Byte(1))];
            return self.ends(9, Some((8, keep)), &[x, w]);
        }
        let w = self.input(1)?;
        self.ends(126, plain(101), &[x, w])
    }

    fn layer_norm(&mut self) -> Result<()> {
        let (x, gamma) = (self.input(0)?, self.input(1)?);
        let axis = self.int("axis", -1);
        if axis != -1 && axis != self.rank(x) as i64 - 1 {
            return Err(self.refuse("a norm over several axes"));
        }
        let epsilon = self.float("epsilon", 1e-5);
        let mean = self.mean(x)?;
        let centred = self.step(SUB, 28, &[x, mean], x)?;
        let square = self.step(MUL, 21, &[centred, centred], x)?;
        let variance = self.mean(square)?;
        let root = self.with(ADD, 11, variance, epsilon)?;
        let root = self.step(75, 0, &[root], variance)?;
        let y = self.step(42, 29, &[centred, root], x)?;
        if self.node.input.get(2).is_none_or(String::is_empty) {
            return self.ends(MUL, plain(21), &[y, gamma]);
        }
        let beta = self.input(2)?;
        let y = self.step(MUL, 21, &[y, gamma], x)?;
        self.ends(ADD, plain(11), &[y, beta])
    }

    /// The mean over the last axis, which is kept.
    fn mean(&mut self, x: usize) -> Result<usize> {
        let axis = self.writer.ints("last", &[-1])?;
        let name = format!("{}/{}", self.node.name, self.writer.slots.len());
        let output = self.writer.like(x, &name)?;
        for dims in &mut self.writer.slots[output].dims {
            if let Some(last) = dims.last_mut() {
                *last = 1;
            }
        }
        self.writer.operator(40, Some((27, vec![Some(Field::Byte(1))])), &[x, axis], output);
        Ok(output)
    }
}
