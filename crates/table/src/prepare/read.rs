//! The recipe's files as one table.

use std::path::{Path, PathBuf};

use ff_tensor::ThreadPool;

use crate::config::DataConfig;
use crate::error::{DataError, Result};
use crate::source::{SourceInfo, SourceOptions, is_memory, load};
use crate::split::Parts;
use crate::table::Table;

/// The rows of all files, and where one file's end and the next one's begin.
pub(super) struct LoadedFiles {
    pub(super) table: Table,
    pub(super) source: SourceInfo,
    pub(super) borders: Option<Borders>,
}

/// Rows before `valid` are of the training file, rows from `test` on of the test file.
pub(super) struct Borders {
    valid: usize,
    test: usize,
}

impl Borders {
    pub(super) fn has_valid(&self) -> bool {
        self.valid < self.test
    }

    /// The positions in `rows` of the rows of each part.
    pub(super) fn positions(&self, rows: &[usize]) -> Parts {
        let valid = rows.partition_point(|&row| row < self.valid);
        let test = rows.partition_point(|&row| row < self.test);
        Parts {
            train: (0..valid).collect(),
            valid: (valid..test).collect(),
            test: (test..rows.len()).collect(),
        }
    }
}

/// Reads the recipe's file, and the files of its other parts where they are named.
pub(super) fn read(config: &DataConfig, base: &Path, threads: &ThreadPool) -> Result<LoadedFiles> {
    let mut options = SourceOptions::from(config);
    options.labels = config.labels.as_deref().map(|path| resolve(base, path));
    let path = resolve(base, &config.path);
    let (valid, test) = (&config.split.valid_path, &config.split.test_path);
    if valid.is_none() && test.is_none() {
        let (table, source) = load(&path, &options, threads)?;
        return Ok(LoadedFiles { table, source, borders: None });
    }
    let paths: Vec<PathBuf> =
        [valid, test].into_iter().flatten().map(|path| resolve(base, path)).collect();
    let mut loaded = load_all(&path, &paths, &options, threads)?;
    unify_numbers(&mut loaded);
    let columns = differing(&loaded);
    if !columns.is_empty() {
        // A column that is a number in one file and a text in another is read as text in all of
        // them.
        options.text_columns = columns;
        loaded = load_all(&path, &paths, &options, threads)?;
        unify_numbers(&mut loaded);
        // Formats that have types of their own still give them.
        let columns = differing(&loaded);
        for (table, _) in &mut loaded {
            table.make_texts(&columns);
        }
    }
    let mut loaded = loaded.into_iter();
    let Some((mut table, mut source)) = loaded.next() else {
        return Err(DataError::config("data.path", "no file"));
    };
    let mut ends = vec![table.rows()];
    let mut hashes = source.hash.clone();
    for (other, info) in loaded {
        check_names(&table, &other)?;
        table.append(&other);
        ends.push(table.rows());
        hashes.push_str(&info.hash);
        source.bytes += info.bytes;
    }
    source.hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(hashes.as_bytes()));
    let valid_end = if valid.is_some() { ends[1] } else { ends[0] };
    Ok(LoadedFiles { table, source, borders: Some(Borders { valid: ends[0], test: valid_end }) })
}

fn resolve(base: &Path, path: &Path) -> PathBuf {
    let as_it_is = path.as_os_str() == "-" || base == Path::new(".") || is_memory(path);
    if as_it_is { path.into() } else { base.join(path) }
}

fn load_all(
    first: &Path,
    others: &[PathBuf],
    options: &SourceOptions,
    threads: &ThreadPool,
) -> Result<Vec<(Table, SourceInfo)>> {
    std::iter::once(first)
        .chain(others.iter().map(PathBuf::as_path))
        .map(|path| load(path, options, threads))
        .collect()
}

/// Makes integers numbers in columns that hold numbers in another file and integers that every
/// number type holds.
fn unify_numbers(loaded: &mut [(Table, SourceInfo)]) {
    for name in differing(loaded) {
        let all = || loaded.iter().filter_map(|(table, _)| table.column(&name));
        if all().all(|column| column.values.are_exact_numbers()) {
            for (table, _) in &mut *loaded {
                table.make_numbers(&name);
            }
        }
    }
}

/// Columns whose values have different types in different files.
fn differing(loaded: &[(Table, SourceInfo)]) -> Vec<String> {
    let Some(((first, _), others)) = loaded.split_first() else { return Vec::new() };
    first
        .columns()
        .iter()
        .filter(|column| {
            others
                .iter()
                .filter_map(|(table, _)| table.column(&column.name))
                .any(|other| !other.values.same_type(&column.values))
        })
        .map(|column| column.name.clone())
        .collect()
}

fn check_names(table: &Table, other: &Table) -> Result<()> {
    let problems: Vec<String> = table
        .columns()
        .iter()
        .filter(|column| other.column(&column.name).is_none())
        .map(|column| format!("column `{}` of {} is missing", column.name, table.source_name()))
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(DataError::Mismatch { place: other.source_name(), problems })
}
