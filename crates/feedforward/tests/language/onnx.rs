//! Decoders as ONNX graphs with their cache, and tensors beside a graph.

use super::{DECODERS, expected, fixture};
use feedforward::interop::onnx::{Model, Session, Tensor};
use feedforward::language::export_decoder_onnx;
use feedforward::nn::models::DecoderConfig;
use feedforward::tensor::Device;
use feedforward::{OnnxExport, export_onnx, export_onnx_within};
use std::path::Path;

/// Models whose files hold the same in another form, or whose positions grow.
const OTHERS: [&str; 8] = [
    "gpt_oss_blocks",
    "llama_dynamic",
    "llama_dynamic_long",
    "llama_partial",
    "llama_tied_differs",
    "llama_tied_output",
    "mixtral_stacked",
    "qwen3_moe_stacked",
];

fn export(name: &str, out: &Path) -> OnnxExport {
    export_decoder_onnx(&fixture(name), out, &Device::default()).unwrap()
}

/// A graph with the cache of the tokens so far.
struct Decoder {
    session: Session,
    past: Vec<(String, Tensor)>,
    mask: Vec<Vec<i64>>,
}

impl Decoder {
    fn open(path: &Path, rows: usize) -> Self {
        let session = Session::new(Model::open(path).unwrap()).unwrap();
        let ports = session.model().inputs();
        let past = ports.iter().filter(|port| port.name.starts_with("past_key_values."));
        let past = past.map(|port| {
            let dims: Vec<Option<usize>> = port.dims.clone().unwrap();
            let dims = [rows, dims[1].unwrap(), 0, dims[3].unwrap()];
            (port.name.clone(), Tensor::new(&dims, Vec::<f32>::new()).unwrap())
        });
        let past = past.collect();
        Self { session, past, mask: vec![Vec::new(); rows] }
    }

    /// The likeliest token after the last of each row; 0 is padding where the mask says so.
    fn step(&mut self, ids: &[Vec<i64>], mask: &[Vec<i64>]) -> Vec<i64> {
        let (rows, new) = (ids.len(), ids[0].len());
        self.mask.iter_mut().zip(mask).for_each(|(all, new)| all.extend(new));
        let position = |all: &Vec<i64>, t: usize| (all[..=t].iter().sum::<i64>() - 1).max(0);
        let places = |all: &Vec<i64>| -> Vec<i64> {
            (all.len() - new..all.len()).map(|t| position(all, t)).collect()
        };
        let matrix = |v: Vec<i64>| Tensor::new(&[rows, v.len() / rows], v).unwrap();
        let mut inputs = vec![
            ("input_ids".to_owned(), matrix(ids.concat())),
            ("attention_mask".into(), matrix(self.mask.concat())),
            ("position_ids".into(), matrix(self.mask.iter().flat_map(places).collect())),
        ];
        inputs.append(&mut self.past);
        let mut outputs = self.session.run(inputs).unwrap().into_iter();
        let (name, logits) = outputs.next().unwrap();
        assert_eq!(name, "logits");
        self.past = outputs
            .map(|(name, tensor)| (name.replace("present.", "past_key_values."), tensor))
            .collect();
        let values = logits.data().floats().unwrap();
        let row = values.len() / rows / new;
        let last = |i: usize| &values[((i + 1) * new - 1) * row..][..row];
        let best = |values: &[f64]| {
            (0..row).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap() as i64
        };
        (0..rows).map(|i| best(last(i))).collect()
    }
}

#[test]
fn decoders_become_graphs_that_write_what_transformers_writes() {
    let folder = tempfile::tempdir().unwrap();
    for name in DECODERS.iter().chain(&OTHERS) {
        let out = folder.path().join(format!("{name}.onnx"));
        let found = export(name, &out);
        assert!(found.difference < 1e-5, "{name}: {found:?}");
        assert_eq!(found.inputs.len(), found.outputs.len() + 2, "{name}");
        let text = std::fs::read_to_string(fixture(name).join("config.json")).unwrap();
        let config = DecoderConfig::parse(&text).unwrap();
        let long = config.positions_unchanged() < config.max_positions;
        assert_eq!(found.rows, if long { 5 } else { 3 }, "{name}");
        let file = expected(name);
        let (Ok(prompt), Ok(tokens)) = (file.i32("generate.prompt"), file.i32("generate.tokens"))
        else {
            assert!(!DECODERS.contains(name), "{name} has no continuation");
            continue;
        };
        // Where angles change, the cache is of other ones.
        let room = config.positions_unchanged().saturating_sub(prompt.len());
        let wanted: Vec<i64> = tokens.iter().map(|&id| id.into()).take(room).collect();
        // The same prompt alone and behind padding.
        let ids: Vec<i64> = prompt.iter().map(|&id| id.into()).collect();
        let padded = [&[0, 0, 0], &ids[..]].concat();
        let mask = [&[0, 0, 0], &vec![1; ids.len()][..]].concat();
        let longer = [&[1, 2, 3], &ids[..]].concat();
        let mut alone = Decoder::open(&out, 1);
        let mut beside = Decoder::open(&out, 2);
        let mut next = alone.step(std::slice::from_ref(&ids), &[vec![1; ids.len()]])[0];
        let mut both = beside.step(&[padded, longer], &[mask, vec![1; ids.len() + 3]]);
        for (i, &token) in wanted.iter().enumerate() {
            assert_eq!((next, both[0]), (token, token), "{name}: token {i}");
            next = alone.step(&[vec![next]], &[vec![1]])[0];
            let ids: Vec<Vec<i64>> = both.iter().map(|&id| vec![id]).collect();
            both = beside.step(&ids, &[vec![1], vec![1]]);
        }
    }
}

#[test]
fn tensors_beside_a_graph_start_at_pages_and_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let [inside, out, data] =
        ["inside.onnx", "out.onnx", "out.onnx.data"].map(|name| folder.path().join(name));
    for name in ["gpt2", "mixtral", "modernbert_tokens"] {
        export_onnx(&fixture(name), &inside, &Device::default()).unwrap();
        assert!(!folder.path().join("inside.onnx.data").exists());
        let found = export_onnx_within(&fixture(name), &out, &Device::default(), 0).unwrap();
        let sizes = [&out, &data].map(|path| std::fs::metadata(path).unwrap().len());
        assert_eq!(found.bytes as u64, sizes.iter().sum::<u64>());
        assert_eq!(found.data.as_deref(), Some(data.as_path()));
        let model = Model::open(&out).unwrap();
        let tensors = &model.proto().graph.as_ref().unwrap().initializer;
        let mut end = 0;
        for tensor in tensors {
            let values: usize = tensor.dims.iter().map(|&d| d as usize).product();
            let entry = |key: &str| {
                let entry = tensor.external_data.iter().find(|entry| entry.key == key);
                entry.map(|entry| entry.value.clone())
            };
            let is_beside = tensor.data_location == 1;
            assert_eq!(is_beside, values >= 256, "{}", tensor.name);
            if is_beside {
                assert_eq!(entry("location").unwrap(), "out.onnx.data");
                let [offset, length] =
                    ["offset", "length"].map(|key| entry(key).unwrap().parse::<u64>().unwrap());
                assert!(
                    offset.is_multiple_of(4096) && offset >= end && length == 4 * values as u64
                );
                end = offset + length;
            }
        }
        assert_eq!(end, sizes[1], "{name}");
        let whole = Model::open(&inside).unwrap();
        assert!(model.with_its_data().unwrap().to_bytes() == whole.to_bytes(), "{name}");
        for path in [&inside, &out, &data] {
            std::fs::remove_file(path).unwrap();
        }
    }
    let limit = 8000;
    export_onnx_within(&fixture("llama"), &out, &Device::default(), limit).unwrap();
    assert!(data.exists());
    std::fs::remove_file(&out).unwrap();
    let refused = export_onnx_within(&fixture("llama"), &out, &Device::default(), limit);
    assert!(refused.unwrap_err().to_string().contains("out.onnx.data is there already"));
    // Nothing else stays, half written or temporary.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn models_without_a_form_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.onnx");
    for family in ["marian", "t5"] {
        let error = export_onnx(&fixture(family), &out, &Device::default()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(family) && error.contains("encoder with a decoder"), "{error}");
    }
    let missing = folder.path().join("no/such/folder/m.onnx");
    assert!(export_onnx(&fixture("llama"), &missing, &Device::default()).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
