use ff_graph::Result;
use ff_ops::KeyValueCache;
use ff_tensor::{DType, Device};

/// The keys and values of a decoder's layers: those of its own tokens, and those of the encoder's
/// output, which are computed with the first token alone.
#[derive(Debug)]
pub struct DecoderCache {
    pub(super) own: Vec<KeyValueCache>,
    pub(super) memory: Vec<KeyValueCache>,
}

impl DecoderCache {
    /// Room for so many tokens of each of `batch` targets and of their sources.
    pub(super) fn new(
        device: &Device,
        dtype: DType,
        (layers, width): (usize, usize),
        batch: usize,
        [target, source]: [usize; 2],
    ) -> Result<Self> {
        let part = |capacity| {
            let layer = |_| KeyValueCache::new(device, dtype, batch, width, capacity);
            (0..layers).map(layer).collect::<Result<_>>()
        };
        Ok(Self { own: part(target)?, memory: part(source)? })
    }

    /// The number of cached tokens of each target.
    pub fn len(&self) -> usize {
        self.own.first().map_or(0, KeyValueCache::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces the targets, which have one source, by these of them, in this order.
    ///
    /// # Errors
    /// There are fewer, not as many are given, or memory is exhausted.
    pub fn select(&mut self, device: &Device, targets: &[usize]) -> Result<()> {
        self.own.iter_mut().try_for_each(|layer| layer.select(device, targets))
    }
}
