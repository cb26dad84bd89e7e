use std::process::ExitCode;

use clap::CommandFactory;

use crate::arguments::{Cli, Completions};
use crate::failure::Failure;
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Completions) -> Result<ExitCode, Failure> {
    // Written to memory first: the generator exits the program if its output is closed.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "feedforward", &mut script);
    Terminal::data(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
