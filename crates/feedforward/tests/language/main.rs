//! Language models against `transformers` (`testkit/scripts/language_fixtures.py`), their folders,
//! and what they write.
// Helpers of tests fail as tests do, and a test's deviations are worth reading.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::default_trait_access)]

mod adapters;
mod encoders;
mod folders;
mod gguf;
#[cfg(feature = "onnx")]
mod onnx;
mod pairs;
mod parity;
mod translation;
mod writing;

use feedforward::formats::TensorFile;
use feedforward::graph::{Graph, Value};
use feedforward::language::read_weights;
use feedforward::nn::Builder;
use feedforward::nn::models::{CausalLm, DecoderConfig, LanguageOptions, TokenBatch};
use feedforward::tensor::{DType, Device, Tensor};
use std::path::{Path, PathBuf};

/// The fixtures of decoders.
const DECODERS: [&str; 23] = [
    "gpt2",
    "gpt2_untied",
    "llama",
    "llama_biases",
    "llama_linear",
    "llama_yarn",
    "mistral",
    "qwen2",
    "qwen3",
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
    "olmo2",
    "gpt_oss",
    "gemma2",
    "gemma2_unbounded",
    "gemma3",
    "gemma3_bounded",
    "phi3",
    "phi3_long",
    "smollm3",
    "smollm3_windows",
    "llama_dynamic_long",
];

/// The folder of a family's model.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/language").join(name)
}

/// What `transformers` computed for it.
fn expected(name: &str) -> TensorFile {
    TensorFile::open(&fixture(name).join("expected.safetensors")).unwrap()
}

/// A model of a fixture, for training.
fn model(name: &str, options: &LanguageOptions) -> (DecoderConfig, CausalLm, Graph) {
    let text = std::fs::read_to_string(fixture(name).join("config.json")).unwrap();
    model_of(name, DecoderConfig::parse(&text).unwrap(), options)
}

/// The same with another config.
fn model_of(
    name: &str,
    config: DecoderConfig,
    options: &LanguageOptions,
) -> (DecoderConfig, CausalLm, Graph) {
    let device = Device::default();
    let mut builder = Builder::new();
    let model = CausalLm::new(&mut builder, &config, options);
    let mut params = builder.build_zeroed(&device, DType::F32, true).unwrap();
    read_weights(&fixture(name), &config, &mut params).unwrap();
    (config, model, Graph::new(&device, params))
}

/// A batch with the targets of the next token.
fn batch(graph: &Graph, ids: &[i32], dims: [usize; 2]) -> (TokenBatch, Value) {
    let [_, length] = dims;
    let input =
        |values: &[i32]| graph.input(Tensor::from_slice(graph.device(), values, &dims).unwrap());
    let positions: Vec<i32> = (0..ids.len()).map(|i| (i % length) as i32).collect();
    let next = |i: usize| if (i + 1).is_multiple_of(length) { -100 } else { ids[i + 1] };
    let targets: Vec<i32> = (0..ids.len()).map(next).collect();
    let batch = TokenBatch { ids: input(ids), positions: input(&positions), segments: None };
    (batch, input(&targets))
}

/// A tensor of i32 as an input of the graph.
fn ints(graph: &Graph, file: &TensorFile, name: &str) -> Value {
    let dims = file.dims(name).unwrap().to_vec();
    let values = file.i32(name).unwrap();
    graph.input(Tensor::from_slice(graph.device(), &values, &dims).unwrap())
}

/// 0 where a mask has 1, −1 for padding.
fn segments(graph: &Graph, file: &TensorFile) -> Value {
    let dims = file.dims("mask").unwrap().to_vec();
    let values: Vec<i32> = file.i32("mask").unwrap().iter().map(|m| m - 1).collect();
    graph.input(Tensor::from_slice(graph.device(), &values, &dims).unwrap())
}

/// The targets of each of the twenty steps.
fn targets(graph: &Graph, file: &TensorFile, step: usize) -> Value {
    let dims = file.dims("steps.targets").unwrap()[1..].to_vec();
    let len: usize = dims.iter().product();
    let values = &file.i32("steps.targets").unwrap()[step * len..][..len];
    graph.input(Tensor::from_slice(graph.device(), values, &dims).unwrap())
}
