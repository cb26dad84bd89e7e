//! Models of TensorFlow Lite against its interpreter: `scripts/tflite_fixtures.py`.
#![allow(clippy::unwrap_used)]

use ff_interop::Foreign;
use ff_interop::onnx::proto::AttributeProto;
use ff_interop::onnx::{DType, Data, GraphBuilder, Session, Tensor};
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

/// The weights of a SavedModel.
#[test]
fn variables_of_a_saved_model_are_read() {
    let read = |path: &Path| match Foreign::open(path) {
        Ok(Foreign::Weights(weights)) => Ok(weights),
        Ok(Foreign::Graph(_)) => panic!("a graph of {}", path.display()),
        Err(error) => Err(error.to_string()),
    };
    let saved = folder().join("saved");
    let text = std::fs::read_to_string(folder().join("saved.json")).unwrap();
    let expected: Json = serde_json::from_str(&text).unwrap();
    let weights = read(&saved).unwrap();
    assert_eq!(weights.len(), expected.as_object().unwrap().len());
    for (name, tensor) in &weights {
        let (dims, numbers) = array(&expected[name]);
        let found = match tensor.data() {
            Data::Bool(values) => values.iter().map(|&x| f64::from(u8::from(x))).collect(),
            data => data.floats().unwrap(),
        };
        assert_eq!((tensor.dims(), found), (&dims[..], numbers), "{name}");
    }
    assert_eq!(read(&saved.join("variables/variables.index")).unwrap(), weights);

    // Damaged indices are errors, or other weights.
    let other = tempfile::tempdir().unwrap();
    let [index, data] = ["index", "data-00000-of-00001"].map(|end| format!("variables.{end}"));
    let path = other.path().join(&index);
    std::fs::copy(saved.join("variables").join(&data), other.path().join(&data)).unwrap();
    let whole = std::fs::read(saved.join("variables").join(&index)).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(read(&path).is_err(), "{length} bytes");
    }
    for i in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[i] ^= 0xff;
        std::fs::write(&path, &bytes).unwrap();
        let _ = read(&path);
    }
    std::fs::write(&path, &whole).unwrap();
    std::fs::write(other.path().join(&data), b"short").unwrap();
    assert!(read(&path).unwrap_err().contains("ends before its data does"));
}

/// A graph that `feedforward export` wrote, in single precision: the file, read again, computes the
/// same.
#[test]
fn an_exported_graph_is_read_as_it_was() {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", DType::F32, &[None, Some(3)], "");
    let at = g.input("at", DType::I32, &[None, Some(1)], "");
    let put = |g: &mut GraphBuilder, name: &str, dims: &[usize], n: usize| {
        let values: Vec<f32> = (0..n).map(|i| (i * 37 % 19) as f32 / 10.0 - 0.8).collect();
        g.constant(name, &Tensor::new(dims, values).unwrap())
    };
    let (w, b) = (put(&mut g, "w", &[3, 4], 12), put(&mut g, "b", &[4], 4));
    let (gamma, slope) = (put(&mut g, "gamma", &[4], 4), put(&mut g, "slope", &[1], 1));
    let table = put(&mut g, "table", &[5, 2], 10);
    let flat = g.constant("flat", &Tensor::new(&[1], vec![-1i64]).unwrap());
    let ids = g.node("Reshape", "ids", &[&at, &flat]);
    let rows = g.node("Gather", "rows", &[&table, &ids]);
    let y = g.node("MatMul", "product", &[&x, &w]);
    let y = g.node("Add", "linear", &[&y, &b]);
    let mut parts = vec![rows];
    for name in ["Softplus", "Mish", "Selu", "Gelu", "HardSwish", "Elu", "LeakyRelu", "IsNaN"] {
        let z = g.node(name, name, &[&y]);
        let to = [AttributeProto::int("to", i64::from(DType::F32.code()))];
        parts.push(if name == "IsNaN" { g.node_with("Cast", "truth", &[&z], &to) } else { z });
    }
    parts.push(g.node("PRelu", "prelu", &[&y, &slope]));
    parts.push(g.node("LayerNormalization", "norm", &[&y, &gamma, &b]));
    let sharp = [AttributeProto::float("alpha", 1.0 / 6.0), AttributeProto::float("beta", 0.5)];
    parts.push(g.node_with("HardSigmoid", "hard", &[&y], &sharp));
    parts.push(g.node("Mean", "mean", &[&y, &y, &b]));
    let names: Vec<&str> = parts.iter().map(String::as_str).collect();
    let all = g.node_with("Concat", "all", &names, &[AttributeProto::int("axis", 1)]);
    g.output(&all, DType::F32, &[None, Some(50)]);
    let graph = g.build();
    let bytes = ff_interop::tflite::export(&graph, &["all"], "{}").unwrap();
    let again = ff_interop::tflite::from_bytes(&bytes).unwrap();
    assert_eq!(again.outputs()[0].kind(), "float [?, 50]");
    let [a, b] = [graph, again].map(|graph| {
        let x = vec![0.5f32, -1.5, 2.0, f32::NAN, 1.0, 0.0, -9.0, 30.0, 12.0];
        let inputs = vec![
            ("x".into(), Tensor::new(&[3, 3], x).unwrap()),
            ("at".into(), Tensor::new(&[3, 1], vec![4i32, 0, 2]).unwrap()),
        ];
        let outputs = Session::new(graph).unwrap().run(inputs).unwrap();
        outputs[0].1.data().floats().unwrap()
    });
    let gap = |(a, b): (&f64, &f64)| (a - b).abs() / a.abs().max(1.0);
    let same = a.iter().zip(&b).all(|(a, b)| (a.is_nan() && b.is_nan()) || gap((a, b)) < 1e-6);
    assert!(same && a.len() == 150, "{a:?}\n{b:?}");

    let mut g = GraphBuilder::new("texts");
    let x = g.input("x", DType::Text, &[None], "");
    let y = g.node("Identity", "y", &[&x]);
    g.output(&y, DType::Text, &[None]);
    let error = ff_interop::tflite::export(&g.build(), &["y"], "").unwrap_err().to_string();
    assert!(error.contains("no operators on texts"), "{error}");
}
