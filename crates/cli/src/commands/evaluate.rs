use std::process::ExitCode;

use serde_json::json;

use crate::arguments::Evaluate;
use crate::failure::Failure;
use crate::show::{Working, count, quoted_path, score_table};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Evaluate, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let device = arguments.machine.options()?;
    let working = Working::new(terminal, format!("judging {}", arguments.run.display()));
    let summary = feedforward::evaluate(&arguments.run, arguments.data.as_deref(), device)?;
    drop(working);
    if arguments.json {
        let mut object =
            json!({ "run": arguments.run, "part": summary.part, "rows": summary.rows });
        let scores = serde_json::to_value(summary.report.scores()).unwrap_or_default();
        if let (Some(object), Some(scores)) = (object.as_object_mut(), scores.as_object()) {
            object.extend(scores.clone());
        }
        if terminal.verbose {
            object["report"] = serde_json::to_value(&summary.report).unwrap_or_default();
        }
        Terminal::object(&object)?;
        return Ok(ExitCode::SUCCESS);
    }
    let what = match summary.part.as_str() {
        "test" => "the test part, which chose nothing".to_owned(),
        "valid" => "the validation part, which chose the epoch: expect a little less".to_owned(),
        file => file.to_owned(),
    };
    let run = terminal.bold(quoted_path(&arguments.run));
    terminal.line(format!("{run} on {what} · {} rows", count(summary.rows as u64)))?;
    score_table(terminal, &summary.report)?;
    Ok(ExitCode::SUCCESS)
}
