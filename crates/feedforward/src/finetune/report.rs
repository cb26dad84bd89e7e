//! The page of a fine-tuning run.

use super::conversations::Conversations;
use super::preference::Preferred;
use super::recipe::FinetuneRecipe;
use crate::language::{Sample, curves, report_samples};
use crate::run::snapshot::Snapshot;
use crate::words;
use ff_report::{Command, Fact, ReportData, Score, TextData, Token, Verdict};

/// A run at one moment.
pub(super) struct Page<'a> {
    pub(super) run: &'a Snapshot<'a>,
    pub(super) recipe: &'a FinetuneRecipe,
    pub(super) data: &'a Conversations,
    pub(super) samples: &'a [Sample],
    pub(super) before: Option<f64>,
    pub(super) after: Option<f64>,
    pub(super) preferred: Option<Preferred>,
}

/// Gathers all that is known so far.
pub(super) fn gather(page: &Page<'_>) -> ReportData {
    let progress = page.run.progress;
    let parameters = words::count(page.run.sizes.parameters);
    let done = words::plural(progress.step as usize, "step");
    let pairs = page.recipe.preference.loss.is_some();
    let unit = if pairs { "a pair" } else { "nats a token" };
    ReportData {
        title: page.recipe.name.clone().unwrap_or_else(|| "fine-tuned model".into()),
        subtitle: format!("{} · {parameters} values trained", page.run.work.layers),
        status: Some(page.run.status(&done, "")),
        verdict: verdict(page),
        text: Some(text(page)),
        curves: curves(progress, page.before, unit, page.run.work.units_per_step),
        samples: report_samples(page.samples, progress),
        commands: commands(page),
        ..ReportData::default()
    }
}

fn verdict(page: &Page<'_>) -> Option<Verdict> {
    let latest = page.run.progress.history.iter().rev().find_map(|record| record.valid_loss);
    let loss = page.after.or(latest)?;
    let before = page.before?;
    let score =
        |name: &str, value: f64, before: f64| Score::new(name, value, false).baseline(before);
    if page.recipe.preference.loss.is_some() {
        let share = page.preferred.map(|found| 100.0 * found.share);
        let share = share.map_or_else(String::new, |share| {
            format!(" The chosen answer is preferred in {share:.1} % of held-out pairs.")
        });
        return Some(Verdict {
            split: "valid".into(),
            rows: page.data.held_out.kept as u64,
            unit: "pairs".into(),
            baseline: "before training".into(),
            interval: String::new(),
            scores: vec![score("loss", loss, before)],
            sentence: format!(
                "A held-out pair costs {loss:.3}, {before:.3} before training.{share}"
            ),
            caveats: Vec::new(),
        });
    }
    Some(Verdict {
        split: "valid".into(),
        rows: page.data.held_out.learned as u64,
        unit: "tokens".into(),
        baseline: "before training".into(),
        interval: String::new(),
        scores: vec![score("loss", loss, before), score("perplexity", loss.exp(), before.exp())],
        sentence: format!(
            "A token of a held-out answer costs {loss:.3} nats, {before:.3} before training."
        ),
        caveats: Vec::new(),
    })
}

fn text(page: &Page<'_>) -> TextData {
    let mut facts = vec![
        Fact::new("source", page.recipe.data.path.display().to_string()),
        Fact::new("shape of the records", page.data.shape.words()),
        Fact::new("as text", page.data.format()),
        Fact::new("base model", page.recipe.base.model.display().to_string()),
    ];
    facts.extend(page.data.findings().into_iter().map(|line| Fact::new("conversations", line)));
    let mut example: Vec<Token> = Vec::new();
    for pieces in &page.data.preview.examples {
        if !example.is_empty() {
            example.push(Token { text: "\n".into(), trained: false });
        }
        let tokens = pieces.iter();
        example
            .extend(tokens.map(|(text, trained)| Token { text: text.clone(), trained: *trained }));
    }
    TextData { facts, example, ..TextData::default() }
}

fn commands(page: &Page<'_>) -> Vec<Command> {
    if !page.run.is_finished() {
        return Vec::new();
    }
    let command = |purpose: &str, line: String| Command { purpose: purpose.into(), line };
    let run = page.run.shown_run();
    let mut commands =
        vec![command("let it answer", format!("feedforward generate {run} --prompt TEXT"))];
    if page.recipe.trains_adapter() {
        let line = format!("feedforward merge {run} --out FOLDER");
        commands.push(command("write a model without an adapter", line));
    }
    commands
}
