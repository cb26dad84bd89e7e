//! What is inside of a run, a model or a file of tensors.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ff_formats::{GgufFile, GgufValue, TensorFile, TorchModule};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::run::folder::RunFolder;

/// The tensors of a file, by layer.
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("feedforward-inspect-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let path = folder.join("model.safetensors");
/// let mut writer = ff_formats::TensorWriter::new();
/// writer.add_f32("output.weight", &[3, 2], &[0.0; 6]);
/// writer.add_f32("output.bias", &[3], &[0.0; 3]);
/// writer.write(&path)?;
/// let inspection = feedforward::inspect(&path)?;
/// assert_eq!((inspection.values, inspection.layers[0].values), (9, 9));
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// What was named: a run, a model or a file.
    pub path: PathBuf,
    /// The file of tensors, or the index of several.
    pub file: PathBuf,
    /// The size of the files of tensors.
    pub file_bytes: u64,
    /// The family, sizes, vocabulary and purpose of a published model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What the model's `config.json` says, where there is one; the metadata of a GGUF file.
    pub config: Option<serde_json::Value>,
    /// Tensors that belong together, in the order of their names.
    pub layers: Vec<LayerInfo>,
    /// Every tensor, in the order of their names.
    pub tensors: Vec<TensorInfo>,
    /// How many values there are in all.
    pub values: usize,
    /// How many bytes they take.
    pub bytes: usize,
}

/// Tensors whose names differ in their last part only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerInfo {
    /// What their names begin with: `layers.0`.
    pub name: String,
    /// The last parts of their names.
    pub tensors: Vec<String>,
    /// The shape of the weight, or of the only tensor.
    pub shape: Option<Vec<usize>>,
    /// How many values they have.
    pub values: usize,
    /// How many bytes they take.
    pub bytes: usize,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How many values it has.
    pub values: usize,
    /// How many bytes they take.
    pub bytes: usize,
}

/// Looks into a run, a model's folder, a safetensors file, or one of PyTorch or GGUF.
///
/// # Errors
/// There is nothing there, or it is damaged.
pub fn inspect(path: &Path) -> Result<Inspection> {
    if GgufFile::is_at(path) {
        return inspect_gguf(path);
    }
    let Found { file, parts, config } = find(path)?;
    let config = config.filter(|config| config.is_file()).map(|config| read_json(&config));
    let config = config.transpose()?;
    let mut file_bytes = 0;
    let mut tensors: Vec<TensorInfo> = Vec::new();
    let mut classes = None;
    for part in &parts {
        file_bytes +=
            std::fs::metadata(part).map_err(ff_formats::Error::io(part, "reading"))?.len();
        let opened = match TensorFile::map(part) {
            // A module of PyTorch says which layers its tensors belong to.
            Err(refused @ ff_formats::Error::Refused { .. }) => {
                let (Some(module), tensors) = TorchModule::open(part)? else {
                    return Err(refused.into());
                };
                classes = Some(format!("a module of PyTorch: {}", module.layers().join(", ")));
                tensors
            }
            opened => opened?,
        };
        tensors.extend(opened.entries().map(|entry| TensorInfo {
            values: entry.dims.iter().product(),
            name: entry.name,
            dtype: entry.dtype,
            shape: entry.dims,
            bytes: entry.bytes,
        }));
    }
    let whole = file.file_name().is_some_and(|name| name == SINGLE || name == INDEX);
    let about = classes.or_else(|| file.parent().filter(|_| whole).and_then(about));
    Ok(Inspection { about, ..described(path, (file, file_bytes), config, tensors) })
}

fn described(
    path: &Path,
    (file, file_bytes): (PathBuf, u64),
    config: Option<serde_json::Value>,
    mut tensors: Vec<TensorInfo>,
) -> Inspection {
    tensors.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
    Inspection {
        path: path.to_owned(),
        file,
        file_bytes,
        about: None,
        config,
        layers: layers(&tensors),
        values: tensors.iter().map(|t| t.values).sum(),
        bytes: tensors.iter().map(|t| t.bytes).sum(),
        tensors,
    }
}

/// A GGUF file, with its metadata; of long lists the length.
fn inspect_gguf(path: &Path) -> Result<Inspection> {
    let file = GgufFile::open(path)?;
    let file_bytes = std::fs::metadata(path).map_err(ff_formats::Error::io(path, "reading"))?.len();
    let tensors = file.tensors().iter().map(|(name, tensor)| TensorInfo {
        name: name.clone(),
        dtype: tensor.dtype.to_string(),
        shape: tensor.dims.clone(),
        values: tensor.dims.iter().product(),
        bytes: tensor.bytes,
    });
    let metadata = file.metadata().iter().map(|(key, value)| (key.clone(), shown(value)));
    let config = serde_json::Value::Object(metadata.collect());
    Ok(described(path, (path.to_owned(), file_bytes), Some(config), tensors.collect()))
}

fn shown(value: &GgufValue) -> serde_json::Value {
    match value {
        GgufValue::String(text) => text.clone().into(),
        GgufValue::Bool(flag) => (*flag).into(),
        GgufValue::Array(values) if values.len() > 8 => format!("{} values", values.len()).into(),
        GgufValue::Array(values) => values.iter().map(shown).collect(),
        GgufValue::I64(n) => (*n).into(),
        GgufValue::I32(n) => (*n).into(),
        GgufValue::I16(n) => (*n).into(),
        GgufValue::I8(n) => (*n).into(),
        other => other.as_u64().map_or_else(|| other.as_f64().into(), Into::into),
    }
}

#[cfg(feature = "language")]
use crate::embedding::describe as about;

/// Without language models, no published model is known.
#[cfg(not(feature = "language"))]
fn about(_: &Path) -> Option<String> {
    None
}

/// The files of a model.
struct Found {
    /// The file of tensors, or the index of several.
    file: PathBuf,
    /// The files of tensors.
    parts: Vec<PathBuf>,
    /// The `config.json` that may lie beside them.
    config: Option<PathBuf>,
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

fn find(path: &Path) -> Result<Found> {
    if path.is_file() {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        return match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => {
                let beside = (name == SINGLE).then(|| path.with_file_name("config.json"));
                Ok(Found { file: path.to_owned(), parts: vec![path.to_owned()], config: beside })
            }
            Some("pt" | "pth" | "bin" | "ckpt") => {
                Ok(Found { file: path.to_owned(), parts: vec![path.to_owned()], config: None })
            }
            Some("json") if name == INDEX => sharded(path),
            Some("json" | "toml" | "jsonl" | "html") => inspect_folder_of(path),
            _ => Err(Error::run(
                path,
                "is no model: name a run, a model's folder, a .safetensors, .pt, .gguf, .onnx, .keras or .h5 file",
            )),
        };
    }
    if let Some(found) = in_folder(path)? {
        return Ok(found);
    }
    let folder = RunFolder::open(path)?;
    in_folder(&folder.model())?.ok_or_else(|| {
        Error::run(
            folder.path(),
            format!(
                "has no model yet; look at its state with `feedforward inspect {}`, or resume it with `feedforward train \
                 --resume {}`",
                folder.checkpoint().display(),
                folder.path().display()
            ),
        )
    })
}

/// The files of a model's folder, if there are any.
fn in_folder(folder: &Path) -> Result<Option<Found>> {
    let (file, index) = (folder.join(SINGLE), folder.join(INDEX));
    if file.is_file() {
        let config = Some(folder.join("config.json"));
        return Ok(Some(Found { parts: vec![file.clone()], file, config }));
    }
    if index.is_file() { sharded(&index).map(Some) } else { Ok(None) }
}

/// The files that an index names.
fn sharded(index: &Path) -> Result<Found> {
    let json = read_json(index)?;
    let map = json.get("weight_map").and_then(serde_json::Value::as_object);
    let map =
        map.ok_or_else(|| Error::run(index, "has no `weight_map`; it names each tensor's file"))?;
    let names: BTreeSet<&str> = map.values().filter_map(serde_json::Value::as_str).collect();
    let part = |name: &str| {
        // A name is one of this folder, not a path to somewhere else.
        let plain = Path::new(name).file_name().is_some_and(|file| file == name);
        let path = index.with_file_name(name);
        if plain && path.is_file() {
            return Ok(path);
        }
        let message = format!(
            "names the shard {name}, which is not in the folder; copy the folder again whole"
        );
        Err(Error::run(index, message))
    };
    Ok(Found {
        file: index.to_owned(),
        parts: names.into_iter().map(part).collect::<Result<_>>()?,
        config: Some(index.with_file_name("config.json")),
    })
}

fn inspect_folder_of(path: &Path) -> Result<Found> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if [SINGLE, INDEX, "recipe.toml"].iter().any(|name| folder.join(name).is_file()) {
        return find(folder);
    }
    Err(Error::run(path, "belongs to no run and no model: name one, or a .safetensors file"))
}

fn read_json(path: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read_to_string(path).map_err(ff_formats::Error::io(path, "reading"))?;
    serde_json::from_str(&text).map_err(|e| Error::run(path, format!("is not valid JSON: {e}")))
}

fn layers(tensors: &[TensorInfo]) -> Vec<LayerInfo> {
    let mut layers: Vec<LayerInfo> = Vec::new();
    for tensor in tensors {
        let (prefix, last) = tensor.name.rsplit_once('.').unwrap_or(("", &tensor.name));
        let name = if prefix.is_empty() { last } else { prefix };
        let at = layers.iter().position(|layer| layer.name == name);
        let at = at.unwrap_or_else(|| {
            layers.push(LayerInfo {
                name: name.to_owned(),
                tensors: Vec::new(),
                shape: None,
                values: 0,
                bytes: 0,
            });
            layers.len() - 1
        });
        let layer = &mut layers[at];
        if last == "weight" || layer.shape.is_none() {
            layer.shape = Some(tensor.shape.clone());
        }
        layer.tensors.push(last.to_owned());
        layer.values += tensor.values;
        layer.bytes += tensor.bytes;
    }
    layers
}

/// A name as text and numbers, so that `layers.10` follows `layers.9`.
fn natural(name: &str) -> Vec<(u64, &str)> {
    name.split('.').map(|part| part.parse().map_or((u64::MAX, part), |n| (n, ""))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize]) -> TensorInfo {
        let values = shape.iter().product();
        TensorInfo {
            name: name.into(),
            dtype: "F32".into(),
            shape: shape.to_vec(),
            values,
            bytes: 4 * values,
        }
    }

    #[test]
    fn tensors_are_grouped_by_layer_in_their_natural_order() {
        let mut names = ["layers.10.weight", "output.bias", "layers.9.weight", "layers.9.bias"];
        names.sort_by(|a, b| natural(a).cmp(&natural(b)));
        assert_eq!(names, ["layers.9.bias", "layers.9.weight", "layers.10.weight", "output.bias"]);
        let tensors = [
            tensor("layers.0.bias", &[3]),
            tensor("layers.0.weight", &[3, 2]),
            tensor("scale", &[]),
        ];
        let layers = layers(&tensors);
        assert_eq!(layers[0].shape, Some(vec![3, 2]));
        assert_eq!((layers[0].values, layers[0].bytes), (9, 36));
        assert_eq!((layers[1].name.as_str(), layers[1].values), ("scale", 1));
    }

    #[test]
    fn the_layers_of_all_shards_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (i, name) in ["layers.10.weight", "layers.9.weight"].into_iter().enumerate() {
            let mut writer = ff_formats::TensorWriter::new();
            writer.add_f32(name, &[2, 3], &[0.0; 6]);
            writer.write(&path(&format!("model-0000{}-of-00002.safetensors", i + 1))).unwrap();
        }
        let index = r#"{"weight_map": {"layers.10.weight": "model-00001-of-00002.safetensors",
            "layers.9.weight": "model-00002-of-00002.safetensors"}}"#;
        std::fs::write(path(INDEX), index).unwrap();
        std::fs::write(path("config.json"), r#"{"model_type": "llama"}"#).unwrap();
        for named in [folder.path().to_owned(), path(INDEX), path("config.json")] {
            let found = inspect(&named).unwrap();
            let names: Vec<&str> = found.layers.iter().map(|layer| layer.name.as_str()).collect();
            assert_eq!((names, found.values), (vec!["layers.9", "layers.10"], 12));
            assert_eq!(found.config.unwrap()["model_type"], "llama");
        }
        std::fs::remove_file(path("model-00001-of-00002.safetensors")).unwrap();
        let error = inspect(folder.path()).unwrap_err().to_string();
        assert!(error.contains("names the shard model-00001-of-00002.safetensors"), "{error}");
    }

    #[test]
    fn what_is_no_model_is_refused_with_what_to_name() {
        let folder =
            std::env::temp_dir().join(format!("feedforward-no-model-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.csv"), "1").unwrap();
        let file = inspect(&folder.join("a.csv")).unwrap_err().to_string();
        let empty = inspect(&folder).unwrap_err().to_string();
        let missing = inspect(&folder.join("none")).unwrap_err().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(file.contains("is no model: name a run"), "{file}");
        assert!(empty.contains("is not the folder of a run"), "{empty}");
        assert!(missing.contains("there is no such run"), "{missing}");
    }
}
