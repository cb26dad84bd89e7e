use crate::error::Result;
use crate::language::model::folder::{check_vocabulary, read_tokenizer};
use ff_text::{MarianTokenizer, Tokenizer};
use std::path::Path;

/// What makes tokens of a text: a tokenizer for source and target, or the files that Marian's
/// models come with.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    Json(Tokenizer),
    Marian(MarianTokenizer),
}

impl Text {
    pub(super) fn read(folder: &Path, vocab_size: usize) -> Result<Option<Self>> {
        if folder.join("tokenizer.json").exists() || !MarianTokenizer::is_at(folder) {
            return Ok(read_tokenizer(folder, vocab_size)?.map(Self::Json));
        }
        let tokenizer = MarianTokenizer::load(folder)?;
        check_vocabulary(folder, tokenizer.vocab_size(), vocab_size)?;
        Ok(Some(Self::Marian(tokenizer)))
    }

    /// What to do about a folder without one.
    pub(super) fn missing(family: &str) -> &'static str {
        if family == "marian" {
            "the model's folder has no tokenizer; add source.spm, target.spm and vocab.json as \
             Marian's models have them, or a tokenizer.json"
        } else {
            "the model's folder has no tokenizer; add a tokenizer.json, or spiece.model as T5's \
             models have it"
        }
    }

    /// The ids of a source, with the one that ends it.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(match self {
            Self::Json(tokenizer) => tokenizer.encode_with_special(text)?,
            Self::Marian(tokenizer) => tokenizer.encode(text)?,
        })
    }

    /// The ids of a target, with the one that ends it.
    pub(crate) fn encode_target(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Self::Json(_) => self.encode(text),
            Self::Marian(tokenizer) => Ok(tokenizer.encode_target(text)?),
        }
    }

    /// What it is, in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Json(tokenizer) => {
                format!("{}, {} tokens", tokenizer.kind(), tokenizer.vocab_size())
            }
            Self::Marian(tokenizer) => format!("Marian, {} tokens", tokenizer.vocab_size()),
        }
    }

    /// The token of what has none.
    pub(crate) fn unknown(&self) -> Option<u32> {
        match self {
            Self::Json(tokenizer) => tokenizer.id("<unk>"),
            Self::Marian(tokenizer) => Some(tokenizer.unknown()),
        }
    }

    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String> {
        Ok(match self {
            Self::Json(tokenizer) => {
                // A table of embeddings may have more rows than there are tokens.
                let known = ids.iter().copied().filter(|&id| tokenizer.token(id).is_some());
                tokenizer.decode_plain(&known.collect::<Vec<_>>())?
            }
            Self::Marian(tokenizer) => tokenizer.decode(ids)?,
        })
    }
}
