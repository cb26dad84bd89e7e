mod convert;
mod inspect;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use feedforward::text::{CleanConfig, TextConfig};

use crate::arguments::language::{TextFiles, TokenizerCommand};
use crate::failure::Failure;
use crate::terminal::Terminal;

pub(super) fn run(command: &TokenizerCommand, terminal: &Terminal) -> Result<ExitCode, Failure> {
    match command {
        TokenizerCommand::Train(arguments) => train::run(arguments, terminal),
        TokenizerCommand::Encode(arguments) => convert::encode(arguments),
        TokenizerCommand::Decode(arguments) => convert::decode(arguments),
        TokenizerCommand::Inspect(arguments) => inspect::run(arguments, terminal),
    }
}

/// The options about files as settings of a recipe.
fn text_config(files: &[PathBuf], options: &TextFiles) -> TextConfig {
    let unescape = |text: &String| text.replace("\\n", "\n").replace("\\t", "\t");
    TextConfig {
        paths: files.to_vec(),
        format: options.format,
        text_column: options.text_column.clone(),
        document_separator: options.separator.as_ref().map(unescape),
        clean: CleanConfig { utf8: options.utf8.into(), ..CleanConfig::default() },
        valid: 0.0,
        ..TextConfig::default()
    }
}
