//! How likely a model finds a text after another one.

use super::model::LanguageModel;
use crate::error::{Error, Result};
use ff_graph::{Graph, Mode};
use ff_nn::models::TokenBatch;
use ff_tensor::{Device, Shape, Tensor};

/// The most logits that are held at a time.
const LOGITS: usize = 16 << 20;

/// A prompt's tokens and those that are to follow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Continuation {
    /// The tokens of the prompt; at least one.
    pub(crate) given: Vec<u32>,
    /// The tokens that follow.
    pub(crate) follows: Vec<u32>,
}

/// The score of a continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Likelihood {
    /// ln of the probability of all its tokens, each after those before it.
    pub(crate) log_likelihood: f64,
    /// Whether each token is the likeliest one there, which is whether greedy generation writes
    /// them.
    pub(crate) greedy: bool,
}

/// The likelihood of each continuation.
///
/// # Errors
/// A text is longer than the model's positions, nothing is given, or an operation failed.
pub(crate) fn likelihoods(
    model: &mut LanguageModel,
    pairs: &[Continuation],
) -> Result<Vec<Likelihood>> {
    let longest = model.config().max_positions;
    let vocab = model.config().vocab_size;
    let known = model.tokenizer().map_or(vec![true; vocab], |t| t.known_ids(vocab));
    if let Some(&id) = pairs
        .iter()
        .flat_map(|pair| pair.given.iter().chain(&pair.follows))
        .find(|&&id| id as usize >= vocab)
    {
        return Err(ff_text::TextError::Vocabulary { id, vocab_size: vocab }.into());
    }
    let (model, graph) = model.parts();
    // Alike lengths together, so that little is padding; the order of the answers is that of the
    // questions.
    let length = |i: usize| pairs[i].given.len() + pairs[i].follows.len();
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|&i| length(i));
    if let Some(&i) = order.last()
        && length(i) > longest + 1
    {
        return Err(Error::usage(format!(
            "text {} has {} tokens and the model {longest} positions; shorten it",
            i + 1,
            length(i)
        )));
    }
    if let Some(i) = pairs.iter().position(|pair| pair.given.is_empty()) {
        return Err(Error::usage(format!("text {} follows nothing: give a prompt", i + 1)));
    }
    graph.set_mode(Mode::Eval);
    let mut found = vec![Likelihood { log_likelihood: 0.0, greedy: true }; pairs.len()];
    let mut rest = &order[..];
    while !rest.is_empty() {
        // The last one of a batch is the longest.
        let mut rows = 1;
        while rows < rest.len() && (rows + 1) * length(rest[rows]) * vocab <= LOGITS {
            rows += 1;
        }
        let (now, later) = rest.split_at(rows);
        rest = later;
        graph.reset();
        let width = (length(now[now.len() - 1]) - 1).max(1);
        let batch = batch(graph, pairs, now, width)?;
        let logits = model.logits(graph, &batch, None)?;
        let logits = logits.slice::<f32>()?;
        for (row, &i) in now.iter().enumerate() {
            let Continuation { given, follows } = &pairs[i];
            for (j, &token) in follows.iter().enumerate() {
                let at = row * width + given.len() - 1 + j;
                let logits = &logits[at * vocab..][..vocab];
                let (log_probability, is_first) = judge(logits, &known, token as usize);
                found[i].log_likelihood += log_probability;
                found[i].greedy &= is_first;
            }
        }
    }
    graph.reset();
    Ok(found)
}

/// ln of a token's probability, and whether it is the likeliest of the ids with a token; of equal
/// ones the first.
fn judge(logits: &[f32], known: &[bool], token: usize) -> (f64, bool) {
    let mut best = token;
    for (i, &z) in logits.iter().enumerate().filter(|&(i, _)| known[i]) {
        if z > logits[best] || z == logits[best] && i < best {
            best = i;
        }
    }
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&z| (f64::from(z) - max).exp()).sum();
    (f64::from(logits[token]) - max - sum.ln(), best == token)
}

/// The texts without their last token, padded behind.
fn batch(
    graph: &mut Graph,
    pairs: &[Continuation],
    rows: &[usize],
    width: usize,
) -> Result<TokenBatch> {
    let mut ids = vec![0i32; rows.len() * width];
    let mut segments = vec![-1i32; rows.len() * width];
    for (row, &i) in rows.iter().enumerate() {
        let tokens = pairs[i].given.iter().chain(&pairs[i].follows);
        let known = (pairs[i].given.len() + pairs[i].follows.len() - 1).max(1);
        let places = row * width..row * width + known;
        ids[places.clone()].iter_mut().zip(tokens).for_each(|(id, &token)| *id = token as i32);
        segments[places].fill(0);
    }
    let positions: Vec<i32> = (0..rows.len()).flat_map(|_| 0..width as i32).collect();
    let shape = Shape::from([rows.len(), width]);
    let device: Device = graph.device().clone();
    let tensor = |values: &[i32]| Tensor::from_slice(&device, values, shape.dims());
    let (ids, positions, segments) = (tensor(&ids)?, tensor(&positions)?, tensor(&segments)?);
    Ok(TokenBatch {
        ids: graph.input(ids),
        positions: graph.input(positions),
        segments: Some(graph.input(segments)),
    })
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn a_token_is_judged_by_the_softmax() {
        let logits = [1.0f32, 3.0, 3.0];
        let sum = 1f64.exp() + 2.0 * 3f64.exp();
        let known = [true; 3];
        let (log, first) = judge(&logits, &known, 1);
        assert!((log - (3.0 - sum.ln())).abs() < 1e-12 && first);
        assert!(!judge(&logits, &known, 2).1);
        // An id without a token has a share of the probability, and is never written.
        assert_eq!(judge(&logits, &[true, false, true], 2), (log, true));
        let (log, first) = judge(&logits, &known, 0);
        assert!((log - (1.0 - sum.ln())).abs() < 1e-12 && !first);
    }
}
