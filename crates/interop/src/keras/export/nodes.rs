//! Each operator of a graph as operations or layers.

use super::{Operand, Value, Writer, array, keras_name, tensor};
use crate::keras::layers::broadcast;
use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::onnx::{DType, Data, Error, Result, Tensor};
use serde_json::{Value as Json, json};

/// Operators of one value that keep its shape: the operator, and the module and class in Keras.
const UNARY: &[(&str, &str, &str)] = &[
    ("Abs", "numpy", "Absolute"),
    ("Neg", "numpy", "Negative"),
    ("Exp", "numpy", "Exp"),
    ("Log", "numpy", "Log"),
    ("Sqrt", "numpy", "Sqrt"),
    ("Sin", "numpy", "Sin"),
    ("Cos", "numpy", "Cos"),
    ("Floor", "numpy", "Floor"),
    ("Sign", "numpy", "Sign"),
    ("IsNaN", "numpy", "Isnan"),
    ("IsInf", "numpy", "Isinf"),
    ("Relu", "nn", "Relu"),
    ("Sigmoid", "nn", "Sigmoid"),
    ("Tanh", "numpy", "Tanh"),
    ("Selu", "nn", "Selu"),
    ("Softplus", "nn", "Softplus"),
    ("HardSwish", "nn", "HardSilu"),
];

/// Operators of two values that broadcast.
const BINARY: &[(&str, &str)] = &[
    ("Add", "Add"),
    ("Sub", "Subtract"),
    ("Mul", "Multiply"),
    ("Div", "Divide"),
    ("Max", "Maximum"),
    ("Min", "Minimum"),
    ("Or", "LogicalOr"),
    ("And", "LogicalAnd"),
    ("Equal", "Equal"),
    ("Less", "Less"),
    ("LessOrEqual", "LessEqual"),
    ("Greater", "Greater"),
    ("GreaterOrEqual", "GreaterEqual"),
];

const TRUTHS: &[&str] =
    &["IsNaN", "IsInf", "Or", "And", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"];

/// What a node becomes.
pub(super) fn write<'a>(writer: &mut Writer<'a>, node: &'a NodeProto) -> Result<Operand> {
    let inputs = node.input.iter().map(|name| {
        writer.operands.get(name.as_str()).cloned().ok_or_else(|| {
            Error::Malformed(format!("nothing computes `{name}`, which {} takes", node.name))
        })
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let mut at = Step { writer, node, inputs };
    let value = at.write()?;
    Ok(Operand::Value(value))
}

/// A node at work.
struct Step<'w, 'a> {
    writer: &'w mut Writer<'a>,
    node: &'a NodeProto,
    inputs: Vec<Operand>,
}

impl<'a> Step<'_, 'a> {
    fn write(&mut self) -> Result<Value> {
        let operator = self.node.op_type.as_str();
        if let Some((_, module, class)) = UNARY.iter().find(|(name, _, _)| *name == operator) {
            let x = self.value(0)?;
            let dtype = if TRUTHS.contains(&operator) { DType::Bool } else { x.dtype };
            let dims = x.dims.clone();
            let y = self.operation((module, class), json!({}), vec![tensor(&x)], (dtype, dims));
            return Ok(Value { swapped: x.swapped, ..y });
        }
        if let Some((_, class)) = BINARY.iter().find(|(name, _)| *name == operator) {
            return self.binary(class);
        }
        match operator {
            "Identity" => self.value(0),
            "Cast" => self.cast(),
            "Concat" => self.concat(),
            "Gather" => self.gather(),
            "LabelEncoder" => self.label_encoder(),
            "MatMul" => self.matmul(),
            "Transpose" => self.transpose(),
            "Unsqueeze" => {
                let x = self.value(0)?;
                let axis = self.integer(1)?;
                let mut dims = x.dims.clone();
                let at = if axis < 0 { axis + dims.len() as i64 + 1 } else { axis } as usize;
                dims.insert(at.min(dims.len()), Some(1));
                let arguments = vec![tensor(&x)];
                Ok(self.numpy("ExpandDims", json!({ "axis": axis }), arguments, x.dtype, dims))
            }
            "Reshape" => self.reshape(),
            "Where" => {
                let (condition, a, b) = (self.dims(0)?, self.dims(1)?, self.dims(2)?);
                let dims = broadcast(&condition, &broadcast(&a, &b));
                let dtype = self.dtype(1);
                let arguments = self.arguments()?;
                Ok(self.numpy("Where", json!({}), arguments, dtype, dims))
            }
            "Round" => {
                let x = self.value(0)?;
                let arguments = vec![tensor(&x)];
                Ok(self.numpy("Round", json!({ "decimals": 0 }), arguments, x.dtype, x.dims))
            }
            "Softmax" => {
                let x = self.value(0)?;
                let axis = self.int("axis", -1);
                let to = (x.dtype, x.dims.clone());
                let (config, arguments) = (json!({ "axis": axis }), vec![tensor(&x)]);
                Ok(self.operation(("nn", "Softmax"), config, arguments, to))
            }
            "Elu" => self.sloped("Elu", "alpha", 1.0),
            "LeakyRelu" => self.sloped("LeakyRelu", "negative_slope", 0.01),
            "Gelu" => {
                let x = self.value(0)?;
                let tanh =
                    self.attribute("approximate").and_then(|a| a.s.as_deref()) == Some(b"tanh");
                let to = (x.dtype, x.dims.clone());
                let (config, arguments) = (json!({ "approximate": tanh }), vec![tensor(&x)]);
                Ok(self.operation(("nn", "Gelu"), config, arguments, to))
            }
            "Mish" => {
                let x = self.value(0)?;
                let to = (x.dtype, x.dims.clone());
                let y = self.operation(("nn", "Softplus"), json!({}), vec![tensor(&x)], to.clone());
                let y = self.operation(("numpy", "Tanh"), json!({}), vec![tensor(&y)], to);
                let arguments = vec![tensor(&x), tensor(&y)];
                Ok(self.numpy("Multiply", json!({}), arguments, x.dtype, x.dims))
            }
            "HardSigmoid" if (self.float("alpha", 0.2) - 1.0 / 6.0).abs() < 1e-6 => {
                let x = self.value(0)?;
                let to = (x.dtype, x.dims.clone());
                Ok(self.operation(("nn", "HardSigmoid"), json!({}), vec![tensor(&x)], to))
            }
            "Clip" => {
                let x = self.value(0)?;
                let mut y = x.clone();
                for (i, class) in [(1, "Maximum"), (2, "Minimum")] {
                    let arguments = vec![tensor(&y), self.argument(i)?];
                    y = self.numpy(class, json!({}), arguments, x.dtype, x.dims.clone());
                }
                Ok(y)
            }
            "PRelu" => {
                // max(x, 0) + a min(x, 0)
                let x = self.value(0)?;
                let zero = array(&Tensor::scalar(vec![0.0f32]))?;
                let part = |at: &mut Self, class: &str, a: Json, b: Json| {
                    at.numpy(class, json!({}), vec![a, b], x.dtype, x.dims.clone())
                };
                let above = part(self, "Maximum", tensor(&x), zero.clone());
                let below = part(self, "Minimum", tensor(&x), zero);
                let slope = self.argument(1)?;
                let below = part(self, "Multiply", tensor(&below), slope);
                Ok(part(self, "Add", tensor(&above), tensor(&below)))
            }
            "ReduceMean" => self.reduce("Mean"),
            "ReduceSum" => self.reduce("Sum"),
            "Mean" => {
                let mut y = self.value(0)?;
                for i in 1..self.inputs.len() {
                    let arguments = vec![tensor(&y), self.argument(i)?];
                    y = self.numpy("Add", json!({}), arguments, y.dtype, y.dims);
                }
                let n = y.dtype.numbers(vec![self.inputs.len() as f64]);
                let n = array(&Tensor::scalar(n.unwrap_or(Data::F32(vec![1.0]))))?;
                let arguments = vec![tensor(&y), n];
                Ok(self.numpy("Divide", json!({}), arguments, y.dtype, y.dims))
            }
            "LayerNormalization" => self.layer_norm(),
            other => Err(self.refuse(format!("the operator {other}"))),
        }
    }

    fn refuse(&self, what: impl std::fmt::Display) -> Error {
        Error::Unsupported(format!(
            "{what} ({}) has no form in Keras; export as ONNX instead (--to onnx)",
            self.node.name
        ))
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }

    fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|attribute| attribute.f).unwrap_or(default)
    }

    /// An input that is computed.
    fn value(&self, i: usize) -> Result<Value> {
        match self.inputs.get(i) {
            Some(Operand::Value(value)) => Ok(value.clone()),
            _ => Err(self.refuse("a computation on constants")),
        }
    }

    /// An input that is stored.
    fn constant(&self, i: usize) -> Option<&Tensor> {
        match self.inputs.get(i) {
            Some(Operand::Constant(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// The only integer of a stored input.
    fn integer(&self, i: usize) -> Result<i64> {
        let integers = self.constant(i).and_then(|tensor| tensor.data().integers());
        match integers.as_deref() {
            Some([one]) => Ok(*one as i64),
            _ => Err(self.refuse("several axes")),
        }
    }

    fn dims(&self, i: usize) -> Result<Vec<Option<usize>>> {
        match self.inputs.get(i) {
            Some(Operand::Value(value)) => Ok(value.dims.clone()),
            Some(Operand::Constant(tensor)) => Ok(tensor.dims().iter().map(|&d| Some(d)).collect()),
            None => Err(self.refuse("a missing input")),
        }
    }

    fn dtype(&self, i: usize) -> DType {
        match self.inputs.get(i) {
            Some(Operand::Value(value)) => value.dtype,
            Some(Operand::Constant(tensor)) => tensor.dtype(),
            None => DType::F32,
        }
    }

    fn argument(&self, i: usize) -> Result<Json> {
        match &self.inputs[i] {
            Operand::Value(value) if value.swapped => Err(self.refuse("axes in this order")),
            Operand::Value(value) => Ok(tensor(value)),
            Operand::Constant(constant) => array(constant),
        }
    }

    fn arguments(&self) -> Result<Vec<Json>> {
        (0..self.inputs.len()).map(|i| self.argument(i)).collect()
    }

    fn operation(
        &mut self,
        class: (&str, &str),
        config: Json,
        arguments: Vec<Json>,
        to: (DType, Vec<Option<usize>>),
    ) -> Value {
        self.writer.operation(class, &self.node.output[0], config, arguments, to)
    }

    fn numpy(
        &mut self,
        class: &str,
        config: Json,
        arguments: Vec<Json>,
        dtype: DType,
        dims: Vec<Option<usize>>,
    ) -> Value {
        self.operation(("numpy", class), config, arguments, (dtype, dims))
    }

    fn sloped(&mut self, class: &str, key: &str, default: f32) -> Result<Value> {
        let x = self.value(0)?;
        // The digits of single precision, without those that doubling it adds.
        let slope: f64 = self.float("alpha", default).to_string().parse().unwrap_or_default();
        let mut config = json!({});
        config[key] = json!(slope);
        let to = (x.dtype, x.dims.clone());
        Ok(self.operation(("nn", class), config, vec![tensor(&x)], to))
    }

    fn cast(&mut self) -> Result<Value> {
        let x = self.value(0)?;
        let to = DType::from_code(self.int("to", 1) as i32);
        let to = to.ok_or_else(|| self.refuse("a cast to another type"))?;
        if to == x.dtype {
            return Ok(x);
        }
        let config = json!({ "dtype": keras_name(to) });
        let y = self.operation(("core", "Cast"), config, vec![tensor(&x)], (to, x.dims.clone()));
        Ok(Value { swapped: x.swapped, ..y })
    }

    fn concat(&mut self) -> Result<Value> {
        let mut dims = self.dims(0)?;
        let axis = self.int("axis", 0);
        let at = if axis < 0 { axis + dims.len() as i64 } else { axis } as usize;
        for i in 1..self.inputs.len() {
            let other = self.dims(i)?;
            let both = dims.get(at).copied().flatten().zip(other.get(at).copied().flatten());
            let Some(d) = dims.get_mut(at) else { return Err(self.refuse("this axis")) };
            *d = both.map(|(a, b)| a + b);
        }
        let (dtype, arguments) = (self.dtype(0), vec![Json::Array(self.arguments()?)]);
        Ok(self.numpy("Concatenate", json!({ "axis": axis }), arguments, dtype, dims))
    }

    fn gather(&mut self) -> Result<Value> {
        let axis = self.int("axis", 0);
        let (x, index) = (self.dims(0)?, self.dims(1)?);
        let at = if axis < 0 { axis + x.len() as i64 } else { axis } as usize;
        if at >= x.len() {
            return Err(self.refuse("this axis"));
        }
        let mut dims = x;
        dims.splice(at..=at, index);
        if let (Some(rows), Ok(ids)) = (self.constant(0).cloned(), self.value(1))
            && let ([n, width], DType::F32, 0) = (rows.dims(), rows.dtype(), axis)
        {
            // Rows of numbers that were learned are trained on; one-hot rows are not.
            let learned = self.node.input[0].starts_with("embeddings.");
            let config = json!({ "input_dim": n, "output_dim": width, "mask_zero": false, "trainable": learned });
            let (name, to) = (&self.node.output[0], (DType::F32, dims));
            return Ok(self.writer.layer("Embedding", name, config, &ids, vec![rows], to));
        }
        let (dtype, arguments) = (self.dtype(0), self.arguments()?);
        Ok(self.numpy("Take", json!({ "axis": axis }), arguments, dtype, dims))
    }

    /// The value of each key: a text by its place in a vocabulary, a number by comparisons.
    fn label_encoder(&mut self) -> Result<Value> {
        let x = self.value(0)?;
        let get = |name: &str| -> Result<Tensor> {
            let tensor = self.attribute(name).and_then(|attribute| attribute.t.as_ref());
            Tensor::from_proto(tensor.ok_or_else(|| self.refuse("this lookup"))?, None)
        };
        let (keys, values) = (get("keys_tensor")?, get("values_tensor")?);
        let values = values.data().floats().ok_or_else(|| self.refuse("this lookup"))?;
        let other = get("default_tensor")?.data().floats().and_then(|v| v.first().copied());
        let other = other.ok_or_else(|| self.refuse("this lookup"))?;
        // No number of JSON stands for what is missing: 0 / 0 does.
        let present = other.is_nan();
        let other = if present { 0.0 } else { other };
        let to = (DType::F64, x.dims.clone());
        let (found, known) = if let Data::Text(words) = keys.data() {
            let mut unknown = "[UNK]".to_owned();
            while words.contains(&unknown) {
                unknown.push('_');
            }
            let config = json!({
                "max_tokens": null, "num_oov_indices": 1, "mask_token": null, "oov_token": unknown,
                "vocabulary": words, "vocabulary_size": words.len() + 1, "output_mode": "int",
                "invert": false, "sparse": false, "pad_to_max_tokens": false, "idf_weights": null,
                "encoding": "utf-8",
            });
            let name = format!("{}_lookup", self.node.output[0]);
            let ids = self.writer.layer(
                "StringLookup",
                &name,
                config,
                &x,
                Vec::new(),
                (DType::I64, x.dims.clone()),
            );
            let take = |at: &mut Self, rows: Vec<f64>| -> Result<Value> {
                let arguments = vec![array(&Tensor::vector(rows))?, tensor(&ids)];
                Ok(at.numpy("Take", json!({ "axis": 0 }), arguments, to.0, to.1.clone()))
            };
            let rows = std::iter::once(other).chain(values.iter().copied()).collect();
            let found = take(self, rows)?;
            let known = (0..=words.len()).map(|i| f64::from(u8::from(i > 0)));
            (found, if present { Some(take(self, known.collect())?) } else { None })
        } else {
            let keys = keys.data().floats().ok_or_else(|| self.refuse("this lookup"))?;
            let n = keys.len();
            let wide = vec![x.dims[0], Some(n)];
            let mut numpy =
                |class: &str, config: Json, arguments: Vec<Json>, to: (DType, Vec<_>)| {
                    self.operation(("numpy", class), config, arguments, to)
                };
            let row = |values: Vec<f64>| Tensor::new(&[1, n], values).and_then(|t| array(&t));
            let same = vec![tensor(&x), row(keys)?];
            let same = numpy("Equal", json!({}), same, (DType::Bool, wide.clone()));
            let mut sum = |of: Vec<f64>| -> Result<Value> {
                let zero = array(&Tensor::scalar(vec![0.0f64]))?;
                let y = vec![tensor(&same), row(of)?, zero];
                let y = numpy("Where", json!({}), y, (DType::F64, wide.clone()));
                let config = json!({ "axis": 1, "keepdims": true });
                Ok(numpy("Sum", config, vec![tensor(&y)], to.clone()))
            };
            let mut found = sum(values.iter().map(|v| v - other).collect())?;
            let known = if present { Some(sum(vec![1.0; n])?) } else { None };
            if other != 0.0 {
                let other = array(&Tensor::scalar(vec![other]))?;
                found = numpy("Add", json!({}), vec![tensor(&found), other], to.clone());
            }
            (found, known)
        };
        match known {
            None => Ok(found),
            Some(known) => {
                let arguments = vec![tensor(&found), tensor(&known)];
                Ok(self.numpy("Divide", json!({}), arguments, to.0, to.1))
            }
        }
    }

    /// The only node that uses the output, if it adds a constant of a shape, and that constant.
    fn bias(&self, shape: &[usize]) -> Option<(&'a NodeProto, Tensor)> {
        let output = self.node.output[0].as_str();
        let [next] = self.writer.users.get(output)?[..] else { return None };
        if next.op_type != "Add" {
            return None;
        }
        let other = next.input.iter().find(|input| *input != output)?;
        match self.writer.operands.get(other.as_str())? {
            Operand::Constant(tensor) if tensor.dims() == shape && tensor.dtype() == DType::F32 => {
                Some((next, tensor.clone()))
            }
            _ => None,
        }
    }

    /// A layer of weights, with the constant that the next node adds.
    fn weighted(
        &mut self,
        class: &str,
        mut config: Json,
        x: &Value,
        (weight, shape): (Tensor, &[usize]),
        bias_key: (&str, [Json; 2]),
        dims: Vec<Option<usize>>,
    ) -> Value {
        let bias = self.bias(shape);
        let (key, [without, with]) = bias_key;
        config[key] = if bias.is_some() { with } else { without };
        config["activation"] = json!("linear");
        let mut weights = vec![weight];
        let mut name = self.node.output[0].as_str();
        if let Some((next, tensor)) = bias {
            weights.push(tensor);
            name = &next.output[0];
        }
        let name = name.trim_end_matches(".linear").trim_end_matches(".product").to_owned();
        let y = self.writer.layer(class, &name, config, x, weights, (DType::F32, dims));
        if let Some((next, _)) = self.bias(shape) {
            self.writer.done.insert(&next.output[0]);
            self.writer.operands.insert(&next.output[0], Operand::Value(y.clone()));
        }
        y
    }

    fn matmul(&mut self) -> Result<Value> {
        let x = self.value(0)?;
        let Some(w) = self.constant(1).cloned() else {
            return Err(self.refuse("a product of two values"));
        };
        match *w.dims() {
            [_, units] if !x.swapped => {
                let mut dims = x.dims.clone();
                if let Some(last) = dims.last_mut() {
                    *last = Some(units);
                }
                let config = json!({ "units": units });
                let bias = ("use_bias", [json!(false), json!(true)]);
                Ok(self.weighted("Dense", config, &x, (w, &[units]), bias, dims))
            }
            // A product for each entry of an axis, which the graph has moved to the front.
            [n, _, d] if x.swapped && x.dims.len() == 3 => {
                let letters = if x.dims[1] == Some(n) { "abc,bcd->abd" } else { "aec,bcd->abd" };
                let config =
                    json!({ "equation": letters, "output_shape": [n, d], "bias_axes": null });
                let to = (DType::F32, vec![x.dims[0], Some(n), Some(d)]);
                let name = self.node.output[0].clone();
                let y = self.writer.layer("EinsumDense", &name, config, &x, vec![w], to);
                Ok(Value { swapped: true, ..y })
            }
            _ => Err(self.refuse("a product of these shapes")),
        }
    }

    fn transpose(&mut self) -> Result<Value> {
        let x = self.value(0)?;
        let order = self.attribute("perm").map(|attribute| attribute.ints.as_slice());
        match order {
            Some([1, 0, 2]) => Ok(Value { swapped: !x.swapped, ..x }),
            _ => Err(self.refuse("axes in this order")),
        }
    }

    fn reshape(&mut self) -> Result<Value> {
        let x = self.value(0)?;
        let shape = self.constant(1).and_then(|tensor| tensor.data().integers());
        match (shape.as_deref(), &x.dims[..]) {
            (Some([-1]), [rows, Some(1)]) => {
                let dims = vec![*rows];
                let arguments = vec![tensor(&x)];
                Ok(self.numpy("Squeeze", json!({ "axis": 1 }), arguments, x.dtype, dims))
            }
            (Some([-1, width]), [rows, inner @ ..])
                if inner.iter().copied().product::<Option<usize>>() == Some(*width as usize) =>
            {
                let dims = vec![*rows, Some(*width as usize)];
                let config = json!({ "newshape": [-1, *width as i64] });
                Ok(self.numpy("Reshape", config, vec![tensor(&x)], x.dtype, dims))
            }
            _ => Err(self.refuse("this shape")),
        }
    }

    fn reduce(&mut self, class: &str) -> Result<Value> {
        let x = self.value(0)?;
        let axis = self.integer(1)?;
        let keep = self.int("keepdims", 1) != 0;
        let at = if axis < 0 { axis + x.dims.len() as i64 } else { axis } as usize;
        let mut dims = x.dims.clone();
        if at == 0 || at >= dims.len() {
            return Err(self.refuse("this axis"));
        }
        if keep {
            dims[at] = Some(1);
        } else {
            dims.remove(at);
        }
        let config = json!({ "axis": axis, "keepdims": keep });
        Ok(self.numpy(class, config, vec![tensor(&x)], x.dtype, dims))
    }

    fn layer_norm(&mut self) -> Result<Value> {
        let x = self.value(0)?;
        let (Some(w), Some(b)) = (self.constant(1).cloned(), self.constant(2).cloned()) else {
            return Err(self.refuse("a norm without weights"));
        };
        let epsilon: f64 = self.float("epsilon", 1e-5).to_string().parse().unwrap_or(1e-5);
        let config = json!({
            "axis": [x.dims.len() - 1], "epsilon": epsilon, "center": true, "scale": true,
        });
        let to = (DType::F32, x.dims.clone());
        let name = self.node.output[0].clone();
        Ok(self.writer.layer("LayerNormalization", &name, config, &x, vec![w, b], to))
    }

    /// Two values that broadcast; a factor of several members is a layer that goes on training.
    fn binary(&mut self, class: &str) -> Result<Value> {
        let (a, b) = (self.dims(0)?, self.dims(1)?);
        let dims = broadcast(&a, &b);
        if class == "Multiply"
            && let (Ok(x), Some(w)) = (self.value(0), self.constant(1).cloned())
            && let (&[k, m], DType::F32, [_, p, q]) = (w.dims(), w.dtype(), &x.dims[..])
            && k > 1
            && [Some(1), Some(k)].contains(p)
            && [Some(1), Some(m)].contains(q)
            && !x.swapped
        {
            // An axis of one element is summed over.
            let first = if *p == Some(k) { "b" } else { "d" };
            let last = if *q == Some(m) { "c" } else { "e" };
            let config = json!({
                "equation": format!("a{first}{last},bc->abc"), "output_shape": [k, m],
            });
            let bias = ("bias_axes", [Json::Null, json!("bc")]);
            return Ok(self.weighted("EinsumDense", config, &x, (w, &[k, m]), bias, dims));
        }
        let dtype =
            if TRUTHS.contains(&self.node.op_type.as_str()) { DType::Bool } else { self.dtype(0) };
        let arguments = self.arguments()?;
        Ok(self.numpy(class, json!({}), arguments, dtype, dims))
    }
}
