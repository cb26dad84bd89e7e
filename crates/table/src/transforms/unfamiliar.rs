//! Cells that differ from all that a column held at training.

use serde::Serialize;

use super::tile::Met;

/// Cells of one column that training met nothing like: the model has little to say about them.
///
/// ```
/// let cells = ff_table::Unfamiliar { column: "city".into(), unseen: 2, ..Default::default() };
/// assert_eq!(cells.describe(), "2 values that training did not meet");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unfamiliar {
    /// The column.
    pub column: String,
    /// Categories that no training row had, or too few for a slot of their own.
    pub unseen: usize,
    /// Missing values in a column that had none at training.
    pub gaps: usize,
    /// Numbers and dates outside the range of the training rows.
    pub outside: usize,
    /// The first unseen or outlying value.
    pub example: Option<String>,
    /// The range of the training rows.
    pub range: Option<String>,
}

impl Unfamiliar {
    pub(super) fn new(column: &str, range: Option<String>, met: Met) -> Option<Self> {
        let Met { unseen, gaps, outside, example, .. } = met;
        let range = range.filter(|_| outside > 0);
        let cells = Self { column: column.into(), unseen, gaps, outside, example, range };
        (unseen + gaps + outside > 0).then_some(cells)
    }

    /// Adds the cells of later rows of the same column.
    pub fn join(&mut self, later: Self) {
        self.unseen += later.unseen;
        self.gaps += later.gaps;
        self.outside += later.outside;
        self.example = self.example.take().or(later.example);
        self.range = self.range.take().or(later.range);
    }

    /// The cells in words, without the column's name.
    pub fn describe(&self) -> String {
        let values = |n: usize| if n == 1 { "1 value".into() } else { format!("{n} values") };
        let example = self.example.as_ref().map(|text| format!(", such as `{text}`"));
        let example = example.unwrap_or_default();
        let mut parts = Vec::new();
        if self.unseen > 0 {
            parts.push(format!("{} that training did not meet{example}", values(self.unseen)));
        }
        if self.outside > 0 {
            let range = self.range.as_ref().map(|range| format!(" ({range})")).unwrap_or_default();
            let outside = values(self.outside);
            parts.push(format!("{outside} outside the training range{range}{example}"));
        }
        if self.gaps > 0 {
            parts.push(format!("{} missing where none was at training", values(self.gaps)));
        }
        parts.join("; ")
    }
}
