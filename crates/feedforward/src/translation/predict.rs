//! The texts that a model writes for those of a file.

use super::corpus::{ended, limits};
use super::evaluate::{Opened, columns_of, open};
use super::network::options as language_options;
use crate::embedding::TextRows;
use crate::error::{Error, Result};
use crate::language::{TranslateOptions, Translator, TranslatorFolder};
use crate::predict::{PredictOptions, PredictSummary, refuse_overwriting};
use crate::run::info::RunInfo;
use crate::run::measure::open_device;
use crate::run::watch::Watcher;
use crate::words::plural;
use ff_table::{Column, Format, TableWriter};
use ff_train::Event;
use std::path::Path;

/// Rows in memory at a time.
const BLOCK: usize = 128;

/// Writes the rows of a file with `prediction`, the text that an encoder with a decoder writes for
/// each: its translation, or what else the model has learned. `column` holds the texts, by default
/// the sources that the model was trained on; empty texts stay empty.
///
/// # Errors
/// The model or the file cannot be read, or the output not be written.
pub fn predict(
    model: &Path,
    column: Option<&str>,
    options: &PredictOptions,
    watcher: &mut dyn Watcher,
) -> Result<PredictSummary> {
    if options.proba || options.spread || options.interval.is_some() {
        let message =
            "--proba, --spread and --interval are for other models, and this one writes texts";
        return Err(Error::usage(message));
    }
    refuse_overwriting(options)?;
    let Opened { run, recipe, model } = open(model, Some(&options.data), &options.set)?;
    let base = TranslatorFolder::open(&model)?;
    let text = base.text()?;
    let own = match (&run, &recipe.data.source[..]) {
        (Some(folder), "") => columns_of(&RunInfo::load(folder)?).into_iter().next(),
        (_, "") => None,
        (_, source) => Some(source.to_owned()),
    };
    let columns: Vec<String> = column.map(str::to_owned).or(own).into_iter().collect();
    let nulls = &recipe.data.null_values;
    let mut rows = TextRows::open_columns(&options.data, &columns, nulls, BLOCK)?;
    let device = open_device(&recipe, options.device)?;
    let mut translator =
        Translator::open_to_generate(&model, None, &device, &language_options(&recipe))?;
    let usual = base.usual();
    let given = |key: &str| options.set.iter().any(|set| set.trim_start().starts_with(key));
    let settings = &recipe.evaluate;
    let writing = TranslateOptions {
        beams: if given("evaluate.beams") { settings.beams } else { usual.beams },
        max_tokens: settings.max_tokens.unwrap_or(usual.max_tokens),
        ..usual
    };
    let ([most, _], end) = (limits(&recipe, &base)?, base.config.end_token);
    let mut writer = match &options.out {
        Some(path) => TableWriter::create(path)?,
        None => TableWriter::stream(Box::new(std::io::stdout()), Format::CSV)?,
    };
    watcher.event(Event::Phase("writing the texts"));
    let (mut count, mut cut) = (0, 0);
    while let Some(mut block) = rows.next(BLOCK)? {
        if watcher.interrupted() {
            return Err(Error::usage("stopped; nothing was written"));
        }
        let mut sources: Vec<Vec<u32>> = Vec::with_capacity(block.rows());
        for source in rows.texts(&block) {
            if source.trim().is_empty() {
                sources.push(Vec::new());
                continue;
            }
            let ids = text.encode(&format!("{}{source}", recipe.data.prefix))?;
            let (ids, is_cut) = ended(ids, end, most);
            cut += usize::from(is_cut);
            sources.push(ids);
        }
        let full: Vec<&[u32]> =
            sources.iter().filter(|ids| !ids.is_empty()).map(Vec::as_slice).collect();
        let mut found = translator.translate_all(&full, &writing)?.into_iter();
        let mut written = Vec::with_capacity(sources.len());
        for source in &sources {
            let mut tokens =
                if source.is_empty() { None } else { found.next() }.unwrap_or_default();
            if tokens.last() == Some(&end) {
                tokens.pop();
            }
            written.push(text.decode(&tokens)?);
        }
        let texts = written.iter().map(|text| Some(text.as_str())).collect();
        let column = Column::new("prediction".to_owned(), texts);
        block.push(column).map_err(|column| {
            Error::usage(format!(
                "the data has a column `{}` already; rename it, so that the prediction has a place",
                column.name
            ))
        })?;
        count += block.rows();
        writer.write(&block)?;
    }
    writer.finish()?;
    if cut > 0 {
        let message =
            format!("{} longer than {most} tokens: the rest was cut off", plural(cut, "text"));
        watcher.event(Event::Phase(&message));
    }
    let columns = vec!["prediction".to_owned()];
    Ok(PredictSummary { rows: count, out: options.out.clone(), columns, unfamiliar: Vec::new() })
}
