//! From text to tokens: tokenizers, documents, token files larger than memory.
//!
//! [`tokenize`] reads documents as a [`TextConfig`] says, cuts them into tokens and writes those
//! into shards that [`TextData`] maps into memory.
//!
//! ```
//! use ff_tensor::Device;
//! use ff_text::{TextConfig, TextData, Tokenizer, tokenize};
//!
//! # let folder = std::env::temp_dir().join(format!("ff-data-text-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # std::fs::write(folder.join("a.txt"), "to be or not to be, that is the question")?;
//! let config = TextConfig { paths: vec!["a.txt".into()], valid: 0.1, ..TextConfig::default() };
//! let tokenizer = Tokenizer::bytes(&[])?;
//! let device = Device::default();
//! let tokens = folder.join("tokens");
//! let report =
//!     tokenize(&config, &folder, &tokenizer, &tokens, device.cpu().threads(), &mut |_| ())?;
//! assert_eq!((report.documents.read, report.train.tokens, report.valid.tokens), (1, 36, 4));
//!
//! let data = TextData::open(&folder.join("tokens"))?;
//! let mut window = [0; 5];
//! data.train.read(0, &mut window)?;
//! assert_eq!(window, *b"to be".map(i32::from).as_slice());
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod bpe;
mod chat;
mod clean;
mod config;
mod documents;
mod encode;
mod error;
mod grammar;
mod index;
mod measure;
mod shard;
mod tokenize;
mod tokenizer;
mod tokens;
mod train;

pub use bpe::Pretokenizer;
pub use chat::{ChatTemplate, RenderedChat};
pub use config::{BrokenText, CleanConfig, DocumentBorders, Duplicates, TextConfig, TextFormat};
pub use error::{Result, TextError};
pub use grammar::{AllowedTokens, Grammar, GrammarMatcher};
pub use index::{DocumentCounts, PartReport, TextReport};
pub use measure::{TextMeasure, measure};
pub use tokenize::{TextProgress, tokenize};
pub use tokenizer::{MarianTokenizer, SpecialTokens, TextStream, Tokenizer, TokenizerKind};
pub use tokens::{TextData, TokenData};
pub use train::{TokenizerOptions, TrainedTokenizer, train_tokenizer};

/// The last place up to `at` that lies between characters.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests;
