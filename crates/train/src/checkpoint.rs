//! The state of a run in one file, replaced atomically.

use crate::best::BestWeights;
use crate::error::{Error, Result};
use crate::history::Progress;
use crate::optim::{Optimizer, OptimizerScalars};
use crate::schedule::{PlateauState, Schedule};
use crate::state_file;
use ff_formats::{TensorFile, TensorWriter};
use ff_graph::{Graph, ParamId, Params};
use ff_tensor::{Bf16Kernels, CpuDevice, Isa};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The format number, incremented whenever the meaning of the file changes.
const FORMAT: u32 = 1;

/// The file of checkpoints, and the identity of their run.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointPlace<'a> {
    /// The file.
    pub path: &'a Path,
    /// A hash of the recipe and the data: checkpoints of other runs are rejected.
    pub identity: &'a str,
}

impl CheckpointPlace<'_> {
    /// The file of the best epoch's weights: `best.safetensors` beside the checkpoint, with the
    /// tensor names of a model.
    ///
    /// ```
    /// let path = "checkpoints/last.safetensors".as_ref();
    /// let place = ff_train::CheckpointPlace { path, identity: "" };
    /// assert!(place.best().ends_with("checkpoints/best.safetensors"));
    /// ```
    pub fn best(&self) -> PathBuf {
        self.path.with_file_name("best.safetensors")
    }
}

/// A saved state: parameters, statistics, optimiser, schedule, best weights, progress and history.
///
/// A safetensors file: tensors `model.*`, `best.*` and `optimizer.*`, and the rest as JSON in the
/// metadata.
///
/// ```
/// use ff_train::{Checkpoint, CheckpointPlace};
/// let place = CheckpointPlace { path: "no/such/last.safetensors".as_ref(), identity: "" };
/// assert!(Checkpoint::open(&place, ff_tensor::Isa::Plain).is_err());
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    tensors: TensorFile,
    notes: Notes,
}

#[derive(Debug, Serialize, Deserialize)]
struct Notes {
    format: u32,
    version: String,
    identity: String,
    isa: String,
    /// The path of bf16 products; absent in the oldest files.
    #[serde(default)]
    bf16: Option<Bf16Note>,
    progress: Progress,
    optimizer: OptimizerScalars,
    schedule: PlateauState,
    has_best: bool,
}

/// The bf16 kernels: by name, or in older files by whether the CPU had instructions for pairs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Bf16Note {
    Kernels(String),
    HasPairs(bool),
}

impl Bf16Note {
    fn name(&self) -> &str {
        match self {
            Self::Kernels(name) => name,
            Self::HasPairs(true) => Bf16Kernels::Pairs.name(),
            Self::HasPairs(false) => Bf16Kernels::Widened.name(),
        }
    }
}

impl Checkpoint {
    /// Writes a checkpoint atomically.
    ///
    /// # Errors
    /// If the disk is full or the folder cannot be written.
    pub(crate) fn save(
        place: &CheckpointPlace<'_>,
        graph: &Graph,
        optimizer: &Optimizer,
        schedule: &Schedule,
        progress: &Progress,
        best: &BestWeights,
    ) -> Result<()> {
        let (params, cpu) = (graph.params(), graph.device().cpu());
        let mut writer = TensorWriter::new();
        // Frozen parameters are the same at every step, and come from where they came at the first.
        for (id, info) in params.iter().filter(|(_, info)| !info.spec.segment.is_frozen()) {
            let (name, dims) = (&info.spec.name, info.spec.shape.dims());
            writer.add_f32(format!("model.{name}"), dims, params.values::<f32>(id)?);
            if let Some(values) = best.of(info) {
                writer.add_f32(format!("best.{name}"), dims, values);
            }
        }
        for (name, tensor) in optimizer.state_tensors(params)? {
            writer.add_f32(format!("optimizer.{name}"), tensor.shape().dims(), tensor.slice()?);
        }
        let notes = Notes {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            identity: place.identity.into(),
            isa: cpu.isa().to_string(),
            bf16: Some(Bf16Note::Kernels(cpu.bf16().name().into())),
            progress: progress.clone(),
            optimizer: optimizer.scalars(),
            schedule: *schedule.state(),
            has_best: !best.is_empty(),
        };
        let notes = serde_json::to_string(&notes).map_err(|e| Error::Checkpoint {
            path: place.path.to_owned(),
            message: format!("the state cannot be written as JSON: {e}"),
        })?;
        writer.metadata("checkpoint", notes);
        Ok(writer.write(place.path)?)
    }

    /// Writes the trained weights of the best epoch atomically, as the tensors of a model.
    ///
    /// # Errors
    /// If the disk is full or the folder cannot be written.
    pub(crate) fn save_best(
        place: &CheckpointPlace<'_>,
        params: &Params,
        best: &BestWeights,
    ) -> Result<()> {
        let mut writer = TensorWriter::new();
        writer.metadata("format", "pt");
        for info in params.infos() {
            if let Some(values) = best.of(info) {
                writer.add_f32(&info.spec.name, info.spec.shape.dims(), values);
            }
        }
        Ok(writer.write(&place.best())?)
    }

    /// Reads a checkpoint of the run with this identity.
    ///
    /// # Errors
    /// If the file is damaged, of a newer format, of another run, or of another kernel path.
    pub fn open(place: &CheckpointPlace<'_>, isa: Isa) -> Result<Self> {
        let found = Self::read(place.path)?;
        let error = |message: String| Error::Checkpoint { path: found.path.clone(), message };
        let notes = &found.notes;
        if notes.identity != place.identity {
            return Err(error(
                "belongs to another recipe or other data; resume the run with its original recipe \
                 and data, or start a new one with --out in another folder"
                    .into(),
            ));
        }
        if notes.isa != isa.to_string() {
            return Err(error(format!(
                "was written with {} kernels, but this machine would use {isa} with other bits; \
                 add --isa {}",
                notes.isa, notes.isa
            )));
        }
        Ok(found)
    }

    /// Reads a checkpoint of any run, to look at and not to resume.
    ///
    /// # Errors
    /// If the file is damaged or of a newer format.
    pub fn read(path: &Path) -> Result<Self> {
        let error = |message: String| Error::Checkpoint { path: path.to_owned(), message };
        let tensors = TensorFile::open(path)?;
        let notes = tensors
            .metadata("checkpoint")
            .ok_or_else(|| error("is a safetensors file, but not a checkpoint".into()))?;
        let format = serde_json::from_str::<serde_json::Value>(notes)
            .ok()
            .and_then(|notes| notes.get("format")?.as_u64());
        if format != Some(u64::from(FORMAT)) {
            let found = format.map_or("none".into(), |f| f.to_string());
            return Err(error(format!(
                "has checkpoint format {found}, this version reads {FORMAT}; resume with the \
                 version that wrote it"
            )));
        }
        let notes: Notes = serde_json::from_str(notes)
            .map_err(|e| error(format!("its metadata cannot be read: {e}")))?;
        Ok(Self { path: path.to_owned(), tensors, notes })
    }

    /// Checks that a bf16 network would give the same bits on this CPU.
    ///
    /// # Errors
    /// If bf16 products took another path than on this CPU.
    pub fn check_bf16(&self, cpu: &CpuDevice) -> Result<()> {
        let now = cpu.bf16().name();
        let Some(before) = self.notes.bf16.as_ref().map(Bf16Note::name).filter(|&b| b != now)
        else {
            return Ok(());
        };
        Err(Error::Checkpoint {
            path: self.path.clone(),
            message: format!(
                "was written with bf16 products in {before}, but this machine would resume with \
                 {now}, with other bits; resume on a machine like the first (with AMX, --isa amx \
                 computes in tiles and --isa avx512 does not), or train again"
            ),
        })
    }

    /// The progress of training.
    pub fn progress(&self) -> &Progress {
        &self.notes.progress
    }

    /// A parameter after the last step.
    ///
    /// # Errors
    /// If there is none of this name and shape.
    pub fn weight(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        Ok(self.tensors.f32(&format!("model.{name}"), dims)?)
    }

    /// A tensor of the optimiser's state, by its name in [`Optimizer::state_tensors`].
    ///
    /// # Errors
    /// If there is none of this name and shape.
    pub fn state(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        Ok(self.tensors.f32(&format!("optimizer.{name}"), dims)?)
    }

    /// The scalars of the optimiser's state.
    pub fn scalars(&self) -> &OptimizerScalars {
        &self.notes.optimizer
    }

    pub(crate) fn restore(
        &self,
        params: &mut Params,
        optimizer: &mut Optimizer,
        schedule: &mut Schedule,
        best: &mut BestWeights,
    ) -> Result<()> {
        best.clear();
        for i in 0..params.infos().len() {
            let spec = params.infos()[i].spec.clone();
            if spec.segment.is_frozen() {
                continue;
            }
            let dims = spec.shape.dims();
            let values = self.tensors.f32(&format!("model.{}", spec.name), dims)?;
            params.values_mut::<f32>(ParamId::new(i))?.copy_from_slice(&values);
            if self.notes.has_best {
                let values = self.tensors.f32(&format!("best.{}", spec.name), dims)?;
                best.push(spec.segment, &values);
            }
        }
        let read = state_file::tensors(&self.tensors, "optimizer.")?;
        optimizer
            .load_state(params, &self.notes.optimizer, state_file::views(&read))
            .map_err(|e| Error::Checkpoint { path: self.path.clone(), message: e.to_string() })?;
        schedule.restore(self.notes.schedule);
        Ok(())
    }
}
