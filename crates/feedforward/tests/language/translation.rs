//! Marian against `transformers`: greedy and beam search too.

use super::parity::{LOGITS, LOSSES, adamw, difference, gradients};
use super::{expected, fixture, ints, segments, targets};
use feedforward::formats::TensorFile;
use feedforward::graph::{Graph, Mode, ParamId, Value};
use feedforward::language::{SaveOptions, TranslateOptions, Translator};
use feedforward::nn::Builder;
use feedforward::nn::models::{Marian, MarianConfig, TranslationBatch, plain_file_tensors};
use feedforward::tensor::{DType, Device, Tensor};

fn open() -> Translator {
    Translator::open(&fixture("marian"), &Default::default(), &Default::default()).unwrap()
}

/// Targets moved to the right, behind the token that a translation begins with.
fn shifted(graph: &Graph, config: &MarianConfig, targets: &Value) -> Value {
    let dims = targets.shape().dims();
    let rows = targets.slice::<i32>().unwrap().chunks_exact(dims[1]);
    let id = |&id: &i32| if id == -100 { config.pad_token as i32 } else { id };
    let shift = |row: &[i32]| -> Vec<i32> {
        let first = [config.start_token as i32];
        first.into_iter().chain(row[..row.len() - 1].iter().map(id)).collect()
    };
    let ids: Vec<i32> = rows.flat_map(shift).collect();
    graph.input(Tensor::from_slice(graph.device(), &ids, dims).unwrap())
}

fn batch(
    graph: &Graph,
    config: &MarianConfig,
    file: &TensorFile,
    targets: &Value,
) -> TranslationBatch {
    TranslationBatch {
        source: ints(graph, file, "ids"),
        segments: Some(segments(graph, file)),
        target: shifted(graph, config, targets),
    }
}

#[test]
fn logits_gradients_and_twenty_steps() {
    let file = expected("marian");
    let mut opened = open();
    let config = opened.config().clone();
    let device = Device::default();
    let mut builder = Builder::new();
    let model = Marian::new(&mut builder, &config, &Default::default());
    let mut params = builder.build_zeroed(&device, DType::F32, true).unwrap();
    for i in 0..params.infos().len() {
        let id = ParamId::new(i);
        let values = opened.parts().1.params().values::<f32>(id).unwrap();
        params.values_mut::<f32>(id).unwrap().copy_from_slice(values);
    }
    let mut graph = Graph::new(&device, params);
    graph.set_mode(Mode::Eval);
    let first = targets(&graph, &file, 0);
    let input = batch(&graph, &config, &file, &first);
    let logits = model.logits(&mut graph, &input).unwrap();
    let stored = file.f32("logits", logits.shape().dims()).unwrap();
    let logits_off = difference(&stored, logits.slice().unwrap(), 0.0);
    assert!(logits_off < LOGITS, "logits differ by {logits_off:.2e}");
    graph.set_mode(Mode::Train);
    let mut optimizer = adamw(&graph);
    let (mut losses_off, mut gradients_off) = (0f64, 0f64);
    for (step, &expected) in file.f32("steps.losses", &[20]).unwrap().iter().enumerate() {
        graph.reset();
        graph.params_mut().clear_gradients();
        let targets = targets(&graph, &file, step);
        let input = batch(&graph, &config, &file, &targets);
        let loss = model.loss(&mut graph, &input, &targets).unwrap();
        let (value, count) = (loss.sum.item().unwrap(), loss.count.item().unwrap());
        graph.backward(loss.total).unwrap();
        if step == 0 {
            let tensors = plain_file_tensors(graph.params());
            gradients_off = gradients("marian", &file, &tensors, &mut graph, count);
        }
        optimizer.step(graph.params_mut(), count, 3e-3).unwrap();
        let off = (value / count / f64::from(expected) - 1.0).abs();
        assert!(off < LOSSES, "loss {step} is {}, not {expected}", value / count);
        losses_off = losses_off.max(off);
    }
    println!("| marian | {logits_off:.1e} | {gradients_off:.1e} | {losses_off:.1e} |");
}

#[test]
fn greedy_and_beam_search_token_by_token() {
    let file = expected("marian");
    let mut model = open();
    let ids =
        |name: &str| -> Vec<u32> { file.i32(name).unwrap().iter().map(|&id| id as u32).collect() };
    let mut ended = 0;
    for text in (0..).map(|i| format!("text.{i}")).take_while(|name| file.contains(name)) {
        for beams in [1, 3] {
            let options = TranslateOptions { max_tokens: 14, beams, length_penalty: 1.0 };
            let found = model.translate_tokens(&ids(&text), &options).unwrap();
            assert_eq!(found, ids(&format!("{text}.beams.{beams}")), "{text} with {beams} beams");
            ended += usize::from(found.len() < 14);
        }
    }
    assert!(ended > 0, "some translations must end before they are cut");
}

#[test]
fn what_is_written_reads_back_and_what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open();
    model.save(folder.path(), &SaveOptions::default()).unwrap();
    let bytes = |folder: &std::path::Path| -> Vec<(String, Vec<usize>)> {
        let file = TensorFile::open(&folder.join("model.safetensors")).unwrap();
        file.entries().map(|entry| (entry.name, entry.dims)).collect()
    };
    assert_eq!(bytes(folder.path()), bytes(&fixture("marian")));
    let long = vec![1; 31];
    let error = model.translate_tokens(&long, &TranslateOptions::default()).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("31 tokens, the model reads 1 to 30"));
    let json = std::fs::read_to_string(fixture("marian").join("config.json")).unwrap();
    let message = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        MarianConfig::parse(&json.replace(from, to)).unwrap_err().to_string()
    };
    for (found, part) in [
        (message("\"d_model\": 16", "\"d_model\": 18"), "decoder_attention_heads: 4 heads"),
        (
            message("\"pad_token_id\": 38", "\"pad_token_id\": 39"),
            "39 is outside the vocabulary of \
                                                                   39 tokens",
        ),
        (
            message("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false"),
            "tie_word_embeddings: ",
        ),
    ] {
        assert!(found.contains(part), "{found}");
    }
}
