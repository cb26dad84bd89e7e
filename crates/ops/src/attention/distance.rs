//! Learned scores by the distance of query and key, shared by distances alike.

use super::layout::Sizes;
use super::scores::LANES;
use ff_graph::{OpError, OpResult};
use ff_kernels::Float;
use std::ops::Range;

/// The distances of query and key that share a learned score (Raffel et al., 2020).
///
/// The first half of the buckets has a distance each: 0, 1, …, e − 1. The others divide the
/// logarithm of the distances from e to `far` evenly; all beyond `far` share the last one.
///
/// ```
/// use ff_ops::DistanceBuckets;
/// let buckets = DistanceBuckets { count: 32, far: 128, both: true };
/// assert_eq!([0, -3, 3, -20, -1000].map(|s| buckets.bucket(s)), [0, 3, 19, 10, 15]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DistanceBuckets {
    /// The number of buckets.
    pub count: usize,
    /// The distance from which on all share a bucket.
    pub far: usize,
    /// Whether half of the buckets are for keys behind the query's own; otherwise those share its
    /// bucket.
    pub both: bool,
}

impl DistanceBuckets {
    /// The buckets of one direction, and how many of them have a distance each.
    fn parts(&self) -> (usize, usize) {
        let half = if self.both { self.count / 2 } else { self.count };
        (half, half / 2)
    }

    /// The bucket of a key so many places behind the query's own, or before it if negative.
    ///
    /// Rounded to f32 where `transformers` does, so that distances at a border are in the same
    /// bucket there.
    pub fn bucket(&self, place: isize) -> usize {
        let (half, exact) = self.parts();
        let behind = if self.both && place > 0 { half } else { 0 };
        let distance = if self.both { place.unsigned_abs() } else { place.min(0).unsigned_abs() };
        if distance < exact {
            return behind + distance;
        }
        let log = f64::from(distance as f32 / exact as f32).ln() as f32;
        let all = (self.far as f64 / exact as f64).ln() as f32;
        let more = (log / all * (half - exact) as f32) as usize;
        behind + (exact + more).min(half - 1)
    }

    pub(super) fn validate(&self) -> OpResult {
        let Self { count, far, both } = *self;
        let (_, exact) = self.parts();
        if exact == 0 || count > 1 << 20 || far <= exact || far > 1 << 30 {
            let least = if both { 4 } else { 2 };
            let message = format!(
                "{count} buckets of distances up to {far}: there must be {least} or more, and the \
                 greatest distance above the {exact} that have a bucket each"
            );
            return Err(OpError::shape(message));
        }
        Ok(())
    }

    /// The length of a head's line of scores: one for each distance of a query and a key, and room
    /// for whole registers.
    pub(super) fn line_len(sizes: &Sizes) -> usize {
        sizes.keys + sizes.queries + LANES
    }

    /// A head's scores for keys from S − 1 before a query to T − 1 behind it, then zeros.
    pub(super) fn line<T: Float>(&self, table: &[T], head: usize, sizes: &Sizes, to: &mut [T]) {
        let Sizes { keys, queries, heads, .. } = *sizes;
        let own = keys.saturating_sub(1);
        self.runs(-(own as isize)..queries as isize, |bucket, places| {
            let at = |place: isize| (place + own as isize) as usize;
            to[at(places.start)..at(places.end)].fill(table[bucket * heads + head]);
        });
        to[own + queries..].fill(T::ZERO);
    }

    /// Adds a line's values to their buckets.
    pub(super) fn sum<T: Float>(&self, line: &[T], sizes: &Sizes, to: &mut [T]) {
        let own = sizes.keys.saturating_sub(1) as isize;
        to.fill(T::ZERO);
        self.runs(-own..sizes.queries as isize, |bucket, places| {
            let line = &line[(places.start + own) as usize..(places.end + own) as usize];
            let sum: f64 = line.iter().map(|value| value.f64()).sum();
            to[bucket] += T::of(sum);
        });
    }

    /// Calls `each` for neighbouring places of one bucket, in order.
    fn runs(&self, places: Range<isize>, mut each: impl FnMut(usize, Range<isize>)) {
        let mut start = places.start;
        while start < places.end {
            let bucket = self.bucket(start);
            // On either side buckets are in order, so that the border can be found by halves.
            let (mut low, mut high) = (start + 1, places.end);
            if start <= 0 {
                high = high.min(1);
            }
            while low < high {
                let middle = low + (high - low) / 2;
                if self.bucket(middle) == bucket {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            each(bucket, start..low);
            start = low;
        }
    }
}

/// The sum `[count, heads]` over sequences of `[B, heads, count]`, written or added.
pub(super) fn over_sequences<T: Float>(
    parts: &[T],
    (heads, count): (usize, usize),
    to: &mut [T],
    add: bool,
) {
    for (i, to) in to.iter_mut().enumerate() {
        let (bucket, head) = (i / heads, i % heads);
        let own = parts.chunks_exact(heads * count).map(|part| part[head * count + bucket].f64());
        let sum = T::of(own.sum());
        *to = if add { *to + sum } else { sum };
    }
}

/// The lines of scores of some heads, and the sums of their gradients.
pub(super) struct Lines<'a, T> {
    pub(super) scores: &'a [T],
    pub(super) sums: &'a mut [T],
    /// The length of a line.
    pub(super) len: usize,
}

impl<'a, T> Lines<'a, T> {
    /// The scores of a head.
    pub(super) fn scores(&self, head: usize) -> &'a [T] {
        &self.scores[head * self.len..][..self.len]
    }

    /// The sums of a head's gradients.
    pub(super) fn sums(&mut self, head: usize) -> &mut [T] {
        &mut self.sums[head * self.len..][..self.len]
    }
}
