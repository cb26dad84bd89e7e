//! What Keras goes on training with: the optimiser of a run with its state, and the loss.

use super::to_onnx;
use crate::error::{Error, Result};
use crate::run::folder::RunFolder;
use crate::table::import::optimizer::slots;
use crate::table::model::TableModel;
use crate::table::recipe::Recipe;
use crate::words::setting;
use ff_graph::{ParamInfo, ParamSpec, Segment};
use ff_interop::keras::{Training, Weighted, weighted};
use ff_interop::onnx::Tensor;
use ff_nn::{LossConfig, LossKind};
use ff_ops::RegressionLoss;
use ff_train::Checkpoint;
use ff_train::keys::Keyed;
use ff_train::optim::{
    Adagrad, Adam, AdamW, DecaySchedule, Lion, OptimizerConfig, OptimizerKind, RmsProp, Sgd,
};
use serde_json::{Value as Json, json};
use std::path::Path;

/// Whole numbers up to this are exact in single precision.
const EXACT: usize = 1 << 24;

/// A bound of gradients' norm that none reaches, a power of two. Keras on TensorFlow squares the
/// gradient of each row that reads a vector of an embedding, and adds the squares; with a bound of
/// the norm it adds the gradients first, as every other optimiser does.
const NO_BOUND: f64 = (1_u64 << 60) as f64;

/// The training of a run, as Keras takes it up.
#[derive(Default)]
pub(super) struct Continued {
    pub(super) training: Training,
    /// In one line.
    pub(super) line: String,
    /// Where training differs from here on, and what the caller does about it.
    pub(super) notes: Vec<String>,
}

/// The optimiser that made the weights of an exported model, and its state after the last step.
///
/// # Errors
/// Why Keras cannot go on as the run would: nothing of its training is written then.
pub(super) fn continued(run: &Path, model: &mut TableModel, output: &str) -> Result<Continued> {
    let folder = RunFolder::open(run)
        .map_err(|_| Error::usage("the folder of a model has none; export its run"))?;
    let recipe = Recipe::load(&folder.recipe(), &[])?;
    refuse(&recipe, model)?;
    let path = folder.checkpoint();
    if !path.is_file() {
        return Err(Error::usage(format!("{} is not there", path.display())));
    }
    let last = Checkpoint::read(&path)?;
    let infos: Vec<ParamInfo> = trainable(model);
    for info in &infos {
        let ParamSpec { name, shape, .. } = &info.spec;
        let same = last
            .weight(name, shape.dims())
            .is_ok_and(|values| model.weight(name).is_some_and(|own| own.iter().eq(values.iter())));
        if !same {
            return Err(Error::usage(other_weights(&recipe, &last)));
        }
    }
    let lr = last.progress().history.last().map_or_else(|| recipe.optimizer.lr(), |e| e.lr);
    let updates = last.scalars().updates;
    let (class, mut settings) = settings(&recipe.optimizer, lr, updates)?;
    let found = Variables::find(model, output, &infos)?;
    let (decay, mut notes) = decay(&recipe.optimizer, &found, &infos)?;
    let mut variables =
        vec![Tensor::new(&[], vec![updates as i64])?, Tensor::new(&[], vec![lr as f32])?];
    for group in slots(&recipe.optimizer, lr).unwrap_or_default() {
        for variable in &found.all {
            for (slot, factor) in &group {
                variables.push(variable.state(&last, slot, *factor, &infos)?);
            }
        }
    }
    let (loss, loss_weight, mut differences) = loss(&recipe, model);
    settings["weight_decay"] = json!(decay);
    if found.all.iter().any(|variable| variable.name == "embeddings") {
        let optimizer = &recipe.optimizer;
        if optimizer.clip_norm.is_none() && optimizer.clip_value.is_none() {
            settings["global_clipnorm"] = json!(NO_BOUND);
        } else {
            notes.push(
                "Keras on TensorFlow bounds the gradient of each row that reads an embedding, and adds them \
                 then: optimizer.clip_norm and clip_value differ"
                    .into(),
            );
        }
    }
    let line =
        format!("{class} with a rate of {} and its state after {updates} steps", setting(lr));
    notes.append(&mut differences);
    notes.extend(others(&recipe, model));
    let metrics =
        if model.file().classes.is_empty() { json!(["mae"]) } else { json!(["accuracy"]) };
    let training = Training {
        optimizer: class.into(),
        settings,
        metrics: if loss.is_null() { Json::Null } else { metrics },
        loss,
        loss_weights: loss_weight.map_or(Json::Null, |weight| json!([weight])),
        variables,
        layers: Vec::new(),
    };
    Ok(Continued { training, line, notes })
}

fn trainable(model: &mut TableModel) -> Vec<ParamInfo> {
    let infos = model.parts().1.params().infos().iter();
    infos.filter(|info| info.spec.segment == Segment::Trainable).cloned().collect()
}

/// Models whose outputs are trained otherwise than the file's.
fn refuse(recipe: &Recipe, model: &TableModel) -> Result<()> {
    let (file, optimizer) = (model.file(), &recipe.optimizer);
    let problems = [
        (
            file.networks.is_some(),
            "each network of train.bags has an optimiser of its own, and the file is their mean",
        ),
        (
            file.network.members().is_some(),
            "each member has a loss of its own (model.members), and the file is their mean",
        ),
        (
            file.temperature() != 1.0,
            "the file divides logits by a temperature, which training does not \
             (train.temperature = false)",
        ),
        (model.transforms().target.log, "the loss is that of logarithms (data.target_log)"),
        (
            optimizer.ema.is_some(),
            "the file has the running average of the weights (optimizer.ema)",
        ),
        (optimizer.ntk, "Keras has no rate for each matrix (optimizer.ntk)"),
        (optimizer.max_norm.is_some(), "Keras has no optimizer.max_norm"),
        (
            optimizer.clip_norm.is_some() && optimizer.clip_value.is_some(),
            "Keras takes one of optimizer.clip_norm and optimizer.clip_value",
        ),
        (
            optimizer.weight_decay_schedule != DecaySchedule::Constant,
            "Keras has no optimizer.weight_decay_schedule",
        ),
    ];
    match problems.iter().find(|(found, _)| *found) {
        Some((_, message)) => Err(Error::usage(*message)),
        None => Ok(()),
    }
}

/// Why a checkpoint has other weights than the model.
fn other_weights(recipe: &Recipe, last: &Checkpoint) -> String {
    if recipe.train.refit {
        return "the file has the network that was trained anew on all rows, whose optimiser is not kept \
                (train.refit = false)"
            .into();
    }
    let progress = last.progress();
    match progress.best {
        Some(best) => format!(
            "it belongs to the weights of the last epoch, {}, and the file has those of the best one, {} \
             (train.restore_best = false keeps the last)",
            progress.epoch, best.epoch
        ),
        None => "it belongs to other weights than those of the model".into(),
    }
}

/// The class and the settings of an optimiser of Keras, for the step after so many.
fn settings(config: &OptimizerConfig, lr: f64, updates: u64) -> Result<(&'static str, Json)> {
    let mut settings = json!({
        "learning_rate": lr,
        "clipnorm": null,
        "global_clipnorm": config.clip_norm,
        "clipvalue": config.clip_value,
        "use_ema": false,
        "ema_momentum": 0.99,
        "ema_overwrite_frequency": null,
        "loss_scale_factor": null,
        "gradient_accumulation_steps": null,
    });
    let given = &config.settings;
    let (class, own) = match config.kind {
        OptimizerKind::Adam | OptimizerKind::AdamW => {
            let (name, rule) = if config.kind == OptimizerKind::Adam {
                ("Adam", Adam::read(given))
            } else {
                let AdamW { betas, eps, amsgrad, eps_first } = AdamW::read(given);
                ("AdamW", Adam { betas, eps, amsgrad, eps_first })
            };
            let [beta1, beta2] = rule.betas;
            // √v + ε there, √(v / c) + ε here, with c = 1 − β₂ᵗ.
            let correction = (1.0 - beta2.powf((updates + 1) as f64)).sqrt();
            let eps = if rule.eps_first { rule.eps } else { rule.eps * correction };
            (
                name,
                json!({ "beta_1": beta1, "beta_2": beta2, "epsilon": eps, "amsgrad": rule.amsgrad }),
            )
        }
        OptimizerKind::Sgd => {
            let Sgd { momentum, dampening, nesterov } = Sgd::read(given);
            if dampening != 0.0 {
                return Err(Error::usage("Keras has no optimizer.dampening"));
            }
            ("SGD", json!({ "momentum": momentum, "nesterov": nesterov }))
        }
        OptimizerKind::RmsProp => {
            let RmsProp { eps, momentum, alpha, centered, eps_first } = RmsProp::read(given);
            let own = json!({
                "rho": alpha,
                "momentum": momentum,
                "epsilon": if eps_first { eps } else { eps * eps },
                "centered": centered,
            });
            ("RMSprop", own)
        }
        OptimizerKind::Adagrad => {
            let Adagrad { eps, lr_decay, initial_accumulator_value, eps_first } =
                Adagrad::read(given);
            if lr_decay != 0.0 {
                return Err(Error::usage("Keras has no optimizer.lr_decay"));
            }
            let own = json!({
                "initial_accumulator_value": initial_accumulator_value,
                "epsilon": if eps_first { eps } else { eps * eps },
            });
            ("Adagrad", own)
        }
        OptimizerKind::Lion => {
            let [beta1, beta2] = Lion::read(given).betas;
            if beta1 == 0.0 {
                return Err(Error::usage("Keras' Lion needs a first beta above 0"));
            }
            ("Lion", json!({ "beta_1": beta1, "beta_2": beta2 }))
        }
        kind @ (OptimizerKind::Adafactor | OptimizerKind::Muon | OptimizerKind::Lbfgs) => {
            return Err(Error::usage(format!("{kind} has no counterpart in Keras")));
        }
    };
    for (key, value) in own.as_object().into_iter().flatten() {
        settings[key] = value.clone();
    }
    settings["name"] = json!(class.to_lowercase());
    Ok((class, settings))
}

/// The trained variables of the exported model, in Keras' order.
struct Variables {
    all: Vec<Variable>,
}

/// A variable of Keras.
struct Variable {
    /// As Keras names it: kernel, bias, …
    name: &'static str,
    dims: Vec<usize>,
    /// The place of each element among our trained values.
    places: Vec<usize>,
    /// The parameter that the elements belong to.
    info: usize,
}

impl Variables {
    /// Finds each element of Keras' weights among ours: a copy of the model with numbers in place
    /// of its weights is exported as well.
    fn find(model: &mut TableModel, output: &str, infos: &[ParamInfo]) -> Result<Self> {
        let layers = weighted(&to_onnx(model)?, &[output])?;
        let values: Vec<f32> = infos
            .iter()
            .flat_map(|info| model.weight(&info.spec.name).unwrap_or_default().to_vec())
            .collect();
        if values.len() >= EXACT {
            return Err(Error::usage(format!(
                "the model has {} weights; the state of at most {EXACT} is written",
                values.len()
            )));
        }
        let numbered = number(model, infos, |i| (i + 1) as f32).and_then(|()| to_onnx(model));
        number(model, infos, |i| values[i])?;
        let numbered = weighted(&numbered?, &[output])?;
        let mut all = Vec::new();
        for (layer, numbers) in layers.iter().zip(&numbered).filter(|(layer, _)| layer.trainable) {
            for (i, (array, numbers)) in layer.arrays.iter().zip(&numbers.arrays).enumerate() {
                let variable = Variable::find(layer, i, array, numbers, (&values, infos));
                all.push(variable.ok_or_else(|| {
                    Error::usage(format!(
                        "the layer `{}` ({}) is trained there, and is no weight here",
                        layer.name, layer.class
                    ))
                })?);
            }
        }
        let mut found = vec![false; values.len()];
        for variable in &all {
            for &place in &variable.places {
                found[place] = true;
            }
        }
        match found.iter().position(|found| !found) {
            None => Ok(Self { all }),
            Some(place) => Err(Error::usage(format!(
                "`{}` is trained here, and is a constant of the file",
                infos[of_place(infos, place).unwrap_or(0)].spec.name
            ))),
        }
    }
}

/// Puts a number in each trained value, by its place.
fn number(model: &mut TableModel, infos: &[ParamInfo], value: impl Fn(usize) -> f32) -> Result<()> {
    let params = model.parts().1.params_mut();
    let mut place = 0;
    for info in infos {
        let Some(id) = params.id(&info.spec.name) else { continue };
        for x in params.values_mut::<f32>(id)? {
            *x = value(place);
            place += 1;
        }
    }
    Ok(())
}

/// The parameter of a trained value.
fn of_place(infos: &[ParamInfo], place: usize) -> Option<usize> {
    let mut end = 0;
    infos.iter().position(|info| {
        end += info.spec.shape.len();
        place < end
    })
}

impl Variable {
    /// The i-th array of a layer, where each of its elements is one of our trained values.
    fn find(
        layer: &Weighted,
        i: usize,
        array: &Tensor,
        numbers: &Tensor,
        (values, infos): (&[f32], &[ParamInfo]),
    ) -> Option<Self> {
        let name = match (layer.class.as_str(), i) {
            ("Embedding", _) => "embeddings",
            ("LayerNormalization", 0) => "gamma",
            ("LayerNormalization", _) => "beta",
            (_, 0) => "kernel",
            _ => "bias",
        };
        let (own, numbers) = (array.data().floats()?, numbers.data().floats()?);
        let mut places = Vec::with_capacity(own.len());
        for (x, number) in own.iter().zip(&numbers) {
            let place = (*number as usize).checked_sub(1)?;
            // The number of another value would be no whole one, or the value another.
            let same = *number == (place + 1) as f64
                && values.get(place).is_some_and(|own| f64::from(*own) == *x);
            places.push(same.then_some(place)?);
        }
        let info = of_place(infos, *places.first()?)?;
        let alone = places.iter().all(|place| of_place(infos, *place) == Some(info));
        alone.then(|| Self { name, dims: array.dims().to_vec(), places, info })
    }

    /// A tensor of the optimiser's state in Keras' order, times a factor.
    fn state(
        &self,
        last: &Checkpoint,
        slot: &str,
        factor: f64,
        infos: &[ParamInfo],
    ) -> Result<Tensor> {
        let ParamSpec { name, shape, .. } = &infos[self.info].spec;
        let values = last.state(&format!("{slot}.{name}"), shape.dims())?;
        let before: usize = infos[..self.info].iter().map(|info| info.spec.shape.len()).sum();
        let values = self.places.iter().map(|place| {
            (f64::from(values.get(place - before).copied().unwrap_or_default()) * factor) as f32
        });
        Ok(Tensor::new(&self.dims, values.collect::<Vec<_>>())?)
    }
}

/// The weight decay of all variables, and what the caller does to except some of them, which no
/// file of Keras says.
///
/// # Errors
/// Parameters have rates, penalties or decays that Keras cannot have.
fn decay(
    config: &OptimizerConfig,
    found: &Variables,
    infos: &[ParamInfo],
) -> Result<(Option<f64>, Vec<String>)> {
    let of = |variable: &Variable| config.of_parameter(&infos[variable.info].spec);
    for variable in &found.all {
        let (settings, name) = (of(variable), &infos[variable.info].spec.name);
        if settings.lr_scale != 1.0 {
            return Err(Error::usage(format!("`{name}` has a rate of its own (optimizer.groups)")));
        }
        if settings.l1 != 0.0 || settings.l2 != 0.0 {
            return Err(Error::usage(format!(
                "`{name}` has a penalty (optimizer.l1, optimizer.l2)"
            )));
        }
    }
    let decays: Vec<f64> = found.all.iter().map(|v| of(v).weight_decay).collect();
    let Some(decay) = decays.iter().copied().find(|decay| *decay != 0.0) else {
        return Ok((None, Vec::new()));
    };
    if !matches!(config.kind, OptimizerKind::AdamW | OptimizerKind::Lion) {
        return Err(Error::usage(format!(
            "the weight decay of {} is part of the gradient, and Keras' is not",
            config.kind
        )));
    }
    let names = |decayed: bool| {
        let all = found.all.iter().zip(&decays).filter(|(_, decay)| (**decay != 0.0) == decayed);
        let mut names: Vec<&str> = all.map(|(variable, _)| variable.name).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let (decayed, others) = (names(true), names(false));
    let apart = others.iter().all(|name| !decayed.contains(name));
    if !apart || decays.iter().any(|other| *other != 0.0 && *other != decay) {
        let message = "weights have several weight decays, which Keras cannot tell by their names";
        return Err(Error::usage(message));
    }
    let note = (!others.is_empty()).then(|| {
        let names = serde_json::to_string(&others).unwrap_or_default().replace(',', ", ");
        format!(
            "Keras decays all weights: before fit, call model.optimizer.exclude_from_weight_decay(var_names={names})"
        )
    });
    Ok((Some(decay), note.into_iter().collect()))
}

/// The loss, what it is multiplied by, and where it differs. Numbers are learned in units of their
/// deviation, and the file gives them in the target's own.
fn loss(recipe: &Recipe, model: &TableModel) -> (Json, Option<f64>, Vec<String>) {
    let (file, config) = (model.file(), &recipe.loss);
    let class = |name: &str, mut settings: Json| {
        settings["reduction"] = json!("sum_over_batch_size");
        json!({
            "module": "keras.losses", "class_name": name, "config": settings, "registered_name": null,
        })
    };
    let mut notes = Vec::new();
    if file.classes.is_empty() {
        let std = model.transforms().target.std;
        let LossConfig { kind, delta, .. } = config;
        let (name, settings, power) = match kind {
            LossKind::Auto | LossKind::Regression(RegressionLoss::Mse) => {
                ("MeanSquaredError", json!({}), 2)
            }
            LossKind::Regression(RegressionLoss::Mae) => ("MeanAbsoluteError", json!({}), 1),
            LossKind::Regression(RegressionLoss::Huber { delta: default }) => {
                ("Huber", json!({ "delta": delta.unwrap_or(*default) * std }), 2)
            }
            _ => return (Json::Null, None, vec![unknown(config)]),
        };
        let weight = (std != 1.0).then(|| std.powi(-power));
        return (class(name, settings), weight, notes);
    }
    if !matches!(config.kind, LossKind::Auto | LossKind::CrossEntropy | LossKind::Bce) {
        return (Json::Null, None, vec![unknown(config)]);
    }
    if config.balanced || config.class_weights.is_some() || config.pos_weight.is_some() {
        notes.push("the weights of classes are not in the file: pass class_weight to fit".into());
    }
    let names = file.classes.iter().enumerate().map(|(i, name)| format!("{i} {name}"));
    let names = names.take(12).collect::<Vec<_>>().join(", ");
    if config.label_smoothing > 0.0 {
        notes.push(format!("fit takes a column of 0 and 1 for each class: {names}"));
        let settings = json!({ "label_smoothing": config.label_smoothing, "from_logits": false });
        return (class("CategoricalCrossentropy", settings), None, notes);
    }
    notes.push(format!("fit takes the numbers of classes: {names}"));
    (class("SparseCategoricalCrossentropy", json!({ "from_logits": false })), None, notes)
}

fn unknown(config: &LossConfig) -> String {
    let kind = serde_json::to_value(config.kind).unwrap_or_default();
    let kind = kind.as_str().unwrap_or("this").to_owned();
    format!(
        "the loss {kind} has no counterpart: model.compile(model.optimizer, loss=...) sets another and keeps the optimiser"
    )
}

/// What training has beyond network, optimiser and loss.
fn others(recipe: &Recipe, model: &TableModel) -> Vec<String> {
    let (train, network) = (&recipe.train, &model.file().network);
    let unseen = !network.cardinalities.is_empty() && recipe.data.categories.unseen > 0.0;
    let parts = [
        (network.network.dropout > 0.0, "model.dropout"),
        (network.network.input_dropout > 0.0, "model.input_dropout"),
        (train.input_noise > 0.0, "train.input_noise"),
        (train.mixup > 0.0, "train.mixup"),
        (unseen, "data.categories.unseen"),
    ];
    let parts: Vec<&str> = parts.iter().filter(|(on, _)| *on).map(|(_, key)| *key).collect();
    let schedule = recipe.schedule.kind.name();
    let rate = (schedule != "constant").then(|| {
        format!("the schedule {schedule}: the rate is that of the last step and stays so")
    });
    let parts = (!parts.is_empty()).then(|| parts.join(", ") + ": Keras trains without");
    rate.into_iter().chain(parts).collect()
}
