use std::process::ExitCode;

use crate::arguments::language::Merge;
use crate::failure::Failure;
use crate::show::{Working, quoted_path};
use crate::terminal::{Style, Terminal};

/// `merge`: a model and its adapter as one model.
pub(super) fn run(arguments: &Merge, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let working = Working::new(terminal, format!("merging into {}", arguments.out.display()));
    let (adapter, device) = (arguments.adapter.as_deref(), arguments.machine.options());
    let merged = feedforward::finetune::merge(&arguments.model, adapter, &arguments.out, device);
    drop(working);
    merged?;
    let mark = terminal.paint(Style::Green, "✓");
    let out = quoted_path(&arguments.out);
    terminal.line(format!("{mark} {out} has the weights of the model with the adapter"))?;
    Ok(ExitCode::SUCCESS)
}
