//! Translation: an encoder for the source, a decoder for the target.

mod marian;

pub use marian::{DecoderCache, Marian, MarianConfig, TranslationBatch};
