//! The tensors of a folder: one file, or shards with an index.

use super::adapter::names::is_adapter;
use super::gguf::GgufWeights;
use crate::error::{Error, Result};
use ff_formats::{GgmlType, GgufFile, TensorFile, TensorWriter, mxfp4, write_atomic};
use ff_graph::{ParamId, ParamKind, Params, Segment};
use ff_nn::models::{DecoderConfig, FileTensor, file_tensors, is_ignored};
use ff_tensor::FileMatrix;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The names of base models within larger ones.
const PREFIXES: [&str; 4] = ["bert", "roberta", "distilbert", "model"];
/// The output layer, and ends of the names of tables of embeddings.
const OUTPUT: &str = "lm_head.weight";
const EMBEDDINGS: [&str; 2] = ["embed_tokens.weight", "wte.weight"];
/// The ends of the names of tensors of 4 bits (MXFP4).
const BLOCKS: &str = "_blocks";
const SCALES: &str = "_scales";
/// How many names a message lists.
const SHOWN: usize = 4;

/// The tensors of a model, mapped.
#[derive(Debug)]
pub(super) enum Weights {
    /// Those of a folder.
    Shards(Shards),
    /// Those of a GGUF file.
    Gguf(GgufWeights),
}

/// The files of a folder's tensors.
#[derive(Debug)]
pub(super) struct Shards {
    files: Vec<TensorFile>,
    /// The number of the file that has each tensor.
    tensors: BTreeMap<String, usize>,
}

impl Shards {
    fn open(folder: &Path) -> Result<Self> {
        let index = folder.join(INDEX);
        if folder.join(SINGLE).exists() {
            let file = TensorFile::map(&folder.join(SINGLE))?;
            let tensors = file.entries().map(|entry| (entry.name, 0)).collect();
            return Ok(Self { files: vec![file], tensors });
        }
        if index.exists() {
            return Self::sharded(folder, &index);
        }
        let old = folder.join("pytorch_model.bin").exists()
            || folder.join("pytorch_model.bin.index.json").exists();
        let message = if old {
            "has its tensors in pytorch_model.bin only; convert the model to safetensors first (in Python: \
             model.save_pretrained(folder))"
        } else {
            "has neither model.safetensors nor model.safetensors.index.json; copy the folder again whole"
        };
        Err(Error::run(folder, message))
    }

    fn sharded(folder: &Path, index: &Path) -> Result<Self> {
        let malformed = |message: &str| Error::run(index, message);
        let json: Value = serde_json::from_str(&crate::files::read_text(index)?)
            .map_err(|e| malformed(&format!("is not valid JSON: {e}")))?;
        let map = json.get("weight_map").and_then(Value::as_object);
        let map =
            map.ok_or_else(|| malformed("has no `weight_map`; it names each tensor's file"))?;
        let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
        let mut files = Vec::new();
        let mut tensors = BTreeMap::new();
        for name in names {
            // A name is one of this folder, not a path to somewhere else.
            if Path::new(name).file_name().is_none_or(|file| file != name) {
                return Err(malformed(&format!("names `{name}`, which is no file of this folder")));
            }
            let path = folder.join(name);
            if !path.exists() {
                let message = format!(
                    "names the shard {name}, which is not in the folder; copy the folder again whole"
                );
                return Err(malformed(&message));
            }
            let file = TensorFile::map(&path)?;
            tensors.extend(file.entries().map(|entry| (entry.name, files.len())));
            files.push(file);
        }
        for (tensor, file) in map {
            if !tensors.contains_key(tensor) {
                let message =
                    format!("says that {file} has the tensor `{tensor}`, which it has not");
                return Err(malformed(&message));
            }
        }
        Ok(Self { files, tensors })
    }

    fn file(&self, name: &str) -> Option<&TensorFile> {
        self.tensors.get(name).map(|&file| &self.files[file])
    }

    /// The names of all tensors; blocks and their scales are one.
    fn names(&self) -> impl Iterator<Item = &str> {
        let whole = |name: &&str| {
            name.strip_suffix(SCALES).is_none_or(|name| !self.has(&format!("{name}{BLOCKS}")))
        };
        let names = self.tensors.keys().map(String::as_str).filter(whole);
        names.map(|name| name.strip_suffix(BLOCKS).filter(|n| self.is_blocks(n)).unwrap_or(name))
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Whether a tensor is blocks of 4 bits and their scales.
    fn is_blocks(&self, name: &str) -> bool {
        !self.has(name) && [BLOCKS, SCALES].iter().all(|end| self.has(&format!("{name}{end}")))
    }

    /// The shape of a stack of matrices `[matrices, in, out]`, whose blocks are of the transposes.
    fn dims(&self, name: &str) -> Option<Vec<usize>> {
        if !self.is_blocks(name) {
            return self.file(name)?.dims(name).map(<[usize]>::to_vec);
        }
        let blocks = format!("{name}{BLOCKS}");
        match *self.file(&blocks)?.dims(&blocks)? {
            [matrices, outputs, count, 16] => Some(vec![matrices, 32 * count, outputs]),
            _ => None,
        }
    }

    /// The values of a tensor as f32.
    fn values(&self, name: &str) -> Result<Option<Vec<f32>>> {
        if !self.is_blocks(name) {
            let Some(file) = self.file(name) else { return Ok(None) };
            let dims = file.dims(name).unwrap_or_default();
            return Ok(Some(file.floats(name, dims)?));
        }
        let [blocks, scales] = [BLOCKS, SCALES].map(|end| {
            let name = format!("{name}{end}");
            self.file(&name).and_then(|file| file.raw(&name)).map(|raw| raw.bytes)
        });
        let values = blocks.zip(scales).and_then(|(blocks, scales)| mxfp4(&blocks, &scales));
        let (Some(values), Some(&[matrices, inputs, outputs])) =
            (values, self.dims(name).as_deref())
        else {
            let message = "has blocks whose scales do not fit them; copy the folder again whole";
            return Err(Error::run(Path::new(name), message));
        };
        let mut turned = vec![0.0; values.len()];
        for e in 0..matrices {
            let start = e * inputs * outputs;
            for i in 0..inputs {
                for o in 0..outputs {
                    turned[start + i * outputs + o] = values[start + o * inputs + i];
                }
            }
        }
        Ok(Some(turned))
    }
}

impl Weights {
    /// Opens a model's folder, or a GGUF file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if GgufFile::is_at(path) {
            return GgufWeights::open(path).map(Self::Gguf);
        }
        Shards::open(path).map(Self::Shards)
    }

    /// The names of all tensors.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Shards(shards) => Box::new(shards.names()),
            Self::Gguf(gguf) => Box::new(gguf.keys()),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.dims(name).is_some()
    }

    pub(super) fn dims(&self, name: &str) -> Option<Vec<usize>> {
        match self {
            Self::Shards(shards) => shards.dims(name),
            Self::Gguf(gguf) => gguf.dims(name),
        }
    }

    /// The values of a tensor as f32.
    pub(super) fn values(&self, name: &str) -> Result<Option<Vec<f32>>> {
        match self {
            Self::Shards(shards) => shards.values(name),
            Self::Gguf(gguf) => gguf.values(name),
        }
    }

    /// The matrix of a parameter, or of an expert, as the file has it, if products read its form.
    fn matrix(&self, tensor: &FileTensor, place: &Place) -> Option<FileMatrix> {
        let &[rows, cols] = tensor.dims.as_slice() else { return None };
        if tensor.transposed || tensor.alternating || cols == 0 {
            return None;
        }
        let matrix = match self {
            Self::Shards(shards) => shards.file(&place.name)?.matrix(&place.name)?,
            Self::Gguf(gguf) => gguf.matrix(&place.name)?,
        };
        let first = place.start.unwrap_or(0) / cols;
        let matrix = matrix.part(first..first + rows).ok()?;
        (matrix.cols() == cols).then_some(matrix)
    }

    /// The parameters that can stay in the form of these files, with their bytes.
    pub(super) fn in_file(
        &self,
        wanted: &[FileTensor],
        params: &Params,
    ) -> BTreeMap<String, usize> {
        let mut found: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        for (tensor, place) in wanted.iter().zip(self.places(wanted)) {
            let spec = &params.info(ParamId::new(tensor.param)).spec;
            let is_matrix = matches!(spec.kind, ParamKind::Weight | ParamKind::Embedding);
            let fits = is_matrix && spec.shape.dims().ends_with(&tensor.dims);
            let matrix = self.matrix(tensor, &place).filter(|_| fits);
            let bytes = found.entry(tensor.param).or_insert(Some(0));
            *bytes = matrix.and_then(|matrix| Some((*bytes)? + matrix.bytes().len()));
        }
        let name = |param| params.info(ParamId::new(param)).spec.name.clone();
        found.into_iter().filter_map(|(param, bytes)| Some((name(param), bytes?))).collect()
    }

    /// The first tensor whose name ends like this.
    pub(super) fn ending(&self, end: &str) -> Option<&str> {
        self.names().find(|name| name.ends_with(end))
    }

    /// Where the tensors of a model lie in these files.
    ///
    /// A base model's names lack their first part, a larger model's have one more, norms of old
    /// models have a gamma and a beta, and experts may be stacked. A tied model may have only its
    /// output layer.
    fn places(&self, wanted: &[FileTensor]) -> Vec<Place> {
        let old = |name: &str| {
            let old = name.replace("LayerNorm.weight", "LayerNorm.gamma");
            old.replace("LayerNorm.bias", "LayerNorm.beta")
        };
        let tied = !wanted.iter().any(|tensor| tensor.name == OUTPUT);
        let place = |tensor: &FileTensor| {
            let name = &tensor.name;
            let short = name.split_once('.').map_or(name.as_str(), |(_, rest)| rest).to_owned();
            let longer = PREFIXES.iter().map(|prefix| format!("{prefix}.{name}"));
            let embedding = EMBEDDINGS.iter().any(|end| name.ends_with(end));
            let output = (tied && embedding).then(|| OUTPUT.to_owned());
            let others = [old(name), short.clone(), old(&short)].into_iter().chain(longer);
            let router = name.replace("block_sparse_moe.", "mlp.");
            let others = others.chain([router]).chain(output);
            let found = std::iter::once(name.clone()).chain(others);
            let found = found.into_iter().find(|name| self.has(name));
            let whole = |name: String| Place { name, dims: tensor.dims.clone(), start: None };
            found.map(whole).or_else(|| self.stacked(tensor)).unwrap_or_else(|| whole(name.clone()))
        };
        wanted.iter().map(place).collect()
    }

    /// The matrix of an expert in a stack of all of a layer's: `gate_up_proj`
    /// `[experts, 2 · hidden, features]`, `down_proj` `[experts, features, hidden]`.
    fn stacked(&self, tensor: &FileTensor) -> Option<Place> {
        let (before, rest) = tensor.name.split_once(".experts.")?;
        let (expert, matrix) = rest.strip_suffix(".weight")?.split_once('.')?;
        let expert: usize = expert.parse().ok()?;
        let (stack, part, parts) = match matrix {
            "gate_proj" | "w1" => ("gate_up_proj", 0, 2),
            "up_proj" | "w3" => ("gate_up_proj", 1, 2),
            _ => ("down_proj", 0, 1),
        };
        let before = before.replace("block_sparse_moe", "mlp");
        let name = format!("{before}.experts.{stack}");
        let experts = *self.dims(&name)?.first()?;
        let &[rows, cols] = tensor.dims.as_slice() else { return None };
        let dims = vec![experts, parts * rows, cols];
        Some(Place { name, dims, start: Some((expert * parts + part) * rows * cols) })
    }

    /// Every tensor is there with its shape, and none is left over.
    fn check(
        &self,
        folder: &Path,
        ignored: &dyn Fn(&str) -> bool,
        wanted: &[FileTensor],
        places: &[Place],
    ) -> Result<()> {
        let missing: Vec<&str> = places
            .iter()
            .filter(|place| !self.has(&place.name))
            .map(|place| place.name.as_str())
            .collect();
        let known: BTreeSet<&str> = places.iter().map(|place| place.name.as_str()).collect();
        let extra: Vec<&str> =
            self.names().filter(|name| !known.contains(name) && !ignored(name)).collect();
        let left = count(extra.len(), "tensor belongs to", "tensors belong to");
        if !missing.is_empty() {
            let others = match extra.len() {
                0 => String::new(),
                _ => format!("; {left} no layer: {}", listed(&extra)),
            };
            let message = format!(
                "{} missing that config.json calls for: {}{others}",
                count(missing.len(), "tensor is", "tensors are"),
                listed(&missing)
            );
            return Err(Error::run(folder, message));
        }
        let mut parts: BTreeMap<&str, usize> = BTreeMap::new();
        for (tensor, place) in wanted.iter().zip(places) {
            let (name, wanted) = (&place.name, &place.dims);
            let found = self.dims(name).unwrap_or_default();
            if found != *wanted {
                let message = format!(
                    "tensor `{name}`: config.json calls for shape {wanted:?}, the file has {found:?}",
                );
                return Err(Error::run(folder, message));
            }
            *parts.entry(name).or_default() += tensor.len();
        }
        for place in places.iter().filter(|place| place.start.is_some()) {
            let found: usize = place.dims.iter().product();
            let all = parts[place.name.as_str()];
            if all != found {
                let message = format!(
                    "tensor `{}` holds {} experts, and config.json calls for {}",
                    place.name,
                    place.dims[0],
                    place.dims[0] * all / found.max(1)
                );
                return Err(Error::run(folder, message));
            }
        }
        if !extra.is_empty() {
            let message = format!(
                "{left} no layer of config.json: {}; the files are of different models, or the model has parts that are \
                 not supported",
                listed(&extra)
            );
            return Err(Error::run(folder, message));
        }
        Ok(())
    }
}

/// Where a tensor of a model lies in the files.
struct Place {
    name: String,
    /// The shape of the file's tensor.
    dims: Vec<usize>,
    /// The first value, of a tensor that holds others too.
    start: Option<usize>,
}

fn count(n: usize, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// The tensors of a model's files, without those of its adapters.
pub(crate) fn base_tensors(config: &DecoderConfig, params: &Params) -> Vec<FileTensor> {
    let mut tensors = file_tensors(config, params);
    tensors.retain(|tensor| !is_adapter(&params.infos()[tensor.param].spec.name));
    tensors
}

/// Opens a folder's tensors, which must be those of a model: before memory is taken for it.
pub(super) fn open_checked(
    folder: &Path,
    wanted: &[FileTensor],
    ignored: &dyn Fn(&str) -> bool,
) -> Result<Weights> {
    let weights = Weights::open(folder)?;
    weights.check(folder, ignored, wanted, &weights.places(wanted))?;
    Ok(weights)
}

/// The same, without those of `optional` tensors that the folder lacks or has in another shape.
pub(super) fn open_partly(
    folder: &Path,
    wanted: &mut Vec<FileTensor>,
    optional: &dyn Fn(&str) -> bool,
    ignored: &dyn Fn(&str) -> bool,
) -> Result<Weights> {
    let weights = Weights::open(folder)?;
    let mut places = weights.places(wanted).into_iter();
    wanted.retain(|tensor| {
        let there = |place: Place| weights.dims(&place.name).is_some_and(|d| d == place.dims);
        places.next().is_some_and(there) || !optional(&tensor.name)
    });
    weights.check(folder, ignored, wanted, &weights.places(wanted))?;
    Ok(weights)
}

/// Reads a folder's tensors into parameters of the same config, as f32 whatever they are stored as;
/// parameters of adapters stay as they are.
///
/// # Errors
/// A shard or a tensor is missing, of another shape or of a type that is not a float; a tensor
/// belongs to no layer.
///
/// ```no_run
/// # use feedforward::{nn::models::DecoderConfig, graph::Params, Result};
/// # fn read(config: &DecoderConfig, params: &mut Params) -> Result<()> {
/// feedforward::language::read_weights("models/gpt2".as_ref(), config, params)
/// # }
/// ```
pub fn read_weights(folder: &Path, config: &DecoderConfig, params: &mut Params) -> Result<()> {
    let wanted = base_tensors(config, params);
    let ignored = |name: &str| is_ignored(config, name);
    open_checked(folder, &wanted, &ignored)?.read_into(&wanted, params)
}

/// The parameters that can stay in the form of a folder's files, for a model whose weights are only
/// read, with their bytes.
pub(crate) fn sizes_in_file(
    folder: &Path,
    config: &DecoderConfig,
    params: &Params,
) -> Result<BTreeMap<String, usize>> {
    Ok(Weights::open(folder)?.in_file(&base_tensors(config, params), params))
}

impl Weights {
    pub(super) fn read_into(&self, wanted: &[FileTensor], params: &mut Params) -> Result<()> {
        // Stacked experts follow each other, and are converted once.
        let mut last: Option<(String, Vec<f32>)> = None;
        let mut stacks: BTreeMap<usize, Vec<FileMatrix>> = BTreeMap::new();
        for (tensor, place) in wanted.iter().zip(self.places(wanted)) {
            if params.info(ParamId::new(tensor.param)).spec.segment == Segment::File {
                let matrix = self.matrix(tensor, &place).ok_or_else(|| {
                    Error::run(
                        Path::new(&place.name),
                        "the model's files no longer have this tensor in a form that products read",
                    )
                })?;
                stacks.entry(tensor.param).or_default().push(matrix);
                continue;
            }
            let Place { name, start, .. } = place;
            if last.as_ref().is_none_or(|(last, _)| *last != name) {
                last = self.values(&name)?.map(|values| (name, values));
            }
            let Some((_, values)) = &last else { continue };
            let start = start.unwrap_or(0);
            let values = &values[start..start + tensor.len()];
            tensor.read(values, params.values_mut::<f32>(ParamId::new(tensor.param))?);
        }
        for (param, stack) in stacks {
            params.set_file(ParamId::new(param), stack)?;
        }
        Ok(())
    }
}

/// Writes the tensors of a model: one file, or shards of at most `shard_bytes` where that is not
/// enough.
pub(crate) fn write_weights(
    folder: &Path,
    tensors: &[FileTensor],
    params: &Params,
    shard_bytes: usize,
) -> Result<()> {
    write_weights_as(folder, tensors, params, shard_bytes, GgmlType::F32)
}

/// The same as F32, F16 or BF16.
pub(super) fn write_weights_as(
    folder: &Path,
    tensors: &[FileTensor],
    params: &Params,
    shard_bytes: usize,
    dtype: GgmlType,
) -> Result<()> {
    let mut shards: Vec<Vec<&FileTensor>> = vec![Vec::new()];
    let mut bytes = 0;
    for tensor in tensors {
        let more = dtype.bytes() * tensor.len();
        if bytes > 0 && bytes + more > shard_bytes {
            shards.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(shard) = shards.last_mut() {
            shard.push(tensor);
        }
    }
    remove_weights(folder)?;
    let name = |i: usize| match shards.len() {
        1 => SINGLE.to_owned(),
        n => format!("model-{:05}-of-{n:05}.safetensors", i + 1),
    };
    let mut map = BTreeMap::new();
    let mut total = 0;
    for (i, shard) in shards.iter().enumerate() {
        let mut writer = TensorWriter::new().stored_as(dtype);
        writer.metadata("format", "pt");
        for &tensor in shard {
            let values = params.values::<f32>(ParamId::new(tensor.param))?;
            let made = move || -> Cow<'_, [f32]> { tensor.write(values) };
            writer.add_made(&tensor.name, &tensor.dims, made);
            map.insert(tensor.name.as_str(), name(i));
        }
        total += writer.bytes();
        writer.write(&folder.join(name(i)))?;
    }
    if shards.len() > 1 {
        let weight_map: Map<String, Value> =
            map.into_iter().map(|(tensor, file)| (tensor.to_owned(), file.into())).collect();
        let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        write_atomic(&folder.join(INDEX), |file| writeln!(file, "{index:#}"))?;
    }
    Ok(())
}

/// A model of fewer shards must not leave those of an earlier one behind.
fn remove_weights(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(ff_formats::Error::io(folder, "reading"))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let shard = name.starts_with("model-") && name.ends_with(".safetensors");
        if shard || name == INDEX || name == SINGLE {
            let path = entry.path();
            std::fs::remove_file(&path).map_err(ff_formats::Error::io(&path, "removing"))?;
        }
    }
    Ok(())
}

/// Hashes the sizes, the first and the last bytes of a model's files of tensors.
pub(crate) fn hash_weights(model: &Path, hasher: &mut Xxh3) -> Result<()> {
    const PART: u64 = 1 << 20;
    let mut files = vec![model.to_owned()];
    if model.is_dir() {
        let entries = std::fs::read_dir(model).map_err(ff_formats::Error::io(model, "reading"))?;
        files = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    }
    files.sort();
    for path in files {
        let mut ends = || -> std::io::Result<()> {
            let mut file = std::fs::File::open(&path)?;
            let len = file.metadata()?.len();
            hasher.update(&len.to_le_bytes());
            for start in [0, len.saturating_sub(PART)] {
                let mut bytes = Vec::new();
                file.seek(SeekFrom::Start(start))?;
                Read::by_ref(&mut file).take(PART).read_to_end(&mut bytes)?;
                hasher.update(&bytes);
            }
            Ok(())
        };
        ends().map_err(ff_formats::Error::io(&path, "reading"))?;
    }
    Ok(())
}
