//! Which tokens are written: the likeliest each time, or the best of several targets.

use super::TranslateOptions;
use crate::error::{Error, Result};
use ff_graph::{Graph, Value};
use ff_nn::models::{DecoderCache, EncoderDecoder, EncoderDecoderConfig};
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

/// What is kept from token to token: the encoder's output for each target, which of it is padding
/// (negative), and the cache.
struct Going {
    memory: Tensor,
    segments: Option<Tensor>,
    cache: DecoderCache,
}

/// Source tokens of a batch, and the targets to come, padding included.
const TOKENS: usize = 4096;

/// A model that writes targets.
pub(crate) struct Writer<'a> {
    pub(crate) config: &'a EncoderDecoderConfig,
    pub(crate) model: &'a EncoderDecoder,
    pub(crate) graph: &'a mut Graph,
}

impl Writer<'_> {
    /// Writes the target of a source.
    ///
    /// # Errors
    /// As [`Translator::translate_tokens`](super::Translator::translate_tokens).
    pub(crate) fn write(&mut self, source: &[u32], options: &TranslateOptions) -> Result<Vec<u32>> {
        Ok(self.write_all(&[source], options)?.pop().unwrap_or_default())
    }

    /// Writes the target of each source; greedily several together.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub(crate) fn write_all(
        &mut self,
        sources: &[&[u32]],
        options: &TranslateOptions,
    ) -> Result<Vec<Vec<u32>>> {
        if options.beams == 0 || options.max_tokens == 0 {
            return Err(Error::usage("beams and max-tokens must be at least 1"));
        }
        let positions = self.config.max_positions.unwrap_or(usize::MAX);
        for source in sources {
            if source.is_empty() {
                return Err(Error::usage("the text has no token"));
            }
            if source.len() > positions {
                return Err(Error::usage(format!(
                    "the text has {} tokens, the model reads 1 to {positions}; translate it in parts",
                    source.len(),
                )));
            }
        }
        let max_tokens = options.max_tokens.min(positions);
        let options = TranslateOptions { max_tokens, ..*options };
        let mut order: Vec<usize> = (0..sources.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(sources[i].len()));
        let mut written = vec![Vec::new(); sources.len()];
        let mut rest = &order[..];
        while let Some(&first) = rest.first() {
            let together = TOKENS / (sources[first].len() + max_tokens);
            let rows = if options.beams == 1 { together.clamp(1, rest.len()) } else { 1 };
            let (now, later) = rest.split_at(rows);
            rest = later;
            let rows: Vec<&[u32]> = now.iter().map(|&i| sources[i]).collect();
            self.graph.reset();
            let (tokens, segments) = self.padded(&rows)?;
            let memory = self.model.encode(self.graph, &tokens, segments.as_ref())?;
            if options.beams == 1 {
                let segments = segments.and_then(|segments| segments.tensor().cloned());
                let found = self.greedy(&memory, segments, &options)?;
                now.iter().zip(found).for_each(|(&i, tokens)| written[i] = tokens);
            } else {
                written[first] = self.search(&memory, &options)?;
            }
        }
        Ok(written)
    }

    /// Sources as `[B, S]`, and which of their tokens are padding, if any is.
    fn padded(&self, rows: &[&[u32]]) -> Result<(Value, Option<Value>)> {
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        if rows.iter().all(|row| row.len() == longest) {
            return Ok((input(self.graph, rows)?, None));
        }
        let (mut ids, mut segments) = (Vec::new(), Vec::new());
        for row in rows {
            ids.extend(row.iter().map(|&id| id as i32));
            segments.resize(ids.len(), 0);
            ids.resize(ids.len().next_multiple_of(longest), self.config.pad_token as i32);
            segments.resize(ids.len(), -1);
        }
        let dims = [rows.len(), longest];
        let value = |values: &[i32]| -> Result<Value> {
            Ok(self.graph.input(Tensor::from_slice(self.graph.device(), values, &dims)?))
        };
        Ok((value(&ids)?, Some(value(&segments)?)))
    }

    /// Room for so many targets of each source.
    fn going(
        &self,
        (memory, segments): (&Value, Option<Tensor>),
        targets: usize,
        max_tokens: usize,
    ) -> Result<Going> {
        let &[rows, source, features] = memory.shape().dims() else {
            return Err(Error::usage("the encoder's output must be [B, S, features]"));
        };
        let (values, rows) = (memory.slice::<f32>()?.repeat(targets), rows * targets);
        let device = self.graph.device();
        let memory = Tensor::from_slice(device, &values, &[rows, source, features])?;
        let cache = self.model.cache(device, rows, [max_tokens, source])?;
        Ok(Going { memory, segments, cache })
    }

    /// The logits behind the last token of each target.
    fn next(&mut self, going: &mut Going, tokens: &[u32]) -> Result<Value> {
        self.graph.reset();
        let rows: Vec<&[u32]> = tokens.chunks(1).collect();
        let target = input(self.graph, &rows)?;
        let memory = self.graph.input(going.memory.clone());
        let segments = going.segments.as_ref().map(|segments| self.graph.input(segments.clone()));
        let cache = Some(&mut going.cache);
        Ok(self.model.decode(self.graph, (&memory, segments.as_ref()), &target, cache)?)
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

    /// The likeliest token of each target every time, until all have ended.
    fn greedy(
        &mut self,
        memory: &Value,
        segments: Option<Tensor>,
        options: &TranslateOptions,
    ) -> Result<Vec<Vec<u32>>> {
        let mut going = self.going((memory, segments), 1, options.max_tokens)?;
        let (vocab, end) = (self.config.vocab_size, self.config.end_token);
        let rows = going.memory.shape().dims()[0];
        let mut last = vec![self.config.start_token; rows];
        let mut written: Vec<Vec<u32>> = vec![Vec::new(); rows];
        let is_over = |tokens: &Vec<u32>| tokens.last() == Some(&end);
        for length in 1..=options.max_tokens {
            if self.config.family.is_closed && length == options.max_tokens {
                written.iter_mut().filter(|row| !is_over(row)).for_each(|row| row.push(end));
                break;
            }
            let logits = self.next(&mut going, &last)?;
            let (logits, never) = (logits.slice::<f32>()?, self.never());
            for (row, scores) in logits.chunks_exact(vocab).enumerate() {
                if is_over(&written[row]) {
                    continue;
                }
                // The same order as that of probabilities, which need not be known.
                let ids = (0..scores.len()).filter(|&id| Some(id) != never);
                let best = ids.reduce(|b, id| if scores[id] > scores[b] { id } else { b });
                last[row] = best.unwrap_or_default() as u32;
                written[row].push(last[row]);
            }
            if written.iter().all(is_over) {
                break;
            }
        }
        Ok(written)
    }

    /// Beam search as `transformers` has it with `early_stopping` off: it goes on while the best
    /// unfinished target scores higher, for its length, than the worst finished one.
    fn search(&mut self, memory: &Value, options: &TranslateOptions) -> Result<Vec<u32>> {
        let beams = options.beams;
        let mut going = self.going((memory, None), beams, options.max_tokens)?;
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

#[cfg(test)]
mod tests {
    use super::super::{TranslateOptions, Translator};
    use super::Writer;
    use ff_nn::models::LanguageOptions;
    use ff_tensor::Device;
    use std::path::Path;

    #[test]
    fn sources_together_are_written_as_each_alone() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/language");
        for name in ["marian_text", "t5_text"] {
            let folder = fixtures.join(name);
            let (device, options) = (Device::default(), LanguageOptions::default());
            let mut opened = Translator::open(&folder, &device, &options).unwrap();
            let Translator { config, model, graph, .. } = &mut opened;
            let mut writer = Writer { config, model, graph };
            let source = |i: u32| (0..3 + i % 5).map(|j| 3 + (i * 7 + j * 5) % 40).collect();
            let sources: Vec<Vec<u32>> = (0..12).map(source).collect();
            let sources: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
            let options = TranslateOptions { max_tokens: 12, beams: 1, length_penalty: 1.0 };
            let together = writer.write_all(&sources, &options).unwrap();
            let lengths: Vec<usize> = together.iter().map(Vec::len).collect();
            assert!(together.iter().any(|tokens| *tokens != together[0]), "{name}: {lengths:?}");
            for (source, found) in sources.iter().zip(&together) {
                assert_eq!(*found, writer.write(source, &options).unwrap(), "{name}: {source:?}");
            }
        }
    }
}
