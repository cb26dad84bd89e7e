//! The treatment of each column: decided once, fitted to each set of training rows.

use std::collections::{BTreeMap, HashSet};

use ff_tensor::ThreadPool;

use crate::config::{ColumnOptions, DataConfig, Missing, Scaling, Task};
use crate::error::{DataError, Result};
use crate::note::Note;
use crate::number::format_number;
use crate::number_format::NumberFormat;
use crate::schema::{
    ColumnSchema, Inferred, Kind, Role, Schema, boolean_texts, infer, is_index, is_series,
    profiles, set_kind, set_option,
};
use crate::source::{LeftOut, SourceOptions};
use crate::split::Parts;
use crate::table::{Column, Table, Values};
use crate::target::{LabelReader, TargetSchema};
use crate::transforms::{
    BooleanEncoder, CategoryEncoder, CategoryFit, Coding, ColumnTransform, DateEncoder, Encoder,
    FORMAT, NumberEncoder, RawFit, TargetTransform, TextEncoder, Transforms, Unreadable,
};

use super::EncodedParts;

/// How to fit transforms to any training rows of a table.
#[derive(Debug)]
pub(super) struct Plan {
    features: Vec<Feature>,
    target: TargetSchema,
    reader: LabelReader,
    config: DataConfig,
    /// The formats of the texts that numbers were read from, by column.
    pub(super) number_formats: BTreeMap<String, NumberFormat>,
}

/// A column that is given to the model, and how its cells are read.
#[derive(Debug)]
struct Feature {
    name: String,
    options: ColumnOptions,
    reading: Reading,
}

#[derive(Debug)]
enum Reading {
    Number { odd: Vec<String> },
    Boolean { no: String, yes: String },
    Category { numeric: bool },
    Date { format: String, odd: Vec<String> },
    Text,
}

/// Decides what each column is and what becomes of it.
pub(super) fn plan(
    table: &Table,
    config: &DataConfig,
    target: &TargetSchema,
    reader: LabelReader,
    left_out: &[LeftOut],
    threads: &ThreadPool,
    notes: &mut Vec<Note>,
) -> Result<(Plan, Schema)> {
    check_names(table, config, left_out)?;
    let names = table.names();
    let hints = is_series(&names).into_iter().zip(is_index(&names));
    let dropped: HashSet<&String> = config.drop.iter().collect();
    let mut schema = Schema::default();
    let mut features = Vec::new();
    let stats = profiles(table.columns(), threads);
    for ((column, hints), stats) in table.columns().iter().zip(hints).zip(stats) {
        let options: ColumnOptions =
            config.columns.get(&column.name).map_or_else(ColumnOptions::default, |c| (**c).clone());
        let inferred = infer(column, &stats, hints, config.categories.max);
        let (role, kind, reason, undo) =
            decide(column, config, &dropped, target, &options, &inferred);
        if role == Role::Feature {
            let reading = reading(column, kind, &options, &inferred);
            if options.kind.is_some() {
                check_readable(table, column, &reading)?;
            }
            note_reading(column, table, kind, &inferred, notes);
            features.push(Feature { name: column.name.clone(), options, reading });
        }
        let name = column.name.clone();
        schema.columns.push(ColumnSchema {
            name,
            kind,
            role,
            reason,
            usage: String::new(),
            undo,
            stats,
        });
    }
    if features.is_empty() {
        let left_out: Vec<_> = schema
            .columns
            .iter()
            .filter(|column| column.role == Role::Dropped)
            .map(|column| format!("`{}` ({})", column.name, column.reason))
            .collect();
        let left_out = if left_out.is_empty() { "none".into() } else { left_out.join(", ") };
        return Err(DataError::config(
            "data.columns",
            format!("no column is left to learn from; left out: {left_out}"),
        ));
    }
    let plan = Plan {
        features,
        target: target.clone(),
        reader,
        config: config.clone(),
        number_formats: BTreeMap::new(),
    };
    Ok((plan, schema))
}

/// Every column that the recipe names has to be there, read or left out.
fn check_names(table: &Table, config: &DataConfig, left_out: &[LeftOut]) -> Result<()> {
    let named = config
        .columns
        .keys()
        .map(|name| (name, "data.columns"))
        .chain(config.drop.iter().map(|name| (name, "data.drop")))
        .chain(config.weight.iter().map(|name| (name, "data.weight")))
        .chain(config.split.column.iter().map(|name| (name, "data.split.column")));
    for (name, role) in named {
        if table.column(name).is_none() && left_out.iter().all(|left| left.name != *name) {
            return Err(DataError::NoColumn {
                place: table.source_name(),
                column: name.clone(),
                role: role.into(),
                available: table.names(),
                note: String::new(),
            });
        }
    }
    Ok(())
}

/// The role and kind of a column, why, and how to undo it.
fn decide(
    column: &Column,
    config: &DataConfig,
    dropped: &HashSet<&String>,
    target: &TargetSchema,
    options: &ColumnOptions,
    inferred: &Inferred,
) -> (Role, Kind, String, Option<String>) {
    let name = &column.name;
    if *name == target.column {
        let kind = if target.task == Task::Regression { Kind::Number } else { Kind::Category };
        return (Role::Target, kind, target.reason.clone(), target.undo.clone());
    }
    if config.weight.as_ref() == Some(name) {
        return (Role::Weight, Kind::Number, "the sample weights".into(), None);
    }
    if dropped.contains(name) {
        return (Role::Dropped, Kind::Drop, "as the recipe says".into(), None);
    }
    if let Some(kind) = options.kind {
        let role = if kind.is_used() { Role::Feature } else { Role::Dropped };
        return (role, kind, "as the recipe says".into(), None);
    }
    let Inferred { kind, reason, other, .. } = inferred;
    if config.split.column.as_ref() == Some(name) {
        let wanted = if kind.is_used() { kind.to_string() } else { (*other).to_owned() };
        let undo = set_kind(name, &wanted);
        return (Role::Split, *kind, "the rows are split by it".into(), Some(undo));
    }
    let role = if kind.is_used() { Role::Feature } else { Role::Dropped };
    // A plain quantity needs no way out; integers and texts may well be meant otherwise.
    let plain = *kind == Kind::Number && reason == "numbers";
    (role, *kind, reason.clone(), (!plain).then(|| set_kind(name, other)))
}

fn reading(column: &Column, kind: Kind, options: &ColumnOptions, inferred: &Inferred) -> Reading {
    let texts = match &column.values {
        Values::Text(texts) => Some(texts),
        _ => None,
    };
    let odd = inferred.odd.as_ref().filter(|_| options.kind.is_none());
    let odd = odd.map(|(odd, _)| odd.clone()).unwrap_or_default();
    match kind {
        Kind::Boolean => {
            let (no, yes) = texts.and_then(boolean_texts).unwrap_or(match column.values {
                Values::Number(_) | Values::Integer(_) => ("0", "1"),
                _ => ("false", "true"),
            });
            Reading::Boolean { no: no.into(), yes: yes.into() }
        }
        Kind::Category => Reading::Category {
            numeric: !matches!(column.values, Values::Text(_) | Values::Bool(_) | Values::Date(_)),
        },
        Kind::Text => Reading::Text,
        Kind::Date => {
            let found = || {
                let texts = texts?;
                let labels = (0..texts.len()).filter_map(|row| texts.get(row));
                crate::date::infer_format(&labels).map(|found| found.format)
            };
            let format = inferred.format.or_else(found).unwrap_or(crate::date::ISO);
            Reading::Date { format: options.format.clone().unwrap_or_else(|| format.into()), odd }
        }
        _ => Reading::Number { odd },
    }
}

/// A kind that the recipe forces has to fit every cell.
fn check_readable(table: &Table, column: &Column, reading: &Reading) -> Result<()> {
    let rows: Vec<usize> = (0..table.rows()).collect();
    let mut unreadable = None;
    let expected = match reading {
        Reading::Number { odd } => {
            NumberEncoder::fit(&column.values, &rows, RawFit::plain(odd.clone()), &mut unreadable);
            "a number".into()
        }
        Reading::Boolean { no, yes } => {
            BooleanEncoder::fit(&column.values, &rows, (no, yes), false, &mut unreadable);
            format!("`{no}` or `{yes}`")
        }
        Reading::Date { format, odd } => {
            DateEncoder::fit(&column.values, &rows, format, odd, false, &mut unreadable);
            format!("a date ({format})")
        }
        Reading::Category { .. } | Reading::Text => return Ok(()),
    };
    let Some(Unreadable { row, text, count }) = unreadable else { return Ok(()) };
    Err(DataError::Value {
        place: table.place(row),
        column: column.name.clone(),
        expected,
        found: text,
        hint: format!(
            "{}Correct it, name it in data.null_values, or choose another kind (--set {}).",
            if count > 1 { format!("{count} rows are like it. ") } else { String::new() },
            set_kind(&column.name, "category")
        ),
    })
}

fn note_reading(
    column: &Column,
    table: &Table,
    kind: Kind,
    inferred: &Inferred,
    notes: &mut Vec<Note>,
) {
    if kind != inferred.kind {
        return;
    }
    if let Some((_, row)) = &inferred.odd {
        let (word, line) = (table.line_word(), table.line(*row));
        notes.push(
            Note::warn(format!("{} (first in {word} {line})", inferred.reason))
                .column(&column.name)
                .undo(set_kind(&column.name, inferred.other)),
        );
    }
    let Some(format) = inferred.format else { return };
    if let Some(other) = inferred.other_format {
        let order = match () {
            () if format.starts_with("%m") => "the month is taken to come first",
            () if format.starts_with("%d") => "the day is taken to come first",
            () => "the year is taken to come first",
        };
        notes.push(
            Note::warn(format!("{order}; no day or year tells ({format})"))
                .column(&column.name)
                .undo(set_option(&column.name, "format", other)),
        );
    }
    if format.contains("%y") {
        let message =
            "years of two digits: 69 to 99 are read as 1969 to 1999, 00 to 68 as 2000 to 2068";
        notes.push(Note::info(message).column(&column.name));
    }
}

impl Plan {
    /// The class of each row, and the rows of each class; all 0 for a regression.
    pub(super) fn classes(
        &self,
        table: &Table,
        rows: &[usize],
        target: &mut TargetSchema,
    ) -> Vec<i32> {
        let Some(column) = table.column(&target.column).filter(|_| target.task.is_classification())
        else {
            return vec![0; rows.len()];
        };
        let index: std::collections::HashMap<&str, i32> = self
            .target
            .classes
            .iter()
            .enumerate()
            .map(|(i, class)| (class.as_str(), i as i32))
            .collect();
        target.counts.fill(0);
        let mut classes = Vec::with_capacity(rows.len());
        let class =
            |label: Option<&str>| index.get(label.unwrap_or_default()).copied().unwrap_or(0);
        self.reader.for_labels(&column.values, rows.iter().copied(), class, |_, class| {
            target.counts[class as usize] += 1;
            classes.push(class);
        });
        classes
    }

    /// Fits to the training rows and encodes every part.
    pub(super) fn encode(
        &self,
        table: &Table,
        parts: Parts,
        threads: &ThreadPool,
    ) -> Result<EncodedParts> {
        let transforms = self.fit(table, &parts.train, threads)?;
        let encode = |rows: &[usize]| transforms.encode_rows(table, rows, true, threads);
        let (train, valid, test) =
            (encode(&parts.train)?, encode(&parts.valid)?, encode(&parts.test)?);
        Ok(EncodedParts { train, valid, test, transforms, parts })
    }

    fn fit(&self, table: &Table, rows: &[usize], threads: &ThreadPool) -> Result<Transforms> {
        let there = self.features.iter().filter_map(|f| Some((f, table.column(&f.name)?)));
        // A column of texts takes all threads for itself.
        let fitted = threads.map(there.clone(), |(feature, column)| match feature.reading {
            Reading::Text => Ok(None),
            _ => self.fit_column(&column.values, rows, feature).map(Some),
        });
        let fit = |((feature, column), encoder): ((&Feature, &Column), Result<Option<Encoder>>)| {
            let name = feature.name.clone();
            let encoder = match encoder? {
                Some(encoder) => encoder,
                None => self.fit_text(&name, &column.values, rows, threads)?,
            };
            Ok(ColumnTransform { name, encoder })
        };
        let columns = there.zip(fitted).map(fit).collect::<Result<_>>()?;
        Ok(Transforms {
            format: FORMAT,
            columns,
            target: TargetTransform::fit(&self.target, &self.reader, table, rows, &self.config),
            weight: self.config.weight.clone(),
            null_values: self.config.null_values.clone(),
            number_formats: self.number_formats.clone(),
            reading: SourceOptions::remembered(&self.config),
        })
    }

    fn fit_column(&self, values: &Values, rows: &[usize], feature: &Feature) -> Result<Encoder> {
        let (config, options) = (&self.config, &feature.options);
        let flag = config.missing_flag;
        // Cells were checked when the kind was decided, so that nothing is unreadable here.
        let mut unreadable = None;
        Ok(match &feature.reading {
            Reading::Number { odd } => {
                let settings = RawFit {
                    missing: options.missing.unwrap_or(config.missing),
                    fill: options.fill.unwrap_or(0.0),
                    flag,
                    log: options.log,
                    scaling: options.scaling.unwrap_or(config.scaling),
                    clip: config.clip,
                    missing_texts: odd.clone(),
                };
                Encoder::Number(NumberEncoder::fit(values, rows, settings, &mut unreadable))
            }
            Reading::Boolean { no, yes } => Encoder::Boolean(BooleanEncoder::fit(
                values,
                rows,
                (no, yes),
                flag,
                &mut unreadable,
            )),
            Reading::Category { numeric } => {
                let categories = &config.categories;
                let settings = CategoryFit {
                    one_hot_max: options.one_hot_max.unwrap_or(categories.one_hot_max),
                    min_frequency: options.min_frequency.unwrap_or(categories.min_frequency),
                    max: categories.max,
                    scaling: categories.scaled.then_some(config.scaling),
                };
                let name = &feature.name;
                Encoder::Category(CategoryEncoder::fit(name, values, rows, *numeric, &settings)?)
            }
            Reading::Date { format, odd } => {
                Encoder::Date(DateEncoder::fit(values, rows, format, odd, flag, &mut unreadable))
            }
            Reading::Text => Encoder::Text(TextEncoder::default()),
        })
    }

    fn fit_text(
        &self,
        name: &str,
        values: &Values,
        rows: &[usize],
        threads: &ThreadPool,
    ) -> Result<Encoder> {
        let config = &self.config.text;
        let fitted = TextEncoder::fit(values, rows, config, threads).map(Encoder::Text);
        fitted.ok_or_else(|| {
            let key = set_option(name, "kind", "");
            DataError::config(
                key.trim_end_matches('='),
                format!(
                    "`{name}` has no word or sequence of characters that {} of its {} training rows \
                     share; leave it out (--set {}) or set data.text.min_frequency=1",
                    config.min_frequency,
                    rows.len(),
                    set_kind(name, "drop"),
                ),
            )
        })
    }
}

/// Says in a few words what becomes of each column.
pub(super) fn describe(schema: &mut Schema, transforms: &Transforms, config: &DataConfig) {
    // Both are in the order of the file.
    let mut encoders = transforms.columns.iter().peekable();
    for column in &mut schema.columns {
        let encoder = encoders.next_if(|c| c.name == column.name).map(|c| &c.encoder);
        let options = config.columns.get(&column.name);
        let scaling = options.and_then(|options| options.scaling).unwrap_or(config.scaling);
        let missing = options.and_then(|options| options.missing).unwrap_or(config.missing);
        let gaps = (column.stats.missing > 0).then_some(missing);
        column.usage = match (column.role, encoder) {
            (Role::Feature, Some(encoder)) => usage(encoder, scaling, gaps),
            (Role::Target, _) => "target".into(),
            (Role::Weight, _) => "sample weight".into(),
            (Role::Split, _) => "splits the rows".into(),
            _ => "dropped".into(),
        };
    }
}

fn usage(encoder: &Encoder, scaling: Scaling, gaps: Option<Missing>) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut flagged = false;
    match encoder {
        Encoder::Number(e) => {
            flagged = e.flag;
            if e.log {
                words.push("log".into());
            }
            words.push(match scaling {
                Scaling::Standard => "standardised".into(),
                Scaling::Minmax => "scaled to 0 to 1".into(),
                Scaling::Robust => "scaled by the quartiles".into(),
                Scaling::RobustSmooth => "scaled by the quartiles, to -3 to 3".into(),
                Scaling::QuantileNormal => "normal quantiles".into(),
                Scaling::QuantileUniform => "quantiles".into(),
                Scaling::None => "as it is".into(),
            });
            if let Some(missing) = gaps {
                words.push(match missing {
                    Missing::Median => "median".into(),
                    Missing::Mean => "mean".into(),
                    Missing::Constant => format!("gaps {}", format_number(e.fill)),
                });
            }
        }
        Encoder::Boolean(e) => {
            flagged = e.flag;
            words.push(format!("{} 0, {} 1", e.no, e.yes));
        }
        Encoder::Category(e) => {
            words.push(match e.coding {
                Coding::OneHot => format!("{} 0/1 columns", encoder.numeric_width()),
                Coding::Embedding => format!("embedding of {} ids", e.cardinality()),
            });
            if e.rare {
                words.push("rare ones merged".into());
            }
        }
        Encoder::Date(e) => {
            flagged = e.flag;
            let parts: Vec<_> = e.parts.iter().map(|(part, _)| part.as_str()).collect();
            words.push(parts.join(", "));
        }
        Encoder::Text(e) => {
            let (words_of, characters) = (e.words.len(), e.characters.len());
            words.push(format!("{words_of} n-grams of words, {characters} of characters"));
        }
    }
    if flagged {
        words.push("missing flag".into());
    }
    words.join(", ")
}
