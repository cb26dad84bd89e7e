//! Texts as batches: the [`Objective`] of an encoder.

use super::data::Tokens;
use super::learner::Learner;
use super::network::Network;
use crate::language::encoder_batch;
use crate::table::objective::{Rows, TextTensors, gather_target, gather_weights, score};
use ff_graph::{Error, Graph, Mode, Result, Value};
use ff_nn::Loss;
use ff_nn::models::EncoderBatch;
use ff_table::Encoded;
use ff_tensor::{Key, Tensor};
use ff_train::{BatchLoss, Evaluation, Objective};

/// Lengths are padded to a multiple of this, so that batches have few shapes.
pub(crate) const MULTIPLE: usize = 8;
/// Tokens of a batch of an evaluation, padding included.
pub(crate) const EVAL_TOKENS: usize = 2048;

/// The rows and the texts of a part.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) data: &'a Encoded,
    pub(super) tokens: &'a Tokens,
}

/// Trains a network on the texts and the other columns of a part and evaluates it on those of
/// another.
pub(super) struct SequenceObjective<'a> {
    learner: &'a Learner,
    loss: &'a Loss,
    /// The training and the validation part.
    parts: [Part<'a>; 2],
    shapes: Shapes,
    /// The vectors of both parts' texts by a frozen encoder.
    vectors: Option<&'a Vectors>,
    /// The texts of both parts for a table of vectors, once they were needed.
    bags: [Option<TextTensors>; 2],
}

/// The vectors of the training and the validation texts by a frozen encoder.
pub(crate) type Vectors = [Vec<f32>; 2];

impl<'a> SequenceObjective<'a> {
    pub(super) fn new(
        (learner, loss): (&'a Learner, &'a Loss),
        train: Part<'a>,
        valid: Part<'a>,
        batch: usize,
        vectors: Option<&'a Vectors>,
    ) -> Self {
        let shapes = Shapes::new(train.tokens, batch);
        Self { learner, loss, parts: [train, valid], shapes, vectors, bags: [None, None] }
    }

    /// The logits of some rows of the training part.
    fn logits(&mut self, graph: &mut Graph, rows: &[u32]) -> Result<Value> {
        let Some(network) = self.learner.encoder.as_ref().filter(|_| !self.learner.frozen) else {
            return self.without_encoder(graph, 0, rows);
        };
        let Part { data, tokens } = self.parts[0];
        let batch = self.shapes.batch(graph, network, tokens, rows)?;
        let vectors = self.learner.vectors(network, graph, &batch)?;
        self.learner.logits(graph, Some(vectors), (data, &TextTensors::default()), rows)
    }

    /// The logits of some rows of a part by a frozen encoder, whose vectors are there, or by a
    /// table of vectors; a plan has no vectors, and zeros take the same time and memory.
    fn without_encoder(&mut self, graph: &mut Graph, part: usize, rows: &[u32]) -> Result<Value> {
        let data = self.parts[part].data;
        let bags = match self.bags[part].take() {
            Some(bags) => bags,
            None => TextTensors::new(graph.device(), data)?,
        };
        let width = self.learner.encoder.as_ref().map(|network| network.config.hidden_size);
        let x = width.map(|width| {
            let chosen: Vec<f32> = match self.vectors {
                Some(vectors) => {
                    let of = |&row: &u32| &vectors[part][row as usize * width..][..width];
                    rows.iter().flat_map(of).copied().collect()
                }
                None => vec![0.0; rows.len() * width],
            };
            input(graph, &chosen, [rows.len(), width])
        });
        let logits = self.learner.logits(graph, x.transpose()?, (data, &bags), rows);
        self.bags[part] = Some(bags);
        logits
    }

    /// The logits `[rows, outputs]` of the validation part.
    fn valid_outputs(&mut self, graph: &mut Graph) -> Result<Vec<f32>> {
        if self.learner.encoder.is_some() && !self.learner.frozen {
            return all(graph, self.learner, self.parts[1], &mut self.shapes, Of::Logits);
        }
        let mode = graph.mode();
        graph.set_mode(Mode::Eval);
        let mut outputs = Vec::new();
        let rows: Vec<u32> = (0..self.parts[1].data.rows as u32).collect();
        for rows in rows.chunks(EVAL_TOKENS) {
            graph.reset();
            let logits = self.without_encoder(graph, 1, rows)?;
            outputs.extend_from_slice(logits.slice::<f32>()?);
        }
        graph.reset();
        graph.set_mode(mode);
        Ok(outputs)
    }
}

impl Objective for SequenceObjective<'_> {
    fn rows(&self) -> usize {
        self.parts[0].data.rows
    }

    fn lengths(&self) -> Option<&[u32]> {
        // Vectors have one length.
        let texts = self.learner.encoder.is_some() && !self.learner.frozen;
        texts.then_some(&self.parts[0].tokens.lengths)
    }

    fn loss(&mut self, graph: &mut Graph, rows: &[u32], _: Key) -> Result<BatchLoss> {
        let order = &self.parts[0].tokens.order;
        let rows: Vec<u32> = rows.iter().map(|&i| order[i as usize]).collect();
        let logits = self.logits(graph, &rows)?;
        let (loss, data, rows) = (self.loss, self.parts[0].data, Rows::all(&rows));
        let target = gather_target(graph, loss, data, &rows)?;
        let weights = gather_weights(graph, data, &rows)?;
        let (sum, count) = loss.apply(graph, &logits, &target, weights.as_ref())?;
        Ok(BatchLoss { sum, count, total: None })
    }

    fn evaluate(&mut self, graph: &mut Graph) -> Result<Option<Evaluation>> {
        let data = self.parts[1].data;
        if data.rows == 0 {
            return Ok(None);
        }
        let outputs = self.valid_outputs(graph)?;
        let (loss, width) = (self.loss, self.loss.outputs());
        let all: Vec<u32> = (0..data.rows as u32).collect();
        let rows = Rows::all(&all);
        let logits = input(graph, &outputs, [data.rows, width])?;
        let target = gather_target(graph, loss, data, &rows)?;
        let weights = gather_weights(graph, data, &rows)?;
        let (sum, count) = loss.apply(graph, &logits, &target, weights.as_ref())?;
        let (sum, count) = (sum.item()?, count.item()?);
        drop((logits, target, weights));
        graph.reset();
        let mean = if count > 0.0 { sum / count } else { 0.0 };
        let score = score(&outputs, width, data.target.as_ref());
        Ok(Some(Evaluation { loss: mean, score }))
    }
}

pub(crate) fn input(graph: &Graph, values: &[f32], dims: [usize; 2]) -> Result<Value> {
    let tensor = Tensor::from_slice(graph.device(), values, &dims).map_err(Error::of("encoder"))?;
    Ok(graph.input(tensor))
}

/// What is computed of each text.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Vectors,
    Logits,
}

/// The logits `[rows, outputs]` of all rows of a part.
///
/// # Errors
/// An operation failed.
pub(super) fn outputs(graph: &mut Graph, learner: &Learner, part: Part<'_>) -> Result<Vec<f32>> {
    if learner.encoder.is_some() {
        return all(graph, learner, part, &mut Shapes::new(part.tokens, 1), Of::Logits);
    }
    let mode = graph.mode();
    graph.set_mode(Mode::Eval);
    let texts = TextTensors::new(graph.device(), part.data)?;
    let rows: Vec<u32> = (0..part.data.rows as u32).collect();
    let planning = graph.device().pool().is_planning();
    let mut outputs = Vec::new();
    for rows in rows.chunks(EVAL_TOKENS) {
        graph.reset();
        let logits = learner.logits(graph, None, (part.data, &texts), rows)?;
        // A plan has no values.
        if planning {
            break;
        }
        outputs.extend_from_slice(logits.slice::<f32>()?);
    }
    graph.reset();
    graph.set_mode(mode);
    Ok(outputs)
}

/// The vectors of all texts of a part by a frozen encoder; none without one.
///
/// # Errors
/// An operation failed.
pub(super) fn vectors(graph: &mut Graph, learner: &Learner, part: Part<'_>) -> Result<Vec<f32>> {
    all(graph, learner, part, &mut Shapes::new(part.tokens, 1), Of::Vectors)
}

/// The batch of an evaluation that takes the most memory, on a device that only counts.
///
/// # Errors
/// The shapes do not fit.
pub(super) fn plan_evaluation(graph: &mut Graph, learner: &Learner, part: Part<'_>) -> Result<()> {
    outputs(graph, learner, part).map(drop)
}

/// Computes all texts of a part by an encoder, the longest first.
fn all(
    graph: &mut Graph,
    learner: &Learner,
    Part { data, tokens }: Part<'_>,
    shapes: &mut Shapes,
    of: Of,
) -> Result<Vec<f32>> {
    let Some(network) = &learner.encoder else { return Ok(Vec::new()) };
    let width = match of {
        Of::Vectors => network.config.hidden_size,
        Of::Logits => learner.outputs(),
    };
    let mut values = vec![0.0; tokens.ids.len() * width];
    let rows = (&tokens.order[..], &tokens.lengths[..]);
    each_batch(graph, network, (tokens, rows), shapes, &mut |graph, batch, rows| {
        let mut found = learner.vectors(network, graph, batch)?;
        if of == Of::Logits {
            found = learner.logits(graph, Some(found), (data, &TextTensors::default()), rows)?;
        }
        // A plan has no values.
        if !graph.device().pool().is_planning() {
            let found = found.slice::<f32>()?.chunks_exact(width);
            for (&row, found) in rows.iter().zip(found) {
                values[row as usize * width..][..width].copy_from_slice(found);
            }
        }
        Ok(())
    })?;
    Ok(values)
}

/// What is done with a batch of these rows.
pub(crate) type Each<'a> = dyn FnMut(&mut Graph, &EncoderBatch, &[u32]) -> Result<()> + 'a;

/// Makes batches of sequences in this order, the longest first, with the graph in evaluation mode;
/// a plan makes the first alone, which is the largest.
///
/// # Errors
/// An operation failed.
pub(crate) fn each_batch(
    graph: &mut Graph,
    network: &Network,
    (tokens, (order, lengths)): (&Tokens, (&[u32], &[u32])),
    shapes: &mut Shapes,
    each: &mut Each<'_>,
) -> Result<()> {
    let mode = graph.mode();
    graph.set_mode(Mode::Eval);
    let mut at = 0;
    while at < order.len() {
        graph.reset();
        let longest = padded(lengths[at] as usize, network);
        let rows = &order[at..];
        let rows = &rows[..(EVAL_TOKENS / longest).clamp(1, rows.len())];
        let batch = shapes.batch(graph, network, tokens, rows)?;
        each(graph, &batch, rows)?;
        at += rows.len();
        if graph.device().pool().is_planning() {
            break;
        }
    }
    graph.reset();
    graph.set_mode(mode);
    Ok(())
}

/// The tokens that a text of a batch is padded to.
fn padded(length: usize, network: &Network) -> usize {
    length.next_multiple_of(MULTIPLE).min(network.config.longest()).max(length)
}

/// The shapes of batches whose memory is kept. A pool keeps memory for each shape; texts have many,
/// so that those kept together are as large as the largest and a usual one.
pub(crate) struct Shapes {
    most: usize,
    /// Rows, the tokens of each, and those of each's target, where there is one.
    held: Vec<[usize; 3]>,
}

impl Shapes {
    pub(crate) fn new(tokens: &Tokens, batch: usize) -> Self {
        let length = |at: usize| tokens.lengths.get(at).map_or(0, |&length| length as usize);
        let kept = length(0) + length(tokens.lengths.len() / 2) + 2 * MULTIPLE;
        Self::of(batch * kept)
    }

    /// Shapes of which those kept have so many tokens at most.
    pub(crate) fn of(most: usize) -> Self {
        Self { most: most.max(EVAL_TOKENS), held: Vec::new() }
    }

    /// Makes room for a batch of this shape.
    pub(crate) fn hold(&mut self, graph: &Graph, shape: [usize; 3]) {
        let tokens = |[rows, source, target]: &[usize; 3]| rows * (source + target);
        if !self.held.contains(&shape) {
            let held: usize = self.held.iter().map(tokens).sum();
            if held + tokens(&shape) > self.most {
                graph.device().pool().trim();
                self.held.clear();
            }
            self.held.push(shape);
        }
    }

    /// The batch of these sequences.
    ///
    /// # Errors
    /// A sequence is too long, or memory is short.
    pub(crate) fn batch(
        &mut self,
        graph: &mut Graph,
        network: &Network,
        tokens: &Tokens,
        rows: &[u32],
    ) -> Result<EncoderBatch> {
        let texts: Vec<&[u32]> = rows.iter().map(|&row| &tokens.ids[row as usize][..]).collect();
        let longest = texts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let shape = [rows.len(), padded(longest, network)];
        self.hold(graph, [shape[0], shape[1], 0]);
        encoder_batch(graph, &network.config, &texts, shape[1])
            .map_err(|error| Error::shape("encoder", error.to_string()))
    }
}
