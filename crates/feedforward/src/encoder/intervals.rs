//! The 95 % intervals of scores: over rows drawn with replacement.

use super::corpus::Part;
use super::measured::Measured;
use super::recipe::ObjectiveKind;
use super::scores::{EncoderScores, Judge, PLACES, probabilities};
use crate::error::Result;
use ff_metrics::{Bootstrap, Interval, Span, spans};
use std::collections::{BTreeMap, BTreeSet};

/// Scores of sums.
type Scoring = Box<dyn Fn(&[f64]) -> Vec<f64> + Sync>;

/// Scores that are functions of sums over rows.
pub(super) struct Sums {
    names: Vec<String>,
    /// The addends of each row.
    width: usize,
    parts: Vec<f64>,
    score: Scoring,
}

impl Sums {
    fn new(
        names: Vec<String>,
        width: usize,
        parts: Vec<f64>,
        score: impl Fn(&[f64]) -> Vec<f64> + Sync + 'static,
    ) -> Self {
        Self { names, width, parts, score: Box::new(score) }
    }

    /// The scores of all rows together, by name.
    #[cfg(test)]
    pub(super) fn values(&self) -> BTreeMap<String, f64> {
        let mut sums = vec![0.0; self.width];
        for row in self.parts.chunks_exact(self.width) {
            sums.iter_mut().zip(row).for_each(|(sum, part)| *sum += part);
        }
        self.names.iter().cloned().zip((self.score)(&sums)).collect()
    }

    fn intervals(&self, bootstrap: Bootstrap<'_>) -> BTreeMap<&str, Interval> {
        let found = bootstrap.of_sums(&self.parts, self.width, &self.score);
        let named = self.names.iter().map(String::as_str).zip(found);
        named.filter_map(|(name, interval)| Some((name, interval?))).collect()
    }
}

impl Judge<'_> {
    /// The scores of what a network says of a part, with intervals.
    ///
    /// # Errors
    /// As [`Judge::scores`].
    pub(super) fn with_intervals(&self, part: &Part, found: &Measured) -> Result<EncoderScores> {
        let mut scores = self.scores(part, found)?;
        let threads = Some(self.device.cpu().threads());
        let bootstrap = Bootstrap { threads, ..Bootstrap::default() };
        if self.kind == ObjectiveKind::Masked {
            let loss = bootstrap.mean(&found.parts);
            for score in &mut scores.scores {
                score.interval = match score.name.as_str() {
                    "perplexity" => {
                        loss.map(|of| Interval { low: of.low.exp(), high: of.high.exp(), ..of })
                    }
                    _ => loss,
                };
            }
            return Ok(scores);
        }
        let sums = self.sums(part, found)?;
        let intervals = sums.intervals(bootstrap);
        for score in &mut scores.scores {
            score.interval = intervals.get(score.name.as_str()).copied();
        }
        Ok(scores)
    }

    /// The scores that are functions of sums over rows.
    ///
    /// # Errors
    /// A tag is none of the scheme.
    pub(super) fn sums(&self, part: &Part, found: &Measured) -> Result<Sums> {
        Ok(match self.kind {
            ObjectiveKind::Labels => self.of_labels(part, &probabilities(&found.values)),
            ObjectiveKind::Numbers => self.of_numbers(part, &found.values),
            ObjectiveKind::Tags => self.of_spans(part, found)?,
            ObjectiveKind::Pairs => {
                let row = |rank: usize| {
                    let within = PLACES.map(|k| f64::from(u8::from(rank <= k)));
                    [&[1.0 / rank as f64][..], &within, &[1.0]].concat()
                };
                let ranks = super::scores::ranks(part, &found.values, self.device);
                let parts: Vec<f64> = ranks.into_iter().flat_map(row).collect();
                let names = PLACES.iter().map(|k| format!("recall_at_{k}"));
                let names = std::iter::once("mrr".into()).chain(names).collect();
                let width = PLACES.len() + 2;
                Sums::new(names, width, parts, |sums| {
                    let (rows, sums) = sums.split_last().unwrap_or((&0.0, &[]));
                    sums.iter().map(|sum| sum / rows).collect()
                })
            }
            ObjectiveKind::Masked => Sums::new(Vec::new(), 1, Vec::new(), |_| Vec::new()),
        })
    }

    fn of_labels(&self, part: &Part, probabilities: &[f64]) -> Sums {
        let labels = self.names.all.len();
        let width = 3 * labels + 3;
        let mut parts = Vec::with_capacity(part.rows() * width);
        let rows = part.values.chunks_exact(labels).zip(probabilities.chunks_exact(labels));
        for (truth, probabilities) in rows {
            let decided = truth.iter().zip(probabilities).zip(self.thresholds);
            let decided = decided.map(|((&truth, p), threshold)| (truth > 0.5, p >= threshold));
            let mut wrong = 0;
            for (truth, found) in decided {
                wrong += usize::from(truth != found);
                parts.extend([truth, found, truth && found].map(|is| f64::from(u8::from(is))));
            }
            parts.extend([f64::from(u8::from(wrong == 0)), wrong as f64, 1.0]);
        }
        let names = [
            "f1_micro",
            "f1_macro",
            "precision_micro",
            "recall_micro",
            "subset_accuracy",
            "hamming_loss",
        ];
        let names = names.map(str::to_owned).to_vec();
        Sums::new(names, width, parts, move |sums| {
            let (counts, rest) = sums.split_at(3 * labels);
            let f1 = |[truth, found, both]: [f64; 3]| share(2.0 * both, truth + found);
            let total = totals(counts);
            let each = counts.chunks_exact(3).map(|of| f1([of[0], of[1], of[2]]));
            vec![
                f1(total),
                each.sum::<f64>() / labels as f64,
                share(total[2], total[1]),
                share(total[2], total[0]),
                rest[0] / rest[2],
                rest[1] / rest[2] / labels as f64,
            ]
        })
    }

    fn of_numbers(&self, part: &Part, values: &[f32]) -> Sums {
        let units = &self.names.units;
        let (count, rows) = (units.len(), part.rows());
        let width = 4 * count + 1;
        let of = |value: f32, i: usize| f64::from(value) * units[i].1 + units[i].0;
        let mean = |i: usize| {
            let own = part.values.iter().skip(i).step_by(count);
            own.map(|&value| of(value, i)).sum::<f64>() / rows.max(1) as f64
        };
        let means: Vec<f64> = (0..count).map(mean).collect();
        let mut parts = Vec::with_capacity(rows * width);
        for (truth, found) in part.values.chunks_exact(count).zip(values.chunks_exact(count)) {
            for i in 0..count {
                let (truth, found) = (of(truth[i], i), of(found[i], i));
                // From the mean, so that no digit is lost.
                let (y, error) = (truth - means[i], truth - found);
                parts.extend([y, y * y, error * error, error.abs()]);
            }
            parts.push(1.0);
        }
        let each = self.names.all.iter();
        let each =
            each.flat_map(|name| ["r2", "rmse", "mae"].map(|score| format!("{score}_{name}")));
        let names = std::iter::once("r2".into()).chain(each).collect();
        Sums::new(names, width, parts, move |sums| {
            let (rows, sums) = sums.split_last().unwrap_or((&0.0, &[]));
            let mut scores = vec![0.0];
            for of in sums.chunks_exact(4) {
                let total = of[1] - of[0] * of[0] / rows;
                let r2 = if total > 0.0 { 1.0 - of[2] / total } else { f64::NAN };
                scores[0] += r2 / count as f64;
                scores.extend([r2, (of[2] / rows).sqrt(), of[3] / rows]);
            }
            scores
        })
    }

    fn of_spans(&self, part: &Part, found: &Measured) -> Result<Sums> {
        let scheme = self.names.scheme;
        let mut rows = Vec::with_capacity(part.rows());
        let mut kinds: BTreeSet<String> = BTreeSet::new();
        for (tagged, tags) in part.tagged.iter().zip(self.tags(found)) {
            let truth: BTreeSet<Span> = spans(&tagged.tags, scheme)?.into_iter().collect();
            let own: BTreeSet<Span> = spans(&tags, scheme)?.into_iter().collect();
            kinds.extend(truth.union(&own).map(|span| span.kind.clone()));
            let right = tagged.tags.iter().zip(&tags).filter(|(a, b)| a.as_str() == **b).count();
            rows.push((truth, own, right, tags.len()));
        }
        let kinds: Vec<String> = kinds.into_iter().collect();
        let types = kinds.len();
        let width = 3 * types + 2;
        let mut parts = vec![0.0; rows.len() * width];
        for (parts, (truth, own, right, tags)) in parts.chunks_exact_mut(width).zip(rows) {
            let at = |span: &Span| kinds.binary_search(&span.kind).unwrap_or(0);
            for span in truth.union(&own) {
                let (is, said) = (truth.contains(span), own.contains(span));
                let counts = [is, said, is && said].map(|counts| f64::from(u8::from(counts)));
                parts[3 * at(span)..].iter_mut().zip(counts).for_each(|(part, n)| *part += n);
            }
            parts[3 * types] = right as f64;
            parts[3 * types + 1] = tags as f64;
        }
        let names = ["f1", "precision", "recall", "f1_macro", "f1_weighted", "accuracy"];
        let names = names.map(str::to_owned).to_vec();
        Ok(Sums::new(names, width, parts, move |sums| {
            let (counts, rest) = sums.split_at(3 * types);
            let f1 = |[truth, found, both]: [f64; 3]| share(2.0 * both, truth + found);
            let total = totals(counts);
            // A type of which a resample has no span is none of it.
            let there = counts.chunks_exact(3).map(|of| [of[0], of[1], of[2]]);
            let there: Vec<[f64; 3]> = there.filter(|of| of[0] + of[1] > 0.0).collect();
            let weighted: f64 = there.iter().map(|&of| of[0] * f1(of)).sum();
            vec![
                f1(total),
                share(total[2], total[1]),
                share(total[2], total[0]),
                share(there.iter().map(|&of| f1(of)).sum(), there.len() as f64),
                share(weighted, total[0]),
                share(rest[0], rest[1]),
            ]
        }))
    }
}

/// Counts of all labels or types together.
fn totals(counts: &[f64]) -> [f64; 3] {
    counts.chunks_exact(3).fold([0.0; 3], |sum, of| [0, 1, 2].map(|i| sum[i] + of[i]))
}

/// A share, 0 of nothing.
fn share(part: f64, of: f64) -> f64 {
    if of > 0.0 { part / of } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::corpus::{Names, Tagged};
    use super::*;
    use crate::sequence::Tokens;
    use ff_metrics::TagScheme;
    use ff_tensor::Device;

    /// Numbers that look random.
    fn noise(i: usize) -> f64 {
        ((i * 7919 + 13) % 101) as f64 / 101.0
    }

    /// The scores of sums are those of the reports, and lie in their intervals.
    fn same(kind: ObjectiveKind, names: &Names, part: &Part, found: &Measured, known: usize) {
        let device = Device::default();
        let thresholds = vec![0.5; names.all.len()];
        let judge = Judge { kind, names, thresholds: &thresholds, device: &device };
        let scores = judge.with_intervals(part, found).unwrap();
        let values = judge.sums(part, found).unwrap().values();
        assert_eq!(values.len(), known);
        for (name, value) in values {
            let score = scores.scores.iter().find(|score| score.name == name).unwrap();
            assert!((score.value - value).abs() < 1e-12, "{name}: {} and {value}", score.value);
            let interval = score.interval.unwrap();
            assert!(interval.contains(value) && interval.low < interval.high, "{name}");
        }
    }

    fn part(rows: usize, columns: usize) -> Part {
        let ids = (0..rows * columns).map(|i| vec![i as u32]).collect();
        Part { tokens: Tokens::of(ids, columns), ..Part::default() }
    }

    #[test]
    fn sums_are_the_scores_of_reports() {
        let named = |all: &[&str]| all.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let names = Names { all: named(&["a", "b", "c"]), ..Names::default() };
        let values = (0..120).map(|i| f32::from(u8::from(noise(i) < 0.4))).collect();
        let labels = Part { values, ..part(40, 1) };
        let said = |i: usize| (noise(i + 7) * 4.0 - 2.0 + f64::from(labels.values[i])) as f32;
        let found = Measured { values: (0..120).map(said).collect(), ..Measured::default() };
        same(ObjectiveKind::Labels, &names, &labels, &found, 6);

        let names = Names { units: vec![(5.0, 2.0), (-1.0, 0.1)], ..names };
        let names = Names { all: named(&["size", "cost"]), ..names };
        let values: Vec<f32> = (0..80).map(|i| noise(i) as f32).collect();
        let found = (0..80).map(|i| values[i] + 0.3 * noise(i + 3) as f32).collect();
        let found = Measured { values: found, ..Measured::default() };
        same(ObjectiveKind::Numbers, &names, &Part { values, ..part(40, 1) }, &found, 7);

        let all = named(&["O", "B-X", "I-X", "B-Y"]);
        let names = Names { all: all.clone(), scheme: TagScheme::Lenient, ..Names::default() };
        let tag = |i: usize| (noise(i) * 4.0) as usize;
        let row = |row: usize| Tagged {
            words: vec!["w".into(); 5],
            tags: (0..5).map(|i| all[tag(5 * row + i)].clone()).collect(),
            starts: Vec::new(),
        };
        let tagged = Part { tagged: (0..40).map(row).collect(), ..part(40, 1) };
        let said = |i: usize| (if noise(i + 1) < 0.6 { tag(i) } else { tag(i + 9) }) as u32;
        let tags = (0..40).map(|row| (0..5).map(|i| said(5 * row + i)).collect()).collect();
        let found = Measured { tags, ..Measured::default() };
        same(ObjectiveKind::Tags, &names, &tagged, &found, 6);

        let values = (0..160).map(|i| noise(i * i) as f32 - 0.5).collect();
        let found = Measured { values, ..Measured::default() };
        same(ObjectiveKind::Pairs, &Names::default(), &part(40, 2), &found, 4);
    }
}
