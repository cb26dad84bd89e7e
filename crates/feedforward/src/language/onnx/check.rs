//! Comparing a written decoder with its model on made-up tokens.

use crate::error::Result;
use crate::language::LanguageModel;
use crate::onnx::gap;
use ff_interop::onnx::{Session, Tensor};
use ff_nn::models::{DecoderConfig, TokenBatch};
use ff_tensor::Tensor as Values;

/// The tokens of each sequence before the first of the steps.
const PREFIXES: [usize; 3] = [9, 1, 5];
/// The new tokens of each step behind a cache.
const STEPS: [usize; 3] = [1, 2, 1];

/// Made-up sequences and the model's own logits of each of their tokens.
pub(super) struct MadeUp {
    sequences: Vec<Sequence>,
    /// How many of the tokens come in steps.
    stepped: usize,
    /// The same at positions of long sequences, which have angles of their own.
    long: Vec<Sequence>,
}

struct Sequence {
    ids: Vec<i64>,
    positions: Vec<i64>,
    logits: Vec<f32>,
}

/// Sequences with the logits of a model.
pub(super) fn made_up(model: &mut LanguageModel) -> Result<MadeUp> {
    let config = model.config();
    let unchanged = config.positions_unchanged();
    let stepped: usize = STEPS.iter().sum();
    // Steps behind a cache need one set of angles.
    let stepped = if stepped + 1 > unchanged { 0 } else { stepped };
    let longest = unchanged.saturating_sub(stepped).max(1);
    let (vocabulary, most) = (config.vocab_size as u64, config.max_positions as i64);
    let mut at = 0u64;
    let mut tokens = |count: usize| -> Vec<i64> {
        let mut token = || {
            at += 1;
            ((at.wrapping_mul(0x9e37_79b9) >> 7) % vocabulary) as i64
        };
        (0..count).map(|_| token()).collect()
    };
    let mut all = Vec::new();
    for prefix in PREFIXES {
        let ids = tokens(prefix.min(longest) + stepped);
        all.push((0..ids.len() as i64).collect::<Vec<_>>());
        all.push(ids);
    }
    let mut sequences = Vec::new();
    for pair in all.chunks_exact(2) {
        sequences.push(sequence(model, pair[1].clone(), pair[0].clone())?);
    }
    let mut long = Vec::new();
    let above = unchanged as i64;
    if above < most {
        let count = 6.min(most - above);
        // Positions of the middle of a long sequence and of its end.
        for first in [above, most - count] {
            let ids = tokens(count as usize);
            long.push(sequence(model, ids, (first..first + count).collect())?);
        }
    }
    Ok(MadeUp { sequences, stepped, long })
}

fn sequence(model: &mut LanguageModel, ids: Vec<i64>, positions: Vec<i64>) -> Result<Sequence> {
    let (decoder, graph) = model.parts();
    graph.reset();
    let input = |values: &[i64]| -> Result<_> {
        let values: Vec<i32> = values.iter().map(|&v| v as i32).collect();
        Ok(graph.input(Values::from_slice(graph.device(), &values, &[1, values.len()])?))
    };
    let batch = TokenBatch { ids: input(&ids)?, positions: input(&positions)?, segments: None };
    let logits = decoder.logits(graph, &batch, None)?.slice::<f32>()?.to_vec();
    Ok(Sequence { ids, positions, logits })
}

impl MadeUp {
    pub(super) fn rows(&self) -> usize {
        self.sequences.len() + self.long.len()
    }

    /// The largest difference of a logit, relative to the largest of them: of all tokens at once,
    /// and of a prefix and steps behind its cache, with padding on the left.
    pub(super) fn compare(&self, config: &DecoderConfig, session: &Session) -> Result<f64> {
        let tokens = self.sequences.iter().map(|s| s.ids.len()).max().unwrap_or(0);
        let mut passes = vec![vec![tokens]];
        if self.stepped > 0 {
            passes.push([&[tokens - self.stepped], &STEPS[..]].concat());
        }
        let mut worst = 0.0f64;
        for steps in passes {
            worst = worst.max(pass(&self.sequences, tokens, &steps, config, session)?);
        }
        for own in self.long.chunks(1) {
            let count = own.iter().map(|s| s.ids.len()).sum();
            worst = worst.max(pass(own, count, &[count], config, session)?);
        }
        Ok(worst)
    }
}

/// Runs the graph on new tokens of each step, with the cache of those before.
fn pass(
    sequences: &[Sequence],
    tokens: usize,
    steps: &[usize],
    config: &DecoderConfig,
    session: &Session,
) -> Result<f64> {
    let (rows, vocabulary) = (sequences.len(), config.vocab_size);
    let empty = || {
        let dims = [rows, config.kv_heads, 0, config.head_dim];
        (0..2 * config.layers.len()).map(move |_| Tensor::new(&dims, Vec::<f32>::new()))
    };
    let mut past: Vec<Tensor> = empty().collect::<Result<_, _>>()?;
    let names: Vec<String> = (0..config.layers.len())
        .flat_map(|i| ["key", "value"].map(|part| format!("past_key_values.{i}.{part}")))
        .collect();
    let (mut start, mut worst) = (0, 0.0f64);
    for &new in steps {
        let cells = |f: &dyn Fn(&Sequence, Option<usize>) -> i64, from: usize| {
            let row = |s| (from..start + new).map(move |t| f(s, place(s, tokens, t)));
            let cells: Vec<i64> = sequences.iter().flat_map(row).collect();
            Tensor::new(&[rows, start + new - from], cells)
        };
        let ids = cells(&|s, at| at.map_or(0, |at| s.ids[at]), start)?;
        let positions = cells(&|s, at| at.map_or(0, |at| s.positions[at]), start)?;
        let mask = cells(&|_, at| at.is_some().into(), 0)?;
        let mut inputs = vec![
            ("input_ids".to_owned(), ids),
            ("attention_mask".into(), mask),
            ("position_ids".into(), positions),
        ];
        inputs.extend(names.iter().cloned().zip(past));
        let mut outputs = session.run(inputs)?.into_iter().map(|(_, tensor)| tensor);
        let logits = outputs.next().and_then(|tensor| tensor.data().floats()).unwrap_or_default();
        past = outputs.collect();
        if logits.len() != rows * new * vocabulary {
            return Ok(f64::INFINITY);
        }
        let of_row = |(row, s): (usize, &Sequence)| -> f64 {
            let pairs = (0..new).filter_map(|t| Some((t, place(s, tokens, start + t)?)));
            let pairs = pairs.flat_map(|(t, at)| {
                let found = &logits[(row * new + t) * vocabulary..][..vocabulary];
                let own = &s.logits[at * vocabulary..][..vocabulary];
                own.iter().copied().zip(found.iter().map(|&x| x as f32))
            });
            gap(pairs)
        };
        worst = sequences.iter().enumerate().map(of_row).fold(worst, f64::max);
        start += new;
    }
    Ok(worst)
}

/// The token of a sequence at a place of the batch, whose padding is on the left.
fn place(sequence: &Sequence, tokens: usize, t: usize) -> Option<usize> {
    (t + sequence.ids.len()).checked_sub(tokens)
}
