//! The layers.

use super::snapshot::Snapshot;
use crate::words;
use ff_graph::ParamInfo;
use ff_nn::models::Mlp;
use ff_nn::{Builder, NormKind};
use ff_report::{Layer, Model};
use ff_tensor::{DType, Device};

pub(super) fn layers(snapshot: &Snapshot<'_>) -> Model {
    let mut builder = Builder::new();
    let config = &snapshot.file.network;
    drop(Mlp::new(&mut builder, config));
    // A device that only counts: names and shapes without values.
    let params = builder.build(&Device::planning(), DType::F32, 0, false);
    let infos = params.as_ref().map_or(&[][..], |params| params.infos());
    let network = &config.network;
    let train = &snapshot.recipe.train;
    let rows = (train.batch_size * train.accumulate).min(snapshot.prepared.train.rows) as u64;
    let dropout = |name: &str, share: f64| Layer {
        name: name.into(),
        kind: format!("dropout {}", words::number(share)),
        ..Layer::default()
    };

    let members = config.members().unwrap_or(1) as u64;
    let constant = config.cardinalities.is_empty() && config.texts.is_empty();
    let mut layers = Vec::new();
    let form = if network.numeric.periodic().is_some() { "periodic" } else { "piecewise-linear" };
    layers.extend(layer(infos, "numeric", &format!("numbers as {form} vectors"), None));
    let ids = snapshot.prepared.transforms.categorical_names();
    for (i, column) in ids.iter().enumerate() {
        let kind = format!("embedding of {column}");
        layers.extend(layer(infos, &format!("embeddings.{i}"), &kind, None));
    }
    let texts = snapshot.prepared.transforms.texts();
    for (i, (column, _)) in texts.enumerate() {
        let kind = format!("n-grams of {column}, sparse linear");
        layers.extend(layer(infos, &format!("texts.{i}"), &kind, None));
    }
    if config.texts_alone() {
        return Model { summary: snapshot.run.work.layers.clone(), layers };
    }
    if network.input_dropout > 0.0 {
        layers.push(dropout("input", network.input_dropout));
    }
    if network.front_scale {
        layers.extend(layer(infos, "input", "a factor for each input", None));
    }
    let activation = words::name(&network.activation);
    for i in 0..network.hidden.len() {
        let name = format!("layers.{i}");
        // The gradient of the inputs is wanted only where something behind them is trained.
        let passes = if i == 0 && constant { 2 } else { 3 };
        let cost = Some((rows * members, passes));
        let kind = if config.members().is_some() { "batch ensemble" } else { "feedforward" };
        layers.extend(layer(infos, &name, &format!("{kind}, {activation}"), cost));
        if network.norm != NormKind::None {
            let kind = format!("{} norm", words::name(&network.norm));
            layers.extend(layer(infos, &format!("{name}.norm"), &kind, None));
        }
        layers.extend(layer(infos, &format!("{name}.activation"), &activation, None));
        if network.dropout > 0.0 {
            layers.push(dropout(&format!("{name}.dropout"), network.dropout));
        }
        for (key, layer) in network.layers() {
            let (name, cost) = (format!("{name}.{key}"), (rows * members, 3));
            layers.extend(several(infos, &name, &layer.summary(), cost));
        }
    }
    let passes = if network.hidden.is_empty() && constant { 2 } else { 3 };
    let kind = if config.members().is_some() { "a linear layer a member" } else { "feedforward" };
    layers.extend(layer(infos, "output", kind, Some((rows, passes))));
    Model { summary: snapshot.run.work.layers.clone(), layers }
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

/// The layer whose parameters have this prefix; `cost` is rows a step and products a row with each
/// weight.
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
