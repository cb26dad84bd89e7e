//! Scores of written texts beside the ones that were wanted: translations, summaries.

use crate::{Bootstrap, Interval, MetricError};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::Hash;

/// The longest n-grams of BLEU, in words.
const WORDS: usize = 4;
/// The longest n-grams of chrF, in characters.
const CHARACTERS: usize = 6;
/// How many times recall counts as much as precision in chrF.
const BETA: f64 = 2.0;
/// The sums that all scores are functions of: exact rows and rows, the words of both sides, the
/// n-grams of words that both have and those written, and, of each n-gram of characters, those
/// written, those wanted and those of both.
const SUMS: usize = 4 + 2 * WORDS + 3 * CHARACTERS;

/// The scores of written texts beside the ones that were wanted, and their 95 % intervals.
///
/// BLEU (Papineni et al., 2002) is over the whole of the texts: the geometric mean of the shares of
/// written n-grams of 1 to 4 words that are wanted, times exp(1 − wanted words / written words)
/// where too few are written. Punctuation is split off as by the tokenizer `13a` of `sacrebleu`,
/// and orders without a match count as 1/2, 1/4, … of one. chrF (Popović, 2015) is F₂ of the mean
/// precision and the mean recall of n-grams of 1 to 6 characters, spaces left out. Both are those
/// of `sacrebleu` with its own settings, between 0 and 100.
///
/// ```
/// use ff_metrics::TranslationReport;
/// let found = ["the cat sees a dog .", "a bird"];
/// let report = TranslationReport::compute(&found, &["the cat sees a dog.", "a bird"], None)?;
/// assert!((report.bleu - 100.0).abs() < 1e-9 && report.chrf == 100.0 && report.exact == 0.5);
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TranslationReport {
    /// BLEU.
    pub bleu: f64,
    /// chrF, with β = 2.
    pub chrf: f64,
    /// The share of texts that are the wanted ones, character by character.
    pub exact: f64,
    /// The intervals of BLEU, chrF and the exact share, over rows drawn with replacement.
    pub intervals: [Option<Interval>; 3],
}

impl TranslationReport {
    /// The scores of texts beside the wanted ones, with intervals if `bootstrap` is given.
    ///
    /// # Errors
    /// If there are no texts, or not as many of both.
    pub fn compute<A: AsRef<str>, B: AsRef<str>>(
        found: &[A],
        wanted: &[B],
        bootstrap: Option<Bootstrap<'_>>,
    ) -> Result<Self, MetricError> {
        if wanted.is_empty() {
            return Err(MetricError::Empty);
        }
        if found.len() != wanted.len() {
            return Err(MetricError::Length {
                what: "found",
                expected: wanted.len(),
                why: "one for each wanted text".into(),
                found: found.len(),
            });
        }
        let pairs = found.iter().zip(wanted);
        let rows: Vec<f64> = pairs.flat_map(|(a, b)| sums(a.as_ref(), b.as_ref())).collect();
        let mut all = [0.0; SUMS];
        for row in rows.chunks_exact(SUMS) {
            all.iter_mut().zip(row).for_each(|(sum, part)| *sum += part);
        }
        let [bleu, chrf, exact] = scores(&all);
        let mut intervals = [None; 3];
        if let Some(bootstrap) = bootstrap {
            let found = bootstrap.of_sums(&rows, SUMS, |sums| scores(sums).to_vec());
            intervals.iter_mut().zip(found).for_each(|(to, found)| *to = found);
        }
        Ok(Self { bleu, chrf, exact, intervals })
    }
}

/// The parts of a row.
fn sums(found: &str, wanted: &str) -> [f64; SUMS] {
    let mut sums = [0.0; SUMS];
    let (words, wanted_words) = (words(found), words(wanted));
    sums[0] = f64::from(u8::from(found == wanted));
    sums[1] = 1.0;
    sums[2] = words.len() as f64;
    sums[3] = wanted_words.len() as f64;
    for n in 1..=WORDS {
        let [written, _, both] = matches(&words, &wanted_words, n);
        sums[3 + n] = both;
        sums[3 + WORDS + n] = written;
    }
    let letters = |text: &str| -> Vec<char> { text.chars().filter(|&c| !is_space(c)).collect() };
    let (letters, wanted) = (letters(found), letters(wanted));
    for n in 1..=CHARACTERS {
        let mut found = matches(&letters, &wanted, n);
        // Of n-grams that the wanted text is too short for, none counts as written.
        if found[1] == 0.0 {
            found[0] = 0.0;
        }
        sums[4 + 2 * WORDS + 3 * (n - 1)..][..3].copy_from_slice(&found);
    }
    sums
}

/// The n-grams of one text, those of another, and those that both have, each as often as the text
/// that has it less often.
fn matches<T: Hash + Eq>(found: &[T], wanted: &[T], n: usize) -> [f64; 3] {
    let mut counts: HashMap<&[T], usize> = HashMap::new();
    for gram in wanted.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    let mut both = 0;
    for gram in found.windows(n) {
        if let Some(left) = counts.get_mut(gram).filter(|left| **left > 0) {
            *left -= 1;
            both += 1;
        }
    }
    let grams = |all: &[T]| (all.len() + 1).saturating_sub(n) as f64;
    [grams(found), grams(wanted), f64::from(both)]
}

/// BLEU, chrF and the share of exact rows.
fn scores(sums: &[f64]) -> [f64; 3] {
    [bleu(&sums[2..4 + 2 * WORDS]), chrf(&sums[4 + 2 * WORDS..]), sums[0] / sums[1]]
}

fn bleu(sums: &[f64]) -> f64 {
    let (lengths, grams) = sums.split_at(2);
    let (both, written) = grams.split_at(WORDS);
    if both.iter().all(|&n| n == 0.0) || written.contains(&0.0) {
        return 0.0;
    }
    let mut smooth = 1.0;
    let mut logs = 0.0;
    for (&both, written) in both.iter().zip(written) {
        if both == 0.0 {
            smooth *= 2.0;
        }
        let right = if both == 0.0 { 1.0 / smooth } else { both };
        logs += (100.0 * right / written).ln();
    }
    let [written, wanted] = [lengths[0], lengths[1]];
    let brevity = if written < wanted { (1.0 - wanted / written).exp() } else { 1.0 };
    brevity * (logs / WORDS as f64).exp()
}

fn chrf(sums: &[f64]) -> f64 {
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for order in sums.chunks_exact(3) {
        if order[0] > 0.0 && order[1] > 0.0 {
            precision += order[2] / order[0];
            recall += order[2] / order[1];
            orders += 1.0;
        }
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / orders, recall / orders);
    let factor = BETA * BETA;
    100.0 * (1.0 + factor) * precision * recall / (factor * precision + recall)
}

/// Whether Python's `str.split` cuts at a character.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The words of a text as the tokenizer `13a` of `mteval` and `sacrebleu` cuts them.
fn words(text: &str) -> Vec<String> {
    let mut line = text.trim_end_matches(is_space).replace("<skipped>", "");
    line = line.replace("-\n", "").replace('\n', " ");
    for (name, sign) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        line = line.replace(name, sign);
    }
    let is_sign =
        |c: char| matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/');
    let mut cut: Vec<char> = vec![' '];
    for c in line.chars() {
        if is_sign(c) {
            cut.extend([' ', c, ' ']);
        } else {
            cut.push(c);
        }
    }
    cut.push(' ');
    // Points and commas stay within numbers; a dash behind a digit stands alone.
    let is_point = |c: char| c == '.' || c == ',';
    let cut = in_twos(&cut, |a, b| !a.is_ascii_digit() && is_point(b), |a, b| vec![a, ' ', b, ' ']);
    let cut = in_twos(&cut, |a, b| is_point(a) && !b.is_ascii_digit(), |a, b| vec![' ', a, ' ', b]);
    let cut = in_twos(&cut, |a, b| a.is_ascii_digit() && b == '-', |a, b| vec![a, ' ', b, ' ']);
    let words = cut.split(|&c| is_space(c)).filter(|word| !word.is_empty());
    words.map(|word| word.iter().collect()).collect()
}

/// Replaces two characters that follow each other, from the left, each in one pair alone.
fn in_twos(
    text: &[char],
    fits: impl Fn(char, char) -> bool,
    with: impl Fn(char, char) -> Vec<char>,
) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 4);
    let mut at = 0;
    while at < text.len() {
        match text.get(at + 1) {
            Some(&next) if fits(text[at], next) => {
                out.extend(with(text[at], next));
                at += 2;
            }
            _ => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}
