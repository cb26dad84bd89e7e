//! Products with weights.

pub(crate) mod dora;
pub(crate) mod embedding;
pub(crate) mod embedding_bag;
pub(crate) mod ensemble;
pub(crate) mod feedforward;
pub(crate) mod feedforward_block;
pub(crate) mod lora;
pub(crate) mod periodic;
pub(crate) mod piecewise_linear;
pub(crate) mod replace_rows;
