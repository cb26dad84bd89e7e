//! Generation: token by token, with a cache of keys and values.

use super::folder::LanguageModel;
use super::held::Held;
use super::sampling::{GenerateOptions, Sampler};
use super::turn::{Acting, Turn};
use crate::error::{Error, Result};
use ff_graph::{Graph, Mode};
use ff_nn::models::{CausalLm, DecoderConfig, ModelCache, TokenBatch};
use ff_tensor::Tensor;
use ff_text::{GrammarMatcher, TextError, Tokenizer};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

/// How many tokens of a prompt are computed at once.
const CHUNK: usize = 512;
/// How many texts are written at once.
const TOGETHER: usize = 16;

/// Why a model stopped writing.
///
/// ```
/// let reason = feedforward::language::StopReason::End;
/// assert_eq!(serde_json::to_string(&reason).unwrap(), "\"end\"");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It wrote a token that ends a text.
    End,
    /// It wrote one of the stop texts.
    StopText,
    /// It wrote as many tokens as were asked for.
    MaxTokens,
    /// All its positions are taken.
    Positions,
    /// The caller asked for it.
    Asked,
}

/// The tokens that a model wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GeneratedTokens {
    /// The tokens, without the one that ended the text.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub reason: StopReason,
    /// How many tokens of the prompt the cache held from the turn before.
    pub cached_tokens: usize,
}

/// The text that a model wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Generated {
    /// The text, without the prompt.
    pub text: String,
    /// How many tokens the prompt has.
    pub prompt_tokens: usize,
    /// How many of them the cache held from the turn before.
    pub cached_tokens: usize,
    /// The tokens written, without the one that ended the text.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub reason: StopReason,
}

impl LanguageModel {
    /// Continues a prompt; `on_text` gets each piece of text as it comes, whole characters at a
    /// time.
    ///
    /// # Errors
    /// An option is not in its domain; the prompt has no token, or more than the model has
    /// positions for; the folder has no tokenizer; `on_text` fails; memory is short.
    pub fn generate(
        &mut self,
        prompt: &str,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Generated> {
        let mut all = self.generate_all(&[prompt], options, &mut |_, text| on_text(text))?;
        all.pop().ok_or_else(|| Error::usage("there is no prompt"))
    }

    /// Continues several prompts at once, each with random draws of its own; `on_text` gets the
    /// number of the prompt with each piece of text.
    ///
    /// # Errors
    /// As [`LanguageModel::generate`].
    pub fn generate_all(
        &mut self,
        prompts: &[&str],
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(usize, &str) -> Result<()>,
    ) -> Result<Vec<Generated>> {
        let Some(tokenizer) = self.tokenizer.clone() else {
            let message = "the model's folder has no tokenizer (tokenizer.json, or vocab.json and merges.txt); add one";
            return Err(Error::usage(message));
        };
        let end = self.end_tokens();
        let (model, config, graph) = self.all_parts();
        generate(graph, (model, config, &tokenizer), prompts, &end, options, on_text)
    }

    /// Continues the tokens of a conversation. Keys and values of the tokens that it begins with
    /// are those of the turn before.
    pub(crate) fn answer(
        &mut self,
        ids: &[u32],
        end: &[u32],
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&str) -> Result<ControlFlow<()>>,
    ) -> Result<Generated> {
        let tokenizer = self.tokenizer.clone();
        let Some(tokenizer) = tokenizer else { return Err(Error::usage("there is no tokenizer")) };
        let on_text = &mut |_: usize, text: &str| on_text(text);
        let ids = [ids.to_vec()];
        let (mut turn, adapter) = (self.turn.take(), self.adapter());
        let (model, config, graph) = self.all_parts();
        let parts = (model, config, &tokenizer);
        let mut all =
            continue_ids(graph, parts, &ids, end, options, Some((&mut turn, adapter)), on_text)?;
        self.turn = turn;
        all.pop().ok_or_else(|| Error::usage("there is no prompt"))
    }
}

/// Continues prompts with a model in memory, several at once; the random draws depend on a
/// prompt's number.
///
/// The graph's tape is reset.
///
/// # Errors
/// As [`LanguageModel::generate`].
pub fn generate(
    graph: &mut Graph,
    (model, config, tokenizer): (&CausalLm, &DecoderConfig, &Tokenizer),
    prompts: &[&str],
    end: &[u32],
    options: &GenerateOptions,
    on_text: &mut dyn FnMut(usize, &str) -> Result<()>,
) -> Result<Vec<Generated>> {
    options.check()?;
    let begin = begin(config, tokenizer, end);
    let ids: Vec<Vec<u32>> = prompts
        .iter()
        .map(|prompt| encode(tokenizer, config, prompt, begin))
        .collect::<Result<_>>()?;
    let on_text = &mut |row: usize, text: &str| on_text(row, text).map(ControlFlow::Continue);
    continue_ids(graph, (model, config, tokenizer), &ids, end, options, None, on_text)
}

/// The turn before, and the number of the adapter in use.
type LastTurn<'a> = (&'a mut Option<Turn>, Option<usize>);

/// Continues the tokens of prompts; `on_text` may stop each text.
fn continue_ids(
    graph: &mut Graph,
    (model, config, tokenizer): (&CausalLm, &DecoderConfig, &Tokenizer),
    ids: &[Vec<u32>],
    end: &[u32],
    options: &GenerateOptions,
    turn: Option<LastTurn<'_>>,
    on_text: &mut dyn FnMut(usize, &str) -> Result<ControlFlow<()>>,
) -> Result<Vec<Generated>> {
    let special: BTreeMap<u32, String> =
        tokenizer.special_tokens().into_iter().map(|(token, id)| (id, token)).collect();
    let mut texts = Vec::with_capacity(ids.len());
    for ids in ids {
        texts.push((tokenizer.stream_after(ids)?, Held::new(&options.stop)));
    }
    let mut failure = None;
    let mut push = |row: usize, token| -> Result<bool> {
        let (stream, text) = &mut texts[row];
        text.push(&stream.push(token)?);
        if let Some(special) = special.get(&token) {
            text.push_hidden(special);
        }
        let mut stopped = false;
        text.give(&mut |text| {
            stopped |= on_text(row, text)?.is_break();
            Ok(())
        })?;
        Ok(text.stopped || stopped)
    };
    let slices: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let known = tokenizer.known_ids(config.vocab_size);
    let matcher = options.grammar.as_ref();
    let matcher = matcher.map(|grammar| grammar.matcher(tokenizer, end, config.vocab_size));
    let parts = (model, config, Tokens { known: &known, matcher: matcher.transpose()? });
    let written = write_tokens(graph, parts, &slices, end, options, turn, &mut |row, token| {
        if failure.is_some() {
            return ControlFlow::Break(());
        }
        match push(row, token) {
            Ok(false) => ControlFlow::Continue(()),
            Ok(true) => ControlFlow::Break(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    let mut all = Vec::with_capacity(ids.len());
    for (row, (written, (mut stream, mut text))) in written.into_iter().zip(texts).enumerate() {
        let GeneratedTokens { tokens, mut reason, cached_tokens } = written;
        if !text.stopped {
            text.push(&stream.finish()?);
        }
        if text.stopped {
            reason = StopReason::StopText;
        }
        text.finish(&mut |text| on_text(row, text).map(drop))?;
        let (text, prompt_tokens) = (text.given, ids[row].len());
        all.push(Generated { text, prompt_tokens, cached_tokens, tokens, reason });
    }
    Ok(all)
}

/// The token that an empty prompt stands for.
pub(super) fn begin(config: &DecoderConfig, tokenizer: &Tokenizer, end: &[u32]) -> Option<u32> {
    let stated = config.field("bos_token_id").and_then(Value::as_u64);
    let stated = stated.and_then(|id| u32::try_from(id).ok());
    let special = tokenizer.special();
    stated.or(special.bos).or(special.eos).or(end.first().copied())
}

/// The tokens that a model continues.
fn encode(
    tokenizer: &Tokenizer,
    config: &DecoderConfig,
    prompt: &str,
    begin: Option<u32>,
) -> Result<Vec<u32>> {
    let mut ids = tokenizer.encode_prompt(prompt)?;
    if ids.is_empty() {
        ids.extend(begin);
    }
    if ids.is_empty() {
        let message = "the prompt is empty, and the model has no token that a text begins with; give a prompt";
        return Err(Error::usage(message));
    }
    let vocab_size = config.vocab_size;
    match ids.iter().find(|&&id| id as usize >= vocab_size) {
        Some(&id) => Err(TextError::Vocabulary { id, vocab_size }.into()),
        None => Ok(ids),
    }
}

/// Continues prompts with a model in memory, several at once, each until `on_token` stops it or
/// there is another reason.
///
/// The graph's tape is reset.
///
/// # Errors
/// As [`LanguageModel::generate`]; a token is not in the vocabulary.
pub fn generate_tokens(
    graph: &mut Graph,
    (model, config): (&CausalLm, &DecoderConfig),
    prompts: &[&[u32]],
    end: &[u32],
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<GeneratedTokens>> {
    if options.grammar.is_some() {
        return Err(Error::usage("a schema, grammar or regular expression needs the tokenizer"));
    }
    let parts = (model, config, Tokens { known: &[], matcher: None });
    write_tokens(graph, parts, prompts, end, options, None, on_token)
}

/// The tokens that may be written.
struct Tokens<'a> {
    /// Whether there is a token for each id; empty if all have one.
    known: &'a [bool],
    /// What the text must be, from its beginning.
    matcher: Option<GrammarMatcher>,
}

/// The same with these tokens alone. A conversation goes on from the turn before, and leaves its
/// own.
fn write_tokens(
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

/// Guesses of the next tokens: those behind the same last tokens earlier in the text (Leviathan et
/// al., "Speculative decoding", 2023; Saxena, "Prompt lookup decoding", 2023).
struct Guesses {
    /// How many are made at once.
    count: usize,
    /// How many tokens to write without guesses after a wrong one.
    pause: usize,
    /// How many of these are left.
    left: usize,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { count: Self::MOST / 2, pause: 0, left: 0 }
    }
}

impl Guesses {
    const MOST: usize = 8;
    const LONGEST_PAUSE: usize = 31;

    /// At most `room` guesses of what follows a text.
    fn next(&mut self, context: &[u32], room: usize) -> Vec<u32> {
        if self.left > 0 {
            self.left -= 1;
            return Vec::new();
        }
        let count = self.count.min(room);
        for n in [3, 2] {
            let Some(start) = context.len().checked_sub(n) else { continue };
            let (before, last) = (&context[..context.len() - 1], &context[start..]);
            if let Some(at) = before.windows(n).rposition(|tokens| tokens == last) {
                return context[at + n..].iter().take(count).copied().collect();
            }
        }
        Vec::new()
    }

    /// Takes note of how many guesses were right: more of them after right ones, a pause after
    /// wrong ones.
    fn found(&mut self, right: usize, guessed: usize) {
        if right > 0 {
            self.pause = 0;
            self.count = (if right == guessed { 2 * right } else { right }).clamp(2, Self::MOST);
        } else if guessed > 0 {
            self.pause = (2 * self.pause + 1).min(Self::LONGEST_PAUSE);
            self.left = self.pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_nn::models::LanguageOptions;
    use ff_tensor::{Device, DeviceOptions, Isa};
    use std::path::Path;

    /// Whatever a cache holds from other adapters, answers are those of a model without one.
    #[test]
    fn caches_are_shared_as_far_as_adapters_act_on_the_same_tokens() {
        let paths = [Isa::Plain, Isa::Avx2, Isa::Avx512].map(|isa| {
            let options = DeviceOptions { threads: 2, isa: Some(isa) };
            Device::open(options).ok().map(|device| caches_are_shared(&device))
        });
        assert!(paths[0].is_some());
    }

    fn caches_are_shared(device: &Device) {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures");
        let adapters = ["llama_invoked", "llama"].map(|name| fixtures.join("adapter").join(name));
        let adapters = adapters.each_ref().map(std::path::PathBuf::as_path);
        let options = LanguageOptions::default();
        let path = fixtures.join("language/llama");
        let open = || {
            let model = LanguageModel::open_with_adapters(&path, &adapters, device, &options);
            let mut model = model.unwrap();
            model.tokenizer = Some(Tokenizer::bytes(&[]).unwrap());
            model
        };
        let options = GenerateOptions {
            max_tokens: 6,
            temperature: 0.0,
            ignore_end: true,
            ..GenerateOptions::default()
        };
        let mut ids = vec![3, 1, 4, 1, 5, 9, 2, 6];
        let mut shared = open();
        let answer = |model: &mut LanguageModel, ids: &[u32], adapter| {
            model.use_adapter(adapter).unwrap();
            model.answer(ids, &[], &options, &mut |_| Ok(ControlFlow::Continue(()))).unwrap()
        };
        // The activated adapter begins at token 4, and once more behind the first answers.
        let mut reused = Vec::new();
        for adapter in [None, Some(0), Some(0), None, Some(1), Some(1), Some(0)] {
            let found = answer(&mut shared, &ids, adapter);
            assert_eq!(found.tokens, answer(&mut open(), &ids, adapter).tokens, "{adapter:?}");
            reused.push(found.cached_tokens);
            if reused.len() == 2 {
                ids.extend(found.tokens.iter().copied().chain([5, 9, 7]));
            }
        }
        assert_eq!(reused, [0, 4, 4, ids.len() - 3, 0, ids.len() - 1, 0]);
    }

    #[test]
    fn guesses_follow_the_text_and_rest_after_wrong_ones() {
        let mut guesses = Guesses::default();
        let text = [9, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3];
        assert_eq!(guesses.next(&text, 100), [4, 5, 6, 7]);
        assert_eq!(guesses.next(&text, 3), [4, 5, 6]);
        // The last place of two tokens, where there is none of three.
        assert_eq!(guesses.next(&[1, 2, 5, 1, 2, 6, 0, 1, 2], 2), [6, 0]);
        assert!(guesses.next(&[1, 2, 3], 5).is_empty());
        assert!(guesses.next(&[1], 5).is_empty());
        // A text that repeats one token follows itself.
        assert_eq!(guesses.next(&[7, 7, 7, 7], 5), [7]);
        guesses.found(4, 4);
        assert_eq!(guesses.next(&text, 100).len(), 7);
        for pause in [1, 3, 7] {
            guesses.found(0, 2);
            for _ in 0..pause {
                assert!(guesses.next(&text, 100).is_empty());
            }
            assert!(!guesses.next(&text, 100).is_empty());
        }
        guesses.found(1, 4);
        assert_eq!(guesses.next(&text, 100).len(), 2);
    }
}
