//! Spans of tagged sequences, and their scores.

use crate::MetricError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How tags mark the spans of a sequence: a prefix (B, I, E, S, O), a hyphen and the span's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TagScheme {
    /// Any of the schemes below, read with tolerance, as the program `conlleval` does: a type that
    /// changes begins a span, whatever the prefix.
    #[default]
    Lenient,
    /// I; B only where a span follows another of its type.
    Iob1,
    /// B, then I.
    Iob2,
    /// B, then I, then E; S alone.
    Bioes,
    /// No prefixes: each token is a span of its tag, but for `O`.
    Plain,
}

impl TagScheme {
    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lenient => "lenient",
            Self::Iob1 => "iob1",
            Self::Iob2 => "iob2",
            Self::Bioes => "bioes",
            Self::Plain => "plain",
        }
    }

    fn prefixes(self) -> &'static str {
        match self {
            Self::Lenient | Self::Bioes | Self::Plain => "BIESO",
            Self::Iob1 | Self::Iob2 => "BIO",
        }
    }
}

/// A span of a sequence.
///
/// ```
/// use ff_metrics::{Span, TagScheme, spans};
/// let found = spans(&["B-PER", "I-PER", "O"], TagScheme::Iob2)?;
/// assert_eq!(found, [Span { start: 0, end: 2, kind: "PER".into() }]);
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// Its first token, from 0.
    pub start: usize,
    /// The token behind its last one.
    pub end: usize,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A tag in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag<'a> {
    prefix: char,
    kind: &'a str,
}

/// What stands before the first and behind the last tag.
const OUTSIDE: Tag<'static> = Tag { prefix: 'O', kind: "_" };

impl<'a> Tag<'a> {
    fn parse(text: &'a str, scheme: TagScheme, at: usize) -> Result<Self, MetricError> {
        let prefix = text.chars().next().filter(|&c| scheme.prefixes().contains(c));
        let rest = text.get(1..).unwrap_or_default();
        let kind = rest.strip_prefix('-');
        match (prefix, kind) {
            (Some('O'), None) if rest.is_empty() => Ok(OUTSIDE),
            (Some(prefix), Some(kind)) if prefix != 'O' && !kind.is_empty() => {
                Ok(Self { prefix, kind })
            }
            _ => Err(MetricError::Tag { tag: text.to_owned(), at, scheme: scheme.name() }),
        }
    }

    /// Whether a span ends between these tags.
    fn ends(self, next: Self, scheme: TagScheme) -> bool {
        let changes = self.kind != next.kind;
        match scheme {
            TagScheme::Lenient => {
                self.prefix != 'O'
                    && (matches!(self.prefix, 'E' | 'S')
                        || matches!(next.prefix, 'B' | 'S' | 'O')
                        || changes)
            }
            TagScheme::Iob1 => match next.prefix {
                'O' => self.prefix != 'O',
                'I' => self.prefix != 'O' && changes,
                // A B of another type ends an I alone: IOB1 has no such B.
                _ => self.prefix == 'I' || (self.prefix == 'B' && !changes),
            },
            TagScheme::Iob2 => self.prefix != 'O' && (matches!(next.prefix, 'O' | 'B') || changes),
            TagScheme::Bioes | TagScheme::Plain => matches!(self.prefix, 'E' | 'S'),
        }
    }

    /// Whether a span begins at the second of these tags.
    fn begins(self, next: Self, scheme: TagScheme) -> bool {
        let changes = self.kind != next.kind;
        match scheme {
            TagScheme::Lenient => {
                next.prefix != 'O'
                    && (matches!(next.prefix, 'B' | 'S')
                        || matches!(self.prefix, 'E' | 'S' | 'O')
                        || changes)
            }
            TagScheme::Iob1 => match (self.prefix, next.prefix) {
                ('O' | 'B', 'I') => true,
                ('I', 'I') => changes,
                ('I' | 'B', 'B') => !changes,
                _ => false,
            },
            TagScheme::Iob2 => next.prefix == 'B',
            TagScheme::Bioes | TagScheme::Plain => matches!(next.prefix, 'B' | 'S'),
        }
    }

    /// Whether the second of these tags continues the span of the first.
    fn continues(self, next: Self, scheme: TagScheme) -> bool {
        let inside = match scheme {
            TagScheme::Bioes => matches!(next.prefix, 'I' | 'E'),
            _ => next.prefix == 'I',
        };
        inside && matches!(self.prefix, 'B' | 'I') && self.kind == next.kind
    }
}

/// The spans that tags mark, in order; equal to those of `seqeval`: its default mode for
/// [`TagScheme::Lenient`], its strict mode for the others.
///
/// # Errors
/// A tag is none of the scheme.
pub fn spans<S: AsRef<str>>(tags: &[S], scheme: TagScheme) -> Result<Vec<Span>, MetricError> {
    if scheme == TagScheme::Plain {
        let one = |(i, tag): (usize, &S)| Span { start: i, end: i + 1, kind: tag.as_ref().into() };
        return Ok(tags.iter().enumerate().map(one).filter(|span| span.kind != "O").collect());
    }
    let parsed = tags.iter().enumerate().map(|(at, tag)| Tag::parse(tag.as_ref(), scheme, at));
    let parsed: Vec<Tag<'_>> = parsed.collect::<Result<_, _>>()?;
    let at = |i: usize| parsed.get(i).copied().unwrap_or(OUTSIDE);
    let before = |i: usize| i.checked_sub(1).map_or(OUTSIDE, at);
    let span = |start: usize, end: usize| Span { start, end, kind: at(start).kind.to_owned() };
    let mut found = Vec::new();
    if scheme == TagScheme::Lenient {
        let mut start = 0;
        for i in 0..=parsed.len() {
            if before(i).ends(at(i), scheme) {
                found.push(Span { kind: before(i).kind.to_owned(), ..span(start, i) });
            }
            if before(i).begins(at(i), scheme) {
                start = i;
            }
        }
        return Ok(found);
    }
    let mut i = 0;
    while i < parsed.len() {
        if !before(i).begins(at(i), scheme) {
            i += 1;
            continue;
        }
        let mut end = i + 1;
        while end < parsed.len() && at(end - 1).continues(at(end), scheme) {
            end += 1;
        }
        if at(end - 1).ends(at(end), scheme) {
            found.push(span(i, end));
        }
        i = end;
    }
    Ok(found)
}

/// Precision, recall and F1 of the spans of a type, or of a mean over types.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SpanScore {
    /// The share of predicted spans that are true ones; 0 without any.
    pub precision: f64,
    /// The share of true spans that were predicted; 0 without any.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// True spans.
    pub support: usize,
}

/// The scores of predicted spans: a span counts only with both borders and its type.
///
/// ```
/// use ff_metrics::{SpanReport, TagScheme};
/// let truth = [vec!["B-PER", "I-PER", "O", "B-LOC"]];
/// let found = [vec!["B-PER", "I-PER", "O", "O"]];
/// let report = SpanReport::compute(&truth, &found, TagScheme::Lenient)?;
/// assert_eq!((report.micro.precision, report.micro.recall), (1.0, 0.5));
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SpanReport {
    /// Of each type.
    pub types: BTreeMap<String, SpanScore>,
    /// Over all spans.
    pub micro: SpanScore,
    /// The mean over types.
    #[serde(rename = "macro")]
    pub macro_mean: SpanScore,
    /// The mean over types by their support.
    pub weighted: SpanScore,
    /// The share of tokens whose tag is right.
    pub accuracy: f64,
}

impl SpanReport {
    /// The scores of predicted tags beside true ones, sequence by sequence.
    ///
    /// # Errors
    /// A tag is none of the scheme, or the sequences have different lengths.
    pub fn compute<S: AsRef<str>, P: AsRef<str>>(
        truth: &[Vec<S>],
        found: &[Vec<P>],
        scheme: TagScheme,
    ) -> Result<Self, MetricError> {
        let mut counts: BTreeMap<String, [usize; 3]> = BTreeMap::new();
        let (mut right, mut tokens) = (0, 0);
        if truth.len() != found.len() {
            let (expected, found) = (truth.len(), found.len());
            let why = "one for each sequence of true ones".into();
            return Err(MetricError::Length { what: "sequences of tags", expected, why, found });
        }
        for (truth, found) in truth.iter().zip(found) {
            if truth.len() != found.len() {
                let (expected, found) = (truth.len(), found.len());
                let why = "one for each true tag".into();
                return Err(MetricError::Length { what: "predicted tags", expected, why, found });
            }
            tokens += truth.len();
            right += truth.iter().zip(found).filter(|(t, f)| t.as_ref() == f.as_ref()).count();
            let truth: BTreeSet<Span> = spans(truth, scheme)?.into_iter().collect();
            let found: BTreeSet<Span> = spans(found, scheme)?.into_iter().collect();
            let both: BTreeSet<Span> = truth.intersection(&found).cloned().collect();
            for (i, spans) in [truth, found, both].iter().enumerate() {
                for span in spans {
                    counts.entry(span.kind.clone()).or_default()[i] += 1;
                }
            }
        }
        let total = counts.values().fold([0; 3], |sum, of| [0, 1, 2].map(|i| sum[i] + of[i]));
        let types: BTreeMap<String, SpanScore> =
            counts.into_iter().map(|(kind, counts)| (kind, score(counts))).collect();
        let mean = |weight: fn(&SpanScore) -> f64| {
            let all: f64 = types.values().map(weight).sum();
            let of = |value: fn(&SpanScore) -> f64| {
                let sum: f64 = types.values().map(|score| weight(score) * value(score)).sum();
                if all > 0.0 { sum / all } else { 0.0 }
            };
            SpanScore {
                precision: of(|score| score.precision),
                recall: of(|score| score.recall),
                f1: of(|score| score.f1),
                support: total[0],
            }
        };
        Ok(Self {
            micro: score(total),
            macro_mean: mean(|_| 1.0),
            weighted: mean(|score| score.support as f64),
            accuracy: if tokens > 0 { right as f64 / tokens as f64 } else { 0.0 },
            types,
        })
    }
}

/// The score of counts of true, predicted and right spans.
fn score([truth, found, right]: [usize; 3]) -> SpanScore {
    let share = |of: usize| if of > 0 { right as f64 / of as f64 } else { 0.0 };
    let (precision, recall) = (share(found), share(truth));
    let sum = precision + recall;
    let f1 = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
    SpanScore { precision, recall, f1, support: truth }
}
