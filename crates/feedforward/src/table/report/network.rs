//! The layers, and what the run took beside what was planned.

use super::{Facts, Outcome, words};
use ff_graph::ParamInfo;
use ff_nn::models::Mlp;
use ff_nn::{Builder, NormKind};
use ff_report::{Layer, Model, Resource, Unit};
use ff_tensor::{DType, Device};

pub(super) fn layers(facts: &Facts<'_>) -> Model {
    let mut builder = Builder::new();
    let config = &facts.file.network;
    drop(Mlp::new(&mut builder, config));
    // A device that only counts: names and shapes without values.
    let params = builder.build(&Device::planning(), DType::F32, 0, false);
    let infos = params.as_ref().map_or(&[][..], |params| params.infos());
    let network = &config.network;
    let train = &facts.recipe.train;
    let rows = (train.batch_size * train.accumulate).min(facts.prepared.train.rows) as u64;
    let dropout = |name: &str, share: f64| Layer {
        name: name.into(),
        kind: format!("dropout {}", words::number(share)),
        ..Layer::default()
    };

    let mut layers = Vec::new();
    let ids = facts.prepared.transforms.categorical_names();
    for (i, column) in ids.iter().enumerate() {
        let kind = format!("embedding of {column}");
        layers.extend(layer(infos, &format!("embeddings.{i}"), &kind, None));
    }
    if network.input_dropout > 0.0 {
        layers.push(dropout("input", network.input_dropout));
    }
    let activation = words::name(&network.activation);
    for i in 0..network.hidden.len() {
        let name = format!("layers.{i}");
        // The gradient of the inputs is wanted only where something behind them is trained.
        let passes = if i == 0 && ids.is_empty() { 2 } else { 3 };
        let cost = Some((rows, passes));
        layers.extend(layer(infos, &name, &format!("feedforward, {activation}"), cost));
        if network.norm != NormKind::None {
            let kind = format!("{} norm", words::name(&network.norm));
            layers.extend(layer(infos, &format!("{name}.norm"), &kind, None));
        }
        layers.extend(layer(infos, &format!("{name}.activation"), &activation, None));
        if network.dropout > 0.0 {
            layers.push(dropout(&format!("{name}.dropout"), network.dropout));
        }
        for (key, layer) in network.layers() {
            let (name, cost) = (format!("{name}.{key}"), (rows, 3));
            layers.extend(several(infos, &name, &layer.summary(), cost));
        }
    }
    let passes = if network.hidden.is_empty() && ids.is_empty() { 2 } else { 3 };
    layers.extend(layer(infos, "output", "feedforward", Some((rows, passes))));
    Model { summary: facts.layers.into(), layers }
}

/// A layer of several parts, whose names have this prefix.
fn several(infos: &[ParamInfo], name: &str, kind: &str, cost: (u64, u64)) -> Option<Layer> {
    let prefixes = infos.iter().filter_map(|info| Some(info.spec.name.rsplit_once('.')?.0));
    let mut parts: Vec<&str> = prefixes.filter(|prefix| prefix.starts_with(name)).collect();
    parts.dedup();
    let parts = parts.into_iter().filter_map(|part| layer(infos, part, kind, Some(cost)));
    let sum = |sum: Layer, part: Layer| Layer {
        parameters: sum.parameters + part.parameters,
        flop: sum.flop + part.flop,
        ..sum
    };
    Some(Layer { name: name.into(), ..parts.reduce(sum)? })
}

/// The layer whose parameters have this prefix; `cost` is rows a step and products a row with each weight.
fn layer(infos: &[ParamInfo], name: &str, kind: &str, cost: Option<(u64, u64)>) -> Option<Layer> {
    let mine: Vec<&ParamInfo> = infos
        .iter()
        .filter(|info| info.spec.name.rsplit_once('.').is_some_and(|(prefix, _)| prefix == name))
        .collect();
    let first = mine.first()?;
    let dims: Vec<String> = first.spec.shape.dims().iter().map(ToString::to_string).collect();
    let weights = first.spec.shape.len() as u64;
    Some(Layer {
        name: name.into(),
        kind: kind.into(),
        shape: format!("[{}]", dims.join(", ")),
        parameters: mine.iter().map(|info| info.spec.shape.len() as u64).sum(),
        frozen: false,
        flop: cost.map_or(0, |(rows, products)| 2 * rows * products * weights),
    })
}

pub(super) fn resources(facts: &Facts<'_>) -> Vec<Resource> {
    let (planned, progress) = (facts.measured, facts.progress);
    let train = &facts.recipe.train;
    let rows = facts.prepared.train.rows;
    let resource = |name: &str, planned: Option<f64>, measured: Option<f64>, unit| Resource {
        name: name.into(),
        planned,
        measured,
        unit,
    };
    let bytes = |name, count: usize| resource(name, Some(count as f64), None, Unit::Bytes);
    let (pool, process) = match &facts.outcome {
        Outcome::Finished { summary, .. } => (summary.pool_bytes, summary.peak_bytes),
        _ => (facts.device.pool().stats().reserved, crate::memory::process_peak_bytes()),
    };
    let step = (progress.step > 0).then(|| progress.seconds / progress.step as f64);
    // The last batch of an epoch may be short, so rows are counted by the epoch.
    let rows_a_step = rows as f64 / train.steps_per_epoch(rows).max(1) as f64;
    let rate = |amount: f64| step.filter(|s| *s > 0.0).map(|seconds| amount / seconds);
    let mut all = vec![
        bytes("parameters", planned.parameter_bytes),
        bytes("gradients", planned.gradient_bytes),
        bytes("optimiser state", planned.optimizer_bytes),
        bytes("activations of a step", planned.activation_bytes),
        resource(
            "pool and arena, at most",
            Some(planned.peak_bytes as f64),
            Some(pool as f64),
            Unit::Bytes,
        ),
    ];
    if process > 0 {
        let planned = crate::plan::process_bytes(facts.prepared, planned);
        let measured = Some(process as f64);
        all.push(resource("process, at most", Some(planned as f64), measured, Unit::Bytes));
    }
    all.extend([
        resource(
            "optimiser steps, at most",
            Some(train.total_steps(rows) as f64),
            Some(progress.step as f64),
            Unit::Count,
        ),
        resource("arithmetic of a step", Some(planned.flops as f64), None, Unit::Flop),
        resource("a step, evaluation included", None, step, Unit::Seconds),
        resource("rows", None, rate(rows_a_step), Unit::PerSecond),
        resource("arithmetic a second", None, rate(planned.flops as f64), Unit::Flop),
    ]);
    all
}
