//! The folders of adapters as PEFT writes them: `adapter_config.json` and
//! `adapter_model.safetensors`.

use crate::error::{Error, Result};
use crate::files::{read_text, write_text};
use ff_formats::{TensorFile, TensorWriter};
use ff_graph::{ParamId, Params, Segment};
use ff_kernels::file_rows;
use ff_nn::LoraConfig;
use ff_nn::models::DecoderConfig;
use ff_tensor::{Device, DeviceOptions};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";
/// What stands before the name of a layer in the file.
const PREFIX: &str = "base_model.model.";
/// The key of the file's metadata with the fingerprint of the base model's weights.
const BASE: &str = "base_fingerprint";
/// How many names a message lists.
const SHOWN: usize = 4;

/// Keys that say nothing about what the adapter computes.
const IRRELEVANT: [&str; 18] = [
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "exclude_modules",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "loftq_config",
    "lora_dropout",
    "init_lora_weights",
];
const KNOWN: [&str; 6] =
    ["r", "lora_alpha", "target_modules", "use_rslora", "rank_pattern", "alpha_pattern"];
/// Initialisations that change the weights of the base model.
const CHANGE_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// An adapter that was read from a folder.
#[derive(Debug)]
pub(crate) struct AdapterFile {
    folder: PathBuf,
    config: LoraConfig,
    /// `base_model_name_or_path`.
    base: Option<PathBuf>,
    tensors: TensorFile,
    /// Whether the config lists the layers, so that each must be in the file.
    listed: bool,
}

/// The adapter of a folder: itself, or the one inside of a run.
pub(crate) fn adapter_folder(path: &Path) -> Option<PathBuf> {
    let inside = path.join("adapter");
    [path, &inside].into_iter().find(|p| p.join(CONFIG).exists()).map(Path::to_owned)
}

impl AdapterFile {
    /// Opens the folder of an adapter or of a run that trained one.
    ///
    /// # Errors
    /// There is none; a file is damaged; the config asks for what is not supported.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let Some(folder) = adapter_folder(path) else {
            let message = if path.exists() {
                "has no adapter_config.json; give the folder of an adapter or of a run that trained one"
            } else {
                "is not there; give the folder of an adapter or of a run that trained one"
            };
            return Err(Error::run(path, message));
        };
        let place = folder.join(CONFIG);
        let json: Map<String, Value> = serde_json::from_str(&read_text(&place)?)
            .map_err(|e| Error::run(&place, format!("is not valid JSON: {e}")))?;
        if !folder.join(TENSORS).exists() {
            let message = if folder.join("adapter_model.bin").exists() {
                "has its tensors in adapter_model.bin only; convert the adapter to safetensors first (in Python: \
                 model.save_pretrained(folder))"
            } else {
                "has no adapter_model.safetensors; copy the folder again whole"
            };
            return Err(Error::run(&folder, message));
        }
        let tensors = TensorFile::open(&folder.join(TENSORS))?;
        let fail = |message: String| Error::run(&place, message);
        let (mut config, listed) = parse(&json).map_err(fail)?;
        let found =
            layers(&tensors).map_err(|message| Error::run(&folder.join(TENSORS), message))?;
        if listed {
            let missing = config
                .targets
                .iter()
                .find(|target| !found.iter().any(|layer| is_at_end(layer, target)));
            if let Some(target) = missing {
                let message = format!("target_modules names {target}, and no tensor belongs to it");
                return Err(fail(message));
            }
            let surplus = found
                .iter()
                .find(|layer| !config.targets.iter().any(|target| is_at_end(layer, target)));
            if let Some(layer) = surplus {
                let message =
                    format!("target_modules does not name {layer}, which has tensors in {TENSORS}");
                return Err(fail(message));
            }
        }
        let by_name = listed && json.get("layers_to_transform").is_none_or(Value::is_null);
        let listed = by_name && json.get("exclude_modules").is_none_or(Value::is_null);
        if !listed {
            config.targets = found.into_iter().collect();
        }
        let base = json.get("base_model_name_or_path").and_then(Value::as_str).map(PathBuf::from);
        Ok(Self { folder, config, base, tensors, listed })
    }

    pub(crate) fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The base model that the adapter names.
    pub(crate) fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// Reads the tensors into the parameters of a model that was built with this config and `name`.
    ///
    /// # Errors
    /// A tensor is missing, of another shape, or belongs to no layer; the adapter was trained on
    /// other weights.
    pub(crate) fn read_into(
        &self,
        params: &mut Params,
        name: &str,
        layers: &[(String, bool)],
    ) -> Result<()> {
        let fail = |message: String| Error::run(&self.folder, message);
        let known: BTreeSet<&str> = layers.iter().map(|(layer, _)| layer.as_str()).collect();
        let file: BTreeSet<String> = self::layers(&self.tensors).unwrap_or_default();
        let foreign: Vec<&str> =
            file.iter().map(String::as_str).filter(|layer| !known.contains(layer)).collect();
        if !foreign.is_empty() {
            return Err(fail(format!(
                "it adapts layers that the base model does not have as linear layers: {}; it belongs to another model, or \
                 adapts parts that are not supported",
                listed(&foreign)
            )));
        }
        let missing: Vec<&str> = layers
            .iter()
            .filter(|(layer, adapted)| *adapted && !file.contains(layer))
            .map(|(layer, _)| layer.as_str())
            .collect();
        if self.listed && !missing.is_empty() {
            return Err(fail(format!(
                "target_modules names layers of the base model without tensors in {TENSORS}: {}; it belongs to another \
                 model, or is not whole",
                listed(&missing)
            )));
        }
        if let Some(trained_on) = self.tensors.metadata(BASE)
            && trained_on != fingerprint(params)?
        {
            return Err(fail(
                "it was trained on a base model with other weights; give that model (the adapter names it in \
                 base_model_name_or_path)"
                    .into(),
            ));
        }
        for layer in &file {
            for matrix in ["lora_A", "lora_B"] {
                let own = parameter(layer, matrix, name);
                let Some(id) = params.id(&own) else {
                    return Err(fail(format!("{layer} has no adapter in the model")));
                };
                let dims = params.info(id).spec.shape.dims().to_vec();
                let stored = format!("{PREFIX}{layer}.{matrix}.weight");
                let found = self.tensors.dims(&stored).unwrap_or_default();
                if found != dims {
                    return Err(fail(format!(
                        "tensor `{stored}`: the base model and the rank in {CONFIG} call for shape {dims:?}, the file has \
                         {found:?}; it belongs to another model"
                    )));
                }
                let values = self.tensors.floats(&stored, &dims)?;
                params.values_mut::<f32>(id)?.copy_from_slice(&values);
            }
        }
        Ok(())
    }
}

/// The name of an adapter's parameter in the arena.
fn parameter(layer: &str, matrix: &str, name: &str) -> String {
    match name {
        "" => format!("{layer}.{matrix}.weight"),
        name => format!("{layer}.{matrix}.{name}.weight"),
    }
}

/// W ← W + s B A for a layer.
pub(super) fn merge_layer(params: &mut Params, layer: &str, name: &str, scale: f64) -> Result<()> {
    let values = |params: &Params, name: &str| -> Result<(ParamId, Vec<f32>)> {
        let id = params.id(name).ok_or_else(|| Error::usage(format!("there is no {name}")))?;
        Ok((id, params.values::<f32>(id)?.to_vec()))
    };
    let (_, a) = values(params, &parameter(layer, "lora_A", name))?;
    let (b_id, b) = values(params, &parameter(layer, "lora_B", name))?;
    let rank = params.info(b_id).spec.shape.last();
    let (id, _) = values(params, &format!("{layer}.weight"))?;
    let inputs = params.info(id).spec.shape.last();
    let rows = params.values_mut::<f32>(id)?.chunks_exact_mut(inputs);
    let mut delta = vec![0.0f64; inputs];
    for (weights, b) in rows.zip(b.chunks_exact(rank)) {
        delta.fill(0.0);
        for (&b, a) in b.iter().zip(a.chunks_exact(inputs)) {
            delta.iter_mut().zip(a).for_each(|(d, &a)| *d += f64::from(b) * f64::from(a));
        }
        for (w, d) in weights.iter_mut().zip(&delta) {
            *w = (f64::from(*w) + scale * d) as f32;
        }
    }
    Ok(())
}

/// Whether a parameter belongs to an adapter.
pub(crate) fn is_adapter(name: &str) -> bool {
    name.contains(".lora_A.") || name.contains(".lora_B.")
}

/// Whether PEFT's `target_modules` means this layer: by its whole name or its end.
fn is_at_end(layer: &str, target: &str) -> bool {
    layer.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The layers that have tensors in a file, each with both matrices.
fn layers(tensors: &TensorFile) -> Result<BTreeSet<String>, String> {
    let mut parts: BTreeMap<String, usize> = BTreeMap::new();
    for entry in tensors.entries() {
        let name = entry.name.strip_prefix(PREFIX);
        let layer = name.and_then(|name| {
            ["lora_A", "lora_B"]
                .iter()
                .find_map(|matrix| name.strip_suffix(&format!(".{matrix}.weight")))
        });
        let Some(layer) = layer else {
            return Err(format!(
                "the tensor `{}` is no matrix of a LoRA adapter; such adapters are not supported",
                entry.name
            ));
        };
        *parts.entry(layer.to_owned()).or_default() += 1;
    }
    match parts.iter().find(|(_, parts)| **parts != 2) {
        Some((layer, _)) => Err(format!("{layer} has only one of lora_A and lora_B")),
        None if parts.is_empty() => Err("holds no tensor".into()),
        None => Ok(parts.into_keys().collect()),
    }
}

/// Reads an `adapter_config.json`; the flag says whether `target_modules` is a list.
fn parse(json: &Map<String, Value>) -> Result<(LoraConfig, bool), String> {
    let kind = json.get("peft_type").and_then(Value::as_str).unwrap_or("none");
    if kind != "LORA" {
        return Err(format!("peft_type {kind} is not supported; the adapters read here are LORA"));
    }
    if json.get("bias").and_then(Value::as_str).is_some_and(|bias| bias != "none") {
        return Err(format!("bias {} is not supported, only \"none\"", json["bias"]));
    }
    for (key, value) in json {
        let neutral = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        let known = KNOWN.contains(&key.as_str()) || IRRELEVANT.contains(&key.as_str());
        if !neutral && !known && key != "bias" {
            return Err(format!("{key} is not supported (found {value})"));
        }
    }
    if let Some(init) = json.get("init_lora_weights").and_then(Value::as_str)
        && CHANGE_BASE.iter().any(|kind| init.starts_with(kind))
    {
        return Err(format!(
            "init_lora_weights {init} changes the weights of the base model, which is not supported; save the adapter in \
             PEFT with path_initial_model_for_weight_conversion"
        ));
    }
    let rank = json.get("r").and_then(Value::as_u64).filter(|&r| r > 0);
    let rank = rank.ok_or("r, the rank, is missing or no positive integer")? as usize;
    let alpha = json.get("lora_alpha").and_then(Value::as_f64);
    let alpha = alpha.ok_or("lora_alpha is missing or no number")?;
    let patterns = |key: &str| -> Result<Vec<(String, f64)>, String> {
        let Some(Value::Object(map)) = json.get(key) else { return Ok(Vec::new()) };
        map.iter()
            .map(|(pattern, value)| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
                if !pattern.chars().all(plain) {
                    return Err(format!(
                        "{key}: regular expressions such as {pattern} are not supported"
                    ));
                }
                let value = value.as_f64().filter(|v| *v > 0.0);
                let value =
                    value.ok_or_else(|| format!("{key}: {pattern} has no positive number"))?;
                Ok((pattern.clone(), value))
            })
            .collect()
    };
    let (targets, listed) = match json.get("target_modules") {
        Some(Value::Array(list)) => {
            let names = list.iter().map(|v| v.as_str().map(str::to_owned));
            let names: Option<Vec<String>> = names.collect();
            (names.filter(|names| !names.is_empty()), true)
        }
        // A regular expression, or "all-linear": the tensors tell which layers it means.
        Some(Value::String(_)) => (Some(Vec::new()), false),
        _ => (None, false),
    };
    let config = LoraConfig {
        rank,
        alpha,
        targets: targets.ok_or("target_modules is missing, or no list of names")?,
        dropout: 0.0,
        rank_stabilized: json.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
        ranks: patterns("rank_pattern")?.into_iter().map(|(k, v)| (k, v as usize)).collect(),
        alphas: patterns("alpha_pattern")?.into_iter().collect(),
    };
    Ok((config, listed))
}

/// Writes an adapter as PEFT does, from the parameters of a model that was built with it.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn write_adapter(
    folder: &Path,
    config: &LoraConfig,
    base: (&Path, &DecoderConfig),
    params: &Params,
    layers: &[(String, bool)],
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(ff_formats::Error::io(folder, "making the folder"))?;
    let mut writer = TensorWriter::new();
    writer.metadata("format", "pt");
    writer.metadata(BASE, fingerprint(params)?);
    for (layer, _) in layers.iter().filter(|(_, adapted)| *adapted) {
        for matrix in ["lora_A", "lora_B"] {
            let Some(id) = params.id(&parameter(layer, matrix, "")) else { continue };
            let dims = params.info(id).spec.shape.dims();
            let stored = format!("{PREFIX}{layer}.{matrix}.weight");
            writer.add_f32(stored, dims, params.values::<f32>(id)?);
        }
    }
    writer.write(&folder.join(TENSORS))?;
    let json = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.0,
        "inference_mode": true,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": target_modules(layers),
        "fan_in_fan_out": base.1.has_transposed_files(),
        "bias": "none",
        "use_rslora": config.rank_stabilized,
        "rank_pattern": config.ranks,
        "alpha_pattern": config.alphas,
        "modules_to_save": null,
        "init_lora_weights": true,
        "use_dora": false,
    });
    write_text(&folder.join(CONFIG), &format!("{json:#}\n"))
}

/// The shortest list of PEFT's `target_modules`: ends of names that mean adapted layers alone, and
/// else whole names.
fn target_modules(layers: &[(String, bool)]) -> BTreeSet<&str> {
    let end = |layer: &str| layer.rfind('.').map_or(0, |at| at + 1);
    let mixed =
        |last: &str| layers.iter().any(|(layer, adapted)| !adapted && is_at_end(layer, last));
    let adapted = layers.iter().filter(|(_, adapted)| *adapted).map(|(layer, _)| layer.as_str());
    adapted
        .map(|layer| {
            let last = &layer[end(layer)..];
            if mixed(last) { layer } else { last }
        })
        .collect()
}

/// XXH3-128 of the base model's parameters, which an adapter belongs to.
pub(crate) fn fingerprint(params: &Params) -> Result<String> {
    const CHUNK: usize = 1 << 14;
    let device = Device::open(DeviceOptions { threads: 1, isa: None })?;
    let mut hasher = Xxh3::new();
    let mut bytes = Vec::with_capacity(4 * CHUNK);
    for (i, info) in params.infos().iter().enumerate() {
        let name = &info.spec.name;
        if is_adapter(name) {
            continue;
        }
        hasher.update(name.as_bytes());
        let mut add = |values: &[f32]| {
            for values in values.chunks(CHUNK) {
                bytes.clear();
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                hasher.update(&bytes);
            }
        };
        let id = ParamId::new(i);
        if info.spec.segment != Segment::File {
            add(params.values::<f32>(id)?);
            continue;
        }
        if let Some(matrix) = params.view(id).file() {
            let mut row = vec![0.0; matrix.cols()];
            for i in 0..matrix.rows() {
                file_rows(device.cpu(), matrix, i..i + 1, &mut row);
                add(&row);
            }
        }
    }
    Ok(format!("{:032x}", hasher.digest128()))
}

fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
