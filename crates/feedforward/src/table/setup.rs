//! From a recipe and its data to a network, a loss and a graph.

use super::bins;
use super::model::{ModelFile, TableModel};
use super::objective::{self, TabularObjective};
use super::recipe::Recipe;
use super::start;
use crate::error::Result;
use ff_graph::Graph;
use ff_nn::models::{Mlp, MlpConfig};
use ff_nn::{Builder, InitKind, Loss, LossConfig, NumericKind, Precision};
use ff_table::{Encoded, Target, TargetSchema, Task, Transforms, balanced_class_weights};
use ff_tensor::{DType, Device, Key};
use ff_train::{TrainConfig, Trainer};

/// A network for encoded rows, and what its outputs mean.
pub(crate) struct Setup {
    pub(crate) file: ModelFile,
    pub(crate) loss: Loss,
    pub(crate) model: Mlp,
}

impl Setup {
    /// The recipe's network over these inputs, with its parameters on a device.
    pub(crate) fn new(
        recipe: &Recipe,
        target: &TargetSchema,
        transforms: &Transforms,
        train: &Encoded,
        device: &Device,
    ) -> Result<(Self, Graph)> {
        let loss = loss(&recipe.loss, target, train)?;
        recipe.model.validate()?;
        let edges = match recipe.model.numeric {
            NumericKind::Linear => Vec::new(),
            NumericKind::Piecewise => bins::edges(train, recipe.model.most_bins()),
            // A vector for every number of more than two values.
            NumericKind::Periodic | NumericKind::PeriodicRelu => bins::edges(train, 1),
        };
        let network = MlpConfig {
            numeric: transforms.n_numeric(),
            bins: edges.iter().map(|edges| edges.len().saturating_sub(1)).collect(),
            cardinalities: transforms.cardinalities(),
            texts: transforms.texts().map(|(_, encoder)| encoder.size()).collect(),
            outputs: loss.outputs(),
            logits: false,
            network: recipe.model.clone(),
        };
        let logits = target.task != Task::Regression && network.members().is_some();
        let network = MlpConfig { logits, ..network };
        let mut builder = Builder::new();
        let model = Mlp::new(&mut builder, &network);
        let mut params = builder.build(device, DType::F32, recipe.train.seed, true)?;
        if let Some(numbers) = model.numbers()
            && !device.pool().is_planning()
        {
            let edges: Vec<_> = edges.into_iter().filter(|edges| !edges.is_empty()).collect();
            numbers.set_edges::<f32>(&mut params, &edges)?;
        }
        if let Some(path) = &recipe.start {
            start::apply(path, transforms, &mut params, device.pool().is_planning())?;
            if recipe.start_optimizer.is_some() {
                start::check_unscaled(path, transforms)?;
            }
        }
        let file = ModelFile {
            task: target.task,
            target: target.column.clone(),
            classes: target.classes.clone(),
            positive: target.positive,
            network,
            ..ModelFile::default()
        };
        let mut graph = Graph::new(device, params);
        if recipe.model.init == InitKind::Data && recipe.start.is_none() {
            objective::initialize(&mut graph, &model, train, recipe.train.seed)?;
        }
        Ok((Self { file, loss, model }, graph))
    }

    /// The network of a trained model with its weights, to be trained on.
    pub(crate) fn like(
        model: &TableModel,
        recipe: &Recipe,
        target: &TargetSchema,
        train: &Encoded,
        device: &Device,
    ) -> Result<(Self, Graph)> {
        let loss = loss(&recipe.loss, target, train)?;
        let file = model.file().clone();
        let mut builder = Builder::new();
        let network = Mlp::new(&mut builder, &file.network);
        let mut params = builder.build(device, DType::F32, recipe.train.seed, true)?;
        model.copy_weights(&mut params)?;
        Ok((Self { file, loss, model: network }, Graph::new(device, params)))
    }

    /// The training objective on these parts.
    pub(crate) fn objective<'a>(
        &'a self,
        recipe: &Recipe,
        train: &'a Encoded,
        valid: &'a Encoded,
    ) -> TabularObjective<'a> {
        // L-BFGS compares the loss of one step with that of another.
        let fixed = recipe.optimizer.needs_closure();
        let fixed = fixed.then(|| Key::new(recipe.train.seed).with_name("unseen"));
        TabularObjective::new(&self.model, &self.loss, train, valid, &recipe.train)
            .with_unseen(recipe.data.categories.unseen, fixed)
    }

    /// The layers in one line: `64 → 128 relu → 10`.
    pub(crate) fn layers(&self) -> String {
        let config = &self.file.network;
        if config.texts_alone() {
            let grams = config.texts.iter().sum::<usize>();
            return format!("{} n-grams → {}", crate::words::count(grams as u64), config.outputs);
        }
        let mut line = config.in_features().to_string();
        let activation = serde_json::to_value(config.network.activation).unwrap_or_default();
        for width in &config.network.hidden {
            let activation = activation.as_str().unwrap_or_default();
            line.extend([" → ", &width.to_string(), " ", activation]);
        }
        if let Some(members) = config.members() {
            line = format!("{members} members × ({line} → {})", config.outputs);
            return line;
        }
        let bf16 = config.network.precision == Precision::Bf16;
        line + &format!(" → {}{}", config.outputs, if bf16 { " in bf16" } else { "" })
    }
}

/// The loss of a recipe for this target, with the weights of the classes.
///
/// # Errors
/// The loss does not suit the target.
pub(crate) fn loss(config: &LossConfig, target: &TargetSchema, train: &Encoded) -> Result<Loss> {
    let classes = (target.task != Task::Regression).then_some(target.classes.len());
    let weights = match (&config.class_weights, &train.target, classes) {
        (Some(weights), _, _) => Some(weights.clone()),
        (None, Some(Target::Class(rows)), Some(classes)) if config.balanced => {
            Some(balanced_class_weights(rows, classes))
        }
        _ => None,
    };
    Ok(Loss::new(config, classes, weights)?)
}

/// A trainer at step 0 over this network's graph.
pub(crate) fn trainer(recipe: &Recipe, graph: Graph, device: &Device) -> Result<Trainer> {
    let config = recipe.train.clone();
    let (optimizer, state) = (&recipe.optimizer, recipe.start_optimizer.as_deref());
    crate::run::trainer::trainer(optimizer, state, &recipe.schedule, config, graph, device)
}

/// Length and batches of training; L-BFGS takes all rows at every step, whatever the recipe says.
pub(crate) fn portions(recipe: &Recipe) -> TrainConfig {
    let mut config = recipe.train.clone();
    if recipe.optimizer.needs_closure() {
        config.accumulate = usize::MAX;
    }
    config
}
