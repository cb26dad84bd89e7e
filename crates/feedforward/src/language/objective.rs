//! The [`Objective`] of a language model: windows of a stream of tokens as batches.

use ff_graph::{Error, Graph, Mode, Value};
use ff_nn::models::{CausalLm, TokenBatch};
use ff_tensor::{DType, Key, Rng, Shape, Tensor};
use ff_text::TokenData;
use ff_train::{BatchLoss, EpochRecord, Evaluation, Objective, Result};
use std::fmt;

const NAME: &str = "windows";

/// A target that the loss leaves out.
pub const IGNORED: i32 = -100;

/// A stream of tokens that can be read from anywhere.
///
/// ```
/// use feedforward::language::objective::Tokens;
/// /// The numbers from 0 on.
/// #[derive(Debug)]
/// struct Counting(u64);
/// impl Tokens for Counting {
///     fn len(&self) -> u64 {
///         self.0
///     }
///     fn read(&self, start: u64, ids: &mut [i32]) -> ff_graph::Result<()> {
///         ids.iter_mut().zip(start..).for_each(|(id, n)| *id = n as i32);
///         Ok(())
///     }
///     fn segments(&self, _start: u64, documents: &mut [i32]) -> ff_graph::Result<()> {
///         documents.fill(0);
///         Ok(())
///     }
/// }
/// assert!(!Counting(3).is_empty());
/// ```
pub trait Tokens: fmt::Debug + Sync {
    /// The number of tokens.
    fn len(&self) -> u64;

    /// Whether the stream is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens from `start` on.
    ///
    /// # Errors
    /// They reach beyond the end, or their file is damaged.
    fn read(&self, start: u64, ids: &mut [i32]) -> ff_graph::Result<()>;

    /// For each of the tokens from `start` on, the number of its document, counted from that of the
    /// first.
    ///
    /// # Errors
    /// As [`Tokens::read`].
    fn segments(&self, start: u64, documents: &mut [i32]) -> ff_graph::Result<()>;

    /// For each of the tokens from `start` on, whether it is to be predicted: all of them by
    /// default.
    ///
    /// # Errors
    /// As [`Tokens::read`].
    fn trained(&self, _start: u64, trained: &mut [bool]) -> ff_graph::Result<()> {
        trained.fill(true);
        Ok(())
    }
}

/// Tokens in files that are mapped.
impl Tokens for TokenData {
    fn len(&self) -> u64 {
        self.tokens()
    }

    fn read(&self, start: u64, ids: &mut [i32]) -> ff_graph::Result<()> {
        TokenData::read(self, start, ids).map_err(|e| damaged(&e))
    }

    fn segments(&self, start: u64, documents: &mut [i32]) -> ff_graph::Result<()> {
        TokenData::segments(self, start, documents).map_err(|e| damaged(&e))
    }
}

fn damaged(error: &ff_text::TextError) -> Error {
    Error::shape("corpus", error.to_string())
}

/// Tokens in memory, one document.
impl Tokens for Vec<i32> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read(&self, start: u64, ids: &mut [i32]) -> ff_graph::Result<()> {
        let there = self.get(start as usize..).and_then(|rest| rest.get(..ids.len()));
        let there = there.ok_or_else(|| Error::shape(NAME, "reaches beyond the last token"))?;
        ids.copy_from_slice(there);
        Ok(())
    }

    fn segments(&self, _start: u64, documents: &mut [i32]) -> ff_graph::Result<()> {
        documents.fill(0);
        Ok(())
    }
}

/// How windows are cut out of the stream.
///
/// ```
/// let windows = feedforward::language::objective::Windows { context: 64, ..Default::default() };
/// // Each predicts 64 tokens; the first token of all is not predicted.
/// assert_eq!(windows.count(129), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Windows {
    /// How many tokens a window predicts.
    pub context: usize,
    /// Whether documents are kept apart: attention stays inside of a document, positions start
    /// again, and no document is predicted from the one before.
    pub separate: bool,
    /// Whether windows start anywhere, drawn with replacement, in place of passes over all of them
    /// in a random order.
    pub random: bool,
    /// Only the tokens behind this one in its document are predicted: those before it are a
    /// question.
    pub after: Option<i32>,
}

impl Windows {
    /// The number of windows in a stream of this many tokens.
    pub fn count(&self, tokens: u64) -> usize {
        tokens.saturating_sub(1) as usize / self.context.max(1)
    }
}

/// Called after an evaluation; the graph holds the evaluated weights.
pub type AfterEpoch<'a> = dyn FnMut(&mut Graph, &EpochRecord, bool) -> Result<()> + 'a;

/// Trains a language model on a stream of tokens and evaluates it on another.
///
/// A step's windows depend on the seed, the step and the micro-batch alone, so that a checkpoint
/// needs no more than the number of its step to go on with the very batches that a run without a
/// stop would see.
pub struct LanguageObjective<'a> {
    model: &'a CausalLm,
    windows: Windows,
    train: &'a dyn Tokens,
    valid: Option<&'a dyn Tokens>,
    /// Windows of an evaluation, spread evenly; all of them by default.
    eval_windows: usize,
    batch: usize,
    bytes_per_token: f64,
    after_epoch: Option<Box<AfterEpoch<'a>>>,
}

impl fmt::Debug for LanguageObjective<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanguageObjective").field("windows", &self.windows).finish_non_exhaustive()
    }
}

impl<'a> LanguageObjective<'a> {
    /// An objective over these streams; evaluations look at `batch` windows at a time.
    pub fn new(
        model: &'a CausalLm,
        windows: Windows,
        train: &'a dyn Tokens,
        valid: Option<&'a dyn Tokens>,
        batch: usize,
    ) -> Self {
        let (eval_windows, bytes_per_token) = (usize::MAX, 1.0);
        Self {
            model,
            windows,
            train,
            valid,
            eval_windows,
            batch,
            bytes_per_token,
            after_epoch: None,
        }
    }

    /// Evaluates on at most this many windows.
    #[must_use]
    pub fn with_eval_windows(mut self, windows: usize) -> Self {
        self.eval_windows = windows.max(1);
        self
    }

    /// Sets the bytes of text per token of the validation stream: the score is in bits per byte.
    #[must_use]
    pub fn with_bytes_per_token(mut self, bytes: f64) -> Self {
        self.bytes_per_token = bytes;
        self
    }

    /// Calls a function after each evaluation.
    #[must_use]
    pub fn with_after_epoch(
        mut self,
        after_epoch: impl FnMut(&mut Graph, &EpochRecord, bool) -> Result<()> + 'a,
    ) -> Self {
        self.after_epoch = Some(Box::new(after_epoch));
        self
    }

    fn window(&self, key: Key, row: usize, number: u32) -> u64 {
        let context = self.windows.context as u64;
        if self.windows.random {
            let starts = self.train.len().saturating_sub(context).max(1);
            Rng::new(key.with_name("window").with(row as u64)).below(starts)
        } else {
            u64::from(number) * context
        }
    }
}

impl Objective for LanguageObjective<'_> {
    fn rows(&self) -> usize {
        self.windows.count(self.train.len())
    }

    fn loss(&mut self, graph: &mut Graph, rows: &[u32], key: Key) -> ff_graph::Result<BatchLoss> {
        let start = |row: usize| self.window(key, row, rows[row]);
        let (batch, targets) = gather(graph, self.train, self.windows, rows.len(), start)?;
        let loss = self.model.loss(graph, &batch, &targets)?;
        Ok(BatchLoss { sum: loss.sum, count: loss.count, total: Some(loss.total) })
    }

    fn evaluate(&mut self, graph: &mut Graph) -> ff_graph::Result<Option<Evaluation>> {
        let Some(valid) = self.valid else { return Ok(None) };
        let most = self.eval_windows;
        let (sum, count) = evaluate(graph, self.model, self.windows, valid, self.batch, most)?;
        let loss = sum / count.max(1.0);
        // Higher is better.
        let score = -loss / std::f64::consts::LN_2 / self.bytes_per_token;
        Ok(Some(Evaluation { loss, score }))
    }

    fn after_epoch(
        &mut self,
        graph: &mut Graph,
        record: &EpochRecord,
        is_best: bool,
    ) -> Result<()> {
        match &mut self.after_epoch {
            Some(after_epoch) => after_epoch(graph, record, is_best),
            None => Ok(()),
        }
    }
}

/// The sum of the losses of a stream and the number of tokens that were predicted, window by
/// window: all of them, or `most` that lie evenly apart.
///
/// # Errors
/// An operation failed.
pub fn evaluate(
    graph: &mut Graph,
    model: &CausalLm,
    windows: Windows,
    tokens: &dyn Tokens,
    batch: usize,
    most: usize,
) -> ff_graph::Result<(f64, f64)> {
    let parts = evaluate_parts(graph, model, windows, tokens, batch, most)?;
    Ok(parts.iter().fold((0.0, 0.0), |(sum, count), part| (sum + part.0, count + part.1)))
}

/// The same for each `batch` of windows one after the other.
///
/// # Errors
/// An operation failed.
pub fn evaluate_parts(
    graph: &mut Graph,
    model: &CausalLm,
    windows: Windows,
    tokens: &dyn Tokens,
    batch: usize,
    most: usize,
) -> ff_graph::Result<Vec<(f64, f64)>> {
    graph.set_mode(Mode::Eval);
    let context = windows.context as u64;
    let all = tokens.len().saturating_sub(1).div_ceil(context.max(1)) as usize;
    let count = all.min(most);
    let starts: Vec<u64> = (0..count).map(|i| (i * all / count.max(1)) as u64 * context).collect();
    let mut parts = Vec::with_capacity(count.div_ceil(batch.max(1)));
    for starts in starts.chunks(batch.max(1)) {
        graph.reset();
        let (input, targets) = gather(graph, tokens, windows, starts.len(), |row| starts[row])?;
        let loss = model.loss(graph, &input, &targets)?;
        if !graph.device().pool().is_planning() {
            parts.push((loss.sum.item()?, loss.count.item()?));
        }
    }
    graph.reset();
    Ok(parts)
}

/// Windows as a batch and their targets; behind the end of the stream is padding.
///
/// # Errors
/// Memory is short.
pub fn gather(
    graph: &mut Graph,
    tokens: &dyn Tokens,
    windows: Windows,
    rows: usize,
    start: impl Fn(usize) -> u64,
) -> ff_graph::Result<(TokenBatch, Value)> {
    let context = windows.context;
    let tensor = |graph: &Graph| {
        Tensor::uninit(graph.device(), Shape::from([rows, context]), DType::I32)
            .map_err(Error::of(NAME))
    };
    let (mut ids, mut targets) = (tensor(graph)?, tensor(graph)?);
    let mut positions = tensor(graph)?;
    let mut segments = if windows.separate { Some(tensor(graph)?) } else { None };
    if !ids.is_planned() {
        let mut window = Window::new(context);
        for row in 0..rows {
            window.read(tokens, windows, start(row))?;
            let range = row * context..(row + 1) * context;
            let copy = |tensor: &mut Tensor, from: &[i32]| -> ff_graph::Result<()> {
                values(tensor)?[range.clone()].copy_from_slice(from);
                Ok(())
            };
            copy(&mut ids, &window.ids[..context])?;
            copy(&mut targets, &window.targets)?;
            copy(&mut positions, &window.positions)?;
            if let Some(segments) = &mut segments {
                copy(segments, &window.documents[..context])?;
            }
        }
    }
    let targets = graph.input(targets);
    let batch = TokenBatch {
        ids: graph.input(ids),
        positions: graph.input(positions),
        segments: segments.map(|segments| graph.input(segments)),
    };
    Ok((batch, targets))
}

/// A window with the token behind it.
struct Window {
    ids: Vec<i32>,
    /// The document of each token, -1 for padding.
    documents: Vec<i32>,
    trained: Vec<bool>,
    targets: Vec<i32>,
    positions: Vec<i32>,
}

impl Window {
    fn new(context: usize) -> Self {
        let with_next = || vec![0; context + 1];
        Self {
            ids: with_next(),
            documents: with_next(),
            trained: vec![true; context + 1],
            targets: vec![0; context],
            positions: vec![0; context],
        }
    }

    fn read(&mut self, tokens: &dyn Tokens, windows: Windows, start: u64) -> ff_graph::Result<()> {
        let Self { ids, documents, trained, targets, positions } = self;
        let there = (tokens.len().saturating_sub(start) as usize).min(ids.len());
        tokens.read(start, &mut ids[..there])?;
        tokens.trained(start, &mut trained[..there])?;
        ids[there..].fill(0);
        let apart = windows.separate || windows.after.is_some();
        if apart {
            tokens.segments(start, &mut documents[..there])?;
            documents[there..].fill(-1);
        }
        let (mut first, mut asked) = (0, windows.after.is_none());
        for i in 0..targets.len() {
            if apart && i > 0 && documents[i] != documents[i - 1] {
                (first, asked) = (i, windows.after.is_none());
            }
            asked |= Some(ids[i]) == windows.after;
            // A document is never predicted from the end of the one before.
            let known = i + 1 < there && !(apart && documents[i] != documents[i + 1]);
            targets[i] = if known && asked && trained[i + 1] { ids[i + 1] } else { IGNORED };
            positions[i] = (i - if windows.separate { first } else { 0 }) as i32;
        }
        Ok(())
    }
}

/// The bytes of text that the predicted tokens of a stream stand for, and the number of these
/// tokens; `lengths` holds the bytes of each id.
///
/// # Errors
/// The stream cannot be read.
pub fn judged_bytes(
    tokens: &dyn Tokens,
    windows: Windows,
    lengths: &[u32],
) -> ff_graph::Result<(u64, u64)> {
    let length = |id: i32| u64::from(*lengths.get(id as usize).unwrap_or(&0));
    let mut window = Window::new(windows.context);
    let (mut bytes, mut count) = (0, 0);
    for start in (0..tokens.len().saturating_sub(1)).step_by(windows.context.max(1)) {
        window.read(tokens, windows, start)?;
        let judged = window.targets.iter().filter(|&&target| target != IGNORED);
        for &target in judged {
            (bytes, count) = (bytes + length(target), count + 1);
        }
    }
    Ok((bytes, count))
}

fn values(tensor: &mut Tensor) -> ff_graph::Result<&mut [i32]> {
    tensor.slice_mut::<i32>().map_err(Error::of(NAME))
}

#[cfg(test)]
mod tests;
