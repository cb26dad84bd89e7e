//! The two passes of a step over the arena: the gradient's norm, then the update.

use super::group::{Group, Layout};
use ff_kernels::{Float, for_ranges, for_rows, sum_of, sum_of2};
use ff_tensor::CpuDevice;

/// How a step reads gradients: g = clip(scale · g + l1 · sign(w) + l2 · w), never written back.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) cpu: &'a CpuDevice,
    pub(super) layout: &'a Layout,
    /// One over the rows or tokens of the step.
    pub(super) scale: f64,
    pub(super) clip_value: Option<f64>,
    /// What clipping by norm multiplies every gradient with.
    pub(super) shrink: f64,
}

/// A group's terms of the gradient in the type of the arena.
#[derive(Clone, Copy)]
struct Terms<T> {
    scale: T,
    l1: T,
    l2: T,
    limit: T,
}

impl<T: Float> Terms<T> {
    #[inline(always)]
    fn penalised(&self, g: T, w: T) -> T {
        // One choice after the other, which vectors can do; the same holds for clipping.
        let l1 = if w > T::ZERO { self.l1 } else { T::ZERO };
        let l1 = if w < T::ZERO { -self.l1 } else { l1 };
        g * self.scale + l1 + self.l2 * w
    }

    /// NaN stays NaN.
    #[inline(always)]
    fn clipped(&self, g: T) -> T {
        let g = if g > self.limit { self.limit } else { g };
        if g < -self.limit { -self.limit } else { g }
    }
}

impl Pass<'_> {
    fn terms<T: Float>(&self, group: &Group) -> Terms<T> {
        Terms {
            scale: T::of(self.scale),
            l1: T::of(group.l1),
            l2: T::of(group.l2),
            limit: T::of(self.clip_value.unwrap_or(f64::INFINITY)),
        }
    }

    fn is_plain(&self, group: &Group) -> bool {
        group.l1 == 0.0 && group.l2 == 0.0 && self.clip_value.is_none()
    }

    /// ‖g‖ over all parameters, in f64: partial sums by piece, added in the order of the pieces; infinite or NaN where
    /// any gradient is, even one that clipping by value would hide.
    pub(super) fn norm<T: Float>(&self, w: &[T], g: &[T], partials: &mut [f64]) -> f64 {
        let square_sum = self.sum_pieces(w, g, partials, |g| g.f64() * g.f64());
        if square_sum.is_finite() {
            return square_sum.sqrt();
        }
        // Either a gradient is not finite or, in f64, squares overflow: then the largest is taken out first.
        let largest = self.largest(w, g);
        if !largest.is_finite() {
            return largest;
        }
        largest * self.sum_pieces(w, g, partials, |g| (g.f64() / largest).powi(2)).sqrt()
    }

    fn sum_pieces<T: Float>(
        &self,
        w: &[T],
        g: &[T],
        partials: &mut [f64],
        f: impl Fn(T) -> f64 + Sync + Copy,
    ) -> f64 {
        let layout = self.layout;
        let work = g.len() / layout.pieces().max(1);
        for_rows(
            self.cpu,
            layout.pieces(),
            work,
            [(&mut *partials, 1)],
            #[inline(always)]
            |piece, [out]| {
                let (group, range) = (layout.group(piece), layout.range(piece));
                let (w, g) = (&w[range.clone()], &g[range]);
                let terms = self.terms::<T>(group);
                out[0] = if self.is_plain(group) {
                    sum_of(g, |g| f(g * terms.scale))
                } else {
                    sum_of2(w, g, |w, g| {
                        let g = terms.penalised(g, w);
                        // 0 · g is 0 where g is finite and NaN elsewhere.
                        f(terms.clipped(g) + T::ZERO * g)
                    })
                };
            },
        );
        partials.iter().sum()
    }

    /// The largest |g|, or the first that is not finite.
    fn largest<T: Float>(&self, w: &[T], g: &[T]) -> f64 {
        let mut largest = 0.0f64;
        for piece in 0..self.layout.pieces() {
            let terms = self.terms::<T>(self.layout.group(piece));
            for i in self.layout.range(piece) {
                let g = terms.penalised(g[i], w[i]).f64();
                if !g.is_finite() {
                    return g;
                }
                largest = largest.max(g.abs().min(self.clip_value.unwrap_or(f64::INFINITY)));
            }
        }
        largest
    }

    /// Writes what a step would see as the gradient, before clipping by norm.
    pub(super) fn gradient<T: Float>(&self, w: &[T], g: &[T], out: &mut [T]) {
        let layout = self.layout;
        for_ranges(
            self.cpu,
            &layout.bounds,
            [out],
            #[inline(always)]
            |piece, [out]| {
                let terms = self.terms::<T>(layout.group(piece));
                let range = layout.range(piece);
                for ((out, &g), &w) in out.iter_mut().zip(&g[range.clone()]).zip(&w[range]) {
                    *out = terms.clipped(terms.penalised(g, w));
                }
            },
        );
    }

    /// Σ l2/2 · w².
    pub(super) fn l2_penalty<T: Float>(&self, w: &[T]) -> f64 {
        let pieces = (0..self.layout.pieces()).map(|piece| {
            let l2 = self.layout.group(piece).l2;
            let w = &w[self.layout.range(piece)];
            if l2 == 0.0 { 0.0 } else { l2 / 2.0 * sum_of(w, |w| w.f64() * w.f64()) }
        });
        pieces.sum()
    }

    /// Updates every parameter: `rule(group)` gives the function from a gradient and \[w, state…\] to the new \[w, state…\].
    pub(super) fn update<T: Float, const N: usize, F: Fn(T, [T; N]) -> [T; N]>(
        &self,
        g: &[T],
        arrays: [&mut [T]; N],
        rule: impl Fn(&Group) -> F + Sync,
    ) {
        let layout = self.layout;
        let shrink = T::of(self.shrink);
        for_ranges(
            self.cpu,
            &layout.bounds,
            arrays,
            #[inline(always)]
            |piece, arrays| {
                let group = layout.group(piece);
                let terms = self.terms::<T>(group);
                let rule = rule(group);
                let g = &g[layout.range(piece)];
                if self.is_plain(group) {
                    apply(g, arrays, |g, x| rule(g * terms.scale * shrink, x));
                } else {
                    apply(g, arrays, |g, x| {
                        rule(terms.clipped(terms.penalised(g, x[0])) * shrink, x)
                    });
                }
            },
        );
    }
}

/// x\[i\] = f(g\[i\], x\[i\]) for arrays side by side.
///
/// Blocks are copied to local arrays first: the compiler then sees that writes do not change what is read next, and
/// computes a block in vector registers whatever the number of arrays.
#[inline(always)]
fn apply<T: Float, const N: usize>(
    g: &[T],
    arrays: [&mut [T]; N],
    f: impl Fn(T, [T; N]) -> [T; N],
) {
    const BLOCK: usize = 16;
    let n = g.len();
    let arrays = arrays.map(|x| &mut x[..n]);
    let whole = n - n % BLOCK;
    for start in (0..whole).step_by(BLOCK) {
        let mut local_g = [T::ZERO; BLOCK];
        local_g.copy_from_slice(&g[start..start + BLOCK]);
        let mut x = [[T::ZERO; BLOCK]; N];
        for k in 0..N {
            x[k].copy_from_slice(&arrays[k][start..start + BLOCK]);
        }
        for i in 0..BLOCK {
            let new = f(local_g[i], std::array::from_fn(|k| x[k][i]));
            for k in 0..N {
                x[k][i] = new[k];
            }
        }
        for k in 0..N {
            arrays[k][start..start + BLOCK].copy_from_slice(&x[k]);
        }
    }
    for i in whole..n {
        let new = f(g[i], std::array::from_fn(|k| arrays[k][i]));
        for k in 0..N {
            arrays[k][i] = new[k];
        }
    }
}
