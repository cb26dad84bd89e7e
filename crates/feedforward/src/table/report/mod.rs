//! The report of a table's run: what the pipeline knows, gathered as plain data.

mod columns;
mod commands;
mod curves;
mod decisions;
mod evaluation;
mod explain;
mod facts;
mod mistakes;
mod network;
mod segments;
mod split;
mod texts;
mod verdict;

use super::model::TableModel;
use super::scores::{PartReports, Report};
use crate::run::facts::State;
use crate::words;
use facts::Part;
use ff_report::{ReportData, Status, StatusKind};
use ff_train::Stop;

pub(crate) use facts::Facts;

/// Gathers all that is known so far; `trained` once training and evaluation are over.
pub(crate) fn gather(
    facts: &Facts<'_>,
    trained: Option<(&mut TableModel, &PartReports)>,
) -> ReportData {
    let file = facts.recipe.data.path.file_name();
    let file = file.map_or_else(|| "data".into(), |name| name.to_string_lossy());
    let target = &facts.prepared.target;
    let parameters = words::count(facts.run.sizes.parameters);
    let model = trained.as_ref().map(|(model, _)| model.file());
    let mut data = ReportData {
        title: format!("{file} · {}", target.column),
        subtitle: format!("{} · {} · {parameters} parameters", target.task, facts.run.work.layers),
        status: Some(status(facts)),
        decisions: decisions::gather(facts, model),
        data: Some(columns::gather(facts)),
        split: Some(split::gather(facts)),
        curves: curves::gather(facts),
        model: Some(network::layers(facts)),
        commands: commands::gather(facts),
        environment: commands::environment(facts),
        ..ReportData::default()
    };
    if let Some((model, reports)) = trained {
        evaluate(facts, model, reports, &mut data);
        data.timings = vec![facts.run.explaining()];
    }
    data
}

/// What only a finished run has.
fn evaluate(
    facts: &Facts<'_>,
    model: &mut TableModel,
    reports: &PartReports,
    data: &mut ReportData,
) {
    let (prepared, recipe) = (facts.prepared, facts.recipe);
    let Some((name, report)) = reports.headline() else { return };
    let part = Part::of(prepared, name);
    let mut verdict = verdict::gather(prepared, part, report, reports.baseline());
    let Some(predictions) = &reports.predictions else {
        data.verdict = Some(verdict);
        return;
    };
    let explained = match explain::gather(model, recipe, prepared, part) {
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
    data.importance = explained.importance;
    data.dependence = explained.dependence;
    data.decisions.extend(explained.decision);
    data.verdict = Some(verdict);
}

fn status(facts: &Facts<'_>) -> Status {
    let (progress, train) = (facts.run.progress, &facts.recipe.train);
    let kept = match progress.best {
        Some(best) if train.restore_best => format!("kept epoch {}", best.epoch),
        _ => "kept the last weights".into(),
    };
    if let State::Finished(Stop::Early) = facts.run.state {
        let patience = words::plural(train.patience, "epoch");
        let message = format!("no gain for {patience}; {kept} of {}", progress.epoch);
        return Status { kind: StatusKind::Stopped, message };
    }
    let steps = words::plural(progress.step as usize, "step");
    let done = format!("{} and {steps}", words::plural(progress.epoch, "epoch"));
    facts.run.status(&done, &kept)
}
