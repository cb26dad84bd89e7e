//! Adapters: folders as PEFT writes them (`adapter_config.json`, `adapter_model.safetensors`), and
//! llama.cpp's GGUF files.

mod base;
mod experts;
mod fingerprint;
mod gguf;
mod merge;
pub(super) mod names;
mod parts;
mod settings;
mod whole;
mod write;

pub(super) use base::base_of;
pub(crate) use base::{Base, pair_tensors};
pub(crate) use fingerprint::fingerprint;
pub(super) use gguf::write_gguf_adapter;
pub(super) use merge::merge;
pub(crate) use merge::merge_trained;
pub(crate) use names::is_adapter;
pub(crate) use whole::begin_adapter;
pub(crate) use write::write_adapter;

use self::experts::read_stack;
use self::gguf::Gguf;
use self::names::{BASE, CONFIG, PREFIX, TENSORS};
use self::parts::{Parts, TOKENS, parameter, pieces};
use self::settings::{OUTPUT, Settings, is_at_end};
use self::whole::{copy_base, fix_magnitudes, stored_name, whole_tensors};
use crate::error::{Error, Result};
use crate::files::read_text;
use ff_formats::{GgufFile, TensorFile};
use ff_graph::Params;
use ff_nn::{LoraConfig, Replaced};
use ff_tensor::Device;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How many names a message lists.
const SHOWN: usize = 4;

/// An adapter that was read from a folder.
#[derive(Debug)]
pub(crate) struct AdapterFile {
    folder: PathBuf,
    settings: Settings,
    config: LoraConfig,
    /// `base_model_name_or_path`.
    base: Option<PathBuf>,
    tensors: TensorFile,
    parts: Parts,
    /// Of a GGUF file.
    gguf: Option<Gguf>,
}

/// The layers of a model, and whether each has an adapter; what an adapter has in place of the
/// model's own parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) layers: &'a [(String, bool)],
    pub(crate) replaced: &'a [Replaced],
    /// The stacks of experts' matrices, and whether each has an adapter.
    pub(crate) stacks: &'a [(String, bool)],
}

impl<'a> Places<'a> {
    /// The layers with an adapter.
    fn adapted(self) -> impl Iterator<Item = &'a str> + Clone {
        self.layers.iter().filter(|(_, adapted)| *adapted).map(|(layer, _)| layer.as_str())
    }
}

/// The adapter of a folder: itself, or the one inside of a run.
pub(crate) fn adapter_folder(path: &Path) -> Option<PathBuf> {
    let inside = path.join("adapter");
    [path, &inside].into_iter().find(|p| p.join(CONFIG).exists()).map(Path::to_owned)
}

impl AdapterFile {
    /// Opens the folder of an adapter or of a run that trained one, or a GGUF file.
    ///
    /// # Errors
    /// There is none; a file is damaged; the config asks for what is not supported.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if path.is_file() && GgufFile::is_at(path) {
            return gguf::open(path);
        }
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
        let settings = Settings::read(&json).map_err(fail)?;
        let in_tensors = |message| Error::run(&folder.join(TENSORS), message);
        let parts = Parts::of(&tensors, &settings).map_err(in_tensors)?;
        let layers: Vec<String> = parts.layers.iter().cloned().collect();
        if let Some(target) = settings.unused(&layers) {
            let message = format!("target_modules names {target}, and no tensor belongs to it");
            return Err(fail(message));
        }
        if let Some(layer) = layers.iter().find(|layer| !settings.targets(layer)) {
            let message =
                format!("target_modules does not name {layer}, which has tensors in {TENSORS}");
            return Err(fail(message));
        }
        let mut saved = parts.saved(&settings).map_err(fail)?;
        if let Some(table) = &parts.table {
            if saved.contains(table) {
                let message = format!(
                    "modules_to_save and trainable_token_indices exclude each other for {table}"
                );
                return Err(fail(message));
            }
            // An adapter that is only read has the whole table, with these rows.
            saved.push(table.clone());
        }
        let stacks = parts.stacks.keys().cloned().collect();
        let mut config = settings.of_layers(layers, stacks, saved);
        config.keep_tied |= parts.table.is_some();
        let base = json.get("base_model_name_or_path").and_then(Value::as_str).map(PathBuf::from);
        Ok(Self { folder, settings, config, base, tensors, parts, gguf: None })
    }

    pub(crate) fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The base model that the adapter names.
    pub(crate) fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    pub(super) fn fail(&self, message: String) -> Error {
        Error::run(&self.folder, message)
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
        places: Places<'_>,
        (base, device): (Base<'_>, &Device),
    ) -> Result<()> {
        if let Some(mismatch) = self.gguf.as_ref().and_then(|gguf| gguf.mismatch(base)) {
            return Err(self.fail(mismatch));
        }
        self.check_layers(places)?;
        if let Some(trained_on) = self.tensors.metadata(BASE)
            && trained_on != fingerprint(params)?
        {
            return Err(self.fail(
                "it was trained on a base model with other weights; give that model (the adapter names it in \
                 base_model_name_or_path)"
                    .into(),
            ));
        }
        for layer in &self.parts.layers {
            for (part, end, stored) in pieces(&self.config) {
                let Some(id) = params.id(&parameter(layer, part, name, end)) else {
                    return Err(self.fail(format!("{layer} has no adapter in the model")));
                };
                let dims = params.info(id).spec.shape.dims().to_vec();
                let mut values = self.values(&format!("{PREFIX}{layer}.{stored}"), &dims)?;
                if let (Some(gguf), Base::Decoder(config)) = (&self.gguf, base) {
                    values = gguf.ordered((layer, stored), config, values, dims[0]);
                }
                params.values_mut::<f32>(id)?.copy_from_slice(&values);
            }
            if self.config.dora {
                fix_magnitudes(params, (layer, name), self.config.scale(layer), device)?;
            }
        }
        for (stack, module) in &self.parts.stacks {
            read_stack(self, params, (stack, name, module), base)?;
        }
        self.read_whole(params, places.replaced, (base, device))
    }

    /// The layers of the file are those that the config means among those of the model.
    fn check_layers(&self, places: Places<'_>) -> Result<()> {
        let file = &self.parts.layers;
        let known: BTreeSet<&str> = places.layers.iter().map(|(layer, _)| layer.as_str()).collect();
        let foreign: Vec<&str> = file
            .iter()
            .map(String::as_str)
            .filter(|layer| !known.contains(layer))
            .map(|l| self.name(l))
            .collect();
        if !foreign.is_empty() {
            return Err(self.fail(format!(
                "it adapts layers that the base model does not have as linear layers: {}; it belongs to another model, or \
                 adapts parts that are not supported",
                listed(&foreign)
            )));
        }
        let meant = |layer: &&str| self.settings.targets(layer) && !file.contains(*layer);
        let missing: Vec<&str> = known.into_iter().filter(meant).collect();
        if !missing.is_empty() {
            return Err(self.fail(format!(
                "target_modules names layers of the base model without tensors in {TENSORS}: {}; it belongs to another \
                 model, or is not whole",
                listed(&missing)
            )));
        }
        let stacks: BTreeSet<&str> =
            places.stacks.iter().map(|(stack, _)| stack.as_str()).collect();
        let file = &self.parts.stacks;
        if let Some(stack) = file.keys().find(|stack| !stacks.contains(stack.as_str())) {
            return Err(self.fail(format!("it adapts {stack}, which the base model does not have")));
        }
        let meant =
            |stack: &str| self.settings.parameters.iter().any(|name| is_at_end(stack, name));
        match stacks.into_iter().find(|stack| meant(stack) && !file.contains_key(*stack)) {
            Some(stack) => Err(self.fail(format!(
                "target_parameters names {stack}, which has no tensors in {TENSORS}; it is not whole"
            ))),
            None => Ok(()),
        }
    }

    /// Reads the parameters that the adapter has in place of the base model's.
    fn read_whole(
        &self,
        params: &mut Params,
        replaced: &[Replaced],
        (model, device): (Base<'_>, &Device),
    ) -> Result<()> {
        let mut used = BTreeSet::new();
        let [table, _] = model.tied_tensors();
        if let Some(own) = &self.parts.table
            && format!("{own}.weight") != table
        {
            let message = format!(
                "trainable_token_indices of {own}, which is not the table {table}, is not supported"
            );
            return Err(self.fail(message));
        }
        for (tensor, own) in whole_tensors(model, params, replaced) {
            if let (Some(module), Some((_, ids))) = (&self.parts.table, &self.settings.tokens)
                && tensor.name == table
            {
                let base = params.id(&table).unwrap_or(own);
                copy_base(params, Replaced { base, own }, device)?;
                let width = tensor.dims[1];
                let rows =
                    self.values(&format!("{PREFIX}{module}{TOKENS}"), &[ids.len(), width])?;
                let to = params.values_mut::<f32>(own)?;
                for (&id, row) in ids.iter().zip(rows.chunks_exact(width)) {
                    let Some(to) = to.chunks_exact_mut(width).nth(id as usize) else {
                        let message = format!(
                            "trainable_token_indices has {id}, which the base model does not"
                        );
                        return Err(self.fail(message));
                    };
                    to.copy_from_slice(row);
                }
                continue;
            }
            let stored = stored_name(&tensor.name, &self.parts.layers);
            let values = self.values(&format!("{PREFIX}{stored}"), &tensor.dims)?;
            tensor.read(&values, params.values_mut::<f32>(own)?);
            used.insert(stored);
            let output = &format!("{PREFIX}{OUTPUT}");
            if self.config.keep_tied && table == tensor.name {
                if self.tensors.dims(output).is_some()
                    && self.values(output, &tensor.dims)? != values
                {
                    return Err(self.fail(format!(
                        "ensure_weight_tying: {OUTPUT} is not the table of embeddings {}",
                        tensor.name
                    )));
                }
                used.insert(OUTPUT.to_owned());
            }
        }
        let left = self.parts.whole.iter().map(String::as_str);
        let left: Vec<&str> = left.filter(|name| !used.contains(*name)).collect();
        if !left.is_empty() {
            return Err(self.fail(format!(
                "it has parts of its own that the base model does not have as such: {}; it belongs to another model, or \
                 replaces parts that are not supported",
                listed(&left)
            )));
        }
        let own: BTreeSet<usize> = replaced.iter().map(|r| r.base.index()).collect();
        let mut missing = params.iter().filter(|(id, info)| {
            let module = info.spec.name.rsplit_once('.').map_or("", |(module, _)| module);
            let named = || self.settings.saves(module);
            !own.contains(&id.index()) && !is_adapter(&info.spec.name) && named()
        });
        match missing.next() {
            Some((_, info)) => Err(self.fail(format!(
                "modules_to_save names a module with {}, which has no tensor in {TENSORS}; it is not whole",
                info.spec.name
            ))),
            None => Ok(()),
        }
    }

    /// What the file calls a layer.
    fn name<'a>(&'a self, layer: &'a str) -> &'a str {
        self.gguf.as_ref().map_or(layer, |gguf| gguf.name(layer))
    }

    /// The values of a tensor, which must have this shape.
    fn values(&self, stored: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let Some(found) = self.tensors.dims(stored) else {
            return Err(self.fail(format!("tensor `{stored}` is missing in {TENSORS}")));
        };
        if found != dims
            && let Some(gguf) = &self.gguf
        {
            return Err(self.fail(format!(
                "tensor `{}`: the base model calls for shape {dims:?}, the file has {found:?}; it belongs to another model",
                gguf.name(stored)
            )));
        }
        if found != dims {
            return Err(self.fail(format!(
                "tensor `{stored}`: the base model and the rank in {CONFIG} call for shape {dims:?}, the file has {found:?}; \
                 it belongs to another model"
            )));
        }
        Ok(self.tensors.floats(stored, dims)?)
    }
}

fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
