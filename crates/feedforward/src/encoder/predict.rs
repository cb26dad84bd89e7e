//! The spans of new texts.

use super::corpus::word_tokens;
use super::rows::untagged;
use crate::embedding::{Modules, TaskFile, TextReader, TextRows};
use crate::error::{Error, Result};
use crate::language::{EncoderModel, model_folder};
use crate::predict::{PredictOptions, PredictSummary, refuse_overwriting};
use crate::run::watch::Watcher;
use ff_metrics::{TagScheme, spans};
use ff_nn::models::{EncoderConfig, EncoderHead, LanguageOptions};
use ff_tensor::Device;
use ff_train::Event;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// Rows in memory at a time.
const BLOCK: usize = 1024;
/// Texts of a batch.
const BATCH: usize = 32;

/// The words of a text, and where they are in it.
struct Words {
    words: Vec<String>,
    /// The text, with the first and the last byte of each word, where words were cut from one.
    text: Option<(String, Vec<[usize; 2]>)>,
}

/// Whether a path is an encoder that gives each word a tag.
pub(crate) fn is_tagger(path: &Path) -> bool {
    let folder = model_folder(path).ok();
    let text = folder.and_then(|folder| std::fs::read_to_string(folder.join("config.json")).ok());
    let config = text.and_then(|text| EncoderConfig::parse(&text).ok());
    config.is_some_and(|config| config.head == EncoderHead::Tokens)
}

/// Writes the spans of each text of a file: JSON lines with the words, their tags and the spans, or
/// with an output `.conll` a word and its tag on each line. Texts are JSON lines with words, CoNLL
/// with or without tags, or a column of texts, whose words are cut at spaces and punctuation.
///
/// # Errors
/// The model or the file cannot be read, or the output not be written.
pub(crate) fn tag(
    model: &Path,
    column: Option<&str>,
    options: &PredictOptions,
    watcher: &mut dyn Watcher,
) -> Result<PredictSummary> {
    if !options.set.is_empty() || options.spread || options.interval.is_some() || options.proba {
        return Err(Error::usage(
            "--set, --proba, --spread and --interval are for other models, and this one gives tags",
        ));
    }
    refuse_overwriting(options)?;
    let folder = model_folder(model)?;
    let task = TaskFile::read(&folder)?;
    let precision = task.as_ref().map(|task| task.precision).unwrap_or_default();
    let scheme = task.as_ref().and_then(|task| task.scheme);
    let device = Device::open(options.device)?;
    let language = LanguageOptions { precision, ..LanguageOptions::default() };
    let mut opened = EncoderModel::open(&folder, &device, &language)?;
    let config = opened.config().clone();
    let names = config.label_names();
    let scheme = scheme.unwrap_or_else(|| match spans(&names, TagScheme::Lenient) {
        Ok(_) => TagScheme::Lenient,
        Err(_) => TagScheme::Plain,
    });
    let tokenizer = opened.tokenizer().cloned();
    let tokenizer =
        tokenizer.ok_or_else(|| Error::run(&folder, "has no tokenizer; add the model's own"))?;
    let most = task.as_ref().map(|task| task.max_tokens);
    let modules = Modules::read(&folder)?;
    let reader = TextReader::new(tokenizer, &modules, most, config.longest(), false)?;
    watcher.event(Event::Phase("predicting"));
    let conll = options
        .out
        .as_deref()
        .is_some_and(|out| out.extension().is_some_and(|end| end.eq_ignore_ascii_case("conll")));
    let mut lines = Vec::new();
    let mut count = 0;
    let mut each = |rows: Vec<Words>| -> Result<()> {
        for rows in rows.chunks(BATCH) {
            if watcher.interrupted() {
                return Err(Error::usage("stopped; nothing was written"));
            }
            for (row, tags) in rows.iter().zip(tags_of(&mut opened, &reader, &names, rows)?) {
                count += 1;
                write_row(&mut lines, row, &tags, scheme, conll)?;
            }
        }
        Ok(())
    };
    let key = task.as_ref().and_then(|task| task.texts.first());
    if let Some(all) = untagged(&options.data, key)? {
        each(all.into_iter().map(|words| Words { words, text: None }).collect())?;
    } else {
        let columns: Vec<String> = column.map(str::to_owned).into_iter().collect();
        let mut source = TextRows::open_columns(&options.data, &columns, &[], BLOCK)?;
        while let Some(block) = source.next(BLOCK)? {
            each(source.texts(&block).iter().map(|text| cut(text)).collect())?;
        }
    }
    match &options.out {
        Some(path) => ff_formats::write_atomic(path, |file| file.write_all(&lines))?,
        None => std::io::stdout()
            .write_all(&lines)
            .map_err(ff_formats::Error::io("standard output".as_ref(), "writing"))?,
    }
    let columns = if conll { vec!["tag".into()] } else { vec!["tags".into(), "spans".into()] };
    Ok(PredictSummary { rows: count, out: options.out.clone(), columns, unfamiliar: Vec::new() })
}

/// The likeliest tag of each word; `O` for those that the model does not see.
fn tags_of(
    model: &mut EncoderModel,
    reader: &TextReader,
    names: &[String],
    rows: &[Words],
) -> Result<Vec<Vec<String>>> {
    let mut ids = Vec::with_capacity(rows.len());
    let mut starts = Vec::with_capacity(rows.len());
    for row in rows {
        let (row, start, _) = word_tokens(&row.words, reader)?;
        ids.push(row);
        starts.push(start);
    }
    let logits = model.logits(&ids)?;
    let length = ids.iter().map(Vec::len).max().unwrap_or(0);
    let width = names.len();
    let outside = || "O".to_owned();
    let tags = |(row, starts): (usize, Vec<Option<u32>>)| {
        let logits = &logits[row * length * width..][..length * width];
        let tag = |start: Option<u32>| {
            let Some(start) = start else { return outside() };
            let logits = &logits[start as usize * width..][..width];
            let best =
                (1..width).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
            names.get(best).cloned().unwrap_or_else(outside)
        };
        starts.into_iter().map(tag).collect()
    };
    Ok(starts.into_iter().enumerate().map(tags).collect())
}

fn write_row(
    lines: &mut Vec<u8>,
    row: &Words,
    tags: &[String],
    scheme: TagScheme,
    conll: bool,
) -> Result<()> {
    let mut text = String::new();
    if conll {
        for (word, tag) in row.words.iter().zip(tags) {
            text.extend([word.as_str(), " ", tag.as_str(), "\n"]);
        }
        text.push('\n');
    } else {
        // A model may give tags that follow no scheme: they are read with tolerance then.
        let found = spans(tags, scheme).or_else(|_| spans(tags, TagScheme::Plain))?;
        let span = |span: ff_metrics::Span| -> Value {
            let mut object = json!({ "type": span.kind, "start": span.start, "end": span.end });
            object["text"] = row.words[span.start..span.end].join(" ").into();
            if let Some((text, places)) = &row.text {
                let (from, to) = (places[span.start][0], places[span.end - 1][1]);
                object["text"] = text[from..to].into();
                let characters = |at: usize| text[..at].chars().count();
                object["characters"] = json!([characters(from), characters(to)]);
            }
            object
        };
        let mut object = json!({ "tokens": row.words, "tags": tags });
        object["spans"] = found.into_iter().map(span).collect();
        if let Some((text, _)) = &row.text {
            object["text"] = text.as_str().into();
        }
        text = format!("{object}\n");
    }
    lines.extend_from_slice(text.as_bytes());
    Ok(())
}

/// The words of a text: letters and digits together, other characters each for itself.
fn cut(text: &str) -> Words {
    let mut words: Vec<String> = Vec::new();
    let mut places: Vec<[usize; 2]> = Vec::new();
    let mut inside = false;
    for (at, c) in text.char_indices() {
        let (letter, end) = (c.is_alphanumeric(), at + c.len_utf8());
        if c.is_whitespace() {
            inside = false;
            continue;
        }
        if let (true, Some(word), Some(place)) =
            (inside && letter, words.last_mut(), places.last_mut())
        {
            word.push(c);
            place[1] = end;
        } else {
            words.push(c.to_string());
            places.push([at, end]);
        }
        inside = letter;
    }
    Words { words, text: Some((text.to_owned(), places)) }
}
