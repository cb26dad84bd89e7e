//! The gradients of scores without a key.

use super::Value;
use super::layout::{Heads, Sizes};
use ff_graph::Cx;
use ff_kernels::{Float, for_rows};

/// du₀ = −Σₜ p₀ (dy · y) of each head.
pub(super) fn sink_gradients<S: Value>(
    cx: &Cx<'_>,
    sizes: &Sizes,
    (y, dy): (Heads<'_, S>, Heads<'_, S>),
    (logs, sinks): (&[S::Compute], &[S::Compute]),
    (to, accumulate): (&mut [S::Compute], bool),
) {
    let &Sizes { batch, queries, heads, dim, .. } = sizes;
    for_rows(
        cx.cpu(),
        heads,
        2 * batch * queries * dim,
        [(to, 1)],
        #[inline(always)]
        |head, [to]| {
            let mut sum = 0.0;
            for b in 0..batch {
                let (y, dy) = (y.rows(b, head, 0..queries), dy.rows(b, head, 0..queries));
                for t in 0..queries {
                    let pairs = y.row(t).iter().zip(dy.row(t));
                    let delta: f64 =
                        pairs.map(|(y, dy)| y.compute().f64() * dy.compute().f64()).sum();
                    // A query that sees no key has y = 0, and p₀ = 1.
                    let log = logs[(b * queries + t) * heads + head];
                    sum -= (sinks[head] - log).exp().f64() * delta;
                }
            }
            let there = if accumulate { to[0] } else { S::Compute::ZERO };
            to[0] = there + S::Compute::of(sum);
        },
    );
}
