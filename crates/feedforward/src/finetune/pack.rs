//! Examples in rows of equal length.

use super::examples::Example;
use crate::language::objective::{Tokens, Windows};
use ff_graph::{Error, Result};

/// How many unfinished rows an example may go into.
const OPEN: usize = 64;

/// Rows of examples as one stream, whose windows are the rows: an example never crosses from one
/// to the next, and the rest of a row is padding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rows {
    context: usize,
    ids: Vec<i32>,
    /// The number of each token's example, −1 for padding.
    documents: Vec<i32>,
    trained: Vec<bool>,
}

impl Rows {
    /// Rows of `context` tokens, of one example each or of as many as fit; no longer than needed.
    pub(super) fn new(examples: &[Example], context: usize, packing: bool) -> Self {
        let longest = examples.iter().map(|example| example.ids.len()).max().unwrap_or(1);
        let all = examples.iter().map(|example| example.ids.len()).sum::<usize>().max(1);
        let context = context.min(if packing { all } else { longest });
        let mut rows: Vec<(usize, Vec<usize>)> = Vec::new();
        for (i, example) in examples.iter().enumerate() {
            let len = example.ids.len();
            let first = rows.len().saturating_sub(OPEN);
            let fits = |row: &&mut (usize, Vec<usize>)| packing && row.0 + len <= context;
            match rows[first..].iter_mut().find(fits) {
                Some(row) => {
                    row.0 += len;
                    row.1.push(i);
                }
                None => rows.push((len, vec![i])),
            }
        }
        let mut packed = Self { context, ..Self::default() };
        for (row, (_, members)) in rows.iter().enumerate() {
            for &i in members {
                packed.ids.extend(&examples[i].ids);
                packed.trained.extend(&examples[i].trained);
                packed.documents.resize(packed.ids.len(), i as i32);
            }
            packed.pad((row + 1) * context);
        }
        // The token behind the last one.
        packed.pad(rows.len() * context + 1);
        packed
    }

    fn pad(&mut self, len: usize) {
        self.ids.resize(len, 0);
        self.trained.resize(len, false);
        self.documents.resize(len, -1);
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.windows().count(self.len())
    }

    /// Gives what determines the rows, in bytes.
    pub(super) fn hash(&self, give: &mut dyn FnMut(&[u8])) {
        let numbers = |values: &[i32]| -> Vec<u8> {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        give(&(self.context as u64).to_le_bytes());
        give(&numbers(&self.ids));
        give(&numbers(&self.documents));
        give(&self.trained.iter().map(|&trained| u8::from(trained)).collect::<Vec<u8>>());
    }

    /// How the rows are cut out of the stream.
    pub(super) fn windows(&self) -> Windows {
        Windows { context: self.context, separate: true, random: false, after: None }
    }
}

impl Tokens for Rows {
    fn len(&self) -> u64 {
        self.ids.len() as u64
    }

    fn read(&self, start: u64, ids: &mut [i32]) -> Result<()> {
        copy(&self.ids, start, ids)
    }

    fn segments(&self, start: u64, documents: &mut [i32]) -> Result<()> {
        copy(&self.documents, start, documents)
    }

    fn trained(&self, start: u64, trained: &mut [bool]) -> Result<()> {
        copy(&self.trained, start, trained)
    }
}

fn copy<T: Copy>(from: &[T], start: u64, to: &mut [T]) -> Result<()> {
    let there = from.get(start as usize..).and_then(|rest| rest.get(..to.len()));
    let there = there.ok_or_else(|| Error::shape("rows", "reaches beyond the last token"))?;
    to.copy_from_slice(there);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_share_rows_without_crossing_their_borders() {
        let example =
            |id: i32, len: usize| Example { ids: vec![id; len], trained: vec![true; len] };
        let examples = [example(1, 3), example(2, 4), example(3, 2), example(4, 5)];
        let rows = Rows::new(&examples, 6, true);
        assert_eq!(rows.rows(), 3);
        assert_eq!(rows.ids, [1, 1, 1, 3, 3, 0, 2, 2, 2, 2, 0, 0, 4, 4, 4, 4, 4, 0, 0]);
        assert_eq!(rows.documents[..8], [0, 0, 0, 2, 2, -1, 1, 1]);
        let one = Rows::new(&examples, 6, false);
        assert_eq!((one.rows(), one.windows().context), (4, 5));
        assert_eq!(Rows::new(&examples[..1], 100, true).windows().context, 3);
    }
}
