use std::process::ExitCode;

use feedforward::{Inspection, bytes};

use crate::arguments::Inspect;
use crate::failure::Failure;
use crate::show::{Align, TextTable, count};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Inspect, terminal: &Terminal) -> Result<ExitCode, Failure> {
    #[cfg(feature = "onnx")]
    if crate::inputs::is_graph(&arguments.path) {
        return onnx::run(arguments, terminal);
    }
    #[cfg(feature = "keras")]
    if crate::inputs::is_keras(&arguments.path) {
        return keras::run(arguments, terminal);
    }
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

/// What a model is for, from its config.
fn meaning(inspection: &Inspection) -> Option<String> {
    if inspection.about.is_some() {
        return inspection.about.clone();
    }
    let config = inspection.config.as_ref()?;
    let (task, target) = (config["task"].as_str()?, config["target"].as_str()?);
    let classes = config["classes"].as_array().map_or(0, Vec::len);
    let classes = if classes > 0 { format!(" of {classes} classes") } else { String::new() };
    let version = config["version"].as_str().unwrap_or("?");
    let precision = config["network"]["network"]["precision"].as_str();
    let precision = precision.map_or(String::new(), |name| format!(" · computed in {name}"));
    let networks = config["networks"].as_u64().map_or(String::new(), |k| {
        format!(" · the first of {k} networks, whose predictions are averaged")
    });
    Some(format!(
        "predicts {target}: {task}{classes}{precision}{networks} · written by version {version}"
    ))
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

/// The tensors of a model of another program: name, type, shape.
#[cfg(feature = "onnx")]
fn show_arrays(all: &[(String, String, Vec<usize>)], terminal: &Terminal) -> Result<(), Failure> {
    terminal.answer("")?;
    let columns = [("tensor", Align::Left), ("type", Align::Left), ("shape", Align::Left)];
    let mut table = TextTable::new(&columns);
    for (name, dtype, dims) in all {
        table.row(vec![name.clone(), dtype.clone(), format!("{dims:?}")]);
    }
    for line in table.lines(terminal) {
        terminal.answer(line)?;
    }
    Ok(())
}

/// The graph of an ONNX model.
#[cfg(feature = "onnx")]
mod onnx {
    use super::{Align, ExitCode, Failure, Inspect, Terminal, TextTable, count, show_arrays};
    use feedforward::interop::onnx::{Port, Session, operators};
    use feedforward::interop::open_graph;
    use serde_json::json;

    pub(super) fn run(arguments: &Inspect, terminal: &Terminal) -> Result<ExitCode, Failure> {
        let model = open_graph(&arguments.path).map_err(feedforward::Error::from)?;
        let summary = model.summary();
        let refused = Session::new(model).err().map(|e| e.to_string());
        let values: usize = summary.tensors.iter().map(|t| t.2.iter().product::<usize>()).sum();
        if arguments.json {
            let ports = |ports: &[Port]| -> Vec<_> {
                ports
                    .iter()
                    .map(|p| json!({ "name": p.name, "type": p.kind(), "about": p.about }))
                    .collect()
            };
            Terminal::object(&json!({
                "file": arguments.path,
                "ir_version": summary.ir_version,
                "opsets": summary.opsets,
                "producer": summary.producer,
                "inputs": ports(&summary.inputs),
                "outputs": ports(&summary.outputs),
                "operators": summary.operators,
                "tensors": summary.tensors,
                "values": values,
                "refused": refused,
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let opsets: Vec<String> = summary
            .opsets
            .iter()
            .map(|(domain, version)| match domain.as_str() {
                "" => format!("opset {version}"),
                domain => format!("{domain} {version}"),
            })
            .collect();
        terminal.answer(format!(
            "{} · {} values in {} tensors · IR {}, {}{}",
            terminal.bold(arguments.path.display()),
            count(values as u64),
            summary.tensors.len(),
            summary.ir_version,
            opsets.join(", "),
            if summary.producer.is_empty() {
                String::new()
            } else {
                format!(" · by {}", summary.producer)
            },
        ))?;
        let mut table = TextTable::new(&[
            ("", Align::Left),
            ("name", Align::Left),
            ("type", Align::Left),
            ("about", Align::Left),
        ]);
        for (kind, ports) in [("input", &summary.inputs), ("output", &summary.outputs)] {
            for port in ports {
                table.row(vec![kind.into(), port.name.clone(), port.kind(), port.about.clone()]);
            }
        }
        for line in table.lines(terminal) {
            terminal.answer(line)?;
        }
        terminal.answer("")?;
        let known = operators();
        let mut table = TextTable::new(&[
            ("operator", Align::Left),
            ("nodes", Align::Right),
            ("evaluated", Align::Left),
        ]);
        for (name, n) in &summary.operators {
            let evaluated = if known.contains(name) { "yes" } else { "no" };
            table.row(vec![name.clone(), count(*n as u64), evaluated.into()]);
        }
        for line in table.lines(terminal) {
            terminal.answer(line)?;
        }
        if terminal.verbose {
            show_arrays(&summary.tensors, terminal)?;
        }
        if let Some(refused) = refused {
            terminal.answer(format!("`feedforward predict` does not evaluate it: {refused}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The layers of a model of Keras.
#[cfg(feature = "keras")]
mod keras {
    use super::{Align, ExitCode, Failure, Inspect, Terminal, TextTable, count, show_arrays};
    use feedforward::interop::keras::Model;
    use feedforward::interop::onnx::{Port, Session};
    use serde_json::json;

    pub(super) fn run(arguments: &Inspect, terminal: &Terminal) -> Result<ExitCode, Failure> {
        let model = Model::open(&arguments.path).map_err(feedforward::Error::from)?;
        let (layers, arrays) = (model.layers(), model.arrays());
        let graph = model.has_layers().then(|| model.to_onnx().and_then(Session::new));
        let (ports, refused) = match &graph {
            Some(Ok(session)) => ([session.model().inputs(), session.model().outputs()], None),
            Some(Err(e)) => ([Vec::new(), Vec::new()], Some(e.to_string())),
            None => ([Vec::new(), Vec::new()], None),
        };
        let values: usize = arrays.iter().map(|array| array.2.iter().product::<usize>()).sum();
        if arguments.json {
            let shown = |ports: &[Port]| -> Vec<_> {
                ports.iter().map(|p| json!({ "name": p.name, "type": p.kind() })).collect()
            };
            let listed: Vec<_> = layers
                .iter()
                .map(|l| json!({ "name": l.name, "class": l.class, "inputs": l.inputs, "known": l.known }))
                .collect();
            Terminal::object(&json!({
                "file": arguments.path,
                "keras_version": model.version(),
                "inputs": shown(&ports[0]),
                "outputs": shown(&ports[1]),
                "layers": listed,
                "tensors": arrays,
                "values": values,
                "refused": refused,
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let by = match model.version() {
            "" => String::new(),
            version => format!(" · by Keras {version}"),
        };
        terminal.answer(format!(
            "{} · {} values in {} tensors{by}",
            terminal.bold(arguments.path.display()),
            count(values as u64),
            arrays.len(),
        ))?;
        if model.has_layers() {
            let mut table = TextTable::new(&[
                ("layer", Align::Left),
                ("class", Align::Left),
                ("takes", Align::Left),
                ("evaluated", Align::Left),
            ]);
            for layer in &layers {
                let known = if layer.known { "yes" } else { "no" };
                let inputs = layer.inputs.join(", ");
                table.row(vec![layer.name.clone(), layer.class.clone(), inputs, known.into()]);
            }
            for (kind, ports) in ["input", "output"].into_iter().zip(&ports) {
                for port in ports {
                    table.row(vec![port.name.clone(), format!("{kind} {}", port.kind())]);
                }
            }
            for line in table.lines(terminal) {
                terminal.answer(line)?;
            }
        }
        if terminal.verbose || !model.has_layers() {
            show_arrays(&arrays, terminal)?;
        }
        if let Some(refused) = refused {
            terminal.answer(format!("`feedforward predict` does not evaluate it: {refused}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
