use std::path::PathBuf;
use std::process::ExitCode;

use feedforward::tensor::Device;

use crate::arguments::Import;
use crate::failure::Failure;
use crate::show::{Working, count, quoted_path};
use crate::terminal::Terminal;

/// Ports that are shown without `--verbose`.
const SHOWN: usize = 8;

pub(super) fn run(arguments: &Import, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let device = Device::open(arguments.machine.options()).map_err(feedforward::Error::from)?;
    let file = &arguments.file;
    let out = arguments.out.clone().unwrap_or_else(|| {
        // `mlp.weights.h5` and `mlp.keras` both become `mlp`.
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        PathBuf::from(name.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or("model"))
    });
    let working = Working::new(terminal, format!("importing {}", file.display()));
    let found = feedforward::import(file, arguments.weights.as_deref(), &out, &device)?;
    drop(working);
    if arguments.json {
        Terminal::object(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    terminal.answer(format!(
        "{}/ · {} values",
        terminal.bold(quoted_path(&out)),
        count(found.values as u64)
    ))?;
    for (kind, ports) in [("input", &found.inputs), ("output", &found.outputs)] {
        let most = if terminal.verbose { usize::MAX } else { SHOWN };
        for (name, dtype) in ports.iter().take(most) {
            terminal.line(format!("  {kind:<6}  {name}: {dtype}"))?;
        }
        if let Some(more @ 1..) = ports.len().checked_sub(most) {
            terminal.line(terminal.dim(format!("  {more} more (--verbose)")))?;
        }
    }
    if let (Some(layers), Some(difference)) = (&found.layers, found.difference) {
        terminal.line(format!(
            "a feedforward network, {layers}: on made-up rows it differs from the graph by at most {difference:.1e}"
        ))?;
    }
    if let Some(optimizer) = &found.optimizer {
        terminal.line(format!("training goes on with {optimizer}"))?;
    }
    for left in &found.left {
        terminal.line(format!("not taken over: {left}"))?;
    }
    if let Some(refused) = &found.refused {
        terminal.line(format!("it can predict, not be trained on: {refused}"))?;
    }
    let mut next = Vec::new();
    if let Some(model) = &found.model {
        next.push(format!("feedforward predict {} --data NEW.csv", quoted_path(model)));
    }
    if let Some(recipe) = &found.recipe {
        let recipe = quoted_path(recipe);
        next.push(format!("feedforward train {recipe} --set data.path=NEW.csv --target COLUMN"));
    }
    if let Some(weights) = &found.weights {
        next.push(format!("feedforward inspect {}", quoted_path(weights)));
    }
    for (i, next) in next.iter().enumerate() {
        let head = if i == 0 { terminal.bold("Next") } else { "    ".into() };
        terminal.line(format!("{head}   {next}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
