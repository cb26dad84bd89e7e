//! Modules of PyTorch against what PyTorch computes: `torch/fixtures.py`.
#![allow(clippy::unwrap_used)]

use ff_formats::TorchModule;
use ff_interop::onnx::{Error, Result, Session, Tensor};
use ff_interop::torch::to_onnx;
use serde_json::Value as Json;
use std::path::Path;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torch"))
}

fn session(file: &str) -> Result<Session> {
    let (module, tensors) = TorchModule::open(&folder().join(file))?;
    Session::new(to_onnx(&module.unwrap(), &tensors)?)
}

fn numbers(rows: &Json) -> Vec<f64> {
    let cells = rows.as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
    cells.map(|cell| cell.as_f64().unwrap()).collect()
}

#[test]
fn predictions_are_those_of_pytorch() {
    let cases = std::fs::read_to_string(folder().join("cases.json")).unwrap();
    let cases: Vec<Json> = serde_json::from_str(&cases).unwrap();
    assert!(cases.len() >= 33);
    let mut worst = 0.0f64;
    for case in &cases {
        let file = case["file"].as_str().unwrap();
        let session = session(file).unwrap();
        let port = session.model().inputs().remove(0);
        let x = port.dtype.unwrap().numbers(numbers(&case["input"])).unwrap();
        let x = Tensor::new(&[7, 4], x).unwrap();
        let y = session.run(vec![(port.name, x)]).unwrap().remove(0).1;
        let (found, expected) = (y.data().floats().unwrap(), numbers(&case["output"]));
        assert_eq!(found.len(), expected.len(), "{file}");
        let least = if file == "double.pt" { 1e-13 } else { 2e-6 };
        for (a, b) in found.iter().zip(&expected) {
            let gap = (a - b).abs() / b.abs().max(1.0);
            assert!(gap <= least, "{file}: {a} and {b}");
            worst = worst.max(gap);
        }
    }
    // Single precision was computed: something differs.
    assert!(worst > 0.0, "nothing was compared");
}

#[test]
fn what_is_not_read_is_named() {
    let fails = |file: &str| session(file).err().unwrap();
    for (file, expected) in [
        (
            "convolution.pt",
            "layer `0` (Conv1d): only a torch.nn.Sequential of these layers is read",
        ),
        ("half.pt", "layer `0` (Linear): its weight has another type than float32"),
        ("batches.pt", "layer `0` (BatchNorm1d): without running statistics"),
        ("columns.pt", "layer `1` (Softmax): its `dim` is not that of the columns"),
    ] {
        let error = fails(file);
        assert!(matches!(error, Error::Unsupported(_)), "{file}: {error}");
        assert!(error.to_string().contains(expected), "{file}: {error}");
    }
    let error = fails("unfit.pt");
    assert!(error.to_string().contains("layer `1` (Linear): it takes 5 numbers a row, and gets 4"));
    let error = fails("own.pt");
    assert!(matches!(&error, Error::File(ff_formats::Error::Refused { .. })), "{error}");
    assert!(error.to_string().contains("`__main__.Net`"), "{error}");
}

/// Every damaged byte is an error or another model, never a panic.
#[test]
fn damage_is_an_error() {
    let whole = std::fs::read(folder().join("norms.pt")).unwrap();
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("model.pt");
    for place in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x55;
        std::fs::write(&path, bytes).unwrap();
        if let Ok((Some(module), tensors)) = TorchModule::open(&path) {
            let _ = to_onnx(&module, &tensors);
        }
    }
}
