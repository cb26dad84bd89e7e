//! Sequential and functional models as graphs.

use super::config::{self, Config};
use super::layers::{self, Argument, Call, Net, Value};
use super::store::Store;
use super::{Error, Result};
use crate::onnx::{self, DType, Tensor};
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};

/// The deepest model in a model.
const DEEPEST: usize = 8;
/// The most layers and calls of layers.
const MOST_NODES: usize = 100_000;

/// A layer of a model.
///
/// ```
/// assert!(ff_interop::keras::Layer::default().inputs.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: String,
    /// The layers whose outputs it takes.
    pub inputs: Vec<String>,
    /// Whether the class is known.
    pub known: bool,
}

/// A layer with weights.
///
/// ```
/// assert!(!ff_interop::keras::Weighted::default().trainable);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weighted {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: String,
    /// Whether training changes it.
    pub trainable: bool,
    /// Its weights in its order.
    pub arrays: Vec<Tensor>,
}

/// The graph of a configuration.
pub(super) fn translate(config: &Json, store: &Store, version: &str) -> Result<onnx::Model> {
    let mut net = Net::new(config["config"]["name"].as_str().unwrap_or("model"));
    let mut walk = Walk { net: &mut net, store, nodes: 0 };
    let outputs = walk.model(config, "", None, 0)?;
    for (name, value) in outputs {
        net.output(&name, &value);
    }
    Ok(net.build(version))
}

/// A model's class, whatever module it comes from.
fn is_model(spec: &Json) -> bool {
    matches!(class(spec), "Sequential" | "Functional" | "Model")
}

fn class(spec: &Json) -> &str {
    spec["class_name"].as_str().unwrap_or("?")
}

fn name(spec: &Json) -> &str {
    spec["name"].as_str().or_else(|| spec["config"]["name"].as_str()).unwrap_or("?")
}

fn list(spec: &Json) -> &[Json] {
    // Models of Keras 2.2 and before are a list.
    let config = &spec["config"];
    config["layers"].as_array().or_else(|| config.as_array()).map_or(&[], Vec::as_slice)
}

/// The layers of a model and of those in it.
pub(super) fn layers(spec: &Json) -> Vec<Layer> {
    let mut all = Vec::new();
    describe(spec, "", 0, &mut all);
    all
}

fn describe(spec: &Json, prefix: &str, depth: usize, all: &mut Vec<Layer>) {
    let mut previous: Option<String> = None;
    for layer in list(spec) {
        let own = format!("{prefix}{}", name(layer));
        let mut inputs = Vec::new();
        if class(spec) == "Sequential" {
            inputs.extend(previous.take());
        }
        for node in layer["inbound_nodes"].as_array().into_iter().flatten() {
            histories(node, 0, &mut inputs);
        }
        let known = is_model(layer) || class(layer) == "InputLayer" || layers::row(layer).is_ok();
        previous = Some(own.clone());
        all.push(Layer { name: own.clone(), class: class(layer).into(), inputs, known });
        if is_model(layer) && depth < DEEPEST {
            describe(layer, &format!("{own}/"), depth + 1, all);
        }
    }
}

/// The names of the layers that a call refers to.
pub(super) fn histories(value: &Json, depth: usize, names: &mut Vec<String>) {
    let mut push = |name: &str| {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    match value {
        Json::Object(map) if map.get("class_name") == Some(&"__keras_tensor__".into()) => {
            push(value["config"]["keras_history"][0].as_str().unwrap_or("?"));
        }
        Json::Array(values) => match values.as_slice() {
            [Json::String(name), Json::Number(_), Json::Number(_), ..] => push(name),
            _ if depth < 16 => values.iter().for_each(|v| histories(v, depth + 1, names)),
            _ => {}
        },
        Json::Object(map) if depth < 16 => {
            map.values().for_each(|v| histories(v, depth + 1, names));
        }
        _ => {}
    }
}

/// Where the weights of a model's layers lie: their paths by the names of the layers.
fn places<'a>(spec: &'a Json, store: &Store, place: &str) -> BTreeMap<&'a str, String> {
    let mut used = Places::default();
    let mut places = BTreeMap::new();
    for layer in list(spec) {
        if layers::is_operation(layer) {
            continue;
        }
        let own = if store.legacy {
            name(layer).to_owned()
        } else {
            let own = used.next(class(layer));
            if place.is_empty() { format!("layers/{own}") } else { format!("{place}/layers/{own}") }
        };
        places.insert(name(layer), own);
    }
    places
}

/// The layers that have weights of their own, with what they hold.
pub(super) fn weighted(spec: &Json, store: &Store) -> Result<Vec<Weighted>> {
    let places = places(spec, store, "");
    let mut found = Vec::new();
    for layer in list(spec) {
        let own = |what: &str| format!("layer `{}` ({what})", name(layer));
        if is_model(layer) {
            let message = "a model in a model, whose training is not taken over";
            return Err(Error::Unsupported(format!("{}: {message}", own(class(layer)))));
        }
        let Some(place) = places.get(name(layer)) else { continue };
        let arrays = store.variables(place).map_err(Error::Malformed)?;
        if !arrays.is_empty() {
            found.push(Weighted {
                name: name(layer).to_owned(),
                class: class(layer).to_owned(),
                trainable: layer["config"]["trainable"].as_bool().unwrap_or(true),
                arrays,
            });
        }
    }
    Ok(found)
}

/// Reading a configuration.
struct Walk<'a> {
    net: &'a mut Net,
    store: &'a Store,
    nodes: usize,
}

/// What a model gives, by name.
type Outputs = Vec<(String, Value)>;

impl Walk<'_> {
    /// A model whose weights lie under `place`; without `inputs` those of the graph.
    fn model(
        &mut self,
        spec: &Json,
        place: &str,
        inputs: Option<Vec<Value>>,
        depth: usize,
    ) -> Result<Outputs> {
        if depth > DEEPEST {
            return Err(Error::Unsupported(format!("models lie deeper than {DEEPEST} in models")));
        }
        if !is_model(spec) {
            let message = "a class of its own (a subclass of Model) is Python code, which is never \
                           executed; only Sequential and Functional models are read";
            return Err(Error::Unsupported(format!("the model is a {}: {message}", class(spec))));
        }
        // A registered name of its own is another class.
        if let Some(own) = spec["registered_name"].as_str().filter(|name| name.contains('>')) {
            return Err(Error::Unsupported(format!(
                "the model is a {own}, Python code of another module, which is never executed"
            )));
        }
        let places = places(spec, self.store, place);
        if class(spec) == "Sequential" {
            self.sequential(spec, &places, inputs, depth)
        } else {
            self.functional(spec, &places, inputs, depth)
        }
    }

    fn sequential(
        &mut self,
        spec: &Json,
        places: &BTreeMap<&str, String>,
        inputs: Option<Vec<Value>>,
        depth: usize,
    ) -> Result<Outputs> {
        let layers = list(spec);
        let first =
            layers.first().ok_or_else(|| Error::Malformed("the model has no layers".into()))?;
        let mut x = match inputs {
            Some(inputs) => {
                let mut inputs = inputs.into_iter();
                inputs.next().ok_or_else(|| Error::Malformed("a model without inputs".into()))?
            }
            None if class(first) == "InputLayer" => self.input(first, None)?,
            None => {
                // The shape that the model or its first layer was built for.
                let shape = [
                    &first["config"]["batch_input_shape"],
                    &first["config"]["batch_shape"],
                    &spec["config"]["build_input_shape"],
                    &spec["build_config"]["input_shape"],
                    &first["build_config"]["input_shape"],
                ];
                let shape = shape.into_iter().find(|shape| shape.is_array()).ok_or_else(|| {
                    Error::Malformed(
                        "the model was never built: the shape of its input is unknown".into(),
                    )
                })?;
                self.net.input("input", DType::F32, shape)?
            }
        };
        for layer in layers.iter().filter(|layer| class(layer) != "InputLayer") {
            let mut outputs = self.call(layer, places, vec![Argument::Tensor(x)], None, depth)?;
            x = outputs.swap_remove(0);
        }
        let last = layers.last().map_or("output", name);
        Ok(vec![(last.to_owned(), x)])
    }

    /// The input of an `InputLayer`, under its name or the model's for it.
    fn input(&mut self, layer: &Json, known_as: Option<&str>) -> Result<Value> {
        let what = format!("input `{}`", name(layer));
        let config = Config::new(what, Some(&layer["config"]));
        let dtype = config.text("dtype", "float32")?;
        let dtype = config::dtype(dtype)
            .ok_or_else(|| config.unsupported(format!("elements of {dtype} are not read")))?;
        for key in ["sparse", "ragged"] {
            if config.flag(key, false)? {
                return Err(config.unsupported(format!("{key} tensors are not evaluated")));
            }
        }
        let shape = config.get("batch_shape").or_else(|| config.get("batch_input_shape"));
        let shape = shape.ok_or_else(|| config.bad("it has no shape"))?;
        config.flag("optional", false)?;
        config.finish()?;
        self.net.input(known_as.unwrap_or(name(layer)), dtype, shape)
    }

    fn functional(
        &mut self,
        spec: &Json,
        places: &BTreeMap<&str, String>,
        inputs: Option<Vec<Value>>,
        depth: usize,
    ) -> Result<Outputs> {
        let config = &spec["config"];
        let bad = |message: String| Error::Malformed(message);
        let (ports, ends) = (ports(&config["input_layers"]), ports(&config["output_layers"]));
        let by_name: HashMap<&str, &Json> = list(spec).iter().map(|l| (name(l), l)).collect();
        let mut values: HashMap<(String, usize), Vec<Value>> = HashMap::new();
        let mut given = inputs.map(Vec::into_iter);
        for (known_as, port) in &ports {
            let layer = by_name.get(port.layer.as_str());
            let layer = layer.ok_or_else(|| bad(format!("there is no input `{}`", port.layer)))?;
            let value = match &mut given {
                None => self.input(layer, known_as.as_deref())?,
                Some(given) => given.next().ok_or_else(|| {
                    bad(format!(
                        "the model `{}` is called without its input `{}`",
                        name(spec),
                        port.layer
                    ))
                })?,
            };
            values.insert((port.layer.clone(), 0), vec![value]);
        }
        // Calls in the order in which their inputs become known.
        let mut waiting: Vec<(&Json, usize, &Json)> = Vec::new();
        for layer in list(spec) {
            let nodes = layer["inbound_nodes"].as_array().map_or(&[][..], Vec::as_slice);
            waiting.extend(nodes.iter().enumerate().map(|(i, node)| (layer, i, node)));
        }
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut later = Vec::new();
            for (layer, i, node) in waiting {
                if class(layer) == "InputLayer" {
                    continue;
                }
                let Some((arguments, options)) = arguments(node, &values)? else {
                    later.push((layer, i, node));
                    continue;
                };
                // A model's own first node is the one that made it.
                let index = if is_model(layer) { i + 1 } else { i };
                let outputs = self.call(layer, places, arguments, options, depth)?;
                if is_model(layer) && i == 0 {
                    values.insert((name(layer).to_owned(), 0), outputs.clone());
                }
                values.insert((name(layer).to_owned(), index), outputs);
            }
            if later.len() == before {
                let names: Vec<&str> = later.iter().take(4).map(|(l, _, _)| name(l)).collect();
                return Err(bad(format!(
                    "the inputs of the layers {} are never computed: a cycle, or a missing layer",
                    names.join(", ")
                )));
            }
            waiting = later;
        }
        let mut outputs = Vec::new();
        for (known_as, port) in ends {
            let found = values.get(&(port.layer.clone(), port.node));
            let value = found
                .and_then(|outputs| outputs.get(port.tensor))
                .ok_or_else(|| bad(format!("nothing computes the output `{}`", port.layer)))?;
            outputs.push((known_as.unwrap_or(port.layer), value.clone()));
        }
        if outputs.is_empty() {
            return Err(bad("the model has no outputs".into()));
        }
        Ok(outputs)
    }

    /// One call of a layer.
    fn call(
        &mut self,
        layer: &Json,
        places: &BTreeMap<&str, String>,
        arguments: Vec<Argument>,
        options: Option<&Json>,
        depth: usize,
    ) -> Result<Vec<Value>> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(Error::Unsupported(format!("the model has more than {MOST_NODES} layers")));
        }
        let place = places.get(name(layer)).map_or("", String::as_str);
        if is_model(layer) {
            if self.store.legacy {
                return Err(Error::Unsupported(format!(
                    "`{}` is a model in a model of the old format; save it again as .keras",
                    name(layer)
                )));
            }
            let mut inputs = Vec::new();
            for argument in arguments {
                argument.tensors(&mut inputs);
            }
            let outputs = self.model(layer, place, Some(inputs), depth + 1)?;
            return Ok(outputs.into_iter().map(|(_, value)| value).collect());
        }
        let row = layers::row(layer)?;
        let what = format!("layer `{}` ({})", name(layer), class(layer));
        let config = Config::new(what, Some(&layer["config"]));
        let mut call = Call {
            net: self.net,
            store: self.store,
            name: name(layer).to_owned(),
            place: place.to_owned(),
            config,
            arguments,
            options: Config::new(String::new(), options),
            steps: 0,
        };
        let value = call.run(row)?;
        Ok(vec![value])
    }
}

/// An output of a call of a layer.
struct History {
    layer: String,
    node: usize,
    tensor: usize,
}

/// Inputs or outputs of a model, under their names where it has a dictionary of them.
fn ports(value: &Json) -> Vec<(Option<String>, History)> {
    match value {
        Json::Array(values) => match history(values) {
            Some(history) => vec![(None, history)],
            None => values
                .iter()
                .filter_map(Json::as_array)
                .filter_map(|v| history(v))
                .map(|h| (None, h))
                .collect(),
        },
        Json::Object(map) => map
            .iter()
            .filter_map(|(key, value)| Some((Some(key.clone()), history(value.as_array()?)?)))
            .collect(),
        _ => Vec::new(),
    }
}

fn history(values: &[Json]) -> Option<History> {
    let size = |value: &Json| value.as_u64().map(|n| n as usize);
    match values {
        [Json::String(layer), node, tensor, ..] => {
            Some(History { layer: layer.clone(), node: size(node)?, tensor: size(tensor)? })
        }
        _ => None,
    }
}

type Known = HashMap<(String, usize), Vec<Value>>;

/// The arguments of a call and its options by name; `None` while one is not computed yet.
fn arguments<'a>(
    node: &'a Json,
    values: &Known,
) -> Result<Option<(Vec<Argument>, Option<&'a Json>)>> {
    if let Some(list) = node.as_array() {
        // Keras 2: [[layer, node, tensor, options], …].
        let mut tensors = Vec::new();
        for input in list {
            let history = input.as_array().and_then(|input| history(input)).ok_or_else(|| {
                Error::Unsupported("a layer is called with what is no tensor".into())
            })?;
            let Some(outputs) = values.get(&(history.layer, history.node)) else { return Ok(None) };
            let Some(value) = outputs.get(history.tensor) else { return Ok(None) };
            tensors.push(Argument::Tensor(value.clone()));
        }
        let options = list.first().and_then(|input| input.get(3));
        let several = if tensors.len() == 1 { tensors } else { vec![Argument::List(tensors)] };
        return Ok(Some((several, options)));
    }
    let mut all = Vec::new();
    for argument in node["args"].as_array().into_iter().flatten() {
        match read_argument(argument, values, 0)? {
            Some(argument) => all.push(argument),
            None => return Ok(None),
        }
    }
    Ok(Some((all, node.get("kwargs"))))
}

fn read_argument(value: &Json, values: &Known, depth: usize) -> Result<Option<Argument>> {
    Ok(Some(match value {
        Json::Object(map) if map.get("class_name") == Some(&"__keras_tensor__".into()) => {
            let found = value["config"]["keras_history"].as_array().and_then(|h| history(h));
            let found = found.ok_or_else(|| Error::Malformed("a tensor without a layer".into()))?;
            let outputs = values.get(&(found.layer, found.node));
            match outputs.and_then(|outputs| outputs.get(found.tensor)) {
                Some(value) => Argument::Tensor(value.clone()),
                None => return Ok(None),
            }
        }
        Json::Array(list)
            if depth < 4 && list.iter().any(|v| v.is_object() && !config::is_array(v)) =>
        {
            let mut all = Vec::new();
            for value in list {
                match read_argument(value, values, depth + 1)? {
                    Some(argument) => all.push(argument),
                    None => return Ok(None),
                }
            }
            Argument::List(all)
        }
        other => Argument::Constant(constant(other)?),
    }))
}

/// A constant among the arguments: a number, a list, or an array.
fn constant(value: &Json) -> Result<Option<(Tensor, bool)>> {
    if value.is_null() {
        return Ok(None);
    }
    let bad = || Error::Unsupported("an argument of a call is neither a tensor nor numbers".into());
    let (inner, stated) = if config::is_array(value) {
        let stated = value["config"]["dtype"].as_str().unwrap_or("float32");
        (&value["config"]["value"], Some(config::dtype(stated).ok_or_else(bad)?))
    } else {
        (value, None)
    };
    let mut dims = Vec::new();
    let mut at = inner;
    while let Json::Array(list) = at {
        dims.push(list.len());
        let Some(first) = list.first().filter(|_| dims.len() < 16) else { break };
        at = first;
    }
    let mut numbers = Vec::new();
    if !config::flatten(inner, &mut numbers, 0) {
        return Err(bad());
    }
    let kind = match at {
        Json::Bool(_) => DType::Bool,
        Json::Number(n) if n.is_f64() => DType::F32,
        _ => DType::I64,
    };
    let data = stated.unwrap_or(kind).numbers(numbers).ok_or_else(bad)?;
    Ok(Some((Tensor::new(&dims, data)?, stated.is_none())))
}

/// The names of layers in paths of weights: their class, and a number from the second on.
#[derive(Debug, Default)]
pub(super) struct Places {
    used: HashMap<String, usize>,
}

impl Places {
    pub(super) fn next(&mut self, class: &str) -> String {
        let snake = snake_case(class);
        let n = self.used.entry(snake.clone()).or_insert(0);
        *n += 1;
        if *n == 1 { snake } else { format!("{snake}_{}", *n - 1) }
    }
}

/// A class's name as Keras writes it in paths: `EinsumDense` as `einsum_dense`.
fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let is = |i: usize, test: fn(&char) -> bool| chars.get(i).is_some_and(test);
    let mut parts = String::new();
    let mut i = 0;
    while i < chars.len() {
        parts.push(chars[i]);
        i += 1;
        // A capital and small letters begin a word.
        if is(i, char::is_ascii_uppercase) && is(i + 1, char::is_ascii_lowercase) {
            parts.push('_');
            parts.push(chars[i]);
            i += 1;
            while is(i, char::is_ascii_lowercase) {
                parts.push(chars[i]);
                i += 1;
            }
        }
    }
    let mut snake = String::new();
    let mut before = ' ';
    for c in parts.chars() {
        if before.is_ascii_lowercase() && c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c);
        before = c;
    }
    snake.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn classes_are_written_as_keras_writes_them() {
        let names = [
            ("Dense", "dense"),
            ("EinsumDense", "einsum_dense"),
            ("LeakyReLU", "leaky_re_lu"),
            ("PReLU", "p_re_lu"),
            ("ELU", "elu"),
            ("ReLU", "re_lu"),
            ("GlobalAveragePooling1D", "global_average_pooling1d"),
            ("RMSNormalization", "rms_normalization"),
        ];
        for (class, expected) in names {
            assert_eq!(snake_case(class), expected);
        }
    }
}
