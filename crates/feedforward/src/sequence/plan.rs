//! The plan of a run over rows of texts, which are ordered by length.

use crate::run::plan::PlanDetails;
use crate::words::count;
use serde_json::json;
use std::ops::Range;

/// The rows of the steps that are planned: a usual step, and the longest.
pub(crate) fn planned_steps(rows: usize, step: usize) -> Vec<Range<usize>> {
    let middle = (rows / 2).min(rows - step);
    std::iter::once(middle..middle + step).chain((middle > 0).then_some(0..step)).collect()
}

/// What a plan shows of the rows of each part, and of the tokens and steps of an epoch; `rate` is
/// what stands before the rows a second.
pub(crate) fn details(
    rows: [usize; 3],
    [steps_per_epoch, tokens]: [u64; 2],
    (rate, per_second): (&'static str, f64),
) -> PlanDetails {
    let json = json!({
        "steps_per_epoch": steps_per_epoch,
        "rows": rows,
        "tokens": tokens,
        "texts_per_second": per_second,
    });
    let [train, valid, test] = rows.map(|rows| count(rows as u64));
    PlanDetails {
        json: json.as_object().cloned().unwrap_or_default(),
        headline: Some(("Rows", format!("train {train} · valid {valid} · test {test} rows"))),
        memory: Vec::new(),
        amounts: vec![
            ("steps in an epoch", count(steps_per_epoch)),
            ("tokens in an epoch", count(tokens)),
        ],
        rates: vec![(rate, count(per_second as u64))],
        ..PlanDetails::default()
    }
}
