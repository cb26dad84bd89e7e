//! The outputs of a network for a part of the data.

/// What a network says of a part, and its loss.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) sum: f64,
    pub(super) count: f64,
    /// The same of each batch of masked tokens.
    pub(super) parts: Vec<(f64, f64)>,
    /// Outputs `[rows, outputs]` of labels and numbers; vectors `[texts, features]` of pairs.
    pub(super) values: Vec<f32>,
    /// The tags of the words of each row.
    pub(super) tags: Vec<Vec<u32>>,
}

impl Measured {
    /// The mean loss.
    pub(super) fn loss(&self) -> f64 {
        if self.count > 0.0 { self.sum / self.count } else { 0.0 }
    }
}
