//! Which tokens are written: the likeliest each time, or the best of several targets.

use super::{TranslateOptions, Translator};
use crate::error::{Error, Result};
use ff_graph::{Graph, Value};
use ff_nn::models::DecoderCache;
use ff_tensor::Tensor;

/// A target that is being written, with its log-probability.
#[derive(Debug, Clone)]
struct Beam {
    tokens: Vec<u32>,
    score: f64,
    /// The one that it goes on from.
    from: usize,
}

/// The score of an impossible token.
const NEVER: f64 = -1e9;

/// What is kept from token to token: the encoder's output for each target, and the cache.
struct Going {
    memory: Tensor,
    cache: DecoderCache,
}

impl Translator {
    /// Room for `rows` targets of one source.
    fn going(&self, memory: &Value, rows: usize, max_tokens: usize) -> Result<Going> {
        let &[_, source, features] = memory.shape().dims() else {
            return Err(Error::usage("the encoder's output must be [1, S, features]"));
        };
        let values = memory.slice::<f32>()?.repeat(rows);
        let device = self.graph.device();
        let memory = Tensor::from_slice(device, &values, &[rows, source, features])?;
        let cache = self.model.cache(device, rows, [max_tokens, source])?;
        Ok(Going { memory, cache })
    }

    /// The logits behind the last token of each target.
    fn next(&mut self, going: &mut Going, tokens: &[u32]) -> Result<Value> {
        self.graph.reset();
        let rows: Vec<&[u32]> = tokens.chunks(1).collect();
        let target = input(&self.graph, &rows)?;
        let memory = self.graph.input(going.memory.clone());
        let cache = Some(&mut going.cache);
        Ok(self.model.decode(&mut self.graph, (&memory, None), &target, cache)?)
    }

    /// The token that is never written: padding, in a closed text.
    fn never(&self) -> Option<usize> {
        let (pad, end) = (self.config.pad_token, self.config.end_token);
        (self.config.family.is_closed && pad != end).then_some(pad as usize)
    }

    /// log p of each next token; where a closed text must end, that of its end is 0.
    fn log_probabilities(&self, logits: &[f32], last: bool) -> Vec<f64> {
        let (vocab, end) = (self.config.vocab_size, self.config.end_token);
        let mut out = Vec::with_capacity(logits.len());
        for row in logits.chunks_exact(vocab) {
            let largest = row.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
            let sum: f64 = row.iter().map(|&v| f64::from(v - largest).exp()).sum();
            let shift = f64::from(largest) + sum.ln();
            let start = out.len();
            out.extend(row.iter().map(|&v| f64::from(v) - shift));
            let row = &mut out[start..];
            if self.config.family.is_closed && last {
                row.fill(f64::NEG_INFINITY);
                row[end as usize] = 0.0;
            } else if let Some(never) = self.never() {
                row[never] = f64::NEG_INFINITY;
            }
        }
        out
    }

    pub(super) fn greedy(
        &mut self,
        memory: &Value,
        options: &TranslateOptions,
    ) -> Result<Vec<u32>> {
        let mut going = self.going(memory, 1, options.max_tokens)?;
        let (mut token, end) = (self.config.start_token, self.config.end_token);
        let mut tokens = Vec::new();
        while tokens.len() < options.max_tokens {
            if self.config.family.is_closed && tokens.len() + 1 == options.max_tokens {
                tokens.push(end);
                break;
            }
            let logits = self.next(&mut going, &[token])?;
            let (scores, never) = (logits.slice::<f32>()?, self.never());
            // The same order as that of probabilities, which need not be known.
            let ids = (0..scores.len()).filter(|&id| Some(id) != never);
            let best = ids.reduce(|b, id| if scores[id] > scores[b] { id } else { b });
            token = best.unwrap_or_default() as u32;
            tokens.push(token);
            if token == end {
                break;
            }
        }
        Ok(tokens)
    }

    /// Beam search as `transformers` has it with `early_stopping` off: it goes on while the best
    /// unfinished target scores higher, for its length, than the worst finished one.
    pub(super) fn search(
        &mut self,
        memory: &Value,
        options: &TranslateOptions,
    ) -> Result<Vec<u32>> {
        let beams = options.beams;
        let mut going = self.going(memory, beams, options.max_tokens)?;
        let score = |i| if i == 0 { 0.0 } else { NEVER };
        let start = vec![self.config.start_token];
        let first = |from| Beam { tokens: start.clone(), score: score(from), from };
        let mut running: Vec<Beam> = (0..beams).map(first).collect();
        let mut finished: Vec<Beam> = Vec::new();
        let per_length =
            |score: f64, length: usize| score / (length as f64).powf(options.length_penalty);
        for length in 1..=options.max_tokens {
            let last = length == options.max_tokens;
            let from: Vec<usize> = running.iter().map(|beam| beam.from).collect();
            going.cache.select(self.graph.device(), &from)?;
            let tokens: Vec<u32> =
                running.iter().filter_map(|beam| beam.tokens.last().copied()).collect();
            let logits = self.next(&mut going, &tokens)?;
            let scores = self.log_probabilities(logits.slice::<f32>()?, last);
            let candidates = self.best(&running, &scores, 2 * beams);
            let ended = |beam: &Beam| last || beam.tokens.last() == Some(&self.config.end_token);
            finished.extend(
                candidates
                    .iter()
                    .take(beams)
                    .filter(|beam| ended(beam))
                    .map(|beam| Beam { score: per_length(beam.score, length), ..beam.clone() }),
            );
            finished.sort_by(|a, b| b.score.total_cmp(&a.score));
            finished.truncate(beams);
            let unfinished = candidates.into_iter().filter(|beam| !ended(beam));
            running = unfinished.take(beams).collect();
            let best = running.first().map_or(NEVER, |beam| per_length(beam.score, length));
            let worst = finished.last().filter(|_| finished.len() == beams).map(|beam| beam.score);
            if running.len() < beams || worst.is_some_and(|worst| best <= worst) {
                break;
            }
        }
        let best = finished.into_iter().chain(running).next();
        Ok(best.map_or(Vec::new(), |mut beam| beam.tokens.split_off(1)))
    }

    /// The likeliest ways to go on, one token longer.
    fn best(&self, running: &[Beam], scores: &[f64], count: usize) -> Vec<Beam> {
        let vocab = self.config.vocab_size;
        let mut all: Vec<(usize, f64)> = scores
            .iter()
            .enumerate()
            .map(|(i, score)| (i, running[i / vocab].score + score))
            .collect();
        let order = |a: &(usize, f64), b: &(usize, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let count = count.min(all.len());
        all.select_nth_unstable_by(count - 1, order);
        all.truncate(count);
        all.sort_unstable_by(order);
        let longer = |(i, score): (usize, f64)| {
            let mut tokens = running[i / vocab].tokens.clone();
            tokens.push((i % vocab) as u32);
            Beam { tokens, score, from: i / vocab }
        };
        all.into_iter().map(longer).collect()
    }
}

/// Rows of the same length as `[B, T]`.
pub(super) fn input(graph: &Graph, rows: &[&[u32]]) -> Result<Value> {
    let ids: Vec<i32> =
        rows.concat().iter().map(|&id| i32::try_from(id).unwrap_or(i32::MAX)).collect();
    let dims = [rows.len(), ids.len() / rows.len().max(1)];
    Ok(graph.input(Tensor::from_slice(graph.device(), &ids, &dims)?))
}
