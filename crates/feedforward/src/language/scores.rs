//! Scores of a language model: loss, perplexity and bits per byte on text, exact answers, the
//! likeliest of choices.

use super::addition::Question;
use super::likelihood::{Continuation, likelihoods};
use super::model::LanguageModel;
use super::objective::{Windows, evaluate_parts, judged_bytes};
use crate::error::{Error, Result};
use ff_metrics::{Bootstrap, Interval};
use ff_text::{TokenData, Tokenizer};
use serde::{Deserialize, Serialize};

/// The scores of predicting a text.
///
/// ```
/// use feedforward::language::TextScores;
/// let scores = TextScores::new(2.0 * 8f64.ln(), 2, 3);
/// assert!((scores.perplexity - 8.0).abs() < 1e-12);
/// assert!((scores.bits_per_byte - 2.0).abs() < 1e-12); // 3 bits each of 2 tokens, over 3 bytes
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TextScores {
    /// Mean of −ln p over the tokens, in nats.
    pub loss: f64,
    /// e to the loss.
    pub perplexity: f64,
    /// −log₂ p of the whole text, over its bytes: comparable between tokenizers.
    pub bits_per_byte: f64,
    /// Tokens predicted.
    pub tokens: u64,
    /// Bytes of the text.
    pub bytes: u64,
    /// The 95 % confidence interval of the loss; none for a short text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

impl TextScores {
    /// From the sum of −ln p.
    pub fn new(sum: f64, tokens: u64, bytes: u64) -> Self {
        let loss = sum / tokens.max(1) as f64;
        Self {
            loss,
            perplexity: loss.exp(),
            bits_per_byte: sum / std::f64::consts::LN_2 / bytes.max(1) as f64,
            tokens,
            bytes,
            interval: None,
        }
    }
}

/// Tokens side by side that are drawn together for the interval: neighbours are alike, and to draw
/// them one by one would make it too narrow.
pub(crate) const STRETCH: usize = 1024;

/// The scores at the end of a run; `None` for those that do not apply.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scores {
    /// On the whole validation part.
    pub(crate) valid: Option<TextScores>,
    /// On the test questions.
    pub(crate) exact: Option<Exact>,
}

/// The number of right answers.
///
/// ```
/// assert_eq!(feedforward::language::Exact { questions: 4, right: 3 }.share(), 0.75);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exact {
    /// All questions.
    pub questions: usize,
    /// Those whose answer greedy generation writes to the letter, or whose right choice is the
    /// likeliest.
    pub right: usize,
}

impl Exact {
    /// The share that is right.
    pub fn share(&self) -> f64 {
        self.right as f64 / self.questions.max(1) as f64
    }
}

/// The scores on a stream of tokens, window by window: a token is predicted from those before it in
/// its window.
///
/// # Errors
/// An operation failed.
pub(crate) fn text(
    model: &mut LanguageModel,
    windows: Windows,
    tokens: &TokenData,
    batch: usize,
) -> Result<TextScores> {
    let bytes = match model.tokenizer() {
        Some(tokenizer) => bytes_per_token(windows, tokens, tokenizer)?,
        None => tokens.bytes() as f64 / tokens.tokens().max(1) as f64,
    };
    let (network, graph) = model.parts();
    let batch = (STRETCH / windows.context.max(1)).clamp(1, batch.max(1));
    let parts = evaluate_parts(graph, network, windows, tokens, batch, usize::MAX)?;
    let (sum, count) = parts.iter().fold((0.0, 0.0), |(sum, count), p| (sum + p.0, count + p.1));
    let threads = Some(graph.device().cpu().threads());
    let interval = Bootstrap { threads, ..Bootstrap::default() }.mean(&parts);
    let bytes = (bytes * count).round() as u64;
    Ok(TextScores { interval, ..TextScores::new(sum, count as u64, bytes) })
}

/// Bytes of text per predicted token of a stream.
///
/// In one text all bytes count. Where tokens are left out, the first ones of documents or the
/// questions before answers, only the bytes of the others do.
///
/// # Errors
/// The stream cannot be read.
pub(crate) fn bytes_per_token(
    windows: Windows,
    tokens: &TokenData,
    tokenizer: &Tokenizer,
) -> Result<f64> {
    let predicted = tokens.tokens().saturating_sub(1);
    if !windows.separate && windows.after.is_none() {
        return Ok(tokens.bytes() as f64 / predicted.max(1) as f64);
    }
    let lengths = tokenizer.token_bytes();
    // Tokens of normalised text are a little longer or shorter than the text: their share counts.
    let everything = Windows { separate: false, after: None, ..windows };
    let (all, _) = judged_bytes(tokens, everything, &lengths)?;
    let mut first = [0];
    tokens.read(0, &mut first)?;
    let all = all + u64::from(*lengths.get(first[0] as usize).unwrap_or(&0));
    let (judged, count) = judged_bytes(tokens, windows, &lengths)?;
    let scale = tokens.bytes() as f64 / all.max(1) as f64;
    Ok(judged as f64 * scale / count.max(1) as f64)
}

/// Asks each question once.
///
/// # Errors
/// A question is longer than the model's positions, or an operation failed.
pub(crate) fn exact(model: &mut LanguageModel, questions: &[Question]) -> Result<Exact> {
    let pairs = questions
        .iter()
        .map(|q| continuation(model, &q.prompt, &q.answer))
        .collect::<Result<Vec<_>>>()?;
    let found = likelihoods(model, &pairs)?;
    Ok(Exact {
        questions: questions.len(),
        right: found.iter().filter(|likelihood| likelihood.greedy).count(),
    })
}

/// A question with answers to choose from.
///
/// ```
/// let json = r#"{"prompt": "2+2=", "choices": ["4", "5"], "answer": 0}"#;
/// let question: feedforward::language::Choice = serde_json::from_str(json)?;
/// assert_eq!(question.choices[question.answer], "4");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The prompt.
    pub prompt: String,
    /// The possible continuations.
    pub choices: Vec<String>,
    /// The place of the right one, from 0.
    pub answer: usize,
}

/// How choices were made: by the likelihood of the whole choice, and by that of its bytes on the
/// mean, which does not favour short ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// The likeliest whole choice.
    pub by_likelihood: Exact,
    /// The choice whose likelihood over its bytes is greatest.
    pub by_byte: Exact,
}

/// Takes the likeliest choice of each question.
///
/// # Errors
/// A question is longer than the model's positions, or an operation failed.
pub(crate) fn choices(model: &mut LanguageModel, questions: &[Choice]) -> Result<Choices> {
    let mut pairs = Vec::new();
    for question in questions {
        for choice in &question.choices {
            pairs.push(continuation(model, &question.prompt, choice)?);
        }
    }
    let mut found = likelihoods(model, &pairs)?.into_iter();
    let (mut by_likelihood, mut by_byte) = (0, 0);
    for question in questions {
        let scores: Vec<f64> = question
            .choices
            .iter()
            .filter_map(|_| found.next())
            .map(|l| l.log_likelihood)
            .collect();
        let best = |of: &dyn Fn(usize) -> f64| {
            (0..scores.len()).fold(0, |best, i| if of(i) > of(best) { i } else { best })
        };
        let a_byte = |i: usize| scores[i] / question.choices[i].len().max(1) as f64;
        by_likelihood += usize::from(best(&|i| scores[i]) == question.answer);
        by_byte += usize::from(best(&a_byte) == question.answer);
    }
    let of = |right| Exact { questions: questions.len(), right };
    Ok(Choices { by_likelihood: of(by_likelihood), by_byte: of(by_byte) })
}

/// The tokens of a prompt, as generation reads it, and of what follows it: where the tokenizer
/// would join letters of both,
/// the prompt ends earlier.
fn continuation(model: &LanguageModel, prompt: &str, follows: &str) -> Result<Continuation> {
    let no_tokenizer = "the model's folder has no tokenizer (tokenizer.json); add one";
    let tokenizer = model.tokenizer().ok_or_else(|| Error::usage(no_tokenizer))?;
    let mut given = tokenizer.encode_prompt(prompt)?;
    let mut all = tokenizer.encode_prompt(&format!("{prompt}{follows}"))?;
    if given.is_empty()
        && let Some(start) = model.begin_token()
    {
        given.push(start);
        all.insert(0, start);
    }
    let common = given.iter().zip(&all).take_while(|(a, b)| a == b).count().max(1).min(all.len());
    Ok(Continuation { given: all[..common].to_vec(), follows: all[common..].to_vec() })
}
