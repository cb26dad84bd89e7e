//! The operators, by family: one row and one function each, under the names of the standard.

mod attention;
mod control;
mod conv;
mod elementwise;
mod index;
mod linear;
mod loss;
mod ml;
mod norm;
mod quantise;
mod recurrence;
mod recurrent;
mod reduce;
mod resize;
mod shape;
mod single;
mod text;
mod walk;
mod window;
mod windows;
mod words;

pub(super) use linear::{BIASED, ONE_HOT_PRODUCT};

use super::build::ML;
use super::session::{Call, Operator, Outcome};
use std::collections::HashMap;
use std::sync::LazyLock;

/// A row of a family.
const fn op(
    name: &'static str,
    attributes: &'static [&'static str],
    run: fn(&Call<'_>) -> Outcome,
) -> Operator {
    Operator { domain: "", name, attributes, run }
}

/// A row of a family of another domain.
const fn of(
    domain: &'static str,
    name: &'static str,
    attributes: &'static [&'static str],
    run: fn(&Call<'_>) -> Outcome,
) -> Operator {
    Operator { domain, name, attributes, run }
}

/// A new family is a file and a line here.
static FAMILIES: &[&[Operator]] = &[
    attention::OPS,
    control::OPS,
    conv::OPS,
    elementwise::OPS,
    index::OPS,
    linear::OPS,
    loss::OPS,
    ml::OPS,
    norm::OPS,
    quantise::OPS,
    recurrence::OPS,
    recurrent::OPS,
    reduce::OPS,
    resize::OPS,
    shape::OPS,
    text::OPS,
    words::OPS,
];

/// The operator of this domain and name.
pub(crate) fn find(domain: &str, name: &str) -> Option<&'static Operator> {
    static BY_NAME: LazyLock<HashMap<(&str, &str), &'static Operator>> = LazyLock::new(|| {
        FAMILIES.iter().copied().flatten().map(|op| ((op.domain, op.name), op)).collect()
    });
    BY_NAME.get(&(domain, name)).copied()
}

/// The names of all operators that are evaluated, sorted.
///
/// ```
/// assert!(ff_interop::onnx::operators().iter().any(|name| name == "MatMul"));
/// ```
pub fn operators() -> Vec<String> {
    let all = FAMILIES.iter().copied().flatten();
    let mut names: Vec<String> =
        all.map(|op| super::model::qualified(op.domain, op.name)).collect();
    names.sort();
    names
}
