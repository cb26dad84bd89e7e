//! Every check over every operation of the registry.

use ff_testkit::{Failure, gradient_check};

#[test]
fn gradients_and_promises_of_every_operation() {
    let mut failures = Vec::new();
    for entry in ff_ops::registry() {
        let cases = (entry.cases)();
        assert!(!cases.is_empty(), "{} has no case", entry.name);
        for case in cases {
            assert!(
                case.name.starts_with(entry.name),
                "the case `{}` is not named after `{}`",
                case.name,
                entry.name
            );
            failures.extend(gradient_check(&case).failures);
        }
    }
    assert!(failures.is_empty(), "\n{}", list(&failures));
}

fn list(failures: &[Failure]) -> String {
    failures.iter().map(Failure::to_string).collect::<Vec<_>>().join("\n")
}
