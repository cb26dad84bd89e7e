//! Batches, losses and gradients beside those of transformers and sentence-transformers
//! (testkit's scripts/encoder_fixtures.py).

use super::corpus::{Names, Part, encode};
use super::goal::Goal;
use super::objective::EncoderObjective;
use super::recipe::{EncoderRecipe, ObjectiveKind};
use super::rows::Rows;
use crate::embedding::{Modules, TextReader};
use crate::language::{encoder_batch, read_encoder, read_tokenizer};
use crate::sequence::{EncoderTable, Network, Shapes, options};
use ff_graph::{Graph, Mode};
use ff_metrics::TagScheme;
use ff_nn::Builder;
use ff_nn::models::{Encoder, EncoderConfig};
use ff_tensor::{DType, Device, Key, Tensor};
use ff_train::Objective;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Sums of some hundred products in f32, in another order.
const LOSSES: f64 = 2e-6;
const GRADIENTS: f64 = 2e-5;
/// The most tokens of a text in the script.
const MOST: usize = 24;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/encoder")
}

fn stored(of: &str) -> Value {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let mut all: Value = serde_json::from_str(&text).unwrap();
    all[of].take()
}

/// The model with a head, as its folder has it.
fn opened(head: &str) -> (Network, Graph, TextReader) {
    let text = std::fs::read_to_string(folder().join(format!("{head}.json"))).unwrap();
    let config = EncoderConfig::parse(&text).unwrap();
    let mut builder = Builder::new();
    let encoder = Encoder::new(&mut builder, &config, &options(&EncoderTable::default()));
    let mut params = builder.build(&Device::default(), DType::F32, 0, true).unwrap();
    read_encoder(&folder(), &config, &mut params, true).unwrap();
    let tokenizer = read_tokenizer(&folder(), config.vocab_size).unwrap().unwrap();
    let modules = Modules::read(&folder()).unwrap();
    let reader = TextReader::new(tokenizer, &modules, Some(MOST), MOST, false).unwrap();
    let graph = Graph::new(&Device::default(), params);
    (Network { encoder, config }, graph, reader)
}

fn strings(value: &Value) -> Vec<Vec<String>> {
    let of = |row: &Value| match row {
        Value::String(text) => vec![text.clone()],
        row => serde_json::from_value(row.clone()).unwrap(),
    };
    value.as_array().unwrap().iter().map(of).collect()
}

/// The norm of each gradient, and its product with cos 0, cos 1, …, as the script has them.
fn same_gradients(name: &str, graph: &mut Graph, count: f64, wanted: &Value) {
    let wanted = wanted.as_object().unwrap();
    let infos = graph.params().iter();
    let ranges: Vec<_> = infos.map(|(_, info)| (info.range(), info.spec.name.clone())).collect();
    let gradients = graph.params_mut().gradients::<f32>().unwrap();
    // Errors are those of the largest gradient, as they all come from it.
    let largest = wanted.values().map(|of| of[0].as_f64().unwrap()).fold(0.0, f64::max);
    let mut compared = 0;
    for (range, parameter) in ranges {
        let Some(wanted) = wanted.get(&parameter) else { continue };
        let gradient: Vec<f64> = gradients[range].iter().map(|&g| f64::from(g) / count).collect();
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let along: f64 = gradient.iter().enumerate().map(|(i, g)| g * (i as f64).cos()).sum();
        for (found, wanted) in [norm, along].into_iter().zip(wanted.as_array().unwrap()) {
            let off = (found - wanted.as_f64().unwrap()).abs() / largest;
            assert!(off < GRADIENTS, "{name} {parameter}: {found}, expected {wanted}");
        }
        compared += 1;
    }
    assert!(compared >= 20, "{name}: {compared} gradients compared");
}

/// The loss and the gradients of all rows of a part.
fn check(name: &str, kind: ObjectiveKind, head: &str, rows: Rows, names: &Names) -> Part {
    let wanted = stored(name);
    let (network, mut graph, reader) = opened(head);
    let part = encode(rows, kind, &reader, names).unwrap();
    let recipe = EncoderRecipe::default();
    let objective = super::ObjectiveTable { kind, ..recipe.objective.clone() };
    let recipe = EncoderRecipe { objective, ..recipe };
    let modules = Modules::default();
    let goal = Goal::new(&recipe, &network.config, (&reader, &modules), &part).unwrap();
    let mut objective = EncoderObjective {
        network: &network,
        goal: &goal,
        names,
        train: &part,
        valid: &part,
        batch: part.rows(),
        seed: 0,
        shapes: Shapes::new(&part.tokens, part.rows()),
    };
    let measured = objective.measure(&mut graph, &part).unwrap();
    let rows: Vec<u32> = (0..part.rows() as u32).collect();
    graph.set_mode(Mode::Train);
    let found = objective.loss(&mut graph, &rows, Key::new(0)).unwrap();
    let (sum, count) = (found.sum.item().unwrap(), found.count.item().unwrap());
    let loss = wanted["loss"].as_f64().unwrap();
    for found in [sum / count, measured.loss()] {
        assert!((found / loss - 1.0).abs() < LOSSES, "{name}: {found}, expected {loss}");
    }
    graph.backward(found.sum).unwrap();
    same_gradients(name, &mut graph, count, &wanted["gradients"]);
    if name == "labels" || name == "numbers" {
        let logits: Vec<Vec<f32>> = serde_json::from_value(wanted["logits"].clone()).unwrap();
        for (found, wanted) in measured.values.iter().zip(logits.concat()) {
            assert!((found - wanted).abs() < 1e-5, "{name}: {found}, expected {wanted}");
        }
    }
    part
}

#[test]
fn labels_are_learned_as_by_transformers() {
    let wanted = stored("labels");
    let (network, _, _) = opened("labels");
    let names = Names { all: network.config.label_names(), ..Names::default() };
    let truth: Vec<Vec<f64>> = serde_json::from_value(wanted["target"].clone()).unwrap();
    let labels = truth.iter().map(|row| {
        let chosen = row.iter().zip(&names.all).filter(|(t, _)| **t > 0.5);
        chosen.map(|(_, name)| name.clone()).collect()
    });
    let names_of_rows = labels.collect();
    let rows = Rows { texts: strings(&wanted["texts"]), names: names_of_rows, ..Rows::default() };
    let part = check("labels", ObjectiveKind::Labels, "labels", rows, &names);
    assert_eq!(part.tokens.cut, 1);
}

#[test]
fn numbers_are_learned_as_by_transformers() {
    let wanted = stored("numbers");
    let names = Names {
        all: opened("numbers").0.config.label_names(),
        units: vec![(0.0, 1.0); 5],
        ..Names::default()
    };
    let numbers = serde_json::from_value(wanted["target"].clone()).unwrap();
    let rows = Rows { texts: strings(&wanted["texts"]), numbers, ..Rows::default() };
    check("numbers", ObjectiveKind::Numbers, "numbers", rows, &names);
}

#[test]
fn words_are_aligned_and_tags_learned_as_by_transformers() {
    let wanted = stored("tags");
    let names = Names {
        all: opened("tags").0.config.label_names(),
        scheme: TagScheme::Iob2,
        ..Names::default()
    };
    let rows = Rows {
        texts: strings(&wanted["words"]),
        names: strings(&wanted["tags"]),
        ..Rows::default()
    };
    let part = check("tags", ObjectiveKind::Tags, "tags", rows, &names);
    let ids: Vec<Vec<u32>> = serde_json::from_value(wanted["ids"].clone()).unwrap();
    let labels: Vec<Vec<i32>> = serde_json::from_value(wanted["labels"].clone()).unwrap();
    assert!(part.lost > 0);
    for ((tagged, own), (ids, labels)) in
        part.tagged.iter().zip(&part.tokens.ids).zip(ids.iter().zip(&labels))
    {
        let mut found = vec![-100; own.len()];
        for (class, start) in tagged.classes(&names).into_iter().zip(&tagged.starts) {
            if let Some(start) = start {
                found[*start as usize] = class;
            }
        }
        // A word that does not fit whole is left out here, and cut by transformers.
        let fits = own.len() - 1;
        assert_eq!((&own[..fits], &found[..fits]), (&ids[..fits], &labels[..fits]));
    }
}

#[test]
fn pairs_and_triplets_are_ranked_as_by_sentence_transformers() {
    for name in ["pairs", "triplets"] {
        let rows = Rows { texts: strings(&stored(name)["texts"]), ..Rows::default() };
        check(name, ObjectiveKind::Pairs, "pairs", rows, &Names::default());
    }
}

#[test]
fn masked_tokens_are_found_as_by_transformers() {
    let wanted = stored("masked");
    let (network, mut graph, reader) = opened("masked");
    let ids: Vec<Vec<u32>> = serde_json::from_value(wanted["ids"].clone()).unwrap();
    let labels: Vec<Vec<i32>> = serde_json::from_value(wanted["labels"].clone()).unwrap();
    let batch = encoder_batch(&graph, &network.config, &ids, 0).unwrap();
    let length = batch.ids.shape().last();
    let mut targets = labels.clone();
    for row in &mut targets {
        row.resize(length, -100);
    }
    let targets =
        Tensor::from_slice(graph.device(), &targets.concat(), &[ids.len(), length]).unwrap();
    let targets = graph.input(targets);
    let [sum, count] = network.encoder.loss(&mut graph, &batch, &targets).unwrap();
    let (value, count) = (sum.item().unwrap(), count.item().unwrap());
    let loss = wanted["loss"].as_f64().unwrap();
    assert!((value / count / loss - 1.0).abs() < LOSSES, "{}, expected {loss}", value / count);
    graph.backward(sum).unwrap();
    same_gradients("masked", &mut graph, count, &wanted["gradients"]);
    graph.reset();
    let batch = encoder_batch(&graph, &network.config, &ids, 0).unwrap();
    let found = network.encoder.logits(&mut graph, &batch).unwrap();
    let logits: Vec<Vec<f32>> = serde_json::from_value(wanted["logits"].clone()).unwrap();
    let width = network.config.vocab_size;
    for (i, (row, wanted)) in ids.iter().zip(&logits).enumerate() {
        assert_eq!(wanted.len(), width);
        let at = (i * length + row.len() / 2) * width;
        let found = &found.slice::<f32>().unwrap()[at..at + width];
        for (token, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            assert!((found - wanted).abs() < 1e-5, "text {i}, token {token}: {found}, {wanted}");
        }
    }

    // Our own masks: the shares of the paper, and never a token around a text.
    let recipe = EncoderRecipe {
        objective: super::ObjectiveTable {
            kind: ObjectiveKind::Masked,
            ..super::ObjectiveTable::default()
        },
        ..EncoderRecipe::default()
    };
    let part = Part::default();
    let about = (&reader, &Modules::default());
    let goal = Goal::new(&recipe, &network.config, about, &part).unwrap();
    let Goal::Masked(masking) = &goal else { panic!("{goal:?}") };
    let own = reader.read(&["the quick brown fox mixed words in the notes"]).unwrap().0.remove(0);
    let mask = reader.tokenizer.id("[MASK]").unwrap();
    let (mut chosen, mut masked, mut kept, rounds) = (0, 0, 0, 4000);
    for round in 0..rounds {
        let (ids, targets) = masking.apply(&own, Key::new(round));
        assert_eq!((targets[0], targets[own.len() - 1]), (-100, -100));
        for ((&id, &target), &own) in ids.iter().zip(&targets).zip(&own) {
            if target < 0 {
                assert_eq!(id, own);
                continue;
            }
            assert_eq!(target, own as i32);
            chosen += 1;
            masked += usize::from(id == mask);
            kept += usize::from(id == own);
        }
    }
    let share = |of: usize, all: usize| of as f64 / all as f64;
    let all = rounds as usize * (own.len() - 2);
    // Texts where none was chosen have one.
    let none = 0.85f64.powi(own.len() as i32 - 2) / (own.len() - 2) as f64;
    assert!((share(chosen, all) - 0.15 - none).abs() < 0.01, "{}", share(chosen, all));
    assert!((share(masked, chosen) - 0.8).abs() < 0.02, "{}", share(masked, chosen));
    assert!((share(kept, chosen) - 0.1).abs() < 0.02, "{}", share(kept, chosen));
}
