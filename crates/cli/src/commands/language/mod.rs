//! Commands of language models, one file each.

mod chat;
mod embed;
mod generate;
mod merge;
mod search;
mod tokenizer;
mod train;

use std::process::ExitCode;

use crate::arguments::language::LanguageCommand;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Runs a command.
pub(super) fn run(command: &LanguageCommand, terminal: &Terminal) -> Result<ExitCode, Failure> {
    match command {
        LanguageCommand::Pretrain(arguments) => train::pretrain(arguments, terminal),
        LanguageCommand::Finetune(arguments) => train::finetune(arguments, terminal),
        LanguageCommand::Merge(arguments) => merge::run(arguments, terminal),
        LanguageCommand::Generate(arguments) => generate::run(arguments, terminal),
        LanguageCommand::Chat(arguments) => chat::run(arguments, terminal),
        LanguageCommand::Embed(arguments) => embed::run(arguments, terminal),
        LanguageCommand::Search(arguments) => search::run(arguments, terminal),
        LanguageCommand::Tokenizer(command) => tokenizer::run(command, terminal),
    }
}
