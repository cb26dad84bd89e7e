//! The page of an encoder's run.

use super::recipe::ObjectiveKind;
use super::scores::EncoderScores;
use super::task::{EncoderTask, Outcome};
use crate::error::Result;
use crate::language::curves;
use crate::run::snapshot::Snapshot;
use crate::sequence::layers;
use crate::words;
use ff_report::{
    ClassScores, Classification, Command, Fact, Model, ReportData, Score, TextData, Verdict,
};

/// Gathers all that is known so far.
///
/// # Errors
/// The encoder cannot be built.
pub(super) fn gather(
    task: &EncoderTask,
    snapshot: &Snapshot<'_>,
    outcome: Option<&Outcome>,
) -> Result<ReportData> {
    let progress = snapshot.progress;
    let name = task.recipe.name.clone().or_else(|| {
        task.recipe.data.path.file_stem().map(|stem| stem.to_string_lossy().into_owned())
    });
    let kept = match progress.best {
        Some(best) if best.epoch != progress.epoch => format!("kept epoch {}", best.epoch),
        _ => String::new(),
    };
    let done = words::plural(progress.epoch, "epoch");
    let headline = outcome.and_then(Outcome::headline);
    let layers = layers(&task.base, &task.recipe.model)?;
    Ok(ReportData {
        title: format!("{} · {}", name.unwrap_or_default(), task.recipe.objective.kind.name()),
        subtitle: snapshot.work.layers.clone(),
        status: Some(snapshot.status(&done, &kept)),
        verdict: headline.map(|(part, scores)| verdict(part, scores)),
        classification: headline.and_then(|(part, scores)| groups(part, scores)),
        text: Some(text(task)),
        curves: curves(progress, None, task.goal.loss_name(), snapshot.work.units_per_step),
        model: Some(Model { summary: snapshot.work.layers.clone(), layers }),
        commands: commands(task, snapshot),
        environment: vec![Fact::new("hash of data and encoder", &snapshot.info.data_hash)],
        ..ReportData::default()
    })
}

fn verdict(part: &str, scores: &EncoderScores) -> Verdict {
    let score = |score: &super::scores::EncoderScore| {
        let mut shown = Score::new(score.label.clone(), score.value, score.higher_is_better);
        if let Some(interval) = score.interval {
            shown = shown.interval(interval.low, interval.high);
        }
        match score.baseline {
            Some(baseline) => shown.baseline(baseline),
            None => shown,
        }
    };
    let chosen = (part == "valid")
        .then(|| "The epoch was chosen on this part, so its scores flatter a little.".to_owned());
    Verdict {
        split: part.into(),
        rows: scores.rows as u64,
        unit: "rows".into(),
        baseline: scores.baseline.clone(),
        interval: "95 %, bootstrap over rows".into(),
        scores: scores.scores.iter().map(score).collect(),
        caveats: chosen.into_iter().collect(),
        ..Verdict::default()
    }
}

/// The scores of labels, or of spans by type.
fn groups(part: &str, scores: &EncoderScores) -> Option<Classification> {
    let class = |group: &super::scores::GroupScore| ClassScores {
        name: group.name.clone(),
        precision: group.precision,
        recall: group.recall,
        f1: group.f1,
        support: group.support as u64,
        roc_auc: None,
    };
    (!scores.groups.is_empty()).then(|| Classification {
        split: part.into(),
        classes: scores.groups.iter().map(|group| group.name.clone()).collect(),
        per_class: scores.groups.iter().map(class).collect(),
        ..Classification::default()
    })
}

fn text(task: &EncoderTask) -> TextData {
    let names = ["rows to train on", "rows of the validation part", "rows of the test part"];
    let rows = task.parts.each_ref().map(|part| words::count(part.rows() as u64));
    let facts = names.into_iter().zip(rows).map(|(name, rows)| Fact::new(name, rows)).collect();
    let findings = task.notes.iter().map(|note| note.message.clone()).collect();
    TextData { facts, findings, ..TextData::default() }
}

/// What a finished run is for.
pub(super) fn next_command(kind: ObjectiveKind, run: &str) -> String {
    match kind {
        ObjectiveKind::Labels => {
            format!("feedforward predict {run} --data new.csv --proba --out predicted.csv")
        }
        ObjectiveKind::Numbers => {
            format!("feedforward predict {run} --data new.csv --out predicted.csv")
        }
        ObjectiveKind::Tags => {
            format!("feedforward predict {run} --data new.jsonl --out spans.jsonl")
        }
        ObjectiveKind::Masked => {
            format!("feedforward train FILE --target COLUMN --set model.encoder={run}")
        }
        ObjectiveKind::Pairs => {
            format!("feedforward embed {run} --data texts.csv --out texts.parquet")
        }
    }
}

fn commands(task: &EncoderTask, snapshot: &Snapshot<'_>) -> Vec<Command> {
    if !snapshot.is_finished() {
        return Vec::new();
    }
    let command = |purpose: &str, line: String| Command { purpose: purpose.into(), line };
    let run = snapshot.shown_run();
    vec![
        command("use it", next_command(task.recipe.objective.kind, &run)),
        command("evaluate it on other rows", format!("feedforward evaluate {run} --data FILE")),
    ]
}
