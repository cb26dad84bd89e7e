//! Commands to continue with, and what a table's run depends on.

use super::snapshot::Snapshot;
use crate::words::bytes;
use ff_report::{Command, Fact};

pub(super) fn gather(snapshot: &Snapshot<'_>) -> Vec<Command> {
    let command = |purpose: &str, line: String| Command { purpose: purpose.into(), line };
    let (run, recipe) = (snapshot.run.shown_run(), snapshot.run.shown_recipe());
    let mut all = Vec::new();
    if snapshot.run.is_finished() {
        let proba = if snapshot.file.classes.is_empty() { "" } else { " --proba" };
        all.extend([
            command(
                "predict new rows",
                format!("feedforward predict {run} --data new.csv --out predictions.csv{proba}"),
            ),
            command("evaluate it again", format!("feedforward evaluate {run}")),
            command(
                "evaluate it on other rows",
                format!("feedforward evaluate {run} --data other.csv --json"),
            ),
            command("look inside", format!("feedforward inspect {run}")),
            command("compare runs", format!("feedforward compare {run} OTHER")),
        ]);
    }
    all.push(command(
        "try another network",
        format!("feedforward train {recipe} --set '{}'", snapshot.other),
    ));
    all
}

pub(super) fn environment(snapshot: &Snapshot<'_>) -> Vec<Fact> {
    let (prepared, recipe) = (snapshot.prepared, snapshot.recipe);
    let seed = recipe.data.split.seed;
    let mut all: Vec<Fact> =
        seed.map(|seed| Fact::new("seed of the split", seed.to_string())).into_iter().collect();
    all.extend([
        Fact::new("data", recipe.data.path.display().to_string()),
        Fact::new("data hash (XXH3-128)", &prepared.hash),
        Fact::new("data in memory", bytes(prepared.table.bytes())),
    ]);
    all
}
