//! Models of TensorFlow Lite against its interpreter: `scripts/tflite_fixtures.py`.
#![allow(clippy::unwrap_used)]

use ff_interop::onnx::{Session, Tensor};
use serde_json::Value as Json;
use std::path::Path;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tflite"))
}

/// A shape and its numbers.
fn array(json: &Json) -> (Vec<usize>, Vec<f64>) {
    let dims = json[0].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize);
    let numbers = json[1].as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
    (dims.collect(), numbers.collect())
}

#[test]
fn outputs_are_those_of_the_interpreter() {
    let cases: Json =
        serde_json::from_str(&std::fs::read_to_string(folder().join("cases.json")).unwrap())
            .unwrap();
    let cases = cases.as_array().unwrap();
    assert!(cases.len() >= 4);
    let (mut failed, mut worst) = (Vec::new(), 0.0f64);
    for case in cases {
        let file = case["file"].as_str().unwrap();
        let model = ff_interop::tflite::open(&folder().join(file));
        let session = match model.and_then(Session::new) {
            Ok(session) => session,
            Err(error) => {
                failed.push(format!("{file}: {error}"));
                continue;
            }
        };
        let inputs = case["inputs"].as_object().unwrap().iter().map(|(name, json)| {
            let (dims, numbers) = array(json);
            let numbers: Vec<f32> = numbers.into_iter().map(|x| x as f32).collect();
            (name.clone(), Tensor::new(&dims, numbers).unwrap())
        });
        let outputs = match session.run(inputs.collect()) {
            Ok(outputs) => outputs,
            Err(error) => {
                failed.push(format!("{file}: {error}"));
                continue;
            }
        };
        let expected = case["outputs"].as_object().unwrap();
        assert_eq!(outputs.len(), expected.len(), "{file}");
        for (name, tensor) in outputs {
            let (dims, numbers) = array(&expected[&name]);
            if tensor.dims() != dims {
                failed.push(format!(
                    "{file}: {name} has the shape {:?}, not {dims:?}",
                    tensor.dims()
                ));
                continue;
            }
            let found = tensor.data().floats().unwrap();
            let gaps = found.iter().zip(&numbers).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
            let most = gaps.fold(0.0f64, |most, gap| if gap <= most { most } else { gap });
            if most.is_nan() || most > 2e-6 {
                failed.push(format!("{file}: {name} differs by {most:e}"));
            }
            worst = worst.max(most);
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(worst > 0.0, "nothing was compared");
    println!("the largest difference is {worst:e}");
}

#[test]
fn damaged_files_are_errors() {
    let read = |bytes: &[u8]| ff_interop::tflite::from_bytes(bytes).and_then(Session::new);
    for file in ["dense.tflite", "image.tflite", "operations.tflite"] {
        let whole = std::fs::read(folder().join(file)).unwrap();
        assert!(read(&whole).is_ok(), "{file}");
        // The tables lie at both ends; the weights are in between.
        for length in (0..whole.len()).step_by(97) {
            assert!(read(&whole[..length]).is_err(), "{file}: {length} bytes");
        }
        for i in (0..whole.len()).step_by(5) {
            let mut bytes = whole.clone();
            bytes[i] ^= 0xff;
            let _ = read(&bytes);
        }
    }
    let error = read(b"\x08\x00\x00\x00TFL2").unwrap_err().to_string();
    assert!(error.contains("does not begin like one"), "{error}");
}
