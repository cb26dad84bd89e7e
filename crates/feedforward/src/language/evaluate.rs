//! Evaluation of a language model on text, on questions with one answer, and on questions with
//! choices.

use super::addition::Question;
use super::model::{LanguageModel, Translator, adapter_folder, model_folder};
use super::objective::Windows;
use super::recipe::PretrainRecipe;
use super::scores::{self, Choice, Choices, Exact, TextScores};
use super::setup;
use crate::error::{Error, Result};
use crate::run::folder::RunFolder;
use ff_nn::models::LanguageOptions;
use ff_table::source::{Input, extension};
use ff_tensor::{Device, DeviceOptions};
use ff_text::{CleanConfig, TextConfig, TextData, TextFormat, tokenize};
use serde::Serialize;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Windows evaluated at a time.
const BATCH: usize = 8;
/// The longest window where no recipe says how long the model's are.
const CONTEXT: usize = 1024;

/// The data and the scores of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LanguageEvaluation {
    /// The model's folder.
    pub model: PathBuf,
    /// The data: `valid`, or the file.
    pub data: String,
    /// Tokens of a window.
    pub context: usize,
    /// Loss, perplexity and bits per byte, for text.
    pub text: Option<TextScores>,
    /// Exact answers, for questions with one.
    pub exact: Option<Exact>,
    /// The likeliest choices, for questions with choices.
    pub choices: Option<Choices>,
}

/// Whether a path is a language model's folder, a run of one, or a GGUF file.
pub fn is_language_model(path: &Path) -> bool {
    if adapter_folder(path).is_some() {
        return true;
    }
    let Ok(folder) = model_folder(path) else { return false };
    if folder.is_file() {
        return true;
    }
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap_or_default();
    let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    json.is_some_and(|json| json.get("model_type").is_some())
}

/// How a file of text is read; a run's own settings hold where there are none.
///
/// ```
/// let reading = feedforward::language::TextReading::default();
/// assert!(reading.text_column.is_none() && reading.document_separator.is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextReading {
    /// The format; by the file's name by default.
    pub format: Option<TextFormat>,
    /// The column or key that holds the text.
    pub text_column: Option<String>,
    /// What stands between documents in plain text.
    pub document_separator: Option<String>,
}

impl TextReading {
    /// The settings for a file: those of the run's recipe that say how text is read, and these.
    fn config(&self, data: &Path, recipe: Option<&PretrainRecipe>) -> TextConfig {
        let own = recipe.map(|recipe| recipe.data.clone()).unwrap_or_default();
        let CleanConfig { utf8, mask_emails, mask_phones, mask_cards, .. } = own.clean;
        TextConfig {
            paths: vec![data.to_owned()],
            valid_paths: Vec::new(),
            valid: 0.0,
            max_documents: None,
            format: self.format.or(own.format),
            text_column: self.text_column.clone().unwrap_or(own.text_column),
            document_separator: self.document_separator.clone().or(own.document_separator),
            // Nothing is left out of what is to be judged.
            clean: CleanConfig {
                utf8,
                mask_emails,
                mask_phones,
                mask_cards,
                ..CleanConfig::default()
            },
            ..own
        }
    }
}

/// Evaluates a model on a file of text, or of JSON lines that are questions (`prompt` with
/// `answer`, or with `choices` and the number of the right one) or documents (`text`); on a run's
/// validation part where no file is given; with an adapter where one is named.
///
/// # Errors
/// The model or the data is not right.
pub fn evaluate_language(
    path: &Path,
    adapter: Option<&Path>,
    data: Option<&Path>,
    reading: &TextReading,
    options: DeviceOptions,
) -> Result<LanguageEvaluation> {
    let device = Device::open(options)?;
    // A run that fine-tuned a model has no text of its own.
    let folder = RunFolder::open(path).ok().filter(|folder| !folder.states("base"));
    let recipe = match &folder {
        Some(folder) => Some(PretrainRecipe::load(&folder.recipe(), &[])?),
        None => None,
    };
    let language = LanguageOptions {
        precision: recipe.as_ref().map(|recipe| recipe.model.precision).unwrap_or_default(),
        ..LanguageOptions::default()
    };
    if Translator::is_at(path)? {
        let message = "encoders with decoders (Marian, T5) are evaluated on pairs of texts, by \
                       translation::evaluate";
        return Err(Error::usage(message));
    }
    let adapters: Vec<&Path> = adapter.into_iter().collect();
    let mut model = LanguageModel::open_with_adapters(path, &adapters, &device, &language)?;
    let windows = match (&recipe, model.tokenizer()) {
        (Some(recipe), Some(tokenizer)) => setup::windows_of(recipe, tokenizer)?,
        (Some(recipe), None) => setup::windows(recipe),
        (None, _) => Windows { context: CONTEXT, ..Windows::default() },
    };
    let context = windows.context.min(model.config().max_positions);
    let windows = Windows { context, random: false, ..windows };
    let mut found = LanguageEvaluation {
        model: path.to_owned(),
        data: data.map_or("valid".into(), |data| data.display().to_string()),
        context,
        text: None,
        exact: None,
        choices: None,
    };
    match data {
        None => {
            let Some(folder) = folder else {
                return Err(Error::usage(
                    "there is nothing to evaluate it on; name a file with --data",
                ));
            };
            let tokens = TextData::open(&folder.path().join("tokens"))?;
            let valid = tokens
                .valid
                .ok_or_else(|| Error::usage("the run held no text out; name a file with --data"))?;
            found.text = Some(scores::text(&mut model, windows, &valid, BATCH)?);
            if let Some(sums) = recipe.and_then(|recipe| recipe.generate) {
                found.exact = Some(scores::exact(&mut model, &sums.test())?);
            }
        }
        Some(data) => {
            let (config, _copies) = reading.config(data, recipe.as_ref()).lasting()?;
            match questions(&config.paths[0], &config)? {
                Questions::None => found.text = Some(text(&mut model, windows, &config)?),
                Questions::Exact(all) => found.exact = Some(scores::exact(&mut model, &all)?),
                Questions::Choices(all) => found.choices = Some(scores::choices(&mut model, &all)?),
            }
        }
    }
    Ok(found)
}

/// A file's tokens are made in a temporary folder.
fn text(model: &mut LanguageModel, windows: Windows, config: &TextConfig) -> Result<TextScores> {
    let tokenizer = model.tokenizer().cloned().ok_or_else(|| {
        Error::usage("the model's folder has no tokenizer (tokenizer.json); add one")
    })?;
    let place = tempfile::tempdir()
        .map_err(ff_formats::Error::io(&std::env::temp_dir(), "making a temporary folder"))?;
    let device = model.parts().1.device().clone();
    let threads = device.cpu().threads();
    tokenize(config, Path::new(""), &tokenizer, place.path(), threads, &mut |_| ())?;
    let tokens = TextData::open(place.path())?.train;
    tokens.check_vocabulary(model.config().vocab_size)?;
    tokens.check_context(1, "given")?;
    scores::text(model, windows, &tokens, BATCH)
}

enum Questions {
    None,
    Exact(Vec<Question>),
    Choices(Vec<Choice>),
}

/// The questions of a file of JSON lines, if its first line is one.
fn questions(path: &Path, config: &TextConfig) -> Result<Questions> {
    if !["jsonl", "ndjson"].contains(&extension(&path.to_string_lossy()).as_str()) {
        return Ok(Questions::None);
    }
    let input = Input::open(path, false)?;
    if !asks(&input, &config.text_column)? {
        return Ok(Questions::None);
    }
    let mut text = String::new();
    let read = input.reader()?.read_to_string(&mut text);
    read.map_err(ff_formats::Error::io(path, "reading"))?;
    let lines: Vec<(usize, &str)> =
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect();
    let first: serde_json::Value = match lines.first() {
        None => return Err(Error::run(path, "is empty; expected a question a line")),
        Some((line, text)) => serde_json::from_str(text)
            .map_err(|e| Error::run(path, format!("line {}: this is not JSON: {e}", line + 1)))?,
    };
    if first.get("choices").is_some() {
        let all: Vec<Choice> = parsed(path, &lines)?;
        let bad = all.iter().position(|question| question.answer >= question.choices.len());
        if let Some(i) = bad {
            return Err(Error::run(
                path,
                format!(
                    "line {}: `answer` is {} and there are {} choices, counted from 0",
                    lines[i].0 + 1,
                    all[i].answer,
                    all[i].choices.len()
                ),
            ));
        }
        return Ok(Questions::Choices(all));
    }
    Ok(Questions::Exact(parsed(path, &lines)?))
}

/// Whether the first line is a question, and no document.
fn asks(input: &Input, text_column: &str) -> Result<bool> {
    for line in BufReader::new(input.reader()?).split(b'\n') {
        let line = line.map_err(ff_formats::Error::io(input.path(), "reading"))?;
        if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
            let json: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
            return Ok(json.get("prompt").is_some() && json.get(text_column).is_none());
        }
    }
    Ok(true)
}

fn parsed<T: serde::de::DeserializeOwned>(path: &Path, lines: &[(usize, &str)]) -> Result<Vec<T>> {
    let parse = |&(line, text): &(usize, &str)| {
        serde_json::from_str(text).map_err(|e| Error::run(path, format!("line {}: {e}", line + 1)))
    };
    lines.iter().map(parse).collect()
}
