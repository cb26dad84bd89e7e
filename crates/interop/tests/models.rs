//! Published models, against what ONNX Runtime computed from the same inputs:
//! `scripts/fetch-models.sh onnx` fetches them, `scripts/onnx_models.py` stores inputs and outputs.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use ff_interop::onnx::{Session, Tensor};
use ff_interop::{Foreign, open_graph};
use std::fs;
use std::path::Path;

/// What may differ.
const MOST: f64 = 1e-4;

#[test]
fn published_models_compute_what_onnx_runtime_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/onnx");
    let Ok(cases) = fs::read_dir(folder.join("cases")) else {
        eprintln!(
            "skipped: {} has no cases; run scripts/fetch-models.sh onnx and scripts/onnx_models.py",
            folder.display()
        );
        return;
    };
    for case in cases {
        let case = case.unwrap().path();
        let name = fs::read_to_string(case.join("model")).unwrap();
        let session = Session::new(open_graph(&folder.join(name.trim())).unwrap()).unwrap();
        let tensor = |kind: &str, i: usize| {
            let bytes = fs::read(case.join(format!("{kind}_{i}.pb"))).unwrap();
            Tensor::from_bytes(&bytes).unwrap()
        };
        let ports = session.model().inputs();
        let inputs = || {
            let inputs = ports.iter().enumerate();
            inputs.map(|(i, port)| (port.name.clone(), tensor("input", i))).collect()
        };
        // Once more with the memory of the first run.
        let first = session.run(inputs()).unwrap();
        assert_eq!(first, session.run(inputs()).unwrap(), "{}", case.display());
        for (i, (output, found)) in first.iter().enumerate() {
            let expected = tensor("output", i);
            assert_eq!(found.dims(), expected.dims(), "{}: {output}", case.display());
            let (a, b) = (found.data().floats().unwrap(), expected.data().floats().unwrap());
            let off = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off <= MOST, "{}: {output} differs by {off:e}", case.display());
        }
    }
}

#[test]
fn a_published_saved_model_has_its_weights() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/onnx/basic-pitch");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there; run scripts/fetch-models.sh onnx", folder.display());
        return;
    }
    let Foreign::Weights(weights) = Foreign::open(&folder).unwrap() else { panic!("no weights") };
    let count: usize = weights.iter().map(|(_, tensor)| tensor.data().len()).sum();
    assert_eq!(count, 50_441);
    let finite = |tensor: &Tensor| tensor.data().floats().unwrap().iter().all(|x| x.is_finite());
    assert!(weights.iter().all(|(_, tensor)| finite(tensor)));
}
