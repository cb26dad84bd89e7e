//! The turn before: what the cache holds of a conversation.

use ff_nn::models::ModelCache;

/// What the cache holds behind an answer: keys and values for the next turn of a conversation.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) cache: ModelCache,
    pub(super) ids: Vec<u32>,
    pub(super) acting: Acting,
}

/// The adapter in use by its number, and the token from which on it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acting {
    pub(super) adapter: Option<usize>,
    pub(super) start: usize,
}

impl Acting {
    /// How many first tokens have the same keys and values in both.
    pub(super) fn alike(self, other: Self) -> usize {
        if self == other { usize::MAX } else { self.start.min(other.start) }
    }
}
