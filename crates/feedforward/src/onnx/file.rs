//! The file of a graph, and the one beside it for tensors beyond what protobuf holds.

use crate::error::{Error, Result};
use ff_formats::{Error as FileError, OutputFolder};
use ff_interop::onnx::{GraphBuilder, Model, Port, Session, Summary};
use ff_tensor::Device;
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The bytes of tensors beyond which they go to a file beside the graph: what a message of protobuf
/// holds, less room for the graph itself.
pub(crate) const LIMIT: u64 = (1 << 31) - (1 << 26);

/// The largest difference between a model and its graph that counts as rounding.
const TOLERANCE: f64 = 1e-5;

/// A graph's file, written under its own name in a folder that is temporary until the graph was
/// compared with its model: what is checked is what stays.
#[derive(Debug)]
pub(crate) struct OnnxFile {
    folder: OutputFolder,
    out: PathBuf,
    name: String,
    limit: u64,
    summary: Summary,
    has_data: bool,
    has_tokenizer: bool,
}

impl OnnxFile {
    /// Begins a file, whose tensors go beside it beyond `limit` bytes.
    pub(crate) fn begin(out: &Path, limit: u64) -> Result<Self> {
        let name = out.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| {
            Error::usage(format!("{} names no file; give the output one", out.display()))
        })?;
        let folder = OutputFolder::new(out)?;
        let (out, summary) = (out.to_owned(), Summary::default());
        Ok(Self { folder, out, name, limit, summary, has_data: false, has_tokenizer: false })
    }

    /// The name of the file beside.
    fn data(&self) -> String {
        format!("{}.data", self.name)
    }

    /// Writes the tokenizer of a model, which no graph holds, beside it.
    ///
    /// # Errors
    /// That file is there, or cannot be written.
    #[cfg(feature = "language")]
    pub(crate) fn write_tokenizer(&mut self, json: &str) -> Result<()> {
        let name = self.tokenizer();
        self.refuse_existing(&name, "tokenizer")?;
        self.create(&name, json.as_bytes())?;
        self.has_tokenizer = true;
        Ok(())
    }

    /// The name of the tokenizer's file.
    fn tokenizer(&self) -> String {
        let stem = self.name.strip_suffix(".onnx").unwrap_or(&self.name);
        format!("{stem}.tokenizer.json")
    }

    /// The builder of the graph. Of a model of more than the limit, tensors go to the file beside
    /// as they are made.
    ///
    /// # Errors
    /// It has more, and that file is there.
    pub(crate) fn builder(&self, name: &str, bytes: u64) -> Result<GraphBuilder> {
        let limit = if bytes > self.limit { 0 } else { self.limit };
        if limit == 0 {
            self.refuse_existing(&self.data(), "tensors")?;
        }
        let data = self.folder.path().join(self.data());
        Ok(GraphBuilder::new(name).with_data_beside(&data, limit))
    }

    fn refuse_existing(&self, name: &str, what: &str) -> Result<()> {
        let beside = self.out.with_file_name(name);
        if !beside.exists() {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{} is there already, and the model's {what} would go there; remove it, or choose another output",
            beside.display()
        )))
    }

    /// A file of the temporary folder, whole.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let write = || -> std::io::Result<()> {
            let mut file = File::create_new(self.folder.path().join(name))?;
            std::io::Write::write_all(&mut file, bytes)?;
            file.sync_all()
        };
        Ok(write().map_err(FileError::io(&self.out, "writing"))?)
    }

    /// Writes the graph.
    pub(crate) fn write(&mut self, graph: GraphBuilder) -> Result<()> {
        let (graph, has_data) = graph.finish()?;
        if has_data {
            self.refuse_existing(&self.data(), "tensors")?;
        }
        self.summary = graph.summary();
        self.has_data = has_data;
        let bytes = graph.to_bytes();
        drop(graph);
        if bytes.len() >= 1 << 31 {
            let message =
                "the graph takes more than 2 GB without its tensors, which no ONNX file can hold";
            return Err(Error::usage(message));
        }
        self.create(&self.name, &bytes)
    }

    /// What was written, ready to run.
    pub(crate) fn session(&self, device: &Device) -> Result<Session> {
        let model = Model::open(&self.folder.path().join(&self.name))?;
        // As much as the model itself takes, which is no stranger's.
        Ok(Session::of_size(model, device, usize::MAX)?.without_copies())
    }

    /// Keeps the file if the graph predicts as the model does.
    pub(crate) fn keep(self, rows: usize, difference: f64) -> Result<OnnxExport> {
        self.keep_within(rows, difference, TOLERANCE)
    }

    /// The same up to a difference.
    pub(crate) fn keep_within(self, rows: usize, difference: f64, most: f64) -> Result<OnnxExport> {
        judge_within(difference, most)?;
        let beside = |name: String| (self.out.with_file_name(&name), name);
        let data = self.has_data.then(|| beside(self.data()));
        let tokenizer = self.has_tokenizer.then(|| beside(self.tokenizer()));
        let graph = (self.out.clone(), self.name.clone());
        let all = [data.clone(), tokenizer.clone(), Some(graph)];
        let mut bytes = 0;
        let mut placed: Vec<&Path> = Vec::new();
        for (to, name) in all.iter().flatten() {
            let from = self.folder.path().join(name);
            let place = || -> std::io::Result<u64> {
                let bytes = std::fs::metadata(&from)?.len();
                std::fs::rename(&from, to).map(|()| bytes)
            };
            match place() {
                Ok(size) => bytes += size,
                Err(error) => {
                    // Without its graph no file is of use.
                    for path in placed {
                        let _ = std::fs::remove_file(path);
                    }
                    return Err(FileError::io(to, "writing")(error).into());
                }
            }
            placed.push(to);
        }
        // The renames are durable only once the folder is synced; not every system can open
        // folders.
        if let Ok(folder) = File::open(self.out.parent().unwrap_or(Path::new("."))) {
            let _ = folder.sync_all();
        }
        Ok(OnnxExport {
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            data: data.map(|(path, _)| path),
            tokenizer: tokenizer.map(|(path, _)| path),
            ..OnnxExport::of(&self.summary, rows, difference)
        })
    }
}

/// Whether a difference is rounding.
pub(crate) fn judge(difference: f64) -> Result<()> {
    judge_within(difference, TOLERANCE)
}

fn judge_within(difference: f64, most: f64) -> Result<()> {
    if difference <= most {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the exported graph differs from the model by {difference:.2e} on made-up rows, which is more than rounding; \
         nothing was written: please report this with its recipe.toml or config.json"
    )))
}

/// The outcome of an export as ONNX or for Keras.
///
/// ```
/// assert_eq!(feedforward::OnnxExport::default().rows, 0);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct OnnxExport {
    /// The size of the file, with that of its tensors.
    pub bytes: usize,
    /// The file of its tensors, where they are not in the graph.
    pub data: Option<PathBuf>,
    /// The file of the tokenizer of a model that reads tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// The inputs: name and type.
    pub inputs: Vec<(String, String)>,
    /// The outputs: name and type.
    pub outputs: Vec<(String, String)>,
    /// The number of nodes.
    pub nodes: usize,
    /// The rows on which the written file was compared with the model.
    pub rows: usize,
    /// The largest difference of a probability, or of a number relative to the target's deviation.
    pub difference: f64,
    /// For Keras: the optimiser that training goes on with there, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<String>,
    /// For Keras: what to do before training on, and where it differs from here on, or why the
    /// optimiser is not in the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl OnnxExport {
    /// What a graph has, compared on so many rows.
    pub(crate) fn of(summary: &Summary, rows: usize, difference: f64) -> Self {
        let ports = |ports: &[Port]| ports.iter().map(|p| (p.name.clone(), p.kind())).collect();
        Self {
            bytes: 0,
            data: None,
            inputs: ports(&summary.inputs),
            outputs: ports(&summary.outputs),
            nodes: summary.operators.values().sum(),
            rows,
            difference,
            ..Self::default()
        }
    }
}
