//! Generation: texts token by token, with a cache of keys and values.

mod guesses;
mod writer;

use super::decoder::{LanguageModel, begin};
use super::held::Held;
use super::sampling::GenerateOptions;
use crate::error::{Error, Result};
use ff_graph::Graph;
use ff_nn::models::{CausalLm, DecoderConfig};
use ff_text::{TextError, Tokenizer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use writer::{LastTurn, Tokens, write_tokens};

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
}
