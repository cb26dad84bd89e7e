//! Encoders with decoders with dropout, as they are fine-tuned: gradients against central
//! differences, where values are dropped, and recomputation with the same masks.
#![allow(clippy::unwrap_used)]

use ff_graph::{Graph, Mode, Params, Result, Value};
use ff_nn::models::{
    EncoderDecoder, EncoderDecoderBatch, EncoderDecoderConfig, EncoderDecoderDropout,
    LanguageOptions,
};
use ff_nn::{Builder, LoraConfig, Precision};
use ff_tensor::{DType, Device, Element, Tensor};
use ff_testkit::network_check;
use std::collections::BTreeSet;

const FAMILIES: [&str; 3] = [
    r#"{"model_type": "t5", "vocab_size": 13, "d_model": 6, "d_kv": 3, "d_ff": 5, "num_heads": 2,
        "num_layers": 1, "num_decoder_layers": 1, "relative_attention_num_buckets": 8,
        "dropout_rate": 0.25}"#,
    r#"{"model_type": "mt5", "vocab_size": 13, "d_model": 6, "d_kv": 2, "d_ff": 4, "num_heads": 2,
        "num_layers": 2, "tie_word_embeddings": false, "dropout_rate": 0.3}"#,
    r#"{"model_type": "marian", "vocab_size": 13, "d_model": 6, "encoder_layers": 1,
        "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 3,
        "encoder_ffn_dim": 5, "decoder_ffn_dim": 4, "max_position_embeddings": 9,
        "activation_function": "swish", "pad_token_id": 12, "decoder_start_token_id": 12,
        "eos_token_id": 0, "init_std": 0.4, "dropout": 0.2, "attention_dropout": 0.1}"#,
];

fn config(json: &str) -> EncoderDecoderConfig {
    EncoderDecoderConfig::parse(json).unwrap()
}

fn build(
    config: &EncoderDecoderConfig,
    options: LanguageOptions,
    dropout: EncoderDecoderDropout,
    dtype: DType,
) -> (EncoderDecoder, Params) {
    let mut builder = Builder::new();
    let model = EncoderDecoder::with_dropout(&mut builder, config, &options, dropout);
    (model, builder.build(&Device::default(), dtype, 5, true).unwrap())
}

fn input<T: Element>(graph: &Graph, values: &[T], dims: &[usize]) -> Value {
    graph.input(Tensor::from_slice(graph.device(), values, dims).unwrap())
}

/// The loss of two sources, the second one padded, with targets of three tokens.
fn loss(model: &EncoderDecoder, graph: &mut Graph) -> Result<Value> {
    let batch = EncoderDecoderBatch {
        source: input(graph, &[2i32, 5, 6, 1, 7, 1, 0, 0], &[2, 4]),
        segments: Some(input(graph, &[0i32, 0, 0, 0, 0, 0, -1, -1], &[2, 4])),
        target: input(graph, &[0i32, 3, 4, 0, 8, 0], &[2, 3]),
    };
    let targets = input(graph, &[3i32, 4, 1, 8, 1, -100], &[2, 3]);
    Ok(model.loss(graph, &batch, &targets)?.total)
}

/// The loss and all gradients of a step.
fn step(config: &EncoderDecoderConfig, recompute: bool, step: u64) -> (f32, Vec<f32>) {
    let options = LanguageOptions { recompute, ..LanguageOptions::default() };
    let (model, params) = build(config, options, config.dropout, DType::F32);
    let mut graph = Graph::new(&Device::default(), params);
    graph.set_mode(Mode::Train);
    graph.set_step(step, 0);
    graph.params_mut().clear_gradients();
    let loss = loss(&model, &mut graph).unwrap();
    let value = loss.slice::<f32>().unwrap()[0];
    graph.backward(loss).unwrap();
    (value, graph.params_mut().gradients::<f32>().unwrap().to_vec())
}

#[test]
fn gradients_agree_with_central_differences() {
    // Marian's positions are computed in f32 alone.
    for json in &FAMILIES[..2] {
        let config = config(json);
        let usual = LanguageOptions::default();
        for dropout in [EncoderDecoderDropout::default(), config.dropout] {
            let (model, params) = build(&config, usual, dropout, DType::F64);
            network_check(config.family.name, params, |graph| loss(&model, graph)).assert();
        }
    }
}

#[test]
fn values_are_dropped_where_transformers_drops_them_and_in_training_alone() {
    // Three branches of a layer, one of which an encoder leaves out, weights of attention, twice in
    // a decoder, and activations but in Marian; of either part the embeddings and in T5 the output.
    for (json, count) in FAMILIES.into_iter().zip([5 + 6 + 4, 2 * (5 + 6) + 4, 4 + 5 + 2]) {
        let config = config(json);
        let value = |dropout, mode: Mode| -> f32 {
            let options = LanguageOptions::default();
            let (model, params) = build(&config, options, dropout, DType::F32);
            let mut graph = Graph::new(&Device::default(), params);
            graph.set_mode(mode);
            let loss = loss(&model, &mut graph).unwrap();
            loss.slice::<f32>().unwrap()[0]
        };
        let none = EncoderDecoderDropout::default();
        let (name, plain) = (config.family.name, value(none, Mode::Train));
        assert_eq!(value(config.dropout, Mode::Eval), plain, "{name}");
        let each = [
            EncoderDecoderDropout { hidden: 0.5, ..none },
            EncoderDecoderDropout { attention: 0.5, ..none },
            EncoderDecoderDropout { activation: 0.5, ..none },
        ];
        for dropout in each {
            assert!(value(dropout, Mode::Train) != plain, "{name}: {dropout:?}");
            assert_eq!(value(dropout, Mode::Train), value(dropout, Mode::Train), "{name}");
        }
        let (model, _) = build(&config, LanguageOptions::default(), config.dropout, DType::F32);
        let shown = format!("{model:?}");
        let paths = shown.split("path: \"").skip(1).map(|s| s.split('"').next().unwrap());
        let paths: BTreeSet<&str> = paths.collect();
        assert_eq!(paths.len(), count, "{name}: {paths:?}");
    }
}

#[test]
fn recomputation_draws_the_same_masks() {
    for json in FAMILIES {
        let config = config(json);
        let first = step(&config, false, 3);
        assert!(first == step(&config, true, 3), "{}", config.family.name);
        assert!(first != step(&config, true, 4), "{}", config.family.name);
    }
}

#[test]
fn dropout_works_in_bf16_and_beside_adapters() {
    for json in FAMILIES {
        let config = config(json);
        for precision in [Precision::F32, Precision::Bf16] {
            let options = LanguageOptions { precision, ..LanguageOptions::default() };
            let mut builder = Builder::new();
            EncoderDecoder::new(&mut builder, &config, &options);
            builder.adapt("", LoraConfig { rank: 2, ..LoraConfig::default() });
            let model =
                EncoderDecoder::with_dropout(&mut builder, &config, &options, config.dropout);
            let params = builder.build(&Device::default(), DType::F32, 5, true).unwrap();
            let mut graph = Graph::new(&Device::default(), params);
            graph.set_mode(Mode::Train);
            graph.params_mut().clear_gradients();
            let loss = loss(&model, &mut graph).unwrap();
            assert!(loss.slice::<f32>().unwrap()[0].is_finite());
            graph.backward(loss).unwrap();
        }
    }
}

#[test]
fn a_recipe_has_the_last_word() {
    let [t5, _, marian] = FAMILIES.map(config);
    let shares = |d: EncoderDecoderDropout| [d.hidden, d.attention, d.activation];
    assert_eq!(shares(t5.dropout_with([None; 3])), [0.25; 3]);
    assert_eq!(shares(t5.dropout_with([Some(0.0), None, None])), [0.0; 3]);
    assert_eq!(shares(t5.dropout_with([Some(0.2), Some(0.1), None])), [0.2, 0.1, 0.2]);
    assert_eq!(shares(marian.dropout_with([None; 3])), [0.2, 0.1, 0.0]);
    assert_eq!(shares(marian.dropout_with([Some(0.0), None, Some(0.3)])), [0.0, 0.1, 0.3]);
    let wrong = FAMILIES[0].replace("0.25", "1.0");
    let error = EncoderDecoderConfig::parse(&wrong).unwrap_err().to_string();
    assert!(error.contains("dropout_rate") && error.contains("below 1"), "{error}");
}
