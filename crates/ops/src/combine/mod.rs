//! Features side by side, and tokens made one vector.

pub(crate) mod concat;
pub(crate) mod pool_tokens;
