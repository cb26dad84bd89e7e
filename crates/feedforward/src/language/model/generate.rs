//! Writing: one token after the other, with what was computed for earlier ones kept.

use super::folder::LanguageModel;
use super::sampling::{GenerateOptions, Sampler};
use crate::error::{Error, Result};
use ff_graph::{Graph, Mode};
use ff_nn::models::{CausalLm, DecoderConfig, ModelCache, TokenBatch};
use ff_tensor::Tensor;
use ff_text::Tokenizer;
use serde::Serialize;
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
    /// Whoever read along asked for it.
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
    /// Goes on from a prompt; `on_text` gets each piece of text as it comes, whole characters at a
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

    /// Goes on from several prompts at once, each with draws of its own; `on_text` gets the number
    /// of the prompt with each piece of text.
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
        let parts = (&self.model, &self.config, &tokenizer);
        generate(&mut self.graph, parts, prompts, &end, options, on_text)
    }
}

/// Goes on from prompts with a model that is in memory, several of them at once; the draws depend
/// on a prompt's number.
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
    let ids: Vec<Vec<u32>> =
        prompts.iter().map(|prompt| encode(tokenizer, prompt, end)).collect::<Result<_>>()?;
    let mut texts: Vec<_> =
        prompts.iter().map(|_| (tokenizer.stream(), Held::new(&options.stop))).collect();
    let mut failure = None;
    let mut push = |row: usize, token| -> Result<bool> {
        let (stream, text) = &mut texts[row];
        let stopped = text.push(&stream.push(token)?);
        text.give(&mut |text| on_text(row, text))?;
        Ok(stopped)
    };
    let slices: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let written =
        generate_tokens(graph, (model, config), &slices, end, options, &mut |row, token| {
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
    let mut all = Vec::with_capacity(prompts.len());
    for (row, (written, (mut stream, mut text))) in written.into_iter().zip(texts).enumerate() {
        let GeneratedTokens { tokens, mut reason } = written;
        if text.stopped {
            reason = StopReason::StopText;
        } else {
            text.push(&stream.finish()?);
            text.finish(&mut |text| on_text(row, text))?;
        }
        all.push(Generated { text: text.given, prompt_tokens: ids[row].len(), tokens, reason });
    }
    Ok(all)
}

/// The tokens that a model continues.
fn encode(tokenizer: &Tokenizer, prompt: &str, end: &[u32]) -> Result<Vec<u32>> {
    let mut ids = tokenizer.encode_with_special(prompt)?;
    // Some tokenizers close a text, which is to be continued.
    if ids.len() > 1 && ids.last().is_some_and(|last| end.contains(last)) && !prompt.is_empty() {
        ids.pop();
    }
    if ids.is_empty() {
        let special = tokenizer.special();
        ids.extend(special.bos.or(special.eos).or(end.first().copied()));
    }
    if ids.is_empty() {
        let message = "the prompt is empty, and the model has no token that a text begins with; give a prompt";
        return Err(Error::usage(message));
    }
    Ok(ids)
}

/// Goes on from prompts with a model that is in memory, several of them at once; each until
/// `on_token` breaks it off or there is another reason.
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
        let mut writer = Writer::new(config, options, end, (first, prompts));
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
        config: &DecoderConfig,
        options: &'a GenerateOptions,
        end: &'a [u32],
        (first, prompts): (usize, &[&[u32]]),
    ) -> Self {
        let row = |(i, prompt): (usize, &&[u32])| Row {
            sampler: Sampler::new(options, (first + i) as u64),
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
        // What is written last is not read again.
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

    /// Takes the tokens at some places of all rows into the cache; the logits of what comes after
    /// the last one. A row that is over goes on with a token that nobody sees.
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

/// Text that waits until it is certain not to be the beginning of a stop text.
#[derive(Debug)]
struct Held<'a> {
    stop: &'a [String],
    given: String,
    waiting: String,
    stopped: bool,
}

impl<'a> Held<'a> {
    fn new(stop: &'a [String]) -> Self {
        Self { stop, given: String::new(), waiting: String::new(), stopped: false }
    }

    /// Takes text; whether a stop text has come, behind which nothing counts.
    fn push(&mut self, text: &str) -> bool {
        self.waiting.push_str(text);
        let first = self.stop.iter().filter_map(|stop| self.waiting.find(stop.as_str())).min();
        if let Some(at) = first {
            self.waiting.truncate(at);
            self.stopped = true;
        }
        self.stopped
    }

    /// Gives what cannot become a stop text any more.
    fn give(&mut self, on_text: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let mut len = self.waiting.len();
        if !self.stopped {
            let begins = |at: &usize| {
                let tail = &self.waiting[*at..];
                self.stop.iter().any(|stop| stop.starts_with(tail))
            };
            let starts = self.waiting.char_indices().map(|(at, _)| at);
            len = starts.into_iter().find(begins).unwrap_or(len);
        }
        if len > 0 {
            on_text(&self.waiting[..len])?;
            self.given.extend(self.waiting.drain(..len));
        }
        Ok(())
    }

    fn finish(&mut self, on_text: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        self.stopped = true;
        self.give(on_text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces that come out for those that go in.
    fn pieces(stop: &[&str], text: &[&str]) -> (Vec<String>, bool) {
        let stop: Vec<String> = stop.iter().map(|&s| s.to_owned()).collect();
        let mut held = Held::new(&stop);
        let mut out = Vec::new();
        let mut keep = |piece: &str| {
            out.push(piece.to_owned());
            Ok(())
        };
        for piece in text {
            let stopped = held.push(piece);
            held.give(&mut keep).unwrap();
            if stopped {
                return (out, true);
            }
        }
        held.finish(&mut keep).unwrap();
        (out, false)
    }

    #[test]
    fn text_waits_only_while_it_may_be_a_stop_text() {
        assert_eq!(
            pieces(&["END"], &["a E", "x", " END b"]),
            (vec!["a ".into(), "Ex".into(), " ".into()], true)
        );
        assert_eq!(pieces(&["END"], &["a EN"]), (vec!["a ".into(), "EN".into()], false));
        assert_eq!(pieces(&["é!", "\n\n"], &["é", "é", "!x"]), (vec!["é".into()], true));
        assert_eq!(pieces(&[], &["a", "b"]), (vec!["a".into(), "b".into()], false));
    }
}
