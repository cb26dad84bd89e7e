use super::folder::{
    SaveOptions, model_folder, probe, read_back, read_params, read_tokenizer, write_folder,
};
use super::weights::open_partly;
use crate::embedding::Pooling;
use crate::error::{Error, Result};
use crate::files::read_text;
use ff_graph::{Graph, Mode, Params, Value};
use ff_nn::Builder;
use ff_nn::models::{
    Encoder, EncoderBatch, EncoderConfig, EncoderHead, LanguageOptions, plain_file_tensors,
};
use ff_tensor::{Device, Tensor};
use ff_text::Tokenizer;
use std::path::Path;

/// BERT, RoBERTa, DistilBERT or ModernBERT, read from a folder as Hugging Face has them.
///
/// ```no_run
/// use feedforward::language::EncoderModel;
/// let mut model =
///     EncoderModel::open("models/bert".as_ref(), &Default::default(), &Default::default())?;
/// let vectors = model.embed(&[vec![101, 2023, 102]], feedforward::embedding::Pooling::Mean)?;
/// # Ok::<(), feedforward::Error>(())
/// ```
#[derive(Debug)]
pub struct EncoderModel {
    config: EncoderConfig,
    encoder: Encoder,
    graph: Graph,
    tokenizer: Option<Tokenizer>,
    options: LanguageOptions,
}

/// The scope of a head of this program over texts and other columns.
pub(crate) const TASK_HEAD: &str = "task_head";

/// Tensors that say nothing: of the heads that the config does not name, and of old versions.
fn is_ignored(name: &str) -> bool {
    let of_layers = name.contains("embeddings.") || name.contains(".layer.");
    !of_layers || name.ends_with("position_ids") || name.ends_with("token_type_ids")
}

impl EncoderModel {
    /// Reads the folder of a model or of a run, for inference.
    ///
    /// # Errors
    /// A file is missing or malformed; the config is not of an encoder that is supported; a tensor
    /// is missing, of another shape, or belongs to no layer; the tokenizer has more ids than the
    /// model.
    pub fn open(path: &Path, device: &Device, options: &LanguageOptions) -> Result<Self> {
        let folder = model_folder(path)?;
        let config_path = folder.join("config.json");
        let config = EncoderConfig::parse(&read_text(&config_path)?)
            .map_err(|error| Error::run(&config_path, error.to_string()))?;
        let mut builder = Builder::new();
        let encoder = Encoder::new(&mut builder, &config, options);
        let params = read_params(&folder, device, builder, &plain_file_tensors, &is_ignored, None)?;
        let tokenizer = read_tokenizer(&folder, config.vocab_size)?;
        let mut graph = Graph::new(device, params);
        graph.set_mode(Mode::Eval);
        Ok(Self { config, encoder, graph, tokenizer, options: *options })
    }

    /// A model in memory.
    pub(crate) fn new(
        config: EncoderConfig,
        (encoder, graph): (Encoder, Graph),
        tokenizer: Option<Tokenizer>,
        options: LanguageOptions,
    ) -> Self {
        Self { config, encoder, graph, tokenizer, options }
    }

    /// The specification of the model.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The tokenizer of its folder, if there is one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The model and the graph that holds its parameters.
    pub fn parts(&mut self) -> (&Encoder, &mut Graph) {
        (&self.encoder, &mut self.graph)
    }

    /// Its parts.
    pub(crate) fn into_parts(self) -> (EncoderConfig, Encoder, Graph, Option<Tokenizer>) {
        (self.config, self.encoder, self.graph, self.tokenizer)
    }

    /// The logits of sequences, padded to the longest: `[B, T, vocabulary]`, `[B, T, labels]` or
    /// `[B, labels]`.
    ///
    /// # Errors
    /// A sequence is empty or longer than there are positions, an id is not in the vocabulary, the
    /// model gives vectors only, or memory is short.
    pub fn logits(&mut self, sequences: &[Vec<u32>]) -> Result<Vec<f32>> {
        self.graph.reset();
        let batch = encoder_batch(&self.graph, &self.config, sequences, 0)?;
        Ok(self.encoder.logits(&mut self.graph, &batch)?.slice::<f32>()?.to_vec())
    }

    /// A vector for each sequence `[B, features]`, from those of its tokens.
    ///
    /// # Errors
    /// As [`EncoderModel::logits`].
    pub fn embed(&mut self, sequences: &[Vec<u32>], pooling: Pooling) -> Result<Vec<f32>> {
        self.graph.reset();
        let batch = encoder_batch(&self.graph, &self.config, sequences, 0)?;
        if pooling == Pooling::Last {
            let vectors = self.encoder.hidden(&mut self.graph, &batch)?;
            return Ok(last_vectors(&vectors, sequences)?);
        }
        let mean = pooling == Pooling::Mean;
        Ok(self.encoder.embed(&mut self.graph, &batch, mean)?.slice::<f32>()?.to_vec())
    }

    /// Writes the model's folder and reads it back; the outputs must be the same. Parameters of a
    /// head that `transformers` does not know come after the encoder's, and are left out.
    ///
    /// # Errors
    /// The folder cannot be written, or reads back as something else.
    pub fn save(&mut self, folder: &Path, options: &SaveOptions) -> Result<()> {
        let parts = (self.tokenizer.as_ref(), None);
        let params: &Params = self.graph.params();
        let json = self.config.to_json();
        let mut tensors = plain_file_tensors(params);
        tensors.retain(|tensor| !tensor.name.starts_with(TASK_HEAD));
        write_folder(folder, &tensors, params, parts, &json, *options)?;
        let ids = vec![probe(self.config.vocab_size, self.config.max_positions / 2 + 1)];
        let device = self.graph.device().clone();
        let mut again = Self::open(folder, &device, &self.options)?;
        let found = outputs(&again.encoder, &mut again.graph, &again.config, &ids)?;
        let (encoder, config) = (&self.encoder, &self.config);
        read_back(folder, &mut self.graph, again.graph.params(), &found, |graph| {
            outputs(encoder, graph, config, &ids)
        })
    }
}

/// Reads a folder's encoder into parameters of a config with a head of its own. Layers of that head
/// keep their first values where the folder has none of the same name and shape; the last one
/// always does without `keep_output`.
///
/// # Errors
/// A tensor of the encoder is missing or of another shape, or belongs to no layer.
pub(crate) fn read_encoder(
    folder: &Path,
    config: &EncoderConfig,
    params: &mut Params,
    keep_output: bool,
) -> Result<()> {
    let is_head = |name: &str| config.depth_of(name) > config.layers;
    let mut wanted = plain_file_tensors(params);
    wanted.retain(|tensor| keep_output || !config.is_output(&tensor.name));
    open_partly(folder, &mut wanted, &is_head, &is_ignored)?.read_into(&wanted, params)
}

/// The vectors `[B, features]` of the last tokens, of `[B, T, features]`.
pub(super) fn last_vectors(vectors: &Value, sequences: &[Vec<u32>]) -> ff_graph::Result<Vec<f32>> {
    let width = vectors.shape().dims().last().copied().unwrap_or(1);
    let values = vectors.slice::<f32>()?;
    let tokens = values.len() / width / sequences.len().max(1);
    let last = |(i, sequence): (usize, &Vec<u32>)| {
        let at = (i * tokens + sequence.len().saturating_sub(1)) * width;
        &values[at..at + width]
    };
    Ok(sequences.iter().enumerate().flat_map(last).copied().collect())
}

/// Logits, or vectors where there are none.
fn outputs(
    encoder: &Encoder,
    graph: &mut Graph,
    config: &EncoderConfig,
    ids: &[Vec<u32>],
) -> Result<Vec<f32>> {
    graph.reset();
    let batch = encoder_batch(graph, config, ids, 0)?;
    let values = match config.head {
        EncoderHead::None => encoder.hidden(graph, &batch)?,
        _ => encoder.logits(graph, &batch)?,
    };
    Ok(values.slice::<f32>()?.to_vec())
}

/// Sequences padded to the longest, and to `least` tokens.
///
/// # Errors
/// There is none, one is empty, or memory is short.
pub(crate) fn encoder_batch<S: AsRef<[u32]>>(
    graph: &Graph,
    config: &EncoderConfig,
    sequences: &[S],
    least: usize,
) -> Result<EncoderBatch> {
    let tokens = sequences.iter().map(|s| s.as_ref().len()).max().unwrap_or(0).max(least);
    let sequences = || sequences.iter().map(AsRef::as_ref);
    if sequences().any(<[u32]>::is_empty) || tokens == 0 {
        return Err(Error::usage("a sequence without tokens cannot be encoded"));
    }
    let mut values = [const { Vec::new() }; 4];
    for sequence in sequences() {
        let id = |i: usize| sequence.get(i).map_or(config.pad_token, |&id| id as i32);
        let ids: Vec<i32> = (0..tokens).map(id).collect();
        let [all, positions, types, segments] = &mut values;
        positions.extend(config.positions(&ids));
        types.extend(ids.iter().map(|_| 0));
        segments.extend((0..tokens).map(|i| if i < sequence.len() { 0 } else { -1 }));
        all.extend(ids);
    }
    let input = |values: &[i32]| -> Result<Value> {
        let dims = [sequences().count(), tokens];
        Ok(graph.input(Tensor::from_slice(graph.device(), values, &dims)?))
    };
    let [ids, positions, types, segments] = &values;
    let padded = segments.iter().any(|&s| s < 0);
    Ok(EncoderBatch {
        ids: input(ids)?,
        positions: input(positions)?,
        types: Some(input(types)?),
        segments: if padded { Some(input(segments)?) } else { None },
    })
}
