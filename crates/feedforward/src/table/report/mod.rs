//! The report of a table's run: what the pipeline knows, gathered as plain data.

mod columns;
mod commands;
mod coverage;
mod curves;
mod decisions;
mod evaluation;
mod explain;
mod mistakes;
mod network;
mod segments;
mod snapshot;
mod split;
mod texts;
mod verdict;

use super::model::{ModelFile, TableModel};
use super::scores::{PartReports, Report};
use crate::run::snapshot::State;
use crate::words;
use ff_report::{ReportData, Status, StatusKind};
use ff_train::Stop;
use snapshot::Part;

pub(crate) use snapshot::Snapshot;

/// Gathers all that is known so far; `trained` once training and evaluation are over.
pub(crate) fn gather(
    snapshot: &Snapshot<'_>,
    trained: Option<(&mut TableModel, &PartReports)>,
) -> ReportData {
    let model = trained.as_ref().map(|(model, _)| model.file());
    let decisions = decisions::gather(snapshot, model);
    let mut data = frame(snapshot, decisions, network::layers(snapshot));
    if let Some((model, reports)) = trained {
        evaluate(snapshot, model, reports, &mut data);
        data.timings = vec![snapshot.run.explaining()];
    }
    data
}

/// The same for a network that reads the rows in a way of its own, whose layers are given.
#[cfg_attr(not(feature = "language"), expect(dead_code, reason = "tables describe their own"))]
pub(crate) fn gather_with(
    snapshot: &Snapshot<'_>,
    layers: ff_report::Model,
    reports: Option<&PartReports>,
) -> ReportData {
    let mut data = frame(snapshot, decisions::of_rows(snapshot, reports.is_some()), layers);
    if let Some(reports) = reports {
        let Some((part, report)) = headline(snapshot, reports) else { return data };
        let verdict = verdict::gather(snapshot.prepared, part, report, reports.baseline());
        data.verdict = Some(verdict);
        judged(snapshot, snapshot.file, reports, &explain::Explained::default(), &mut data);
        if let Some(predictions) = &reports.predictions {
            data.texts = texts::gather(None, predictions, part, snapshot.prepared);
        }
    }
    data
}

/// What any network has.
fn frame(
    snapshot: &Snapshot<'_>,
    decisions: Vec<ff_report::Decision>,
    model: ff_report::Model,
) -> ReportData {
    let file = snapshot.recipe.data.path.file_name();
    let file = file.map_or_else(|| "data".into(), |name| name.to_string_lossy());
    let target = &snapshot.prepared.target;
    let parameters = words::count(snapshot.run.sizes.parameters);
    ReportData {
        title: format!("{file} · {}", target.column),
        subtitle: format!(
            "{} · {} · {parameters} parameters",
            target.task, snapshot.run.work.layers
        ),
        status: Some(status(snapshot)),
        decisions,
        data: Some(columns::gather(snapshot)),
        split: Some(split::gather(snapshot)),
        curves: curves::gather(snapshot),
        model: Some(model),
        commands: commands::gather(snapshot),
        environment: commands::environment(snapshot),
        ..ReportData::default()
    }
}

/// The part with the main scores, and its report.
fn headline<'a>(
    snapshot: &'a Snapshot<'_>,
    reports: &'a PartReports,
) -> Option<(Part<'a>, &'a Report)> {
    let (name, report) = reports.headline()?;
    Some((Part::of(snapshot.prepared, reports, name), report))
}

/// The main scores in detail, and the worst mistakes.
fn judged(
    snapshot: &Snapshot<'_>,
    file: &ModelFile,
    reports: &PartReports,
    explained: &explain::Explained,
    data: &mut ReportData,
) {
    let (prepared, recipe) = (snapshot.prepared, snapshot.recipe);
    let Some(predictions) = &reports.predictions else { return };
    let Some((part, report)) = headline(snapshot, reports) else { return };
    match report {
        Report::Classification(report) => {
            data.classification =
                Some(evaluation::classification(report, part, file, reports, prepared, recipe));
        }
        Report::Regression(report) => {
            data.regression =
                Some(evaluation::regression(report, part, predictions, prepared, explained));
        }
    }
    data.mistakes = Some(mistakes::gather(part, predictions, file, prepared, explained));
}

/// What only a finished run has.
fn evaluate(
    snapshot: &Snapshot<'_>,
    model: &mut TableModel,
    reports: &PartReports,
    data: &mut ReportData,
) {
    let (prepared, recipe) = (snapshot.prepared, snapshot.recipe);
    let Some((part, report)) = headline(snapshot, reports) else { return };
    let mut verdict = verdict::gather(prepared, part, report, reports.baseline());
    let Some(predictions) = &reports.predictions else {
        data.verdict = Some(verdict);
        return;
    };
    let of_split = Part::of_split(prepared, part.name);
    let explained = match explain::gather(model, recipe, prepared, of_split) {
        Ok(explained) => explained,
        // A trained and evaluated model is not lost because it cannot be explained.
        Err(error) => {
            verdict.caveats.push(format!("Its columns could not be weighed: {error}."));
            explain::Explained::default()
        }
    };
    judged(snapshot, model.file(), reports, &explained, data);
    data.texts = texts::gather(Some(model), predictions, part, prepared);
    data.coverage = coverage::gather(model, reports, prepared);
    data.importance = explained.importance;
    data.dependence = explained.dependence;
    data.decisions.extend(explained.decision);
    data.verdict = Some(verdict);
}

fn status(snapshot: &Snapshot<'_>) -> Status {
    let (progress, train) = (snapshot.run.progress, &snapshot.recipe.train);
    let kept = match progress.best {
        Some(best) if train.restore_best => format!("kept epoch {}", best.epoch),
        _ => "kept the last weights".into(),
    };
    if let State::Finished(Stop::Early) = snapshot.run.state {
        let patience = progress.best.map_or(train.patience, |b| train.patience_after(b.epoch));
        let patience = words::plural(patience, "epoch");
        let message = format!("no gain for {patience}; {kept} of {}", progress.epoch);
        return Status { kind: StatusKind::Stopped, message };
    }
    let steps = words::plural(progress.step as usize, "step");
    let done = format!("{} and {steps}", words::plural(progress.epoch, "epoch"));
    snapshot.run.status(&done, &kept)
}
