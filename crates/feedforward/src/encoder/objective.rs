//! Batches and losses: the [`Objective`] of an encoder.

use super::corpus::{Names, Part};
use super::goal::{Goal, Masking, Ranking};
use super::measured::Measured;
use super::scores::monitored;
use crate::sequence::{Network, Shapes, Tokens, each_batch, input};
use ff_graph::{Error, Graph, Result, Value};
use ff_nn::models::EncoderBatch;
use ff_tensor::{Key, Tensor};
use ff_train::{BatchLoss, Evaluation, Objective};

/// Marks a token that is not learned.
const IGNORED: i32 = -100;

/// Trains an encoder on a part and evaluates it on another.
pub(super) struct EncoderObjective<'a> {
    pub(super) network: &'a Network,
    pub(super) goal: &'a Goal,
    pub(super) names: &'a Names,
    pub(super) train: &'a Part,
    pub(super) valid: &'a Part,
    pub(super) batch: usize,
    pub(super) seed: u64,
    pub(super) shapes: Shapes,
}

impl Objective for EncoderObjective<'_> {
    fn rows(&self) -> usize {
        self.train.rows()
    }

    fn lengths(&self) -> Option<&[u32]> {
        Some(&self.train.tokens.lengths)
    }

    fn loss(&mut self, graph: &mut Graph, rows: &[u32], key: Key) -> Result<BatchLoss> {
        let (network, tokens) = (self.network, &self.train.tokens);
        let rows: Vec<u32> = rows.iter().map(|&i| tokens.order[i as usize]).collect();
        let [sum, count] = match self.goal {
            Goal::Values(loss) => {
                let batch = self.shapes.batch(graph, network, tokens, &rows)?;
                let logits = network.encoder.logits(graph, &batch)?;
                let width = network.config.labels;
                let of = |&row: &u32| &self.train.values[row as usize * width..][..width];
                let target: Vec<f32> = rows.iter().flat_map(of).copied().collect();
                let target = input(graph, &target, [rows.len(), width])?;
                let (sum, count) = loss.apply(graph, &logits, &target, None)?;
                [sum, count]
            }
            Goal::Tags => {
                let batch = self.shapes.batch(graph, network, tokens, &rows)?;
                let targets = tag_targets(graph, &batch, self.train, self.names, &rows)?;
                network.encoder.loss(graph, &batch, &targets)?
            }
            Goal::Masked(masking) => {
                let key = key.with_name("mask");
                let (batch, targets) =
                    masked_batch(graph, network, tokens, &rows, &mut self.shapes, masking, key)?;
                network.encoder.loss(graph, &batch, &targets)?
            }
            Goal::Pairs(ranking) => {
                let sequences = of_columns(&rows, ranking.columns);
                let batch = self.shapes.batch(graph, network, tokens, &sequences)?;
                let vectors = network.encoder.embed(graph, &batch, ranking.mean)?;
                ranked(graph, ranking, &vectors)?
            }
        };
        Ok(BatchLoss { sum, count, total: None })
    }

    fn evaluate(&mut self, graph: &mut Graph) -> Result<Option<Evaluation>> {
        if self.valid.rows() == 0 {
            return Ok(None);
        }
        let found = self.measure(graph, self.valid)?;
        let device = graph.device().clone();
        let score = monitored(self.goal, self.names, self.valid, &found, &device);
        Ok(Some(Evaluation { loss: found.loss(), score }))
    }
}

impl EncoderObjective<'_> {
    /// Computes a part: its loss, and what the network says of it.
    ///
    /// # Errors
    /// An operation failed.
    pub(super) fn measure(&mut self, graph: &mut Graph, part: &Part) -> Result<Measured> {
        let (network, tokens) = (self.network, &part.tokens);
        let planning = graph.device().pool().is_planning();
        let rows = (&tokens.order[..], &tokens.lengths[..]);
        let mut found = Measured::default();
        let shapes = &mut self.shapes;
        match self.goal {
            Goal::Values(loss) => {
                let width = network.config.labels;
                let mut values = vec![0.0; part.rows() * width];
                each_batch(graph, network, (tokens, rows), shapes, &mut |graph, batch, rows| {
                    let logits = network.encoder.logits(graph, batch)?;
                    if !planning {
                        place(&mut values, rows, logits.slice()?, width);
                    }
                    Ok(())
                })?;
                let dims = [part.rows(), width];
                let target: &[f32] = &part.values;
                let (logits, target) = (input(graph, &values, dims)?, input(graph, target, dims)?);
                let (sum, count) = loss.apply(graph, &logits, &target, None)?;
                if !planning {
                    (found.sum, found.count) = (sum.item()?, count.item()?);
                }
                found.values = values;
            }
            Goal::Tags => {
                found.tags = vec![Vec::new(); part.rows()];
                let names = self.names;
                each_batch(graph, network, (tokens, rows), shapes, &mut |graph, batch, rows| {
                    let logits = network.encoder.logits(graph, batch)?;
                    if !planning {
                        let &[_, length, width] = logits.shape().dims() else { return Ok(()) };
                        let logits = logits.slice::<f32>()?;
                        for (&row, logits) in rows.iter().zip(logits.chunks_exact(length * width)) {
                            read_tags(logits, width, part, names, row as usize, &mut found);
                        }
                    }
                    Ok(())
                })?;
            }
            Goal::Masked(masking) => {
                // The same masks at each evaluation.
                let key = Key::new(self.seed).with_name("masks of an evaluation");
                let mut pending = Shapes::new(tokens, 1);
                each_batch(graph, network, (tokens, rows), shapes, &mut |graph, _, rows| {
                    let (batch, targets) =
                        masked_batch(graph, network, tokens, rows, &mut pending, masking, key)?;
                    let [sum, count] = network.encoder.loss(graph, &batch, &targets)?;
                    if !planning {
                        let part = (sum.item()?, count.item()?);
                        found.sum += part.0;
                        found.count += part.1;
                        found.parts.push(part);
                    }
                    Ok(())
                })?;
            }
            Goal::Pairs(ranking) => {
                let width = network.config.hidden_size;
                let mut values = vec![0.0; tokens.ids.len() * width];
                let mut order: Vec<u32> = (0..tokens.ids.len() as u32).collect();
                order.sort_by_key(|&i| std::cmp::Reverse(tokens.ids[i as usize].len()));
                let lengths: Vec<u32> =
                    order.iter().map(|&i| tokens.ids[i as usize].len() as u32).collect();
                let rows = (&order[..], &lengths[..]);
                each_batch(graph, network, (tokens, rows), shapes, &mut |graph, batch, rows| {
                    let vectors = network.encoder.embed(graph, batch, ranking.mean)?;
                    if !planning {
                        place(&mut values, rows, vectors.slice()?, width);
                    }
                    Ok(())
                })?;
                let all: Vec<u32> = (0..part.rows() as u32).collect();
                for rows in all.chunks(self.batch) {
                    graph.reset();
                    let sequences = of_columns(rows, ranking.columns);
                    let of = |&i: &u32| &values[i as usize * width..][..width];
                    let batch: Vec<f32> = sequences.iter().flat_map(of).copied().collect();
                    let batch = input(graph, &batch, [sequences.len(), width])?;
                    let [sum, count] = ranked(graph, ranking, &batch)?;
                    if planning {
                        break;
                    }
                    found.sum += sum.item()?;
                    found.count += count.item()?;
                }
                found.values = values;
            }
        }
        graph.reset();
        Ok(found)
    }
}

/// Puts the values of a batch where they belong.
fn place(values: &mut [f32], rows: &[u32], found: &[f32], width: usize) {
    for (&row, found) in rows.iter().zip(found.chunks_exact(width)) {
        values[row as usize * width..][..width].copy_from_slice(found);
    }
}

/// The sequences of rows, column by column.
fn of_columns(rows: &[u32], columns: usize) -> Vec<u32> {
    let columns = columns as u32;
    (0..columns).flat_map(|column| rows.iter().map(move |row| row * columns + column)).collect()
}

/// The loss of vectors, column by column, and its count.
fn ranked(graph: &mut Graph, ranking: &Ranking, vectors: &Value) -> Result<[Value; 2]> {
    match graph.apply_all(&ranking.op, &[vectors])?.as_slice() {
        [sum, count] => Ok([sum.clone(), count.clone()]),
        _ => Err(Error::shape(ranking.op.name(), "expected a loss and a count")),
    }
}

/// The class of each token of a batch `[B, T]`: that of a word at its first token.
fn tag_targets(
    graph: &Graph,
    batch: &EncoderBatch,
    part: &Part,
    names: &Names,
    rows: &[u32],
) -> Result<Value> {
    let length = batch.ids.shape().last();
    let mut targets = vec![IGNORED; rows.len() * length];
    for (&row, targets) in rows.iter().zip(targets.chunks_exact_mut(length)) {
        let tagged = &part.tagged[row as usize];
        for (class, start) in tagged.classes(names).into_iter().zip(&tagged.starts) {
            if let Some(start) = start {
                targets[*start as usize] = class;
            }
        }
    }
    targets_of(graph, &targets, [rows.len(), length])
}

fn targets_of(graph: &Graph, targets: &[i32], dims: [usize; 2]) -> Result<Value> {
    let tensor =
        Tensor::from_slice(graph.device(), targets, &dims).map_err(Error::of("encoder"))?;
    Ok(graph.input(tensor))
}

impl super::corpus::Tagged {
    /// The class of each word's tag.
    pub(super) fn classes(&self, names: &Names) -> Vec<i32> {
        let class = |tag: &String| {
            names.all.iter().position(|name| name == tag).map_or(IGNORED, |class| class as i32)
        };
        self.tags.iter().map(class).collect()
    }
}

/// A batch with masks, and the tokens that are to be found.
fn masked_batch(
    graph: &mut Graph,
    network: &Network,
    tokens: &Tokens,
    rows: &[u32],
    shapes: &mut Shapes,
    masking: &Masking,
    key: Key,
) -> Result<(EncoderBatch, Value)> {
    let mut all = Vec::with_capacity(rows.len());
    let mut learned = Vec::with_capacity(rows.len());
    for &row in rows {
        let (ids, targets) = masking.apply(&tokens.ids[row as usize], key.with(u64::from(row)));
        all.push(ids);
        learned.push(targets);
    }
    let masked = Tokens { ids: all, ..Tokens::default() };
    let own: Vec<u32> = (0..rows.len() as u32).collect();
    let batch = shapes.batch(graph, network, &masked, &own)?;
    let length = batch.ids.shape().last();
    for targets in &mut learned {
        targets.resize(length, IGNORED);
    }
    let targets = targets_of(graph, &learned.concat(), [rows.len(), length])?;
    Ok((batch, targets))
}

/// The likeliest tag of each word of a row from its tokens' logits, and the loss.
fn read_tags(
    logits: &[f32],
    width: usize,
    part: &Part,
    names: &Names,
    row: usize,
    found: &mut Measured,
) {
    let tagged = &part.tagged[row];
    let classes = tagged.classes(names);
    let outside = names.all.iter().position(|name| name == "O").unwrap_or(0) as u32;
    let mut tags = vec![outside; tagged.words.len()];
    for (i, start) in tagged.starts.iter().enumerate() {
        let Some(start) = start else { continue };
        let logits = &logits[*start as usize * width..][..width];
        let best = (1..width).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
        tags[i] = best as u32;
        if let Some(class) = classes.get(i).and_then(|&class| usize::try_from(class).ok()) {
            let most = f64::from(logits[best]);
            let sum: f64 = logits.iter().map(|&z| (f64::from(z) - most).exp()).sum();
            found.sum += sum.ln() + most - f64::from(logits[class]);
            found.count += 1.0;
        }
    }
    found.tags[row] = tags;
}
