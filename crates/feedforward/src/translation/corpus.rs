//! Pairs of texts as tokens.

use super::recipe::TranslationRecipe;
use crate::encoder::{ObjectiveKind, Reading, Rows};
use crate::error::{Error, Result};
use crate::language::{PairText, TranslatorFolder};
use crate::words::{count, plural};
use ff_table::Note;
use std::collections::BTreeSet;

/// The most tokens of a text unless the recipe says otherwise.
const TOKENS: usize = 512;

/// The pairs of a part.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) sources: Vec<Vec<u32>>,
    pub(super) targets: Vec<Vec<u32>>,
    /// The texts, without the prefix.
    pub(super) texts: Vec<[String; 2]>,
    /// The pairs, the longest first, and the tokens of each.
    pub(super) order: Vec<u32>,
    pub(super) lengths: Vec<u32>,
    /// The sources and the targets that were cut.
    cut: [usize; 2],
}

impl Pairs {
    pub(super) fn rows(&self) -> usize {
        self.order.len()
    }

    /// The tokens of all sources and of all targets.
    pub(super) fn tokens(&self) -> [usize; 2] {
        [&self.sources, &self.targets].map(|all| all.iter().map(Vec::len).sum())
    }

    /// The tokens of the longest target.
    pub(super) fn longest_target(&self) -> usize {
        self.targets.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// The most tokens of a source and of a target.
///
/// # Errors
/// The recipe asks for more than the model's positions.
pub(super) fn limits(recipe: &TranslationRecipe, base: &TranslatorFolder) -> Result<[usize; 2]> {
    let positions = base.config.max_positions.unwrap_or(usize::MAX);
    let data = &recipe.data;
    let limit = |key: &str, said: Option<usize>| {
        if said.is_some_and(|said| said > positions) {
            let message = format!("is more than the model's {positions} positions");
            return Err(ff_settings::ConfigError::new(key, message));
        }
        Ok(said.unwrap_or(TOKENS).min(positions))
    };
    Ok([limit("data.max_source", data.max_source)?, limit("data.max_target", data.max_target)?])
}

/// How a file of pairs is read.
pub(super) fn reading() -> (ObjectiveKind, Reading) {
    let naming = Some("--set data.source=en --set data.target=de");
    (ObjectiveKind::Pairs, Reading { naming, ..Reading::default() })
}

/// The columns of a file's pairs.
///
/// # Errors
/// There are not two.
pub(super) fn columns(recipe: &TranslationRecipe, reading: &Reading) -> Result<[String; 2]> {
    match &reading.text[..] {
        [source, target] => Ok([source.clone(), target.clone()]),
        all => Err(Error::usage(format!(
            "which columns of {} hold the pairs? name them, such as --set data.source={} --set \
             data.target={}",
            recipe.data.path.display(),
            all.first().map_or("SOURCE", String::as_str),
            all.get(1).map_or("TARGET", String::as_str),
        ))),
    }
}

/// Makes pairs tokens, each with the one that ends it; longer texts are cut.
///
/// # Errors
/// A text cannot be encoded.
pub(super) fn encode(
    rows: Rows,
    prefix: &str,
    base: &TranslatorFolder,
    limits: [usize; 2],
) -> Result<Pairs> {
    let text = base.text()?;
    let end = base.config.end_token;
    let mut pairs = Pairs::default();
    for row in rows.texts {
        let Ok([source, target]) = <[String; 2]>::try_from(row) else { continue };
        let encoded = [text.encode(&format!("{prefix}{source}"))?, text.encode_target(&target)?];
        for (i, ids) in encoded.into_iter().enumerate() {
            let (ids, cut) = ended(ids, end, limits[i]);
            pairs.cut[i] += usize::from(cut);
            [&mut pairs.sources, &mut pairs.targets][i].push(ids);
        }
        pairs.texts.push([source, target]);
    }
    let length = |i: usize| (pairs.sources[i].len() + pairs.targets[i].len()) as u32;
    let mut order: Vec<u32> = (0..pairs.texts.len() as u32).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(length(i as usize)));
    pairs.lengths = order.iter().map(|&i| length(i as usize)).collect();
    pairs.order = order;
    Ok(pairs)
}

/// The ids of a text with the one that ends it, so many at most, and whether some are cut off.
pub(super) fn ended(mut ids: Vec<u32>, end: u32, most: usize) -> (Vec<u32>, bool) {
    if ids.last() != Some(&end) {
        ids.push(end);
    }
    let cut = ids.len() > most;
    if cut {
        ids.truncate(most - 1);
        ids.push(end);
    }
    (ids, cut)
}

/// What is to be known of the pairs.
pub(super) fn notes(parts: &[Pairs; 3], limits: [usize; 2], text: &PairText) -> Vec<Note> {
    let mut notes = Vec::new();
    let rows: usize = parts.iter().map(Pairs::rows).sum();
    let [sources, targets] =
        [0, 1].map(|i| parts.iter().map(|part| part.tokens()[i]).sum::<usize>());
    let mean = |tokens: usize| tokens as f64 / rows.max(1) as f64;
    notes.push(Note::info(format!(
        "sources have {:.1} tokens on average, targets {:.1}, of {}",
        mean(sources),
        mean(targets),
        text.describe()
    )));
    for (i, (what, key)) in
        [("source", "data.max_source"), ("target", "data.max_target")].into_iter().enumerate()
    {
        let cut: usize = parts.iter().map(|part| part.cut[i]).sum();
        if cut > 0 {
            let message = format!(
                "{} longer than {} tokens: the rest is cut off",
                plural(cut, what),
                limits[i]
            );
            notes.push(Note::warn(message).undo(format!("{key}={}", limits[i])));
        }
    }
    if let Some(unknown) = text.unknown() {
        let all = parts.iter().flat_map(|part| part.sources.iter().chain(&part.targets)).flatten();
        let lost = all.filter(|&&id| id == unknown).count();
        if lost * 100 > sources + targets {
            notes.push(Note::warn(format!(
                "{} of {} tokens are unknown to the tokenizer: is it the model's for these languages?",
                count(lost as u64),
                count((sources + targets) as u64)
            )));
        }
    }
    let known: BTreeSet<&str> = parts[0].texts.iter().map(|[source, _]| source.as_str()).collect();
    for (part, name) in parts[1..].iter().zip(["validation", "test"]) {
        let seen = part.texts.iter().filter(|[source, _]| known.contains(source.as_str())).count();
        if seen > 0 {
            notes.push(Note::warn(format!(
                "{} of the {name} part stand in the training part, too: its scores flatter",
                plural(seen, "source")
            )));
        }
    }
    notes
}
