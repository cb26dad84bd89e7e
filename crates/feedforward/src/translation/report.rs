//! The page of a run on pairs.

use super::scores::{TranslationScore, TranslationScores};
use super::task::{Outcome, Translating};
use crate::language::curves;
use crate::run::snapshot::Snapshot;
use crate::words;
use ff_report::{Command, Fact, Mistake, Mistakes, ReportData, Score, TextData, Verdict};

/// Gathers all that is known so far.
pub(super) fn gather(
    task: &Translating,
    snapshot: &Snapshot<'_>,
    before: Option<f64>,
    outcome: Option<&Outcome>,
) -> ReportData {
    let progress = snapshot.progress;
    let kept = match progress.best {
        Some(best) if best.epoch != progress.epoch => format!("kept epoch {}", best.epoch),
        _ => String::new(),
    };
    let done = words::plural(progress.epoch, "epoch");
    let headline = outcome.and_then(Outcome::headline);
    let parameters = words::count(snapshot.sizes.parameters as u64);
    ReportData {
        title: task.recipe.name.clone().unwrap_or_else(|| {
            let stem = task.recipe.data.path.file_stem();
            stem.map_or_else(|| "pairs".into(), |stem| stem.to_string_lossy().into_owned())
        }),
        subtitle: format!("{} · {parameters} values trained", snapshot.work.layers),
        status: Some(snapshot.status(&done, &kept)),
        verdict: headline.map(|(part, scores)| verdict(part, scores)),
        mistakes: headline.map(|(part, scores)| worst(part, scores)),
        text: Some(text(task)),
        curves: curves(progress, before, "nats a token", snapshot.work.units_per_step),
        commands: commands(snapshot),
        environment: vec![Fact::new("hash of data and model", &snapshot.info.data_hash)],
        ..ReportData::default()
    }
}

fn verdict(part: &str, scores: &TranslationScores) -> Verdict {
    let score = |score: &TranslationScore| {
        let mut shown = Score::new(score.label.clone(), score.value, score.higher_is_better);
        if let Some(interval) = score.interval {
            shown = shown.interval(interval.low, interval.high);
        }
        match score.before {
            Some(before) => shown.baseline(before),
            None => shown,
        }
    };
    let mut caveats = Vec::new();
    if part == "valid" {
        let chosen = "The epoch was chosen on this part, so its scores flatter a little.";
        caveats.push(chosen.to_owned());
    }
    if scores.written < scores.pairs {
        caveats.push(format!(
            "chrF, BLEU and exact targets are of the first {} pairs, whose targets were written.",
            words::count(scores.written as u64)
        ));
    }
    Verdict {
        split: part.into(),
        rows: scores.pairs as u64,
        unit: "pairs".into(),
        baseline: "before training".into(),
        interval: "95 %, bootstrap over pairs".into(),
        scores: scores.scores.iter().map(score).collect(),
        sentence: String::new(),
        caveats,
    }
}

fn worst(part: &str, scores: &TranslationScores) -> Mistakes {
    let row = |worst: &super::scores::Worst| Mistake {
        row: worst.row as u64,
        actual: worst.wanted.clone(),
        predicted: worst.written.clone(),
        confidence: None,
        loss: worst.loss,
        cells: vec![worst.source.clone()],
    };
    let wrong = scores.scores.iter().find(|score| score.name == "exact");
    Mistakes {
        split: part.into(),
        wrong: wrong
            .map(|exact| ((1.0 - exact.value) * scores.written as f64).round().max(0.0) as u64),
        total: scores.written as u64,
        loss: "nats a token".into(),
        columns: vec!["source".into()],
        rows: scores.worst.iter().map(row).collect(),
        note: String::new(),
    }
}

fn text(task: &Translating) -> TextData {
    let [source, target] = &task.columns;
    let mut facts = vec![
        Fact::new("source", task.recipe.data.path.display().to_string()),
        Fact::new("columns", format!("{source} → {target}")),
        Fact::new("base model", task.recipe.base.model.display().to_string()),
    ];
    if !task.recipe.data.prefix.is_empty() {
        facts.push(Fact::new("before every source", task.recipe.data.prefix.clone()));
    }
    let names = ["pairs to train on", "pairs of the validation part", "pairs of the test part"];
    let rows = task.parts.each_ref().map(|part| words::count(part.rows() as u64));
    facts.extend(names.into_iter().zip(rows).map(|(name, rows)| Fact::new(name, rows)));
    let findings = task.notes.iter().map(|note| note.message.clone()).collect();
    TextData { facts, findings, ..TextData::default() }
}

fn commands(snapshot: &Snapshot<'_>) -> Vec<Command> {
    if !snapshot.is_finished() {
        return Vec::new();
    }
    let command = |purpose: &str, line: String| Command { purpose: purpose.into(), line };
    let run = snapshot.shown_run();
    vec![
        command("let it write", format!("feedforward generate {run} --prompt TEXT")),
        command("evaluate it on other pairs", format!("feedforward evaluate {run} --data FILE")),
    ]
}
