//! The page of a run: what the pipeline knows, gathered as plain data and rendered.

mod columns;
mod commands;
mod curves;
mod decisions;
mod evaluation;
mod explain;
pub(crate) mod live;
mod mistakes;
mod network;
mod segments;
mod split;
mod verdict;
pub(crate) mod words;

use crate::clock::Clock;
use crate::notes::RunInfo;
use crate::recipe::Recipe;
use crate::scores::{Judged, Report};
use crate::setup::Measured;
use crate::{Error, ModelFile, Result, RunFolder, TableModel, TrainSummary};
use ff_report::{Live, ReportData, Status, StatusKind, render};
use ff_table::{Encoded, Prepared};
use ff_tensor::Device;
use ff_train::Progress;
use std::io::Write;

pub(crate) use live::LivePage;

/// What is known of a run before it starts.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) folder: &'a RunFolder,
    pub(crate) info: &'a RunInfo,
    pub(crate) prepared: &'a Prepared,
    pub(crate) file: &'a ModelFile,
    /// The layers in one line, and the name of the loss.
    pub(crate) layers: &'a str,
    pub(crate) loss: &'a str,
    pub(crate) measured: &'a Measured,
    pub(crate) device: &'a Device,
}

/// Everything that a report is made from.
struct Facts<'a> {
    known: Known<'a>,
    progress: &'a Progress,
    clock: &'a Clock,
    outcome: Outcome<'a>,
}

impl<'a> std::ops::Deref for Facts<'a> {
    type Target = Known<'a>;

    fn deref(&self) -> &Known<'a> {
        &self.known
    }
}

/// How far the run has come.
pub(crate) enum Outcome<'a> {
    /// It goes on, in this session since this step; the page reloads itself.
    Running { from: u64 },
    /// It was stopped and can be resumed.
    Interrupted,
    /// It ended with an error.
    Failed(&'a Error),
    /// It went through.
    Finished { model: &'a mut TableModel, judged: &'a Judged, summary: &'a TrainSummary },
}

/// The rows that the headline scores come from.
#[derive(Clone, Copy)]
struct Part<'a> {
    name: &'static str,
    data: &'a Encoded,
    /// Their indices in the table.
    rows: &'a [usize],
}

impl<'a> Part<'a> {
    fn of(prepared: &'a Prepared, name: &'static str) -> Self {
        let (data, rows) = match name {
            "test" => (&prepared.test, &prepared.parts.test),
            _ => (&prepared.valid, &prepared.parts.valid),
        };
        Self { name, data, rows }
    }
}

/// Writes `report.html`.
pub(crate) fn write(
    known: Known<'_>,
    progress: &Progress,
    clock: &Clock,
    outcome: Outcome<'_>,
) -> Result<()> {
    let mut facts = Facts { known, progress, clock, outcome };
    let page = render(&gather(&mut facts));
    Ok(ff_formats::write_atomic(&facts.folder.report(), |file| file.write_all(page.as_bytes()))?)
}

/// Gathers all that is known so far.
fn gather(facts: &mut Facts<'_>) -> ReportData {
    let mut data = ReportData {
        title: title(facts),
        subtitle: format!(
            "{} · {} · {} parameters",
            facts.prepared.target.task,
            facts.layers,
            words::count(facts.measured.parameters)
        ),
        created: words::now(),
        status: Some(status(facts)),
        live: live(facts),
        decisions: decisions::gather(facts),
        data: Some(columns::gather(facts)),
        split: Some(split::gather(facts)),
        curves: curves::gather(facts),
        model: Some(network::layers(facts)),
        commands: commands::gather(facts),
        environment: commands::environment(facts),
        ..ReportData::default()
    };
    evaluate(facts, &mut data);
    data.resources = network::resources(facts);
    data.timings = facts.clock.laps().to_vec();
    if matches!(facts.outcome, Outcome::Finished { .. }) {
        // The explanations on this page are the report's own phase.
        data.timings.push(ff_report::Timing {
            phase: "explaining".into(),
            seconds: facts.clock.since_lap(),
        });
    }
    data
}

/// What only a finished run has.
fn evaluate(facts: &mut Facts<'_>, data: &mut ReportData) {
    let (prepared, recipe) = (facts.prepared, facts.recipe);
    let Outcome::Finished { model, judged, .. } = &mut facts.outcome else { return };
    let Some((name, report)) = judged.headline() else { return };
    let part = Part::of(prepared, name);
    let mut verdict = verdict::gather(prepared, part, report, judged.baseline());
    let Some(predictions) = &judged.predictions else {
        data.verdict = Some(verdict);
        return;
    };
    let explained = match explain::gather(model, recipe, prepared, part) {
        Ok(explained) => explained,
        // A model that was trained and judged is not lost because it cannot be explained.
        Err(error) => {
            verdict.caveats.push(format!("Its columns could not be weighed: {error}."));
            explain::Explained::default()
        }
    };
    match report {
        Report::Classification(report) => {
            data.classification =
                Some(evaluation::classification(report, part, model, judged, prepared, recipe));
        }
        Report::Regression(report) => {
            data.regression =
                Some(evaluation::regression(report, part, predictions, prepared, &explained));
        }
    }
    data.mistakes = Some(mistakes::gather(part, predictions, model.file(), prepared, &explained));
    data.importance = explained.importance;
    data.dependence = explained.dependence;
    data.decisions.extend(explained.decision);
    data.verdict = Some(verdict);
}

fn title(facts: &Facts<'_>) -> String {
    let file = facts.recipe.data.path.file_name();
    let file = file.map_or_else(|| "data".into(), |name| name.to_string_lossy());
    format!("{file} · {}", facts.prepared.target.column)
}

fn status(facts: &Facts<'_>) -> Status {
    let progress = facts.progress;
    let kept = match progress.best {
        Some(best) if facts.recipe.train.restore_best => format!("kept epoch {}", best.epoch),
        _ => "kept the last weights".into(),
    };
    let after = format!("{} and {}", words::plural(progress.epoch, "epoch"), steps(progress));
    let (kind, message) = match &facts.outcome {
        Outcome::Running { .. } => (StatusKind::Running, format!("{after} so far")),
        Outcome::Interrupted => {
            (StatusKind::Stopped, format!("interrupted after {after}; it can be resumed"))
        }
        Outcome::Failed(error) => (StatusKind::Failed, format!("after {after}: {error}")),
        Outcome::Finished { summary, .. } if summary.stopped == "early" => {
            let patience = facts.recipe.train.patience;
            let gain = words::plural(patience, "epoch");
            (StatusKind::Stopped, format!("no gain for {gain}; {kept} of {}", progress.epoch))
        }
        Outcome::Finished { .. } => (StatusKind::Finished, format!("after {after}; {kept}")),
    };
    Status { kind, message }
}

fn steps(progress: &Progress) -> String {
    words::plural(progress.step as usize, "step")
}

fn live(facts: &Facts<'_>) -> Option<Live> {
    let Outcome::Running { from } = facts.outcome else { return None };
    let total = facts.recipe.train.total_steps(facts.prepared.train.rows);
    Some(live::live(facts.progress, total, from, facts.clock.since_lap()))
}
