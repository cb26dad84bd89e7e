use std::process::ExitCode;

use feedforward::{Inspection, bytes};

use crate::arguments::Inspect;
use crate::failure::Failure;
use crate::show::{Align, TextTable, count};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Inspect, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let inspection = feedforward::inspect(&arguments.path)?;
    if arguments.json {
        Terminal::object(&inspection)?;
        return Ok(ExitCode::SUCCESS);
    }
    terminal.answer(format!(
        "{} · {} values, {} · file {}",
        terminal.bold(inspection.file.display()),
        count(inspection.values as u64),
        bytes(inspection.bytes),
        bytes(usize::try_from(inspection.file_bytes).unwrap_or(usize::MAX)),
    ))?;
    if let Some(meaning) = meaning(&inspection) {
        terminal.answer(format!("  {meaning}"))?;
    }
    for line in layers(&inspection).lines(terminal) {
        terminal.answer(line)?;
    }
    if terminal.verbose {
        terminal.answer("")?;
        for line in tensors(&inspection).lines(terminal) {
            terminal.answer(line)?;
        }
    } else {
        let hint = format!("  {} tensors (--verbose)", inspection.tensors.len());
        terminal.line(terminal.dim(hint))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a model predicts, from its config.
fn meaning(inspection: &Inspection) -> Option<String> {
    let config = inspection.config.as_ref()?;
    let (task, target) = (config["task"].as_str()?, config["target"].as_str()?);
    let classes = config["classes"].as_array().map_or(0, Vec::len);
    let classes = if classes > 0 { format!(" of {classes} classes") } else { String::new() };
    let version = config["version"].as_str().unwrap_or("?");
    let precision = config["network"]["network"]["precision"].as_str();
    let precision = precision.map_or(String::new(), |name| format!(" · computed in {name}"));
    Some(format!("predicts {target}: {task}{classes}{precision} · written by version {version}"))
}

fn layers(inspection: &Inspection) -> TextTable {
    let mut table = TextTable::new(&[
        ("layer", Align::Left),
        ("shape", Align::Left),
        ("values", Align::Right),
        ("bytes", Align::Right),
        ("tensors", Align::Left),
    ]);
    for layer in &inspection.layers {
        table.row(vec![
            layer.name.clone(),
            layer.shape.as_ref().map_or(String::new(), |shape| format!("{shape:?}")),
            count(layer.values as u64),
            bytes(layer.bytes),
            layer.tensors.join(", "),
        ]);
    }
    table
}

fn tensors(inspection: &Inspection) -> TextTable {
    let mut table = TextTable::new(&[
        ("tensor", Align::Left),
        ("type", Align::Left),
        ("shape", Align::Left),
        ("values", Align::Right),
        ("bytes", Align::Right),
    ]);
    for tensor in &inspection.tensors {
        table.row(vec![
            tensor.name.clone(),
            tensor.dtype.clone(),
            format!("{:?}", tensor.shape),
            count(tensor.values as u64),
            bytes(tensor.bytes),
        ]);
    }
    table
}
