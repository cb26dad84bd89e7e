//! From logits to the next token.

use crate::error::{Error, Result};
use ff_tensor::{Key, Rng};
use ff_text::{AllowedTokens, Grammar};
use serde_json::{Map, Value};

/// How a model writes.
///
/// The distribution of the next token is changed in this order: the repetition penalty, the
/// temperature, then the limits of `top_k`, `top_p` and `min_p`.
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
    /// The temperature: 0 always takes the likeliest token, 1 leaves the distribution unchanged.
    pub temperature: f64,
    /// Draw from this many of the likeliest tokens.
    pub top_k: Option<usize>,
    /// Draw from the likeliest tokens whose probabilities sum to this.
    pub top_p: Option<f64>,
    /// Draw from tokens that have at least this share of the likeliest one's probability.
    pub min_p: Option<f64>,
    /// Divides the logits of tokens that occurred before, and multiplies negative ones; 1 is off.
    pub repetition_penalty: f64,
    /// Texts that end generation; they are not part of its text.
    pub stop: Vec<String>,
    /// The seed of the draws.
    pub seed: u64,
    /// Continue behind the token that ends a text.
    pub ignore_end: bool,
    /// Read guesses of the next tokens with the last one, from what followed the same tokens
    /// earlier in the text; wrong ones are forgotten. A single text that repeats itself is written
    /// faster, with the same tokens.
    pub speculate: bool,
    /// What the text must be; guesses are not read then.
    pub grammar: Option<Grammar>,
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
            speculate: true,
            grammar: None,
        }
    }
}

impl GenerateOptions {
    /// The defaults with what a model's `generation_config.json` says.
    ///
    /// # Errors
    /// A value in the file is not in its domain.
    ///
    /// ```
    /// use feedforward::language::GenerateOptions;
    /// let file = serde_json::json!({"do_sample": true, "temperature": 0.7, "num_beams": 4});
    /// let generation = file.as_object().unwrap();
    /// assert_eq!(GenerateOptions::from_model(generation)?.temperature, 0.7);
    /// assert_eq!(GenerateOptions::not_applied(generation), ["num_beams"]);
    /// # Ok::<(), feedforward::Error>(())
    /// ```
    pub fn from_model(generation: &Map<String, Value>) -> Result<Self> {
        let wrong = |key: &str, value: &Value, what: &str| {
            Error::usage(format!("generation_config.json: {key}: expected {what}, found {value}"))
        };
        let number = |key: &str| match generation.get(key).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => {
                let number = value.as_f64().ok_or_else(|| wrong(key, value, "a number"));
                number.map(Some)
            }
        };
        let mut options = Self::default();
        if generation.get("do_sample").and_then(Value::as_bool) == Some(true) {
            options.temperature = number("temperature")?.unwrap_or(1.0);
            let k = number("top_k")?.filter(|&k| k != 0.0);
            if let (Some(k), Some(value)) = (k, generation.get("top_k"))
                && (k < 0.0 || k.fract() != 0.0)
            {
                return Err(wrong("top_k", value, "a whole number from 0 up"));
            }
            options.top_k = k.map(|k| k as usize);
            options.top_p = number("top_p")?.filter(|&p| p != 1.0);
            options.min_p = number("min_p")?.filter(|&p| p != 0.0);
        }
        options.repetition_penalty = number("repetition_penalty")?.unwrap_or(1.0);
        match options.problem() {
            None => Ok(options),
            Some((name, what)) => {
                let key = name.replace('-', "_");
                let value = generation.get(&key).unwrap_or(&Value::Null);
                Err(wrong(&key, value, what.trim_start_matches("must be ")))
            }
        }
    }

    /// The keys of a `generation_config.json` that change what `transformers` writes and have no
    /// effect here.
    pub fn not_applied(generation: &Map<String, Value>) -> Vec<&str> {
        let sampled = generation.get("do_sample").and_then(Value::as_bool) == Some(true);
        let applied = |key: &str, value: &Value| match key {
            _ if value.is_null() || *value == Value::Bool(false) => true,
            // Neutral values.
            "num_beams"
            | "num_beam_groups"
            | "num_return_sequences"
            | "typical_p"
            | "encoder_repetition_penalty"
            | "length_penalty"
            | "diversity_penalty" => {
                value.as_f64() == Some(if key == "diversity_penalty" { 0.0 } else { 1.0 })
            }
            "no_repeat_ngram_size"
            | "encoder_no_repeat_ngram_size"
            | "min_length"
            | "min_new_tokens"
            | "epsilon_cutoff"
            | "eta_cutoff"
            | "penalty_alpha"
            | "guidance_scale" => value.as_f64() == Some(0.0),
            // Without sampling, `transformers` ignores these too.
            "temperature" | "top_k" | "top_p" | "min_p" => true,
            "top_h" => !sampled,
            _ => !CHANGES.contains(&key),
        };
        let unknown = generation.iter().filter(|(key, value)| !applied(key, value));
        unknown.map(|(key, _)| key.as_str()).collect()
    }

    /// Whether every value is in its domain.
    ///
    /// # Errors
    /// One is not; the message says what is allowed.
    pub fn check(&self) -> Result<()> {
        match self.problem() {
            Some((name, what)) => Err(Error::usage(format!("{name} {what}"))),
            None => Ok(()),
        }
    }

    /// The first option that is not in its domain, with what is allowed.
    fn problem(&self) -> Option<(&'static str, &'static str)> {
        let share = |p: f64| p > 0.0 && p <= 1.0;
        let problems = [
            (self.max_tokens == 0, "max-tokens", "must be at least 1"),
            (
                !self.temperature.is_finite() || self.temperature < 0.0,
                "temperature",
                "must be a number from 0 (always the likeliest token) up",
            ),
            (self.top_k == Some(0), "top-k", "must be at least 1"),
            (!self.top_p.is_none_or(share), "top-p", "must be above 0 and at most 1"),
            (self.min_p.is_some_and(|p| !(0.0..=1.0).contains(&p)), "min-p", "must be from 0 to 1"),
            (
                !self.repetition_penalty.is_finite() || self.repetition_penalty <= 0.0,
                "repetition-penalty",
                "must be above 0; 1 is none",
            ),
            (self.stop.iter().any(String::is_empty), "a stop text", "must not be empty"),
            (
                self.ignore_end && self.grammar.is_some(),
                "ignore-end",
                "cannot go with a schema, grammar or regular expression, which ends the text",
            ),
        ];
        problems.iter().find(|(wrong, ..)| *wrong).map(|&(_, name, what)| (name, what))
    }
}

/// Keys of a `generation_config.json` that change what is written.
const CHANGES: [&str; 22] = [
    "assistant_early_exit",
    "bad_words_ids",
    "constraints",
    "dola_layers",
    "early_stopping",
    "exponential_decay_length_penalty",
    "force_words_ids",
    "forced_bos_token_id",
    "forced_decoder_ids",
    "forced_eos_token_id",
    "max_length",
    "max_new_tokens",
    "max_time",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "remove_invalid_values",
    "renormalize_logits",
    "sequence_bias",
    "stop_strings",
    "suppress_tokens",
    "begin_suppress_tokens",
    "token_healing",
];

/// Chooses tokens, with memory for the work that is used again.
#[derive(Debug)]
pub(super) struct Sampler<'a> {
    options: &'a GenerateOptions,
    /// Whether there is a token for each id; all have one if it is empty.
    known: &'a [bool],
    key: Key,
    /// Token and logit, later weight.
    candidates: Vec<(u32, f64)>,
}

impl<'a> Sampler<'a> {
    /// For the prompt of this number.
    pub(super) fn new(options: &'a GenerateOptions, known: &'a [bool], prompt: u64) -> Self {
        let key = Key::new(options.seed).with_name("generate").with(prompt);
        Self { options, known, key, candidates: Vec::new() }
    }

    /// The token of number `step` behind `context`, one of those allowed.
    pub(super) fn choose(
        &mut self,
        logits: &[f32],
        context: &[u32],
        step: u64,
        allowed: Option<&AllowedTokens>,
    ) -> Result<u32> {
        if let Some(i) = logits.iter().position(|v| v.is_nan()) {
            let message = format!(
                "the model's logit of token {i} is not a number; its weights may be damaged or have diverged in training"
            );
            return Err(Error::usage(message));
        }
        let options = self.options;
        // Vocabularies are padded: ids without a token have a logit, and are never drawn.
        let known = if self.known.contains(&true) { self.known } else { &[] };
        let is_known = |token: u32| {
            known.get(token as usize) != Some(&false)
                && allowed.is_none_or(|allowed| allowed.contains(token))
        };
        let logits = logits.iter().enumerate().map(|(i, &v)| (i as u32, v));
        if options.temperature == 0.0 && options.repetition_penalty == 1.0 {
            return Ok(likeliest(logits.filter(|&(token, _)| is_known(token))));
        }
        self.candidates.clear();
        self.candidates.extend(logits.map(|(token, v)| (token, f64::from(v))));
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
        self.candidates.retain(|&(token, _)| is_known(token));
        if options.temperature == 0.0 {
            return Ok(likeliest(self.candidates.iter().copied()));
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

    /// Sorts by weight and drops candidates beyond the limits.
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

/// The token with the largest logit, the first of equals as argmax has it.
fn likeliest<T: PartialOrd>(mut candidates: impl Iterator<Item = (u32, T)>) -> u32 {
    let Some(first) = candidates.next() else { return 0 };
    candidates.fold(first, |best, next| if next.1 > best.1 { next } else { best }).0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each token is drawn in many steps.
    fn shares(options: &GenerateOptions, logits: &[f32]) -> Vec<f64> {
        const DRAWS: u64 = 20_000;
        let mut sampler = Sampler::new(options, &[], 0);
        let mut counts = vec![0.0; logits.len()];
        for step in 0..DRAWS {
            counts[sampler.choose(logits, &[0], step, None).unwrap() as usize] +=
                1.0 / DRAWS as f64;
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
            Sampler::new(&options, &[], prompt).choose(&vec![0.0; 10_000], &[], step, None).unwrap()
        };
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        let all = [draw(1, 2, 3), draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)];
        assert!((1..4).all(|i| !all[..i].contains(&all[i])), "{all:?}");
    }

    #[test]
    fn values_of_a_models_folder_are_named_as_they_stand_there() {
        let of = |json: Value| GenerateOptions::from_model(json.as_object().unwrap());
        let message = |json: Value| of(json).unwrap_err().to_string();
        let cold = message(serde_json::json!({"do_sample": true, "temperature": -1.0}));
        assert!(cold.starts_with("generation_config.json: temperature: expected a number from 0"));
        assert!(cold.ends_with("found -1.0"), "{cold}");
        for (key, value) in [("top_k", 2.5), ("top_k", -1.0), ("top_p", 1.5), ("min_p", -0.1)] {
            let found = message(serde_json::json!({"do_sample": true, key: value}));
            assert!(found.starts_with(&format!("generation_config.json: {key}: ")), "{found}");
        }
        let text = message(serde_json::json!({"repetition_penalty": "1.1"}));
        assert!(text.ends_with("repetition_penalty: expected a number, found \"1.1\""), "{text}");
        // Without sampling these have no effect.
        assert!(of(serde_json::json!({"temperature": -1.0, "top_k": null})).is_ok());
        let file = serde_json::json!({
            "num_beams": 4, "no_repeat_ngram_size": 0, "typical_p": 1.0, "eos_token_id": 2,
            "suppress_tokens": [1], "top_k": 50, "transformers_version": "5", "max_length": null,
        });
        let unknown = GenerateOptions::not_applied(file.as_object().unwrap());
        assert_eq!(unknown, ["num_beams", "suppress_tokens"]);
    }

    #[test]
    fn ids_without_a_token_are_never_drawn() {
        let known = [false, true, false, true, false];
        let logits = [9.0, 1.0, 9.0, 1.0, 9.0];
        for temperature in [0.0, 1.0, 100.0] {
            let options = GenerateOptions {
                temperature,
                repetition_penalty: 1.5,
                top_k: Some(3),
                ..Default::default()
            };
            let mut sampler = Sampler::new(&options, &known, 0);
            let drawn = |step| sampler.choose(&logits, &[1, 4], step, None).unwrap();
            assert!((0..200).map(drawn).all(|token| known[token as usize]), "{temperature}");
        }
    }

    #[test]
    fn the_likeliest_is_the_first_of_equals_and_nan_is_an_error() {
        let options = GenerateOptions { temperature: 0.0, ..Default::default() };
        let mut sampler = Sampler::new(&options, &[], 0);
        assert_eq!(sampler.choose(&[1.0, 3.0, 3.0], &[], 0, None).unwrap(), 1);
        let error = sampler.choose(&[1.0, f32::NAN], &[], 0, None).unwrap_err().to_string();
        assert!(error.contains("token 1"), "{error}");
    }
}
