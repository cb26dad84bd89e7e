//! Decoders with their files.

use super::adapter::{
    AdapterFile, Base, Places, adapter_folder, base_of, merge, write_gguf_adapter,
};
use super::config::folder_config;
use super::encoder::last_vectors;
use super::folder::{
    SaveOptions, as_written, model_folder, probe, read_back, read_generation, read_params,
    read_tokenizer, write_folder,
};
use super::turn::Turn;
use super::weights::base_tensors;
use crate::error::{Error, Result};
use ff_formats::GgufFileType;
use ff_graph::{Graph, Mode, Params};
use ff_nn::models::{CausalLm, DecoderConfig, LanguageOptions, TokenBatch, is_ignored};
use ff_nn::{Builder, LoraConfig, Precision, Replaced};
use ff_tensor::{Device, Tensor};
use ff_text::Tokenizer;
use serde_json::{Map, Value};
use std::path::Path;

/// A decoder that was read from a GGUF file, or from a folder as Hugging Face has them:
/// `config.json`, `model.safetensors` (or shards with their index), and where they are there
/// `tokenizer.json` and `generation_config.json`.
///
/// ```no_run
/// use feedforward::language::{GenerateOptions, LanguageModel};
/// let mut model =
///     LanguageModel::open("models/gpt2".as_ref(), &Default::default(), &Default::default())?;
/// let text =
///     model.generate("Once upon a time", &GenerateOptions::default(), &mut |_| Ok(()))?.text;
/// println!("{text}");
/// # Ok::<(), feedforward::Error>(())
/// ```
#[derive(Debug)]
pub struct LanguageModel {
    pub(super) config: DecoderConfig,
    model: CausalLm,
    /// The same model with each of the adapters, over the same parameters.
    adapted: Vec<Adapted>,
    /// The adapter in use.
    adapter: Option<usize>,
    /// The cache of the last answer.
    pub(super) turn: Option<Turn>,
    pub(super) graph: Graph,
    pub(super) tokenizer: Option<Tokenizer>,
    pub(super) generation: Map<String, Value>,
}

/// A model with an adapter.
#[derive(Debug)]
struct Adapted {
    model: CausalLm,
    config: LoraConfig,
    /// The linear layers, and whether each has an adapter.
    layers: Vec<(String, bool)>,
    /// What the adapter has in place of the base model's parameters.
    replaced: Vec<Replaced>,
    /// The stacks of experts' matrices, and whether each has an adapter.
    stacks: Vec<(String, bool)>,
}

impl Adapted {
    fn places(&self) -> Places<'_> {
        Places { layers: &self.layers, replaced: &self.replaced, stacks: &self.stacks }
    }
}

impl LanguageModel {
    /// Reads the folder of a model or of a run, or a GGUF file, for inference.
    ///
    /// # Errors
    /// A file is missing or malformed; the config is of no decoder that is supported; a tensor
    /// is missing, of another shape, or belongs to no layer; the tokenizer has more ids than the
    /// model.
    pub fn open(path: &Path, device: &Device, options: &LanguageOptions) -> Result<Self> {
        Self::open_with_adapters(path, &[], device, options)
    }

    /// The same with adapters (the folders of PEFT, or runs that trained one), of which the first
    /// is in use; where `path` is a run that trained an adapter, or an adapter that names its base
    /// model, the base model with this adapter.
    ///
    /// ```no_run
    /// use feedforward::language::LanguageModel;
    /// let adapters = ["runs/tone-1".as_ref()];
    /// let mut model = LanguageModel::open_with_adapters(
    ///     "models/smollm2".as_ref(),
    ///     &adapters,
    ///     &Default::default(),
    ///     &Default::default(),
    /// )?;
    /// model.use_adapter(None)?; // The base model, bit for bit.
    /// # Ok::<(), feedforward::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`LanguageModel::open`]; an adapter is not whole, belongs to another model, or needs what
    /// is not supported.
    pub fn open_with_adapters(
        path: &Path,
        adapters: &[&Path],
        device: &Device,
        options: &LanguageOptions,
    ) -> Result<Self> {
        Self::opened(path, adapters, device, options, false)
    }

    /// The same for generation alone: matrices stay in the form of their files, which products read
    /// directly, so that the model takes no more memory than its files, and a token no more than
    /// one pass over them.
    ///
    /// Weights in other forms than f32, f16, bf16, Q8_0, Q4_0 and Q4_1 become f32, as do those of
    /// mixtures of experts, those of transposed files, and all with bf16 products. The values, and
    /// what they give, are the same; they cannot be changed or saved.
    ///
    /// ```no_run
    /// use feedforward::language::LanguageModel;
    /// let path = "models/smollm2.Q4_1.gguf".as_ref();
    /// let (device, options) = Default::default();
    /// let mut model = LanguageModel::open_to_generate(path, &[], &device, &options)?;
    /// model.generate("Once", &Default::default(), &mut |_| Ok(()))?;
    /// # Ok::<(), feedforward::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`LanguageModel::open_with_adapters`].
    pub fn open_to_generate(
        path: &Path,
        adapters: &[&Path],
        device: &Device,
        options: &LanguageOptions,
    ) -> Result<Self> {
        Self::opened(path, adapters, device, options, true)
    }

    fn opened(
        path: &Path,
        adapters: &[&Path],
        device: &Device,
        options: &LanguageOptions,
        in_file: bool,
    ) -> Result<Self> {
        let mut files = Vec::with_capacity(adapters.len() + 1);
        let folder = match adapter_folder(path).filter(|_| model_folder(path).is_err()) {
            None => model_folder(path)?,
            Some(folder) => {
                let file = AdapterFile::open(&folder)?;
                let base = base_of(&folder, &file)?;
                files.push(file);
                base
            }
        };
        for adapter in adapters {
            files.push(AdapterFile::open(adapter)?);
        }
        let config = folder_config(&folder)?;
        let mut builder = Builder::new();
        let model = CausalLm::new(&mut builder, &config, options);
        let mut adapted = Vec::with_capacity(files.len());
        for (i, file) in files.iter().enumerate() {
            builder.adapt(&i.to_string(), file.config().clone());
            let model = CausalLm::new(&mut builder, &config, options);
            let layers = builder.linear_layers().to_vec();
            let replaced = builder.replaced().to_vec();
            let (config, stacks) = (file.config().clone(), builder.expert_stacks().to_vec());
            adapted.push(Adapted { model, config, layers, replaced, stacks });
        }
        let tensors = |params: &Params| base_tensors(&config, params);
        let ignored = |name: &str| is_ignored(&config, name);
        // A single row of bf16 reads f32 faster than it decodes a file.
        let any = |_: &str| true;
        let in_file = (in_file && options.precision == Precision::F32)
            .then_some(&any as &dyn Fn(&str) -> bool);
        let mut params = read_params(&folder, device, builder, &tensors, &ignored, in_file)?;
        for (i, (file, adapted)) in files.iter().zip(&adapted).enumerate() {
            let base = (Base::Decoder(&config), device);
            file.read_into(&mut params, &i.to_string(), adapted.places(), base)?;
        }
        let tokenizer = read_tokenizer(&folder, config.vocab_size)?;
        let generation = read_generation(&folder)?;
        let mut graph = Graph::new(device, params);
        graph.set_mode(Mode::Eval);
        let adapter = (!adapted.is_empty()).then_some(0);
        Ok(Self { config, model, adapted, adapter, turn: None, graph, tokenizer, generation })
    }

    /// Uses one of the adapters by its number, or none: the base model.
    ///
    /// # Errors
    /// There are fewer.
    pub fn use_adapter(&mut self, adapter: Option<usize>) -> Result<()> {
        let count = self.adapted.len();
        if adapter.is_some_and(|i| i >= count) {
            return Err(Error::usage(format!("the model was opened with {count} adapters")));
        }
        self.adapter = adapter;
        Ok(())
    }

    /// Adds the adapter in use to the weights of the base model, W + s B A in f64 rounded once, and
    /// uses it no more.
    ///
    /// # Errors
    /// No adapter is in use.
    pub fn merge_adapter(&mut self) -> Result<()> {
        let Some(i) = self.adapter.take() else {
            return Err(Error::usage("there is no adapter to merge; name one with --adapter"));
        };
        self.turn = None;
        let adapted = &self.adapted[i];
        if !adapted.config.invocation.is_empty() {
            self.adapter = Some(i);
            return Err(Error::usage(
                "the adapter acts behind its invocation alone (alora_invocation_tokens), so there are no weights for \
                 all tokens; use it beside the model (--adapter)",
            ));
        }
        let places = adapted.places();
        if self.config.tied && !adapted.config.keep_tied {
            let [table, _] = self.config.tied_tensors();
            let table = self.graph.params().id(&table);
            if places.replaced.iter().any(|replaced| Some(replaced.base) == table) {
                return Err(Error::usage(
                    "the adapter has a table of embeddings or an output layer of its own (modules_to_save), and the \
                     model has one matrix for both, so there is no place for the two; use the adapter beside the model \
                     (--adapter)",
                ));
            }
        }
        let base = Base::Decoder(&self.config);
        merge(self.graph.params_mut(), &adapted.config, &i.to_string(), places, base)
    }

    /// Writes the adapter in use as llama.cpp's GGUF file.
    pub(in crate::language) fn write_adapter(&self, dtype: GgufFileType, out: &Path) -> Result<()> {
        let Some(i) = self.adapter else {
            return Err(Error::usage(
                "there is no adapter to write; give a folder of one, or a run that trained one",
            ));
        };
        let (adapted, name) = (&self.adapted[i], i.to_string());
        let base = (&self.config, self.graph.params());
        let threads = self.graph.device().cpu().threads();
        let places = (adapted.places(), name.as_str());
        write_gguf_adapter(out, &adapted.config, base, places, (dtype, threads))?;
        AdapterFile::open(out).map(drop)
    }

    /// The number of the adapter in use.
    pub fn adapter(&self) -> Option<usize> {
        self.adapter
    }

    /// Whether an adapter is in use.
    pub fn uses_adapter(&self) -> bool {
        self.adapter.is_some()
    }

    /// The number of adapters.
    pub fn adapters(&self) -> usize {
        self.adapted.len()
    }

    /// The same, with all other parts.
    pub(super) fn all_parts(&mut self) -> (&CausalLm, &DecoderConfig, &mut Graph) {
        let model = self.adapter.map_or(&self.model, |i| &self.adapted[i].model);
        (model, &self.config, &mut self.graph)
    }

    /// A model that is in memory, with a folder's other parts.
    pub fn new(
        config: DecoderConfig,
        (model, graph): (CausalLm, Graph),
        tokenizer: Option<Tokenizer>,
        generation: Map<String, Value>,
    ) -> Self {
        let (adapted, adapter, turn) = (Vec::new(), None, None);
        Self { config, model, adapted, adapter, turn, graph, tokenizer, generation }
    }

    /// The specification of the model.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The tokenizer of its folder, if there is one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// `generation_config.json`; empty where there is none.
    pub fn generation(&self) -> &Map<String, Value> {
        &self.generation
    }

    /// The model and the graph that holds its parameters.
    pub fn parts(&mut self) -> (&CausalLm, &mut Graph) {
        // Whoever has the graph may change the parameters.
        self.turn = None;
        let (model, _, graph) = self.all_parts();
        (model, graph)
    }

    /// The ids that end a text.
    pub fn end_tokens(&self) -> Vec<u32> {
        let ids = |value: &Value| -> Vec<u32> {
            let list = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            list.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
        };
        let said = self.generation.get("eos_token_id").or(self.config.field("eos_token_id"));
        match said.map(ids) {
            Some(ids) if !ids.is_empty() => ids,
            _ => self.tokenizer.iter().filter_map(|t| t.special().eos).collect(),
        }
    }

    /// The token that an empty prompt stands for.
    pub(crate) fn begin_token(&self) -> Option<u32> {
        let tokenizer = self.tokenizer.as_ref()?;
        begin(&self.config, tokenizer, &self.end_tokens())
    }

    /// The logits `[T, vocabulary]` after each of these tokens.
    ///
    /// # Errors
    /// An id is not in the vocabulary, there are more tokens than positions, or memory is short.
    pub fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let (model, graph) = self.parts();
        logits(model, graph, ids)
    }

    /// The vector `[B, features]` behind the last norm of each sequence's last token.
    ///
    /// # Errors
    /// As [`LanguageModel::logits`], or if a sequence is empty.
    pub(crate) fn embed(&mut self, sequences: &[Vec<u32>]) -> Result<Vec<f32>> {
        if sequences.iter().any(Vec::is_empty) {
            return Err(Error::usage("a sequence without tokens cannot be encoded"));
        }
        let (model, graph) = self.parts();
        graph.reset();
        let tokens = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let padded = |sequence: &Vec<u32>| -> Vec<i32> {
            let id = |i: usize| sequence.get(i).or(sequence.last()).map_or(0, |&id| id as i32);
            (0..tokens).map(id).collect()
        };
        let dims = [sequences.len(), tokens];
        let ids: Vec<i32> = sequences.iter().flat_map(padded).collect();
        // Padding repeats the last position, which tells the length of a sequence.
        let position = |ids: &Vec<u32>, i: usize| i.min(ids.len() - 1) as i32;
        let positions = sequences.iter().flat_map(|ids| (0..tokens).map(|i| position(ids, i)));
        let positions: Vec<i32> = positions.collect();
        let batch = TokenBatch {
            ids: graph.input(Tensor::from_slice(graph.device(), &ids, &dims)?),
            positions: graph.input(Tensor::from_slice(graph.device(), &positions, &dims)?),
            segments: None,
        };
        let vectors = model.vectors(graph, &batch)?;
        // Later tokens do not change earlier ones, so padding needs no mask.
        Ok(last_vectors(&vectors, sequences)?)
    }

    /// Writes the folder of the base model and reads it back; the logits must be the same.
    ///
    /// # Errors
    /// The folder cannot be written, or reads back as something else.
    pub fn save(&mut self, folder: &Path, options: &SaveOptions) -> Result<()> {
        let parts = (self.tokenizer.as_ref(), Some(&self.generation));
        save(folder, &self.config, &self.model, &mut self.graph, parts, options)
    }
}

/// Writes a model's folder and reads it back: parameters and logits must be the same, bit by bit.
///
/// Tensors are written in f32, with the names and shapes that `transformers` has for them. The
/// graph's tape is reset.
///
/// # Errors
/// The folder cannot be written, or reads back as something else.
///
/// ```no_run
/// # use feedforward::{nn::models::{CausalLm, DecoderConfig}, graph::Graph, Result};
/// # fn write(config: &DecoderConfig, model: &CausalLm, graph: &mut Graph) -> Result<()> {
/// use feedforward::language::save;
/// save("models/mine".as_ref(), config, model, graph, (None, None), &Default::default())
/// # }
/// ```
pub fn save(
    folder: &Path,
    config: &DecoderConfig,
    model: &CausalLm,
    graph: &mut Graph,
    (tokenizer, generation): (Option<&Tokenizer>, Option<&Map<String, Value>>),
    options: &SaveOptions,
) -> Result<()> {
    let tensors = base_tensors(config, graph.params());
    let json = as_written(config, "float32")?.to_json();
    write_folder(folder, &tensors, graph.params(), (tokenizer, generation), &json, *options)?;
    let device = graph.device().clone();
    let mut again = LanguageModel::open(folder, &device, model.options())?;
    let ids = probe(config.vocab_size, config.max_positions);
    let found = again.logits(&ids)?;
    read_back(folder, graph, again.graph.params(), &found, |graph| logits(model, graph, &ids))
}

/// The token that an empty prompt stands for.
pub(super) fn begin(config: &DecoderConfig, tokenizer: &Tokenizer, end: &[u32]) -> Option<u32> {
    let stated = config.field("bos_token_id").and_then(Value::as_u64);
    let stated = stated.and_then(|id| u32::try_from(id).ok());
    let special = tokenizer.special();
    stated.or(special.bos).or(special.eos).or(end.first().copied())
}

fn logits(model: &CausalLm, graph: &mut Graph, ids: &[u32]) -> Result<Vec<f32>> {
    graph.reset();
    let batch = token_batch(graph, ids)?;
    let logits = model.logits(graph, &batch, None)?;
    Ok(logits.slice::<f32>()?.to_vec())
}

/// One sequence.
fn token_batch(graph: &Graph, ids: &[u32]) -> Result<TokenBatch> {
    let tensor = |values: Vec<i32>| {
        Tensor::from_slice(graph.device(), &values, &[1, values.len()]).map(|t| graph.input(t))
    };
    Ok(TokenBatch {
        ids: tensor(ids.iter().map(|&id| i32::try_from(id).unwrap_or(i32::MAX)).collect())?,
        positions: tensor((0..ids.len()).map(|p| i32::try_from(p).unwrap_or(i32::MAX)).collect())?,
        segments: None,
    })
}
