//! Writing: one token after the other, with what was computed for earlier ones kept.

use super::folder::{LanguageModel, token_batch};
use super::sampling::{GenerateOptions, Sampler};
use crate::{Error, Result};
use ff_data::text::Tokenizer;
use ff_nn::models::{CausalLm, DecoderConfig, ModelCache};
use ff_ops::{Graph, Mode};
use serde::Serialize;
use std::ops::ControlFlow;

/// How many tokens of a prompt are computed at once.
const CHUNK: usize = 512;

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
///
/// ```
/// fn ended(generated: &feedforward::language::GeneratedTokens) -> bool {
///     generated.reason == feedforward::language::StopReason::End
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GeneratedTokens {
    /// The tokens, without the one that ended the text.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub reason: StopReason,
}

/// The text that a model wrote.
///
/// ```
/// fn words(generated: &feedforward::language::Generated) -> usize { generated.text.split(' ').count() }
/// ```
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
    /// Goes on from a prompt; `on_text` gets each piece of text as it comes, whole characters at a time.
    ///
    /// # Errors
    /// An option is not in its domain; the prompt has no token, or more than the model has positions for; the folder has no
    /// tokenizer; `on_text` fails; memory is short.
    pub fn generate(
        &mut self,
        prompt: &str,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Generated> {
        self.generate_at(0, prompt, options, on_text)
    }

    /// The same for the prompt of a number, on which the draws depend: several prompts have draws of their own.
    ///
    /// # Errors
    /// As [`LanguageModel::generate`].
    pub fn generate_at(
        &mut self,
        number: u64,
        prompt: &str,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Generated> {
        let Some(tokenizer) = self.tokenizer.clone() else {
            let message = "the model's folder has no tokenizer (tokenizer.json, or vocab.json and merges.txt); add one";
            return Err(Error::usage(message));
        };
        let end = self.end_tokens();
        let parts = (&self.model, &self.config, &tokenizer);
        generate(&mut self.graph, parts, (number, prompt), &end, options, on_text)
    }
}

/// Goes on from a prompt with a model that is in memory; `number` is the prompt's, on which the draws depend.
///
/// The graph's tape is reset.
///
/// # Errors
/// As [`LanguageModel::generate`].
pub fn generate(
    graph: &mut Graph,
    (model, config, tokenizer): (&CausalLm, &DecoderConfig, &Tokenizer),
    (number, prompt): (u64, &str),
    end: &[u32],
    options: &GenerateOptions,
    on_text: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Generated> {
    options.check()?;
    let mut ids = tokenizer.encode_with_special(prompt)?;
    // Some tokenizers close a text; the model shall go on with it.
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
    let mut stream = tokenizer.stream();
    let mut text = Held::new(&options.stop);
    let mut failure = None;
    let parts = (model, config);
    let mut generated =
        generate_tokens(graph, parts, (number, &ids), end, options, &mut |token| {
            let piece = stream.push(token).map_err(Error::from);
            let outcome = piece.and_then(|piece| {
                let stopped = text.push(&piece);
                text.give(on_text).map(|()| stopped)
            });
            match outcome {
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
    if text.stopped {
        generated.reason = StopReason::StopText;
    } else {
        text.push(&stream.finish()?);
        text.finish(on_text)?;
    }
    let GeneratedTokens { tokens, reason } = generated;
    Ok(Generated { text: text.given, prompt_tokens: ids.len(), tokens, reason })
}

/// Goes on from tokens with a model that is in memory, until `on_token` breaks it off or there is another reason.
///
/// The graph's tape is reset.
///
/// # Errors
/// As [`LanguageModel::generate`]; a token is not in the vocabulary.
pub fn generate_tokens(
    graph: &mut Graph,
    (model, config): (&CausalLm, &DecoderConfig),
    (number, prompt): (u64, &[u32]),
    end: &[u32],
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<GeneratedTokens> {
    options.check()?;
    if prompt.is_empty() {
        return Err(Error::usage("there is no token to go on from"));
    }
    if prompt.len() > config.max_positions {
        return Err(Error::usage(format!(
            "the prompt has {} tokens, the model positions for {}; shorten it to leave room for what is to be written",
            prompt.len(),
            config.max_positions
        )));
    }
    let mode = graph.mode();
    graph.set_mode(Mode::Eval);
    let result = write(graph, (model, config), (number, prompt), end, options, on_token);
    graph.set_mode(mode);
    graph.reset();
    result
}

fn write(
    graph: &mut Graph,
    (model, config): (&CausalLm, &DecoderConfig),
    (number, prompt): (u64, &[u32]),
    end: &[u32],
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<GeneratedTokens> {
    let room = config.max_positions - prompt.len();
    // What is written last is not read again.
    let capacity = prompt.len() + options.max_tokens.min(room + 1) - 1;
    let mut cache = ModelCache::new(graph.device(), config, model.options(), 1, capacity)?;
    let mut sampler = Sampler::new(options, number);
    let mut context = prompt.to_vec();
    let mut tokens = Vec::new();
    let mut logits = read(graph, model, &mut cache, prompt)?;
    let reason = loop {
        let token = sampler.choose(&logits, &context, tokens.len() as u64)?;
        if end.contains(&token) && !options.ignore_end {
            break StopReason::End;
        }
        tokens.push(token);
        context.push(token);
        if on_token(token).is_break() {
            break StopReason::Asked;
        }
        if tokens.len() == options.max_tokens {
            break StopReason::MaxTokens;
        }
        if cache.len() == config.max_positions {
            break StopReason::Positions;
        }
        logits = read(graph, model, &mut cache, &[token])?;
    };
    Ok(GeneratedTokens { tokens, reason })
}

/// Takes tokens into the cache; the logits of what comes after the last one.
fn read(
    graph: &mut Graph,
    model: &CausalLm,
    cache: &mut ModelCache,
    tokens: &[u32],
) -> Result<Vec<f32>> {
    let mut logits = Vec::new();
    for part in tokens.chunks(CHUNK) {
        graph.reset();
        let batch = token_batch(graph, part, cache.len())?;
        let next = model.next_logits(graph, &batch, Some(cache))?;
        logits.clear();
        logits.extend_from_slice(next.slice::<f32>()?);
    }
    Ok(logits)
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
