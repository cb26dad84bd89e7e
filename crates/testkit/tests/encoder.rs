//! Encoders under a head over sequences: the gradients of the whole network, dropout included,
//! against central differences.
#![allow(clippy::unwrap_used)]

use ff_graph::{Graph, Mode, Params, Value};
use ff_nn::models::{Encoder, EncoderBatch, EncoderConfig, EncoderDropout, LanguageOptions};
use ff_nn::{Builder, Loss, LossConfig};
use ff_tensor::{DType, Device, Element, Tensor};
use ff_testkit::network_check;

const FAMILIES: [&str; 3] = [
    r#"{"model_type": "bert", "vocab_size": 13, "hidden_size": 6, "intermediate_size": 5,
        "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 9,
        "initializer_range": 0.4, "architectures": ["BertModel"]}"#,
    r#"{"model_type": "roberta", "vocab_size": 13, "hidden_size": 6, "intermediate_size": 5,
        "num_hidden_layers": 1, "num_attention_heads": 3, "max_position_embeddings": 9,
        "type_vocab_size": 1, "initializer_range": 0.4, "architectures": ["RobertaModel"]}"#,
    r#"{"model_type": "distilbert", "vocab_size": 13, "dim": 6, "hidden_dim": 5, "n_layers": 1,
        "n_heads": 2, "max_position_embeddings": 9, "initializer_range": 0.4,
        "architectures": ["DistilBertModel"]}"#,
];

/// Two texts, the second one padded.
const LENGTH: usize = 5;
const IDS: [i32; 2 * LENGTH] = [2, 5, 6, 7, 3, 2, 11, 3, 0, 0];
const SEGMENTS: [i32; 2 * LENGTH] = [0, 0, 0, 0, 0, 0, 0, 0, -1, -1];

fn config(json: &str, classes: usize, mean: bool) -> EncoderConfig {
    let classes: Vec<String> = (0..classes).map(|i| format!("class {i}")).collect();
    EncoderConfig::parse(json).unwrap().for_sequences(&classes, mean).unwrap()
}

fn build(config: &EncoderConfig, dropout: f64, dtype: DType) -> (Encoder, Params) {
    let mut builder = Builder::new();
    let dropout = EncoderDropout { hidden: dropout, head: dropout };
    let encoder = Encoder::with_dropout(&mut builder, config, &LanguageOptions::default(), dropout);
    (encoder, builder.build(&Device::default(), dtype, 5, true).unwrap())
}

fn input<T: Element>(graph: &Graph, values: &[T], dims: &[usize]) -> Value {
    graph.input(Tensor::from_slice(graph.device(), values, dims).unwrap())
}

fn batch(graph: &Graph, config: &EncoderConfig) -> EncoderBatch {
    let dims = [2, LENGTH];
    let ids = IDS.map(|id| if id == 0 { config.pad_token } else { id });
    let positions: Vec<i32> = ids.chunks(LENGTH).flat_map(|ids| config.positions(ids)).collect();
    EncoderBatch {
        ids: input(graph, &ids, &dims),
        positions: input(graph, &positions, &dims),
        types: Some(input(graph, &[0; 2 * LENGTH], &dims)),
        segments: Some(input(graph, &SEGMENTS, &dims)),
    }
}

#[test]
fn gradients_agree_with_central_differences() {
    for json in FAMILIES {
        for (classes, mean, dropout) in
            [(3, false, 0.0), (3, true, 0.2), (0, false, 0.2), (0, true, 0.0)]
        {
            let config = config(json, classes, mean);
            let loss = Loss::new(&LossConfig::default(), (classes > 0).then_some(classes), None);
            let loss = loss.unwrap();
            assert_eq!(loss.outputs(), config.labels);
            let (encoder, params) = build(&config, dropout, DType::F64);
            let result = network_check(config.family.name, params, |graph| {
                let logits = encoder.logits(graph, &batch(graph, &config))?;
                let target = match classes {
                    0 => input(graph, &[0.7f64, -1.2], &[2, 1]),
                    _ => input(graph, &[2i32, 0], &[2]),
                };
                Ok(loss.apply(graph, &logits, &target, None)?.0)
            });
            result.assert();
        }
    }
}

#[test]
fn dropout_acts_in_training_alone_and_differs_by_layer_and_step() {
    let config = config(FAMILIES[0], 3, true);
    let outputs = |dropout: f64, mode: Mode, step: u64| -> Vec<f32> {
        let (encoder, params) = build(&config, dropout, DType::F32);
        let mut graph = Graph::new(&Device::default(), params);
        graph.set_mode(mode);
        graph.set_step(step, 0);
        let batch = batch(&graph, &config);
        encoder.logits(&mut graph, &batch).unwrap().slice::<f32>().unwrap().to_vec()
    };
    let plain = outputs(0.0, Mode::Train, 0);
    assert_eq!(outputs(0.3, Mode::Eval, 0), plain);
    assert!(outputs(0.3, Mode::Train, 0) != plain);
    assert_eq!(outputs(0.3, Mode::Train, 1), outputs(0.3, Mode::Train, 1));
    assert!(outputs(0.3, Mode::Train, 1) != outputs(0.3, Mode::Train, 2));
    // Each layer has masks of its own: every residual branch and both ends have a path.
    let (encoder, _) = build(&config, 0.3, DType::F32);
    let shown = format!("{encoder:?}");
    let mut paths: Vec<&str> =
        shown.split("path: \"").skip(1).map(|s| s.split('"').next().unwrap()).collect();
    let all = paths.len();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), all, "{paths:?}");
}

#[test]
fn a_head_keeps_what_the_family_names_and_says_what_it_predicts() {
    let names = ["Bert", "Roberta", "DistilBert"];
    for (json, name) in FAMILIES.into_iter().zip(names) {
        let cls = config(json, 3, false);
        assert!(cls.to_json().contains(&format!("{name}ForSequenceClassification")));
        assert_eq!((cls.labels, cls.label_names()[2].as_str()), (3, "class 2"));
        let number = config(json, 0, true);
        assert!(number.is_regression() && number.mean_pooled && number.labels == 1);
        // A head may be replaced by another.
        let again = EncoderConfig::parse(&number.to_json()).unwrap();
        let again = again.for_sequences(&["a".into(), "b".into()], false).unwrap();
        assert!(!again.is_regression() && !again.mean_pooled);
        assert!(again.for_sequences(&["a".into()], false).is_err());
        let (_, params) = build(&cls, 0.0, DType::F32);
        let mut depths = vec![0; cls.layers + 2];
        for info in params.infos() {
            depths[cls.depth_of(&info.spec.name)] += 1;
        }
        assert!(depths.iter().all(|&n| n > 0), "{name}: {depths:?}");
        assert_eq!(depths[cls.layers + 1], 4, "{name}: {depths:?}");
        let outputs = params.infos().iter().filter(|info| cls.is_output(&info.spec.name));
        assert_eq!(outputs.count(), 2, "{name}");
    }
}
