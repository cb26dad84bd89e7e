//! Constants that suit one processor better than another.

/// How products are divided among threads and caches. The fastest division depends on the
/// processor, results do not.
///
/// ```
/// use ff_tensor::Tuning;
/// assert_eq!(Tuning::of("a processor of next year"), Tuning::DEFAULT);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// The least multiply-adds of f32 per thread of a product.
    pub product_work: usize,
    /// The least multiply-adds of f32 per thread of a layer prepared for predictions.
    pub layer_work: usize,
    /// The bytes of a product's second operand that are packed at a time, to stay in the L2 cache.
    pub block_bytes: usize,
}

/// The processors measured, by [`processor_id`](crate::processor_id); `ff-bench tune` prints a row.
/// A value that gains less than two per cent is the default's.
const TABLE: [(&str, Tuning); 1] = [
    // Zen 4 (Genoa), two virtual cores that share a last-level cache.
    (
        "AuthenticAMD-25-17",
        Tuning { product_work: 1 << 16, layer_work: 1 << 15, ..Tuning::DEFAULT },
    ),
];

impl Tuning {
    /// The constants of other processors.
    ///
    /// - Products: 2 to 3 µs a thread. Below, one thread finishes before another has its operands,
    ///   as a line just written by another core takes up to 0.2 µs. Two threads start at 81³, so
    ///   that sizes just below a multiple of 16 are not slower than the multiple itself.
    /// - Layers: about 2 µs.
    /// - Blocks: less than half of an L2 cache of 1 MiB.
    pub const DEFAULT: Self =
        Self { product_work: 129 << 11, layer_work: 1 << 17, block_bytes: 400 << 10 };

    /// The constants of a processor.
    pub fn of(processor: &str) -> Self {
        TABLE.iter().find(|(name, _)| *name == processor).map_or(Self::DEFAULT, |&(_, row)| row)
    }
}
