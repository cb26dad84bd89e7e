//! Encoders with decoders: a source is read whole, a target is written token by token.

mod cache;
mod config;
mod families;
mod model;
mod sinusoids;

pub use cache::DecoderCache;
pub use config::{EncoderDecoderConfig, EncoderDecoderDropout, EncoderDecoderFamily, StackConfig};
pub use model::{EncoderDecoder, EncoderDecoderBatch};
