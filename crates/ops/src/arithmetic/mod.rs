//! Element-wise sums, products and dropout.

pub(crate) mod add;
pub(crate) mod dropout;
pub(crate) mod mul;
pub(crate) mod scale;
pub(crate) mod scale_rows;

use ff_graph::{Case, CaseInput, Op};
use std::sync::Arc;

/// The cases of an operation on two inputs of one shape, or on an input and a row.
fn pair_cases(op: &str, make: fn() -> Arc<dyn Op>) -> Vec<Case> {
    let case = |name: &str, a: &[usize], b: &[usize]| {
        let inputs = vec![CaseInput::normal(a), CaseInput::normal(b)];
        Case::new(format!("{op}/{name}"), make(), inputs)
    };
    vec![
        case("same", &[5, 3], &[5, 3]),
        case("row", &[5, 3], &[3]),
        case("folded_row", &[2, 3, 4], &[4]),
        case("one", &[1], &[1]),
        case("no_rows", &[0, 3], &[3]),
        case("larger_than_a_block", &[4, 67], &[67]),
    ]
}
