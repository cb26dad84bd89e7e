//! Translation: an encoder that reads, a decoder that writes.

mod marian;

pub use marian::{DecoderCache, Marian, MarianConfig, TranslationBatch};
