//! The `feedforward` program.
//!
//! Exit codes: 0 success; 1 failure at run time; 2 wrong usage (an option, a recipe, a column, a
//! missing file); 130 stopped with Ctrl-C, after saying how to resume.
#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod failure;
mod inputs;
mod interrupt;
mod show;
mod terminal;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ColorChoice, CommandFactory, FromArgMatches};

use arguments::{Cli, Color};
use failure::Failure;
use terminal::Terminal;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let command = Cli::command().color(early_color(&arguments));
    let parsed = command.try_get_matches_from(&arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    let terminal = Terminal::new(&cli.global, cli.command.json(), cli.command.stdout_is_data());
    match commands::run(&cli.command, &terminal) {
        Ok(code) => code,
        Err(failure) => failure.report(&terminal),
    }
}

/// clap prints its own messages; `--json` adds an object on standard output.
fn usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let printed = error.print();
    if !error.use_stderr() {
        // Help, version and a closed output are not errors.
        return ExitCode::SUCCESS;
    }
    drop(printed);
    if cfg!(not(feature = "language")) && error.kind() == ErrorKind::InvalidSubcommand {
        let message = "commands of language models need a program built with --features language";
        let _ = writeln!(std::io::stderr().lock(), "{message}");
    }
    if arguments.iter().any(|argument| argument == "--json") {
        let message = error.render().to_string();
        let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Failure::usage(message).print_json();
    }
    ExitCode::from(failure::USAGE)
}

/// The colours of clap's own messages, printed before the arguments are parsed.
fn early_color(arguments: &[OsString]) -> ColorChoice {
    let texts: Vec<&str> = arguments.iter().filter_map(|a| a.to_str()).collect();
    let given = texts.iter().enumerate().find_map(|(i, text)| match text.strip_prefix("--color") {
        Some("") => texts.get(i + 1).copied(),
        Some(rest) => rest.strip_prefix('='),
        None => None,
    });
    match given.and_then(Color::from_name) {
        Some(Color::Always) => ColorChoice::Always,
        Some(Color::Never) => ColorChoice::Never,
        Some(Color::Auto) | None => ColorChoice::Auto,
    }
}
