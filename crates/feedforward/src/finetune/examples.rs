//! Conversations as tokens.

use super::recipe::LossOn;
use super::records::{Piece, Role, Shape, Turn, pieces};
use crate::error::Result;
use ff_nn::Reach;
use ff_text::{ChatTemplate, Tokenizer};
use serde_json::{Value, json};

/// A conversation as tokens, each with whether it is learned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Example {
    pub(super) ids: Vec<i32>,
    pub(super) trained: Vec<bool>,
}

impl Example {
    /// The number of learned tokens: the first one of a document is never predicted.
    fn learned(&self) -> usize {
        self.trained.iter().skip(1).filter(|&&trained| trained).count()
    }
}

/// What became of the conversations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) kept: usize,
    /// Those that lost their last messages.
    pub(super) cut: usize,
    /// Those whose first answer does not fit.
    pub(super) dropped: usize,
    pub(super) tokens: usize,
    pub(super) learned: usize,
    /// Those that an adapter with an invocation has nothing to learn from.
    pub(super) uninvoked: usize,
}

/// From conversations to tokens.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    /// The template of the model; without one, a plain format.
    pub(super) template: Option<ChatTemplate>,
    pub(super) shape: Shape,
    pub(super) loss: LossOn,
    pub(super) context: usize,
    /// The tokens behind which the adapter acts; it acts on all if there are none.
    pub(super) invocation: &'a [u32],
}

impl Encoder<'_> {
    /// The text of the token that ends an answer.
    fn end(&self) -> String {
        let end = self.tokenizer.special().eos.and_then(|id| self.tokenizer.token(id));
        end.unwrap_or_default()
    }

    /// A conversation in pieces.
    fn pieces(&self, turns: &[Turn]) -> Result<Vec<Piece>> {
        let Some(template) = &self.template else {
            return Ok(pieces(turns, self.shape, &self.end(), self.loss));
        };
        let chat = template.render_marked(&messages(turns), None)?;
        let all = 0..chat.text.len();
        let learned = match self.loss {
            LossOn::All => vec![all.clone()],
            LossOn::Answers => chat.answers,
            LossOn::Last => chat.answers.into_iter().last().into_iter().collect(),
        };
        let mut pieces = Vec::with_capacity(2 * learned.len() + 1);
        let mut at = 0;
        for part in learned {
            pieces.push((chat.text[at..part.start].to_owned(), false));
            at = part.end;
            pieces.push((chat.text[part].to_owned(), true));
        }
        pieces.push((chat.text[at..].to_owned(), false));
        Ok(pieces)
    }

    fn encode(&self, pieces: &[Piece]) -> Result<Example> {
        let mut example = Example::default();
        let mut push = |ids: &[u32], learned| {
            example.ids.extend(ids.iter().map(|&id| id as i32));
            example.trained.resize(example.ids.len(), learned);
        };
        // A template writes the token that begins a text itself.
        if self.template.is_none() {
            push(self.tokenizer.begin(), false);
        }
        for (text, learned) in pieces {
            push(&self.tokenizer.encode(text)?, *learned);
        }
        if !self.invocation.is_empty() {
            // The first token that an adapted one predicts is behind it.
            let start = Reach::From(self.invocation.to_vec()).start(&example.ids);
            let before = example.ids.len().min(start.saturating_add(1));
            example.trained[..before].fill(false);
        }
        Ok(example)
    }

    /// The text before the last answer, as a prompt.
    ///
    /// # Errors
    /// The template refuses the conversation.
    pub(super) fn prompt(&self, turns: &[Turn]) -> Result<String> {
        let last = turns.iter().rposition(|turn| turn.role == Role::Assistant).unwrap_or(0);
        let turns = &turns[..last];
        if let Some(template) = &self.template {
            return Ok(template.render(&messages(turns), None, true)?);
        }
        let pieces = pieces(turns, self.shape, &self.end(), self.loss);
        Ok(pieces.into_iter().map(|(text, _)| text).collect())
    }

    /// The examples of conversations that fit into the context; longer ones end with the last
    /// answer that fits.
    ///
    /// # Errors
    /// A text has no tokens in the vocabulary.
    pub(super) fn examples(&self, records: &[Vec<Turn>]) -> Result<(Vec<Example>, Counts)> {
        let (mut all, mut counts) = (Vec::with_capacity(records.len()), Counts::default());
        for turns in records {
            let mut len = turns.len();
            let example = loop {
                let last = turns[..len].iter().rposition(|turn| turn.role == Role::Assistant);
                let Some(last) = last else { break None };
                let example = self.encode(&self.pieces(&turns[..=last])?)?;
                if example.ids.len() <= self.context {
                    counts.cut += usize::from(len < turns.len());
                    break Some(example);
                }
                len = last;
            };
            let Some(example) = example else {
                counts.dropped += 1;
                continue;
            };
            if !self.invocation.is_empty() && example.learned() == 0 {
                counts.uninvoked += 1;
                continue;
            }
            counts.kept += 1;
            counts.tokens += example.ids.len();
            counts.learned += example.learned();
            all.push(example);
        }
        Ok((all, counts))
    }

    /// The examples of pairs, the chosen answer before the rejected one; pairs that do not fit into
    /// the context are dropped, since a cut answer is another one.
    ///
    /// # Errors
    /// A text has no tokens in the vocabulary.
    pub(super) fn pairs(
        &self,
        chosen: &[Vec<Turn>],
        rejected: &[Vec<Turn>],
    ) -> Result<(Vec<Example>, Counts)> {
        let (mut all, mut counts) = (Vec::with_capacity(2 * chosen.len()), Counts::default());
        for (chosen, rejected) in chosen.iter().zip(rejected) {
            let encode = |turns: &[Turn]| self.encode(&self.pieces(turns)?);
            let both = [encode(chosen)?, encode(rejected)?];
            let fits = both.iter().all(|example| example.ids.len() <= self.context);
            if fits && !self.invocation.is_empty() && both.iter().any(|e| e.learned() == 0) {
                counts.uninvoked += 1;
                continue;
            }
            if both.iter().any(|e| e.ids.len() > self.context || e.learned() == 0) {
                counts.dropped += 1;
                continue;
            }
            counts.kept += 1;
            counts.tokens += both.iter().map(|example| example.ids.len()).sum::<usize>();
            counts.learned += both.iter().map(Example::learned).sum::<usize>();
            all.extend(both);
        }
        Ok((all, counts))
    }
}

/// Turns as a template reads them.
fn messages(turns: &[Turn]) -> Vec<Value> {
    let role = |role| match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let message = |turn: &Turn| json!({ "role": role(turn.role), "content": turn.text });
    turns.iter().map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_mark_their_answers() {
        let tokenizer = Tokenizer::bytes(&["<|end|>"]).unwrap();
        let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|end|>{% endfor %}\
                      {% if add_generation_prompt %}<assistant>{% endif %}";
        let special = [("eos_token", "<|end|>")];
        let template = Some(ChatTemplate::new(source, special, "test").unwrap());
        let turn = |role, text: &str| Turn { role, text: text.into() };
        let turns = [turn(Role::User, "a"), turn(Role::Assistant, "b")];
        let (shape, loss) = (Shape::Messages, LossOn::Answers);
        let (context, invocation) = (100, &[][..]);
        let tokenizer = &tokenizer;
        let mut encoder = Encoder { tokenizer, template, shape, loss, context, invocation };
        assert_eq!(encoder.prompt(&turns).unwrap(), "<user>a<|end|><assistant>");
        let (all, _) = encoder.examples(&[turns.to_vec()]).unwrap();
        let learned: Vec<u32> = all[0]
            .ids
            .iter()
            .zip(&all[0].trained)
            .filter(|(_, t)| **t)
            .map(|(&id, _)| id as u32)
            .collect();
        assert_eq!(tokenizer.decode(&learned).unwrap(), "b<|end|>");

        // An activated adapter learns what follows the last invocation alone.
        let tokens = tokenizer.encode("<assistant>").unwrap();
        encoder.invocation = &tokens;
        let again = [turns.clone(), turns.clone()].concat();
        let (all, counts) = encoder.examples(&[again, vec![turns[0].clone()]]).unwrap();
        assert_eq!((counts.kept, counts.learned, counts.dropped), (1, 2, 1));
        assert!(all[0].trained.ends_with(&[false, true, true]));
        encoder.invocation = &[1, 2, 3];
        assert_eq!(encoder.examples(&[turns.to_vec()]).unwrap().1.uninvoked, 1);
    }

    #[test]
    fn long_conversations_end_where_an_answer_does() {
        let tokenizer = Tokenizer::bytes(&["<|endoftext|>"]).unwrap();
        let turn = |role, text: &str| Turn { role, text: text.into() };
        let (ask, answer) = (turn(Role::User, "aa"), turn(Role::Assistant, "bbb"));
        let long = vec![ask.clone(), answer.clone(), ask.clone(), answer.clone()];
        let encoder = |context| Encoder {
            tokenizer: &tokenizer,
            template: None,
            shape: Shape::Completion,
            loss: LossOn::Answers,
            context,
            invocation: &[],
        };
        let (all, counts) = encoder(12).examples(std::slice::from_ref(&long)).unwrap();
        assert_eq!((all[0].ids.len(), counts.cut, counts.learned), (12, 0, 8));
        let (all, counts) = encoder(11).examples(&[long.clone(), vec![ask, answer]]).unwrap();
        assert_eq!((all[0].ids.len(), counts.cut, counts.kept), (6, 1, 2));
        assert_eq!(all[0].trained, [false, false, true, true, true, true]);
        assert_eq!(all[0].ids[5], 256);
        assert_eq!(encoder(5).examples(&[long]).unwrap().1.dropped, 1);
    }
}
