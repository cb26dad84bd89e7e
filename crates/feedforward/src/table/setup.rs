//! From a recipe and its data to a network, a loss and a graph.

use crate::recipe::Recipe;
use crate::{ModelFile, Result};
use ff_graph::Graph;
use ff_nn::models::{Mlp, MlpConfig};
use ff_nn::{Builder, Loss, Precision};
use ff_table::{Encoded, Target, TargetSchema, Task, Transforms, balanced_class_weights};
use ff_tensor::{DType, Device};
use ff_train::optim::{Optimizer, OptimizerKind};
use ff_train::schedule::Schedule;
use ff_train::tabular::TabularObjective;
use ff_train::{Objective, TrainConfig, Trainer};

/// A network that can be trained on encoded rows, and what its outputs mean.
pub(crate) struct Setup {
    pub(crate) file: ModelFile,
    pub(crate) loss: Loss,
    pub(crate) model: Mlp,
}

impl Setup {
    /// The network that a recipe asks for over these inputs, with its parameters on a device.
    pub(crate) fn new(
        recipe: &Recipe,
        target: &TargetSchema,
        transforms: &Transforms,
        train: &Encoded,
        device: &Device,
    ) -> Result<(Self, Graph)> {
        let classes = (target.task != Task::Regression).then_some(target.classes.len());
        let weights = match (&recipe.loss.class_weights, &train.target, classes) {
            (Some(weights), _, _) => Some(weights.clone()),
            (None, Some(Target::Class(rows)), Some(classes)) if recipe.loss.balanced => {
                Some(balanced_class_weights(rows, classes))
            }
            _ => None,
        };
        let loss = Loss::new(&recipe.loss, classes, weights)?;
        recipe.model.validate()?;
        let network = MlpConfig {
            numeric: transforms.n_numeric(),
            cardinalities: transforms.cardinalities(),
            outputs: loss.outputs(),
            network: recipe.model.clone(),
        };
        let mut builder = Builder::new();
        let model = Mlp::new(&mut builder, &network);
        let params = builder.build(device, DType::F32, recipe.train.seed, true)?;
        let file = ModelFile {
            task: target.task,
            target: target.column.clone(),
            classes: target.classes.clone(),
            positive: target.positive,
            network,
            ..ModelFile::default()
        };
        Ok((Self { file, loss, model }, Graph::new(device, params)))
    }

    /// What is trained on these parts.
    pub(crate) fn objective<'a>(
        &'a self,
        recipe: &Recipe,
        train: &'a Encoded,
        valid: &'a Encoded,
    ) -> TabularObjective<'a> {
        TabularObjective::new(&self.model, &self.loss, train, valid, &recipe.train)
    }

    /// The layers in one line: `64 → 128 relu → 10`.
    pub(crate) fn layers(&self) -> String {
        let config = &self.file.network;
        let mut line = config.in_features().to_string();
        let activation = serde_json::to_value(config.network.activation).unwrap_or_default();
        for width in &config.network.hidden {
            let activation = activation.as_str().unwrap_or_default();
            line.extend([" → ", &width.to_string(), " ", activation]);
        }
        let bf16 = config.network.precision == Precision::Bf16;
        line + &format!(" → {}{}", config.outputs, if bf16 { " in bf16" } else { "" })
    }
}

/// A trainer at step 0 over this network's graph.
pub(crate) fn trainer(recipe: &Recipe, graph: Graph, device: &Device) -> Result<Trainer> {
    let optimizer =
        Optimizer::new(&recipe.optimizer, graph.params(), device).map_err(ff_train::Error::from)?;
    let schedule =
        Schedule::new(&recipe.schedule, recipe.optimizer.lr()).map_err(|e| e.inside("schedule"))?;
    recipe.train.validate()?;
    Ok(Trainer::new(graph, optimizer, schedule, recipe.train.clone()))
}

/// How long and in which portions a recipe trains: L-BFGS looks at all rows at every step, whatever the recipe says.
pub(crate) fn portions(recipe: &Recipe) -> TrainConfig {
    let mut config = recipe.train.clone();
    if recipe.optimizer.kind == OptimizerKind::Lbfgs {
        config.accumulate = usize::MAX;
    }
    config
}

/// The sizes of a plan, found by running steps on a device that only counts.
pub(crate) struct Measured {
    /// What pool and arena hold from the system at most. Buffers are kept for the next step by size, so this is more than
    /// what lives at a time: an epoch's last, smaller batch and the batches of an evaluation have sizes of their own.
    pub(crate) peak_bytes: usize,
    pub(crate) parameter_bytes: usize,
    pub(crate) gradient_bytes: usize,
    pub(crate) optimizer_bytes: usize,
    pub(crate) activation_bytes: usize,
    pub(crate) flops: u64,
    pub(crate) parameters: usize,
}

/// Plans the steps and the evaluation of an epoch over these encoded parts.
pub(crate) fn measure(
    recipe: &Recipe,
    target: &TargetSchema,
    transforms: &Transforms,
    train: &Encoded,
    valid: &Encoded,
) -> Result<Measured> {
    let device = Device::planning();
    let (setup, graph) = Setup::new(recipe, target, transforms, train, &device)?;
    let parameters = graph.params().len();
    let parameter_bytes = parameters * 4;
    let gradient_bytes = graph.params().trainable_len() * 4;
    let before = device.pool().stats().live;
    let mut trainer = trainer(recipe, graph, &device)?;
    let optimizer_bytes = device.pool().stats().live - before;
    let mut objective = setup.objective(recipe, train, valid);
    let graph = trainer.graph_mut();
    let held = device.pool().stats().live;
    let config = portions(recipe);
    let step_rows = config.batch_size.saturating_mul(config.accumulate).min(train.rows).max(1);
    let steps = config.steps_per_epoch(train.rows);
    let mut flops = 0;
    if steps > 0 {
        flops = plan_step(graph, &mut objective, 0..step_rows, config.batch_size)?;
        // The last step of an epoch, where training gets so far, has what rows are left.
        let last = (steps as usize - 1) * step_rows;
        if last > 0 && config.total_steps(train.rows) >= steps {
            plan_step(graph, &mut objective, last..train.rows, config.batch_size)?;
        }
    }
    let activation_bytes = device.pool().stats().peak - held;
    if valid.rows > 0 {
        ff_train::tabular::plan_evaluation(graph, &setup.model, &setup.loss, valid)?;
    }
    Ok(Measured {
        peak_bytes: device.pool().stats().reserved,
        parameter_bytes,
        gradient_bytes,
        optimizer_bytes,
        activation_bytes,
        flops,
        parameters,
    })
}

/// Runs an optimiser step's micro-batches as the trainer does, but for the update: its floating-point operations.
pub(crate) fn plan_step(
    graph: &mut Graph,
    objective: &mut dyn Objective,
    rows: std::ops::Range<usize>,
    batch: usize,
) -> Result<u64> {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    let mut flops = 0;
    for rows in rows.chunks(batch) {
        graph.reset();
        let loss = objective.loss(graph, rows, ff_tensor::Key::new(0))?;
        drop(loss.count);
        graph.backward(loss.total.unwrap_or(loss.sum))?;
        flops += graph.tally().flops + graph.tally().dflops;
    }
    graph.reset();
    // Statistics wait for the end of the step, then their memory is free again.
    graph.discard_state();
    Ok(flops)
}
