//! What the program inferred, chose, dropped or changed, why, and the option that decides
//! otherwise.

use super::snapshot::Snapshot;
use crate::table::model::ModelFile;
use crate::words::{count, list, plural, set};
use ff_report::{Decision, DecisionKind};
use ff_table::{ColumnSchema, Kind, Role};

mod encoding;
mod training;

use encoding::{encoding, gaps};
use training::{device, division, temperature, threshold, training};

/// Columns that are named in one line.
const NAMED: usize = 6;

/// `trained` is the model once training and evaluation are over.
pub(super) fn gather(snapshot: &Snapshot<'_>, trained: Option<&ModelFile>) -> Vec<Decision> {
    let mut all = Vec::new();
    task(snapshot, &mut all);
    source(snapshot, &mut all);
    columns(snapshot, &mut all);
    rows(snapshot, &mut all);
    gaps(snapshot, &mut all);
    encoding(snapshot, &mut all);
    division(snapshot, &mut all);
    training(snapshot, &mut all);
    if let Some(file) = trained {
        temperature(file, &mut all);
        threshold(file, &mut all);
    }
    device(snapshot, &mut all);
    all
}

/// The same for a network that reads the rows in a way of its own.
pub(super) fn of_rows(snapshot: &Snapshot<'_>, trained: bool) -> Vec<Decision> {
    let mut all = Vec::new();
    task(snapshot, &mut all);
    source(snapshot, &mut all);
    columns(snapshot, &mut all);
    rows(snapshot, &mut all);
    division(snapshot, &mut all);
    training(snapshot, &mut all);
    if trained {
        threshold(snapshot.file, &mut all);
    }
    device(snapshot, &mut all);
    all
}

fn decision(
    kind: DecisionKind,
    what: impl Into<String>,
    why: impl Into<String>,
    undo: impl Into<String>,
) -> Decision {
    Decision { kind, what: what.into(), why: why.into(), undo: undo.into() }
}

fn task(snapshot: &Snapshot<'_>, all: &mut Vec<Decision>) {
    let target = &snapshot.prepared.target;
    let undo = target.undo.as_deref().map_or_else(String::new, set);
    all.push(decision(
        DecisionKind::Inferred,
        format!("{} is learned as {}", target.column, target.task),
        &target.reason,
        undo,
    ));
    if let (Some(positive), [first, second]) = (target.positive, target.classes.as_slice()) {
        let (this, other) = if positive == 1 { (second, first) } else { (first, second) };
        let why = match &snapshot.recipe.data.positive {
            Some(_) => "as the recipe says; precision, recall and F1 are this class's",
            None => "the second in order; precision, recall and F1 are this class's",
        };
        let undo = set(&format!("data.positive={}", toml_text(other)));
        all.push(decision(
            DecisionKind::Chosen,
            format!("the positive class is {this}"),
            why,
            undo,
        ));
    }
}

fn source(snapshot: &Snapshot<'_>, all: &mut Vec<Decision>) {
    let (recipe, source) = (&snapshot.recipe.data, &snapshot.prepared.source);
    if recipe.delimiter.is_none() && recipe.header.is_none() && source.header.is_some() {
        let undo = format!("--set data.header={}", source.header != Some(true));
        all.push(decision(
            DecisionKind::Inferred,
            format!("the file is read as CSV: {}", source.describe()),
            "from its first lines",
            undo,
        ));
    }
}

/// Columns with one fate share a line.
fn columns(snapshot: &Snapshot<'_>, all: &mut Vec<Decision>) {
    let mut groups: Vec<Vec<&ColumnSchema>> = Vec::new();
    let fate = |c: &ColumnSchema| (c.role, c.kind, reason(c).to_owned(), c.usage.clone());
    for column in &snapshot.prepared.schema.columns {
        if column.role == Role::Target {
            continue;
        }
        match groups.iter_mut().find(|group| fate(group[0]) == fate(column)) {
            Some(group) => group.push(column),
            None => groups.push(vec![column]),
        }
    }
    for group in groups {
        let first = group[0];
        let names: Vec<&str> = group.iter().map(|c| c.name.as_str()).collect();
        let (kind, what) = match (first.role, group.len()) {
            (Role::Dropped, 1) => (DecisionKind::Dropped, format!("{} is left out", names[0])),
            (Role::Dropped, n) => (
                DecisionKind::Dropped,
                format!("{} columns are left out: {}", count(n), list(&names, NAMED)),
            ),
            (_, 1) => (DecisionKind::Inferred, format!("{} is read as {}", names[0], first.kind)),
            (_, n) => (
                DecisionKind::Inferred,
                format!(
                    "{} columns are read as {}: {}",
                    count(n),
                    plural_kind(first.kind),
                    list(&names, NAMED)
                ),
            ),
        };
        let named = match first.kind {
            Kind::Drop => String::new(),
            kind if first.role == Role::Dropped => format!("{kind}: "),
            _ => String::new(),
        };
        let fate = if first.role == Role::Dropped || first.usage.is_empty() {
            String::new()
        } else {
            format!(" → {}", first.usage)
        };
        let plain = || (first.kind == Kind::Number).then(|| kind_of(first, "category"));
        let undo = first.undo.clone().or_else(plain);
        all.push(decision(
            kind,
            what,
            // Many columns of integers differ in how many integers they hold; that is told in the
            // table.
            format!("{named}{}{fate}", if group.len() > 1 { reason(first) } else { &first.reason }),
            undo.as_deref().map_or_else(String::new, set),
        ));
    }
}

fn plural_kind(kind: Kind) -> String {
    match kind {
        Kind::Category => "categories".into(),
        Kind::Boolean => "truth values".into(),
        other => format!("{other}s"),
    }
}

/// Why a column was read so, without figures of its own.
fn reason(column: &ColumnSchema) -> &str {
    let integers = column.kind == Kind::Number && column.reason.contains("integers");
    if integers { "integers" } else { &column.reason }
}

fn kind_of(column: &ColumnSchema, kind: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !column.name.is_empty() && column.name.chars().all(bare) {
        format!("data.columns.{}={kind}", column.name)
    } else {
        format!("data.columns.{}={kind}", toml_text(&column.name))
    }
}

/// A text as TOML writes it.
fn toml_text(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

fn rows(snapshot: &Snapshot<'_>, all: &mut Vec<Decision>) {
    for dropped in &snapshot.prepared.totals.dropped {
        let undo = match dropped.reason.as_str() {
            "target missing" => "data.missing_target=error",
            "the only row of its class" => "data.rare_classes=error",
            "repeats an earlier row" => "data.drop_duplicates=false",
            _ => "",
        };
        all.push(decision(
            DecisionKind::Dropped,
            plural(dropped.rows, "row"),
            &dropped.reason,
            if undo.is_empty() { String::new() } else { set(undo) },
        ));
    }
}
