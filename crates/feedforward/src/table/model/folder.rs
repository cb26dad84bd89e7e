//! A model's folder: reading, writing, and what a damaged one is told.

use super::{CALIBRATED, FORMAT, ModelFile, TableModel};
use crate::error::{Error, Result};
use crate::files::{read_text, write_text};
use crate::run::folder::RunFolder;
use crate::run::info::no_model;
use crate::table::recipe::Recipe;
use ff_formats::{TensorFile, TensorWriter};
use ff_graph::{Graph, ParamId, Params};
use ff_metrics::Conformal;
use ff_nn::models::{Mlp, Predictor};
use ff_nn::{Builder, Precision};
use ff_table::{DataError, Transforms};
use ff_tensor::{DType, Device};
use std::path::{Path, PathBuf};

/// The remedy for an inconsistent file of a model.
const COPY_AGAIN: &str = "copy the model's folder again from its source, or train again";

/// The folder of the i-th network of a model, from 2; the first is the model's own.
pub(crate) fn network_folder(folder: &Path, i: usize) -> PathBuf {
    folder.join(format!("network-{i}"))
}

/// The model's folder from a run's folder or from itself, and the threads of the run's recipe.
pub(in crate::table) fn find_model(run: &Path) -> Result<(PathBuf, usize)> {
    if run.join("config.json").is_file() {
        return Ok((run.to_owned(), 0));
    }
    let folder = RunFolder::open(run)?;
    if !folder.model().join("config.json").is_file() {
        return Err(no_model(&folder));
    }
    let recipe = Recipe::load(&folder.recipe(), &[])?;
    Ok((folder.model(), recipe.train.threads))
}

impl TableModel {
    /// Reads a model's folder.
    ///
    /// # Errors
    /// A file is missing, damaged or of another format; a tensor is missing, or of another shape or
    /// type.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let mut model = Self::open_one(folder, device)?;
        if let Some(networks) = model.file.networks {
            for i in 2..=networks {
                let other = Self::open_one(&network_folder(folder, i), device)?;
                let (own, its) = (&model.file, &other.file);
                if (&own.classes, &own.target) != (&its.classes, &its.target) {
                    let message =
                        format!("is of another model than {}; {COPY_AGAIN}", folder.display());
                    return Err(Error::run(&network_folder(folder, i), message));
                }
                model.others.push(other);
            }
        }
        model.conformal = read_conformal(&folder.join("calibration.json"))?;
        Ok(model)
    }

    /// Reads one network of a model.
    fn open_one(folder: &Path, device: &Device) -> Result<Self> {
        let text = read_text(&folder.join("config.json"))?;
        let file = parse_config(&folder.join("config.json"), &text)?;
        let transforms = read_transforms(&folder.join("transforms.json"))?;
        let grams: Vec<usize> = transforms.texts().map(|(_, encoder)| encoder.size()).collect();
        if grams != file.network.texts {
            let message = "knows other n-grams than config.json; the two files are of different models: copy \
                           both from the same run";
            return Err(Error::run(&folder.join("transforms.json"), message.to_owned()));
        }
        let make = |device: &Device| {
            let mut builder = Builder::new();
            let network = Mlp::new(&mut builder, &file.network);
            Ok::<_, Error>((network, builder.build(device, DType::F32, 0, false)?))
        };
        let path = folder.join("model.safetensors");
        let tensors = TensorFile::open(&path)?;
        // Once the shapes of a plan fit the file, the arena cannot be larger than the file is.
        check_names(&make(&Device::planning())?.1, &tensors, &path)?;
        let (network, mut params) = make(device)?;
        for i in 0..params.infos().len() {
            let spec = params.infos()[i].spec.clone();
            let values = tensors.f32(&spec.name, spec.shape.dims())?;
            params.values_mut::<f32>(ParamId::new(i))?.copy_from_slice(&values);
        }
        let predictor = match file.network.network.precision {
            Precision::F32 => Some(Predictor::new(&file.network, &params, device)?),
            Precision::Bf16 => None,
        };
        let graph = Graph::new(device, params);
        Ok(Self { predictor, ..Self::new(file, transforms, network, graph) })
    }

    /// Writes a model's folder; each file is written atomically.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        for (i, other) in self.others.iter().enumerate() {
            other.save_one(&network_folder(folder, i + 2))?;
        }
        self.save_one(folder)?;
        let Some(conformal) = &self.conformal else { return Ok(()) };
        let path = folder.join("calibration.json");
        let text = serde_json::to_string(conformal)
            .map_err(|e| Error::run(&path, format!("cannot be written: {e}")))?;
        write_text(&path, &text)
    }

    fn save_one(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)
            .map_err(ff_formats::Error::io(folder, "making the folder"))?;
        let params = self.graph.params();
        let mut writer = TensorWriter::new();
        writer.metadata("format", "pt");
        for (id, info) in params.iter() {
            writer.add_f32(&info.spec.name, info.spec.shape.dims(), params.values::<f32>(id)?);
        }
        writer.write(&folder.join("model.safetensors"))?;
        write_text(&folder.join("transforms.json"), &self.transforms.to_json())?;
        Self::save_file(&self.file, folder)
    }

    /// Writes `config.json` alone.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn save_file(file: &ModelFile, folder: &Path) -> Result<()> {
        let file = ModelFile { format: file.format(), ..file.clone() };
        let config = serde_json::to_string_pretty(&file)
            .map_err(|e| Error::run(folder, format!("config.json: {e}")))?;
        write_text(&folder.join("config.json"), &config)
    }
}

/// Reads the conformal scores of a model, which older ones lack.
fn read_conformal(path: &Path) -> Result<Option<Conformal>> {
    if !path.is_file() {
        return Ok(None);
    }
    let conformal: Conformal = serde_json::from_str(&read_text(path)?).map_err(|e| {
        Error::run(path, format!("does not hold conformal scores: {e}; {COPY_AGAIN}"))
    })?;
    let scores = &conformal.scores;
    let sound = scores.iter().all(|score| score.is_finite()) && scores.is_sorted();
    if scores.is_empty()
        || !sound
        || conformal.mean_spread.is_some_and(|s| !(s > 0.0 && s.is_finite()))
    {
        return Err(Error::run(path, format!("holds no ascending finite scores; {COPY_AGAIN}")));
    }
    Ok(Some(conformal))
}

/// Checks that every tensor is there with its shape, and no other, before anything is allocated.
fn check_names(params: &Params, tensors: &TensorFile, path: &Path) -> Result<()> {
    for info in params.infos() {
        let spec = &info.spec;
        match tensors.dims(&spec.name) {
            Some(dims) if dims == spec.shape.dims() => {}
            // The reader's own message names the shape or the lack.
            _ => drop(tensors.f32(&spec.name, spec.shape.dims())?),
        }
    }
    let known = |name: &str| params.id(name).is_some();
    if let Some(extra) = tensors.entries().find(|entry| !known(&entry.name)) {
        return Err(Error::run(
            path,
            format!(
                "tensor `{}` belongs to no layer of config.json; the two files are of different models: copy both from the \
                 same run",
                extra.name
            ),
        ));
    }
    Ok(())
}

/// Reads `transforms.json`; errors name its path.
fn read_transforms(path: &Path) -> Result<Transforms> {
    Transforms::from_json(&read_text(path)?).map_err(|error| match error {
        DataError::Format { line, message, hint, .. } => {
            DataError::Format { path: path.to_owned(), line, message, hint }.into()
        }
        DataError::Version { found, expected } => Error::run(
            path,
            format!("has format {found}, this version reads {expected}; train again or use the version that wrote it"),
        ),
        error => error.into(),
    })
}

fn parse_config(path: &Path, text: &str) -> Result<ModelFile> {
    let json: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| Error::run(path, format!("is not valid JSON: {e}; {COPY_AGAIN}")))?;
    let format = json.get("format").and_then(serde_json::Value::as_u64);
    if format.is_none_or(|f| !(u64::from(FORMAT)..=u64::from(CALIBRATED)).contains(&f)) {
        let found = format.map_or("none".into(), |f| f.to_string());
        return Err(Error::run(
            path,
            format!(
                "has model format {found}, this version reads {FORMAT} and {CALIBRATED}; train again or use the version that wrote it"
            ),
        ));
    }
    let file: ModelFile = serde_json::from_value(json)
        .map_err(|e| Error::run(path, format!("does not describe a model: {e}; {COPY_AGAIN}")))?;
    file.network.network.validate()?;
    let classes = file.classes.len();
    let outputs = file.network.outputs;
    let fits = if classes == 0 {
        outputs == 1
    } else {
        outputs == classes || classes == 2 && outputs == 1
    };
    let temperature = file.temperature();
    if !(temperature > 0.0 && temperature.is_finite()) {
        let message = format!("{temperature} is no temperature of logits; {COPY_AGAIN}");
        return Err(Error::run(path, message));
    }
    if !fits || file.positive.is_some_and(|p| p >= classes) {
        return Err(Error::run(
            path,
            format!("{outputs} outputs do not go with {classes} classes; {COPY_AGAIN}"),
        ));
    }
    Ok(file)
}
