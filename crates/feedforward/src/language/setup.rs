//! From a recipe to a model, its graph, its trainer and its plan.

use super::corpus::Corpus;
use super::run::{windows, windows_of};
use super::{PretrainRecipe, WindowOrder};
use crate::{Error, Result, language};
use ff_graph::Graph;
use ff_kernels::{bf16_peak, fma_peak};
use ff_nn::models::{CausalLm, DecoderConfig, Family, LanguageOptions};
use ff_nn::{Builder, ConfigError, Precision};
use ff_tensor::{DType, Device};
use ff_text::Tokenizer;
use ff_train::language::{LanguageObjective, Tokens};
use ff_train::optim::Optimizer;
use ff_train::schedule::Schedule;
use ff_train::{TrainConfig, Trainer};
use std::collections::BTreeSet;
use std::path::Path;

/// Evaluations of a run where the recipe does not say how often.
const EVALUATIONS: u64 = 20;

/// Stands for the tokenizer's vocabulary before there is one.
const VOCABULARY: usize = 1 << 10;

/// A model with its parameters on a device.
pub(super) struct Setup {
    pub(super) model: CausalLm,
    pub(super) graph: Graph,
}

/// What a model is made from, but for what the tokenizer says.
fn base_config(recipe: &PretrainRecipe) -> Result<serde_json::Map<String, serde_json::Value>> {
    let table = &recipe.model;
    let file = match (&table.from, &table.config_file) {
        (Some(_), Some(_)) => {
            let message = "and model.from exclude each other: a model that training goes on from brings its config";
            return Err(ConfigError::new("model.config_file", message).into());
        }
        (Some(from), None) => Some(language::model_folder(from)?.join("config.json")),
        (None, file) => file.clone(),
    };
    let mut json = match &file {
        None => serde_json::Map::new(),
        Some(path) => read_object(path)?,
    };
    if table.from.is_some() && !table.config.is_empty() {
        let message = "and model.from exclude each other: the weights that are there have the shapes of their config";
        return Err(ConfigError::new("model.config", message).into());
    }
    json.extend(table.config.clone());
    Ok(json)
}

fn read_object(path: &Path) -> Result<serde_json::Map<String, serde_json::Value>> {
    let text = std::fs::read_to_string(path).map_err(ff_formats::Error::io(path, "reading"))?;
    match serde_json::from_str(&text) {
        Ok(serde_json::Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::run(path, "is no config: expected a JSON object")),
        Err(error) => Err(Error::run(path, format!("is not valid JSON: {error}"))),
    }
}

/// The family that the recipe states, if it states one of those that are supported.
fn family(recipe: &PretrainRecipe) -> Option<&'static Family> {
    Family::named(recipe.model.config.get("model_type")?.as_str()?)
}

/// Refuses a key that no decoder of this family reads: what was meant would silently not happen.
fn refuse_unknown(recipe: &PretrainRecipe) -> Result<(), ConfigError> {
    let known: BTreeSet<&str> = match family(recipe) {
        Some(family) => family.keys(),
        None => Family::all().iter().flat_map(|family| family.keys()).collect(),
    };
    let unknown = recipe.model.config.keys().find(|key| !known.contains(key.as_str()));
    let Some(key) = unknown else { return Ok(()) };
    let near = ff_settings::nearest(key, &known.into_iter().collect::<Vec<_>>());
    let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    let message = format!("is no key of a decoder's config{near}");
    Err(ConfigError::new(format!("model.config.{key}"), message))
}

/// Finds what is wrong with the model's config as far as the recipe holds it.
///
/// # Errors
/// A field is unknown; or, where there is no other file, missing or contradicting another one.
pub(super) fn check_own(recipe: &PretrainRecipe) -> Result<(), ConfigError> {
    refuse_unknown(recipe)?;
    let table = &recipe.model;
    if table.from.is_none() && table.config_file.is_none() {
        let json = filled(recipe, table.config.clone(), VOCABULARY, None);
        with_key(DecoderConfig::try_from(json))?;
    }
    Ok(())
}

/// Finds what is wrong with the model's config before any text is read.
///
/// # Errors
/// A field is missing, unknown or contradicts another one.
pub(super) fn check(recipe: &PretrainRecipe) -> Result<()> {
    refuse_unknown(recipe)?;
    let json = filled(recipe, base_config(recipe)?, VOCABULARY, None);
    with_key(DecoderConfig::try_from(json))?;
    Ok(())
}

/// The model's config, with the tokenizer's vocabulary and the context where it does not say.
///
/// # Errors
/// A field is missing, unknown or contradicts another one; the tokenizer has more tokens than the model; the context is
/// longer than the model's positions.
pub(super) fn config(recipe: &PretrainRecipe, tokenizer: &Tokenizer) -> Result<DecoderConfig> {
    let vocab = tokenizer.vocab_size();
    let json = filled(recipe, base_config(recipe)?, vocab, Some(tokenizer));
    let config = with_key(DecoderConfig::try_from(json))?;
    if config.vocab_size < vocab {
        return Err(ConfigError::new(
            "model.config.vocab_size",
            format!(
                "is {}, and the tokenizer has {vocab} tokens; leave it out, or take another tokenizer",
                config.vocab_size
            ),
        )
        .into());
    }
    let context = recipe.train.context;
    if context > config.max_positions {
        return Err(ConfigError::new(
            "train.context",
            format!(
                "{context} tokens need as many positions, and the model has {}; take a shorter context or more positions",
                config.max_positions
            ),
        )
        .into());
    }
    Ok(config)
}

fn with_key<T>(result: Result<T, ConfigError>) -> Result<T, ConfigError> {
    result.map_err(|e| ConfigError::new(format!("model.config.{}", e.key), e.message))
}

/// Puts in what a config need not say: the vocabulary, the positions, the tokens that begin and end a text.
fn filled(
    recipe: &PretrainRecipe,
    mut json: serde_json::Map<String, serde_json::Value>,
    vocab: usize,
    tokenizer: Option<&Tokenizer>,
) -> serde_json::Map<String, serde_json::Value> {
    let mut absent = |key: &str, value: serde_json::Value| {
        json.entry(key).or_insert(value);
    };
    absent("vocab_size", vocab.into());
    if recipe.model.from.is_none() {
        let positions = family(recipe).map_or("max_position_embeddings", |f| f.positions);
        absent(positions, recipe.train.context.into());
    }
    if let Some(special) = tokenizer.map(Tokenizer::special) {
        let id = |id: Option<u32>| id.map_or(serde_json::Value::Null, Into::into);
        absent("bos_token_id", id(special.bos.or(special.eos)));
        absent("eos_token_id", id(special.eos));
    }
    json
}

/// The model with first weights.
///
/// # Errors
/// Memory is short.
pub(super) fn build(
    recipe: &PretrainRecipe,
    config: &DecoderConfig,
    device: &Device,
) -> Result<Setup> {
    let options = LanguageOptions {
        precision: recipe.model.precision,
        recompute: recipe.model.recompute,
        z_loss: recipe.train.z_loss,
        label_smoothing: recipe.train.label_smoothing,
    };
    let mut builder = Builder::new();
    let model = CausalLm::new(&mut builder, config, &options);
    let params = builder.build(device, DType::F32, recipe.train.seed, true)?;
    Ok(Setup { model, graph: Graph::new(device, params) })
}

/// Puts in the weights that training goes on from, where the recipe names some.
///
/// # Errors
/// There is no such model, or a tensor has another shape.
pub(super) fn begin(
    recipe: &PretrainRecipe,
    config: &DecoderConfig,
    graph: &mut Graph,
) -> Result<()> {
    match &recipe.model.from {
        Some(from) => {
            language::read_weights(&language::model_folder(from)?, config, graph.params_mut())
        }
        None => Ok(()),
    }
}

/// The loop's view of the recipe.
fn train_config(recipe: &PretrainRecipe) -> TrainConfig {
    let train = &recipe.train;
    TrainConfig {
        epochs: train.passes,
        steps: train.steps,
        batch_size: train.batch_size,
        accumulate: train.accumulate,
        seed: train.seed,
        patience: 0,
        restore_best: false,
        checkpoint_seconds: train.checkpoint_seconds,
        threads: train.threads,
        ..TrainConfig::default()
    }
}

/// All optimiser steps over a corpus of so many tokens.
pub(super) fn total_steps(recipe: &PretrainRecipe, tokens: u64) -> u64 {
    let train = &recipe.train;
    let rows = windows(recipe).count(tokens);
    let pass = (rows / train.batch_size.saturating_mul(train.accumulate)).max(1) as u64;
    train.steps.unwrap_or(train.passes as u64 * pass)
}

/// A trainer at step 0.
///
/// # Errors
/// The optimiser's or the schedule's config does not hold together.
pub(super) fn trainer(
    recipe: &PretrainRecipe,
    graph: Graph,
    device: &Device,
    tokens: u64,
) -> Result<Trainer> {
    let optimizer =
        Optimizer::new(&recipe.optimizer, graph.params(), device).map_err(ff_train::Error::from)?;
    let schedule = Schedule::new(&recipe.schedule, recipe.optimizer.lr())
        .map_err(|e| ConfigError::new(format!("schedule.{}", e.key), e.message))?;
    let steps = total_steps(recipe, tokens);
    let every = recipe.train.eval_every.unwrap_or((steps / EVALUATIONS).max(1)).min(steps);
    let trainer = Trainer::new(graph, optimizer, schedule, train_config(recipe));
    Ok(trainer.with_period(every).without_best())
}

/// Tokens that an optimiser step predicts.
pub(super) fn tokens_per_step(recipe: &PretrainRecipe) -> u64 {
    let train = &recipe.train;
    (train.batch_size * train.accumulate * train.context) as u64
}

/// The sizes of a plan, found by running a step and an evaluation on a device that only counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) peak_bytes: usize,
    pub(crate) parameter_bytes: usize,
    pub(crate) gradient_bytes: usize,
    pub(crate) optimizer_bytes: usize,
    pub(crate) activation_bytes: usize,
    pub(crate) flops: u64,
    pub(crate) parameters: usize,
}

/// Plans a step and an evaluation.
///
/// # Errors
/// The shapes do not fit together.
pub(super) fn measure(
    recipe: &PretrainRecipe,
    config: &DecoderConfig,
    corpus: &Corpus,
) -> Result<Measured> {
    let device = Device::planning();
    let Setup { model, graph } = build(recipe, config, &device)?;
    let parameters = graph.params().trainable_len();
    let gradient_bytes = graph.params().trainable_len() * 4;
    let before = device.pool().stats().live;
    let mut trainer = trainer(recipe, graph, &device, corpus.data.train.tokens())?;
    let optimizer_bytes = device.pool().stats().live - before;
    let held = device.pool().stats().live;
    let valid = corpus.data.valid.as_ref();
    let batch = recipe.train.batch_size;
    let windows = windows_of(recipe, &corpus.tokenizer)?;
    let mut objective = LanguageObjective::new(
        &model,
        windows,
        &corpus.data.train,
        valid.map(|valid| valid as &dyn Tokens),
        batch,
    );
    let graph = trainer.graph_mut();
    let rows = batch * recipe.train.accumulate;
    let flops = crate::setup::plan_step(graph, &mut objective, 0..rows, batch)?;
    let activation_bytes = device.pool().stats().peak - held;
    if let Some(valid) = valid {
        let most = recipe.train.eval_windows;
        ff_train::language::evaluate(graph, &model, windows, valid, batch, most)?;
    }
    Ok(Measured {
        peak_bytes: device.pool().stats().reserved,
        parameter_bytes: parameters * 4,
        gradient_bytes,
        optimizer_bytes,
        activation_bytes,
        flops,
        parameters,
    })
}

/// The most floating-point operations a second of the products that the recipe asks for, measured now.
pub(super) fn peak_flops(recipe: &PretrainRecipe, device: &Device) -> f64 {
    match recipe.model.precision {
        Precision::F32 => fma_peak(device.cpu()),
        Precision::Bf16 => bf16_peak(device.cpu()).unwrap_or_else(|| fma_peak(device.cpu())),
    }
}

/// The model in one line.
pub(super) fn layers(config: &DecoderConfig) -> String {
    let heads = if config.heads == config.kv_heads {
        format!("{} heads", config.heads)
    } else {
        format!("{} heads over {}", config.heads, config.kv_heads)
    };
    let experts = config
        .moe
        .as_ref()
        .map_or(String::new(), |moe| format!(" · {} of {} experts", moe.top_k, moe.experts));
    format!(
        "{} · {} layers × {} · {heads}{experts} · {} tokens in the vocabulary",
        config.field("model_type").and_then(|v| v.as_str()).unwrap_or("decoder"),
        config.layers.len(),
        config.hidden_size,
        config.vocab_size
    )
}

/// Optimiser, rate, batch and length in one line.
pub(super) fn training_line(recipe: &PretrainRecipe, tokens: u64) -> String {
    let train = &recipe.train;
    let windows = match (train.windows, train.accumulate) {
        (_, n) if n > 1 => format!("{} × {n} windows", train.batch_size),
        (WindowOrder::Random, _) => format!("{} windows from anywhere", train.batch_size),
        (WindowOrder::Passes, _) => format!("{} windows", train.batch_size),
    };
    let steps = total_steps(recipe, tokens);
    let passes = steps as f64 * tokens_per_step(recipe) as f64 / tokens.max(1) as f64;
    let precision = match recipe.model.precision {
        Precision::F32 => "",
        Precision::Bf16 => " · bf16",
    };
    format!(
        "{} {} · {windows} of {} tokens · {steps} steps, {passes:.2} passes{precision}",
        recipe.optimizer.kind,
        recipe.optimizer.lr(),
        train.context
    )
}

/// What a `generation_config.json` says of where texts begin and end.
pub(super) fn generation(tokenizer: &Tokenizer) -> serde_json::Map<String, serde_json::Value> {
    let special = tokenizer.special();
    let ids = [
        ("bos_token_id", special.bos),
        ("eos_token_id", special.eos),
        ("pad_token_id", special.pad),
    ];
    ids.into_iter().filter_map(|(key, id)| Some((key.to_owned(), id?.into()))).collect()
}
