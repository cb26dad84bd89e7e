//! Concatenation of features, and pooling of tokens.

pub(crate) mod concat;
pub(crate) mod mean_of_members;
pub(crate) mod pool_tokens;
pub(crate) mod split;
