//! Adapters as llama.cpp has them: a GGUF file with A and B of each adapted matrix.

use super::base::Base;
use super::names::PREFIX;
use super::parts::parameter;
use super::settings::{INVOCATION, Settings};
use super::{AdapterFile, Parts, Places};
use crate::error::{Error, Result};
use crate::language::model::architecture::Architecture;
use crate::language::model::gguf::{halves, name_of, pairs, theirs_of};
use ff_formats::{GgufFile, GgufFileType, GgufValue, GgufWriter, TensorFile};
use ff_graph::Params;
use ff_nn::models::DecoderConfig;
use ff_nn::{AdaptedBiases, LoraConfig};
use ff_tensor::ThreadPool;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

const ALPHA: &str = "adapter.lora.alpha";
const TOKENS: &str = "adapter.alora.invocation_tokens";
/// The ends of the names of A and B, and those of PEFT.
const HALVES: [(&str, &str); 2] = [(".lora_a", "lora_A.weight"), (".lora_b", "lora_B.weight")];

/// What an adapter from a GGUF file has beside others.
#[derive(Debug)]
pub(super) struct Gguf {
    architecture: &'static Architecture,
    /// The names in the file of layers and of PEFT's tensors.
    names: BTreeMap<String, String>,
}

/// The halves of an adapted matrix: shape and values.
type Found = BTreeMap<&'static str, (Vec<usize>, Vec<f32>)>;

impl Gguf {
    pub(super) fn name<'a>(&'a self, theirs: &'a str) -> &'a str {
        self.names.get(theirs).map_or(theirs, String::as_str)
    }

    /// Why the adapter belongs to another architecture than this model's, if it does.
    pub(super) fn mismatch(&self, base: Base<'_>) -> Option<String> {
        let family = match base {
            Base::Decoder(config) => config.family.name,
            Base::Pair(config) => config.family.name,
        };
        let model = Architecture::of(family).map_or(family, |model| model.name);
        (model != self.architecture.name).then(|| {
            format!(
                "general.architecture: the adapter belongs to a model of the architecture `{}`, and the base model is of \
                 `{model}`; give the model that it was trained on",
                self.architecture.name
            )
        })
    }

    /// The rows of a tensor of a layer in the order of `transformers`.
    pub(super) fn ordered(
        &self,
        (layer, stored): (&str, &str),
        config: &DecoderConfig,
        values: Vec<f32>,
        rows: usize,
    ) -> Vec<f32> {
        match turned_heads(layer, self.architecture, config) {
            Some(heads) if stored == HALVES[1].1 => halves(&values, rows, heads),
            _ => values,
        }
    }
}

/// The heads of a layer whose rows llama.cpp keeps in the order of pairs.
fn turned_heads(layer: &str, dialect: &Architecture, config: &DecoderConfig) -> Option<usize> {
    match layer.rsplit('.').next() {
        Some("q_proj") if dialect.pairs => Some(config.heads),
        Some("k_proj") if dialect.pairs => Some(config.kv_heads),
        _ => None,
    }
}

/// Reads an adapter from a GGUF file.
///
/// # Errors
/// It is none, is damaged, or has a tensor that is no half of an adapted matrix.
pub(super) fn open(path: &Path) -> Result<AdapterFile> {
    let file = GgufFile::open(path)?;
    let fail = |message: String| Error::run(path, message);
    let text = |key: &str| file.text(key).unwrap_or("nothing");
    for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        let found = text(key);
        if found != expected {
            return Err(fail(format!(
                "{key} is {found}, not {expected}; give a GGUF file with a LoRA adapter"
            )));
        }
    }
    let name = text("general.architecture");
    let architecture = Architecture::named(name).ok_or_else(|| {
        fail(format!("adapters of the architecture `{name}` are not read from GGUF"))
    })?;
    let alpha = file.metadata().get(ALPHA).and_then(GgufValue::as_f64).filter(|a| a.is_finite());
    let alpha = alpha.ok_or_else(|| fail(format!("{ALPHA} is missing or no number")))?;
    let mut names = BTreeMap::new();
    let mut layers: BTreeMap<String, Found> = BTreeMap::new();
    for (name, tensor) in file.tensors() {
        let half = HALVES.iter().find_map(|(end, stored)| Some((name.strip_suffix(end)?, *stored)));
        let layer = half.and_then(|(whole, stored)| {
            let theirs = theirs_of(whole, architecture)?;
            Some((theirs.strip_suffix(".weight")?.to_owned(), whole, stored))
        });
        let Some((layer, whole, stored)) = layer else {
            return Err(fail(format!(
                "tensor `{name}` is no half (.lora_a, .lora_b) of a matrix that models of the architecture `{}` have here",
                architecture.name
            )));
        };
        if tensor.dims.len() != 2 || tensor.dims.contains(&0) {
            return Err(fail(format!("tensor `{name}` has shape {:?}, no matrix's", tensor.dims)));
        }
        names.insert(format!("{PREFIX}{layer}.{stored}"), name.clone());
        names.insert(layer.clone(), whole.to_owned());
        let values = file.floats(name)?;
        layers.entry(layer).or_default().insert(stored, (tensor.dims.clone(), values));
    }
    for (layer, found) in &layers {
        let whole = &names[layer];
        let [a, b] = HALVES.map(|(end, stored)| {
            let half = found.get(stored).map(|(dims, _)| dims);
            half.ok_or_else(|| {
                fail(format!("tensor `{whole}{end}` is missing; copy it again whole"))
            })
        });
        let (a, b) = (a?, b?);
        if a[0] != b[1] {
            return Err(fail(format!(
                "tensor `{whole}.lora_a` has rank {} and `{whole}.lora_b` has {}; they belong to different adapters",
                a[0], b[1]
            )));
        }
    }
    let mut json = config(&layers, alpha);
    if let Some(tokens) = file.metadata().get(TOKENS) {
        let tokens = tokens.as_array().map(|list| list.iter().map(GgufValue::as_u64).collect());
        let tokens: Option<Option<Vec<u64>>> = tokens;
        let tokens = tokens.flatten().ok_or_else(|| fail(format!("{TOKENS} is no list of ids")))?;
        json.insert(INVOCATION.into(), json!(tokens));
    }
    let settings = Settings::read(&json).map_err(fail)?;
    let tensors = TensorFile::parse(path, stored(&layers))?;
    let parts = Parts::of(&tensors, &settings).map_err(fail)?;
    let config = settings.of_layers(parts.layers.iter().cloned().collect(), Vec::new(), Vec::new());
    let gguf = Some(Gguf { architecture, names });
    Ok(AdapterFile { folder: path.to_owned(), settings, config, base: None, tensors, parts, gguf })
}

/// The file's adapter as an `adapter_config.json`. llama.cpp's scale is α over the rank of each
/// tensor, and 1 where α is 0.
fn config(layers: &BTreeMap<String, Found>, alpha: f64) -> Map<String, Value> {
    let rank = |found: &Found| found[HALVES[0].1].0[0];
    let ranks: Map<String, Value> = layers
        .iter()
        .map(|(layer, found)| (layer.replace('.', "\\."), rank(found).into()))
        .collect();
    let targets: Vec<&String> = layers.keys().collect();
    let mut config = Map::new();
    config.insert("peft_type".into(), "LORA".into());
    config.insert("r".into(), layers.values().map(rank).max().unwrap_or(1).into());
    config.insert("lora_alpha".into(), alpha.into());
    config.insert("target_modules".into(), json!(targets));
    if alpha == 0.0 {
        config.insert("alpha_pattern".into(), ranks.clone().into());
    }
    config.insert("rank_pattern".into(), ranks.into());
    config
}

/// The tensors as a safetensors file has them.
fn stored(layers: &BTreeMap<String, Found>) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (layer, found) in layers {
        for (stored, (dims, values)) in found {
            let begin = data.len();
            data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            let entry =
                json!({ "dtype": "F32", "shape": dims, "data_offsets": [begin, data.len()] });
            header.insert(format!("{PREFIX}{layer}.{stored}"), entry);
        }
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes.extend(data);
    bytes
}

/// Writes an adapter as llama.cpp reads it.
///
/// # Errors
/// The format has no form for it; the file cannot be written.
pub(in crate::language::model) fn write_gguf_adapter(
    path: &Path,
    config: &LoraConfig,
    (base, params): (&DecoderConfig, &Params),
    (places, name): (Places<'_>, &str),
    (kind, threads): (GgufFileType, &ThreadPool),
) -> Result<()> {
    let refuse = |what: &str| {
        Error::usage(format!(
            "GGUF has no form for an adapter with {what}; keep PEFT's folder, or merge it into the model"
        ))
    };
    for (found, what) in [
        (config.dora, "use_dora"),
        (config.lora_bias, "lora_bias"),
        (!config.saved.is_empty(), "modules_to_save"),
        (!config.parameters.is_empty(), "target_parameters"),
        (!config.tokens.is_empty(), "trainable_token_indices"),
        (config.biases != AdaptedBiases::None, "bias"),
        (!places.replaced.is_empty(), "parts of its own"),
    ] {
        if found {
            return Err(refuse(what));
        }
    }
    let dtype = match kind {
        GgufFileType::F32 | GgufFileType::F16 | GgufFileType::BF16 => kind.base(),
        other => {
            return Err(Error::usage(format!(
                "adapters are written as f32, f16 or bf16, and not as {other}"
            )));
        }
    };
    let Some(dialect) = Architecture::of(base.family.name) else {
        return Err(Error::usage(format!(
            "adapters of models of the family {} are not written as GGUF",
            base.family.name
        )));
    };
    let layers: Vec<&str> = places.adapted().collect();
    // llama.cpp's scale is α over the rank with one α for all; B has what a layer's differs by.
    let mut alpha = None;
    let mut writer = GgufWriter::new();
    for layer in layers {
        let (Some(of), [Some(a), Some(b)]) = (
            name_of(&format!("{layer}.weight"), dialect),
            ["lora_A", "lora_B"].map(|part| params.id(&parameter(layer, part, name, "weight"))),
        ) else {
            return Err(refuse(&format!("{layer}, which has no name in llama.cpp")));
        };
        let values = params.values::<f32>(a)?;
        let dims = params.info(a).spec.shape.dims();
        writer.add(&format!("{of}.lora_a"), dims, dtype, move || values.into());
        let dims = params.info(b).spec.shape.dims();
        let own = config.scale(layer) * dims[1] as f64;
        let factor = own / *alpha.get_or_insert(own);
        if own == 0.0 {
            return Err(refuse("lora_alpha 0"));
        }
        let heads = turned_heads(layer, dialect, base);
        let (values, rows) = (params.values::<f32>(b)?, dims[0]);
        writer.add(&format!("{of}.lora_b"), dims, dtype, move || -> Cow<'_, [f32]> {
            let mut values = Cow::Borrowed(values);
            if (factor - 1.0).abs() > 1e-12 {
                values.to_mut().iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
            }
            heads.map_or(values.clone(), |heads| pairs(&values, rows, heads).into())
        });
    }
    let text = |text: &str| GgufValue::String(text.to_owned());
    let file = path.file_stem().and_then(|name| name.to_str()).unwrap_or("adapter");
    for (key, value) in [
        ("general.type", text("adapter")),
        ("general.architecture", text(dialect.name)),
        ("general.name", text(file)),
        ("general.file_type", GgufValue::U32(kind as u32)),
        ("general.quantization_version", GgufValue::U32(2)),
        ("adapter.type", text("lora")),
        (ALPHA, GgufValue::F32(alpha.unwrap_or(0.0) as f32)),
    ] {
        writer.metadata(key, value);
    }
    if !config.invocation.is_empty() {
        let tokens = config.invocation.iter().map(|&token| GgufValue::U32(token)).collect();
        writer.metadata(TOKENS, GgufValue::Array(tokens));
    }
    Ok(writer.write(path, threads)?)
}
