//! The report of an encoder's run: that of a table, with the layers of the encoder.

use super::network::Base;
use super::recipe::{EncoderTable, SequenceRecipe};
use crate::error::Result;
use crate::table::report::{Snapshot, gather_with};
use crate::table::scores::PartReports;
use ff_graph::ParamInfo;
use ff_nn::models::EncoderHead;
use ff_report::{Layer, Model, ReportData};
use ff_tensor::Device;

pub(super) fn gather(
    snapshot: &Snapshot<'_>,
    base: &Base,
    recipe: &SequenceRecipe,
    reports: Option<&PartReports>,
) -> Result<ReportData> {
    let layers = layers(base, &recipe.model)?;
    let model = Model { summary: snapshot.run.work.layers.clone(), layers };
    Ok(gather_with(snapshot, model, reports))
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
