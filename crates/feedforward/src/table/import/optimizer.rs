//! An optimiser of Keras as a recipe's, with its state.

use super::{Continued, Named};
use crate::error::{Error, Result};
use crate::words::setting;
use ff_interop::keras::{Training, Weighted};
use ff_interop::onnx::{Head, Tensor};
use ff_train::keys::Keyed;
use ff_train::optim::{
    Adagrad, Adam, AdamW, GroupConfig, OptimizerConfig, OptimizerKind, OptimizerScalars, RmsProp,
    Sgd,
};
use serde_json::Value as Json;
use std::fmt::Write;

/// What the optimiser keeps of a weight: our name, and the factor from our values to Keras'.
type Slot = (&'static str, f64);

/// What an optimiser keeps: groups of slots, the slots of each group side by side for every weight.
pub(in crate::table) type Slots = Vec<Vec<Slot>>;

/// What Keras keeps where this program has an optimiser at a rate; none where it has no
/// counterpart.
pub(in crate::table) fn slots(config: &OptimizerConfig, lr: f64) -> Option<Slots> {
    let settings = &config.settings;
    let alone = |name| vec![(name, 1.0)];
    Some(match config.kind {
        OptimizerKind::Adam | OptimizerKind::AdamW => {
            let mut slots = vec![vec![("exp_avg", 1.0), ("exp_avg_sq", 1.0)]];
            let amsgrad = match config.kind {
                OptimizerKind::Adam => Adam::read(settings).amsgrad,
                _ => AdamW::read(settings).amsgrad,
            };
            if amsgrad {
                slots.push(alone("max_exp_avg_sq"));
            }
            slots
        }
        // Momentum contains the rate there.
        OptimizerKind::Sgd if Sgd::read(settings).momentum != 0.0 => {
            vec![vec![("momentum_buffer", -lr)]]
        }
        OptimizerKind::Sgd => Vec::new(),
        OptimizerKind::RmsProp => {
            let RmsProp { momentum, centered, .. } = RmsProp::read(settings);
            let momentum = (momentum != 0.0).then(|| vec![("momentum_buffer", lr)]);
            let mean = centered.then(|| alone("grad_avg"));
            std::iter::once(alone("square_avg")).chain(momentum).chain(mean).collect()
        }
        OptimizerKind::Adagrad => vec![alone("sum")],
        OptimizerKind::Lion => vec![alone("exp_avg")],
        OptimizerKind::Adafactor | OptimizerKind::Muon | OptimizerKind::Lbfgs => return None,
    })
}

/// Settings that are off when absent and have no counterpart.
const OTHERS: [(&str, &str); 4] = [
    ("clipnorm", "each gradient is scaled by its own norm; global_clipnorm is taken over"),
    ("use_ema", "the average of the weights is in the state"),
    ("loss_scale_factor", "losses are not scaled here"),
    ("gradient_accumulation_steps", "set train.accumulate instead"),
];

/// The recipe's tables of a model's training, with the state of its optimiser. What is not taken
/// over though the optimiser is goes to `left`.
pub(super) fn continued(
    training: &Training,
    weights: &[Named],
    head: Head,
    left: &mut Vec<String>,
) -> Result<Continued> {
    let settings = Settings { class: &training.optimizer, values: &training.settings };
    // The rate is a variable: a callback may have lowered it.
    let lr = match training.variables.get(1) {
        Some(rate) => number(rate)?,
        None => 1e-3,
    };
    if settings.values["learning_rate"].is_object() {
        return Err(settings.refused("learning_rate", "it is a schedule; set [schedule] instead"));
    }
    for (key, why) in OTHERS {
        match &settings.values[key] {
            Json::Null | Json::Bool(false) => {}
            _ => return Err(settings.refused(key, why)),
        }
    }
    let mut config = translated(&settings)?;
    config.lr = Some(lr);
    config.clip_norm = settings.maybe("global_clipnorm")?;
    config.clip_value = settings.maybe("clipvalue")?;
    config.validate().map_err(|e| Error::usage(format!("{}: {e}", training.optimizer)))?;
    let mut line = format!("{} with a rate of {}", training.optimizer, setting(lr));
    let mut state = None;
    let updates = training.variables.first().map_or(Ok(0.0), number)?;
    if updates > 0.0 {
        match state_of(training, &config, lr, weights) {
            Ok(tensors) => {
                let _ = write!(line, " and its state after {updates} steps");
                let scalars = OptimizerScalars {
                    updates: updates as u64,
                    ..OptimizerScalars::new(config.kind)
                };
                state = Some((scalars, tensors));
            }
            Err(error) => left.push(format!("the optimiser's state: {error}")),
        }
    }
    if let Some(loss) = other_loss(&training.loss, head) {
        left.push(format!(
            "the loss {loss}: [loss] has the one that goes with the network's outputs"
        ));
    }
    if !training.loss_weights.is_null() {
        left.push(format!(
            "the weights of losses {}: losses are not scaled here",
            training.loss_weights
        ));
    }
    let recipe = format!("\n# {line}\n{}", table("optimizer", &config)?);
    Ok(Continued { line, recipe, state })
}

/// A table of a recipe as TOML.
fn table(name: &str, config: &OptimizerConfig) -> Result<String> {
    let table = toml::Table::try_from(config).map_err(|e| Error::usage(e.to_string()))?;
    let all = toml::Table::from_iter([(name.to_owned(), toml::Value::Table(table))]);
    toml::to_string(&all).map_err(|e| Error::usage(e.to_string()))
}

/// The settings of an optimiser of Keras.
struct Settings<'a> {
    class: &'a str,
    values: &'a Json,
}

impl Settings<'_> {
    fn refused(&self, key: &str, why: &str) -> Error {
        Error::usage(format!("{}'s `{key}` has no counterpart: {why}", self.class))
    }

    fn maybe(&self, key: &str) -> Result<Option<f64>> {
        match &self.values[key] {
            Json::Null => Ok(None),
            value => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(Error::usage(format!("{}'s `{key}` is {value}", self.class))),
            },
        }
    }

    fn number(&self, key: &str, default: f64) -> Result<f64> {
        Ok(self.maybe(key)?.unwrap_or(default))
    }

    fn flag(&self, key: &str) -> bool {
        self.values[key].as_bool().unwrap_or(false)
    }
}

/// The rule with its settings.
fn translated(settings: &Settings<'_>) -> Result<OptimizerConfig> {
    let decay = settings.maybe("weight_decay")?.filter(|decay| *decay != 0.0);
    let undecayed = |config: OptimizerConfig| match decay {
        None => Ok(config),
        Some(_) => Err(settings.refused("weight_decay", "it is decoupled, which only AdamW is")),
    };
    match settings.class {
        "Adam" | "AdamW" => {
            let betas = [settings.number("beta_1", 0.9)?, settings.number("beta_2", 0.999)?];
            let (eps, amsgrad) = (settings.number("epsilon", 1e-7)?, settings.flag("amsgrad"));
            Ok(match decay {
                None => Adam { betas, eps, amsgrad, eps_first: true }.into(),
                // Keras decays biases too.
                Some(decay) => OptimizerConfig {
                    weight_decay: Some(decay),
                    groups: vec![GroupConfig {
                        pattern: "*".into(),
                        weight_decay: Some(decay),
                        ..GroupConfig::default()
                    }],
                    ..AdamW { betas, eps, amsgrad, eps_first: true }.into()
                },
            })
        }
        "SGD" => {
            let (momentum, nesterov) =
                (settings.number("momentum", 0.0)?, settings.flag("nesterov"));
            // Without momentum, Nesterov's is none.
            let nesterov = nesterov && momentum != 0.0;
            undecayed(Sgd { momentum, nesterov, ..Sgd::default() }.into())
        }
        "RMSprop" => {
            let rule = RmsProp {
                alpha: settings.number("rho", 0.9)?,
                eps: settings.number("epsilon", 1e-7)?,
                momentum: settings.number("momentum", 0.0)?,
                centered: settings.flag("centered"),
                eps_first: true,
            };
            undecayed(rule.into())
        }
        "Adagrad" => {
            let rule = Adagrad {
                eps: settings.number("epsilon", 1e-7)?,
                initial_accumulator_value: settings.number("initial_accumulator_value", 0.1)?,
                eps_first: true,
                ..Adagrad::default()
            };
            undecayed(rule.into())
        }
        other => Err(Error::usage(format!(
            "{other} is not taken over; Adam, AdamW, SGD, RMSprop and Adagrad are"
        ))),
    }
}

/// The state by the names of our parameters.
fn state_of(
    training: &Training,
    config: &OptimizerConfig,
    lr: f64,
    weights: &[Named],
) -> Result<Vec<Named>> {
    let slots = slots(config, lr).unwrap_or_default();
    if slots.iter().flatten().any(|(_, factor)| *factor == 0.0) {
        return Err(Error::usage("its momentum contains the rate, which is 0"));
    }
    let trained = trained(&training.layers, weights)?;
    let mut left = training.variables.iter().skip(2);
    let mut tensors = Vec::new();
    for group in &slots {
        for &(weight, (name, dims, _)) in &trained {
            for (slot, factor) in group {
                let variable = left.next().filter(|found| found.dims() == weight.dims());
                let variable = variable.ok_or_else(|| {
                    Error::usage(format!("there is no `{slot}` of the shape of {name}"))
                })?;
                let values = ours(variable)?;
                let values = values.iter().map(|x| (x / factor) as f32).collect();
                tensors.push((format!("{slot}.{name}"), dims.clone(), values));
            }
        }
    }
    match left.next() {
        None => Ok(tensors),
        Some(more) => Err(Error::usage(format!(
            "a variable of the shape {:?} belongs to no weight",
            more.dims()
        ))),
    }
}

/// The weights of Keras in its order, each with ours, which is the same.
fn trained<'a>(
    layers: &'a [Weighted],
    weights: &'a [Named],
) -> Result<Vec<(&'a Tensor, &'a Named)>> {
    let mut pairs = Vec::new();
    let mut left = weights.iter();
    for layer in layers {
        let named =
            |why: &str| Error::usage(format!("the layer `{}` ({}) {why}", layer.name, layer.class));
        match (layer.class.as_str(), layer.arrays.len()) {
            _ if !layer.trainable => {
                return Err(named("is not trained there, and would be here"));
            }
            ("Dense" | "LayerNormalization", 2) => {}
            ("Dense", 1) => return Err(named("has no bias, and would have one here")),
            _ => return Err(named("becomes part of another layer here")),
        }
        for array in &layer.arrays {
            let own = left.next().filter(|(_, dims, _)| {
                dims.iter().rev().eq(array.dims()) && dims.len() == array.dims().len()
            });
            let own = own.ok_or_else(|| named("has another shape here"))?;
            let same = ours(array)?.iter().zip(&own.2).all(|(a, b)| *a as f32 == *b);
            if !same {
                return Err(named("has other weights here: what is before or behind it is linear"));
            }
            pairs.push((array, own));
        }
    }
    match left.next() {
        None => Ok(pairs),
        Some((name, _, _)) => Err(Error::usage(format!("no layer has the weights of {name}"))),
    }
}

/// The values of an array of Keras in our order: matrices the other way round.
fn ours(tensor: &Tensor) -> Result<Vec<f64>> {
    let values = floats(tensor)?;
    match *tensor.dims() {
        [rows, columns] => Ok((0..columns)
            .flat_map(|j| (0..rows).map(move |i| (i, j)))
            .map(|(i, j)| values[i * columns + j])
            .collect()),
        _ => Ok(values),
    }
}

fn floats(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.data().floats().ok_or_else(|| Error::usage("a variable holds no numbers"))
}

/// A variable that is one number, with the digits it was given with.
fn number(tensor: &Tensor) -> Result<f64> {
    match floats(tensor)?[..] {
        [x] if x.is_finite() && x >= 0.0 => {
            let short = (x as f32).to_string().parse().unwrap_or(x);
            Ok(if f64::from(x as f32) == x { short } else { x })
        }
        _ => Err(Error::usage("the number of steps or the rate is no number")),
    }
}

/// The name of a loss that is not the one a recipe has for these outputs.
fn other_loss(loss: &Json, head: Head) -> Option<String> {
    let name = match loss {
        Json::Null => return None,
        Json::String(name) => name.clone(),
        other => match other["class_name"].as_str() {
            Some(name) => name.to_owned(),
            None => "of several outputs".into(),
        },
    };
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let known: &[&str] = match head {
        Head::Sigmoid => &["binarycrossentropy"],
        Head::Softmax => &["categoricalcrossentropy", "sparsecategoricalcrossentropy"],
        Head::None => {
            &["mse", "meansquarederror", "categoricalcrossentropy", "sparsecategoricalcrossentropy"]
        }
    };
    let smoothed = loss["config"]["label_smoothing"].as_f64().is_some_and(|x| x != 0.0);
    let same = known.contains(&plain.to_lowercase().as_str()) && !smoothed;
    (!same).then_some(name)
}
