//! Products with weights.

pub(crate) mod embedding;
pub(crate) mod feedforward;
pub(crate) mod feedforward_block;
