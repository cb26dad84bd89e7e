//! Windows of a stream of tokens as batches: what turns a corpus and a language model into an
//! [`Objective`].

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
    /// How many tokens there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens from `start` on.
    ///
    /// # Errors
    /// They reach beyond the end, or what holds them is damaged.
    fn read(&self, start: u64, ids: &mut [i32]) -> ff_graph::Result<()>;

    /// For each of the tokens from `start` on, the number of its document, counted from that of the
    /// first.
    ///
    /// # Errors
    /// As [`Tokens::read`].
    fn segments(&self, start: u64, documents: &mut [i32]) -> ff_graph::Result<()>;
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
/// assert_eq!(windows.count(129), 2); // each predicts 64 tokens, the first token of all is not predicted
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
    /// Only what follows this token in its document is predicted: what stands before it is a
    /// question.
    pub after: Option<i32>,
}

impl Windows {
    /// How many windows a stream of so many tokens has.
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

    /// Judges at most so many windows at an evaluation.
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

    /// What is done after each evaluation.
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

/// Windows as a batch and what it is to predict; what lies behind the end of the stream is padding.
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
    let numbered = windows.separate || windows.after.is_some();
    let mut documents = if numbered { Some(tensor(graph)?) } else { None };
    if !ids.is_planned() {
        // Taken apart row by row: the four are filled together.
        for row in 0..rows {
            let range = row * context..(row + 1) * context;
            let start = start(row);
            let there = (tokens.len().saturating_sub(start) as usize).min(context);
            let ids = &mut values(&mut ids)?[range.clone()];
            tokens.read(start, &mut ids[..there])?;
            ids[there..].fill(0);
            let last = tokens.len() > start + there as u64;
            let mut next = [0];
            if last {
                tokens.read(start + there as u64, &mut next)?;
            }
            let targets = &mut values(&mut targets)?[range.clone()];
            targets.fill(IGNORED);
            if there > 0 {
                targets[..there - 1].copy_from_slice(&ids[1..there]);
                targets[there - 1] = if last { next[0] } else { IGNORED };
            }
            let positions = &mut values(&mut positions)?[range.clone()];
            positions.iter_mut().zip(0..).for_each(|(p, i)| *p = i);
            let Some(documents) = &mut documents else { continue };
            let documents = &mut values(documents)?[range];
            tokens.segments(start, &mut documents[..there])?;
            documents[there..].fill(-1);
            if let Some(after) = windows.after {
                ask(&ids[..there], &documents[..there], targets, after);
            }
            if !windows.separate {
                continue;
            }
            let mut first = 0;
            for i in 0..context {
                if i > 0 && documents[i] != documents[i - 1] {
                    first = i;
                    targets[i - 1] = IGNORED;
                }
                positions[i] = (i - first) as i32;
            }
            // The token behind the window may belong to the next document.
            if last && there == context {
                let mut two = [0; 2];
                tokens.segments(start + there as u64 - 1, &mut two)?;
                if two[0] != two[1] {
                    targets[there - 1] = IGNORED;
                }
            }
        }
    }
    let targets = graph.input(targets);
    let batch = TokenBatch {
        ids: graph.input(ids),
        positions: graph.input(positions),
        segments: documents.filter(|_| windows.separate).map(|documents| graph.input(documents)),
    };
    Ok((batch, targets))
}

/// Leaves out the targets of each document up to the token that a question ends with.
fn ask(ids: &[i32], documents: &[i32], targets: &mut [i32], after: i32) {
    let mut asked = false;
    for (i, &id) in ids.iter().enumerate() {
        asked = id == after || asked && (i == 0 || documents[i] == documents[i - 1]);
        if !asked {
            targets[i] = IGNORED;
        }
    }
}

fn values(tensor: &mut Tensor) -> ff_graph::Result<&mut [i32]> {
    tensor.slice_mut::<i32>().map_err(Error::of(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_graph::Params;
    use ff_tensor::Device;

    /// Three documents of three tokens each; the middle one of each ends a question.
    #[derive(Debug)]
    struct Threes;

    impl Tokens for Threes {
        fn len(&self) -> u64 {
            9
        }
        fn read(&self, start: u64, ids: &mut [i32]) -> ff_graph::Result<()> {
            ids.iter_mut().zip(start..).for_each(|(id, i)| *id = [10, 7, 11][i as usize % 3]);
            Ok(())
        }
        fn segments(&self, start: u64, documents: &mut [i32]) -> ff_graph::Result<()> {
            let number = |i: u64| (i / 3 - start / 3) as i32;
            documents.iter_mut().zip(start..).for_each(|(d, i)| *d = number(i));
            Ok(())
        }
    }

    fn gathered(windows: Windows, start: u64) -> [Vec<i32>; 4] {
        let device = Device::default();
        let params = Params::allocate(&device, DType::F32, vec![], false).unwrap();
        let mut graph = Graph::new(&device, params);
        let (batch, targets) = gather(&mut graph, &Threes, windows, 1, |_| start).unwrap();
        let of = |value: &Value| value.slice::<i32>().unwrap().to_vec();
        let segments = batch.segments.as_ref().map_or(Vec::new(), of);
        [of(&batch.ids), of(&batch.positions), of(&targets), segments]
    }

    #[test]
    fn a_window_predicts_the_token_after_each() {
        let windows = Windows { context: 4, ..Windows::default() };
        let [ids, positions, targets, segments] = gathered(windows, 1);
        assert_eq!((ids, positions), (vec![7, 11, 10, 7], vec![0, 1, 2, 3]));
        assert_eq!((targets, segments), (vec![11, 10, 7, 11], vec![]));
        // Behind the end there is nothing to predict, and padding.
        let [ids, _, targets, _] = gathered(windows, 7);
        assert_eq!((ids, targets), (vec![7, 11, 0, 0], vec![11, IGNORED, IGNORED, IGNORED]));
    }

    #[test]
    fn documents_kept_apart_do_not_predict_each_other() {
        let windows = Windows { context: 5, separate: true, ..Windows::default() };
        let [_, positions, targets, segments] = gathered(windows, 1);
        assert_eq!((positions, segments), (vec![0, 1, 0, 1, 2], vec![0, 0, 1, 1, 1]));
        // The token behind the window begins another document.
        assert_eq!(targets, [11, IGNORED, 7, 11, IGNORED]);
        let [_, positions, targets, segments] = gathered(windows, 6);
        assert_eq!((positions[..3].to_vec(), segments), (vec![0, 1, 2], vec![0, 0, 0, -1, -1]));
        assert_eq!(targets, [7, 11, IGNORED, IGNORED, IGNORED]);
    }

    #[test]
    fn only_what_follows_a_question_is_predicted() {
        let windows = Windows { context: 6, separate: true, after: Some(7), ..Windows::default() };
        let [_, _, targets, _] = gathered(windows, 0);
        assert_eq!(targets, [IGNORED, 11, IGNORED, IGNORED, 11, IGNORED]);
        // A window that begins behind the question's end cannot know that it was asked.
        let [_, _, targets, _] = gathered(Windows { context: 3, ..windows }, 2);
        assert_eq!(targets, [IGNORED, IGNORED, 11]);
    }
}
