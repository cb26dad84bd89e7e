//! Whole training steps: forward, loss, backward, Adam, in the training loop of users.

use crate::clock::Clock;
use crate::network::{NETWORKS, Network, labels, normal_tensor};
use crate::work::{Arithmetic, Error, Work};
use ff_graph::Graph;
use ff_nn::models::{Mlp, MlpInput};
use ff_nn::{Loss, LossConfig};
use ff_tensor::{Device, Key, Tensor};
use ff_train::optim::{Optimizer, OptimizerConfig, OptimizerKind};
use ff_train::schedule::{Schedule, ScheduleConfig};
use ff_train::{BatchLoss, Event, Objective, Observer, TrainConfig, Trainer};

/// Steps per epoch; they share the cost of starting an epoch, as in real training.
pub(crate) const STEPS_PER_EPOCH: usize = 500;
/// So small that the weights hardly move: labels are random, and a network that memorised them
/// would compute with subnormals. The cost of a step does not depend on the rate.
const LEARNING_RATE: f64 = 1e-6;

pub(crate) fn works() -> Vec<Work> {
    NETWORKS.iter().map(work).collect()
}

/// The training step of a network.
pub(crate) fn work(network: &'static Network<'static>) -> Work {
    Work {
        name: format!("train/{}-b{}", network.name, network.batch),
        arithmetic: Arithmetic::F32,
        flops: network.training_flops(),
        run: Box::new(|device, clock| run(network, device, clock)),
    }
}

/// Trains on one batch in memory, as the peers do.
pub(crate) fn run(network: &Network, device: &Device, clock: &mut Clock) -> Result<(), Error> {
    let (model, graph) = network.build(device)?;
    let mut objective = Resident {
        model: &model,
        loss: Loss::new(&LossConfig::default(), Some(network.classes()), None)?,
        x: normal_tensor(device, [network.batch, network.inputs()])?,
        y: Tensor::from_slice(device, &labels(network.batch, network.classes()), &[network.batch])?,
    };
    fit(graph, &mut objective, network.batch, clock)
}

/// Fits until the clock stops it.
pub(crate) fn fit(
    graph: Graph,
    objective: &mut dyn Objective,
    batch_size: usize,
    clock: &mut Clock,
) -> Result<(), Error> {
    fit_with(OptimizerConfig::new(OptimizerKind::Adam), graph, objective, batch_size, clock)
}

/// [`fit`] with AdamW and clipping, as in training language models.
pub(crate) fn fit_adamw(
    graph: Graph,
    objective: &mut dyn Objective,
    batch_size: usize,
    clock: &mut Clock,
) -> Result<(), Error> {
    let adamw = OptimizerConfig::new(OptimizerKind::AdamW);
    let adamw = OptimizerConfig { clip_norm: Some(1.0), ..adamw };
    fit_with(adamw, graph, objective, batch_size, clock)
}

fn fit_with(
    adam: OptimizerConfig,
    graph: Graph,
    objective: &mut dyn Objective,
    batch_size: usize,
    clock: &mut Clock,
) -> Result<(), Error> {
    let adam = OptimizerConfig { lr: Some(LEARNING_RATE), ..adam };
    let optimizer = Optimizer::new(&adam, graph.params(), graph.device())?;
    let schedule = Schedule::new(&ScheduleConfig::default(), LEARNING_RATE)?;
    let config = TrainConfig { steps: Some(u64::MAX), batch_size, ..TrainConfig::default() };
    let mut trainer = Trainer::new(graph, optimizer, schedule, config);
    trainer.fit(objective, &mut Watch { clock, over: false }, None)?;
    Ok(())
}

/// A batch in memory.
struct Resident<'a> {
    model: &'a Mlp,
    loss: Loss,
    x: Tensor,
    y: Tensor,
}

impl Objective for Resident<'_> {
    fn rows(&self) -> usize {
        self.y.shape().len() * STEPS_PER_EPOCH
    }

    fn loss(&mut self, graph: &mut Graph, _rows: &[u32], _key: Key) -> ff_graph::Result<BatchLoss> {
        let numeric = Some(graph.input(self.x.clone()));
        let labels = graph.input(self.y.clone());
        let logits = self.model.forward(graph, &MlpInput { numeric, ..MlpInput::default() })?;
        let (sum, count) = self.loss.apply(graph, &logits, &labels, None)?;
        Ok(BatchLoss { sum, count, total: None })
    }

    fn evaluate(&mut self, _graph: &mut Graph) -> ff_graph::Result<Option<ff_train::Evaluation>> {
        Ok(None)
    }
}

/// Advances the clock after each step.
struct Watch<'a> {
    clock: &'a mut Clock,
    over: bool,
}

impl Observer for Watch<'_> {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Step { .. } = event {
            self.over = !self.clock.go_on();
        }
    }

    fn interrupted(&mut self) -> bool {
        self.over
    }
}
