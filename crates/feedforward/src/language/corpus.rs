//! The text of a run: its tokenizer and its tokens, in the run's folder.

use super::model::model_folder;
use super::recipe::PretrainRecipe;
use crate::error::{Error, Result};
use crate::run::folder::RunFolder;
use crate::run::info::RunInfo;
use crate::run::watch::{Notice, TextNotice, Watcher};
use ff_tensor::ThreadPool;
use ff_text::{
    TextConfig, TextData, TextProgress, Tokenizer, TokenizerOptions, tokenize, train_tokenizer,
};
use ff_train::Event;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A tokenizer and the tokens of the text.
pub(crate) struct Corpus {
    pub(super) tokenizer: Tokenizer,
    pub(super) data: TextData,
    /// Where the text came from, in words.
    pub(super) source: String,
}

impl Corpus {
    /// Bytes of text per token of the training part.
    pub(super) fn bytes_per_token(&self) -> f64 {
        let train = &self.data.report.train;
        train.bytes as f64 / train.tokens.max(1) as f64
    }

    /// The tokenizer in words.
    pub(super) fn tokenizer_line(&self) -> String {
        format!("{}, {} tokens", self.tokenizer.kind(), self.tokenizer.vocab_size())
    }

    fn notice(&self) -> TextNotice {
        let documents = &self.data.report.documents;
        let mut findings = Vec::new();
        if documents.read > 1 || !documents.dropped.is_empty() {
            let dropped = documents.dropped.iter();
            let dropped = dropped.map(|(why, count)| format!("{count} dropped: {why}"));
            let parts: Vec<String> =
                std::iter::once(format!("{} documents", documents.read)).chain(dropped).collect();
            findings.push(parts.join(" · "));
        }
        if self.data.report.reused {
            findings.push("tokens of an earlier run of the same text".into());
        }
        TextNotice {
            source: self.source.clone(),
            findings,
            tokenizer: self.tokenizer_line(),
            train_tokens: self.data.report.train.tokens,
            valid_tokens: self.data.report.valid.tokens,
            bytes_per_token: self.bytes_per_token(),
        }
    }
}

/// Where a run's tokens and its tokenizer lie.
fn folders(folder: &RunFolder) -> (PathBuf, PathBuf) {
    (folder.path().join("tokens"), folder.path().join("tokenizer"))
}

/// Removes the output of [`prepare`].
pub(super) fn remove(folder: &RunFolder) {
    let (tokens, tokenizer) = folders(folder);
    for made in [tokens, tokenizer] {
        let _ = std::fs::remove_dir_all(made);
    }
    let _ = std::fs::remove_file(generated(folder));
}

fn generated(folder: &RunFolder) -> PathBuf {
    folder.path().join("text.txt")
}

/// The recipe's text, or the sums that it asks for, which are written to a file first.
fn text(recipe: &PretrainRecipe, folder: &RunFolder) -> Result<(TextConfig, String)> {
    let Some(sums) = &recipe.generate else {
        let names: Vec<String> =
            recipe.data.paths.iter().map(|path| path.display().to_string()).collect();
        return Ok((recipe.data.clone(), names.join(", ")));
    };
    let path = generated(folder);
    let written = sums.text();
    ff_formats::write_atomic(&path, |file| file.write_all(written.as_bytes()))?;
    // A sum is a document; the end of its line marks the end of the answer.
    let config = TextConfig { paths: vec![path], ..recipe.data.clone() };
    let source = format!(
        "{} sums of two numbers of {} digits; {} pairs held out",
        sums.examples, sums.digits, sums.test
    );
    Ok((config, source))
}

/// Reads the text of a new run.
///
/// # Errors
/// A file cannot be read, or there is no text in it; the tokenizer cannot be read.
pub(super) fn prepare(
    recipe: &PretrainRecipe,
    folder: &RunFolder,
    threads: &ThreadPool,
    watcher: &mut dyn Watcher,
) -> Result<Corpus> {
    let (config, source) = text(recipe, folder)?;
    let (config, _copies) = config.lasting()?;
    let (_, tokenizer_folder) = folders(folder);
    let tokenizer = tokenizer(recipe, &config, threads, watcher)?;
    tokenizer.save(&tokenizer_folder)?;
    tokens(&config, tokenizer, folder, source, threads, watcher)
}

/// Opens the text of an earlier run: complete tokens are used, others are made again.
///
/// # Errors
/// The text has changed since the run was started, or cannot be read.
pub(super) fn reopen(
    recipe: &PretrainRecipe,
    folder: &RunFolder,
    info: &RunInfo,
    threads: &ThreadPool,
    watcher: &mut dyn Watcher,
) -> Result<Corpus> {
    let (tokens_folder, tokenizer_folder) = folders(folder);
    let tokenizer = Tokenizer::load(&tokenizer_folder)?;
    let (config, source) = text(recipe, folder)?;
    let opened = TextData::open(&tokens_folder);
    let corpus = match opened {
        // The run continues with the text of its start, whether the files still exist or not.
        Ok(data) if data.train.hash() == info.data_hash => {
            let corpus = Corpus { tokenizer, data, source };
            watcher.notice(&Notice::Text(&corpus.notice()));
            corpus
        }
        _ => {
            let mut paths = config.paths.iter().chain(&config.valid_paths);
            if let Some(lost) = paths.find(|path| !path.exists()) {
                let message = format!(
                    "its tokens are not whole, so its text is read again, and {} is not there; put it back, or copy the \
                     folder `tokens` of the run again",
                    lost.display()
                );
                return Err(Error::run(folder.path(), message));
            }
            tokens(&config, tokenizer, folder, source, threads, watcher)?
        }
    };
    if corpus.data.train.hash() != info.data_hash {
        return Err(Error::run(
            folder.path(),
            "was started on other text: a file has changed since; put the old one back, or train anew",
        ));
    }
    Ok(corpus)
}

fn tokens(
    config: &TextConfig,
    tokenizer: Tokenizer,
    folder: &RunFolder,
    source: String,
    threads: &ThreadPool,
    watcher: &mut dyn Watcher,
) -> Result<Corpus> {
    let (tokens_folder, _) = folders(folder);
    let mut phase = "";
    let told = &mut |progress: &TextProgress| tell(progress, &mut phase, watcher);
    let report = tokenize(config, Path::new(""), &tokenizer, &tokens_folder, threads, told)?;
    let mut data = TextData::open(&tokens_folder)?;
    data.report.reused = report.reused;
    let corpus = Corpus { tokenizer, data, source };
    watcher.notice(&Notice::Text(&corpus.notice()));
    Ok(corpus)
}

fn tell(progress: &TextProgress, phase: &mut &'static str, watcher: &mut dyn Watcher) {
    if *phase != progress.phase {
        *phase = progress.phase;
        watcher.event(Event::Phase(match progress.phase {
            "hashing" => "reading the text",
            "tokenising" => "making tokens of the text",
            "reading" => "reading the text for the tokenizer",
            "merging" => "training the tokenizer",
            other => other,
        }));
    }
}

/// The tokenizer that a recipe names, brings with its model, or has trained on its text.
fn tokenizer(
    recipe: &PretrainRecipe,
    config: &TextConfig,
    threads: &ThreadPool,
    watcher: &mut dyn Watcher,
) -> Result<Tokenizer> {
    let table = &recipe.tokenizer;
    if let Some(path) = &table.path {
        return Ok(Tokenizer::load(path)?);
    }
    if let Some(from) = &recipe.model.from {
        return Ok(Tokenizer::load(&model_folder(from)?)?);
    }
    let options = TokenizerOptions {
        kind: table.kind,
        vocab_size: table.vocab_size,
        special: table.special.clone(),
        pretokenizer: table.pretokenizer,
        ..TokenizerOptions::default()
    };
    let mut phase = "";
    let told = &mut |progress: &TextProgress| tell(progress, &mut phase, watcher);
    Ok(train_tokenizer(config, Path::new(""), &options, threads, told)?.tokenizer)
}
