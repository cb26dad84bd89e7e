//! The tables of `ff-ops` for Python scripts.

use ff_ops::{Activation, RegressionLoss};
use std::fmt::Write;

/// The module `examples/pytorch/functions.py`: activations and regression losses by name, as
/// PyTorch functions.
///
/// ```
/// let module = ff_testkit::python_functions();
/// assert!(module.contains("\"leaky_relu\": lambda x, slope=0.01: F.leaky_relu(x, slope),"));
/// ```
pub fn python_functions() -> String {
    let activations = Activation::ALL.iter().map(|a| (a.name(), "x", a.attribute(), a.torch()));
    let losses = RegressionLoss::ALL.iter().map(|l| (l.name(), "x, t", l.attribute(), l.torch()));
    format!(
        "\"\"\"Activations and regression losses by name. Written from the tables in crates/ops by

    cargo run -p ff-testkit --example functions > examples/pytorch/functions.py
\"\"\"

import torch
from torch.nn import functional as F

ACTIVATIONS = {{
{}}}

LOSSES = {{
{}}}
",
        rows(activations),
        rows(losses)
    )
}

type Row<'a> = (&'a str, &'a str, Option<(&'a str, f64)>, &'a str);

fn rows<'a>(rows: impl Iterator<Item = Row<'a>>) -> String {
    let mut text = String::new();
    for (name, arguments, attribute, function) in rows {
        let attribute = attribute.map(|(key, value)| format!(", {key}={value:?}"));
        let attribute = attribute.unwrap_or_default();
        let _ = writeln!(text, "    \"{name}\": lambda {arguments}{attribute}: {function},");
    }
    text
}
