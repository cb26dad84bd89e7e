use std::process::ExitCode;

use serde_json::json;

use crate::arguments::Evaluate;
use crate::failure::Failure;
use crate::show::{Working, count, quoted_path, score_table, unfamiliar};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Evaluate, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let device = arguments.machine.options();
    let evaluate = feedforward::evaluate;
    #[cfg(feature = "language")]
    if feedforward::encoder::is_encoder_run(&arguments.run) {
        return encoder::run(arguments, device, terminal);
    }
    #[cfg(feature = "language")]
    if feedforward::translation::is_translation_model(&arguments.run) {
        return pairs::run(arguments, device, terminal);
    }
    #[cfg(feature = "language")]
    let encoder = feedforward::sequence::is_sequence_run(&arguments.run);
    #[cfg(feature = "language")]
    let evaluate = if encoder { feedforward::sequence::evaluate } else { evaluate };
    #[cfg(feature = "language")]
    if !encoder && feedforward::language::is_language_model(&arguments.run) {
        if !arguments.set.is_empty() {
            return Err(Failure::usage("--set is for tables, and this is a language model")
                .help("--text-column and --separator say how its text is read"));
        }
        return language::run(arguments, device, terminal);
    }
    if arguments.adapter.is_some() {
        return Err(Failure::usage("--adapter is for language models")
            .help("leave it out: this run's model reads a table"));
    }
    if arguments.text_column.is_some() || arguments.separator.is_some() {
        return Err(Failure::usage("--text-column and --separator are for language models")
            .help("leave them out: this run's model reads a table"));
    }
    let working = Working::new(terminal, format!("evaluating {}", arguments.run.display()));
    let (run, data, sets) = (&arguments.run, arguments.data.as_deref(), &arguments.set);
    let summary = evaluate(run, data, sets, device)?;
    drop(working);
    if arguments.json {
        let mut object =
            json!({ "run": arguments.run, "part": summary.part, "rows": summary.rows });
        object["left_out"] = serde_json::to_value(&summary.left_out).unwrap_or_default();
        object["unfamiliar"] = serde_json::to_value(&summary.unfamiliar).unwrap_or_default();
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
    for left_out in &summary.left_out {
        let rows = count(left_out.rows as u64);
        terminal.line(format!("  {rows} rows left out: {}", left_out.reason))?;
    }
    unfamiliar(terminal, &summary.unfamiliar, summary.rows)?;
    score_table(terminal, &summary.report)?;
    Ok(ExitCode::SUCCESS)
}

/// Encoders for labels, numbers, tags, masked tokens or pairs.
#[cfg(feature = "language")]
mod encoder {
    use super::{Evaluate, ExitCode, Failure, Terminal, Working, count, quoted_path};
    use crate::show::{Align, TextTable, score};
    use feedforward::tensor::DeviceOptions;
    use serde_json::json;

    pub(super) fn run(
        arguments: &Evaluate,
        device: DeviceOptions,
        terminal: &Terminal,
    ) -> Result<ExitCode, Failure> {
        if !arguments.set.is_empty()
            || arguments.adapter.is_some()
            || arguments.text_column.is_some()
            || arguments.separator.is_some()
        {
            let message = "--set, --adapter, --text-column and --separator are for other models";
            return Err(Failure::usage(message)
                .help("leave them out: this run reads files as in its training"));
        }
        let working = Working::new(terminal, format!("evaluating {}", arguments.run.display()));
        let (run, data) = (&arguments.run, arguments.data.as_deref());
        let found = feedforward::encoder::evaluate(run, data, device)?;
        drop(working);
        if arguments.json {
            let mut object = serde_json::to_value(&found).unwrap_or_default();
            object["run"] = json!(arguments.run);
            Terminal::object(&object)?;
            return Ok(ExitCode::SUCCESS);
        }
        let what = match found.part.as_str() {
            "test" => "the test part, which chose nothing".to_owned(),
            "valid" => "the validation part, which chose the epoch: expect a little less".into(),
            file => file.to_owned(),
        };
        let (run, rows) = (terminal.bold(quoted_path(run)), count(found.scores.rows as u64));
        terminal.line(format!("{run} on {what} · {rows} rows"))?;
        let baseline = &found.scores.baseline;
        let mut columns = vec![("", Align::Left), ("model", Align::Right), ("95 %", Align::Right)];
        if !baseline.is_empty() {
            columns.push((baseline, Align::Right));
        }
        let mut table = TextTable::new(&columns);
        for of in &found.scores.scores {
            let arrow = if of.higher_is_better { "↑" } else { "↓" };
            let interval = of.interval.map(|i| format!("{} to {}", score(i.low), score(i.high)));
            let name = format!("{} {arrow}", of.label);
            let mut cells = vec![name, score(of.value), interval.unwrap_or_default()];
            if !baseline.is_empty() {
                cells.push(of.baseline.map_or(String::new(), score));
            }
            table.row(cells);
        }
        for line in table.lines(terminal) {
            terminal.answer(line)?;
        }
        if !found.scores.groups.is_empty() {
            terminal.answer("")?;
            let heads = ["precision", "recall", "F1", "rows"].map(|head| (head, Align::Right));
            let mut table = TextTable::new(&[&[("", Align::Left)], &heads[..]].concat());
            for group in &found.scores.groups {
                let scores = [group.precision, group.recall, group.f1].map(score);
                let name = std::iter::once(group.name.clone());
                let rows = std::iter::once(count(group.support as u64));
                table.row(name.chain(scores).chain(rows).collect());
            }
            for line in table.lines(terminal) {
                terminal.answer(line)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Encoders with decoders.
#[cfg(feature = "language")]
mod pairs {
    use super::{Evaluate, ExitCode, Failure, Terminal, Working, count, quoted_path};
    use crate::show::{Align, TextTable, score};
    use feedforward::tensor::DeviceOptions;

    pub(super) fn run(
        arguments: &Evaluate,
        device: DeviceOptions,
        terminal: &Terminal,
    ) -> Result<ExitCode, Failure> {
        if arguments.adapter.is_some()
            || arguments.text_column.is_some()
            || arguments.separator.is_some()
        {
            let message = "--adapter, --text-column and --separator are for other models";
            let help = "name the columns with --set data.source=NAME --set data.target=NAME";
            return Err(Failure::usage(message).help(help));
        }
        let working = Working::new(terminal, format!("evaluating {}", arguments.run.display()));
        let (run, data, sets) = (&arguments.run, arguments.data.as_deref(), &arguments.set);
        let found = feedforward::translation::evaluate(run, data, sets, device)?;
        drop(working);
        if arguments.json {
            Terminal::object(&found)?;
            return Ok(ExitCode::SUCCESS);
        }
        let what = match found.part.as_str() {
            "test" => "the test part, which chose nothing".to_owned(),
            "valid" => "the validation part, which chose the epoch: expect a little less".into(),
            file => file.to_owned(),
        };
        let (run, pairs) = (terminal.bold(quoted_path(run)), count(found.scores.pairs as u64));
        let [source, target] = &found.columns;
        terminal.line(format!("{run} on {what} · {pairs} pairs, {source} → {target}"))?;
        for finding in &found.findings {
            terminal.line(format!("  {finding}"))?;
        }
        let heads = [("", Align::Left), ("", Align::Right), ("95 %", Align::Right)];
        let mut table = TextTable::new(&heads);
        for of in &found.scores.scores {
            let arrow = if of.higher_is_better { "↑" } else { "↓" };
            let interval = of.interval.map(|i| format!("{} to {}", score(i.low), score(i.high)));
            table.row(vec![
                format!("{} {arrow}", of.label),
                score(of.value),
                interval.unwrap_or_default(),
            ]);
        }
        for line in table.lines(terminal) {
            terminal.answer(line)?;
        }
        if found.scores.written < found.scores.pairs {
            let written = count(found.scores.written as u64);
            terminal.line(format!(
                "targets of the first {written} pairs were written; --set evaluate.rows=N writes more"
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Language models.
#[cfg(feature = "language")]
mod language {
    use super::{Evaluate, ExitCode, Failure, Terminal, Working, count, quoted_path};
    use crate::show::{Align, TextTable, score};
    use feedforward::language::{Exact, TextReading, evaluate_language};
    use feedforward::tensor::DeviceOptions;

    pub(super) fn run(
        arguments: &Evaluate,
        device: DeviceOptions,
        terminal: &Terminal,
    ) -> Result<ExitCode, Failure> {
        let working = Working::new(terminal, format!("evaluating {}", arguments.run.display()));
        let unescape = |text: &String| text.replace("\\n", "\n").replace("\\t", "\t");
        let reading = TextReading {
            format: None,
            text_column: arguments.text_column.clone(),
            document_separator: arguments.separator.as_ref().map(unescape),
        };
        let data = arguments.data.as_deref();
        let found = evaluate_language(
            &arguments.run,
            arguments.adapter.as_deref(),
            data,
            &reading,
            device,
        )?;
        drop(working);
        if arguments.json {
            Terminal::object(&found)?;
            return Ok(ExitCode::SUCCESS);
        }
        let what = match found.data.as_str() {
            "valid" => "its validation part",
            file => file,
        };
        let run = terminal.bold(quoted_path(&arguments.run));
        terminal.line(format!("{run} on {what} · windows of {} tokens", found.context))?;
        let mut table = TextTable::new(&[("", Align::Left), ("", Align::Right)]);
        let mut row = |name: &str, value: String| table.row(vec![name.into(), value]);
        if let Some(text) = &found.text {
            row("loss, nats a token ↓", score(text.loss));
            if let Some(interval) = text.interval {
                row("  95 %", format!("{} to {}", score(interval.low), score(interval.high)));
            }
            row("perplexity ↓", score(text.perplexity));
            row("bits per byte ↓", score(text.bits_per_byte));
            row("tokens", count(text.tokens));
            row("bytes", count(text.bytes));
        }
        let of = |exact: &Exact| {
            let (right, all) = (count(exact.right as u64), count(exact.questions as u64));
            format!("{right} of {all}, {:.2} %", 100.0 * exact.share())
        };
        if let Some(exact) = &found.exact {
            row("exact answers ↑", of(exact));
        }
        if let Some(choices) = &found.choices {
            row("right by likelihood ↑", of(&choices.by_likelihood));
            row("right by likelihood a byte ↑", of(&choices.by_byte));
        }
        for line in table.lines(terminal) {
            terminal.answer(line)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
