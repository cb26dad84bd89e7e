//! Texts that are written together, token by token.

use super::guesses::Guesses;
use super::{GeneratedTokens, StopReason};
use crate::error::{Error, Result};
use crate::language::model::sampling::{GenerateOptions, Sampler};
use crate::language::model::turn::{Acting, Turn};
use ff_graph::{Graph, Mode};
use ff_nn::models::{CausalLm, DecoderConfig, ModelCache, TokenBatch};
use ff_tensor::Tensor;
use ff_text::GrammarMatcher;
use std::ops::{ControlFlow, Range};

/// How many tokens of a prompt are computed at once.
const CHUNK: usize = 512;
/// How many texts are written at once.
const TOGETHER: usize = 16;

/// The turn before, and the number of the adapter in use.
pub(super) type LastTurn<'a> = (&'a mut Option<Turn>, Option<usize>);

/// The tokens that may be written.
pub(super) struct Tokens<'a> {
    /// Whether there is a token for each id; empty if all have one.
    pub(super) known: &'a [bool],
    /// What the text must be, from its beginning.
    pub(super) matcher: Option<GrammarMatcher>,
}

/// Continues prompts, several at once, with these tokens alone, each until `on_token` stops it or
/// there is another reason. A conversation goes on from the turn before, and leaves its own.
pub(super) fn write_tokens(
    graph: &mut Graph,
    (model, config, tokens): (&CausalLm, &DecoderConfig, Tokens<'_>),
    prompts: &[&[u32]],
    end: &[u32],
    options: &GenerateOptions,
    turn: Option<LastTurn<'_>>,
    on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<GeneratedTokens>> {
    options.check()?;
    for prompt in prompts {
        if prompt.is_empty() {
            return Err(Error::usage("there is no token to continue"));
        }
        if prompt.len() > config.max_positions {
            return Err(Error::usage(format!(
                "the prompt has {} tokens, the model positions for {}; shorten it to leave room for what is to be written",
                prompt.len(),
                config.max_positions
            )));
        }
    }
    let mode = graph.mode();
    graph.set_mode(Mode::Eval);
    let (mut turn, adapter) = turn.map_or((None, None), |(turn, adapter)| (Some(turn), adapter));
    let mut all = Vec::with_capacity(prompts.len());
    let mut result = Ok(());
    for (part, prompts) in prompts.chunks(TOGETHER).enumerate() {
        let first = part * TOGETHER;
        let on_token = &mut |row: usize, token| on_token(first + row, token);
        let mut writer = Writer::new((config, &tokens), options, end, (first, prompts));
        let turn = turn.as_deref_mut().map(|turn| (turn, adapter));
        result = writer.write(graph, (model, config), turn, on_token);
        all.extend(writer.rows.into_iter().map(Row::into_written));
        if result.is_err() {
            break;
        }
    }
    graph.set_mode(mode);
    graph.reset();
    result.map(|()| all)
}

/// A text that is being written.
struct Row<'a> {
    sampler: Sampler<'a>,
    matcher: Option<GrammarMatcher>,
    /// The prompt and what was written.
    context: Vec<u32>,
    prompt: usize,
    /// How many of its tokens the cache held.
    cached: usize,
    reason: Option<StopReason>,
}

impl Row<'_> {
    fn into_written(mut self) -> GeneratedTokens {
        let reason = self.reason.unwrap_or(StopReason::Asked);
        let tokens = self.context.split_off(self.prompt);
        GeneratedTokens { tokens, reason, cached_tokens: self.cached }
    }
}

/// Texts that are written together, token by token. Shorter prompts have padding before them, so
/// that all of them end in the same place; attention leaves it out.
struct Writer<'a> {
    rows: Vec<Row<'a>>,
    end: &'a [u32],
    options: &'a GenerateOptions,
    positions: usize,
    /// The positions that longer texts leave as they are, and whether all longer ones are alike.
    unchanged: (usize, bool),
    /// The tokens of the longest prompt.
    longest: usize,
}

impl<'a> Writer<'a> {
    fn new(
        (config, tokens): (&DecoderConfig, &Tokens<'a>),
        options: &'a GenerateOptions,
        end: &'a [u32],
        (first, prompts): (usize, &[&[u32]]),
    ) -> Self {
        let row = |(i, prompt): (usize, &&[u32])| Row {
            sampler: Sampler::new(options, tokens.known, (first + i) as u64),
            matcher: tokens.matcher.clone(),
            context: prompt.to_vec(),
            prompt: prompt.len(),
            cached: 0,
            reason: None,
        };
        let rows = prompts.iter().enumerate().map(row).collect();
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        let positions = config.max_positions;
        let unchanged = (config.positions_unchanged(), config.has_long_angles());
        Self { rows, end, options, positions, unchanged, longest }
    }

    fn write(
        &mut self,
        graph: &mut Graph,
        (model, config): (&CausalLm, &DecoderConfig),
        turn: Option<LastTurn<'_>>,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<()> {
        let (mut turn, adapter) = turn.map_or((None, None), |(turn, i)| (Some(turn), i));
        let start = |row: &Row<'_>| model.reach().start(&row.context);
        let before = |row: &Row<'_>| self.longest - row.prompt;
        let starts: Vec<usize> =
            self.rows.iter().map(|row| before(row).saturating_add(start(row))).collect();
        let acting = Acting { adapter, start: starts.first().copied().unwrap_or(0) };
        let mut cache = self.cache(graph, (model, config), turn.as_deref_mut(), acting)?;
        cache.set_starts(starts);
        let mut logits = Vec::new();
        // A long prompt may turn all its tokens by other angles than a short one.
        let chunk = if self.longest > self.unchanged.0 { self.longest } else { CHUNK };
        for start in (cache.len()..self.longest).step_by(chunk) {
            let places = start..self.longest.min(start + chunk);
            logits = self.read(graph, model, &mut cache, (places, &[]))?;
        }
        let mut guesses = Guesses::default();
        let mut guessed = Vec::new();
        loop {
            let rows = logits.chunks_exact(config.vocab_size * (1 + guessed.len()));
            for (i, logits) in rows.enumerate() {
                // A guess holds until a token differs from it.
                for (j, logits) in logits.chunks_exact(config.vocab_size).enumerate() {
                    self.choose(i, logits, on_token)?;
                    let row = &self.rows[i];
                    let holds = guessed.get(j).is_some() && row.context.last() == guessed.get(j);
                    if row.reason.is_some() || !holds {
                        guesses.found(j, guessed.len());
                        break;
                    }
                }
            }
            let over = self.rows.iter().all(|row| row.reason.is_some());
            if let [row] = &mut self.rows[..] {
                // The last token is not read yet, and what is behind it were wrong guesses.
                let unread = usize::from(row.reason != Some(StopReason::End));
                cache.truncate(row.context.len() - unread);
                if over {
                    if let Some(turn) = turn {
                        let ids = row.context[..cache.len()].to_vec();
                        *turn = Some(Turn { cache, ids, acting });
                    }
                    return Ok(());
                }
                let left = self.options.max_tokens - (row.context.len() - row.prompt);
                let room = (left - 1).min(cache.capacity() - row.context.len());
                // A wrong guess must not change the angles of the token before it.
                let read = row.context.len();
                let alike = turn_alike(self.unchanged, [read, read + room.min(Guesses::MOST)]);
                let speculate = self.options.speculate && alike;
                guessed = if speculate { guesses.next(&row.context, room) } else { Vec::new() };
                if let Some(matcher) = &mut row.matcher {
                    // Others are never chosen.
                    guessed.truncate(matcher.fitting(&guessed)?);
                }
            } else if over {
                return Ok(());
            }
            let mut place = cache.len();
            let end = place + 1 + guessed.len();
            if self.crosses(place, end) {
                place = 0;
                cache.truncate(0);
            }
            let places = place..end;
            logits = self.read(graph, model, &mut cache, (places, &guessed))?;
        }
    }

    /// Whether a text becomes so long that all its tokens turn by other angles, and are read again.
    /// Where each length has angles of its own, tokens keep those that they were read with, as in
    /// `transformers`.
    fn crosses(&self, place: usize, end: usize) -> bool {
        let (bound, long) = self.unchanged;
        let crosses = |row: &Row<'_>| {
            let own = |place: usize| (place + row.prompt).saturating_sub(self.longest);
            row.reason.is_none() && own(place) <= bound && own(end) > bound
        };
        long && self.rows.iter().any(crosses)
    }

    /// The cache, with what it holds of the prompt from the turn before.
    fn cache(
        &mut self,
        graph: &Graph,
        (model, config): (&CausalLm, &DecoderConfig),
        turn: Option<&mut Option<Turn>>,
        acting: Acting,
    ) -> Result<ModelCache> {
        let room = |row: &Row<'_>| self.options.max_tokens.min(self.positions - row.prompt + 1);
        // The last token is not read again.
        let most = self.rows.iter().map(room).max().unwrap_or(1);
        let mut capacity = self.longest + most - 1;
        if let (Some(turn), [row]) = (turn, &mut self.rows[..]) {
            let fits = |turn: &Turn| {
                let alike = turn_alike(self.unchanged, [turn.ids.len(), row.prompt]);
                alike && turn.cache.capacity() >= capacity
            };
            if let Some(mut turn) = turn.take().filter(fits) {
                let same = row.context.iter().zip(&turn.ids).take_while(|(a, b)| a == b).count();
                // The last token is read for its logits.
                row.cached = same.min(turn.acting.alike(acting)).min(row.prompt - 1);
                turn.cache.truncate(row.cached);
                return Ok(turn.cache);
            }
            // A conversation grows: twice the room, so that few turns read everything again.
            capacity = (2 * capacity).min(self.positions).max(capacity);
        }
        Ok(ModelCache::new(graph.device(), config, model.options(), self.rows.len(), capacity)?)
    }

    /// Writes a row's next token, unless the row is over.
    fn choose(
        &mut self,
        i: usize,
        logits: &[f32],
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<()> {
        let row = &mut self.rows[i];
        if row.reason.is_some() {
            return Ok(());
        }
        let step = row.context.len() - row.prompt;
        let allowed = row.matcher.as_mut().map(GrammarMatcher::allowed).transpose()?;
        let token = row.sampler.choose(logits, &row.context, step as u64, allowed.as_ref())?;
        if self.end.contains(&token) && !self.options.ignore_end {
            row.reason = Some(StopReason::End);
            return Ok(());
        }
        if let Some(matcher) = &mut row.matcher {
            matcher.push(token)?;
        }
        row.context.push(token);
        row.reason = if on_token(i, token).is_break() {
            Some(StopReason::Asked)
        } else if step + 1 == self.options.max_tokens {
            Some(StopReason::MaxTokens)
        } else if row.context.len() > self.positions {
            Some(StopReason::Positions)
        } else {
            None
        };
        Ok(())
    }

    /// Reads the tokens at these positions of all rows into the cache, behind the text those that
    /// are guessed, and returns the logits behind the last one and behind each guess. A finished
    /// row continues with a token that is discarded.
    fn read(
        &self,
        graph: &mut Graph,
        model: &CausalLm,
        cache: &mut ModelCache,
        (places, guessed): (Range<usize>, &[u32]),
    ) -> Result<Vec<f32>> {
        graph.reset();
        let before = |row: &Row<'_>| self.longest - row.prompt;
        let of = |f: &dyn Fn(&Row<'_>, usize) -> i32, places: Range<usize>| {
            let values = self.rows.iter().flat_map(|row| places.clone().map(move |at| f(row, at)));
            let values: Vec<i32> = values.collect();
            let dims = [self.rows.len(), places.len()];
            Tensor::from_slice(graph.device(), &values, &dims).map(|t| graph.input(t))
        };
        let id = |row: &Row<'_>, at: usize| {
            let id = at
                .checked_sub(before(row))
                .and_then(|at| row.context.get(at).or_else(|| guessed.get(at - row.context.len())));
            id.map_or(0, |&id| i32::try_from(id).unwrap_or(i32::MAX))
        };
        let position = |row: &Row<'_>, at: usize| {
            let position = at.saturating_sub(before(row)).min(self.positions - 1);
            i32::try_from(position).unwrap_or(i32::MAX)
        };
        let padding = |row: &Row<'_>, at: usize| -i32::from(at < before(row));
        let padded = self.rows.iter().any(|row| before(row) > 0);
        let batch = TokenBatch {
            ids: of(&id, places.clone())?,
            positions: of(&position, places.clone())?,
            segments: if padded { Some(of(&padding, 0..places.end)?) } else { None },
        };
        let next = model.last_logits(graph, &batch, 1 + guessed.len(), Some(cache))?;
        Ok(next.slice::<f32>()?.to_vec())
    }
}

/// Whether texts of so many tokens turn queries and keys by the same angles.
fn turn_alike((bound, long): (usize, bool), [a, b]: [usize; 2]) -> bool {
    a.max(b) <= bound || long && a.min(b) > bound
}
