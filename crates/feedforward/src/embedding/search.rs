//! Exact search over vectors, and near duplicates among them.

use super::embed::PREFIX;
use super::model::normalize;
use super::texts::{TextRows, find_column, text_column, texts_of};
use crate::error::{Error, Result};
use crate::words::plural;
use ff_kernels::{MatRef, gemm};
use ff_table::{Column, SourceOptions, Table, load};
use ff_tensor::Device;
use serde::Serialize;
use std::path::Path;

/// Rows compared at a time.
const BLOCK: usize = 1024;

/// Vectors of length 1, with the texts that they stand for where those are known.
///
/// ```no_run
/// use feedforward::embedding::VectorIndex;
/// let device = Default::default();
/// let index = VectorIndex::read("texts.npy".as_ref(), Some("texts.csv".as_ref()), None, &device)?;
/// for pair in index.pairs(0.9, 100, &device).shown {
///     println!("{} and {}: {}", pair.a, pair.b, pair.score);
/// }
/// # Ok::<(), feedforward::Error>(())
/// ```
#[derive(Debug)]
pub struct VectorIndex {
    width: usize,
    values: Vec<f32>,
    texts: Option<Vec<String>>,
}

/// A row found by a query.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// The row, from 0.
    pub row: usize,
    /// The cosine with the query.
    pub score: f32,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Two rows that are alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The first row, from 0.
    pub a: usize,
    /// The second row.
    pub b: usize,
    /// Their cosine.
    pub score: f32,
    /// Their texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub texts: Option<[String; 2]>,
}

/// Pairs above a threshold.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pairs {
    /// How many there are.
    pub count: usize,
    /// The most alike, best first.
    pub shown: Vec<Pair>,
}

impl VectorIndex {
    /// Reads a file that [`embed`](super::embed()) wrote, or any array of numbers; the texts are
    /// those of `data`, else the index's own, in `column` where there are several.
    ///
    /// # Errors
    /// A file cannot be read, holds no vectors or no such column, or has another number of rows.
    pub fn read(
        path: &Path,
        data: Option<&Path>,
        column: Option<&str>,
        device: &Device,
    ) -> Result<Self> {
        let (table, _) = load(path, &SourceOptions::default(), device.cpu().threads())?;
        let (width, values) = vectors(&table, path)?;
        let texts = match data {
            Some(data) => Some(read_texts(data, column)?),
            None => own_texts(&table, column)?,
        };
        if let Some(texts) = &texts
            && texts.len() != table.rows()
        {
            return Err(Error::usage(format!(
                "there are {} and {}; they belong to different files",
                plural(texts.len(), "text"),
                plural(table.rows(), "vector")
            )));
        }
        Ok(Self { width, values, texts })
    }

    /// The number of vectors.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// The numbers of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    fn text(&self, row: usize) -> Option<String> {
        self.texts.as_ref().map(|texts| texts[row].clone())
    }

    fn matrix(&self, from: usize, rows: usize) -> MatRef<'_, f32> {
        MatRef::new(&self.values[from * self.width..][..rows * self.width], rows, self.width)
    }

    /// The `most` rows nearest to each query by cosine, best first, earlier rows first among equal
    /// ones; exact.
    ///
    /// # Shapes
    /// queries `[Q, width]`
    ///
    /// # Errors
    /// The queries have another width.
    pub fn search(&self, queries: &[f32], most: usize, device: &Device) -> Result<Vec<Vec<Hit>>> {
        if !queries.len().is_multiple_of(self.width) {
            return Err(Error::usage(format!(
                "the index has vectors of {} numbers, other than the model's; embed it with the same model",
                self.width
            )));
        }
        let mut queries = queries.to_vec();
        queries.chunks_exact_mut(self.width).for_each(normalize);
        let count = queries.len() / self.width;
        let wanted = MatRef::new(&queries, count, self.width).t();
        let mut found: Vec<Vec<(f32, usize)>> = vec![Vec::new(); count];
        let mut scores = Vec::new();
        for from in (0..self.rows()).step_by(BLOCK) {
            let rows = BLOCK.min(self.rows() - from);
            scores.resize(rows * count, 0.0);
            gemm(device.cpu(), self.matrix(from, rows), wanted, &mut scores, false);
            for (q, found) in found.iter_mut().enumerate() {
                let of = scores.iter().skip(q).step_by(count.max(1)).copied();
                found.extend(of.zip(from..));
                keep_best(found, most);
            }
        }
        let hits = |found: Vec<(f32, usize)>| {
            found.into_iter().map(|(score, row)| Hit { row, score, text: self.text(row) }).collect()
        };
        Ok(found.into_iter().map(hits).collect())
    }

    /// All pairs of rows whose cosine is at least `least`, of which the `most` best are kept.
    pub fn pairs(&self, least: f32, most: usize, device: &Device) -> Pairs {
        let mut found: Vec<(f32, usize, usize)> = Vec::new();
        let (mut count, mut scores) = (0, Vec::new());
        let order = |a: &(f32, usize, usize), b: &(f32, usize, usize)| {
            b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)))
        };
        for from in (0..self.rows()).step_by(BLOCK) {
            let rows = BLOCK.min(self.rows() - from);
            for other in (from..self.rows()).step_by(BLOCK) {
                let cols = BLOCK.min(self.rows() - other);
                scores.resize(rows * cols, 0.0);
                let (a, b) = (self.matrix(from, rows), self.matrix(other, cols).t());
                gemm(device.cpu(), a, b, &mut scores, false);
                for (i, row) in scores.chunks_exact(cols).enumerate() {
                    let after = (from + i + 1).saturating_sub(other).min(cols);
                    for (j, &score) in row.iter().enumerate().skip(after) {
                        if score >= least {
                            count += 1;
                            found.push((score, from + i, other + j));
                        }
                    }
                }
                if found.len() > most.max(BLOCK) * 4 {
                    found.sort_by(order);
                    found.truncate(most);
                }
            }
        }
        found.sort_by(order);
        found.truncate(most);
        let pair = |(score, a, b): (f32, usize, usize)| {
            let texts = self.text(a).zip(self.text(b)).map(|(a, b)| [a, b]);
            Pair { a, b, score, texts }
        };
        Pairs { count, shown: found.into_iter().map(pair).collect() }
    }
}

/// Keeps the best scores, best first.
fn keep_best(found: &mut Vec<(f32, usize)>, most: usize) {
    let order = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if found.len() > most && most > 0 {
        found.select_nth_unstable_by(most - 1, order);
    }
    found.truncate(most);
    found.sort_by(order);
}

/// The texts that a table holds beside its vectors.
fn own_texts(table: &Table, column: Option<&str>) -> Result<Option<Vec<String>>> {
    let name = if let Some(name) = column {
        find_column(table, name)?
    } else {
        let prefix = prefix(table);
        let is_number = |name: &str| {
            name.strip_prefix(prefix).is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
        };
        let others = table.columns().iter().filter(|column| !is_number(&column.name));
        // Rows are shown by their number where several columns could be meant.
        let Ok(name) = text_column(table, &others.collect::<Vec<_>>()) else { return Ok(None) };
        name
    };
    Ok(Some(texts_of(table, &name).into_iter().map(Into::into).collect()))
}

/// What the names of a vector's columns begin with: ours, or those of an array.
fn prefix(table: &Table) -> &'static str {
    if table.column(&format!("{PREFIX}0")).is_some() { PREFIX } else { "x" }
}

/// All texts of a file.
fn read_texts(path: &Path, column: Option<&str>) -> Result<Vec<String>> {
    let mut rows = TextRows::open(path, column, BLOCK)?;
    let column = rows.column();
    let mut texts = Vec::new();
    while let Some(block) = rows.next(BLOCK)? {
        texts.extend(texts_of(&block, &column).into_iter().map(String::from));
    }
    Ok(texts)
}

/// The columns `embedding_0`, …, or those of an array, as rows of length 1.
fn vectors(table: &Table, path: &Path) -> Result<(usize, Vec<f32>)> {
    let prefix = prefix(table);
    let columns = (0..).map_while(|i| table.column(&format!("{prefix}{i}")));
    let columns: Vec<&Column> = columns.collect();
    if columns.is_empty() || table.rows() == 0 {
        return Err(Error::usage(format!(
            "{} holds no vectors; `feedforward embed` writes a .npy, .parquet, .csv or .jsonl with them",
            path.display()
        )));
    }
    let width = columns.len();
    let mut values = vec![0.0; table.rows() * width];
    for (j, column) in columns.into_iter().enumerate() {
        for row in 0..table.rows() {
            let value = column.values.number(row).filter(|x| x.is_finite()).ok_or_else(|| {
                Error::usage(format!(
                    "{}, column `{}`: a vector has numbers only, found `{}`",
                    table.place(row),
                    column.name,
                    column.values.text(row)
                ))
            })?;
            values[row * width + j] = value as f32;
        }
    }
    values.chunks_exact_mut(width).for_each(normalize);
    Ok((width, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(rows: usize, width: usize) -> VectorIndex {
        let key = ff_tensor::Key::new(7);
        let mut rng = ff_tensor::Rng::new(key);
        let mut values: Vec<f32> = (0..rows * width).map(|_| rng.normal() as f32).collect();
        values.chunks_exact_mut(width).for_each(normalize);
        VectorIndex { width, values, texts: None }
    }

    fn cosine(index: &VectorIndex, a: usize, b: usize) -> f64 {
        let row = |i: usize| index.values[i * index.width..][..index.width].iter();
        row(a).zip(row(b)).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    }

    #[test]
    fn search_and_pairs_are_exact_over_all_blocks() {
        let device = Device::default();
        let index = index(2 * BLOCK + 37, 24);
        let queries =
            [index.values[5 * 24..6 * 24].to_vec(), index.values[2000 * 24..2001 * 24].to_vec()];
        let found = index.search(&queries.concat(), 7, &device).unwrap();
        for (hits, query) in found.iter().zip([5, 2000]) {
            let mut all: Vec<(f64, usize)> =
                (0..index.rows()).map(|row| (cosine(&index, query, row), row)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0));
            assert_eq!(hits[0].row, query);
            for (hit, wanted) in hits.iter().zip(&all) {
                assert!((f64::from(hit.score) - wanted.0).abs() < 1e-6, "{hit:?} {wanted:?}");
            }
        }
        let least = 0.6;
        let mut wanted = 0;
        for a in 0..index.rows() {
            wanted +=
                (a + 1..index.rows()).filter(|&b| cosine(&index, a, b) >= f64::from(least)).count();
        }
        let pairs = index.pairs(least, 50, &device);
        assert!(wanted > 50, "{wanted}");
        // A cosine at the threshold may fall on either side of it.
        assert!(pairs.count.abs_diff(wanted) <= 2, "{} {wanted}", pairs.count);
        assert_eq!(pairs.shown.len(), 50);
        assert!(pairs.shown.is_sorted_by(|a, b| a.score >= b.score));
        assert!(pairs.shown.iter().all(|pair| pair.a < pair.b));
    }

    #[test]
    fn texts_are_the_column_that_is_no_number_of_a_vector() {
        let numbers = || ff_table::Values::from(vec![0.5f64, 1.5]);
        let texts: ff_table::Values = [Some("one text"), Some("two")].into_iter().collect();
        for (vector, text) in [("embedding_0", "x_text"), ("x0", "embedded")] {
            let columns = vec![Column::new(vector, numbers()), Column::new(text, texts.clone())];
            let table = Table::new(columns).unwrap();
            let found = own_texts(&table, None).unwrap().unwrap();
            assert_eq!(found, ["one text", "two"], "{text}");
        }
        let alone = Table::new(vec![Column::new("x0", numbers())]).unwrap();
        assert!(own_texts(&alone, None).unwrap().is_none());
    }

    #[test]
    fn queries_of_another_width_are_refused() {
        let error = index(4, 24).search(&[0.0; 25], 1, &Device::default()).unwrap_err();
        assert!(error.to_string().contains("vectors of 24 numbers"), "{error}");
    }
}
