//! One file a command.

mod chat;
mod check;
mod compare;
mod completions;
mod env;
mod evaluate;
mod export;
mod generate;
mod inspect;
mod man;
mod merge;
mod plan;
mod predict;
mod recipe;
mod tokenizer;
mod train;

use std::process::ExitCode;

use crate::arguments::Command;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Runs a command.
pub(crate) fn run(command: &Command, terminal: &Terminal) -> Result<ExitCode, Failure> {
    match command {
        Command::Train(arguments) => train::run(arguments, terminal),
        Command::Pretrain(arguments) => train::pretrain(arguments, terminal),
        Command::Finetune(arguments) => train::finetune(arguments, terminal),
        Command::Merge(arguments) => merge::run(arguments, terminal),
        Command::Evaluate(arguments) => evaluate::run(arguments, terminal),
        Command::Predict(arguments) => predict::run(arguments, terminal),
        Command::Generate(arguments) => generate::run(arguments, terminal),
        Command::Chat(arguments) => chat::run(arguments, terminal),
        Command::Export(arguments) => export::run(arguments, terminal),
        Command::Plan(arguments) => plan::run(arguments, terminal),
        Command::Inspect(arguments) => inspect::run(arguments, terminal),
        Command::Compare(arguments) => compare::run(arguments, terminal),
        Command::Tokenizer(command) => tokenizer::run(command, terminal),
        Command::Check(arguments) => check::run(arguments, terminal),
        Command::Recipe(command) => recipe::run(command, terminal),
        Command::Env(arguments) => env::run(arguments, terminal),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments, terminal),
    }
}
