//! What makes texts and the columns beside them outputs: an encoder under its own head, or a head
//! of this program over a vector of the texts and the other columns.

use super::network::{Network, options};
use super::origin::{Origin, ROWS};
use super::recipe::EncoderTable;
use crate::embedding::{StaticTable, TaskFile};
use crate::error::{Error, Result};
use crate::files::{read_text, write_text};
use crate::language::{EncoderModel, SaveOptions, TASK_HEAD as HEAD};
use crate::table::objective::{Rows, TextTensors, gather_input};
use ff_formats::{TensorFile, TensorWriter};
use ff_graph::{Graph, ParamId, Value};
use ff_nn::models::{EncoderBatch, EncoderOutputs, Mlp, MlpConfig};
use ff_nn::{Builder, ModelConfig};
use ff_ops::Concat;
use ff_table::{Encoded, Transforms};
use ff_tensor::{DType, Device};
use std::path::Path;

const WEIGHTS: &str = "head.safetensors";
const TRANSFORMS: &str = "transforms.json";

/// The width of the hidden layer over texts and other columns.
const HIDDEN: usize = 128;

/// The network of a run.
pub(crate) struct Learner {
    /// The encoder, with its own head or none; a table of vectors belongs to the head.
    pub(super) encoder: Option<Network>,
    /// The head over the vector of the texts and other columns.
    pub(super) head: Option<Mlp>,
    /// Whether the vector of a text is the mean of its tokens'.
    mean: bool,
    pub(super) frozen: bool,
}

/// The specification of a head over texts and other columns.
pub(super) fn head_config(
    model: &EncoderTable,
    origin: &Origin,
    transforms: &Transforms,
    outputs: usize,
) -> MlpConfig {
    let (width, rows) = origin.sizes();
    let alone = transforms.columns.is_empty();
    let usual = if alone { Vec::new() } else { vec![HIDDEN] };
    let network = ModelConfig {
        hidden: model.hidden.clone().unwrap_or(usual),
        dropout: model.head_dropout,
        precision: model.precision,
        text_dim: rows.map(|_| width),
        ..ModelConfig::default()
    };
    MlpConfig {
        numeric: transforms.n_numeric() + if rows.is_none() { width } else { 0 },
        cardinalities: transforms.cardinalities(),
        texts: rows.into_iter().collect(),
        outputs,
        network,
        ..MlpConfig::default()
    }
}

impl Learner {
    /// The network with first values, under a head of this program where `head` specifies one.
    ///
    /// # Errors
    /// Memory is short.
    pub(super) fn build(
        origin: &Origin,
        model: &EncoderTable,
        head: Option<&MlpConfig>,
        seed: u64,
        device: &Device,
    ) -> Result<(Self, Graph)> {
        let mut builder = Builder::new();
        let encoder = origin.register(model, &mut builder);
        let head = head.map(|config| builder.scope(HEAD, |b| Mlp::new(b, config)));
        if model.frozen {
            builder.freeze_where(|name| name.starts_with("task_head.texts."));
        }
        let params = builder.build(device, DType::F32, seed, true)?;
        let learner = Self { encoder, head, mean: origin.mean(), frozen: model.frozen };
        Ok((learner, Graph::new(device, params)))
    }

    /// An encoder under its own head, for inference.
    pub(super) fn of_encoder(network: Network) -> Self {
        let mean = network.config.mean_pooled;
        Self { encoder: Some(network), head: None, mean, frozen: false }
    }

    /// The numbers of an output.
    pub(super) fn outputs(&self) -> usize {
        match (&self.head, &self.encoder) {
            (Some(head), _) => head.outputs(),
            (None, Some(network)) => network.config.labels,
            (None, None) => 0,
        }
    }

    /// The vectors `[B, features]` of a batch of texts, which the head reads.
    ///
    /// # Errors
    /// An operation failed.
    pub(super) fn vectors(
        &self,
        network: &Network,
        graph: &mut Graph,
        batch: &EncoderBatch,
    ) -> ff_graph::Result<Value> {
        match self.head {
            None => network.encoder.pooled(graph, batch),
            Some(_) => network.encoder.embed(graph, batch, self.mean),
        }
    }

    /// The logits of some rows of a part, from the vectors of their texts by an encoder.
    ///
    /// # Errors
    /// An operation failed.
    pub(super) fn logits(
        &self,
        graph: &mut Graph,
        vectors: Option<Value>,
        (data, texts): (&Encoded, &TextTensors),
        rows: &[u32],
    ) -> ff_graph::Result<Value> {
        match (&self.head, &self.encoder, vectors) {
            (Some(head), _, vectors) => {
                let mut input = gather_input(graph, data, texts, &Rows::all(rows), &[])?;
                input.numeric = match (vectors, input.numeric) {
                    (Some(x), Some(numbers)) => Some(graph.apply(&Concat::op(), &[&x, &numbers])?),
                    (x, numbers) => x.or(numbers),
                };
                head.forward(graph, &input)
            }
            (None, Some(network), Some(vectors)) => network.encoder.logits_of(graph, vectors),
            _ => Err(ff_graph::Error::shape("encoder", "there is nothing to compute of a text")),
        }
    }

    /// Whether a parameter is of the last layer.
    pub(super) fn is_output(&self, name: &str) -> bool {
        match (&self.head, &self.encoder) {
            (Some(_), _) => is_head_output(name),
            (None, Some(network)) => network.config.is_output(name),
            (None, None) => false,
        }
    }

    /// Writes the folder of a model: the encoder as Hugging Face has it, or the table of vectors,
    /// and beside it what only this program reads.
    ///
    /// # Errors
    /// The folder cannot be written, or reads back as something else.
    pub(super) fn save(
        self,
        graph: Graph,
        folder: &Path,
        origin: &Origin,
        (model, task, transforms): (&EncoderTable, &TaskFile, Option<&Transforms>),
    ) -> Result<()> {
        let tokenizer = origin.reader().tokenizer.clone();
        std::fs::create_dir_all(folder)
            .map_err(ff_formats::Error::io(folder, "making the folder"))?;
        if let Some(transforms) = transforms {
            let params = graph.params();
            let mut writer = TensorWriter::new();
            writer.metadata("format", "pt");
            for (id, info) in params.iter() {
                if let Some(name) = own_name(&info.spec.name) {
                    writer.add_f32(name, info.spec.shape.dims(), params.values::<f32>(id)?);
                }
            }
            writer.write(&folder.join(WEIGHTS))?;
            write_text(&folder.join(TRANSFORMS), &transforms.to_json())?;
        }
        if let Some(network) = self.encoder {
            let parts = (network.encoder, graph);
            let mut saved =
                EncoderModel::new(network.config, parts, Some(tokenizer), options(model));
            saved.save(folder, &SaveOptions::default())?;
        } else {
            let id = graph.params().id(ROWS).filter(|_| !model.frozen);
            let values = id.map(|id| graph.params().values::<f32>(id)).transpose()?;
            StaticTable::copy(origin.folder(), folder, values)?;
            tokenizer.save(folder)?;
        }
        task.write(folder)
    }
}

/// The name in a head's own file; the table of vectors has a file to itself.
fn own_name(parameter: &str) -> Option<&str> {
    let name = parameter.strip_prefix(HEAD)?.strip_prefix('.')?;
    (parameter != ROWS).then_some(name)
}

fn is_head_output(name: &str) -> bool {
    own_name(name).is_some_and(|name| name.starts_with("output."))
}

/// A saved model with a head of this program.
pub(super) struct Opened {
    pub(super) learner: Learner,
    pub(super) graph: Graph,
    pub(super) origin: Origin,
    pub(super) transforms: Transforms,
}

impl Opened {
    /// Reads a model's folder, whose head is this one.
    ///
    /// # Errors
    /// A file is missing or damaged, or fits no other.
    pub(super) fn read(
        folder: &Path,
        task: &TaskFile,
        head: &MlpConfig,
        device: &Device,
    ) -> Result<Self> {
        let model = EncoderTable {
            encoder: folder.to_owned(),
            pooling: task.pooling,
            precision: task.precision,
            dropout: 0.0,
            ..EncoderTable::default()
        };
        let origin = match Origin::table(&model, folder)? {
            Some(table) => table,
            None => Origin::encoder(&model, folder, EncoderOutputs::Vectors)?,
        };
        let path = folder.join(TRANSFORMS);
        let transforms = Transforms::from_json(&read_text(&path)?)?;
        head.network.validate()?;
        let (width, rows) = origin.sizes();
        let numbers = transforms.n_numeric() + if rows.is_none() { width } else { 0 };
        let classes = transforms.target.classes.len().max(1);
        let found = (head.numeric, &head.cardinalities, head.texts.first(), head.outputs);
        if found != (numbers, &transforms.cardinalities(), rows.as_ref(), classes) {
            let message = "describes a head of other columns or of another encoder; copy the model's \
                           folder again from its source, or train again";
            return Err(Error::run(folder, message));
        }
        // Once the shapes of a plan fit the file, the arena cannot be larger than the file is.
        let tensors = TensorFile::open(&folder.join(WEIGHTS))?;
        let (_, planned) = Learner::build(&origin, &model, Some(head), 0, &Device::planning())?;
        for info in planned.params().infos() {
            if let Some(name) = own_name(&info.spec.name)
                && tensors.dims(name) != Some(info.spec.shape.dims())
            {
                tensors.f32(name, info.spec.shape.dims())?;
            }
        }
        let (learner, mut graph) = Learner::build(&origin, &model, Some(head), 0, device)?;
        let params = graph.params_mut();
        origin.read_weights(params)?;
        for i in 0..params.infos().len() {
            let spec = params.infos()[i].spec.clone();
            if let Some(name) = own_name(&spec.name) {
                let values = tensors.f32(name, spec.shape.dims())?;
                params.values_mut::<f32>(ParamId::new(i))?.copy_from_slice(&values);
            }
        }
        Ok(Self { learner, graph, origin, transforms })
    }
}
