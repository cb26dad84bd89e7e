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

use super::model::TableModel;
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
    let file = snapshot.recipe.data.path.file_name();
    let file = file.map_or_else(|| "data".into(), |name| name.to_string_lossy());
    let target = &snapshot.prepared.target;
    let parameters = words::count(snapshot.run.sizes.parameters);
    let model = trained.as_ref().map(|(model, _)| model.file());
    let mut data = ReportData {
        title: format!("{file} · {}", target.column),
        subtitle: format!(
            "{} · {} · {parameters} parameters",
            target.task, snapshot.run.work.layers
        ),
        status: Some(status(snapshot)),
        decisions: decisions::gather(snapshot, model),
        data: Some(columns::gather(snapshot)),
        split: Some(split::gather(snapshot)),
        curves: curves::gather(snapshot),
        model: Some(network::layers(snapshot)),
        commands: commands::gather(snapshot),
        environment: commands::environment(snapshot),
        ..ReportData::default()
    };
    if let Some((model, reports)) = trained {
        evaluate(snapshot, model, reports, &mut data);
        data.timings = vec![snapshot.run.explaining()];
    }
    data
}

/// What only a finished run has.
fn evaluate(
    snapshot: &Snapshot<'_>,
    model: &mut TableModel,
    reports: &PartReports,
    data: &mut ReportData,
) {
    let (prepared, recipe) = (snapshot.prepared, snapshot.recipe);
    let Some((name, report)) = reports.headline() else { return };
    let part = Part::of(prepared, reports, name);
    let mut verdict = verdict::gather(prepared, part, report, reports.baseline());
    let Some(predictions) = &reports.predictions else {
        data.verdict = Some(verdict);
        return;
    };
    let explained = match explain::gather(model, recipe, prepared, Part::of_split(prepared, name)) {
        Ok(explained) => explained,
        // A trained and evaluated model is not lost because it cannot be explained.
        Err(error) => {
            verdict.caveats.push(format!("Its columns could not be weighed: {error}."));
            explain::Explained::default()
        }
    };
    match report {
        Report::Classification(report) => {
            data.classification =
                Some(evaluation::classification(report, part, model, reports, prepared, recipe));
        }
        Report::Regression(report) => {
            data.regression =
                Some(evaluation::regression(report, part, predictions, prepared, &explained));
        }
    }
    data.texts = texts::gather(model, predictions, part, prepared);
    data.mistakes = Some(mistakes::gather(part, predictions, model.file(), prepared, &explained));
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
        let patience = words::plural(train.patience, "epoch");
        let message = format!("no gain for {patience}; {kept} of {}", progress.epoch);
        return Status { kind: StatusKind::Stopped, message };
    }
    let steps = words::plural(progress.step as usize, "step");
    let done = format!("{} and {steps}", words::plural(progress.epoch, "epoch"));
    snapshot.run.status(&done, &kept)
}
