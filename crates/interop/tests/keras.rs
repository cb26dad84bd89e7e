//! Models of Keras against what Keras predicts: `scripts/keras_fixtures.py`.
#![cfg(feature = "keras")]
#![allow(clippy::unwrap_used)]

use ff_interop::keras::Model;
use ff_interop::onnx::{DType, Data, Port, Session, Tensor};
use serde_json::Value as Json;
use std::path::Path;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keras"))
}

fn cases() -> Vec<Json> {
    let text = std::fs::read_to_string(folder().join("cases.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The values of an input of the model, in the type of its port.
fn input(case: &Json, port: &Port) -> (String, Tensor) {
    let rows = case[2].as_array().unwrap();
    let width = rows[0].as_array().unwrap().len();
    let cells = rows.iter().flat_map(|row| row.as_array().unwrap());
    let data = if port.dtype == Some(DType::Text) {
        Data::Text(cells.map(|cell| cell.as_str().unwrap().to_owned()).collect())
    } else {
        let number = |cell: &Json| cell.as_f64().unwrap_or(f64::NAN);
        port.dtype.unwrap().numbers(cells.map(number).collect()).unwrap()
    };
    (port.name.clone(), Tensor::new(&[rows.len(), width], data).unwrap())
}

/// The largest difference from Keras, relative to numbers above 1.
fn difference(case: &Json) -> Result<f64, String> {
    let file = case["file"].as_str().unwrap();
    let fail = |e: ff_interop::keras::Error| format!("{file}: {e}");
    let model = Model::open(&folder().join(file)).and_then(|model| model.to_onnx());
    let session = Session::new(model.map_err(fail)?).map_err(fail)?;
    let ports = session.model().inputs();
    let inputs = case["inputs"].as_array().unwrap();
    let inputs = inputs.iter().zip(&ports).map(|(case, port)| input(case, port)).collect();
    let outputs = session.run(inputs).map_err(fail)?;
    let expected = case["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), expected.len(), "{file}");
    let mut worst = 0.0f64;
    for (i, ((name, found), expected)) in outputs.iter().zip(expected).enumerate() {
        let rows = expected.as_array().unwrap();
        let cells = rows.iter().flat_map(|row| row.as_array().unwrap());
        let cells: Vec<f64> = cells.map(|cell| cell.as_f64().unwrap()).collect();
        let values = found.data().floats().unwrap();
        if found.dims()[0] != rows.len() || values.len() != cells.len() {
            return Err(format!("{file}: output {i}, {name}: shape {:?}", found.dims()));
        }
        for (a, b) in values.iter().zip(&cells) {
            let gap = (a - b).abs() / b.abs().max(1.0);
            if gap.is_nan() || gap > 1e-6 {
                return Err(format!("{file}: output {i}, {name}: {a} and {b}"));
            }
            worst = worst.max(gap);
        }
    }
    Ok(worst)
}

#[test]
fn predictions_are_those_of_keras() {
    let cases = cases();
    assert!(cases.len() >= 14);
    let (mut worst, mut failed) = (0.0f64, Vec::new());
    for case in &cases {
        match difference(case) {
            Ok(gap) => worst = worst.max(gap),
            Err(message) => failed.push(message),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // Single precision was computed: something differs.
    assert!(worst > 0.0, "nothing was compared");
}

#[test]
fn layers_take_weights_of_several_files() {
    let open = |name: &str| Model::open(&folder().join(name));
    let weights = open("shards.weights.json").unwrap();
    assert!(!weights.has_layers() && weights.arrays().len() == 6);
    assert_eq!(weights.weights().unwrap()[0].1.dims(), [6, 8]);
    let layers = open("shards.json").unwrap();
    let error = layers.to_onnx().unwrap_err().to_string();
    assert!(error.contains("the file has no weights"), "{error}");
    let joined = layers.with_weights(weights).unwrap().to_onnx().unwrap();
    assert_eq!(
        joined.proto().graph,
        open("shards.keras").unwrap().to_onnx().unwrap().proto().graph
    );

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.json");
    for (text, expected) in [
        (r#"{"weight_map": {"/a/vars": ["../x.h5"]}}"#, "only files beside it are read"),
        (r#"{"weight_map": {"/a/vars": "gone.h5"}}"#, "gone.h5"),
        ("{}", "neither a configuration nor"),
        ("{", "no Keras model"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Model::open(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// Reads, translates and checks a file; gives the message of an error.
fn read(bytes: Vec<u8>) -> Result<(), String> {
    let model = Model::from_bytes(bytes).map_err(|e| e.to_string())?;
    let (_, _) = (model.arrays(), model.layers());
    let graph = model.to_onnx().map_err(|e| e.to_string())?;
    Session::new(graph).map(|_| ()).map_err(|e| e.to_string())
}

#[test]
fn damaged_files_are_errors() {
    let whole = std::fs::read(folder().join("dense_old.h5")).unwrap();
    assert_eq!(read(whole.clone()), Ok(()));
    for length in (0..whole.len()).step_by(61) {
        assert!(read(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
    // A byte of any header may lie; what is read then is an error or another model.
    for i in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[i] ^= 0xff;
        let _ = read(bytes);
    }
}

/// A `.keras` archive.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A model of one layer.
fn one(module: &str, class: &str, config: &str) -> Vec<u8> {
    let layer = format!(
        r#"{{"module": "{module}", "class_name": "{class}", "config": {{"name": "one" {config}}}}}"#
    );
    let config = format!(
        r#"{{"module": "keras", "class_name": "Sequential", "config": {{"name": "m", "layers": [
        {{"module": "keras.layers", "class_name": "InputLayer",
          "config": {{"batch_shape": [null, 3], "dtype": "float32", "name": "x"}}}}, {layer}]}}}}"#
    );
    archive(&[("config.json", config.as_bytes())])
}

#[test]
fn what_is_not_evaluated_is_refused_by_name() {
    assert_eq!(read(one("keras.layers", "Activation", r#", "activation": "relu""#)), Ok(()));
    let cases = [
        (one("keras.layers", "Lambda", ""), "layer `one` (Lambda): a Lambda is Python code"),
        (one("os", "system", ""), "layer `one` (system): it is Python code of `os`"),
        (one("keras.layers", "LSTM", ""), "layer `one` (LSTM): this version does not evaluate it"),
        (one("keras.layers", "Softmax", r#", "heat": 2"#), "the option `heat` is not known"),
        (one("keras.layers", "Softmax", r#", "dtype": "mixed_float16""#), "mixed_float16"),
        (
            one("keras.layers", "Dense", r#", "units": 2"#),
            "layer `one` (Dense): the file has no weights",
        ),
        (one("keras.layers", "Activation", r#", "activation": "f""#), "the activation f"),
        (
            one(
                "keras.layers",
                "Activation",
                r#", "activation": {"class_name": "function", "config": "f", "registered_name": "my>f"}"#,
            ),
            "my>f is Python code",
        ),
        (archive(&[("config.json", b"{")]), "its configuration"),
        (archive(&[("other.json", b"{}")]), "no config.json"),
        (
            archive(&[("config.json", br#"{"module": "m", "class_name": "Mine", "config": {}}"#)]),
            "subclass",
        ),
        (
            archive(&[("config.json", b"{}"), ("model.weights.npz", b"")]),
            "model.weights.npz: invalid Zip",
        ),
        (archive(&[("layers.npy", b"")]), "layers.npy: it is no array of NumPy"),
        (
            archive(&[("config.json", b"{}"), ("model.weights.h5", b"no")]),
            "model.weights.h5: this is no HDF5",
        ),
        (b"no model".to_vec(), "neither an archive"),
    ];
    for (bytes, expected) in cases {
        let error = read(bytes).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// `scripts/keras_npz.py`: the same model with its weights as pickles of NumPy.
#[test]
fn weights_as_npz_are_those_of_hdf5() {
    let open = |name: &str| Model::open(&folder().join(name));
    let expected = open("compiled.keras").unwrap();
    let arrays = |model: &Model| {
        let mut arrays = model.weights().unwrap();
        arrays.sort_by(|a, b| a.0.cmp(&b.0));
        arrays
    };
    for engine in ["tensorflow", "jax"] {
        let found = open(&format!("npz_{engine}.keras")).unwrap();
        let (own, theirs) = (arrays(&expected), arrays(&found));
        assert_eq!(own.len(), theirs.len(), "{engine}");
        for ((name, own), (other, theirs)) in own.iter().zip(&theirs) {
            // JAX counts in 32 bits.
            let values = |tensor: &Tensor| tensor.data().floats().unwrap();
            assert_eq!((name, own.dims(), values(own)), (other, theirs.dims(), values(theirs)));
        }
        let (own, theirs) = (expected.training().unwrap(), found.training().unwrap());
        assert_eq!(own.unwrap().layers, theirs.unwrap().layers);
        assert_eq!(
            expected.to_onnx().unwrap().to_bytes(),
            found.to_onnx().unwrap().to_bytes(),
            "{engine}"
        );
    }
    let alone = open("npz.weights.npz").unwrap();
    assert!(
        !alone.has_layers() && arrays(&alone) == arrays(&open("npz_tensorflow.keras").unwrap())
    );
    let layers = open("compiled.keras").unwrap().with_weights(alone).unwrap();
    assert_eq!(arrays(&layers).len(), arrays(&expected).len());
    // PyTorch's parameters are pickles in pickles.
    let error = open("npz_torch.keras").unwrap_err().to_string();
    assert!(
        error.contains("holds an object of Python, `torch._utils._rebuild_parameter`"),
        "{error}"
    );
}

/// A pickle that would call a function, and one whose array is not as long as it says.
#[test]
fn hostile_npz_is_refused() {
    let npy = |pickle: &[u8]| {
        let header = "{'descr': '|O', 'fortran_order': False, 'shape': (), }\n";
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.bytes());
        file.extend(pickle);
        file
    };
    let array = |n: u8| {
        let mut pickle = b"\x80\x04}\x8c\x010cnumpy._core.multiarray\n_reconstruct\n".to_vec();
        pickle.extend(b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01");
        pickle.extend([b'K', n, 0x85]);
        pickle.extend(b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R\x89C\x04\x00\x00\x80?tbs.");
        pickle
    };
    let read =
        |pickle: &[u8]| Model::from_bytes(archive(&[("layers/dense.npy", &npy(pickle)[..])]));
    let model = read(&array(1)).unwrap();
    assert_eq!(model.weights().unwrap()[0].1.data().floats().unwrap(), [1.0]);
    for (pickle, expected) in [
        (&b"cos\nsystem\n(X\x04\x00\x00\x00truetR."[..], "an object of Python, `os.system`"),
        (b"cbuiltins\neval\n.", "`builtins.eval`"),
        (b"cfunctools\npartial\n(cos\nsystem\ntR.", "`os.system`"),
        (b"}\x8c\x010K\x01s.", "no array that is read"),
        (b"](K\x01e.", "no dict of arrays"),
        (&array(2), "does not go with its 4 bytes"),
        (&array(1)[..30], "ends within its program"),
    ] {
        let error = read(pickle).unwrap_err().to_string();
        assert!(error.contains("layers/dense.npy") && error.contains(expected), "{error}");
    }
}

/// Every cut and every damaged byte of a pickle is an error or other values, never a panic.
#[test]
fn damaged_npz_is_an_error() {
    let bytes = std::fs::read(folder().join("npz.weights.npz")).unwrap();
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let mut whole = Vec::new();
    std::io::copy(&mut zip.by_name("layers/dense.npy").unwrap(), &mut whole).unwrap();
    let read = |bytes: &[u8]| ff_formats::numpy_arrays("dense.npy".as_ref(), bytes).is_ok();
    assert!(read(&whole));
    assert!((0..whole.len()).all(|length| !read(&whole[..length])));
    for place in 0..whole.len() {
        for flip in [0x01, 0x55, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[place] ^= flip;
            read(&damaged);
        }
    }
}

#[test]
fn bombs_take_no_memory() {
    // A kilobyte that would become a gigabyte: the archive's own sizes say so.
    let zeros = vec![b' '; 300 << 20];
    let error = read(archive(&[("config.json", &zeros)])).unwrap_err();
    assert!(error.contains("would become"), "{error}");
    // A chain of calls that never begins.
    let loop_ =
        br#"{"module": "keras", "class_name": "Functional", "config": {"name": "m", "layers": [
        {"module": "keras.layers", "class_name": "Softmax", "name": "a", "config": {"name": "a"},
         "inbound_nodes": [{"args": [{"class_name": "__keras_tensor__",
            "config": {"keras_history": ["a", 0, 0]}}], "kwargs": {}}]}],
        "input_layers": [], "output_layers": ["a", 0, 0]}}"#;
    let error = read(archive(&[("config.json", loop_)])).unwrap_err();
    assert!(error.contains("never computed"), "{error}");
}

/// A graph that `feedforward export` wrote, with a column of every kind and a batch ensemble: the
/// file for Keras, read again, computes the same.
#[test]
fn an_exported_graph_is_read_as_it_was() {
    let graph = ff_interop::onnx::Model::open(&folder().join("every_kind.onnx")).unwrap();
    let notes = serde_json::json!({ "classes": ["a", "b", "c"] });
    let bytes = ff_interop::keras::export(&graph, &["probabilities"], &notes, None).unwrap();
    let model = Model::from_bytes(bytes.clone()).unwrap();
    let classes: Vec<String> = model.layers().into_iter().map(|layer| layer.class).collect();
    for class in ["Dense", "EinsumDense", "Embedding", "StringLookup"] {
        assert!(classes.iter().any(|found| found == class), "{class}");
    }
    let sessions = [graph, model.to_onnx().unwrap()].map(|graph| Session::new(graph).unwrap());
    let [a, b] = sessions.map(|session| {
        let inputs = session.model().inputs().into_iter().map(|port| {
            let data: Data = match port.dtype.unwrap() {
                DType::Text => ["yes", "a", "", "none"].map(String::from).to_vec().into(),
                _ => vec![1.0, 7.5, f64::NAN, -1e9].into(),
            };
            (port.name, Tensor::new(&[4, 1], data).unwrap())
        });
        let outputs = session.run(inputs.collect()).unwrap();
        let found = outputs.into_iter().find(|(name, _)| name == "probabilities").unwrap();
        found.1.data().floats().unwrap()
    });
    assert_eq!(a.len(), 12);
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?}\n{b:?}");
    // The classes are in the archive, for programs that read it.
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let metadata: Json = serde_json::from_reader(zip.by_name("metadata.json").unwrap()).unwrap();
    assert_eq!(metadata["feedforward"], notes);

    let missing = ff_interop::keras::export(
        &ff_interop::onnx::Model::open(&folder().join("every_kind.onnx")).unwrap(),
        &["label"],
        &notes,
        None,
    );
    let error = missing.unwrap_err().to_string();
    assert!(error.contains("has no form in Keras; export as ONNX"), "{error}");
}
