//! The report of an encoder's run: that of a table, with the layers of the encoder.

use super::network::Base;
use super::recipe::SequenceRecipe;
use crate::error::Result;
use crate::table::report::{Snapshot, gather_with};
use crate::table::scores::PartReports;
use crate::table::setup;
use ff_graph::ParamInfo;
use ff_report::{Layer, Model, ReportData};
use ff_tensor::Device;

pub(super) fn gather(
    snapshot: &Snapshot<'_>,
    base: &Base,
    recipe: &SequenceRecipe,
    reports: Option<&PartReports>,
) -> Result<ReportData> {
    let prepared = snapshot.prepared;
    let loss = setup::loss(&recipe.loss, &prepared.target, &prepared.train)?;
    let (_, graph) = base.build(recipe, loss, &Device::planning())?;
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
                let pooling = if config.mean_pooled { "mean" } else { "first token" };
                ("head".to_owned(), format!("{pooling}, {} outputs", config.labels))
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
    let layers = (0..=config.layers + 1).map(layer).collect();
    let model = Model { summary: snapshot.run.work.layers.clone(), layers };
    Ok(gather_with(snapshot, model, reports))
}
