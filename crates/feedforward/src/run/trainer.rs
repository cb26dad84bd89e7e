//! A trainer at step 0.

use crate::error::Result;
use ff_graph::Graph;
use ff_tensor::Device;
use ff_train::optim::{Optimizer, OptimizerConfig};
use ff_train::schedule::{Schedule, ScheduleConfig};
use ff_train::{TrainConfig, Trainer};
use std::path::Path;

/// A trainer over the parameters of a graph, whose optimiser starts with the state of a file where
/// one is named; a plan has no state.
///
/// # Errors
/// Optimiser, schedule, parameters and state do not go together.
pub(crate) fn trainer(
    optimizer: &OptimizerConfig,
    state: Option<&Path>,
    schedule: &ScheduleConfig,
    config: TrainConfig,
    graph: Graph,
    device: &Device,
) -> Result<Trainer> {
    config.validate()?;
    let lr = optimizer.lr();
    let mut optimizer =
        Optimizer::new(optimizer, graph.params(), device).map_err(ff_train::Error::from)?;
    if let Some(path) = state
        && !device.pool().is_planning()
    {
        ff_train::read_optimizer(path, graph.params(), &mut optimizer)?;
    }
    let schedule = Schedule::new(schedule, lr).map_err(|e| e.inside("schedule"))?;
    Ok(Trainer::new(graph, optimizer, schedule, config))
}
