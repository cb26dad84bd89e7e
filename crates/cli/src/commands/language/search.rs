use std::path::Path;
use std::process::ExitCode;

use feedforward::embedding::{Embedder, Pairs, VectorIndex};
use feedforward::tensor::Device;
use serde_json::json;

use crate::arguments::language::Search;
use crate::failure::Failure;
use crate::show::{Working, count, score};
use crate::terminal::Terminal;

/// Rows of a query, and pairs.
const TOP: usize = 10;
const PAIRS: usize = 100;
/// Characters of a text on a line.
const SHOWN: usize = 160;

pub(super) fn run(arguments: &Search, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let device = Device::open(arguments.machine.options()).map_err(feedforward::Error::from)?;
    let (data, column) = (arguments.data.as_deref(), arguments.text.as_deref());
    let inputs: Vec<&str> = arguments.inputs.iter().map(String::as_str).collect();
    let top = |usual| arguments.top.map_or(usual, |n| n as usize);
    if let Some(least) = arguments.pairs {
        let [index] = inputs[..] else {
            return Err(Failure::usage("--pairs compares the rows of one index")
                .help("name the index alone: feedforward search INDEX --pairs 0.9"));
        };
        let working = Working::new(terminal, format!("comparing the rows of {index}"));
        let index = VectorIndex::read(Path::new(index), data, column, &device)?;
        let pairs = index.pairs(least, top(PAIRS), &device);
        drop(working);
        return show_pairs(arguments, &pairs, terminal);
    }
    let [model, index, queries @ ..] = &inputs[..] else {
        return Err(Failure::usage("name a model, an index and a text to look for")
            .help("feedforward search MODEL INDEX QUERY; for near duplicates --pairs 0.9"));
    };
    if queries.is_empty() || queries.iter().any(|query| query.trim().is_empty()) {
        return Err(Failure::usage("there is nothing to look for")
            .help("give one or more texts behind the index"));
    }
    let working = Working::new(terminal, format!("searching {index}"));
    let index = VectorIndex::read(Path::new(index), data, column, &device)?;
    let mut model = Embedder::open(Path::new(model), &device, &arguments.embedding.options())?;
    if model.width() != index.width() {
        let (ours, theirs) = (model.width(), index.width());
        return Err(Failure::usage(format!(
            "the model has vectors of {ours} numbers, the index of {theirs}"
        ))
        .help("name the model that embedded the index"));
    }
    let vectors = model.embed(queries, &mut |_| true)?;
    let found = index.search(&vectors.values, top(TOP), &device)?;
    drop(working);
    if arguments.json {
        let results = queries.iter().zip(&found);
        let results: Vec<_> =
            results.map(|(query, hits)| json!({ "query": query, "hits": hits })).collect();
        Terminal::object(&json!({ "rows": index.rows(), "results": results }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for (query, hits) in queries.iter().zip(&found) {
        terminal.answer(terminal.bold(shortened(query)))?;
        for hit in hits {
            let text = hit.text.as_deref().map(shortened).unwrap_or_default();
            terminal.answer(format!(
                "  {:>6}  row {:<7} {text}",
                score(hit.score.into()),
                hit.row
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_pairs(arguments: &Search, pairs: &Pairs, terminal: &Terminal) -> Result<ExitCode, Failure> {
    if arguments.json {
        Terminal::object(pairs)?;
        return Ok(ExitCode::SUCCESS);
    }
    let least = arguments.pairs.unwrap_or_default();
    terminal
        .line(format!("{} pairs with a cosine of at least {least}", count(pairs.count as u64)))?;
    for pair in &pairs.shown {
        terminal.answer(format!("{}  rows {} and {}", score(pair.score.into()), pair.a, pair.b))?;
        for text in pair.texts.iter().flatten() {
            terminal.answer(format!("        {}", shortened(text)))?;
        }
    }
    let more = pairs.count - pairs.shown.len();
    if more > 0 {
        terminal.line(format!("  {} more (--top shows them)", count(more as u64)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A text in a line.
fn shortened(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(SHOWN) {
        line.truncate(end);
        line.push('…');
    }
    line
}
