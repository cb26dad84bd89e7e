//! From a recipe to a network, its windows and the length of a run.

use super::objective::Windows;
use super::recipe::PretrainRecipe;
use super::tables::WindowOrder;
use crate::error::Result;
use crate::words::setting;
use ff_graph::Graph;
use ff_kernels::{bf16_peak, fma_peak};
use ff_nn::models::{CausalLm, DecoderConfig, LanguageOptions};
use ff_nn::{Builder, Precision};
use ff_settings::ConfigError;
use ff_tensor::{DType, Device};
use ff_text::{DocumentBorders, Tokenizer};

/// The model with first weights.
///
/// # Errors
/// Memory is short.
pub(super) fn build(
    recipe: &PretrainRecipe,
    config: &DecoderConfig,
    device: &Device,
) -> Result<(CausalLm, Graph)> {
    let options = LanguageOptions {
        precision: recipe.model.precision,
        recompute: recipe.model.recompute,
        z_loss: recipe.train.z_loss,
        label_smoothing: recipe.train.label_smoothing,
        skip_ignored: false,
    };
    let mut builder = Builder::new();
    let model = CausalLm::new(&mut builder, config, &options);
    let params = builder.build(device, DType::F32, recipe.train.seed, true)?;
    Ok((model, Graph::new(device, params)))
}

/// The optimiser steps over a corpus of this many tokens.
pub(super) fn total_steps(recipe: &PretrainRecipe, tokens: u64) -> u64 {
    let train = &recipe.train;
    let rows = windows(recipe).count(tokens);
    let pass = (rows / train.batch_size.saturating_mul(train.accumulate)).max(1) as u64;
    train.steps.unwrap_or(train.passes as u64 * pass)
}

/// Tokens that an optimiser step predicts.
pub(super) fn tokens_per_step(recipe: &PretrainRecipe) -> u64 {
    let train = &recipe.train;
    (train.batch_size * train.accumulate * train.context) as u64
}

/// The most floating-point operations a second of the products that the recipe asks for, measured
/// now.
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
        setting(recipe.optimizer.lr()),
        train.context
    )
}

/// The `generation_config.json` of a new model: the tokens that begin and end a text.
pub(super) fn generation(tokenizer: &Tokenizer) -> serde_json::Map<String, serde_json::Value> {
    let special = tokenizer.special();
    let ids = [
        ("bos_token_id", special.bos),
        ("eos_token_id", special.eos),
        ("pad_token_id", special.pad),
    ];
    ids.into_iter().filter_map(|(key, id)| Some((key.to_owned(), id?.into()))).collect()
}

/// How a recipe cuts windows, once there is a tokenizer.
pub(super) fn windows_of(recipe: &PretrainRecipe, tokenizer: &Tokenizer) -> Result<Windows> {
    let after = match &recipe.train.after {
        None => None,
        Some(token) => Some(tokenizer.id(token).ok_or_else(|| {
            let message = format!("\"{token}\" is not a token of the tokenizer");
            ConfigError::new("train.after", message)
        })? as i32),
    };
    Ok(Windows { after, ..windows(recipe) })
}

/// How a recipe cuts windows, without the token that only the tokenizer knows.
pub(super) fn windows(recipe: &PretrainRecipe) -> Windows {
    Windows {
        after: None,
        context: recipe.train.context,
        separate: recipe.data.documents == DocumentBorders::Separate,
        random: recipe.train.windows == WindowOrder::Random,
    }
}
