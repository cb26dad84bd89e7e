use crate::{Case, feedforward};

/// An operation and the cases that check it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// The cases.
    pub cases: fn() -> Vec<Case>,
}

/// Every operation. One line here is what makes the gradient check, the parity fixtures, the comparison of fast and plain
/// paths and `feedforward check` run on it.
///
/// ```
/// assert!(ff_ops::registry().iter().any(|entry| entry.name == "feedforward"));
/// ```
pub fn registry() -> &'static [Entry] {
    &[Entry { name: "feedforward", cases: feedforward::cases }]
}
