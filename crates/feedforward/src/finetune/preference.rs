//! Preference tuning: pairs of answers, of which one was chosen.

use super::pack::Rows;
use super::recipe::PreferenceTable;
use crate::error::{Error, Result};
use crate::files::write_text;
use crate::language::objective::{IGNORED, gather};
use crate::run::folder::RunFolder;
use crate::words::setting;
use ff_graph::{Graph, Mode, Op, Value};
use ff_nn::models::CausalLm;
use ff_ops::{Add, PreferenceLoss};
use ff_tensor::{DType, Key, Tensor};
use ff_train::{BatchLoss, Evaluation, Objective};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The name of the reference model's file in the folder of a run.
const FILE: &str = "reference.json";

/// −ln p of both answers of each pair, chosen and rejected, by the model before training.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Reference {
    pub(super) train: Vec<[f64; 2]>,
    pub(super) valid: Vec<[f64; 2]>,
}

impl Reference {
    /// What the model says at this moment, kept in the run's folder.
    ///
    /// # Errors
    /// An operation failed, or the folder cannot be written.
    pub(super) fn measure(
        graph: &mut Graph,
        network: &CausalLm,
        [train, valid]: [Option<&Rows>; 2],
        batch: usize,
        folder: &RunFolder,
    ) -> Result<Self> {
        let mut of = |rows: Option<&Rows>| -> Result<Vec<[f64; 2]>> {
            let Some(rows) = rows else { return Ok(Vec::new()) };
            let answers = answers(graph, network, rows, batch)?;
            Ok(answers.iter().map(|answers| answers.cost).collect())
        };
        let reference = Self { train: of(train)?, valid: of(valid)? };
        let text = serde_json::to_string(&reference).unwrap_or_default();
        write_text(&folder.path().join(FILE), &text)?;
        Ok(reference)
    }

    /// What was measured before the first step.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub(super) fn read(folder: &RunFolder) -> Result<Self> {
        let path = folder.path().join(FILE);
        let text =
            std::fs::read_to_string(&path).map_err(ff_formats::Error::io(&path, "reading"))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::run(&path, format!("is damaged ({error}); start the run anew")))
    }
}

/// Both answers of a pair: −ln p, and the number of tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Answers {
    cost: [f64; 2],
    tokens: [f64; 2],
}

impl Answers {
    /// The constants of [`PreferenceLoss`]; without a reference, the model is its own.
    fn constants(self, reference: Option<&[f64; 2]>) -> [f64; 4] {
        let [a, b] = *reference.unwrap_or(&self.cost);
        [self.tokens[0], self.tokens[1], a, b]
    }
}

/// How well pairs are told apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Preferred {
    /// The mean loss.
    pub(super) loss: f64,
    /// The share of pairs whose chosen answer has the larger reward.
    pub(super) share: f64,
    /// The mean difference of rewards.
    pub(super) margin: f64,
}

/// Evaluates pairs.
///
/// # Errors
/// An operation failed.
pub(super) fn evaluate(
    graph: &mut Graph,
    network: &CausalLm,
    rows: &Rows,
    batch: usize,
    loss: PreferenceLoss,
    reference: &[[f64; 2]],
) -> ff_graph::Result<Preferred> {
    let mut sums = [0.0; 3];
    let all = answers(graph, network, rows, batch)?;
    for (i, answers) in all.iter().enumerate() {
        let constants = answers.constants(reference.get(i));
        let margin = loss.margin(answers.cost, constants);
        sums[0] += loss.of_pair(answers.cost, constants);
        sums[1] += f64::from(margin > 0.0);
        sums[2] += margin;
    }
    let [loss, share, margin] = sums.map(|sum| sum / all.len().max(1) as f64);
    Ok(Preferred { loss, share, margin })
}

/// Both answers of every pair, `batch` pairs at a time.
fn answers(
    graph: &mut Graph,
    network: &CausalLm,
    rows: &Rows,
    batch: usize,
) -> ff_graph::Result<Vec<Answers>> {
    graph.set_mode(Mode::Eval);
    let pairs: Vec<u32> = (0..rows.rows() as u32 / 2).collect();
    let mut all = Vec::with_capacity(pairs.len());
    for pairs in pairs.chunks(batch.max(1)) {
        graph.reset();
        let costs = costs(graph, network, rows, pairs)?;
        if graph.device().pool().is_planning() {
            continue;
        }
        for pair in costs.as_chunks::<2>().0 {
            let [chosen, rejected] = pair;
            all.push(Answers {
                cost: [chosen[0].item()?, rejected[0].item()?],
                tokens: [chosen[1].item()?, rejected[1].item()?],
            });
        }
    }
    graph.reset();
    Ok(all)
}

/// For both answers of these pairs, −ln p and the number of tokens, `[1]` each.
fn costs(
    graph: &mut Graph,
    network: &CausalLm,
    rows: &Rows,
    pairs: &[u32],
) -> ff_graph::Result<Vec<[Value; 2]>> {
    let windows = rows.windows();
    let row = |i: usize| (2 * pairs[i / 2] as usize + i % 2) as u64;
    let count = 2 * pairs.len();
    let start = |i: usize| row(i) * windows.context as u64;
    let (batch, targets) = gather(graph, rows, windows, count, start)?;
    let mut alone = Vec::with_capacity(count);
    for i in 0..count {
        let mut own = tensor(graph, [count, windows.context], DType::I32)?;
        if !own.is_planned() {
            let all = targets.slice::<i32>()?;
            let own = own.slice_mut::<i32>().map_err(ff_graph::Error::of("pairs"))?;
            own.fill(IGNORED);
            let range = i * windows.context..(i + 1) * windows.context;
            own[range.clone()].copy_from_slice(&all[range]);
        }
        alone.push(graph.input(own));
    }
    network.losses(graph, &batch, &alone)
}

fn tensor<const N: usize>(
    graph: &Graph,
    shape: [usize; N],
    dtype: DType,
) -> ff_graph::Result<Tensor> {
    Tensor::uninit(graph.device(), shape.into(), dtype).map_err(ff_graph::Error::of("pairs"))
}

/// Trains on pairs.
pub(super) struct Pairs<'a> {
    network: &'a CausalLm,
    train: &'a Rows,
    valid: Option<&'a Rows>,
    batch: usize,
    loss: PreferenceLoss,
    op: Arc<dyn Op>,
    add: Arc<dyn Op>,
    reference: Option<&'a Reference>,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(
        network: &'a CausalLm,
        (train, valid): (&'a Rows, Option<&'a Rows>),
        batch: usize,
        loss: PreferenceLoss,
        reference: Option<&'a Reference>,
    ) -> Self {
        let (op, add) = (loss.op(), Add::op());
        Self { network, train, valid, batch, loss, op, add, reference }
    }
}

impl Objective for Pairs<'_> {
    fn rows(&self) -> usize {
        self.train.rows() / 2
    }

    fn loss(&mut self, graph: &mut Graph, rows: &[u32], _key: Key) -> ff_graph::Result<BatchLoss> {
        let costs = costs(graph, self.network, self.train, rows)?;
        let mut sum: Option<Value> = None;
        for (&row, pair) in rows.iter().zip(costs.as_chunks::<2>().0) {
            let [[chosen, n], [rejected, m]] = pair;
            let mut constants = tensor(graph, [1, 4], DType::F32)?;
            if !constants.is_planned() {
                let tokens = [n.item()?, m.item()?];
                let answers = Answers { cost: [0.0; 2], tokens };
                let known = self.reference.and_then(|known| known.train.get(row as usize));
                let to = constants.slice_mut::<f32>().map_err(ff_graph::Error::of("pairs"))?;
                to.iter_mut().zip(answers.constants(known)).for_each(|(to, c)| *to = c as f32);
            }
            let constants = graph.input(constants);
            let loss = graph.apply(&self.op, &[chosen, rejected, &constants])?;
            sum = Some(match sum {
                Some(sum) => graph.apply(&self.add, &[&sum, &loss])?,
                None => loss,
            });
        }
        let mut count = tensor(graph, [1], DType::F32)?;
        if !count.is_planned() {
            count.slice_mut::<f32>().map_err(ff_graph::Error::of("pairs"))?[0] = rows.len() as f32;
        }
        let count = graph.input(count);
        let sum = sum.ok_or_else(|| ff_graph::Error::shape("pairs", "a step has no pair"))?;
        Ok(BatchLoss { sum, count, total: None })
    }

    fn evaluate(&mut self, graph: &mut Graph) -> ff_graph::Result<Option<Evaluation>> {
        let Some(valid) = self.valid else { return Ok(None) };
        let reference = self.reference.map_or(&[][..], |reference| &reference.valid);
        let found = evaluate(graph, self.network, valid, self.batch, self.loss, reference)?;
        Ok(Some(Evaluation { loss: found.loss, score: -found.loss }))
    }
}

impl PreferenceTable {
    /// The loss before the optimiser in a line about training.
    pub(super) fn words(&self) -> String {
        self.loss().map_or_else(String::new, |loss| {
            format!(
                "{} with β {} · ",
                format!("{:?}", loss.kind).to_uppercase(),
                setting(loss.beta)
            )
        })
    }

    /// The loss, where pairs are learned from.
    pub(super) fn loss(&self) -> Option<PreferenceLoss> {
        let name = self.loss?;
        Some(PreferenceLoss {
            kind: name.kind(),
            beta: self.beta.unwrap_or_else(|| name.beta()),
            gamma: self.gamma,
            label_smoothing: self.label_smoothing,
        })
    }
}
