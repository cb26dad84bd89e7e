//! A published model that makes texts vectors.

use super::modules::Modules;
use super::pooling::Pooling;
use super::reader::TextReader;
use super::static_table::{self, StaticTable};
use super::task_file::TaskFile;
use crate::error::{Error, Result};
use crate::files::read_text;
use crate::language::{EncoderModel, LanguageModel, model_folder};
use ff_formats::GgufFile;
use ff_nn::Precision;
use ff_nn::models::{EncoderFamily, EncoderHead, EncoderProblem, LanguageOptions};
use ff_tensor::Device;
use ff_text::Tokenizer;
use std::path::{Path, PathBuf};

/// Tokens of a batch, padding included: more would not be faster.
const BATCH_TOKENS: usize = 2048;
/// The most texts of a batch.
const BATCH_TEXTS: usize = 256;

/// How texts become vectors; what is `None` is taken from the model's folder.
///
/// ```
/// use feedforward::embedding::{EmbedOptions, Pooling};
/// let options = EmbedOptions { pooling: Some(Pooling::Cls), ..Default::default() };
/// assert!(options.normalize.is_none() && !options.windows);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmbedOptions {
    /// How the vectors of tokens become one; that of `1_Pooling/config.json`, else the mean.
    pub pooling: Option<Pooling>,
    /// Whether vectors get the length 1; as `modules.json` says, else not.
    pub normalize: Option<bool>,
    /// The most tokens of a text; `max_seq_length` of `sentence_bert_config.json`, else the
    /// model's positions.
    pub max_tokens: Option<usize>,
    /// Whether longer texts are embedded in windows of that size, whose mean they become; by
    /// default they are cut.
    pub windows: bool,
    /// The text put before every text.
    pub prompt: Option<String>,
    /// The texts of a batch; by default as many as are fast.
    pub batch: Option<usize>,
    /// What matrices are multiplied in; f32, or as the run that trained the model.
    pub precision: Option<Precision>,
}

/// Vectors of texts, and what became of the texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embedded {
    /// The vectors `[texts, width]`.
    pub values: Vec<f32>,
    /// Texts that were cut, or divided into windows.
    pub long: usize,
    /// Texts without a character other than white space.
    pub empty: usize,
    /// All tokens that were computed.
    pub tokens: u64,
}

/// A model that makes texts vectors: an encoder, a decoder by its last token, or static embeddings.
///
/// ```no_run
/// use feedforward::embedding::Embedder;
/// let folder = "models/all-MiniLM-L6-v2".as_ref();
/// let mut model = Embedder::open(folder, &Default::default(), &Default::default())?;
/// let vectors = model.embed(&["a text", "another one"], &mut |_| true)?;
/// assert_eq!(vectors.values.len(), 2 * model.width());
/// # Ok::<(), feedforward::Error>(())
/// ```
#[derive(Debug)]
pub struct Embedder {
    model: Model,
    reader: TextReader,
    options: EmbedOptions,
    pooling: Pooling,
    normalize: bool,
}

#[derive(Debug)]
enum Model {
    Encoder(Box<EncoderModel>),
    Decoder(Box<LanguageModel>),
    Static(StaticTable),
}

impl Embedder {
    /// Reads the folder of a model or of a run, or a GGUF file.
    ///
    /// # Errors
    /// There is no such model or no tokenizer; the model has another purpose, or is asked for what
    /// it cannot do.
    pub fn open(path: &Path, device: &Device, options: &EmbedOptions) -> Result<Self> {
        let root = root(path)?;
        let modules = Modules::read(&root)?;
        let folder = &modules.folder;
        let (model, tokenizer) = if modules.is_static || static_table::sizes(folder).is_some() {
            let tokenizer = Tokenizer::load(folder)?;
            (Model::Static(StaticTable::open(folder, &tokenizer)?), Some(tokenizer))
        } else if is_encoder(folder) {
            let own = TaskFile::read(folder)?.map(|task| task.precision);
            let precision = options.precision.or(own).unwrap_or_default();
            let language = LanguageOptions { precision, ..LanguageOptions::default() };
            let model = EncoderModel::open(folder, device, &language)?;
            let tokenizer = model.tokenizer().cloned();
            (Model::Encoder(Box::new(model)), tokenizer)
        } else {
            let precision = options.precision.unwrap_or_default();
            let language = LanguageOptions { precision, ..LanguageOptions::default() };
            let model = LanguageModel::open(folder, device, &language)?;
            let tokenizer = model.tokenizer().cloned();
            (Model::Decoder(Box::new(model)), tokenizer)
        };
        let tokenizer = tokenizer.ok_or_else(|| {
            Error::run(
                folder,
                "has no tokenizer (tokenizer.json, vocab.txt, or vocab.json and merges.txt); add the model's own",
            )
        })?;
        let usual = if matches!(model, Model::Decoder(_)) { Pooling::Last } else { Pooling::Mean };
        let pooling = options.pooling.or(modules.pooling).unwrap_or(usual);
        match &model {
            Model::Static(_) if pooling != Pooling::Mean => {
                return Err(Error::usage("static embeddings have no pooling but the mean"));
            }
            Model::Decoder(_) if pooling != Pooling::Last => {
                return Err(Error::usage(format!(
                    "{} is a decoder, whose tokens see only those before them: its pooling is last, not {pooling}",
                    folder.display()
                )));
            }
            _ => {}
        }
        let positions = match &model {
            Model::Encoder(model) => model.config().longest(),
            Model::Decoder(model) => model.config().max_positions,
            Model::Static(_) => usize::MAX,
        };
        let is_static = matches!(model, Model::Static(_));
        let most = options.max_tokens;
        let mut reader = TextReader::new(tokenizer, &modules, most, positions, is_static)?;
        reader.prompt = options.prompt.clone().or(reader.prompt);
        let own = match &model {
            Model::Static(table) => table.normalize,
            _ => None,
        };
        let normalize = options.normalize.or(modules.normalize).or(own).unwrap_or(false);
        let options = options.clone();
        Ok(Self { model, reader, options, pooling, normalize })
    }

    /// The classes of texts that the model tells apart.
    ///
    /// # Errors
    /// It is no encoder with a classifier of texts.
    pub fn classes(&self) -> Result<Vec<String>> {
        match &self.model {
            Model::Encoder(model) if model.config().head == EncoderHead::Sequence => {
                Ok(model.config().label_names())
            }
            _ => Err(Error::usage(
                "the model has no classifier of texts; `feedforward embed` writes its vectors, from which `feedforward \
                 train` learns",
            )),
        }
    }

    /// What it predicts of a text.
    pub(super) fn problem(&self) -> EncoderProblem {
        match &self.model {
            Model::Encoder(model) => model.config().problem,
            _ => EncoderProblem::Class,
        }
    }

    /// The logits `[texts, classes]` of a classifier of texts, as [`Embedder::embed`] gives
    /// vectors.
    ///
    /// # Errors
    /// As [`Embedder::embed`] and [`Embedder::classes`].
    pub fn logits(
        &mut self,
        texts: &[&str],
        done: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Embedded> {
        let classes = self.classes()?.len();
        self.compute(texts, Purpose::Logits(classes), done)
    }

    /// The numbers of a vector.
    pub fn width(&self) -> usize {
        match &self.model {
            Model::Encoder(model) => model.config().hidden_size,
            Model::Decoder(model) => model.config().hidden_size,
            Model::Static(table) => table.width,
        }
    }

    /// The pooling, whether vectors get the length 1, and the most tokens of a text.
    pub fn settings(&self) -> (Pooling, bool, usize) {
        (self.pooling, self.normalize, self.reader.max_tokens)
    }

    /// The vectors of texts; `done` is called with the number of texts done so far and stops the
    /// work with `false`.
    ///
    /// # Errors
    /// A text has no tokens in the vocabulary, memory is short, or the work was stopped.
    pub fn embed(
        &mut self,
        texts: &[&str],
        done: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Embedded> {
        let width = self.width();
        let mut embedded = self.compute(texts, Purpose::Vectors(width), done)?;
        if self.normalize {
            embedded.values.chunks_exact_mut(width).for_each(normalize);
        }
        Ok(embedded)
    }

    fn compute(
        &mut self,
        texts: &[&str],
        purpose: Purpose,
        done: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Embedded> {
        let mut embedded = Embedded {
            empty: texts.iter().filter(|text| text.trim().is_empty()).count(),
            ..Embedded::default()
        };
        let ids = self.reader.ids(texts)?;
        let width = purpose.width();
        embedded.values = vec![0.0; texts.len() * width];
        if let Model::Static(table) = &self.model {
            for (ids, to) in ids.iter().zip(embedded.values.chunks_exact_mut(width)) {
                table.embed(ids, to);
                embedded.tokens += ids.len() as u64;
            }
            done(texts.len());
        } else {
            let mut windows = self.windows(ids, &mut embedded.long);
            // The longest first, so that neighbours have much the same length and memory suffices
            // from the first batch on.
            windows.sort_by_key(|window| std::cmp::Reverse(window.ids.len()));
            self.batches(&windows, purpose, &mut embedded, done)?;
        }
        Ok(embedded)
    }

    /// Texts as sequences that the model takes; counts those that are longer.
    fn windows(&self, texts: Vec<Vec<u32>>, long: &mut usize) -> Vec<Window> {
        let mut windows = Vec::with_capacity(texts.len());
        for (text, ids) in texts.into_iter().enumerate() {
            *long += usize::from(ids.len() > self.reader.max_tokens);
            let parts = self.reader.parts(ids, self.options.windows).into_iter();
            windows.extend(parts.map(|(ids, share)| Window { text, ids, share }));
        }
        windows
    }

    /// Computes windows, the longest first, batch by batch.
    fn batches(
        &mut self,
        windows: &[Window],
        purpose: Purpose,
        embedded: &mut Embedded,
        done: &mut dyn FnMut(usize) -> bool,
    ) -> Result<()> {
        let (width, mut at) = (purpose.width(), 0);
        let texts = embedded.values.len() / width;
        while at < windows.len() {
            let longest = windows[at].ids.len();
            let fits = (BATCH_TOKENS / longest).clamp(1, BATCH_TEXTS);
            // Padding costs as much as text does.
            let near = windows[at..].iter().take(fits);
            let near = near.take_while(|w| 5 * w.ids.len() >= 4 * longest).count();
            let count = self.options.batch.unwrap_or(near).min(windows.len() - at);
            let batch = &windows[at..at + count];
            let ids: Vec<Vec<u32>> = batch.iter().map(|window| window.ids.clone()).collect();
            let vectors = match (&mut self.model, purpose) {
                (Model::Encoder(model), Purpose::Logits(_)) => model.logits(&ids)?,
                (Model::Encoder(model), Purpose::Vectors(_)) => model.embed(&ids, self.pooling)?,
                (Model::Decoder(model), _) => model.embed(&ids)?,
                (Model::Static(_), _) => Vec::new(),
            };
            for (window, vector) in batch.iter().zip(vectors.chunks_exact(width)) {
                let to = &mut embedded.values[window.text * width..][..width];
                for (to, &x) in to.iter_mut().zip(vector) {
                    *to = (f64::from(*to) + window.share * f64::from(x)) as f32;
                }
                embedded.tokens += window.ids.len() as u64;
            }
            at += count;
            if !done(at * texts / windows.len()) {
                return Err(Error::usage("embedding was stopped; nothing was written"));
            }
        }
        Ok(())
    }
}

/// What is computed of a text, and its width.
#[derive(Clone, Copy)]
enum Purpose {
    Vectors(usize),
    Logits(usize),
}

impl Purpose {
    fn width(self) -> usize {
        match self {
            Self::Vectors(width) | Self::Logits(width) => width,
        }
    }
}

/// A sequence that the model takes, of a text or of a part of one.
struct Window {
    text: usize,
    ids: Vec<u32>,
    /// The share of this part in the text's vector.
    share: f64,
}

/// Gives a vector the length 1; zeros stay.
pub(crate) fn normalize(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let length = squares.sqrt().max(1e-12);
    for x in vector {
        *x = (f64::from(*x) / length) as f32;
    }
}

/// The folder that holds a model with the files beside it, or a GGUF file.
fn root(path: &Path) -> Result<PathBuf> {
    if GgufFile::is_at(path) {
        return Ok(path.to_owned());
    }
    let inside = path.join("model");
    let is_model = |folder: &&Path| {
        folder.join("modules.json").exists() || static_table::sizes(folder).is_some()
    };
    match [path, &inside].into_iter().find(is_model) {
        Some(folder) => Ok(folder.to_owned()),
        None => model_folder(path),
    }
}

/// What the files beside a table of vectors say, if a path holds one.
///
/// # Errors
/// There is no model.
pub(crate) fn static_folder(path: &Path) -> Result<Option<Modules>> {
    let modules = Modules::read(&root(path)?)?;
    let found = modules.is_static || static_table::sizes(&modules.folder).is_some();
    Ok(found.then_some(modules))
}

/// Whether the `config.json` of a folder is of a family of encoders.
pub(crate) fn is_encoder(folder: &Path) -> bool {
    let text = read_text(&folder.join("config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let family = config["model_type"].as_str();
    EncoderFamily::all().iter().any(|known| Some(known.name) == family)
}
