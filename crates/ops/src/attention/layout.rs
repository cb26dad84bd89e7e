//! The layout of queries, keys and values in memory, and the division of scratch memory.

use super::{Attention, TILE};
use ff_graph::OpResult;
use ff_kernels::{BLOCK_WIDTH, BlockFloat, MatRef};
use ff_tensor::{Element, TensorRef};
use std::ops::Range;

/// B, T, S and the numbers of heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) dim: usize,
}

impl Sizes {
    /// The number of query heads per key head.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The number of values in a packed block of `steps` by the features of a head.
    pub(super) fn packed(&self, steps: usize) -> usize {
        steps.next_multiple_of(2) * self.dim.next_multiple_of(BLOCK_WIDTH)
    }

    /// The number of values in a packed block of the features of a head by a tile.
    pub(super) fn packed_t(&self) -> usize {
        self.dim.next_multiple_of(2) * TILE
    }

    /// The number of values in some rows of a head, rounded up to a cache line.
    pub(super) fn rows(&self, rows: usize) -> usize {
        rows * self.dim.next_multiple_of(16)
    }

    /// As [`Self::rows`], if rows are copied because sums have another type; else 0.
    pub(super) fn widened<S: BlockFloat>(&self) -> usize {
        if S::DTYPE == <S::Compute as Element>::DTYPE { 0 } else { self.rows(TILE) }
    }
}

/// The heads of q, k, v or dy: the features of a head are contiguous, and so are heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads<'a, S> {
    values: &'a [S],
    /// The first feature of the first head.
    start: usize,
    /// The strides of rows and sequences.
    row: usize,
    batch: usize,
    dim: usize,
}

impl<'a, S: Copy> Heads<'a, S> {
    pub(super) fn new(
        values: &'a [S],
        start: usize,
        (row, batch): (usize, usize),
        dim: usize,
    ) -> Self {
        Self { values, start, row, batch, dim }
    }

    /// Some rows of a head.
    pub(super) fn rows(&self, b: usize, head: usize, rows: Range<usize>) -> MatRef<'a, S> {
        let first = b * self.batch + rows.start * self.row + self.start + head * self.dim;
        MatRef::strided(&self.values[first..], rows.len(), self.dim, self.row, 1)
    }

    /// Some heads of the first row, one after the other.
    pub(super) fn first_row(&self, b: usize, heads: Range<usize>) -> &'a [S] {
        let first = b * self.batch + self.start;
        &self.values[first + heads.start * self.dim..first + heads.end * self.dim]
    }
}

/// The three inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs<'a, S> {
    pub(super) q: Heads<'a, S>,
    pub(super) k: Heads<'a, S>,
    pub(super) v: Heads<'a, S>,
}

impl<'a, S: Element> Inputs<'a, S> {
    pub(super) fn new(
        op: &Attention,
        sizes: &Sizes,
        x: impl Fn(usize) -> OpResult<TensorRef<'a>>,
    ) -> OpResult<Self> {
        let slice = |i: usize| -> OpResult<_> { Ok(x(i)?.slice::<S>()?) };
        let &Sizes { queries, keys, heads, kv_heads, dim, .. } = sizes;
        let (wide, narrow) = (heads * dim, kv_heads * dim);
        if op.fused {
            let row = wide + 2 * narrow;
            let values = slice(0)?;
            let heads = |start| Heads::new(values, start, (row, queries * row), dim);
            return Ok(Self { q: heads(0), k: heads(wide), v: heads(wide + narrow) });
        }
        let heads = |values, row, len: usize| Heads::new(values, 0, (row, len * row), dim);
        Ok(Self {
            q: heads(slice(0)?, wide, queries),
            k: heads(slice(1)?, narrow, keys),
            v: heads(slice(2)?, narrow, keys),
        })
    }
}

/// Splits parts off the front of a slice.
pub(super) struct Cut<'a, T>(&'a mut [T]);

impl<'a, T> Cut<'a, T> {
    pub(super) fn new(values: &'a mut [T]) -> Self {
        Self(values)
    }

    pub(super) fn take(&mut self, len: usize) -> &'a mut [T] {
        let (part, rest) = std::mem::take(&mut self.0).split_at_mut(len);
        self.0 = rest;
        part
    }
}
