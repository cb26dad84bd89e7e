//! The report of an encoder's run: that of a table, with the layers of the encoder.

use super::learner::Learner;
use super::network::Base;
use super::origin::Origin;
use super::recipe::EncoderTable;
use crate::error::Result;
use crate::language::TASK_HEAD as HEAD;
use crate::table::report::{Snapshot, gather_with};
use crate::table::scores::PartReports;
use crate::words::count;
use ff_graph::ParamInfo;
use ff_nn::models::{EncoderHead, MlpConfig};
use ff_report::{Layer, Model, ReportData};
use ff_tensor::Device;

pub(super) fn gather(
    snapshot: &Snapshot<'_>,
    layers: Vec<Layer>,
    reports: Option<&PartReports>,
) -> ReportData {
    let model = Model { summary: snapshot.run.work.layers.clone(), layers };
    gather_with(snapshot, model, reports)
}

/// The layers of an encoder or a table of vectors, and of a head of this program.
///
/// # Errors
/// The network cannot be built.
pub(super) fn learner_layers(
    origin: &Origin,
    model: &EncoderTable,
    head: Option<&MlpConfig>,
) -> Result<Vec<Layer>> {
    let mut found = match origin {
        Origin::Encoder(base) => layers(base, model)?,
        Origin::Table(_) => Vec::new(),
    };
    let Some(config) = head else { return Ok(found) };
    let (_, graph) = Learner::build(origin, model, head, 0, &Device::planning())?;
    let mut infos: Vec<&ParamInfo> = Vec::new();
    infos.extend(graph.params().infos().iter().filter(|info| info.spec.name.starts_with(HEAD)));
    let mut last = config.in_features();
    let mut add = |part: &str, name: String, kind: String| {
        let prefix = format!("{HEAD}.{part}.");
        let mine: Vec<_> = infos.iter().filter(|i| i.spec.name.starts_with(&prefix)).collect();
        if !mine.is_empty() {
            found.push(Layer {
                name,
                kind,
                parameters: mine.iter().map(|info| info.spec.shape.len() as u64).sum(),
                frozen: mine.iter().all(|info| info.spec.segment.is_frozen()),
                ..Layer::default()
            });
        }
    };
    if let Some(rows) = config.texts.first() {
        let kind = format!("mean of the vectors of {} tokens", count(*rows as u64));
        add("texts", "static embeddings".into(), kind);
    }
    for (i, ids) in config.cardinalities.iter().enumerate() {
        add(&format!("embeddings.{i}"), format!("category {i}"), format!("{ids} ids"));
    }
    for (i, &width) in config.network.hidden.iter().enumerate() {
        add(&format!("layers.{i}"), format!("hidden layer {i}"), format!("{last} → {width}"));
        last = width;
    }
    add("output", "head".into(), format!("{last} → {}", config.outputs));
    Ok(found)
}

/// The embeddings, each layer, and the head.
///
/// # Errors
/// The encoder cannot be built.
pub(crate) fn layers(base: &Base, model: &EncoderTable) -> Result<Vec<Layer>> {
    let (_, graph) = base.build(model, 0, &Device::planning())?;
    let config = &base.config;
    let layer = |depth: usize| {
        let infos = graph.params().infos().iter();
        let mine: Vec<&ParamInfo> =
            infos.filter(|info| config.depth_of(&info.spec.name) == depth).collect();
        let (name, kind) = match depth {
            0 => ("embeddings".to_owned(), format!("{} tokens", config.vocab_size)),
            depth if depth <= config.layers => {
                let kind =
                    format!("{} heads, {} hidden features", config.heads, config.intermediate_size);
                (format!("layer {}", depth - 1), kind)
            }
            _ => {
                let outputs = match config.head {
                    EncoderHead::MaskedLm => format!("{} tokens", config.vocab_size),
                    EncoderHead::Tokens => format!("each token, {} outputs", config.labels),
                    _ if config.mean_pooled => format!("mean, {} outputs", config.labels),
                    _ => format!("first token, {} outputs", config.labels),
                };
                ("head".to_owned(), outputs)
            }
        };
        Layer {
            name,
            kind,
            parameters: mine.iter().map(|info| info.spec.shape.len() as u64).sum(),
            frozen: mine.iter().all(|info| info.spec.segment.is_frozen()),
            ..Layer::default()
        }
    };
    let depths = config.layers + usize::from(config.head != EncoderHead::None);
    Ok((0..=depths).map(layer).collect())
}
