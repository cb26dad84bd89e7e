//! Failures, for people and for programs.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use feedforward::table::DataError;
use feedforward::{Error, trainer};
use ff_settings::{Problem, RecipeError};
use serde_json::json;

use crate::terminal::{Style, Terminal, paint};

/// Failure at run time.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage.
pub(crate) const USAGE: u8 = 2;
/// Stopped with Ctrl-C: the code of shells for that signal.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// At least one, unless the reader closed the output.
    problems: Vec<Problem>,
    /// Already reported: only the exit code remains.
    silent: bool,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message.into(), None)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(FAILED, message.into(), None)
    }

    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self::new(INTERRUPTED, message.into(), None)
    }

    fn new(code: u8, message: String, help: Option<String>) -> Self {
        let help = help.filter(|help| !help.is_empty());
        let problem = Problem { key: None, message, help, source: None, span: None };
        Self { code, problems: vec![problem], silent: false }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        if let Some(problem) = self.problems.last_mut() {
            problem.help = Some(help.into());
        }
        self
    }

    /// Adds the mistakes of another recipe.
    pub(crate) fn add(&mut self, error: &RecipeError) {
        self.problems.extend(error.problems().iter().cloned());
    }

    /// Prints the failure; returns the exit code.
    pub(crate) fn report(&self, terminal: &Terminal) -> ExitCode {
        if !self.silent {
            let mut stderr = io::stderr().lock();
            for problem in &self.problems {
                // Without a reader of errors, only the exit code remains.
                let _ = stderr.write_all(render(problem, terminal.error_color).as_bytes());
            }
            drop(stderr);
            if terminal.json {
                self.print_json();
            }
        }
        ExitCode::from(self.code)
    }

    /// Prints the JSON object for programs.
    pub(crate) fn print_json(&self) {
        let problems: Vec<_> = self.problems.iter().map(problem_json).collect();
        let mut error = problems.first().cloned().unwrap_or_default();
        error["kind"] = match self.code {
            USAGE => "usage",
            INTERRUPTED => "interrupted",
            _ => "failure",
        }
        .into();
        if problems.len() > 1 {
            error["all"] = problems.into();
        }
        let _ = Terminal::object(&json!({ "error": error }));
    }
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    let (line, column) = problem.line_column().unzip();
    json!({
        "message": problem.message,
        "help": problem.help,
        "key": problem.key,
        "file": problem.source.as_ref().map(|source| &source.name),
        "line": line,
        "column": column,
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if is_broken_pipe(&error) {
            return Self { code: 0, problems: Vec::new(), silent: true };
        }
        let code = if is_usage(&error) { USAGE } else { FAILED };
        match error {
            Error::Recipe(error) => error.into(),
            error => Self::new(code, error.to_string(), Some(error.hint())),
        }
    }
}

impl From<RecipeError> for Failure {
    fn from(error: RecipeError) -> Self {
        Self { code: USAGE, problems: error.problems().to_vec(), silent: false }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        Error::from(error).into()
    }
}

#[cfg(feature = "language")]
impl From<feedforward::text::TextError> for Failure {
    fn from(error: feedforward::text::TextError) -> Self {
        Error::from(error).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: 0, problems: Vec::new(), silent: true };
        }
        Self::failed(format!("cannot write: {error}"))
    }
}

/// Whether a reader of our output, such as `head`, closed it; it has what it wanted.
fn is_broken_pipe(error: &Error) -> bool {
    let mut error: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = error {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return io.kind() == io::ErrorKind::BrokenPipe;
        }
        error = cause.source();
    }
    false
}

/// Whether the mistake is in the command: an option, a recipe, a column, a missing file.
fn is_usage(error: &Error) -> bool {
    match error {
        Error::Run { path, .. } => !path.exists(),
        Error::Data(error) => matches!(
            error,
            DataError::NoColumn { .. } | DataError::NotFound { .. } | DataError::Config { .. }
        ),
        Error::Train(trainer::Error::Tensor(feedforward::tensor::Error::Device(_))) => true,
        error => error.is_usage(),
    }
}

/// A problem with its source line, as compilers show it; the same characters with or without
/// colours.
fn render(problem: &Problem, color: bool) -> String {
    let dim = |text: &str| paint(color, Style::Dim, text);
    let red = |text: &str| paint(color, Style::Red, text);
    let mut text = format!("{} {}\n", red("error:"), paint(color, Style::Bold, &problem.message));
    if let (Some(source), Some((line, column)), Some(span)) =
        (&problem.source, problem.line_column(), &problem.span)
    {
        let shown = source.text.lines().nth(line - 1).unwrap_or_default();
        let rest = shown.chars().count().saturating_sub(column - 1);
        let marked = source.text.get(span.clone()).unwrap_or_default();
        let marked =
            marked.lines().next().unwrap_or_default().chars().count().clamp(1, rest.max(1));
        let margin = " ".repeat(line.to_string().len());
        // A tab stays a tab, so that the carets stand below what they mark.
        let before: String =
            shown.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
        let (arrow, bar, carets) = (dim("-->"), dim("|"), red(&"^".repeat(marked)));
        let _ = writeln!(text, "{margin}{arrow} {}:{line}:{column}", source.name);
        let _ = writeln!(text, "{margin} {bar}");
        let _ = writeln!(text, "{} {bar} {shown}", dim(&line.to_string()));
        let _ = writeln!(text, "{margin} {bar} {before}{carets}");
    } else if let Some(source) = &problem.source {
        let _ = writeln!(text, " {} {}", dim("-->"), source.name);
    }
    if let Some(help) = &problem.help {
        let _ = writeln!(text, "  {} {help}", paint(color, Style::Cyan, "help:"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ff_settings::Source;

    use super::*;

    /// Carets stand below what they mark, colours add nothing but themselves.
    #[test]
    fn a_problem_shows_its_line_and_marks_it() {
        let text = "[model]\n\thiden = [3]\n";
        let problem = Problem {
            key: None,
            message: "unknown key `model.hiden`".into(),
            help: Some("did you mean `hidden`?".into()),
            span: Some(9..14),
            source: Some(Arc::new(Source::new("r.toml", text))),
        };
        let shown = render(&problem, false);
        let expected = "error: unknown key `model.hiden`\n --> r.toml:2:2\n  |\n2 | \thiden = [3]\n  \
                        | \t^^^^^\n  help: did you mean `hidden`?\n";
        assert_eq!(shown, expected);
        let colored = render(&problem, true);
        assert!(colored.contains("\x1b[31m^^^^^\x1b[0m"), "{colored:?}");
        let mut stripped = colored;
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[36m"] {
            stripped = stripped.replace(code, "");
        }
        assert_eq!(stripped, expected);
    }
}
