//! Readers of files under libFuzzer: one binary, whose target the variable `TARGET` names.
//!
//! A target writes its input to a file in memory and reads it as the program would. Errors are
//! what is expected of most inputs; panics, endless loops and huge allocations are not.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ff_formats::{GgufFile, TensorFile};
use ff_interop::onnx::{DType, Data, Model, Network, Session, Tensor};
use ff_nn::models::DecoderConfig;
use ff_table::{SourceOptions, load};
use ff_tensor::ThreadPool;
use ff_text::{ChatTemplate, Tokenizer};
use libfuzzer_sys::fuzz_target;

/// A reader, the extension of its files, and what it does with one.
struct Target {
    name: &'static str,
    extension: &'static str,
    read: fn(&Path, &[u8]),
}

const fn table(name: &'static str, extension: &'static str) -> Target {
    Target { name, extension, read: read_table }
}

static TARGETS: &[Target] = &[
    table("csv", "csv"),
    table("jsonl", "jsonl"),
    table("json", "json"),
    table("npy", "npy"),
    table("npz", "npz"),
    table("idx", "idx"),
    table("arrow", "arrow"),
    table("parquet", "parquet"),
    table("zip", "csv.zip"),
    table("gz", "csv.gz"),
    table("lz4", "csv.lz4"),
    table("xz", "csv.xz"),
    table("bzip2", "csv.bz2"),
    table("xlsx", "xlsx"),
    Target { name: "safetensors", extension: "safetensors", read: read_tensors },
    Target { name: "torch", extension: "pt", read: read_torch },
    Target { name: "tokenizer", extension: "json", read: read_tokenizer },
    Target { name: "sentencepiece", extension: "model", read: read_tokenizer },
    Target { name: "config", extension: "json", read: read_config },
    Target { name: "gguf", extension: "gguf", read: read_gguf },
    Target { name: "onnx", extension: "onnx", read: read_onnx },
    Target { name: "bundle", extension: "index", read: read_bundle },
    Target { name: "tflite", extension: "tflite", read: read_tflite },
    Target { name: "keras", extension: "keras", read: read_keras },
    Target { name: "numpy", extension: "npy", read: read_numpy },
    Target { name: "template", extension: "jinja", read: render_template },
];

static CHOSEN: LazyLock<(&'static Target, PathBuf)> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    let Some(target) = target else {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("TARGET is one of {}", names.join(", "));
    };
    let folder = if Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
    let file = format!("ff-fuzz-{}.{}", std::process::id(), target.extension);
    (target, folder.join(file))
});

fuzz_target!(|bytes: &[u8]| {
    let (target, path) = &*CHOSEN;
    fs::write(path, bytes).expect("the folder in memory takes files");
    (target.read)(path, bytes);
});

fn read_table(path: &Path, _: &[u8]) {
    static THREADS: LazyLock<ThreadPool> = LazyLock::new(|| ThreadPool::new(1));
    if let Ok((table, _)) = load(path, &SourceOptions::default(), &THREADS) {
        // What was read is well-formed: every column has every row.
        assert!(table.columns().iter().all(|column| column.values.len() == table.rows()));
    }
}

fn read_tensors(path: &Path, _: &[u8]) {
    let Ok(file) = TensorFile::open(path) else { return };
    for entry in file.entries() {
        let _ = file.floats(&entry.name, &entry.dims);
    }
}

/// Tensors, or the layers of a module and the graph that they become.
fn read_torch(path: &Path, bytes: &[u8]) {
    read_tensors(path, bytes);
    if let Ok(ff_interop::Foreign::Graph(graph)) = ff_interop::Foreign::open(path) {
        evaluate(*graph);
    }
}

fn read_tokenizer(path: &Path, _: &[u8]) {
    let Ok(tokenizer) = Tokenizer::load(path) else { return };
    let Ok(ids) = tokenizer.encode("Every 1st naïve 文 text\n\n  costs €2.") else { return };
    let _ = tokenizer.decode(&ids);
}

fn read_config(_: &Path, bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = DecoderConfig::parse(text);
}

fn read_gguf(path: &Path, _: &[u8]) {
    let Ok(file) = GgufFile::open(path) else { return };
    for name in file.tensors().keys() {
        let _ = file.floats(name);
    }
}

fn render_template(_: &Path, bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = ChatTemplate::new(source, [("eos_token", "</s>")], "a template") else { return };
    let messages = serde_json::json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "A naïve 文?" },
        { "role": "assistant", "content": "Yes." },
    ]);
    let Some(messages) = messages.as_array() else { return };
    let _ = template.render(messages, None, true);
    let _ = template.render_marked(messages, None);
}

fn read_onnx(_: &Path, bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(bytes) else { return };
    let _ = (model.summary(), Network::of(&model));
    evaluate(model);
}

/// Weights of TensorFlow; the data beside the index is missing.
fn read_bundle(path: &Path, _: &[u8]) {
    let _ = ff_interop::Foreign::open(path);
}

fn read_tflite(_: &Path, bytes: &[u8]) {
    if let Ok(graph) = ff_interop::tflite::from_bytes(bytes) {
        evaluate(graph);
    }
}

/// Weights, layers, and the graph that they become.
fn read_keras(_: &Path, bytes: &[u8]) {
    let Ok(model) = ff_interop::keras::Model::from_bytes(bytes.to_vec()) else { return };
    let _ = (model.arrays(), model.layers());
    if let Ok(graph) = model.to_onnx() {
        evaluate(graph);
    }
}

/// Arrays of NumPy, pickled or not.
fn read_numpy(path: &Path, bytes: &[u8]) {
    let _ = ff_formats::numpy_arrays(path, bytes);
}

/// Inputs of ones, of 2 where a dimension varies.
fn evaluate(model: Model) {
    let Ok(session) = Session::new(model) else { return };
    let ones = |dtype: DType, n: usize| match dtype {
        DType::Text => Data::Text(vec!["a".into(); n]),
        other => other.numbers(vec![1.0; n]).unwrap_or(Data::F32(vec![1.0; n])),
    };
    let inputs = session.model().inputs().into_iter().map(|port| {
        let dims: Vec<usize> = port.dims.unwrap_or_default().into_iter().map(|d| d.unwrap_or(2)).collect();
        let n = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n < 1 << 16)?;
        Some((port.name, Tensor::new(&dims, ones(port.dtype.unwrap_or(DType::F32), n)).ok()?))
    });
    let Some(inputs) = inputs.collect::<Option<Vec<_>>>() else { return };
    let _ = session.with_memory(64 << 20).run(inputs);
}
