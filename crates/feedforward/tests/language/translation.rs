//! Encoders with decoders against `transformers`: greedy and beam search too.

use super::parity::{LOGITS, LOSSES, adamw, difference, gradients};
use super::{expected, fixture, ints, segments, targets};
use feedforward::formats::TensorFile;
use feedforward::graph::{Graph, Mode, ParamId, Value};
use feedforward::language::{LanguageModel, SaveOptions, TranslateOptions, Translator};
use feedforward::nn::models::{
    EncoderDecoder, EncoderDecoderBatch, EncoderDecoderConfig, LanguageOptions, plain_file_tensors,
};
use feedforward::nn::{Builder, Precision};
use feedforward::tensor::{DType, Device, Tensor};
use std::path::{Path, PathBuf};

/// The fixtures of encoders with decoders.
const PAIRS: [&str; 6] = ["marian", "t5", "t5_gated", "t5_silu", "t5_gelu", "mt5"];

fn open(name: &str) -> Translator {
    Translator::open(&fixture(name), &Default::default(), &Default::default()).unwrap()
}

/// Targets moved to the right, behind the token that a translation begins with.
fn shifted(graph: &Graph, config: &EncoderDecoderConfig, targets: &Value) -> Value {
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
    config: &EncoderDecoderConfig,
    file: &TensorFile,
    targets: &Value,
) -> EncoderDecoderBatch {
    EncoderDecoderBatch {
        source: ints(graph, file, "ids"),
        segments: Some(segments(graph, file)),
        target: shifted(graph, config, targets),
    }
}

#[test]
fn logits_gradients_and_twenty_steps() {
    PAIRS.into_iter().for_each(trained);
}

fn trained(name: &str) {
    let file = expected(name);
    let mut opened = open(name);
    let config = opened.config().clone();
    let device = Device::default();
    let mut builder = Builder::new();
    let model = EncoderDecoder::new(&mut builder, &config, &Default::default());
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
    assert!(logits_off < LOGITS, "{name}: logits differ by {logits_off:.2e}");
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
            gradients_off = gradients(name, &file, &tensors, &mut graph, count);
        }
        optimizer.step(graph.params_mut(), count, 3e-3).unwrap();
        let off = (value / count / f64::from(expected) - 1.0).abs();
        assert!(off < LOSSES, "{name}: loss {step} is {}, not {expected}", value / count);
        losses_off = losses_off.max(off);
    }
    println!("| {name} | {logits_off:.1e} | {gradients_off:.1e} | {losses_off:.1e} |");
}

#[test]
fn greedy_and_beam_search_token_by_token() {
    let ended: usize = PAIRS.into_iter().map(written).sum();
    assert!(ended > 0, "some targets must end before they are cut");
}

/// The number of targets that end before they are cut, with matrices as floats and in the form of
/// their file.
fn written(name: &str) -> usize {
    let (device, options) = (Device::default(), LanguageOptions::default());
    let in_file = Translator::open_to_generate(&fixture(name), None, &device, &options).unwrap();
    writes(name, in_file) + writes(name, open(name))
}

fn writes(name: &str, mut model: Translator) -> usize {
    let file = expected(name);
    let ids =
        |name: &str| -> Vec<u32> { file.i32(name).unwrap().iter().map(|&id| id as u32).collect() };
    let mut ended = 0;
    for text in (0..).map(|i| format!("text.{i}")).take_while(|name| file.contains(name)) {
        for beams in [1, 3] {
            let options = TranslateOptions { max_tokens: 14, beams, length_penalty: 1.0 };
            let found = model.translate_tokens(&ids(&text), &options).unwrap();
            assert_eq!(
                found,
                ids(&format!("{text}.beams.{beams}")),
                "{name}: {text} with {beams} beams"
            );
            ended += usize::from(found.len() < 14);
        }
    }
    ended
}

#[test]
fn what_is_written_reads_back_and_what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open("marian");
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
        EncoderDecoderConfig::parse(&json.replace(from, to)).unwrap_err().to_string()
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

/// With a cache the last logits are those of all tokens at once, in both precisions.
#[test]
fn a_cache_of_the_memory_gives_what_all_at_once_gives() {
    for (name, bf16, most) in
        [("marian", false, 1e-5), ("t5", false, 1e-5), ("t5_gated", true, 0.03)]
    {
        let precision = if bf16 { Precision::Bf16 } else { Precision::F32 };
        let options = LanguageOptions { precision, ..LanguageOptions::default() };
        let mut opened = Translator::open(&fixture(name), &Device::default(), &options).unwrap();
        let (model, graph) = opened.parts();
        let ids = |graph: &Graph, ids: &[i32], rows: usize| {
            let dims = [rows, ids.len() / rows];
            graph.input(Tensor::from_slice(graph.device(), ids, &dims).unwrap())
        };
        let (source, target) = ([5, 9, 7, 20, 30, 8], [6, 7, 8, 30, 31, 32, 10, 11]);
        let source = ids(graph, &source, 2);
        let memory = model.encode(graph, &source, None).unwrap();
        let whole = ids(graph, &target, 2);
        let all = model.decode(graph, (&memory, None), &whole, None).unwrap();
        let all = all.slice::<f32>().unwrap().to_vec();
        let mut cache = model.cache(graph.device(), 2, [4, 3]).unwrap();
        let vocab = all.len() / 8;
        for step in 0..4 {
            let token = ids(graph, &[target[step], target[4 + step]], 2);
            let logits = model.decode(graph, (&memory, None), &token, Some(&mut cache)).unwrap();
            for (row, found) in logits.slice::<f32>().unwrap().chunks(vocab).enumerate() {
                let expected = &all[(row * 4 + step) * vocab..][..vocab];
                let off = difference(expected, found, 0.0);
                assert!(off < most, "{name}: token {step} of {row} is {off:.1e} off");
            }
        }
        assert!(cache.select(&Device::default(), &[0]).is_err());
    }
}

#[test]
fn what_a_t5_config_says_is_read_or_named() {
    for name in &PAIRS[1..] {
        let folder = tempfile::tempdir().unwrap();
        let mut model = open(name);
        model.save(folder.path(), &SaveOptions::default()).unwrap();
        let again =
            Translator::open(folder.path(), &Default::default(), &Default::default()).unwrap();
        assert_eq!(again.config(), model.config(), "{name}");
    }
    assert!(open("t5").config().tied && open("t5").config().scaled_output);
    assert!(!open("t5_gated").config().tied && !open("t5_gated").config().scaled_output);
    assert!(open("t5_silu").config().tied && !open("t5_silu").config().scaled_output);
    assert!(!open("t5_gelu").config().tied && open("t5_gelu").config().scaled_output);
    let json = std::fs::read_to_string(fixture("t5").join("config.json")).unwrap();
    let parsed = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        EncoderDecoderConfig::parse(&json.replace(from, to))
    };
    let config = parsed("\"num_decoder_layers\": 1,", "").unwrap();
    assert_eq!((config.encoder.layers, config.decoder.layers), (2, 2));
    let config = parsed("\"decoder_start_token_id\": 0,", "").unwrap();
    assert_eq!((config.start_token, config.pad_token, config.end_token), (0, 0, 1));
    for (from, to, part) in [
        ("\"relu\"", "\"gated-rel\"", "feed_forward_proj: \"rel\" is not supported"),
        ("_num_buckets\": 8", "_num_buckets\": 3", "relative_attention_num_buckets: 3 are too few"),
        ("_max_distance\": 10", "_max_distance\": 4", "relative_attention_max_distance: 4 is no"),
        ("\"is_decoder\": false", "\"is_decoder\": true", "a decoder alone"),
        ("\"eos_token_id\": 1", "\"eos_token_id\": 41", "41 is outside the vocabulary"),
        ("\"d_kv\": 6", "\"d_kv\": 0", "d_kv: expected a whole number from 1"),
        ("\"t5\"", "\"t6\"", "\"t6\" is not supported; supported: marian, t5, mt5"),
    ] {
        let message = parsed(from, to).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}

/// The ids of a folder's tokenizer, in either form, and what the model writes.
#[test]
fn texts_of_a_t5_folder() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "spiece.model", "tokenizer_config.json"] {
        std::fs::copy(fixture("t5_text").join(file), folder.path().join(file)).unwrap();
    }
    let expected = std::fs::read_to_string(fixture("t5_text").join("expected.json")).unwrap();
    let expected: Vec<serde_json::Value> = serde_json::from_str(&expected).unwrap();
    for folder in [&fixture("t5_text"), folder.path()] {
        let mut model = Translator::open(folder, &Default::default(), &Default::default()).unwrap();
        for case in &expected {
            let text = case["text"].as_str().unwrap();
            for beams in [1, 3] {
                let options = TranslateOptions { max_tokens: 14, beams, length_penalty: 1.0 };
                let found = model.translate(text, &options).unwrap();
                let ids = case["ids"].as_array().unwrap().len();
                assert_eq!(found.prompt_tokens, ids, "{text:?} of {}", folder.display());
                assert_eq!(found.text, case[format!("beams.{beams}")], "{text:?}, {beams} beams");
            }
        }
    }
}

/// Adapters of PEFT with their models.
const ADAPTERS: [(&str, &str); 3] = [("t5", "t5"), ("t5_dora", "t5_gated"), ("marian", "marian")];

fn adapter(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/adapter").join(name)
}

/// The logits of a target that reads the tokens of its source.
fn read(model: &mut Translator, tokens: &[i32]) -> Vec<f32> {
    let (model, graph) = model.parts();
    graph.reset();
    let tokens = Tensor::from_slice(graph.device(), tokens, &[1, tokens.len()]).unwrap();
    let tokens = graph.input(tokens);
    let batch = EncoderDecoderBatch { source: tokens.clone(), segments: None, target: tokens };
    model.logits(graph, &batch).unwrap().slice::<f32>().unwrap().to_vec()
}

#[test]
fn adapters_of_peft_give_its_logits_and_are_merged() {
    let (device, options) = (Device::default(), LanguageOptions::default());
    for (name, base) in ADAPTERS {
        let path = adapter(name);
        let file = TensorFile::open(&path.join("expected.safetensors")).unwrap();
        let tokens = file.i32("tokens").unwrap();
        let wanted = file.f32("logits", file.dims("logits").unwrap()).unwrap();
        let plain = read(&mut open(base), &tokens);
        let far =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let mut model =
            Translator::open_with_adapter(&fixture(base), Some(&path), &device, &options).unwrap();
        let found = read(&mut model, &tokens);
        assert!(far(&found, &wanted) < 2e-5, "{name}: {}", far(&found, &wanted));
        assert!(far(&found, &plain) > 1e-2, "{name}: the adapter does nothing");
        let in_file = Translator::open_to_generate(&fixture(base), Some(&path), &device, &options);
        let in_file = read(&mut in_file.unwrap(), &tokens);
        assert!(far(&in_file, &wanted) < 2e-5, "{name}: {}", far(&in_file, &wanted));
        let folder = tempfile::tempdir().unwrap();
        let error = model.save(folder.path(), &SaveOptions::default()).unwrap_err().to_string();
        assert!(error.contains("merge it first"), "{error}");
        model.merge_adapter().unwrap();
        assert!(far(&read(&mut model, &tokens), &wanted) < 5e-5, "{name}");
        model.save(folder.path(), &SaveOptions::default()).unwrap();
        let mut again = Translator::open(folder.path(), &device, &options).unwrap();
        assert_eq!(read(&mut again, &tokens), read(&mut model, &tokens), "{name}");
        let error = model.merge_adapter().unwrap_err().to_string();
        assert!(error.contains("no adapter to merge"), "{error}");
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused_by_name() {
    let (device, options) = (Device::default(), LanguageOptions::default());
    let refused = |adapter: &Path| {
        let opened =
            Translator::open_with_adapter(&fixture("t5"), Some(adapter), &device, &options);
        opened.unwrap_err().to_string()
    };
    let error = refused(&adapter("llama"));
    assert!(error.contains("layers that the base model does not have"), "{error}");
    let error = refused(&adapter("llama_saved"));
    assert!(error.contains("modules_to_save is not supported for encoders"), "{error}");
    let error = refused(&adapter("marian"));
    assert!(error.contains("model.decoder.layers.0"), "{error}");
    // The other way round.
    let opened =
        LanguageModel::open_with_adapters(&fixture("llama"), &[&adapter("t5")], &device, &options);
    assert!(opened.unwrap_err().to_string().contains("does not have as linear layers"));
    assert!(Translator::is_at(&adapter("t5")).is_ok_and(|is| !is), "its model is not there");
}
