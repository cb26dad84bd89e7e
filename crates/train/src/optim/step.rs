//! The two passes of a step over the arena: the norm of the gradient, then the update.

use super::layout::{Group, Layout};
use ff_kernels::{Float, for_ranges, for_rows, sum_of};
use ff_tensor::CpuDevice;

/// One step over an arena. It reads gradients as g = clip(scale · g + l1 · sign(w) + l2 · w) and
/// never writes them.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) cpu: &'a CpuDevice,
    pub(super) layout: &'a Layout,
    /// One over the rows or tokens of the step.
    pub(super) scale: f64,
    pub(super) clip_value: Option<f64>,
    /// The factor of clipping by norm.
    pub(super) shrink: f64,
    /// The learning rate.
    pub(super) lr: f64,
    /// The factor of weight decay, which may fade over training.
    pub(super) decay: f64,
    /// The number of the update, from 1.
    pub(super) number: u64,
}

/// The gradient terms of a group in the type of the arena.
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
        // Successive selections, which vectorise; the same holds for clipping.
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

impl Step<'_> {
    /// The rate and weight decay of a group in the type of the arena.
    pub(super) fn rate_and_decay<T: Float>(&self, group: &Group) -> (T, T) {
        (T::of(self.lr * group.lr_scale), T::of(self.decay(group)))
    }

    /// The weight decay of a group at this step.
    pub(super) fn decay(&self, group: &Group) -> f64 {
        self.decay * group.weight_decay
    }

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

    /// ‖g‖ over all parameters: partial sums by piece in f64, added in the order of the pieces. It
    /// is infinite or NaN if any gradient is, even if clipping by value would hide it.
    pub(super) fn norm<T: Float>(&self, w: &[T], g: &[T], partials: &mut [f64]) -> f64 {
        // The range of a sum of squares in the arena's type without overflow or underflow.
        const SAFE: std::ops::Range<f64> = 1e-30..f64::INFINITY;
        let square_sum = self.sum_squares(w, g, partials, T::ONE);
        if SAFE.contains(&square_sum) {
            return square_sum.sqrt();
        }
        let largest = self.largest(w, g);
        if largest == 0.0 || !largest.is_finite() {
            return largest;
        }
        largest * self.sum_squares(w, g, partials, T::of(largest)).sqrt()
    }

    /// Σ (g / unit)²
    fn sum_squares<T: Float>(&self, w: &[T], g: &[T], partials: &mut [f64], unit: T) -> f64 {
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
                let plain = self.is_plain(group);
                out[0] = if plain && unit == T::ONE {
                    squares(
                        g,
                        g,
                        #[inline(always)]
                        |g, _| g * terms.scale,
                    )
                } else {
                    squares(
                        g,
                        w,
                        #[inline(always)]
                        |g, w| {
                            let g = terms.penalised(g, w);
                            // 0 · g is 0 if g is finite, else NaN.
                            (terms.clipped(g) + T::ZERO * g) / unit
                        },
                    )
                };
            },
        );
        partials.iter().sum()
    }

    /// The largest |g|, or the first non-finite one.
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

    /// Writes the gradient as read by a step, before clipping by norm.
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

    /// Updates every parameter: `rule(group)` returns the function from a gradient and \[w,
    /// state…\] to the new \[w, state…\].
    pub(super) fn update<T: Float, const N: usize, F: Fn(T, [T; N]) -> [T; N]>(
        &self,
        g: &[T],
        arrays: [&mut [T]; N],
        rule: impl Fn(&Group) -> F + Sync,
    ) {
        self.update_pieces(0, &self.layout.bounds, g, arrays, rule);
    }

    /// The same for some pieces from number `first` on, with `bounds` in `g` and the arrays.
    pub(super) fn update_pieces<T: Float, const N: usize, F: Fn(T, [T; N]) -> [T; N]>(
        &self,
        first: usize,
        bounds: &[usize],
        g: &[T],
        arrays: [&mut [T]; N],
        rule: impl Fn(&Group) -> F + Sync,
    ) {
        let layout = self.layout;
        let shrink = T::of(self.shrink);
        for_ranges(
            self.cpu,
            bounds,
            arrays,
            #[inline(always)]
            |piece, arrays| {
                let group = layout.group(first + piece);
                let terms = self.terms::<T>(group);
                let (rule, shrink) = (rule(group), shrink);
                let g = &g[bounds[piece]..bounds[piece + 1]];
                if self.is_plain(group) {
                    apply(
                        g,
                        arrays,
                        #[inline(always)]
                        |g, x| rule(g * terms.scale * shrink, x),
                    );
                } else {
                    apply(
                        g,
                        arrays,
                        #[inline(always)]
                        |g, x| rule(terms.clipped(terms.penalised(g, x[0])) * shrink, x),
                    );
                }
            },
        );
    }

    /// The gradient of a group, from the gradient in the arena and the weight.
    pub(super) fn reader<T: Float>(
        &self,
        group: &Group,
    ) -> impl Fn(T, T) -> T + Sync + Copy + use<T> {
        let (terms, shrink) = (self.terms::<T>(group), T::of(self.shrink));
        #[inline(always)]
        move |g, w| terms.clipped(terms.penalised(g, w)) * shrink
    }
}

/// Σ read(g, w)². Four squares are added in their own type before the sum in f64, since conversions
/// would take most of the time.
#[inline(always)]
fn squares<T: Float>(g: &[T], w: &[T], read: impl Fn(T, T) -> T) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0f64; LANES];
    let (g, w) = (g.chunks_exact(4 * LANES), w.chunks_exact(4 * LANES));
    let rest = g.remainder().iter().zip(w.remainder());
    for (g, w) in g.zip(w) {
        for (l, sum) in sums.iter_mut().enumerate() {
            let at = |i: usize| read(g[i], w[i]);
            let [a, b, c, d] = [at(l), at(l + LANES), at(l + 2 * LANES), at(l + 3 * LANES)];
            *sum += ((a * a + b * b) + (c * c + d * d)).f64();
        }
    }
    for (l, (&g, &w)) in rest.enumerate() {
        let g = read(g, w).f64();
        sums[l % LANES] += g * g;
    }
    sums.iter().sum()
}

/// x\[i\] = f(g\[i\], x\[i\]) for at most four arrays side by side.
#[inline(always)]
fn apply<T: Float, const N: usize>(
    g: &[T],
    arrays: [&mut [T]; N],
    f: impl Fn(T, [T; N]) -> [T; N],
) {
    const { assert!(0 < N && N <= 4) };
    let mut arrays = arrays.into_iter();
    let [a, b, c, d] = std::array::from_fn(|_| arrays.next().unwrap_or_default());
    apply_to(g, a, b, c, d, f);
}

/// The loop of [`apply`]. Each array is a separate argument, which tells the compiler that they do
/// not overlap; otherwise the loop would not vectorise. Arrays beyond `N` are empty.
#[inline(always)]
fn apply_to<T: Float, const N: usize>(
    g: &[T],
    a: &mut [T],
    b: &mut [T],
    c: &mut [T],
    d: &mut [T],
    f: impl Fn(T, [T; N]) -> [T; N],
) {
    let n = g.len();
    let a = &mut a[..n];
    let b = if N > 1 { &mut b[..n] } else { b };
    let c = if N > 2 { &mut c[..n] } else { c };
    let d = if N > 3 { &mut d[..n] } else { d };
    for i in 0..n {
        let mut x = [T::ZERO; N];
        x[0] = a[i];
        if N > 1 {
            x[1] = b[i];
        }
        if N > 2 {
            x[2] = c[i];
        }
        if N > 3 {
            x[3] = d[i];
        }
        let new = f(g[i], x);
        a[i] = new[0];
        if N > 1 {
            b[i] = new[1];
        }
        if N > 2 {
            c[i] = new[2];
        }
        if N > 3 {
            d[i] = new[3];
        }
    }
}
