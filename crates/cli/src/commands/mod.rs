//! One file a command; those of language models have a folder.

mod check;
mod compare;
mod completions;
mod env;
mod evaluate;
#[cfg(any(feature = "language", feature = "onnx"))]
mod export;
#[cfg(feature = "onnx")]
mod import;
mod inspect;
#[cfg(feature = "language")]
mod language;
mod man;
mod plan;
mod predict;
mod recipe;
mod train;
mod tune;

use std::process::ExitCode;

use crate::arguments::Command;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Runs a command.
pub(crate) fn run(command: &Command, terminal: &Terminal) -> Result<ExitCode, Failure> {
    match command {
        Command::Train(arguments) => train::run(arguments, terminal),
        Command::Tune(arguments) => tune::run(arguments, terminal),
        Command::Evaluate(arguments) => evaluate::run(arguments, terminal),
        Command::Predict(arguments) => predict::run(arguments, terminal),
        #[cfg(any(feature = "language", feature = "onnx"))]
        Command::Export(arguments) => export::run(arguments, terminal),
        #[cfg(feature = "onnx")]
        Command::Import(arguments) => import::run(arguments, terminal),
        Command::Plan(arguments) => plan::run(arguments, terminal),
        Command::Inspect(arguments) => inspect::run(arguments, terminal),
        Command::Compare(arguments) => compare::run(arguments, terminal),
        #[cfg(feature = "language")]
        Command::Language(command) => language::run(command, terminal),
        Command::Check(arguments) => check::run(arguments, terminal),
        Command::Recipe(command) => recipe::run(command, terminal),
        Command::Env(arguments) => env::run(arguments, terminal),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments, terminal),
    }
}
