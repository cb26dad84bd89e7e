//! A trainer at step 0.

use crate::error::Result;
use ff_graph::Graph;
use ff_tensor::Device;
use ff_train::optim::{Optimizer, OptimizerConfig};
use ff_train::schedule::{Schedule, ScheduleConfig};
use ff_train::{TrainConfig, Trainer};

/// A trainer over the parameters of a graph.
///
/// # Errors
/// Optimiser, schedule and parameters do not go together.
pub(crate) fn trainer(
    optimizer: &OptimizerConfig,
    schedule: &ScheduleConfig,
    config: TrainConfig,
    graph: Graph,
    device: &Device,
) -> Result<Trainer> {
    config.validate()?;
    let lr = optimizer.lr();
    let optimizer =
        Optimizer::new(optimizer, graph.params(), device).map_err(ff_train::Error::from)?;
    let schedule = Schedule::new(schedule, lr).map_err(|e| e.inside("schedule"))?;
    Ok(Trainer::new(graph, optimizer, schedule, config))
}
