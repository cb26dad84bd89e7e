//! What to type next, and where the run was made.

use super::{Facts, Outcome, words};
use ff_nn::Precision;
use ff_settings::shell_word;
use ff_train::report::{Command, Fact};

pub(super) fn gather(facts: &Facts<'_>) -> Vec<Command> {
    let command = |purpose: &str, line: String| Command { purpose: purpose.into(), line };
    let run = shell_word(&facts.folder.path().display().to_string());
    let recipe = shell_word(&facts.folder.recipe().display().to_string());
    let isa = &facts.info.isa;
    let mut all = Vec::new();
    if !facts.info.command.is_empty() {
        let words: Vec<String> = facts.info.command.iter().map(|word| shell_word(word)).collect();
        all.push(command("how it was started", words.join(" ")));
    }
    let finished = matches!(facts.outcome, Outcome::Finished { .. });
    if !finished {
        all.push(command(
            "go on from where it was saved",
            format!("feedforward train --resume {run}"),
        ));
    }
    all.push(command(
        "train it again, to the same bits",
        format!("feedforward train {recipe} --isa {isa}"),
    ));
    if finished {
        let proba = if facts.file.classes.is_empty() { "" } else { " --proba" };
        all.push(command(
            "predict new rows",
            format!("feedforward predict {run} --data new.csv --out predictions.csv{proba}"),
        ));
        all.push(command("judge it again", format!("feedforward evaluate {run}")));
        all.push(command(
            "judge it on other rows",
            format!("feedforward evaluate {run} --data other.csv --json"),
        ));
        all.push(command("look inside", format!("feedforward inspect {run}")));
    }
    all.push(command(
        "try another network",
        format!("feedforward train {recipe} --set 'model.hidden=[128,64]'"),
    ));
    if finished {
        all.push(command("compare runs", format!("feedforward compare {run} OTHER")));
    }
    all
}

fn numbers(precision: Precision, native: bool) -> &'static str {
    match (precision, native) {
        (Precision::F32, _) => "f32, sums of losses in f64",
        (Precision::Bf16, true) => {
            "f32, products of bf16 with the processor's instructions, sums of losses in f64"
        }
        (Precision::Bf16, false) => {
            "f32, products of values rounded to bf16, sums of losses in f64"
        }
    }
}

pub(super) fn environment(facts: &Facts<'_>) -> Vec<Fact> {
    let here = crate::environment();
    let cpu = facts.device.cpu();
    let (prepared, recipe) = (facts.prepared, facts.recipe);
    let unknown = || "not known".to_owned();
    let mut all = vec![
        Fact::new("version", format!("{} ({} build)", here.version, here.build)),
        Fact::new("kernels", format!("CPU, {}", cpu.isa())),
        Fact::new("threads", cpu.threads().count().to_string()),
        Fact::new("numbers", numbers(recipe.model.precision, cpu.has_bf16())),
        Fact::new("seed", recipe.train.seed.to_string()),
    ];
    if let Some(seed) = recipe.data.split.seed {
        all.push(Fact::new("seed of the split", seed.to_string()));
    }
    all.extend([
        Fact::new("data", recipe.data.path.display().to_string()),
        Fact::new("data hash (XXH3-128)", &prepared.hash),
        Fact::new("data in memory", crate::bytes(prepared.table.bytes())),
        Fact::new("run", facts.folder.path().display().to_string()),
        Fact::new("processor", here.processor.unwrap_or_else(unknown)),
        Fact::new("memory", here.memory_bytes.map_or_else(unknown, crate::bytes)),
        Fact::new(
            "system",
            match here.system {
                Some(system) => format!("{system} ({})", here.target),
                None => here.target,
            },
        ),
    ]);
    if facts.info.version != env!("CARGO_PKG_VERSION") {
        all.push(Fact::new("started by version", &facts.info.version));
    }
    if facts.info.isa != cpu.isa().to_string() {
        all.push(Fact::new("started with", &facts.info.isa));
    }
    let started = words::plural(facts.info.threads, "thread");
    if facts.info.threads != cpu.threads().count() {
        all.push(Fact::new("started on", started));
    }
    all
}
