//! Conversations with a language model.

use super::model::{GenerateOptions, Generated, LanguageModel};
use crate::error::{Error, Result};
use ff_text::{ChatTemplate, Tokenizer};
use serde_json::{Value, json};
use std::ops::ControlFlow;

/// Positions that stay free for an answer before earlier messages are left out.
const ROOM: usize = 64;

/// A conversation with a model, by its chat template.
///
/// ```no_run
/// use feedforward::language::{Chat, GenerateOptions, LanguageModel};
/// use std::ops::ControlFlow;
/// let file = "models/smollm2.gguf".as_ref();
/// let mut model = LanguageModel::open(file, &Default::default(), &Default::default())?;
/// let mut chat = Chat::new(&model, None)?;
/// let options = GenerateOptions::default();
/// let answer = chat.say(&mut model, "Hello!", &options, &mut |_| Ok(ControlFlow::Continue(())))?;
/// println!("{}", answer.written.text);
/// # Ok::<(), feedforward::Error>(())
/// ```
#[derive(Debug)]
pub struct Chat {
    template: ChatTemplate,
    tokenizer: Tokenizer,
    /// Tokens that end an answer.
    end: Vec<u32>,
    messages: Vec<Value>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text and its tokens.
    pub written: Generated,
    /// How many of the earliest messages were left out, for which the model has no positions.
    pub left_out: usize,
}

impl Chat {
    /// A conversation by a template, or by that of the model.
    ///
    /// # Errors
    /// The model has no tokenizer or no chat template, or the template is malformed.
    pub fn new(model: &LanguageModel, template: Option<ChatTemplate>) -> Result<Self> {
        let Some(tokenizer) = model.tokenizer().cloned() else {
            return Err(Error::usage("the model has no tokenizer (tokenizer.json); add one"));
        };
        let own = || ChatTemplate::of(&tokenizer);
        let Some(template) = template.map_or_else(own, |template| Ok(Some(template)))? else {
            return Err(Error::usage(
                "the model has no chat template, so it was trained on texts rather than on conversations; continue \
                 texts with `feedforward generate`, or name a template with --template",
            ));
        };
        let mut end = model.end_tokens();
        // The token behind an answer may be another one than that behind a text.
        let probe =
            [json!({"role": "user", "content": "a"}), json!({"role": "assistant", "content": "b"})];
        if let Ok(chat) = template.render_marked(&probe, None) {
            let behind = chat
                .answers
                .first()
                .and_then(|answer| chat.text[answer.clone()].trim_end().strip_prefix('b'));
            end.extend(
                behind.and_then(|token| tokenizer.id(token)).filter(|&id| tokenizer.is_special(id)),
            );
        }
        end.sort_unstable();
        end.dedup();
        Ok(Self { template, tokenizer, end, messages: Vec::new() })
    }

    /// The messages, the model's answers included.
    pub fn messages(&self) -> &[Value] {
        &self.messages
    }

    /// Forgets everything but the system message.
    pub fn reset(&mut self) {
        self.messages.retain(|message| message["role"] == "system");
    }

    /// Sets the system message, which says how the model should answer; an empty one removes it.
    pub fn set_system(&mut self, text: &str) {
        self.messages.retain(|message| message["role"] != "system");
        if !text.is_empty() {
            self.messages.insert(0, json!({ "role": "system", "content": text }));
        }
    }

    /// Adds a message of the user and the model's answer, which `on_text` gets as it comes, and may
    /// stop. If it fails, the conversation is as it was.
    ///
    /// # Errors
    /// The template refuses the conversation; the message alone is longer than the model's
    /// positions; otherwise as [`LanguageModel::generate`].
    pub fn say(
        &mut self,
        model: &mut LanguageModel,
        text: &str,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&str) -> Result<ControlFlow<()>>,
    ) -> Result<Answer> {
        let mut messages = self.messages.clone();
        messages.push(json!({ "role": "user", "content": text }));
        let (ids, left_out) = self.fitting(&mut messages, model.config().max_positions)?;
        let written = model.answer(&ids, &self.end, options, on_text)?;
        messages.push(json!({ "role": "assistant", "content": written.text }));
        self.messages = messages;
        Ok(Answer { written, left_out })
    }

    /// The tokens of a conversation. The earliest messages of user and model are left out until the
    /// rest fits, whole turns at a time.
    fn fitting(&self, messages: &mut Vec<Value>, positions: usize) -> Result<(Vec<u32>, usize)> {
        let mut left_out = 0;
        loop {
            // The template writes the first token itself.
            let ids = self.tokenizer.encode(&self.template.render(messages, None, true)?)?;
            if ids.len() + ROOM.min(positions / 2) <= positions {
                return Ok((ids, left_out));
            }
            let is_user = |message: &Value| message["role"] == "user";
            let first = messages.iter().position(is_user).unwrap_or(0);
            let Some(next) = messages.iter().skip(first + 1).position(is_user) else {
                return Err(Error::usage(format!(
                    "the message has {} tokens with what belongs to it, and the model has positions for {positions}; \
                     shorten it",
                    ids.len()
                )));
            };
            left_out += next + 1;
            messages.drain(first..=first + next);
        }
    }
}
