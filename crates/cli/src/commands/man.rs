use std::process::ExitCode;

use clap::CommandFactory;

use crate::arguments::{Cli, Man};
use crate::failure::Failure;
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Man, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let command = Cli::command();
    let Some(folder) = &arguments.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        Terminal::data(&String::from_utf8_lossy(&page))?;
        return Ok(ExitCode::SUCCESS);
    };
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    written.map_err(|error| {
        Failure::failed(format!("cannot write the pages to {}: {error}", folder.display()))
    })?;
    terminal.line(format!("Saved  {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
