use super::Attention;
use crate::Result;
use ff_kernels::{Float, dot, for_rows};
use ff_tensor::{CpuDevice, Shape};

type View<'a, T> = (&'a [T], usize, usize);

pub(super) struct Plan<'a> {
    pub(super) op: &'a Attention,
    pub(super) b: usize,
    pub(super) t: usize,
    pub(super) s: usize,
    pub(super) kv_rows: usize,
}

impl<'a> Plan<'a> {
    pub(super) fn of(op: &'a Attention, shape: impl Fn(usize) -> Shape) -> Self {
        let q = shape(0);
        let s = if op.fused { q.dims()[1] } else { shape(1).dims()[1] };
        Self { op, b: q.dims()[0], t: q.dims()[1], s, kv_rows: s }
    }

    pub(super) fn strides<'t, T>(
        &self,
        x: impl Fn(usize) -> Result<&'t [T]>,
    ) -> Result<(View<'t, T>, View<'t, T>, View<'t, T>)> {
        let (q, kv) = (self.op.heads * self.op.head_dim, self.op.kv_heads * self.op.head_dim);
        if self.op.fused {
            let all = x(0)?;
            let w = q + 2 * kv;
            Ok(((all, w, 0), (all, w, q), (all, w, q + kv)))
        } else {
            Ok(((x(0)?, q, 0), (x(1)?, kv, 0), (x(2)?, kv, 0)))
        }
    }

    fn sees(&self, t: usize, s: usize, b: usize, ks: Option<&[i32]>, qs: Option<&[i32]>) -> bool {
        let at = t + self.s;
        (!self.op.causal || s + self.t <= at)
            && self.op.window.is_none_or(|w| at < s + self.t + w)
            && ks.is_none_or(|ks| {
                let k = ks[b * self.s + s];
                k >= 0 && qs.is_none_or(|qs| qs[b * self.t + t] == k)
            })
    }

    fn score<T: Float>(&self, h: usize, t: usize, s: usize, dot: f64) -> (T, f64) {
        let mut z = dot * self.op.scale();
        let mut slope = 1.0;
        if let Some(cap) = self.op.soft_cap {
            let th = (z / cap).tanh();
            (z, slope) = (cap * th, 1.0 - th * th);
        }
        z -= self.op.slope(h) * (t + self.s - self.t).abs_diff(s) as f64;
        (T::of(z), slope)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn forward<T: Float>(
        &self,
        cpu: &CpuDevice,
        q: View<'_, T>,
        k: View<'_, T>,
        v: View<'_, T>,
        ks: Option<&[i32]>,
        qs: Option<&[i32]>,
        y: &mut [T],
        lse: &mut [T],
    ) {
        let (d, heads, group) = (self.op.head_dim, self.op.heads, self.op.heads / self.op.kv_heads);
        let mut none = vec![T::ZERO; if lse.is_empty() { self.b * self.t * heads } else { 0 }];
        let lse = if lse.is_empty() { &mut none[..] } else { lse };
        for_rows(cpu, self.b * self.t, 4 * self.s * heads * d, [(y, heads * d), (lse, heads)], |row, [y, lse]| {
            let (b, t) = (row / self.t, row % self.t);
            let mut p = vec![T::ZERO; self.s];
            for h in 0..heads {
                let q = &q.0[row * q.1 + q.2 + h * d..][..d];
                let at = |x: &View<'_, T>, s: usize| (b * self.kv_rows + s) * x.1 + x.2 + h / group * d;
                let mut max = T::NEG_INFINITY;
                for s in 0..self.s {
                    p[s] = T::NEG_INFINITY;
                    if self.sees(t, s, b, ks, qs) {
                        p[s] = self.score::<T>(h, t, s, dot(q, &k.0[at(&k, s)..][..d])).0;
                        max = max.maximum(p[s]);
                    }
                }
                let y = &mut y[h * d..][..d];
                y.fill(T::ZERO);
                lse[h] = T::ZERO;
                if max == T::NEG_INFINITY {
                    continue;
                }
                let mut sum = T::ZERO;
                for s in 0..self.s {
                    if p[s] != T::NEG_INFINITY {
                        let e = (p[s] - max).exp();
                        sum += e;
                        y.iter_mut().zip(&v.0[at(&v, s)..][..d]).for_each(|(y, &v)| *y += e * v);
                    }
                }
                y.iter_mut().for_each(|y| *y = *y / sum);
                lse[h] = max + sum.ln();
            }
        });
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn backward<T: Float>(
        &self,
        cpu: &CpuDevice,
        q: View<'_, T>,
        k: View<'_, T>,
        v: View<'_, T>,
        ks: Option<&[i32]>,
        qs: Option<&[i32]>,
        y: &[T],
        lse: &[T],
        dy: &[T],
    ) -> (Vec<T>, Vec<T>, Vec<T>) {
        let (d, heads, kvh) = (self.op.head_dim, self.op.heads, self.op.kv_heads);
        let group = heads / kvh;
        let (qw, kw) = (heads * d, kvh * d);
        let mut gq = vec![T::ZERO; self.b * self.t * qw];
        let mut gk = vec![T::ZERO; self.b * self.s * kw];
        let mut gv = gk.clone();
        for_rows(cpu, self.b, 10 * self.t * self.s * qw, [(&mut gq, self.t * qw), (&mut gk, self.s * kw), (&mut gv, self.s * kw)], |b, [gq, gk, gv]| {
            for t in 0..self.t {
                let row = b * self.t + t;
                for h in 0..heads {
                    let qr = &q.0[row * q.1 + q.2 + h * d..][..d];
                    let dyr = &dy[row * qw + h * d..][..d];
                    let delta = dot(dyr, &y[row * qw + h * d..][..d]);
                    for s in 0..self.s {
                        if !self.sees(t, s, b, ks, qs) {
                            continue;
                        }
                        let at = |x: &View<'_, T>| (b * self.kv_rows + s) * x.1 + x.2 + h / group * d;
                        let kr = &k.0[at(&k)..][..d];
                        let (z, slope) = self.score::<T>(h, t, s, dot(qr, kr));
                        let p = (z - lse[row * heads + h]).exp();
                        let dp = dot(dyr, &v.0[at(&v)..][..d]);
                        let ds = T::of(p.f64() * (dp - delta) * slope * self.op.scale());
                        let g = s * kw + h / group * d;
                        gv[g..g + d].iter_mut().zip(dyr).for_each(|(g, &x)| *g += p * x);
                        gk[g..g + d].iter_mut().zip(qr).for_each(|(g, &x)| *g += ds * x);
                        gq[t * qw + h * d..][..d].iter_mut().zip(kr).for_each(|(g, &x)| *g += ds * x);
                    }
                }
            }
        });
        (gq, gk, gv)
    }
}
