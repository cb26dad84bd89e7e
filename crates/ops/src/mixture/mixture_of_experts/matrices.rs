//! The matrices and biases of the experts.

use super::{MixtureOfExperts, Sizes};
use ff_graph::OpResult;

/// G and U, which may be one tensor, and D, with their biases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrices<'a, W> {
    inner: [&'a [W]; 2],
    down: &'a [W],
    /// Of G and U side by side, and of D.
    biases: Option<[&'a [W]; 2]>,
    sizes: Sizes,
    fused: bool,
}

impl<'a, W> Matrices<'a, W> {
    /// From the operation's inputs by number.
    pub(super) fn new(
        op: &MixtureOfExperts,
        sizes: Sizes,
        input: impl Fn(usize) -> OpResult<&'a [W]>,
    ) -> OpResult<Self> {
        let down = op.down();
        let biases = if op.biases { Some([input(down + 2)?, input(down + 3)?]) } else { None };
        let (gate, up) = (input(2)?, input(down - 1)?);
        Ok(Self { inner: [gate, up], down: input(down)?, biases, sizes, fused: op.fused })
    }

    /// The start of an expert's matrix G (part 0) or U (part 1) within its tensor.
    pub(super) fn start(&self, expert: usize, part: usize) -> usize {
        let matrices = if self.fused { 2 * expert + part } else { expert };
        matrices * self.sizes.width * self.sizes.hidden
    }

    /// G or U of an expert `[hidden, in]`.
    pub(super) fn inner(&self, expert: usize, part: usize) -> &'a [W] {
        let len = self.sizes.width * self.sizes.hidden;
        &self.inner[part][self.start(expert, part)..][..len]
    }

    /// D of an expert `[in, hidden]`.
    pub(super) fn down(&self, expert: usize) -> &'a [W] {
        let len = self.sizes.width * self.sizes.hidden;
        &self.down[expert * len..][..len]
    }

    /// The bias of G or U of an expert.
    pub(super) fn inner_bias(&self, expert: usize, part: usize) -> Option<&'a [W]> {
        let hidden = self.sizes.hidden;
        self.biases.map(|[inner, _]| &inner[(2 * expert + part) * hidden..][..hidden])
    }

    /// The bias of D of an expert.
    pub(super) fn down_bias(&self, expert: usize) -> Option<&'a [W]> {
        let width = self.sizes.width;
        self.biases.map(|[_, down]| &down[expert * width..][..width])
    }
}
