//! Models that read a source whole and write a target: an encoder with a decoder.

mod folder;
mod search;
mod text;

use super::adapter::adapter_folder;
use super::config::differ;
use super::folder::{SaveOptions, model_folder, read_back, read_params, write_folder};
use super::generate::{Generated, StopReason};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::files::read_text;
use ff_graph::{Graph, Mode};
use ff_nn::models::{
    EncoderDecoder, EncoderDecoderConfig, EncoderDecoderFamily, LanguageOptions, plain_file_tensors,
};
use ff_nn::{Builder, Precision};
use ff_tensor::Device;
pub(crate) use folder::TranslatorFolder;
pub(crate) use search::Writer;
use search::input;
use serde_json::{Map, Value as Json};
use std::path::Path;
pub(crate) use text::Text;

/// How a text is translated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TranslateOptions {
    /// The most tokens to write, the one that ends the text included.
    pub max_tokens: usize,
    /// How many unfinished translations are kept: 1 takes the likeliest token every time.
    pub beams: usize,
    /// The power of the length that a translation's log-probability is divided by.
    pub length_penalty: f64,
}

impl Default for TranslateOptions {
    fn default() -> Self {
        Self { max_tokens: 512, beams: 4, length_penalty: 1.0 }
    }
}

/// A model of an encoder with a decoder (Marian, T5), read from a folder as Hugging Face has them.
///
/// ```no_run
/// use feedforward::language::Translator;
/// let mut model =
///     Translator::open("models/opus-mt".as_ref(), &Default::default(), &Default::default())?;
/// println!("{}", model.translate("Good morning.", &Default::default())?.text);
/// # Ok::<(), feedforward::Error>(())
/// ```
#[derive(Debug)]
pub struct Translator {
    config: EncoderDecoderConfig,
    model: EncoderDecoder,
    graph: Graph,
    text: Option<Text>,
    generation: Map<String, Json>,
    options: LanguageOptions,
}

impl Translator {
    /// Whether the model of a folder is an encoder with a decoder.
    ///
    /// # Errors
    /// There is no model.
    pub fn is_at(path: &Path) -> Result<bool> {
        let folder = match model_folder(path) {
            // The folder of an adapter names its model.
            Err(_) if adapter_folder(path).is_some() => return Ok(false),
            folder => folder?,
        };
        if folder.is_file() {
            return Ok(false);
        }
        let text = read_text(&folder.join("config.json"))?;
        let json: Json = serde_json::from_str(&text).unwrap_or_default();
        let family = json.get("model_type").and_then(Json::as_str);
        Ok(EncoderDecoderFamily::all().iter().any(|known| Some(known.name) == family))
    }

    /// Reads the folder of a model or of a run.
    ///
    /// # Errors
    /// A file is missing or malformed; a tensor is missing, of another shape, or belongs to no
    /// layer; the tokenizer has more ids than the model.
    pub fn open(path: &Path, device: &Device, options: &LanguageOptions) -> Result<Self> {
        Self::opened(path, device, options, false)
    }

    /// The same to write texts alone: matrices stay in the form of their files, as for
    /// [`LanguageModel::open_to_generate`](super::LanguageModel::open_to_generate).
    ///
    /// # Errors
    /// As [`Translator::open`].
    pub fn open_to_generate(
        path: &Path,
        device: &Device,
        options: &LanguageOptions,
    ) -> Result<Self> {
        // A single row of bf16 reads f32 faster than it decodes a file.
        Self::opened(path, device, options, options.precision == Precision::F32)
    }

    fn opened(
        path: &Path,
        device: &Device,
        options: &LanguageOptions,
        in_file: bool,
    ) -> Result<Self> {
        let TranslatorFolder { folder, config, text, generation } = TranslatorFolder::open(path)?;
        let mut builder = Builder::new();
        let model = EncoderDecoder::new(&mut builder, &config, options);
        let ignored = |name: &str| config.family.is_ignored(name);
        let matrix = |name: &str| !config.is_read_by_value(name);
        let in_file = in_file.then_some(&matrix as &dyn Fn(&str) -> bool);
        let params = read_params(&folder, device, builder, &plain_file_tensors, &ignored, in_file)?;
        let mut graph = Graph::new(device, params);
        graph.set_mode(Mode::Eval);
        Ok(Self { config, model, graph, text, generation, options: *options })
    }

    /// A model of a folder with weights that were trained.
    pub(crate) fn new(
        folder: TranslatorFolder,
        (model, graph): (EncoderDecoder, Graph),
        options: &LanguageOptions,
    ) -> Self {
        let TranslatorFolder { config, text, generation, .. } = folder;
        Self { config, model, graph, text, generation, options: *options }
    }

    /// The specification of the model.
    pub fn config(&self) -> &EncoderDecoderConfig {
        &self.config
    }

    /// The model and the graph that holds its parameters.
    pub fn parts(&mut self) -> (&EncoderDecoder, &mut Graph) {
        (&self.model, &mut self.graph)
    }

    /// The options with what `generation_config.json` says.
    pub fn usual(&self) -> TranslateOptions {
        usual(&self.config, &self.generation)
    }

    /// Writes the target of a text: its translation, or what else the model has learned.
    ///
    /// # Errors
    /// The folder has no tokenizer, the text has no tokens or more than there are positions, or
    /// memory is short.
    pub fn translate(&mut self, text: &str, options: &TranslateOptions) -> Result<Generated> {
        let Some(tokenizer) = self.text.clone() else {
            return Err(Error::usage(Text::missing(self.config.family.name)));
        };
        let end = self.config.end_token;
        let mut source = tokenizer.encode(text)?;
        if source.last() != Some(&end) {
            source.push(end);
        }
        let mut tokens = self.translate_tokens(&source, options)?;
        let positions = self.config.max_positions.unwrap_or(usize::MAX);
        // A closed text ends at its last token, whether it is over or not.
        let ended = if self.config.family.is_closed {
            tokens.len() < options.max_tokens.min(positions)
        } else {
            tokens.last() == Some(&end)
        };
        let reason = if ended {
            StopReason::End
        } else if options.max_tokens <= positions {
            StopReason::MaxTokens
        } else {
            StopReason::Positions
        };
        if tokens.last() == Some(&end) {
            tokens.pop();
        }
        let text = tokenizer.decode(&tokens)?;
        let prompt_tokens = source.len();
        Ok(Generated { text, prompt_tokens, cached_tokens: 0, tokens, reason })
    }

    /// Writes the target of tokens, of which the last one ends the text; so does that of a target
    /// that is over.
    ///
    /// # Errors
    /// There is no token or more than there are positions, or memory is short.
    pub fn translate_tokens(
        &mut self,
        source: &[u32],
        options: &TranslateOptions,
    ) -> Result<Vec<u32>> {
        let Self { config, model, graph, .. } = self;
        Writer { config, model, graph }.write(source, options)
    }

    /// Writes the target of each of these sources, as [`Translator::translate_tokens`]; greedily
    /// several together.
    ///
    /// # Errors
    /// As [`Translator::translate_tokens`].
    pub fn translate_all(
        &mut self,
        sources: &[&[u32]],
        options: &TranslateOptions,
    ) -> Result<Vec<Vec<u32>>> {
        let Self { config, model, graph, .. } = self;
        Writer { config, model, graph }.write_all(sources, options)
    }

    /// Writes the model's folder and reads it back; the logits must be the same.
    ///
    /// # Errors
    /// The folder cannot be written, or reads back as something else.
    pub fn save(&mut self, folder: &Path, options: &SaveOptions) -> Result<()> {
        let json =
            if let Some(Text::Json(tokenizer)) = &self.text { Some(tokenizer) } else { None };
        if let Some(Text::Marian(tokenizer)) = &self.text {
            tokenizer.save(folder)?;
        }
        let parts = (json, Some(&self.generation));
        let params = self.graph.params();
        let json = self.config.to_json();
        write_folder(folder, &plain_file_tensors(params), params, parts, &json, *options)?;
        let device = self.graph.device().clone();
        let mut again = Self::open(folder, &device, &self.options)?;
        let end = self.config.end_token;
        let outputs = |model: &EncoderDecoder, graph: &mut Graph| -> Result<Vec<f32>> {
            graph.reset();
            let tokens = input(graph, &[&[end, end]])?;
            let memory = model.encode(graph, &tokens, None)?;
            Ok(model.decode(graph, (&memory, None), &tokens, None)?.slice::<f32>()?.to_vec())
        };
        let found = outputs(&again.model, &mut again.graph)?;
        let model = &self.model;
        read_back(folder, &mut self.graph, again.graph.params(), &found, |graph| {
            outputs(model, graph)
        })
    }
}

/// How texts are written, by what `generation_config.json` says.
fn usual(config: &EncoderDecoderConfig, generation: &Map<String, Json>) -> TranslateOptions {
    let usual = TranslateOptions { beams: config.family.beams, ..TranslateOptions::default() };
    let number = |key| generation.get(key).and_then(Json::as_u64).map(|n| n as usize);
    TranslateOptions {
        max_tokens: number("max_length").map_or(usual.max_tokens, |n| n.saturating_sub(1).max(1)),
        beams: number("num_beams").map_or(usual.beams, |n| n.max(1)),
        length_penalty: generation
            .get("length_penalty")
            .and_then(Json::as_f64)
            .unwrap_or(usual.length_penalty),
    }
}

/// The config, with an output layer of its own if the files hold one: as in `transformers`, what
/// differs from the embeddings is a matrix of its own, whatever the config says.
fn with_its_output(config: EncoderDecoderConfig, folder: &Path) -> Result<EncoderDecoderConfig> {
    // A folder without its tensors is refused when they are read.
    let Ok(weights) = Weights::open(folder) else { return Ok(config) };
    let tensors = config.tied_tensors();
    let own =
        if config.tied { differ(&weights, &tensors)? } else { weights.dims(&tensors[1]).is_some() };
    Ok(config.with_output(own))
}
