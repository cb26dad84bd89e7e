//! Rows as they are encoded, and what was found in their cells.

use crate::table::Values;

/// What a column's cells are like beside those of training.
#[derive(Default)]
pub(crate) struct Met {
    pub(crate) unreadable: Option<Unreadable>,
    pub(crate) unseen: usize,
    pub(crate) gaps: usize,
    pub(crate) outside: usize,
    /// The first unseen or outlying value.
    pub(crate) example: Option<String>,
}

impl Met {
    /// Keeps the text of the first cell that is unfamiliar.
    pub(crate) fn example(&mut self, values: &Values, row: usize) {
        if self.example.is_none() {
            self.example = Some(shortened(&values.text(row)));
        }
    }

    /// Adds what was found in later rows.
    pub(crate) fn join(&mut self, later: Self) {
        Unreadable::join(&mut self.unreadable, later.unreadable);
        self.unseen += later.unseen;
        self.gaps += later.gaps;
        self.outside += later.outside;
        self.example = self.example.take().or(later.example);
    }
}

fn shortened(text: &str) -> String {
    text.trim().chars().take(60).collect()
}

/// A few rows of the output, and where the column at hand lies in them.
pub(crate) struct Tile<'a> {
    pub(crate) numeric: &'a mut [f32],
    pub(crate) n_numeric: usize,
    pub(crate) numeric_at: usize,
    pub(crate) categorical: &'a mut [i32],
    pub(crate) n_categorical: usize,
    pub(crate) categorical_at: usize,
}

impl Tile<'_> {
    /// Sets the column's `feature`-th number of the tile's `row`-th row.
    #[inline]
    pub(crate) fn set(&mut self, row: usize, feature: usize, value: f32) {
        self.numeric[row * self.n_numeric + self.numeric_at + feature] = value;
    }

    /// Sets the column's id of the tile's `row`-th row.
    #[inline]
    pub(crate) fn set_id(&mut self, row: usize, id: usize) {
        self.categorical[row * self.n_categorical + self.categorical_at] = id as i32;
    }
}

/// A column's cells that its encoder cannot read: the first one's row and text, and how many.
pub(crate) struct Unreadable {
    pub(crate) row: usize,
    pub(crate) text: String,
    pub(crate) count: usize,
}

impl Unreadable {
    /// Adds what was found in later rows.
    pub(crate) fn join(found: &mut Option<Self>, later: Option<Self>) {
        match (found, later) {
            (Some(found), Some(later)) => found.count += later.count,
            (found @ None, later) => *found = later,
            (Some(_), None) => {}
        }
    }

    pub(crate) fn note(found: &mut Option<Self>, row: usize, text: &str) {
        match found {
            Some(unreadable) => unreadable.count += 1,
            None => *found = Some(Self { row, text: shortened(text), count: 1 }),
        }
    }
}
