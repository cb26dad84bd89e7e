//! Every check over every operation of the registry.

use ff_testkit::{F32_TOLERANCE, GRADIENT_TOLERANCE, PARITY_TOLERANCE, Row, check_all};

/// Operations with fixtures too large to embed; `parity.rs` compares them.
const LARGE: &[&str] = &["attention", "feedforward_block", "mixture_of_experts"];

#[test]
fn every_check_of_every_case_passes() {
    let mut seen = 0;
    let rows = check_all(|row| {
        seen += 1;
        assert!(row.time.as_nanos() > 0, "{}", row.case);
    })
    .unwrap();
    let failures: Vec<String> =
        rows.iter().flat_map(|row| &row.failures).map(ToString::to_string).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    let cases = ff_ops::registry().iter().flat_map(|entry| (entry.cases)());
    for (row, case) in rows.iter().zip(cases) {
        assert_eq!(row.case, case.name);
        assert!(row.same_bits && row.nan && row.compared > 0, "{row:?}");
        assert!(row.gradient < GRADIENT_TOLERANCE && row.paths < F32_TOLERANCE, "{row:?}");
        assert!(row.parity.is_none_or(|error| error < PARITY_TOLERANCE), "{row:?}");
    }
    assert_eq!(seen, rows.len());
    for entry in ff_ops::registry() {
        let own = |row: &&Row| row.case.split('/').next() == Some(entry.name);
        let compared = rows.iter().filter(own).any(|row| row.parity.is_some());
        assert_eq!(compared, !LARGE.contains(&entry.name), "{}", entry.name);
    }
}

#[test]
fn every_operation_has_cases_named_after_it() {
    let mut names = std::collections::BTreeSet::new();
    for entry in ff_ops::registry() {
        let cases = (entry.cases)();
        assert!(!cases.is_empty(), "{} has no case", entry.name);
        for case in cases {
            let (op, variant) = case.name.split_once('/').unwrap_or_default();
            assert!(op == entry.name && !variant.is_empty(), "`{}` of {op}", case.name);
            assert_eq!(case.op.name(), entry.name, "the operation of `{}`", case.name);
            assert!(names.insert(case.name.clone()), "`{}` occurs twice", case.name);
        }
    }
}

#[test]
fn the_python_functions_follow_the_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/pytorch/functions.py");
    let stored = std::fs::read_to_string(path).unwrap();
    assert_eq!(stored, ff_testkit::python_functions(), "run the command in {path}");
}
