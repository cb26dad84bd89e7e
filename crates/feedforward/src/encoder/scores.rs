//! Scores of a part, beside those of a baseline.

use super::corpus::{Names, Part};
use super::goal::Goal;
use super::measured::Measured;
use super::recipe::ObjectiveKind;
use crate::error::Result;
use crate::words::score;
use ff_kernels::{MatRef, gemm};
use ff_metrics::{Interval, LabelReport, SpanReport};
use ff_tensor::Device;
use serde::Serialize;
use std::collections::BTreeMap;

/// The anchors whose candidates are compared at a time.
const BLOCK: usize = 512;
/// The k of recall@k.
pub(super) const PLACES: [usize; 3] = [1, 5, 10];

/// A score of a part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EncoderScore {
    /// The name in JSON.
    pub name: String,
    /// The name on terminals and pages.
    #[serde(skip)]
    pub label: String,
    /// The value.
    pub value: f64,
    /// Its 95 % interval, over rows drawn with replacement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// That of the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// Whether higher is better.
    pub higher_is_better: bool,
}

/// Precision, recall and F1 of a label, or of the spans of a type.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupScore {
    /// The label, or the type.
    pub name: String,
    /// The share of what is predicted that is right.
    pub precision: f64,
    /// The share of what is true that is predicted.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// Average precision, of labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
    /// The least probability that is predicted, of labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Rows that have the label, or spans of the type.
    pub support: usize,
}

/// The scores of a part; the first one is the headline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EncoderScores {
    /// Rows of the part.
    pub rows: usize,
    /// The scores.
    pub scores: Vec<EncoderScore>,
    /// Those of labels, or of spans by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupScore>,
    /// What the baseline does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub baseline: String,
}

impl EncoderScores {
    /// The scores in a line.
    pub fn line(&self) -> String {
        let parts = self.scores.iter().map(|s| {
            let of = s.baseline.map_or(String::new(), |base| format!(" ({})", score(base)));
            format!("{} {}{of}", s.label, score(s.value))
        });
        parts.collect::<Vec<_>>().join(" · ")
    }

    /// The values by name.
    pub(super) fn values(&self) -> BTreeMap<String, f64> {
        self.scores.iter().map(|score| (score.name.clone(), score.value)).collect()
    }

    /// Puts baselines in.
    pub(super) fn beside(mut self, values: &BTreeMap<String, f64>, what: &str) -> Self {
        for score in &mut self.scores {
            score.baseline = values.get(&score.name).copied();
        }
        what.clone_into(&mut self.baseline);
        self
    }
}

/// What is judged.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) kind: ObjectiveKind,
    pub(super) names: &'a Names,
    /// The least probability of each label that is predicted.
    pub(super) thresholds: &'a [f64],
    pub(super) device: &'a Device,
}

impl Judge<'_> {
    /// The scores of what a network says of a part.
    ///
    /// # Errors
    /// An output is not a number.
    pub(super) fn scores(&self, part: &Part, found: &Measured) -> Result<EncoderScores> {
        let mut scores = EncoderScores {
            rows: part.rows(),
            scores: Vec::new(),
            groups: Vec::new(),
            baseline: String::new(),
        };
        let mut add = |name: &str, label: &str, value: f64, higher_is_better: bool| {
            let (name, label) = (name.to_owned(), label.to_owned());
            scores.scores.push(EncoderScore {
                name,
                label,
                value,
                interval: None,
                baseline: None,
                higher_is_better,
            });
        };
        match self.kind {
            ObjectiveKind::Labels => {
                let report = self.labels(part, &probabilities(&found.values))?;
                add("f1_micro", "F1 (micro)", report.micro.f1, true);
                add("f1_macro", "F1 (macro)", report.macro_mean.f1, true);
                add("precision_micro", "precision (micro)", report.micro.precision, true);
                add("recall_micro", "recall (micro)", report.micro.recall, true);
                let mean = report.macro_mean.average_precision.unwrap_or(f64::NAN);
                add("mean_average_precision", "mean average precision", mean, true);
                add("subset_accuracy", "subset accuracy", report.subset_accuracy, true);
                add("hamming_loss", "Hamming loss", report.hamming_loss, false);
                let labels = self.names.all.iter().zip(report.labels).zip(self.thresholds);
                scores.groups = labels
                    .map(|((name, label), &threshold)| GroupScore {
                        name: name.clone(),
                        precision: label.precision,
                        recall: label.recall,
                        f1: label.f1,
                        average_precision: label.average_precision,
                        threshold: Some(threshold),
                        support: label.support,
                    })
                    .collect();
                add_loss(&mut scores, found);
            }
            ObjectiveKind::Numbers => {
                let each = self.numbers(part, &found.values);
                let mean = |of: fn(&[f64; 3]) -> f64| {
                    each.iter().map(of).sum::<f64>() / each.len().max(1) as f64
                };
                add("r2", "R²", mean(|of| of[0]), true);
                for (name, [r2, rmse, mae]) in self.names.all.iter().zip(&each) {
                    add(&format!("r2_{name}"), &format!("R² of {name}"), *r2, true);
                    add(&format!("rmse_{name}"), &format!("RMSE of {name}"), *rmse, false);
                    add(&format!("mae_{name}"), &format!("MAE of {name}"), *mae, false);
                }
            }
            ObjectiveKind::Tags => {
                let report = self.spans(part, &self.tags(found))?;
                add("f1", "F1 of spans", report.micro.f1, true);
                add("precision", "precision", report.micro.precision, true);
                add("recall", "recall", report.micro.recall, true);
                add("f1_macro", "F1 (macro)", report.macro_mean.f1, true);
                add("f1_weighted", "F1 (weighted)", report.weighted.f1, true);
                add("accuracy", "accuracy of tags", report.accuracy, true);
                scores.groups = report
                    .types
                    .into_iter()
                    .map(|(name, of)| GroupScore {
                        name,
                        precision: of.precision,
                        recall: of.recall,
                        f1: of.f1,
                        average_precision: None,
                        threshold: None,
                        support: of.support,
                    })
                    .collect();
                add_loss(&mut scores, found);
            }
            ObjectiveKind::Masked => {
                add("loss", "loss of a masked token", found.loss(), false);
                add("perplexity", "perplexity", found.loss().exp(), false);
            }
            ObjectiveKind::Pairs => {
                let ranks = ranks(part, &found.values, self.device);
                let n = ranks.len().max(1) as f64;
                let mrr = ranks.iter().map(|&rank| 1.0 / rank as f64).sum::<f64>() / n;
                add("mrr", "MRR", mrr, true);
                for k in PLACES {
                    let within = ranks.iter().filter(|&&rank| rank <= k).count() as f64 / n;
                    add(&format!("recall_at_{k}"), &format!("recall@{k}"), within, true);
                }
                add_loss(&mut scores, found);
            }
        }
        Ok(scores)
    }

    /// The scores of a baseline that reads no text, or only the words.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn baseline(
        &self,
        train: &Part,
        part: &Part,
    ) -> Result<Option<(BTreeMap<String, f64>, &'static str)>> {
        let width = self.names.all.len();
        let rows = part.rows();
        let mean = |i: usize| {
            let of = train.values.iter().skip(i).step_by(width);
            of.map(|&x| f64::from(x)).sum::<f64>() / train.rows().max(1) as f64
        };
        let found = match self.kind {
            ObjectiveKind::Labels => {
                let shares: Vec<f64> = (0..width).map(mean).collect();
                let logit = |p: f64| (p.max(1e-9) / (1.0 - p).max(1e-9)).ln() as f32;
                let logits: Vec<f32> = shares.iter().map(|&p| logit(p)).collect();
                Measured { values: logits.repeat(rows), ..Measured::default() }
            }
            ObjectiveKind::Numbers => {
                let means: Vec<f32> = (0..width).map(|i| mean(i) as f32).collect();
                Measured { values: means.repeat(rows), ..Measured::default() }
            }
            ObjectiveKind::Tags => {
                Measured { tags: usual_tags(train, part, self.names), ..Measured::default() }
            }
            ObjectiveKind::Masked | ObjectiveKind::Pairs => return Ok(None),
        };
        let what = match self.kind {
            ObjectiveKind::Labels => "the share of each label",
            ObjectiveKind::Numbers => "the mean",
            _ => "the usual tag of each word",
        };
        let mut values = self.scores(part, &found)?.values();
        values.remove("loss");
        Ok(Some((values, what)))
    }

    fn labels(&self, part: &Part, probabilities: &[f64]) -> Result<LabelReport> {
        let truth: Vec<bool> = part.values.iter().map(|&t| t > 0.5).collect();
        Ok(LabelReport::compute(&truth, probabilities, self.thresholds)?)
    }

    /// R², RMSE and MAE of each number, in its own unit.
    fn numbers(&self, part: &Part, values: &[f32]) -> Vec<[f64; 3]> {
        let units = &self.names.units;
        let of = |i: usize, (mean, std): (f64, f64)| {
            let own = |values: &[f32]| -> Vec<f64> {
                let of = values.iter().skip(i).step_by(units.len());
                of.map(|&x| f64::from(x) * std + mean).collect()
            };
            let (truth, found) = (own(&part.values), own(values));
            let n = truth.len().max(1) as f64;
            let mean = truth.iter().sum::<f64>() / n;
            let errors = || truth.iter().zip(&found).map(|(t, f)| t - f);
            let squares: f64 = errors().map(|e| e * e).sum();
            let total: f64 = truth.iter().map(|t| (t - mean) * (t - mean)).sum();
            let r2 = if total > 0.0 { 1.0 - squares / total } else { f64::NAN };
            [r2, (squares / n).sqrt(), errors().map(f64::abs).sum::<f64>() / n]
        };
        units.iter().enumerate().map(|(i, &unit)| of(i, unit)).collect()
    }

    pub(super) fn tags<'a>(&'a self, found: &'a Measured) -> Vec<Vec<&'a str>> {
        let name = |&tag: &u32| self.names.name(tag as usize);
        found.tags.iter().map(|tags| tags.iter().map(name).collect()).collect()
    }

    fn spans(&self, part: &Part, found: &[Vec<&str>]) -> Result<SpanReport> {
        let truth: Vec<Vec<&str>> = part
            .tagged
            .iter()
            .map(|tagged| tagged.tags.iter().map(String::as_str).collect())
            .collect();
        Ok(SpanReport::compute(&truth, found, self.names.scheme)?)
    }
}

fn add_loss(scores: &mut EncoderScores, found: &Measured) {
    if found.count > 0.0 {
        scores.scores.push(EncoderScore {
            name: "loss".into(),
            label: "loss".into(),
            value: found.loss(),
            interval: None,
            baseline: None,
            higher_is_better: false,
        });
    }
}

/// The probabilities of logits.
pub(crate) fn probabilities(logits: &[f32]) -> Vec<f64> {
    logits.iter().map(|&z| 1.0 / (1.0 + (-f64::from(z)).exp())).collect()
}

/// The tag that each word has most often in training; that of most words for unknown ones.
fn usual_tags(train: &Part, part: &Part, names: &Names) -> Vec<Vec<u32>> {
    let mut counts: BTreeMap<&str, BTreeMap<i32, usize>> = BTreeMap::new();
    let mut all: BTreeMap<i32, usize> = BTreeMap::new();
    for tagged in &train.tagged {
        for (word, class) in tagged.words.iter().zip(tagged.classes(names)) {
            *counts.entry(word).or_default().entry(class).or_default() += 1;
            *all.entry(class).or_default() += 1;
        }
    }
    let most = |of: &BTreeMap<i32, usize>| {
        let best = of.iter().max_by_key(|&(class, count)| (*count, std::cmp::Reverse(*class)));
        best.map_or(0, |(&class, _)| class.max(0) as u32)
    };
    let usual = most(&all);
    let tag = |word: &String| counts.get(word.as_str()).map_or(usual, most);
    part.tagged.iter().map(|tagged| tagged.words.iter().map(tag).collect()).collect()
}

/// The rank of each anchor's own candidate among all of the part by cosine, from 1; candidates of
/// the same tokens are one.
pub(super) fn ranks(part: &Part, vectors: &[f32], device: &Device) -> Vec<usize> {
    let (rows, all) = (part.rows(), &part.tokens.ids);
    let columns = all.len() / rows.max(1);
    let width = vectors.len() / all.len().max(1);
    let mut unit = vectors.to_vec();
    unit.chunks_exact_mut(width.max(1)).for_each(crate::embedding::normalize);
    let vector = |i: usize| &unit[i * width..][..width];
    let (mut places, mut candidates) = (BTreeMap::new(), Vec::new());
    let mut own = Vec::with_capacity(rows);
    for row in 0..rows {
        for column in 1..columns {
            let i = row * columns + column;
            let next = places.len();
            let place = *places.entry(&all[i]).or_insert(next);
            if place == next {
                candidates.extend_from_slice(vector(i));
            }
            if column == 1 {
                own.push(place);
            }
        }
    }
    let count = places.len();
    let candidates = MatRef::new(&candidates, count, width).t();
    let mut found = Vec::with_capacity(rows);
    let mut scores = Vec::new();
    for from in (0..rows).step_by(BLOCK) {
        let block = BLOCK.min(rows - from);
        let anchors: Vec<f32> =
            (from..from + block).flat_map(|row| vector(row * columns)).copied().collect();
        scores.resize(block * count, 0.0);
        gemm(device.cpu(), MatRef::new(&anchors, block, width), candidates, &mut scores, false);
        for (row, scores) in scores.chunks_exact(count).enumerate() {
            let own = own[from + row];
            let better = scores
                .iter()
                .enumerate()
                .filter(|&(i, score)| *score > scores[own] || (*score == scores[own] && i < own));
            found.push(1 + better.count());
        }
    }
    found
}

/// The score that training watches: higher is better.
pub(super) fn monitored(
    goal: &Goal,
    names: &Names,
    part: &Part,
    found: &Measured,
    device: &Device,
) -> f64 {
    let kind = match goal {
        Goal::Values(_) if names.units.is_empty() => ObjectiveKind::Labels,
        Goal::Values(_) => ObjectiveKind::Numbers,
        Goal::Tags => ObjectiveKind::Tags,
        Goal::Masked(_) => return -found.loss(),
        Goal::Pairs(_) => ObjectiveKind::Pairs,
    };
    let thresholds = vec![0.5; names.all.len()];
    let judge = Judge { kind, names, thresholds: &thresholds, device };
    let scores = judge.scores(part, found);
    scores.ok().and_then(|scores| scores.scores.first().map(|s| s.value)).unwrap_or(f64::NAN)
}
