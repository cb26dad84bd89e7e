//! Models that read a source whole and write a target: an encoder with a decoder.

mod folder;
mod search;
mod text;

use super::adapter::{AdapterFile, Base, Places, adapter_folder, base_of, merge, pair_tensors};
use super::config::differ;
use super::folder::{SaveOptions, model_folder, read_back, read_params, write_folder};
use super::generate::{Generated, StopReason};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::files::read_text;
use ff_graph::{Graph, Mode, Params};
use ff_nn::models::{EncoderDecoder, EncoderDecoderConfig, EncoderDecoderFamily, LanguageOptions};
use ff_nn::{AdaptedBiases, Builder, LoraConfig, Precision};
use ff_tensor::{DType, Device};
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
    adapter: Option<Adapted>,
}

/// The adapter of a model: its config, and the linear layers with whether each has one.
#[derive(Debug)]
struct Adapted {
    config: LoraConfig,
    layers: Vec<(String, bool)>,
}

impl Adapted {
    fn places(&self) -> Places<'_> {
        Places { layers: &self.layers, replaced: &[], stacks: &[] }
    }
}

impl Translator {
    /// Whether the model of a folder, or the one that an adapter's folder names, is an encoder with
    /// a decoder.
    ///
    /// # Errors
    /// There is no model.
    pub fn is_at(path: &Path) -> Result<bool> {
        let folder = match (model_folder(path), adapter_folder(path)) {
            (Err(_), Some(adapter)) => {
                let base = AdapterFile::open(&adapter).and_then(|file| base_of(&adapter, &file));
                // Whoever opens the adapter says what is wrong with it.
                let Ok(base) = base else { return Ok(false) };
                base
            }
            (folder, _) => folder?,
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
        Self::open_with_adapter(path, None, device, options)
    }

    /// The same with an adapter, the folder of PEFT or a run that trained one; where `path` is an
    /// adapter that names its model, that model with this adapter.
    ///
    /// ```no_run
    /// use feedforward::language::Translator;
    /// let (model, adapter) = ("models/t5-small".as_ref(), Some("summaries".as_ref()));
    /// let (device, options) = Default::default();
    /// let mut model = Translator::open_with_adapter(model, adapter, &device, &options)?;
    /// model.merge_adapter()?;
    /// model.save("models/mine".as_ref(), &Default::default())?;
    /// # Ok::<(), feedforward::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Translator::open`]; the adapter is not whole, belongs to another model, or needs what
    /// is not supported.
    pub fn open_with_adapter(
        path: &Path,
        adapter: Option<&Path>,
        device: &Device,
        options: &LanguageOptions,
    ) -> Result<Self> {
        Self::opened(path, adapter, device, options, false)
    }

    /// The same to write texts alone: matrices stay in the form of their files, as for
    /// [`LanguageModel::open_to_generate`](super::LanguageModel::open_to_generate).
    ///
    /// # Errors
    /// As [`Translator::open_with_adapter`].
    pub fn open_to_generate(
        path: &Path,
        adapter: Option<&Path>,
        device: &Device,
        options: &LanguageOptions,
    ) -> Result<Self> {
        // A single row of bf16 reads f32 faster than it decodes a file.
        Self::opened(path, adapter, device, options, options.precision == Precision::F32)
    }

    fn opened(
        path: &Path,
        adapter: Option<&Path>,
        device: &Device,
        options: &LanguageOptions,
        in_file: bool,
    ) -> Result<Self> {
        let found = TranslatorFolder::open(path)?;
        let TranslatorFolder { folder, config, text, generation, adapter: own } = found;
        if let (Some(own), Some(_)) = (&own, adapter) {
            let message = "is an adapter itself; give its model, and one of the two with --adapter";
            return Err(Error::run(own, message));
        }
        let file = own.as_deref().or(adapter).map(AdapterFile::open).transpose()?;
        let mut builder = Builder::new();
        let mut model = EncoderDecoder::new(&mut builder, &config, options);
        if let Some(file) = &file {
            refuse_parts(file)?;
            builder.adapt("", file.config().clone());
            model = EncoderDecoder::new(&mut builder, &config, options);
        }
        let layers = builder.linear_layers().to_vec();
        let ignored = |name: &str| config.family.is_ignored(name);
        let matrix = |name: &str| !config.is_read_by_value(name);
        let in_file = in_file.then_some(&matrix as &dyn Fn(&str) -> bool);
        let mut params = read_params(&folder, device, builder, &pair_tensors, &ignored, in_file)?;
        let adapter = file.as_ref().map(|file| Adapted { config: file.config().clone(), layers });
        if let (Some(file), Some(adapted)) = (&file, &adapter) {
            file.read_into(&mut params, "", adapted.places(), (Base::Pair(&config), device))?;
        }
        let mut graph = Graph::new(device, params);
        graph.set_mode(Mode::Eval);
        Ok(Self { config, model, graph, text, generation, options: *options, adapter })
    }

    /// Adds the adapter to the weights of the model, W + s B A in f64 rounded once.
    ///
    /// # Errors
    /// There is no adapter.
    pub fn merge_adapter(&mut self) -> Result<()> {
        let Some(adapted) = self.adapter.take() else {
            return Err(Error::usage("there is no adapter to merge; name one with --adapter"));
        };
        let base = Base::Pair(&self.config);
        merge(self.graph.params_mut(), &adapted.config, "", adapted.places(), base)?;
        let (params, device) = (self.graph.params(), self.graph.device());
        (self.model, self.graph) = without_adapter(&self.config, params, device, &self.options)?;
        Ok(())
    }

    /// A model of a folder with weights that were trained.
    pub(crate) fn new(
        folder: TranslatorFolder,
        (model, graph): (EncoderDecoder, Graph),
        options: &LanguageOptions,
    ) -> Self {
        let TranslatorFolder { config, text, generation, .. } = folder;
        Self { config, model, graph, text, generation, options: *options, adapter: None }
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
    /// The folder cannot be written, or reads back as something else; an adapter is not merged.
    pub fn save(&mut self, folder: &Path, options: &SaveOptions) -> Result<()> {
        if self.adapter.is_some() {
            return Err(Error::usage(
                "the model has an adapter beside its weights; merge it first",
            ));
        }
        let json =
            if let Some(Text::Json(tokenizer)) = &self.text { Some(tokenizer) } else { None };
        if let Some(Text::Marian(tokenizer)) = &self.text {
            tokenizer.save(folder)?;
        }
        let parts = (json, Some(&self.generation));
        let params = self.graph.params();
        let json = self.config.to_json();
        write_folder(folder, &pair_tensors(params), params, parts, &json, *options)?;
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

/// The model alone, in evaluation, with the values of the parameters of one with an adapter.
///
/// # Errors
/// Memory is short.
pub(crate) fn without_adapter(
    config: &EncoderDecoderConfig,
    params: &Params,
    device: &Device,
    options: &LanguageOptions,
) -> Result<(EncoderDecoder, Graph)> {
    let mut builder = Builder::new();
    let model = EncoderDecoder::new(&mut builder, config, options);
    let mut plain = builder.build_zeroed(device, DType::F32, false)?;
    let ids: Vec<_> = plain.iter().map(|(id, info)| (id, info.spec.name.clone())).collect();
    for (id, name) in ids {
        if let Some(own) = params.id(&name) {
            plain.values_mut::<f32>(id)?.copy_from_slice(params.values::<f32>(own)?);
        }
    }
    let mut graph = Graph::new(device, plain);
    graph.set_mode(Mode::Eval);
    Ok((model, graph))
}

/// An adapter with more than A and B of linear layers belongs to a model of one stack.
fn refuse_parts(file: &AdapterFile) -> Result<()> {
    let config = file.config();
    for (key, set) in [
        ("modules_to_save", !config.saved.is_empty()),
        ("trainable_token_indices", !config.tokens.is_empty()),
        ("target_parameters", !config.parameters.is_empty()),
        ("bias", config.biases != AdaptedBiases::None),
        ("alora_invocation_tokens", !config.invocation.is_empty()),
    ] {
        if set {
            return Err(file.fail(format!(
                "{key} is not supported for encoders with decoders, whose adapters have A and B of linear layers alone"
            )));
        }
    }
    Ok(())
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
