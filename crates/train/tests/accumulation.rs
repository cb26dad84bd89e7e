//! One step over many sequences at once, and in micro-batches with different numbers of tokens.
#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

use ff_graph::{Graph, ParamKind, ParamSpec, Params, Result};
use ff_ops::{Activation, Embedding, Feedforward, LinearCrossEntropy};
use ff_tensor::{DType, Device, Key, Rng, Tensor};
use ff_train::optim::{Optimizer, OptimizerConfig, OptimizerKind};
use ff_train::schedule::{Schedule, ScheduleConfig};
use ff_train::{BatchLoss, Evaluation, Objective, TrainConfig, Trainer};

const SEQUENCES: usize = 24;
const LENGTH: usize = 11;
const WIDTH: usize = 8;
const VOCABULARY: usize = 13;

/// Next-token prediction over sequences, with all but the answers masked.
struct Answers {
    tokens: Vec<i32>,
    targets: Vec<i32>,
}

impl Answers {
    fn new() -> Self {
        let mut rng = Rng::new(Key::new(4));
        let tokens: Vec<i32> =
            (0..SEQUENCES * (LENGTH + 1)).map(|_| rng.below(VOCABULARY as u64) as i32).collect();
        let mut answers = Self { tokens: vec![], targets: vec![] };
        for (i, sequence) in tokens.chunks(LENGTH + 1).enumerate() {
            answers.tokens.extend(&sequence[..LENGTH]);
            // From no token to every token.
            let masked = LENGTH - (i * 5) % (LENGTH + 1);
            let target = |(t, &token): (usize, &i32)| if t < masked { -100 } else { token };
            answers.targets.extend(sequence[1..].iter().enumerate().map(target));
        }
        answers
    }

    fn counted(&self) -> usize {
        self.targets.iter().filter(|&&t| t >= 0).count()
    }
}

impl Objective for Answers {
    fn rows(&self) -> usize {
        SEQUENCES
    }

    fn loss(&mut self, graph: &mut Graph, rows: &[u32], _: Key) -> Result<BatchLoss> {
        let pick = |from: &[i32]| -> Vec<i32> {
            rows.iter().flat_map(|&r| &from[r as usize * LENGTH..][..LENGTH]).copied().collect()
        };
        let input = |graph: &Graph, values: Vec<i32>| {
            let dims = [rows.len(), LENGTH];
            graph.input(Tensor::from_slice(graph.device(), &values, &dims).unwrap())
        };
        let tokens = input(graph, pick(&self.tokens));
        let targets = input(graph, pick(&self.targets));
        let [table, weight, head] = ["embedding", "weight", "head"].map(|name| {
            let id = graph.params().id(name).unwrap();
            graph.param(id)
        });
        let x = graph.apply(&Embedding::op(None), &[&tokens, &table])?;
        let x = graph.apply(&Feedforward::op(Activation::Tanh, false), &[&x, &weight])?;
        let op = LinearCrossEntropy { z_loss: 1e-3, ..Default::default() }.op();
        let mut outputs = graph.apply_all(&op, &[&x, &head, &targets])?;
        let (count, sum) = (outputs.pop(), outputs.pop());
        Ok(BatchLoss { sum: sum.unwrap(), count: count.unwrap(), total: None })
    }

    fn evaluate(&mut self, _: &mut Graph) -> Result<Option<Evaluation>> {
        Ok(None)
    }
}

/// The mean loss of one step, and the weights after it.
fn step(kind: OptimizerKind, batch_size: usize, accumulate: usize) -> (f64, Vec<f64>) {
    let device = Device::default();
    let specs = vec![
        ParamSpec::new("embedding", [VOCABULARY, WIDTH], ParamKind::Embedding),
        ParamSpec::new("weight", [WIDTH, WIDTH], ParamKind::Weight),
        ParamSpec::new("head", [VOCABULARY, WIDTH], ParamKind::Weight),
    ];
    let mut params = Params::allocate(&device, DType::F64, specs, true).unwrap();
    let mut rng = Rng::new(Key::new(2));
    params.flat_mut::<f64>().unwrap().iter_mut().for_each(|w| *w = 0.5 * rng.normal());
    let config = OptimizerConfig {
        lr: Some(0.1),
        clip_norm: Some(0.05), // Clips the mean: the sum is far above it.
        weight_decay: Some(0.1),
        ..OptimizerConfig::new(kind)
    };
    let optimizer = Optimizer::new(&config, &params, &device).unwrap();
    let schedule = Schedule::new(&ScheduleConfig::default(), 0.1).unwrap();
    let config = TrainConfig { steps: Some(1), batch_size, accumulate, ..Default::default() };
    let mut trainer = Trainer::new(Graph::new(&device, params), optimizer, schedule, config);
    trainer.fit(&mut Answers::new(), &mut (), None).unwrap();
    let loss = trainer.progress().history[0].train_loss;
    (loss, trainer.graph_mut().params().flat::<f64>().unwrap().to_vec())
}

#[test]
fn one_step_of_n_is_n_steps_of_one() {
    let counted = Answers::new().counted();
    assert!((100..SEQUENCES * LENGTH).contains(&counted) && !counted.is_multiple_of(SEQUENCES));
    for kind in [OptimizerKind::Sgd, OptimizerKind::AdamW, OptimizerKind::Muon] {
        let (loss, whole) = step(kind, SEQUENCES, 1);
        // Single sequences, some without counted tokens; and batches of five, the last with four.
        for (batch, accumulate) in [(1, SEQUENCES), (5, 5), (8, 3)] {
            let (parts_loss, parts) = step(kind, batch, accumulate);
            assert!((parts_loss - loss).abs() < 1e-13 * loss, "{kind}: {batch} × {accumulate}");
            for (a, b) in parts.iter().zip(&whole) {
                // Rounding of f64, amplified up to a few thousand times by Adam's quotient and
                // Muon's iteration.
                assert!((a - b).abs() < 1e-11, "{kind}: {batch} × {accumulate}: {a} and {b}");
            }
        }
    }
}
