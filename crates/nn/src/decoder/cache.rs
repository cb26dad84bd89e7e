use super::DecoderConfig;
use crate::transformer::LanguageOptions;
use ff_graph::Result;
use ff_ops::KeyValueCache;
use ff_tensor::{DType, Device};

/// The keys and values of every layer for earlier tokens, so that generation computes each token
/// once.
///
/// ```
/// # use ff_nn::models::{CausalLm, DecoderConfig, ModelCache};
/// # fn make(model: &CausalLm, config: &DecoderConfig) -> ff_graph::Result<()> {
/// let cache = ModelCache::new(&Default::default(), config, model.options(), 1, 128)?;
/// assert!(cache.is_empty());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ModelCache {
    pub(super) layers: Vec<KeyValueCache>,
    capacity: usize,
    /// The place in each sequence from which on the adapter acts.
    pub(super) starts: Vec<usize>,
}

impl ModelCache {
    /// Room for `capacity` tokens of each of `batch` sequences.
    ///
    /// # Errors
    /// Memory is short.
    pub fn new(
        device: &Device,
        config: &DecoderConfig,
        options: &LanguageOptions,
        batch: usize,
        capacity: usize,
    ) -> Result<Self> {
        let width = config.kv_heads * config.head_dim;
        // The type of attention's inputs.
        let narrow = options.bf16() && config.qk_norm.is_none();
        let dtype = if narrow { DType::BF16 } else { DType::F32 };
        let layer = |_| KeyValueCache::new(device, dtype, batch, width, capacity);
        let layers = config.layers.iter().map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, capacity, starts: vec![0; batch] })
    }

    /// The number of tokens of each sequence in it.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, KeyValueCache::len)
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of tokens it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sets the place in each sequence from which on an activated adapter acts; that is the whole
    /// sequence at first.
    pub fn set_starts(&mut self, starts: Vec<usize>) {
        self.starts = starts;
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.layers.iter_mut().for_each(|layer| layer.truncate(len));
    }
}
