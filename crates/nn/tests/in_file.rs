//! A decoder whose matrices stay in the form of their file computes and learns as with the same
//! values as floats.
#![allow(clippy::unwrap_used)]

use ff_graph::{Graph, ParamId, Segment};
use ff_nn::models::{CausalLm, DecoderConfig, LanguageOptions, TokenBatch};
use ff_nn::{Builder, LoraConfig, Precision};
use ff_tensor::{DType, Device, FileForm, FileMatrix, Tensor};
use std::sync::Arc;

const TOKENS: usize = 60;

/// A small Llama with adapters beside frozen weights, or Mixtral.
fn model(kind: &str, tied: bool, options: &LanguageOptions) -> (CausalLm, Builder) {
    let config = format!(
        r#"{{"model_type": "{kind}", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 36,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "num_local_experts": 2, "num_experts_per_tok": 2, "tie_word_embeddings": {tied}}}"#
    );
    let config = DecoderConfig::parse(&config).unwrap();
    let mut builder = Builder::new();
    CausalLm::new(&mut builder, &config, options);
    builder.adapt("", LoraConfig { rank: 2, ..LoraConfig::default() });
    let model = CausalLm::new(&mut builder, &config, options);
    builder.freeze_where(|name| !name.contains("lora_"));
    (model, builder)
}

/// The loss and the gradients of the adapters.
fn learned(device: &Device, model: &CausalLm, mut graph: Graph, ignored: bool) -> (f64, Vec<f32>) {
    let ids: Vec<i32> = (0..TOKENS).map(|i| (i * 7 % 40) as i32).collect();
    let places: Vec<i32> = (0..TOKENS as i32 / 2).chain(0..TOKENS as i32 / 2).collect();
    let target =
        |i: usize| if ignored && !i.is_multiple_of(3) { -100 } else { (i * 11 % 40) as i32 };
    let targets: Vec<i32> = (0..TOKENS).map(target).collect();
    let input = |values: &[i32]| Tensor::from_slice(device, values, &[2, TOKENS / 2]).unwrap();
    let batch = TokenBatch {
        ids: graph.input(input(&ids)),
        positions: graph.input(input(&places)),
        segments: None,
    };
    let targets = graph.input(input(&targets));
    let loss = model.loss(&mut graph, &batch, &targets).unwrap();
    let sum = loss.sum.item().unwrap();
    graph.backward(loss.total).unwrap();
    (sum, graph.params_mut().gradients::<f32>().unwrap().to_vec())
}

/// With more rows than are multiplied one by one, both ways are the same products: bit by bit.
#[test]
fn an_adapter_learns_the_same_beside_weights_in_their_file() {
    let device = Device::default();
    let llama = ("llama", 15);
    // An expert's three matrices are a parameter with those of the others; the router is a matrix.
    let mixtral = ("mixtral", 17);
    let (f32, bf16) = (Precision::F32, Precision::Bf16);
    for ((kind, matrices), tied, precision) in [
        (llama, false, f32),
        (llama, true, f32),
        (llama, true, bf16),
        (mixtral, true, f32),
        (mixtral, false, bf16),
    ] {
        let options = LanguageOptions { precision, ..LanguageOptions::default() };
        let (network, builder) = model(kind, tied, &options);
        let mut params = builder.build(&device, DType::F32, 3, true).unwrap();
        // B is zero at first, and A would have no gradient.
        params.flat_mut::<f32>().unwrap().iter_mut().for_each(|v| *v += 0.01);
        let (_, mut builder) = model(kind, tied, &options);
        let names: Vec<String> = params
            .infos()
            .iter()
            .filter(|i| i.spec.segment == Segment::Frozen && i.spec.shape.dims().len() > 1)
            .map(|info| info.spec.name.clone())
            .collect();
        assert_eq!(names.len(), matrices + usize::from(!tied));
        builder.leave_in_file(|name| names.iter().any(|n| n == name));
        let mut filed = builder.build(&device, DType::F32, 3, true).unwrap();
        filed.flat_mut::<f32>().unwrap().copy_from_slice(params.flat::<f32>().unwrap());
        for name in &names {
            let id: ParamId = params.id(name).unwrap();
            let values = params.values::<f32>(id).unwrap();
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let dims = params.info(id).spec.shape.dims();
            let dims = [dims[dims.len() - 2], dims[dims.len() - 1]];
            let count = values.len() / (dims[0] * dims[1]);
            let all = [count * dims[0], dims[1]];
            let all = FileMatrix::new(FileForm::F32, all, Arc::new(bytes), 0).unwrap();
            let stack: Vec<FileMatrix> =
                (0..count).map(|i| all.part(i * dims[0]..(i + 1) * dims[0]).unwrap()).collect();
            assert!(filed.set_file(id, [&stack[..], &stack[..1]].concat()).is_err());
            filed.set_file(id, stack).unwrap();
            assert!(filed.values::<f32>(id).is_err() && filed.values_mut::<f32>(id).is_err());
        }
        let dense = learned(&device, &network, Graph::new(&device, params), true);
        let in_file = learned(&device, &network, Graph::new(&device, filed), true);
        assert!(dense.1.iter().any(|&g| g != 0.0));
        assert_eq!(dense, in_file);
    }
}

/// Leaving out ignored tokens changes the order of sums over tokens alone: the loss by f64
/// rounding, gradients not at all, since those of the output layer's input are one row each.
#[test]
fn tokens_that_are_not_learned_can_be_left_out() {
    let device = Device::default();
    for ignored in [false, true] {
        let of = |skip| {
            let options = LanguageOptions { skip_ignored: skip, ..LanguageOptions::default() };
            let (network, builder) = model("llama", true, &options);
            let mut params = builder.build(&device, DType::F32, 3, true).unwrap();
            params.flat_mut::<f32>().unwrap().iter_mut().for_each(|v| *v += 0.01);
            learned(&device, &network, Graph::new(&device, params), ignored)
        };
        let (all, some) = (of(false), of(true));
        assert!((all.0 - some.0).abs() < 1e-6 * all.0, "{} {}", all.0, some.0);
        let largest = all.1.iter().fold(0f32, |m, g| m.max(g.abs()));
        for (a, b) in all.1.iter().zip(&some.1) {
            assert!((a - b).abs() <= 1e-6 * largest, "{a} {b}");
        }
    }
}
