//! What a model is worth on a part: the loss of the wanted targets, and the targets it writes.

use super::corpus::Pairs;
use super::objective::Batches;
use super::recipe::TranslationEvaluate;
use crate::error::Result;
use crate::language::{PairText, TargetWriter, TranslateOptions, TranslatorFolder};
use crate::words::score;
use ff_graph::{Graph, Mode};
use ff_metrics::{Bootstrap, Interval, TranslationReport};
use ff_nn::models::EncoderDecoder;
use serde::Serialize;
use std::collections::BTreeMap;

/// The most logits that are held at a time.
const LOGITS: usize = 16 << 20;
/// The pairs with the highest loss that are shown.
const WORST: usize = 20;

/// A score of a part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TranslationScore {
    /// The name in JSON.
    pub name: String,
    /// The name on terminals and pages.
    #[serde(skip)]
    pub label: String,
    /// The value.
    pub value: f64,
    /// Its 95 % interval, over pairs drawn with replacement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// That of the model before training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// Whether higher is better.
    pub higher_is_better: bool,
}

/// The scores of a part; the first one is the headline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TranslationScores {
    /// Pairs of the part.
    pub pairs: usize,
    /// Tokens of their targets.
    pub tokens: usize,
    /// Pairs whose target was written.
    pub written: usize,
    /// The scores.
    pub scores: Vec<TranslationScore>,
    /// The written pairs with the highest loss.
    #[serde(skip)]
    pub(super) worst: Vec<Worst>,
}

/// A pair with a high loss.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Worst {
    /// Its place in the part, from 1.
    pub(super) row: usize,
    pub(super) source: String,
    pub(super) wanted: String,
    pub(super) written: String,
    pub(super) loss: f64,
}

impl TranslationScores {
    /// The scores in a line.
    pub fn line(&self) -> String {
        let parts = self.scores.iter().map(|s| {
            let before = s.before.map_or(String::new(), |value| format!(" ({})", score(value)));
            format!("{} {}{before}", s.label, score(s.value))
        });
        parts.collect::<Vec<_>>().join(" · ")
    }

    /// The values by name.
    pub(super) fn values(&self) -> BTreeMap<String, f64> {
        self.scores.iter().map(|score| (score.name.clone(), score.value)).collect()
    }

    /// Puts in the values before training.
    pub(super) fn beside(mut self, before: Option<&BTreeMap<String, f64>>) -> Self {
        for score in &mut self.scores {
            score.before = before.and_then(|before| before.get(&score.name)).copied();
        }
        self
    }
}

/// What is judged, and how.
pub(super) struct Judge<'a> {
    pub(super) base: &'a TranslatorFolder,
    pub(super) settings: &'a TranslationEvaluate,
    /// The most tokens of a target that is learned.
    pub(super) max_target: usize,
}

impl Judge<'_> {
    /// The scores of a model on a part, with the graph in evaluation mode.
    ///
    /// # Errors
    /// An operation failed.
    pub(super) fn scores(
        &self,
        graph: &mut Graph,
        network: &EncoderDecoder,
        pairs: &Pairs,
    ) -> Result<TranslationScores> {
        let mode = graph.mode();
        graph.set_mode(Mode::Eval);
        let losses = self.losses(graph, network, pairs)?;
        let rows = self.settings.rows.min(pairs.rows());
        let options = self.options(pairs);
        let sources: Vec<&[u32]> = pairs.sources[..rows].iter().map(Vec::as_slice).collect();
        let config = &self.base.config;
        let mut writer = TargetWriter { config, model: network, graph: &mut *graph };
        let text = self.base.text()?;
        let written = writer.write_all(&sources, &options)?;
        let written: Vec<String> =
            written.into_iter().map(|tokens| self.text(text, tokens)).collect::<Result<_>>()?;
        graph.reset();
        graph.set_mode(mode);
        let threads = Some(graph.device().cpu().threads());
        let bootstrap = Bootstrap { threads, ..Bootstrap::default() };
        judged(pairs, &losses, &written, bootstrap)
    }

    /// How targets are written.
    fn options(&self, pairs: &Pairs) -> TranslateOptions {
        let usual = self.base.usual();
        let longest = pairs.longest_target().min(self.max_target);
        TranslateOptions {
            beams: self.settings.beams,
            max_tokens: self.settings.max_tokens.unwrap_or(2 * longest).max(1),
            ..usual
        }
    }

    /// The text of a written target.
    fn text(&self, text: &PairText, mut tokens: Vec<u32>) -> Result<String> {
        if tokens.last() == Some(&self.base.config.end_token) {
            tokens.pop();
        }
        text.decode(&tokens)
    }

    /// The sum of −ln p over the tokens of each pair's target, and their number; a plan computes
    /// the largest batch alone.
    pub(super) fn losses(
        &self,
        graph: &mut Graph,
        network: &EncoderDecoder,
        pairs: &Pairs,
    ) -> Result<Vec<(f64, f64)>> {
        let config = &self.base.config;
        let vocab = config.vocab_size;
        let planning = graph.device().pool().is_planning();
        let mut batches = Batches::new(config, pairs, 1);
        let mut found = vec![(0.0, 0.0); pairs.rows()];
        let mut rest = &pairs.order[..];
        while !rest.is_empty() {
            let length = |&row: &u32| pairs.targets[row as usize].len();
            let (mut rows, mut longest) = (1, length(&rest[0]));
            while rows < rest.len() {
                let longer = longest.max(length(&rest[rows]));
                if (rows + 1) * longer * vocab > LOGITS {
                    break;
                }
                (rows, longest) = (rows + 1, longer);
            }
            let (now, later) = rest.split_at(rows);
            rest = later;
            graph.reset();
            let (batch, _) = batches.batch(graph, pairs, now)?;
            let logits = network.logits(graph, &batch)?;
            if planning {
                break;
            }
            let width = logits.shape().dims()[1];
            let rows = logits.slice::<f32>()?.chunks_exact(width * vocab);
            for (logits, &row) in rows.zip(now) {
                let targets = &pairs.targets[row as usize];
                let each = logits.chunks_exact(vocab).zip(targets);
                let sum = each.map(|(logits, &id)| surprise(logits, id as usize)).sum();
                found[row as usize] = (sum, targets.len() as f64);
            }
        }
        graph.reset();
        Ok(found)
    }
}

/// −ln of the probability of a token.
fn surprise(logits: &[f32], token: usize) -> f64 {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&z| (f64::from(z) - most).exp()).sum();
    most + sum.ln() - f64::from(logits[token])
}

/// The scores of losses and of written targets.
fn judged(
    pairs: &Pairs,
    losses: &[(f64, f64)],
    written: &[String],
    bootstrap: Bootstrap<'_>,
) -> Result<TranslationScores> {
    let (sum, count) = losses.iter().fold((0.0, 0.0), |(s, n), part| (s + part.0, n + part.1));
    let loss = sum / count.max(1.0);
    let interval = bootstrap.mean(losses);
    let mut scores = Vec::new();
    let mut add = |name: &str, label: &str, value: f64, interval, higher_is_better| {
        scores.push(TranslationScore {
            name: name.into(),
            label: label.into(),
            value,
            interval,
            before: None,
            higher_is_better,
        });
    };
    if !written.is_empty() {
        let wanted: Vec<&str> =
            pairs.texts[..written.len()].iter().map(|[_, target]| target.as_str()).collect();
        let report = TranslationReport::compute(written, &wanted, Some(bootstrap))?;
        let [bleu, chrf, exact] = report.intervals;
        add("chrf", "chrF", report.chrf, chrf, true);
        add("bleu", "BLEU", report.bleu, bleu, true);
        add("exact", "exact", report.exact, exact, true);
    }
    add("loss", "loss, nats a token", loss, interval, false);
    let of = |interval: Interval| Interval {
        low: interval.low.exp(),
        high: interval.high.exp(),
        ..interval
    };
    add("perplexity", "perplexity", loss.exp(), interval.map(of), false);
    let mean = |row: usize| losses[row].0 / losses[row].1.max(1.0);
    let mut order: Vec<usize> = (0..written.len()).collect();
    order.sort_by(|&a, &b| mean(b).total_cmp(&mean(a)).then(a.cmp(&b)));
    let worst = order.into_iter().take(WORST).map(|row| {
        let [source, wanted] = pairs.texts[row].clone();
        Worst { row: row + 1, source, wanted, written: written[row].clone(), loss: mean(row) }
    });
    Ok(TranslationScores {
        pairs: pairs.rows(),
        tokens: count as usize,
        written: written.len(),
        worst: worst.collect(),
        scores,
    })
}

#[cfg(test)]
mod tests {
    use super::surprise;

    #[test]
    fn a_token_costs_what_the_softmax_says() {
        let logits = [1.0f32, 3.0, 2.0];
        let sum = 1f64.exp() + 3f64.exp() + 2f64.exp();
        assert!((surprise(&logits, 1) - (sum.ln() - 3.0)).abs() < 1e-12);
    }
}
