//! Graphs within graphs.

use super::super::session::{Call, Outcome, UNSUPPORTED, axis, ints};
use super::super::tensor::Tensor;
use super::elementwise::truths;
use super::shape::join;
use super::walk::around;
use super::{Operator, op};
use std::sync::Arc;

pub(super) const OPS: &[Operator] = &[
    op("If", &["else_branch", "then_branch"], |c| {
        let condition = truths(c.input(0)?)?.first().copied().ok_or("its condition is empty")?;
        c.graph(if condition { "then_branch" } else { "else_branch" }, Vec::new())
    }),
    op("Loop", &["body"], repeat),
    op(
        "Scan",
        &[
            "body",
            "num_scan_inputs",
            "scan_input_axes",
            "scan_input_directions",
            "scan_output_axes",
            "scan_output_directions",
        ],
        scan,
    ),
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
        join(c, &rows.iter().collect::<Vec<_>>(), 0)
    });
    state.into_iter().map(|x| Ok(Arc::unwrap_or_clone(x))).chain(scans).collect()
}

/// Values carried along the sequences of some inputs, and those of each step joined.
fn scan(c: &Call<'_>) -> Outcome {
    if c.opset() < 9 {
        return Err(format!("{UNSUPPORTED}batches of sequences, as scans had before version 9"));
    }
    let scanned = usize::try_from(c.int("num_scan_inputs", 0)?).unwrap_or(0);
    let carried = c.len().checked_sub(scanned).filter(|_| scanned > 0);
    let carried = carried.ok_or_else(|| format!("{scanned} of {} inputs are scanned", c.len()))?;
    let list = |name: &str, n: usize| -> Result<Vec<i64>, String> {
        let found = c.ints(name)?.unwrap_or_else(|| vec![0; n]);
        let fits = found.len() == n;
        fits.then_some(found).ok_or_else(|| format!("its attribute `{name}` has not {n} numbers"))
    };
    let (axes, turned) =
        (list("scan_input_axes", scanned)?, list("scan_input_directions", scanned)?);
    let made = c.outputs().saturating_sub(carried);
    let (to_axes, to_turned) =
        (list("scan_output_axes", made)?, list("scan_output_directions", made)?);
    let mut inputs = Vec::with_capacity(scanned);
    for (i, own) in axes.iter().enumerate() {
        let x = c.input(carried + i)?;
        inputs.push((x, axis(*own, x.dims().len())?));
    }
    let steps = inputs.first().map_or(0, |(x, axis)| x.dims()[*axis]);
    if inputs.iter().any(|(x, axis)| x.dims()[*axis] != steps) || steps as i64 > MOST {
        return Err(format!("its sequences are not all of {steps} steps, or too long"));
    }
    let mut state = (0..carried).map(|i| c.shared(i)).collect::<Result<Vec<_>, _>>()?;
    let mut found: Vec<Vec<Tensor>> = vec![Vec::with_capacity(steps); made];
    for t in 0..steps {
        let elements = inputs.iter().zip(&turned).map(|((x, axis), turned)| {
            let t = if *turned == 0 { t } else { steps - 1 - t };
            let [outer, n, inner] = around(x.dims(), *axis);
            let starts: Vec<usize> = (0..outer).map(|o| (o * n + t) * inner).collect();
            let mut dims = x.dims().to_vec();
            dims.remove(*axis);
            Tensor::of(&dims, x.data().runs(&starts, inner, c.pool())).map(Arc::new)
        });
        let elements = elements.collect::<Result<Vec<_>, _>>()?;
        let outputs = c.graph("body", state.into_iter().chain(elements).collect())?;
        let mut outputs = outputs.into_iter();
        state = outputs.by_ref().take(carried).map(Arc::new).collect();
        for (found, x) in found.iter_mut().zip(outputs) {
            found.push(x);
        }
    }
    let joined = found.into_iter().zip(to_axes.iter().zip(&to_turned));
    let joined = joined.map(|(mut rows, (to, turned))| {
        let Some(first) = rows.first() else {
            return Err("a scan without steps gives no rows, whose shape is not known".to_owned());
        };
        let to = axis(*to, first.dims().len() + 1)?;
        if *turned != 0 {
            rows.reverse();
        }
        let rows = rows.iter().map(|x| {
            let mut dims = x.dims().to_vec();
            dims.insert(to, 1);
            x.reshaped(&dims)
        });
        join(c, &rows.collect::<Result<Vec<_>, _>>()?.iter().collect::<Vec<_>>(), to)
    });
    state.into_iter().map(|x| Ok(Arc::unwrap_or_clone(x))).chain(joined).collect()
}
