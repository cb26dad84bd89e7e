//! Folders: written and read back, of other types and shapes of files, and not as they should be.

use super::fixture;
use feedforward::formats::{TensorFile, TensorWriter};
use feedforward::language::{LanguageModel, SaveOptions};
use feedforward::tensor::bf16;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn open(folder: &Path) -> Result<LanguageModel, String> {
    LanguageModel::open(folder, &Default::default(), &Default::default()).map_err(|e| e.to_string())
}

fn logits(folder: &Path) -> Vec<f32> {
    open(folder).unwrap().logits(&[3, 1, 4, 1, 5]).unwrap()
}

/// Name, shape and values of every tensor.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors(file: &Path) -> Tensors {
    let file = TensorFile::open(file).unwrap();
    let values = |name: &str, dims: &[usize]| file.f32(name, dims).unwrap();
    file.entries().map(|e| (e.name.clone(), (e.dims.clone(), values(&e.name, &e.dims)))).collect()
}

/// A copy of a fixture's folder with its tensors changed.
fn copy(name: &str, change: impl FnOnce(&mut Tensors)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = fixture(name);
    std::fs::copy(from.join("config.json"), folder.path().join("config.json")).unwrap();
    let mut tensors = tensors(&from.join("model.safetensors"));
    change(&mut tensors);
    let mut writer = TensorWriter::new();
    for (name, (dims, values)) in &tensors {
        writer.add_f32(name, dims, values);
    }
    writer.write(&folder.path().join("model.safetensors")).unwrap();
    folder
}

#[test]
fn what_is_written_has_the_names_shapes_and_values_of_transformers() {
    for name in super::DECODERS {
        let folder = tempfile::tempdir().unwrap();
        open(&fixture(name)).unwrap().save(folder.path(), &SaveOptions::default()).unwrap();
        let (ours, theirs) = (folder.path(), fixture(name));
        let file = "model.safetensors";
        assert!(tensors(&ours.join(file)) == tensors(&theirs.join(file)), "{name}");
        for file in ["config.json", "generation_config.json"] {
            let json = |folder: &Path| -> Value {
                serde_json::from_str(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap()
            };
            assert_eq!(json(ours), json(&theirs), "{name}: {file}");
        }
    }
}

#[test]
fn shards_read_back_and_leave_none_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(&fixture("gpt2")).unwrap();
    let files = || {
        let names = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<String> =
            names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.starts_with("model"));
        names.sort();
        names
    };
    model.save(folder.path(), &SaveOptions { shard_bytes: 9_000 }).unwrap();
    let many = files();
    assert!(many.len() > 3 && many[0].starts_with("model-00001-of-0000"), "{many:?}");
    assert_eq!(many.last().unwrap(), "model.safetensors.index.json");
    assert_eq!(logits(folder.path()), logits(&fixture("gpt2")));
    let index = std::fs::read_to_string(folder.path().join(many.last().unwrap())).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    assert_eq!(
        index["weight_map"].as_object().unwrap().len(),
        tensors(&fixture("gpt2").join("model.safetensors")).len()
    );

    std::fs::remove_file(folder.path().join(&many[1])).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(
        error.contains(&format!("names the shard {}, which is not in the folder", many[1])),
        "{error}"
    );

    model.save(folder.path(), &SaveOptions::default()).unwrap();
    assert_eq!(files(), ["model.safetensors"]);
}

#[test]
fn narrower_floats_are_read_as_what_they_are() {
    // Values that bf16 has exactly, written by hand: the writer writes f32.
    let rounded = |v: &f32| bf16::from_f32(*v);
    let wide = copy("llama", |tensors| {
        for (_, values) in tensors.values_mut() {
            for v in values.iter_mut() {
                *v = rounded(v).to_f32();
            }
        }
    });
    let narrow = copy("llama", |_| {});
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (dims, values)) in tensors(&wide.path().join("model.safetensors")) {
        let start = data.len();
        data.extend(values.iter().flat_map(|v| rounded(v).to_le_bytes()));
        let entry = json!({"dtype": "BF16", "shape": dims, "data_offsets": [start, data.len()]});
        header.insert(name, entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    std::fs::write(narrow.path().join("model.safetensors"), bytes).unwrap();
    assert_eq!(logits(narrow.path()), logits(wide.path()));
}

#[test]
fn old_files_of_gpt2_without_the_first_name_and_with_masks_are_read() {
    let folder = copy("gpt2", |tensors| {
        let old = std::mem::take(tensors);
        for (name, tensor) in old {
            tensors.insert(name.trim_start_matches("transformer.").to_owned(), tensor);
        }
        tensors.insert("h.0.attn.bias".into(), (vec![1, 1, 2, 2], vec![1.0; 4]));
    });
    assert_eq!(logits(folder.path()), logits(&fixture("gpt2")));
}

#[test]
fn what_does_not_fit_is_named() {
    let lost = "model.layers.1.mlp.up_proj.weight";
    let message = |change: &dyn Fn(&mut Tensors)| open(copy("llama", change).path()).unwrap_err();
    let missing = message(&|tensors| drop(tensors.remove(lost)));
    assert!(missing.contains("1 tensor is missing") && missing.contains(lost), "{missing}");
    let several = message(&|tensors| tensors.retain(|name, _| !name.contains("layers.0")));
    assert!(
        several.contains("9 tensors are missing") && several.contains("and 5 more"),
        "{several}"
    );
    let shape = message(&|tensors| tensors.get_mut(lost).unwrap().0 = vec![16, 20]);
    assert!(shape.contains(lost) && shape.contains("[20, 16], the file has [16, 20]"), "{shape}");
    let extra = message(&|tensors| {
        tensors.insert("model.layers.0.mlp.gate.weight".into(), (vec![1], vec![0.0]));
    });
    assert!(
        extra.contains("1 tensor belongs to no layer") && extra.contains("0.mlp.gate"),
        "{extra}"
    );

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let error = || open(folder.path()).unwrap_err();
    assert!(error().contains("has no config.json"));
    at("config.json", "{\"model_type\": \"gpt2\"");
    assert!(error().contains("config.json: is not valid JSON"), "{}", error());
    at("config.json", &std::fs::read_to_string(fixture("gpt2").join("config.json")).unwrap());
    assert!(error().contains("neither model.safetensors nor"), "{}", error());
    at("pytorch_model.bin", "");
    assert!(error().contains("convert the model to safetensors"), "{}", error());
    at("model.safetensors.index.json", "{\"weight_map\": {\"a\": \"../x.safetensors\"}}");
    assert!(error().contains("no file of this folder"), "{}", error());
    at("model.safetensors.index.json", "{\"weight_map\": 3}");
    assert!(error().contains("has no `weight_map`"), "{}", error());
    at("model.safetensors", "short");
    assert!(error().contains("too few"), "{}", error());
}

#[test]
fn a_run_folder_stands_for_its_model() {
    let run = tempfile::tempdir().unwrap();
    let model = run.path().join("model");
    open(&fixture("gpt2")).unwrap().save(&model, &SaveOptions::default()).unwrap();
    assert_eq!(logits(run.path()), logits(&model));
}

/// Folders that `transformers` opens in a way of its own: experts in stacks, output layers that the
/// config calls tied, a default number of heads, rotary settings without effect.
#[test]
fn what_transformers_opens_has_its_logits_and_is_written_plainly() {
    for name in [
        "llama_dynamic",
        "llama_partial",
        "llama_tied_differs",
        "llama_tied_output",
        "mixtral_stacked",
        "qwen3_moe_stacked",
        "gpt_oss_blocks",
    ] {
        let stored = super::expected(name);
        let ids: Vec<u32> = stored.i32("ids").unwrap().iter().map(|&id| id as u32).collect();
        let theirs = stored.f32("logits", &[ids.len(), 41]).unwrap();
        let mut model = open(&fixture(name)).unwrap();
        let ours = model.logits(&ids).unwrap();
        let largest = theirs.iter().fold(0.0f32, |max, z| max.max(z.abs()));
        let off = ours.iter().zip(theirs.iter()).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
        // Sums of at most 20 products in f32, three layers deep.
        assert!(off < 2e-5 * largest, "{name}: {off} of {largest}");
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path(), &SaveOptions::default()).unwrap();
        assert_eq!(open(folder.path()).unwrap().logits(&ids).unwrap(), ours, "{name}");
        let text = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        assert!(config["num_key_value_heads"].is_u64(), "{name}");
        assert_eq!(config["tie_word_embeddings"], name == "llama_tied_output", "{name}");
    }
}

#[test]
fn stacks_of_other_sizes_are_refused() {
    let with = |change: &dyn Fn(&mut Tensors)| open(copy("mixtral_stacked", change).path());
    let experts = "model.layers.0.mlp.experts.down_proj";
    let four = with(&|tensors| {
        let (dims, values) = tensors.get_mut(experts).unwrap();
        let more = values[..values.len() / dims[0]].to_vec();
        (dims[0], *values) = (dims[0] + 1, [values.as_slice(), &more].concat());
    });
    let message = four.unwrap_err();
    assert!(message.contains("holds 4 experts, and config.json calls for 3"), "{message}");
    let other = with(&|tensors| {
        let stack = tensors.remove(experts).unwrap();
        tensors.insert("model.layers.0.mlp.experts.w2".into(), stack);
    });
    let message = other.unwrap_err();
    // What is there and what is missing.
    assert!(message.contains("experts.0.w2.weight") && message.contains("no layer: "), "{message}");
}
