//! Batches and losses: the [`Objective`] of pairs.

use super::corpus::Pairs;
use super::network::Network;
use crate::sequence::{EVAL_TOKENS, MULTIPLE, Shapes};
use ff_graph::{Error, Graph, Mode, Result, Value};
use ff_nn::models::{EncoderDecoder, EncoderDecoderBatch, EncoderDecoderConfig};
use ff_tensor::{Key, Tensor};
use ff_train::{BatchLoss, Evaluation, Objective};

/// Marks a token that is not learned.
const IGNORED: i32 = -100;

/// Trains a model on a part and evaluates it on another.
pub(super) struct PairObjective<'a> {
    pub(super) network: &'a Network,
    pub(super) batches: Batches<'a>,
    pub(super) train: &'a Pairs,
    pub(super) valid: &'a Pairs,
}

/// Makes batches of pairs.
pub(super) struct Batches<'a> {
    config: &'a EncoderDecoderConfig,
    shapes: Shapes,
}

impl<'a> Batches<'a> {
    /// Of so many pairs of a part at most.
    pub(super) fn new(config: &'a EncoderDecoderConfig, pairs: &Pairs, batch: usize) -> Self {
        let length = |at: usize| pairs.lengths.get(at).map_or(0, |&length| length as usize);
        let kept = length(0) + length(pairs.lengths.len() / 2) + 4 * MULTIPLE;
        Self { config, shapes: Shapes::of(batch * kept) }
    }

    /// The batch of these pairs, and its targets `[B, T]`: what the decoder is given is the target
    /// behind the token that every target starts with, and padding is neither read nor learned.
    ///
    /// # Errors
    /// Memory is short.
    pub(super) fn batch(
        &mut self,
        graph: &Graph,
        pairs: &Pairs,
        rows: &[u32],
    ) -> Result<(EncoderDecoderBatch, Value)> {
        let all = |of: &'_ [Vec<u32>]| -> Vec<Vec<i32>> {
            let ids = |&row: &u32| of[row as usize].iter().map(|&id| id as i32).collect();
            rows.iter().map(ids).collect()
        };
        let (sources, targets) = (all(&pairs.sources), all(&pairs.targets));
        let most = self.config.max_positions.unwrap_or(usize::MAX);
        let longest = |of: &[Vec<i32>]| {
            let longest = of.iter().map(Vec::len).max().unwrap_or(1);
            longest.next_multiple_of(MULTIPLE).min(most).max(longest)
        };
        let (s, t) = (longest(&sources), longest(&targets));
        self.shapes.hold(graph, [rows.len(), s, t]);
        let (pad, start) = (self.config.pad_token as i32, self.config.start_token as i32);
        let filled = |of: &[Vec<i32>], width: usize, with: i32| {
            let mut values = vec![with; rows.len() * width];
            for (row, ids) in values.chunks_exact_mut(width).zip(of) {
                row[..ids.len()].copy_from_slice(ids);
            }
            values
        };
        let segments: Vec<Vec<i32>> = sources.iter().map(|ids| vec![0; ids.len()]).collect();
        let behind: Vec<Vec<i32>> = targets
            .iter()
            .map(|ids| std::iter::once(start).chain(ids.iter().copied()).take(ids.len()).collect())
            .collect();
        let value = |values: Vec<i32>, width: usize| -> Result<Value> {
            let tensor = Tensor::from_slice(graph.device(), &values, &[rows.len(), width])
                .map_err(Error::of("encoder_decoder"))?;
            Ok(graph.input(tensor))
        };
        let batch = EncoderDecoderBatch {
            source: value(filled(&sources, s, pad), s)?,
            segments: Some(value(filled(&segments, s, -1), s)?),
            target: value(filled(&behind, t, pad), t)?,
        };
        Ok((batch, value(filled(&targets, t, IGNORED), t)?))
    }
}

impl Objective for PairObjective<'_> {
    fn rows(&self) -> usize {
        self.train.rows()
    }

    fn lengths(&self) -> Option<&[u32]> {
        Some(&self.train.lengths)
    }

    fn loss(&mut self, graph: &mut Graph, rows: &[u32], _: Key) -> Result<BatchLoss> {
        let rows: Vec<u32> = rows.iter().map(|&i| self.train.order[i as usize]).collect();
        let (batch, targets) = self.batches.batch(graph, self.train, &rows)?;
        let loss = self.network.learner.loss(graph, &batch, &targets)?;
        Ok(BatchLoss { sum: loss.sum, count: loss.count, total: Some(loss.total) })
    }

    fn evaluate(&mut self, graph: &mut Graph) -> Result<Option<Evaluation>> {
        if self.valid.rows() == 0 {
            return Ok(None);
        }
        let (sum, count) = losses(graph, &self.network.plain, &mut self.batches, self.valid)?;
        let loss = sum / count.max(1.0);
        // Higher is better.
        Ok(Some(Evaluation { loss, score: -loss }))
    }
}

/// The sum of the losses of a part's target tokens, and their number, with the graph in evaluation
/// mode; a plan computes the first batch alone, which is the largest.
///
/// # Errors
/// An operation failed.
pub(super) fn losses(
    graph: &mut Graph,
    network: &EncoderDecoder,
    batches: &mut Batches<'_>,
    pairs: &Pairs,
) -> Result<(f64, f64)> {
    let mode = graph.mode();
    graph.set_mode(Mode::Eval);
    let planning = graph.device().pool().is_planning();
    let (mut sum, mut count, mut at) = (0.0, 0.0, 0);
    while at < pairs.order.len() && !(planning && at > 0) {
        graph.reset();
        let length = pairs.lengths[at] as usize + 2 * MULTIPLE;
        let rows = &pairs.order[at..];
        let rows = &rows[..(EVAL_TOKENS / length).clamp(1, rows.len())];
        let (batch, targets) = batches.batch(graph, pairs, rows)?;
        let loss = network.loss(graph, &batch, &targets)?;
        if !planning {
            sum += loss.sum.item()?;
            count += loss.count.item()?;
        }
        at += rows.len();
    }
    graph.reset();
    graph.set_mode(mode);
    Ok((sum, count))
}
