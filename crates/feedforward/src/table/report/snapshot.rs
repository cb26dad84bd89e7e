//! What the sections of a table's report are gathered from.

use crate::run::snapshot;
use crate::table::model::ModelFile;
use crate::table::recipe::Recipe;
use crate::table::scores::PartReports;
use ff_table::{Encoded, Prepared};

/// A table's run at one moment.
pub(crate) struct Snapshot<'a> {
    pub(crate) run: &'a snapshot::Snapshot<'a>,
    pub(crate) recipe: &'a Recipe,
    pub(crate) prepared: &'a Prepared,
    /// The network before training.
    pub(crate) file: &'a ModelFile,
    /// The name of the loss.
    pub(crate) loss: &'a str,
    /// A setting that gives another network.
    pub(crate) other: &'a str,
}

/// The rows that the main scores come from.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) name: &'static str,
    pub(super) data: &'a Encoded,
    /// Their indices in the table.
    pub(super) rows: &'a [usize],
}

impl<'a> Part<'a> {
    /// The rows behind the reports of a part.
    pub(super) fn of(prepared: &'a Prepared, reports: &'a PartReports, name: &'static str) -> Self {
        match &reports.out_of_fold {
            Some((data, rows)) if name != "test" => Self { name, data, rows },
            _ => Self::of_split(prepared, name),
        }
    }

    /// The rows of a part of the split; of several networks, of the first one's.
    pub(super) fn of_split(prepared: &'a Prepared, name: &'static str) -> Self {
        let (data, rows) = match name {
            "test" => (&prepared.test, &prepared.parts.test),
            _ => (&prepared.valid, &prepared.parts.valid),
        };
        Self { name, data, rows }
    }
}
