use std::process::ExitCode;

use crate::arguments::Env;
use crate::failure::Failure;
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Env, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let environment = feedforward::environment();
    if arguments.json {
        Terminal::object(&environment)?;
    } else {
        terminal.answer(environment)?;
    }
    Ok(ExitCode::SUCCESS)
}
