//! BERT, RoBERTa, DistilBERT and ModernBERT against `transformers`, padding included.

use super::parity::{LOGITS, LOSSES, adamw, difference, gradients};
use super::{expected, fixture, ints, segments, targets};
use feedforward::formats::TensorFile;
use feedforward::graph::{Graph, Mode, ParamId};
use feedforward::language::{EncoderModel, SaveOptions};
use feedforward::nn::models::{
    Encoder, EncoderBatch, EncoderConfig, EncoderHead, plain_file_tensors,
};
use feedforward::nn::{Builder, Loss, LossConfig};
use feedforward::tensor::{DType, Device, Tensor};

fn open(name: &str) -> EncoderModel {
    EncoderModel::open(&fixture(name), &Default::default(), &Default::default()).unwrap()
}

/// The model of a fixture, for training.
fn model(name: &str) -> (EncoderConfig, Encoder, Graph) {
    let mut opened = open(name);
    let config = opened.config().clone();
    let device = Device::default();
    let mut builder = Builder::new();
    let encoder = Encoder::new(&mut builder, &config, &Default::default());
    let mut params = builder.build_zeroed(&device, DType::F32, true).unwrap();
    let (_, graph) = opened.parts();
    for i in 0..params.infos().len() {
        let id = ParamId::new(i);
        let values = graph.params().values::<f32>(id).unwrap();
        params.values_mut::<f32>(id).unwrap().copy_from_slice(values);
    }
    (config, encoder, Graph::new(&device, params))
}

fn batch(graph: &Graph, config: &EncoderConfig, file: &TensorFile) -> EncoderBatch {
    let ids = ints(graph, file, "ids");
    let dims = ids.shape().dims().to_vec();
    let rows = ids.slice::<i32>().unwrap().chunks_exact(dims[1]);
    let positions: Vec<i32> = rows.flat_map(|row| config.positions(row)).collect();
    let zeros = vec![0i32; positions.len()];
    let input = |v: &[i32]| graph.input(Tensor::from_slice(graph.device(), v, &dims).unwrap());
    let types = if file.contains("types") { ints(graph, file, "types") } else { input(&zeros) };
    EncoderBatch {
        positions: input(&positions),
        ids,
        types: Some(types),
        segments: Some(segments(graph, file)),
    }
}

/// What counts of `[B, T, n]`: the tokens that are no padding.
fn unpadded(file: &TensorFile, values: &[f32]) -> Vec<f32> {
    let mask = file.i32("mask").unwrap();
    let width = values.len() / mask.len();
    let rows = values.chunks_exact(width).zip(mask).filter(|(_, m)| *m == 1);
    rows.flat_map(|(row, _)| row.to_vec()).collect()
}

fn check(name: &str) {
    let file = expected(name);
    let (config, encoder, mut graph) = model(name);
    graph.set_mode(Mode::Eval);
    let input = batch(&graph, &config, &file);
    let logits = encoder.logits(&mut graph, &input).unwrap();
    let dims = logits.shape().dims().to_vec();
    let stored = file.f32("logits", &dims).unwrap();
    let keep = |values: &[f32]| match config.head {
        EncoderHead::Sequence => values.to_vec(),
        _ => unpadded(&file, values),
    };
    let logits_off = difference(&keep(&stored), &keep(logits.slice().unwrap()), 0.0);
    assert!(logits_off < LOGITS, "{name}: logits differ by {logits_off:.2e}");
    graph.set_mode(Mode::Train);
    let mut optimizer = adamw(&graph);
    let number = Loss::new(&LossConfig::default(), None, None).unwrap();
    let losses = file.f32("steps.losses", &[20]).unwrap();
    let (mut losses_off, mut gradients_off) = (0f64, 0f64);
    for (step, &expected) in losses.iter().enumerate() {
        graph.reset();
        graph.params_mut().clear_gradients();
        let input = batch(&graph, &config, &file);
        let [sum, count] = if config.is_regression() {
            let values = file.f32("steps.targets", &[20, 2]).unwrap();
            let values =
                Tensor::from_slice(graph.device(), &values[2 * step..2 * step + 2], &[2, 1]);
            let (values, z) = (graph.input(values.unwrap()), encoder.logits(&mut graph, &input));
            number.apply(&mut graph, &z.unwrap(), &values, None).unwrap().into()
        } else {
            let targets = targets(&graph, &file, step);
            encoder.loss(&mut graph, &input, &targets).unwrap()
        };
        let (value, count) = (sum.item().unwrap(), count.item().unwrap());
        graph.backward(sum).unwrap();
        if step == 0 {
            let tensors = plain_file_tensors(graph.params());
            gradients_off = gradients(name, &file, &tensors, &mut graph, count);
        }
        optimizer.step(graph.params_mut(), count, 3e-3).unwrap();
        let off = (value / count / f64::from(expected) - 1.0).abs();
        assert!(off < LOSSES, "{name}: loss {step} is {}, not {expected}", value / count);
        losses_off = losses_off.max(off);
    }
    println!("| {name} | {logits_off:.1e} | {gradients_off:.1e} | {losses_off:.1e} |");
}

macro_rules! models {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*
    };
}

models!(
    bert_masked,
    bert_sequence,
    bert_regression,
    roberta_masked,
    roberta_sequence,
    roberta_tokens,
    distilbert_masked,
    distilbert_sequence,
    modernbert_masked,
    modernbert_sequence,
    modernbert_tokens
);

#[test]
fn vectors_of_tokens_and_of_sequences() {
    ["bert_vectors", "modernbert_vectors"].into_iter().for_each(vectors);
}

fn vectors(name: &str) {
    let file = expected(name);
    let mut opened = open(name);
    let config = opened.config().clone();
    let (encoder, graph) = opened.parts();
    let input = batch(graph, &config, &file);
    let vectors = encoder.hidden(graph, &input).unwrap();
    let stored = file.f32("vectors", vectors.shape().dims()).unwrap();
    let off =
        difference(&unpadded(&file, &stored), &unpadded(&file, vectors.slice().unwrap()), 0.0);
    assert!(off < LOGITS, "vectors differ by {off:.2e}");
    for (name, mean) in [("first", false), ("mean", true)] {
        let pooled = encoder.embed(graph, &input, mean).unwrap();
        let stored = file.f32(name, pooled.shape().dims()).unwrap();
        let off = difference(&stored, pooled.slice().unwrap(), 0.0);
        assert!(off < LOGITS, "{name} differs by {off:.2e}");
    }
    assert!(encoder.logits(graph, &input).unwrap_err().to_string().contains("only vectors"));
}

#[test]
fn padding_changes_nothing() {
    for name in ["bert_sequence", "roberta_sequence", "distilbert_sequence", "modernbert_sequence"]
    {
        let mut model = open(name);
        let (short, long) = (vec![5, 6, 7], vec![8, 9, 10, 11, 12, 13]);
        let both = model.logits(&[short.clone(), long.clone()]).unwrap();
        let alone = [model.logits(&[short]).unwrap(), model.logits(&[long]).unwrap()].concat();
        let off = difference(&alone, &both, 0.0);
        assert!(off < 1e-5, "{name}: {off:.2e}");
        assert!(model.logits(&[vec![]]).unwrap_err().is_usage());
    }
}

#[test]
fn what_is_written_reads_back() {
    for name in [
        "bert_masked",
        "roberta_tokens",
        "distilbert_sequence",
        "bert_vectors",
        "modernbert_masked",
        "modernbert_tokens",
    ] {
        let folder = tempfile::tempdir().unwrap();
        open(name).save(folder.path(), &SaveOptions::default()).unwrap();
        let names = |folder: &std::path::Path| -> Vec<(String, Vec<usize>)> {
            let file = TensorFile::open(&folder.join("model.safetensors")).unwrap();
            file.entries().map(|entry| (entry.name, entry.dims)).collect()
        };
        let mut theirs = names(&fixture(name));
        // What no output depends on is not kept.
        theirs.retain(|(tensor, _)| name != "bert_vectors" || !tensor.starts_with("pooler"));
        assert_eq!(names(folder.path()), theirs);
    }
}

#[test]
fn configs_that_are_not_right_are_named() {
    let json = std::fs::read_to_string(fixture("bert_sequence").join("config.json")).unwrap();
    let message = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        EncoderConfig::parse(&json.replace(from, to)).unwrap_err().to_string()
    };
    for (found, part) in [
        (message("\"bert\"", "\"brt\""), "did you mean \"bert\"?"),
        (message("\"hidden_size\": 16", "\"hidden_size\": 15"), "2 heads do not divide 15"),
        (message("\"hidden_size\": 16", "\"hidden\": 16"), "hidden_size: is missing"),
        (message("BertForSequence", "BertForNext"), "architectures: "),
        (message("\"is_decoder\": false", "\"is_decoder\": true"), "is_decoder: "),
        (
            message("\"model_type\"", "\"problem_type\": \"ranking\", \"model_type\""),
            "problem_type: ",
        ),
    ] {
        assert!(found.contains(part), "{found}");
    }
    let roberta = open("roberta_masked").config().clone();
    assert_eq!(roberta.family.name, "roberta");
    assert_eq!(roberta.positions(&[9, 8, 1, 7, 1]), [2, 3, 1, 4, 1]);
}

/// Exports compare themselves with the model, padding included.
#[cfg(feature = "onnx")]
#[test]
fn encoders_become_graphs() {
    use feedforward::embedding::export_encoder_onnx;
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "bert_masked",
        "bert_regression",
        "bert_sequence",
        "bert_vectors",
        "distilbert_masked",
        "distilbert_sequence",
        "modernbert_masked",
        "modernbert_sequence",
        "modernbert_tokens",
        "modernbert_vectors",
        "roberta_masked",
        "roberta_sequence",
        "roberta_tokens",
    ] {
        let out = folder.path().join(format!("{name}.onnx"));
        let found = export_encoder_onnx(&fixture(name), &out, &Device::default()).unwrap();
        assert!(found.difference < 2e-6 && found.rows == 4, "{name}: {found:?}");
        let types = name.starts_with("bert") || name.starts_with("roberta");
        assert_eq!(found.inputs.len(), if types { 3 } else { 2 }, "{name}");
    }
}
