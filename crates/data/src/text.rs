//! From text to tokens: tokenizers, documents, token files larger than memory.

mod tokenizer;

pub use tokenizer::{SpecialTokens, TextStream, Tokenizer, TokenizerKind};
