//! Normalisation.

pub(crate) mod batch_norm;
pub(crate) mod layer_norm;
pub(crate) mod rms_norm;
