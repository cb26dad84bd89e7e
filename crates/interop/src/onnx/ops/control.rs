//! Graphs within graphs.

use super::super::session::{Call, Outcome, ints};
use super::super::tensor::Tensor;
use super::elementwise::truths;
use super::shape::join;
use super::{Operator, op};
use std::sync::Arc;

pub(super) const OPS: &[Operator] = &[
    op("If", &["else_branch", "then_branch"], |c| {
        let condition = truths(c.input(0)?)?.first().copied().ok_or("its condition is empty")?;
        c.graph(if condition { "then_branch" } else { "else_branch" }, Vec::new())
    }),
    op("Loop", &["body"], repeat),
];

/// The most rounds of a loop.
const MOST: i64 = if cfg!(feature = "fuzzing") { 1 << 6 } else { 1 << 20 };

/// Values carried from round to round, and those of each round joined.
fn repeat(c: &Call<'_>) -> Outcome {
    let most = c.get(0).map(ints).transpose()?.and_then(|v| v.first().copied());
    let mut go_on = c.get(1).map(truths).transpose()?.is_none_or(|v| v.first() != Some(&false));
    let carried = c.len().saturating_sub(2);
    let mut state = (0..carried).map(|i| c.shared(i + 2)).collect::<Result<Vec<_>, _>>()?;
    let mut scans: Vec<Vec<Tensor>> = vec![Vec::new(); c.outputs().saturating_sub(carried)];
    let mut round = 0;
    while go_on && most.is_none_or(|most| round < most) {
        if round == MOST {
            return Err(format!("it goes on for more than {MOST} rounds"));
        }
        let number = Arc::new(Tensor::scalar(vec![round]));
        let inputs = [number, Arc::new(Tensor::scalar(vec![true]))].into_iter().chain(state);
        let mut outputs = c.graph("body", inputs.collect())?.into_iter();
        let next = outputs.next().ok_or("its body has no condition")?;
        go_on = truths(&next)?.first().copied().unwrap_or(false);
        state = outputs.by_ref().take(carried).map(Arc::new).collect();
        for (scan, x) in scans.iter_mut().zip(outputs) {
            let dims = [&[1], x.dims()].concat();
            scan.push(x.reshaped(&dims)?);
        }
        round += 1;
    }
    let scans = scans.iter().map(|rows| {
        if rows.is_empty() {
            return Err(
                "a loop without rounds gives no rows, whose shape this version does not know"
                    .to_owned(),
            );
        }
        join(&rows.iter().collect::<Vec<_>>(), 0)
    });
    state.into_iter().map(|x| Ok(Arc::unwrap_or_clone(x))).chain(scans).collect()
}
