use super::adapter::adapter_folder;
use super::folder::{
    SaveOptions, check_vocabulary, model_folder, read_back, read_generation, read_params,
    read_tokenizer, write_folder,
};
use super::generate::{Generated, StopReason};
use crate::error::{Error, Result};
use crate::files::read_text;
use ff_graph::{Graph, Mode, Value};
use ff_nn::Builder;
use ff_nn::models::{LanguageOptions, Marian, MarianConfig, plain_file_tensors};
use ff_tensor::{Device, Tensor};
use ff_text::{MarianTokenizer, Tokenizer};
use serde_json::{Map, Value as Json};
use std::path::Path;

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

/// A Marian translation model, read from a folder as Hugging Face has them.
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
    config: MarianConfig,
    model: Marian,
    graph: Graph,
    text: Option<Text>,
    generation: Map<String, Json>,
    options: LanguageOptions,
}

/// What makes tokens of a text: a `tokenizer.json` for both languages, or the files that Marian's
/// models come with.
#[derive(Debug, Clone)]
enum Text {
    Json(Tokenizer),
    Marian(MarianTokenizer),
}

impl Text {
    fn read(folder: &Path, vocab_size: usize) -> Result<Option<Self>> {
        if folder.join("tokenizer.json").exists() || !MarianTokenizer::is_at(folder) {
            return Ok(read_tokenizer(folder, vocab_size)?.map(Self::Json));
        }
        let tokenizer = MarianTokenizer::load(folder)?;
        check_vocabulary(folder, tokenizer.vocab_size(), vocab_size)?;
        Ok(Some(Self::Marian(tokenizer)))
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(match self {
            Self::Json(tokenizer) => tokenizer.encode_with_special(text)?,
            Self::Marian(tokenizer) => tokenizer.encode(text)?,
        })
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        Ok(match self {
            Self::Json(tokenizer) => tokenizer.decode_plain(ids)?,
            Self::Marian(tokenizer) => tokenizer.decode(ids)?,
        })
    }
}

/// Names of the shared table, and of positions, which are computed.
fn is_ignored(name: &str) -> bool {
    name.ends_with("embed_tokens.weight")
        || name.ends_with("embed_positions.weight")
        || name == "lm_head.weight"
}

/// A translation that is being written, with its log-probability.
#[derive(Debug, Clone)]
struct Beam {
    tokens: Vec<u32>,
    score: f64,
}

/// The score of an impossible token.
const NEVER: f64 = -1e9;

impl Translator {
    /// Whether the model of a folder translates.
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
        Ok(json.get("model_type").and_then(Json::as_str) == Some("marian"))
    }

    /// Reads the folder of a model or of a run.
    ///
    /// # Errors
    /// A file is missing or malformed; a tensor is missing, of another shape, or belongs to no
    /// layer; the tokenizer has more ids than the model.
    pub fn open(path: &Path, device: &Device, options: &LanguageOptions) -> Result<Self> {
        let folder = model_folder(path)?;
        let config_path = folder.join("config.json");
        let config = MarianConfig::parse(&read_text(&config_path)?)
            .map_err(|error| Error::run(&config_path, error.to_string()))?;
        let mut builder = Builder::new();
        let model = Marian::new(&mut builder, &config, options);
        let params =
            read_params(&folder, device, builder, &plain_file_tensors, &is_ignored, false)?;
        let text = Text::read(&folder, config.vocab_size)?;
        let generation = read_generation(&folder)?;
        let mut graph = Graph::new(device, params);
        graph.set_mode(Mode::Eval);
        Ok(Self { config, model, graph, text, generation, options: *options })
    }

    /// The specification of the model.
    pub fn config(&self) -> &MarianConfig {
        &self.config
    }

    /// The model and the graph that holds its parameters.
    pub fn parts(&mut self) -> (&Marian, &mut Graph) {
        (&self.model, &mut self.graph)
    }

    /// The options with what `generation_config.json` says.
    pub fn usual(&self) -> TranslateOptions {
        let usual = TranslateOptions::default();
        let number = |key| self.generation.get(key).and_then(Json::as_u64).map(|n| n as usize);
        TranslateOptions {
            max_tokens: number("max_length")
                .map_or(usual.max_tokens, |n| n.saturating_sub(1).max(1)),
            beams: number("num_beams").map_or(usual.beams, |n| n.max(1)),
            length_penalty: self
                .generation
                .get("length_penalty")
                .and_then(Json::as_f64)
                .unwrap_or(usual.length_penalty),
        }
    }

    /// Translates a text.
    ///
    /// # Errors
    /// The folder has no tokenizer, the text has no tokens or more than there are positions, or
    /// memory is short.
    pub fn translate(&mut self, text: &str, options: &TranslateOptions) -> Result<Generated> {
        let Some(tokenizer) = self.text.clone() else {
            let message = "the model's folder has no tokenizer; add source.spm, target.spm and vocab.json as Marian's models \
                           have them, or a tokenizer.json";
            return Err(Error::usage(message));
        };
        let mut source = tokenizer.encode(text)?;
        if source.last() != Some(&self.config.end_token) {
            source.push(self.config.end_token);
        }
        let mut tokens = self.translate_tokens(&source, options)?;
        // At its last token a translation is ended, whether it is over or not.
        let reason = if tokens.len() < options.max_tokens.min(self.config.max_positions) {
            StopReason::End
        } else if options.max_tokens <= self.config.max_positions {
            StopReason::MaxTokens
        } else {
            StopReason::Positions
        };
        if tokens.last() == Some(&self.config.end_token) {
            tokens.pop();
        }
        let text = tokenizer.decode(&tokens)?;
        let prompt_tokens = source.len();
        Ok(Generated { text, prompt_tokens, cached_tokens: 0, tokens, reason })
    }

    /// Translates tokens, of which the last one ends the text; so does that of the translation.
    ///
    /// # Errors
    /// There is no token or more than there are positions, or memory is short.
    pub fn translate_tokens(
        &mut self,
        source: &[u32],
        options: &TranslateOptions,
    ) -> Result<Vec<u32>> {
        if options.beams == 0 || options.max_tokens == 0 {
            return Err(Error::usage("beams and max-tokens must be at least 1"));
        }
        if source.is_empty() || source.len() > self.config.max_positions {
            return Err(Error::usage(format!(
                "the text has {} tokens, the model reads 1 to {}; translate it in parts",
                source.len(),
                self.config.max_positions
            )));
        }
        self.graph.reset();
        let tokens = input(&self.graph, &[source])?;
        let memory = self.model.encode(&mut self.graph, &tokens, None)?;
        let memory = memory.slice::<f32>()?.to_vec();
        let options = TranslateOptions {
            max_tokens: options.max_tokens.min(self.config.max_positions),
            ..*options
        };
        if options.beams == 1 {
            self.greedy(&memory, &options)
        } else {
            self.search(&memory, &options)
        }
    }

    /// The encoder's output, repeated for each of `rows` translations.
    fn memory(&self, memory: &[f32], rows: usize) -> Result<Value> {
        let features = self.config.features;
        let dims = [rows, memory.len() / features, features];
        Ok(self.graph.input(Tensor::from_slice(self.graph.device(), &memory.repeat(rows), &dims)?))
    }

    /// log p of each next token, row by row; the padding token is never written, and the last one
    /// is the end.
    fn log_probabilities(&self, logits: &[f32], last: bool) -> Vec<f64> {
        let vocab = self.config.vocab_size;
        let mut out = Vec::with_capacity(logits.len());
        for row in logits.chunks_exact(vocab) {
            let largest = row.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
            let sum: f64 = row.iter().map(|&v| f64::from(v - largest).exp()).sum();
            let shift = f64::from(largest) + sum.ln();
            let start = out.len();
            out.extend(row.iter().map(|&v| f64::from(v) - shift));
            let row = &mut out[start..];
            if last {
                row.fill(f64::NEG_INFINITY);
                row[self.config.end_token as usize] = 0.0;
            } else if self.config.pad_token != self.config.end_token {
                row[self.config.pad_token as usize] = f64::NEG_INFINITY;
            }
        }
        out
    }

    fn greedy(&mut self, memory: &[f32], options: &TranslateOptions) -> Result<Vec<u32>> {
        let mut cache = self.model.cache(self.graph.device(), 1, options.max_tokens)?;
        let mut tokens = vec![self.config.start_token];
        for step in 0..options.max_tokens {
            self.graph.reset();
            let last = input(&self.graph, &[&tokens[step..]])?;
            let memory = self.memory(memory, 1)?;
            let logits =
                self.model.decode(&mut self.graph, (&memory, None), &last, Some(&mut cache))?;
            let scores =
                self.log_probabilities(logits.slice::<f32>()?, step + 1 == options.max_tokens);
            let best = (0..scores.len()).fold(0, |b, i| if scores[i] > scores[b] { i } else { b });
            tokens.push(best as u32);
            if best as u32 == self.config.end_token {
                break;
            }
        }
        Ok(tokens.split_off(1))
    }

    /// Beam search as `transformers` has it with `early_stopping` off: it goes on while the best
    /// unfinished translation scores higher, for its length, than the worst finished one.
    fn search(&mut self, memory: &[f32], options: &TranslateOptions) -> Result<Vec<u32>> {
        let beams = options.beams;
        let start = vec![self.config.start_token];
        let first = |i| Beam { tokens: start.clone(), score: if i == 0 { 0.0 } else { NEVER } };
        let mut running: Vec<Beam> = (0..beams).map(first).collect();
        let mut finished: Vec<Beam> = Vec::new();
        let per_length =
            |score: f64, length: usize| score / (length as f64).powf(options.length_penalty);
        for length in 1..=options.max_tokens {
            let last = length == options.max_tokens;
            self.graph.reset();
            let rows: Vec<&[u32]> = running.iter().map(|beam| beam.tokens.as_slice()).collect();
            let target = input(&self.graph, &rows)?;
            let memory = self.memory(memory, beams)?;
            let logits = self.model.decode(&mut self.graph, (&memory, None), &target, None)?;
            let next = last_rows(logits.slice::<f32>()?, beams, length, self.config.vocab_size);
            let scores = self.log_probabilities(&next, last);
            let candidates = self.best(&running, &scores, 2 * beams);
            let ended = |beam: &Beam| last || beam.tokens.last() == Some(&self.config.end_token);
            finished.extend(candidates.iter().take(beams).filter(|beam| ended(beam)).map(|beam| {
                Beam { tokens: beam.tokens.clone(), score: per_length(beam.score, length) }
            }));
            finished.sort_by(|a, b| b.score.total_cmp(&a.score));
            finished.truncate(beams);
            let unfinished = candidates.into_iter().filter(|beam| !ended(beam));
            running = unfinished.take(beams).collect();
            let best = running.first().map_or(NEVER, |beam| per_length(beam.score, length));
            let worst = finished.last().filter(|_| finished.len() == beams).map(|beam| beam.score);
            if running.len() < beams || worst.is_some_and(|worst| best <= worst) {
                break;
            }
        }
        let best = finished.into_iter().chain(running).next();
        Ok(best.map_or(Vec::new(), |mut beam| beam.tokens.split_off(1)))
    }

    /// The likeliest ways to go on, one token longer.
    fn best(&self, running: &[Beam], scores: &[f64], count: usize) -> Vec<Beam> {
        let vocab = self.config.vocab_size;
        let mut all: Vec<(usize, f64)> = scores
            .iter()
            .enumerate()
            .map(|(i, score)| (i, running[i / vocab].score + score))
            .collect();
        let order = |a: &(usize, f64), b: &(usize, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let count = count.min(all.len());
        all.select_nth_unstable_by(count - 1, order);
        all.truncate(count);
        all.sort_unstable_by(order);
        let longer = |(i, score): (usize, f64)| {
            let mut tokens = running[i / vocab].tokens.clone();
            tokens.push((i % vocab) as u32);
            Beam { tokens, score }
        };
        all.into_iter().map(longer).collect()
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
        let outputs = |model: &Marian, graph: &mut Graph| -> Result<Vec<f32>> {
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

/// Rows of the same length as `[B, T]`.
fn input(graph: &Graph, rows: &[&[u32]]) -> Result<Value> {
    let ids: Vec<i32> =
        rows.concat().iter().map(|&id| i32::try_from(id).unwrap_or(i32::MAX)).collect();
    let dims = [rows.len(), ids.len() / rows.len().max(1)];
    Ok(graph.input(Tensor::from_slice(graph.device(), &ids, &dims)?))
}

/// The logits behind the last token of each row.
fn last_rows(logits: &[f32], rows: usize, tokens: usize, vocab: usize) -> Vec<f32> {
    let row = |i: usize| &logits[(i * tokens + tokens - 1) * vocab..][..vocab];
    (0..rows).flat_map(row).copied().collect()
}
