//! From a recipe and its data to a network, a loss and a graph.

use crate::recipe::Recipe;
use crate::{ModelFile, Result};
use ff_data::{Encoded, Target, TargetSchema, Task, Transforms, balanced_class_weights};
use ff_nn::models::{Mlp, MlpConfig};
use ff_nn::{Builder, Loss};
use ff_ops::Graph;
use ff_tensor::{DType, Device};
use ff_train::optim::Optimizer;
use ff_train::schedule::Schedule;
use ff_train::tabular::TabularObjective;
use ff_train::{Objective, Trainer};

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
        line + &format!(" → {}", config.outputs)
    }
}

/// A trainer at step 0 over this network's graph.
pub(crate) fn trainer(recipe: &Recipe, graph: Graph, device: &Device) -> Result<Trainer> {
    let optimizer =
        Optimizer::new(&recipe.optimizer, graph.params(), device).map_err(ff_train::Error::from)?;
    let schedule = Schedule::new(&recipe.schedule, recipe.optimizer.lr())
        .map_err(|e| ff_nn::ConfigError::new(format!("schedule.{}", e.key), e.message))?;
    recipe.train.validate()?;
    Ok(Trainer::new(graph, optimizer, schedule, recipe.train.clone()))
}

/// The sizes of a plan, found by running one step on a device that only counts.
pub(crate) struct Measured {
    pub(crate) peak_bytes: usize,
    pub(crate) parameter_bytes: usize,
    pub(crate) gradient_bytes: usize,
    pub(crate) optimizer_bytes: usize,
    pub(crate) activation_bytes: usize,
    pub(crate) flops: u64,
    pub(crate) parameters: usize,
}

/// Plans a step of so many rows of these encoded parts.
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
    let rows: Vec<u32> = (0..recipe.train.batch_size.min(train.rows) as u32).collect();
    let mut flops = 0;
    if !rows.is_empty() {
        let loss = objective.loss(graph, &rows, ff_tensor::Key::new(0))?;
        drop(loss.count);
        graph.backward(loss.sum)?;
        let tally = graph.tally();
        flops = (tally.flops + tally.dflops) * recipe.train.accumulate as u64;
    }
    graph.reset();
    let activation_bytes = device.pool().stats().peak - held;
    if valid.rows > 0 {
        ff_train::tabular::plan_evaluation(graph, &setup.model, &setup.loss, valid)?;
    }
    Ok(Measured {
        peak_bytes: device.pool().stats().peak,
        parameter_bytes,
        gradient_bytes,
        optimizer_bytes,
        activation_bytes,
        flops,
        parameters,
    })
}
