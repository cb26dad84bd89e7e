//! From logits to the next token.

use crate::error::{Error, Result};
use ff_tensor::{Key, Rng};
use serde_json::{Map, Value};

/// How a model writes.
///
/// What the next token is drawn from is changed in this order: the repetition penalty, the
/// temperature, then what is kept of it by `top_k`, `top_p` and `min_p`.
///
/// ```
/// use feedforward::language::GenerateOptions;
/// let greedy = GenerateOptions { temperature: 0.0, max_tokens: 20, ..Default::default() };
/// assert!(greedy.check().is_ok());
/// let options = GenerateOptions { top_p: Some(1.5), ..Default::default() };
/// assert!(options.check().unwrap_err().to_string().contains("top-p"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// The most tokens to write.
    pub max_tokens: usize,
    /// How even the distribution is made: 0 takes the likeliest token every time, 1 leaves it as it
    /// is.
    pub temperature: f64,
    /// Draw from so many of the likeliest tokens.
    pub top_k: Option<usize>,
    /// Draw from the likeliest tokens whose probabilities sum to this.
    pub top_p: Option<f64>,
    /// Draw from tokens that have at least this share of the likeliest one's probability.
    pub min_p: Option<f64>,
    /// What the logits of tokens that are there already are divided by (multiplied, if negative): 1
    /// is none.
    pub repetition_penalty: f64,
    /// Texts that end the writing; they are not part of it.
    pub stop: Vec<String>,
    /// What the draws depend on.
    pub seed: u64,
    /// Go on behind the token that ends a text.
    pub ignore_end: bool,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: 128,
            temperature: 0.8,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: 1.0,
            stop: Vec::new(),
            seed: 0,
            ignore_end: false,
        }
    }
}

impl GenerateOptions {
    /// The defaults with what a model's `generation_config.json` says.
    pub fn from_model(generation: &Map<String, Value>) -> Self {
        let number = |key| generation.get(key).and_then(Value::as_f64);
        let mut options = Self::default();
        if generation.get("do_sample").and_then(Value::as_bool) == Some(true) {
            options.temperature = number("temperature").unwrap_or(1.0);
            options.top_k = number("top_k").map(|k| k as usize).filter(|&k| k > 0);
            options.top_p = number("top_p").filter(|&p| p < 1.0);
            options.min_p = number("min_p").filter(|&p| p > 0.0);
        }
        options.repetition_penalty = number("repetition_penalty").unwrap_or(1.0);
        options
    }

    /// Whether every value is in its domain.
    ///
    /// # Errors
    /// One is not; the message says what is allowed.
    pub fn check(&self) -> Result<()> {
        let share = |p: f64| p > 0.0 && p <= 1.0;
        let problems = [
            (self.max_tokens == 0, "max-tokens must be at least 1"),
            (
                !self.temperature.is_finite() || self.temperature < 0.0,
                "temperature must be a number from 0 (always the likeliest token) up",
            ),
            (self.top_k == Some(0), "top-k must be at least 1"),
            (!self.top_p.is_none_or(share), "top-p must be above 0 and at most 1"),
            (self.min_p.is_some_and(|p| !(0.0..=1.0).contains(&p)), "min-p must be from 0 to 1"),
            (
                !self.repetition_penalty.is_finite() || self.repetition_penalty <= 0.0,
                "repetition-penalty must be above 0; 1 is none",
            ),
            (self.stop.iter().any(String::is_empty), "a stop text must not be empty"),
        ];
        match problems.iter().find(|(wrong, _)| *wrong) {
            Some((_, message)) => Err(Error::usage(*message)),
            None => Ok(()),
        }
    }
}

/// Chooses tokens, with memory for the work that is used again.
#[derive(Debug)]
pub(super) struct Sampler<'a> {
    options: &'a GenerateOptions,
    key: Key,
    /// Token and logit, later weight.
    candidates: Vec<(u32, f64)>,
}

impl<'a> Sampler<'a> {
    /// For the prompt of this number.
    pub(super) fn new(options: &'a GenerateOptions, prompt: u64) -> Self {
        let key = Key::new(options.seed).with_name("generate").with(prompt);
        Self { options, key, candidates: Vec::new() }
    }

    /// The token of number `step` behind `context`.
    pub(super) fn choose(&mut self, logits: &[f32], context: &[u32], step: u64) -> Result<u32> {
        if let Some(i) = logits.iter().position(|v| v.is_nan()) {
            let message = format!(
                "the model's logit of token {i} is not a number; its weights may be damaged or have diverged in training"
            );
            return Err(Error::usage(message));
        }
        let options = self.options;
        self.candidates.clear();
        self.candidates.extend(logits.iter().enumerate().map(|(i, &v)| (i as u32, f64::from(v))));
        if options.repetition_penalty != 1.0 {
            let mut seen: Vec<u32> = context.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                if let Some((_, logit)) = self.candidates.get_mut(token as usize) {
                    let penalty = options.repetition_penalty;
                    *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
                }
            }
        }
        if options.temperature == 0.0 {
            // The first of equals, as argmax has it.
            let best = self
                .candidates
                .iter()
                .fold((0, f64::NEG_INFINITY), |best, &c| if c.1 > best.1 { c } else { best });
            return Ok(best.0);
        }
        self.keep();
        let sum: f64 = self.candidates.iter().map(|(_, weight)| weight).sum();
        let mut rest = Rng::new(self.key.with(step)).uniform() * sum;
        for &(token, weight) in &self.candidates {
            rest -= weight;
            if rest < 0.0 {
                return Ok(token);
            }
        }
        Ok(self.candidates.last().map_or(0, |&(token, _)| token))
    }

    /// Sorts by weight and drops what is not drawn from.
    fn keep(&mut self) {
        let options = self.options;
        // Equal logits in the order of their ids, so that a draw does not depend on how it is
        // sorted.
        let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if let Some(k) = options.top_k.filter(|&k| k < self.candidates.len()) {
            self.candidates.select_nth_unstable_by(k - 1, order);
            self.candidates.truncate(k);
        }
        self.candidates.sort_unstable_by(order);
        let largest = self.candidates.first().map_or(0.0, |&(_, logit)| logit);
        for (_, logit) in &mut self.candidates {
            *logit = ((*logit - largest) / options.temperature).exp();
        }
        if let Some(p) = options.top_p {
            let sum: f64 = self.candidates.iter().map(|(_, weight)| weight).sum();
            let mut before = 0.0;
            let kept = self.candidates.iter().take_while(|(_, weight)| {
                let needed = before < p * sum;
                before += weight;
                needed
            });
            let kept = kept.count().max(1);
            self.candidates.truncate(kept);
        }
        if let Some(p) = options.min_p {
            let kept = self.candidates.iter().take_while(|(_, weight)| *weight >= p).count();
            self.candidates.truncate(kept.max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each token is drawn in many steps.
    fn shares(options: &GenerateOptions, logits: &[f32]) -> Vec<f64> {
        const DRAWS: u64 = 20_000;
        let mut sampler = Sampler::new(options, 0);
        let mut counts = vec![0.0; logits.len()];
        for step in 0..DRAWS {
            counts[sampler.choose(logits, &[0], step).unwrap() as usize] += 1.0 / DRAWS as f64;
        }
        counts
    }

    fn close(found: &[f64], expected: &[f64]) {
        // Five standard errors of a share of 20,000 draws are at most 0.018.
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.018);
        assert!(near, "{found:?} against {expected:?}");
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let logits: Vec<f32> = [0.5f32, 0.3, 0.15, 0.05].iter().map(|p| p.ln()).collect();
        let options = GenerateOptions { temperature: 1.0, ..Default::default() };
        close(&shares(&options, &logits), &[0.5, 0.3, 0.15, 0.05]);
        let half = GenerateOptions { temperature: 0.5, ..options.clone() };
        let squares: Vec<f64> = [0.25, 0.09, 0.0225, 0.0025].map(|p| p / 0.365).into();
        close(&shares(&half, &logits), &squares);
        let two = GenerateOptions { top_k: Some(2), ..options.clone() };
        close(&shares(&two, &logits), &[0.625, 0.375, 0.0, 0.0]);
        let nucleus = GenerateOptions { top_p: Some(0.7), ..options.clone() };
        close(&shares(&nucleus, &logits), &[0.625, 0.375, 0.0, 0.0]);
        let most = GenerateOptions { min_p: Some(0.2), ..options.clone() };
        close(&shares(&most, &logits), &[0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0.0]);
        // Token 0 is in the context: −0.693 · 2 is ln 0.25.
        let again = GenerateOptions { repetition_penalty: 2.0, ..options };
        close(&shares(&again, &logits), &[0.25 / 0.75, 0.3 / 0.75, 0.15 / 0.75, 0.05 / 0.75]);
    }

    #[test]
    fn a_draw_depends_on_seed_prompt_and_step_alone() {
        let options = GenerateOptions { temperature: 1.0, ..Default::default() };
        let draw = |seed, prompt, step| {
            let options = GenerateOptions { seed, ..options.clone() };
            Sampler::new(&options, prompt).choose(&vec![0.0; 10_000], &[], step).unwrap()
        };
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        let all = [draw(1, 2, 3), draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)];
        assert!((1..4).all(|i| !all[..i].contains(&all[i])), "{all:?}");
    }

    #[test]
    fn the_likeliest_is_the_first_of_equals_and_nan_is_an_error() {
        let options = GenerateOptions { temperature: 0.0, ..Default::default() };
        let mut sampler = Sampler::new(&options, 0);
        assert_eq!(sampler.choose(&[1.0, 3.0, 3.0], &[], 0).unwrap(), 1);
        let error = sampler.choose(&[1.0, f32::NAN], &[], 0).unwrap_err().to_string();
        assert!(error.contains("token 1"), "{error}");
    }
}
