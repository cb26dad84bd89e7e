//! Every operation against PyTorch and JAX, through the stored fixtures.
#![allow(clippy::unwrap_used)]

use ff_graph::Case;
use ff_testkit::{Fixtures, parity_check};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Operations not comparable with PyTorch's numbers, and the reason.
const WITHOUT_FIXTURE: &[(&str, &str)] = &[];

fn folder(framework: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(framework)
}

/// Each operation's fixtures by its name.
fn fixtures(framework: &str) -> BTreeMap<String, Fixtures> {
    let files = std::fs::read_dir(folder(framework)).unwrap();
    let file = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        let fixtures =
            Fixtures::parse(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path.file_stem().unwrap().to_string_lossy().into_owned(), fixtures)
    };
    files.map(|entry| file(entry.unwrap().path())).collect()
}

fn cases() -> BTreeMap<String, Case> {
    let cases = ff_ops::registry().iter().flat_map(|entry| (entry.cases)());
    cases.map(|case| (case.name.clone(), case)).collect()
}

fn agrees_with(framework: &str) {
    let (cases, mut failures, mut compared) = (cases(), Vec::new(), 0);
    for (op, fixtures) in fixtures(framework) {
        let version = fixtures.framework().unwrap_or_default();
        assert!(version.starts_with(framework), "{op}: made by `{version}`");
        for name in fixtures.cases() {
            let Some(case) = cases.get(name) else {
                failures.push(format!(
                    "{framework}: `{name}` is stored, but there is no such \
                                       case"
                ));
                continue;
            };
            let result = parity_check(case, &fixtures);
            compared += result.compared;
            failures.extend(result.failures.iter().map(|f| format!("{framework}: {f}")));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(compared > 10_000, "{framework}: only {compared} values were compared");
}

#[test]
fn agrees_with_pytorch() {
    agrees_with("torch");
}

#[test]
fn agrees_with_jax() {
    agrees_with("jax");
}

#[test]
fn every_operation_has_a_pytorch_fixture() {
    let stored = fixtures("torch");
    let exempt: BTreeSet<&str> = WITHOUT_FIXTURE.iter().map(|(name, _)| *name).collect();
    for entry in ff_ops::registry() {
        let names: Vec<&str> =
            stored.get(entry.name).into_iter().flat_map(Fixtures::cases).collect();
        let own = names.iter().any(|name| name.starts_with(&format!("{}/", entry.name)));
        assert!(
            own != exempt.contains(entry.name),
            "{}: expected {} fixture, found {} of them; see crates/testkit/scripts",
            entry.name,
            if own { "no" } else { "a" },
            names.len()
        );
    }
}

#[test]
fn fixtures_stay_small() {
    let files = ["torch", "jax"].into_iter().flat_map(|f| std::fs::read_dir(folder(f)).unwrap());
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 2_200_000, "{bytes} bytes");
}

/// Changes a tensor or a note of a file, and expects the message.
#[test]
fn a_fixture_that_does_not_fit_is_named() {
    let bytes = std::fs::read(folder("torch").join("feedforward.safetensors")).unwrap();
    let case = cases()["feedforward/relu"].clone();
    let fixtures = Fixtures::parse(&bytes).unwrap();
    assert!(parity_check(&case, &fixtures).passed());

    let message = |case: &Case| parity_check(case, &fixtures).to_string();
    let mut other = case.clone();
    other.name = "feedforward/none".into();
    assert!(message(&other).contains("there is no fixture of this name"));
    let mut other = case.clone();
    other.inputs[0].dims = vec![6, 3];
    let expected = "input 0 has shape [5, 3] in the fixture, [6, 3] in the case";
    assert!(message(&other).contains(expected));
    let mut other = case.clone();
    other.op = cases()["feedforward/tanh"].op.clone();
    assert!(message(&other).contains("activation: Relu"), "{}", message(&other));

    // Another activation's numbers under the name of this one: the message gives the largest
    // difference with its position.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let at = text.find("Feedforward { activation: Selu").unwrap();
    let mut forged = bytes.clone();
    forged[at..at + 30].copy_from_slice(b"Feedforward { activation: Silu");
    let mut other = case.clone();
    other.op = cases()["feedforward/silu"].op.clone();
    other.name = "feedforward/selu".into();
    let message = parity_check(&other, &Fixtures::parse(&forged).unwrap()).to_string();
    assert!(message.contains("feedforward/selu: parity: y0 in f64 at ["), "{message}");
    assert!(message.contains("dx2 in f32 at ["), "{message}");
    assert!(Fixtures::parse(&bytes[..bytes.len() / 2]).is_err());
}
