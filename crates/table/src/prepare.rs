//! From a recipe's `[data]` table to encoded parts.

use std::collections::HashMap;
use std::path::Path;

use ff_tensor::ThreadPool;

use crate::checks;
use crate::config::{DataConfig, SplitKind, Task};
use crate::error::{DataError, Result};
use crate::note::Note;
use crate::number_format;
use crate::schema::{Role, Schema};
use crate::source::SourceInfo;
use crate::split::{self, Fold, Parts};
use crate::table::Table;
use crate::target::{self, TargetSchema};
use crate::totals::{Dropped, Totals};
use crate::transforms::{Encoded, Transforms};

mod plan;
mod read;

use plan::Plan;
use read::LoadedFiles;

/// Data ready for training: its parts as numbers, with all findings.
#[derive(Debug)]
pub struct Prepared {
    /// The rows to learn.
    pub train: Encoded,
    /// The rows to choose settings and the stopping point on.
    pub valid: Encoded,
    /// The rows to judge on.
    pub test: Encoded,
    /// The transforms fitted on the training rows.
    pub transforms: Transforms,
    /// The rows of each part, by their index in `table`.
    pub parts: Parts,
    /// The way the rows were split.
    pub split: SplitKind,
    /// The columns.
    pub schema: Schema,
    /// The target.
    pub target: TargetSchema,
    /// Findings, in the order they were made.
    pub notes: Vec<Note>,
    /// Rows read, dropped and used.
    pub totals: Totals,
    /// How the file was read.
    pub source: SourceInfo,
    /// XXH3-128 of the files' bytes, in hexadecimal.
    pub hash: String,
    /// The table as it was read, to show rows in their own words.
    pub table: Table,
    plan: Plan,
    rows: Vec<usize>,
    /// The class of each used row; 0 for a regression.
    classes: Vec<i32>,
    config: DataConfig,
}

/// Parts that were encoded by transforms fitted on their own training rows.
#[derive(Clone, Debug)]
pub struct EncodedParts {
    /// The rows to learn.
    pub train: Encoded,
    /// The rows to choose on.
    pub valid: Encoded,
    /// The rows to judge on.
    pub test: Encoded,
    /// The transforms fitted on the training rows.
    pub transforms: Transforms,
    /// The rows of each part, by their index in the table.
    pub parts: Parts,
}

/// Reads, checks, splits and encodes the data of a recipe.
///
/// `seed` decides the split unless the recipe has a seed for it; a relative path starts at `base`.
/// Results do not depend on the number of threads.
///
/// # Errors
/// [`DataError`] for a file that cannot be read, a column or target that cannot be used, a split
/// that cannot be made.
pub fn prepare(
    config: &DataConfig,
    seed: u64,
    base: &Path,
    threads: &ThreadPool,
) -> Result<Prepared> {
    config.validate()?;
    let Some(name) = config.target.as_deref() else {
        return Err(DataError::config("data.target", "name the column to predict"));
    };
    let files = read::read(config, base, threads)?;
    // A header that was not seen is the likeliest reason for a column to be missed.
    let unseen = files.source.header == Some(false) && config.header.is_none();
    let header = files.source.notes.iter().find(|_| unseen).map(ToString::to_string);
    // New rows are read as these were: what was found out about the header is settled.
    let config = &DataConfig { header: config.header.or(files.source.header), ..config.clone() };
    prepare_files(config, name, seed, files, threads)
        .map_err(|error| error.with_note(header.as_deref().unwrap_or_default()))
}

/// The same for files that were read.
fn prepare_files(
    config: &DataConfig,
    name: &str,
    seed: u64,
    files: LoadedFiles,
    threads: &ThreadPool,
) -> Result<Prepared> {
    let LoadedFiles { mut table, mut source, borders } = files;
    check_left_out(config, &source)?;
    let mut notes = std::mem::take(&mut source.notes);
    let before = notes.len();
    let formats = number_format::read_columns(&mut table, config, source.delimiter, &mut notes);
    let read: HashMap<String, Note> =
        notes[before..].iter().filter_map(|n| Some((n.column.clone()?, n.clone()))).collect();
    let stratify = matches!(config.split.kind, SplitKind::Auto | SplitKind::Stratified)
        && borders.is_none()
        && config.split.valid + config.split.test > 0.0;
    let found = target::find(&table, name, config, stratify)?;
    let mut target = found.schema;
    notes.extend(found.note);
    let split = split_kind(config, target.task, borders.is_some())?;
    let (mut plan, mut schema) =
        plan::plan(&table, config, &target, found.reader, &source.left_out, threads, &mut notes)?;

    for column in schema.columns.iter_mut().filter(|column| formats.contains_key(&column.name)) {
        if let Some(note) = read.get(&column.name).filter(|_| column.role == Role::Feature) {
            column.reason.clone_from(&note.message);
            column.undo.clone_from(&note.undo);
        }
    }
    plan.number_formats = formats;
    let mut totals = Totals { read: table.rows(), ..Totals::default() };
    let mut rows: Vec<usize> = (0..table.rows()).collect();
    leave_out(&mut rows, &mut totals, "target missing", &found.missing);
    leave_out(&mut rows, &mut totals, "the only row of its class", &found.rare);
    if config.drop_duplicates {
        let repeated = checks::repeated(&table, &schema, &rows, threads);
        leave_out(&mut rows, &mut totals, "repeats an earlier row", &repeated);
    }
    let classes = plan.classes(&table, &rows, &mut target);
    let split_seed = config.split.seed.unwrap_or(seed);
    let parts = match &borders {
        Some(borders) => {
            let share = if borders.has_valid() { 0.0 } else { config.split.valid };
            let parts = borders.positions(&rows);
            split::with_validation(parts, &classes, share, split_seed).of(&rows)
        }
        None => split::split(&table, &rows, &classes, &config.split, split, split_seed)?,
    };
    totals.used = rows.len();
    (totals.train, totals.valid, totals.test) =
        (parts.train.len(), parts.valid.len(), parts.test.len());

    let EncodedParts { train, valid, test, transforms, parts } =
        plan.encode(&table, parts, threads)?;
    plan::describe(&mut schema, &transforms, config);
    notes.extend(checks::run(&checks::CheckedData {
        table: &table,
        schema: &schema,
        target: &target,
        parts: &parts,
        split,
        train: &train,
        threads,
    }));
    let hash = source.hash.clone();
    Ok(Prepared {
        train,
        valid,
        test,
        transforms,
        parts,
        split,
        schema,
        target,
        notes,
        totals,
        source,
        hash,
        table,
        plan,
        rows,
        classes,
        config: config.clone(),
    })
}

/// A column of a kind that is not read can be left out, and nothing else.
fn check_left_out(config: &DataConfig, source: &SourceInfo) -> Result<()> {
    let forced = |name: &String| {
        config.columns.get(name).is_some_and(|c| c.kind.is_none_or(crate::schema::Kind::is_used))
    };
    let single = [&config.target, &config.weight, &config.split.column];
    let wanted = |name: &String| single.into_iter().flatten().any(|n| n == name) || forced(name);
    match source.left_out.iter().find(|left| wanted(&left.name)) {
        None => Ok(()),
        Some(left) => Err(DataError::format(
            &source.path,
            format!("column `{}` holds {}, which are not read", left.name, left.holds),
            "Write it as one number or text a row.",
        )),
    }
}

fn split_kind(config: &DataConfig, task: Task, files: bool) -> Result<SplitKind> {
    Ok(match (config.split.kind, task) {
        _ if files => SplitKind::Given,
        (SplitKind::Auto, Task::Regression) => SplitKind::Random,
        (SplitKind::Auto, _) => SplitKind::Stratified,
        (SplitKind::Stratified, Task::Regression) => {
            return Err(DataError::config(
                "data.split.kind",
                "a stratified split needs classes; split a regression at random, by group or by time",
            ));
        }
        (kind, _) => kind,
    })
}

/// Takes rows out (both lists ascending) and counts them.
fn leave_out(rows: &mut Vec<usize>, totals: &mut Totals, reason: &str, out: &[usize]) {
    if out.is_empty() {
        return;
    }
    rows.retain(|row| out.binary_search(row).is_err());
    totals.dropped.push(Dropped { reason: reason.into(), rows: out.len() });
}

impl Prepared {
    /// The rows that are used, by their index in the table, ascending.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Folds of the used rows, as indices in the table, of the same kind as the split: groups stay
    /// whole; in time, each fold is judged on rows later than all that it learns; the rows of a
    /// given test part stay out. Others are stratified for classes, shuffled for a regression or a
    /// random split.
    ///
    /// # Errors
    /// [`DataError::Split`] for more folds than rows, groups or moments, or fewer than two.
    pub fn folds(&self, k: usize, seed: u64) -> Result<Vec<Fold>> {
        let rows = self.folded_rows();
        let folds = match (self.split, &self.config.split.column) {
            (SplitKind::Grouped, Some(column)) => {
                split::grouped_folds(&split::group_keys(&self.table, column, &rows)?, k, seed)?
            }
            (SplitKind::Time, Some(column)) => {
                split::forward_folds(&split::times(&self.table, column, &rows)?, k)?
            }
            (SplitKind::Random, _) => split::shuffled_folds(rows.len(), k, seed)?,
            _ => split::stratified_folds(&self.classes_of(&rows), k, seed)?,
        };
        let map = |part: Vec<usize>| part.into_iter().map(|i| rows[i]).collect();
        Ok(folds
            .into_iter()
            .map(|fold| Fold { train: map(fold.train), test: map(fold.test) })
            .collect())
    }

    /// Folds of some rows, as indices in the table in ascending order, for networks that each learn
    /// the others: groups stay whole, classes have the same share in each.
    ///
    /// # Errors
    /// [`DataError::Split`] for more folds than rows or groups, or a split by time: what comes
    /// later would be learned and what comes earlier predicted.
    pub fn bags(&self, rows: &[usize], k: usize, seed: u64) -> Result<Vec<Fold>> {
        let folds = match (self.split, &self.config.split.column) {
            (SplitKind::Time, _) => {
                return Err(DataError::Split {
                    message: "train.bags divides rows into folds, and rows split by time have none: a network would learn \
                              rows later than those that it is stopped on"
                        .into(),
                    hint: "Leave train.bags out; model.members averages without folds.".into(),
                });
            }
            (SplitKind::Grouped, Some(column)) => {
                split::grouped_folds(&split::group_keys(&self.table, column, rows)?, k, seed)
            }
            (SplitKind::Random, _) => split::shuffled_folds(rows.len(), k, seed),
            _ => split::stratified_folds(&self.classes_of(rows), k, seed),
        };
        let folds = folds.map_err(|error| match error {
            DataError::Split { message, .. } => DataError::Split {
                message: format!("train.bags = {k}: {message} to learn from"),
                hint: "Make train.bags smaller.".into(),
            },
            error => error,
        })?;
        let map = |part: Vec<usize>| part.into_iter().map(|i| rows[i]).collect();
        let folds = folds.into_iter();
        Ok(folds.map(|fold| Fold { train: map(fold.train), test: map(fold.test) }).collect())
    }

    /// Takes other parts of the same rows in place of those of the split.
    pub fn take_parts(&mut self, encoded: EncodedParts) {
        let EncodedParts { train, valid, test, transforms, parts } = encoded;
        (self.totals.train, self.totals.valid) = (train.rows, valid.rows);
        (self.train, self.valid, self.test) = (train, valid, test);
        (self.transforms, self.parts) = (transforms, parts);
    }

    /// How [`Prepared::folds`] divides the rows, in words.
    pub fn division(&self, k: usize) -> String {
        let column = self.config.split.column.as_deref().unwrap_or_default();
        match self.split {
            SplitKind::Grouped => format!("{k} folds, the rows of each `{column}` in one"),
            SplitKind::Time => format!(
                "{k} folds forward in time: each is judged on rows whose `{column}` is later than \
                 all that it learned"
            ),
            SplitKind::Given => {
                let out = self.rows.len() - self.folded_rows().len();
                format!("{k} folds without the {out} rows of the given test part")
            }
            _ => format!("{k} folds, each row held out once"),
        }
    }

    /// The rows that folds divide: all but those of a given test part.
    fn folded_rows(&self) -> Vec<usize> {
        let test: &[usize] = match self.split {
            SplitKind::Given => &self.parts.test,
            _ => &[],
        };
        self.rows.iter().copied().filter(|row| test.binary_search(row).is_err()).collect()
    }

    /// The classes of used rows; all 0 for a regression.
    pub fn classes_of(&self, rows: &[usize]) -> Vec<i32> {
        let place = |row: &usize| self.rows.binary_search(row).ok();
        rows.iter().map(|row| place(row).map_or(0, |at| self.classes[at])).collect()
    }

    /// Encodes a fold: a share of its training rows becomes the validation part (stratified for
    /// classes, whole groups where the split is grouped, the latest rows where it is by time), and
    /// transforms are fitted on the others.
    ///
    /// # Errors
    /// As [`Prepared::encode_parts`].
    pub fn encode_fold(
        &self,
        fold: &Fold,
        valid: f64,
        seed: u64,
        threads: &ThreadPool,
    ) -> Result<EncodedParts> {
        let inner = match (self.split, &self.config.split.column) {
            (SplitKind::Grouped, Some(column)) if valid > 0.0 => split::grouped(
                &split::group_keys(&self.table, column, &fold.train)?,
                valid,
                0.0,
                seed,
            )?,
            (SplitKind::Time, Some(column)) if valid > 0.0 => {
                split::by_time(&split::times(&self.table, column, &fold.train)?, valid, 0.0)?
            }
            (SplitKind::Random, _) => {
                split::stratified(&vec![0; fold.train.len()], valid, 0.0, seed)
            }
            _ => split::stratified(&self.classes_of(&fold.train), valid, 0.0, seed),
        };
        let inner = inner.of(&fold.train);
        let parts = Parts { train: inner.train, valid: inner.valid, test: fold.test.clone() };
        self.encode_parts(parts, threads)
    }

    /// Fits transforms on the training rows of any parts and encodes them all.
    ///
    /// # Errors
    /// [`DataError::TooManyCategories`], or [`DataError::Value`] for a cell that a forced kind
    /// cannot read.
    pub fn encode_parts(&self, parts: Parts, threads: &ThreadPool) -> Result<EncodedParts> {
        self.plan.encode(&self.table, parts, threads)
    }
}
