//! Generation: token by token, with a cache of keys and values.

use super::folder::LanguageModel;
use super::held::Held;
use super::sampling::{GenerateOptions, Sampler};
use crate::error::{Error, Result};
use ff_graph::{Graph, Mode};
use ff_nn::models::{CausalLm, DecoderConfig, ModelCache, TokenBatch};
use ff_tensor::Tensor;
use ff_text::{TextError, Tokenizer};
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
}

/// The text that a model wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Generated {
    /// The text, without the prompt.
    pub text: String,
    /// How many tokens the prompt has.
    pub prompt_tokens: usize,
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

    /// Continues the tokens of a conversation.
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
        let (model, config, graph) = self.all_parts();
        let parts = (model, config, &tokenizer);
        let mut all = continue_ids(graph, parts, &ids, end, options, on_text)?;
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
    continue_ids(graph, (model, config, tokenizer), &ids, end, options, on_text)
}

/// Continues the tokens of prompts; `on_text` may stop each text.
fn continue_ids(
    graph: &mut Graph,
    (model, config, tokenizer): (&CausalLm, &DecoderConfig, &Tokenizer),
    ids: &[Vec<u32>],
    end: &[u32],
    options: &GenerateOptions,
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
    let parts = (model, config, known.as_slice());
    let written = write_tokens(graph, parts, &slices, end, options, &mut |row, token| {
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
        let GeneratedTokens { tokens, mut reason } = written;
        if !text.stopped {
            text.push(&stream.finish()?);
        }
        if text.stopped {
            reason = StopReason::StopText;
        }
        text.finish(&mut |text| on_text(row, text).map(drop))?;
        all.push(Generated { text: text.given, prompt_tokens: ids[row].len(), tokens, reason });
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
    write_tokens(graph, (model, config, &[]), prompts, end, options, on_token)
}

/// The same with tokens for these ids alone; an empty list allows all.
fn write_tokens(
    graph: &mut Graph,
    (model, config, known): (&CausalLm, &DecoderConfig, &[bool]),
    prompts: &[&[u32]],
    end: &[u32],
    options: &GenerateOptions,
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
    let mut all = Vec::with_capacity(prompts.len());
    let mut result = Ok(());
    for (part, prompts) in prompts.chunks(TOGETHER).enumerate() {
        let first = part * TOGETHER;
        let on_token = &mut |row: usize, token| on_token(first + row, token);
        let mut writer = Writer::new((config, known), options, end, (first, prompts));
        result = writer.write(graph, (model, config), on_token);
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
    /// The prompt and what was written.
    context: Vec<u32>,
    prompt: usize,
    reason: Option<StopReason>,
}

impl Row<'_> {
    fn into_written(mut self) -> GeneratedTokens {
        let reason = self.reason.unwrap_or(StopReason::Asked);
        GeneratedTokens { tokens: self.context.split_off(self.prompt), reason }
    }
}

/// Texts that are written together, token by token. Shorter prompts have padding before them, so
/// that all of them end in the same place; attention leaves it out.
struct Writer<'a> {
    rows: Vec<Row<'a>>,
    end: &'a [u32],
    options: &'a GenerateOptions,
    positions: usize,
    /// The tokens of the longest prompt.
    longest: usize,
}

impl<'a> Writer<'a> {
    fn new(
        (config, known): (&DecoderConfig, &'a [bool]),
        options: &'a GenerateOptions,
        end: &'a [u32],
        (first, prompts): (usize, &[&[u32]]),
    ) -> Self {
        let row = |(i, prompt): (usize, &&[u32])| Row {
            sampler: Sampler::new(options, known, (first + i) as u64),
            context: prompt.to_vec(),
            prompt: prompt.len(),
            reason: None,
        };
        let rows = prompts.iter().enumerate().map(row).collect();
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        Self { rows, end, options, positions: config.max_positions, longest }
    }

    fn write(
        &mut self,
        graph: &mut Graph,
        (model, config): (&CausalLm, &DecoderConfig),
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<()> {
        let room = |row: &Row<'_>| self.options.max_tokens.min(self.positions - row.prompt + 1);
        // The last token is not read again.
        let most = self.rows.iter().map(room).max().unwrap_or(1);
        let (batch, capacity) = (self.rows.len(), self.longest + most - 1);
        let mut cache = ModelCache::new(graph.device(), config, model.options(), batch, capacity)?;
        let mut logits = Vec::new();
        for start in (0..self.longest).step_by(CHUNK) {
            let places = start..self.longest.min(start + CHUNK);
            logits = self.read(graph, model, &mut cache, places)?;
        }
        loop {
            for (i, logits) in logits.chunks_exact(config.vocab_size).enumerate() {
                self.choose(i, logits, on_token)?;
            }
            if self.rows.iter().all(|row| row.reason.is_some()) {
                return Ok(());
            }
            let place = cache.len();
            logits = self.read(graph, model, &mut cache, place..place + 1)?;
        }
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
        let token = row.sampler.choose(logits, &row.context, step as u64)?;
        if self.end.contains(&token) && !self.options.ignore_end {
            row.reason = Some(StopReason::End);
            return Ok(());
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

    /// Reads the tokens at these positions of all rows into the cache and returns the logits behind
    /// the last one. A finished row continues with a token that is discarded.
    fn read(
        &self,
        graph: &mut Graph,
        model: &CausalLm,
        cache: &mut ModelCache,
        places: Range<usize>,
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
            let id = at.checked_sub(before(row)).and_then(|at| row.context.get(at));
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
        let next = model.next_logits(graph, &batch, Some(cache))?;
        Ok(next.slice::<f32>()?.to_vec())
    }
}
