//! Cleaning: documents dropped, personal data masked, with reasons.

use std::collections::BTreeMap;

use super::config::{CleanConfig, Duplicates};
use super::documents::Piece;

mod duplicates;
mod personal;
mod repetition;

use duplicates::{Seen, Signature};

/// A document after masking, examined by itself.
pub(super) struct CleanedPiece {
    pub(super) piece: Piece,
    /// Why it is dropped, if it is, whatever other documents there are.
    reason: Option<&'static str>,
    /// Personal data masked in it: kinds and counts.
    pub(super) masked: Vec<(&'static str, u64)>,
    /// The fingerprint for comparison with other documents.
    hash: u128,
    signature: Option<Signature>,
}

/// Examines documents one by one, on any thread; compares them in their order.
pub(super) struct Cleaner<'a> {
    config: &'a CleanConfig,
    seen: Seen,
}

impl<'a> Cleaner<'a> {
    pub(super) fn new(config: &'a CleanConfig) -> Self {
        Self { config, seen: Seen::new(config) }
    }

    /// Masks personal data in a document and examines it by itself.
    pub(super) fn clean(config: &CleanConfig, mut piece: Piece) -> CleanedPiece {
        let masked = personal::mask(config, &mut piece.text);
        let reason = reason(config, &piece);
        let compares = reason.is_none() && config.duplicates != Duplicates::Keep;
        let near = compares && config.duplicates == Duplicates::Near;
        let hash =
            if compares { xxhash_rust::xxh3::xxh3_128(piece.text.trim().as_bytes()) } else { 0 };
        let signature = near.then(|| Signature::of(&piece.text, config.shingle_words));
        CleanedPiece { piece, reason, masked, hash, signature }
    }

    /// Why a document is dropped, if it is; the first of those that repeat each other is kept.
    pub(super) fn reason_to_drop(&mut self, cleaned: &CleanedPiece) -> Option<&'static str> {
        if cleaned.reason.is_some() || self.config.duplicates == Duplicates::Keep {
            return cleaned.reason;
        }
        self.seen.reason_to_drop(cleaned.hash, cleaned.signature.as_ref())
    }
}

/// Why a document is dropped by itself.
fn reason(config: &CleanConfig, piece: &Piece) -> Option<&'static str> {
    if piece.broken {
        return Some("broken UTF-8");
    }
    let text = &piece.text;
    if piece.first && piece.last && text.trim().is_empty() {
        return Some("empty");
    }
    if !config.judges() {
        return None;
    }
    let characters = text.chars().count() as u64;
    let above =
        |limit: Option<f64>, share: &dyn Fn() -> f64| limit.is_some_and(|limit| share() > limit);
    if config.min_chars.is_some_and(|least| characters < least) {
        Some("too short")
    } else if config.max_chars.is_some_and(|most| characters > most) {
        Some("too long")
    } else if above(config.max_symbols, &|| repetition::symbols(text)) {
        Some("symbols")
    } else if above(config.max_repeated_lines, &|| repetition::repeated_lines(text)) {
        Some("repeated lines")
    } else if above(config.max_top_ngram, &|| repetition::top_ngram(text, config.ngram_words)) {
        Some("repeated words")
    } else {
        None
    }
}

/// Counts of what happened, by name.
pub(super) fn count(counts: &mut BTreeMap<String, u64>, name: &str, more: u64) {
    match counts.get_mut(name) {
        Some(count) => *count += more,
        None => drop(counts.insert(name.to_owned(), more)),
    }
}
