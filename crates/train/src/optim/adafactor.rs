use super::layout::{Group, Layout};
use super::product::Product;
use super::rule::{Array, Method, Part, Rule, slices};
use super::step::Step;
use crate::keys::keyed;
use ff_kernels::{Float, for_pieces, for_ranges, for_rows, sum, sum_of, sum_of2, sum_pieces};
use ff_settings::ConfigError;
use ff_settings::Range::{Any, AtLeast};
use ff_tensor::{CpuDevice, DType, Shape, Tensor};
use std::ops::Range;

keyed! {
    /// Adafactor, with a row and a column in place of a matrix of second moments: Shazeer and Stern
    /// 2018 (`torch.optim.Adafactor`).
    ///
    /// β = t^beta2_decay;  α = max(ε₂, RMS(W)) min(lr, 1/√t);  W −= lr λ W
    ///
    /// matrices `[m, n]`: R += β (G² 1ₙ / n − R); C += β (1ₘᵀ G² / m − C); V = R C / max(mean R,
    /// ε₁) vectors: V += β (G² − V)
    ///
    /// U = G / √max(V, ε₁²);  W −= α U / max(1, RMS(U) / d)
    ///
    /// Parameters with more dimensions are stacks of matrices.
    pub struct Adafactor {
        /// ε₁: the minimum root of a second moment.
        eps: Option<f64> = None, in AtLeast(0.0), shown "the machine epsilon of the parameters' \
                                                         type";
        /// ε₂: the minimum RMS of a parameter, to which its rate is relative.
        eps2: f64 = 1e-3, in AtLeast(0.0);
        /// The exponent of the weight t^beta2_decay of update t in running means.
        beta2_decay: f64 = -0.8, in Any;
        /// The maximum RMS of an update; larger ones are scaled down.
        d: f64 = 1.0, in AtLeast(1.0);
    }
}

impl Method for Adafactor {
    const LR: f64 = 1e-2;
    const DECOUPLED: bool = true;
    type Rule = AdafactorRule;

    fn check(&self) -> Result<(), ConfigError> {
        if self.beta2_decay > 0.0 {
            let message = format!("must be at most 0, found {}", self.beta2_decay);
            return Err(ConfigError::new("beta2_decay", message));
        }
        Ok(())
    }

    fn rule(self, layout: &Layout, _: f64) -> AdafactorRule {
        let (mut rows, mut columns, mut values) = (0, 0, 0);
        // A part of an array, with this number of values.
        let take = |start: &mut usize, len: usize| {
            *start += len;
            *start - len..*start
        };
        let parameters = layout.parameters.iter().map(|p| {
            let moments = match *p.shape.dims() {
                [.., m, n] if !p.range.is_empty() => {
                    let matrices = p.range.len() / (m * n);
                    Moments::Factored {
                        dims: [m, n],
                        rows: take(&mut rows, matrices * m),
                        columns: take(&mut columns, matrices * n),
                        pieces: pieces(matrices, n),
                    }
                }
                _ => Moments::Whole(take(&mut values, p.range.len())),
            };
            ParameterMoments { range: p.range.clone(), group: p.group, moments }
        });
        let parameters = parameters.collect();
        AdafactorRule { settings: self, parameters, lens: [rows, columns, values] }
    }
}

/// Adafactor with the layout of the moments.
#[derive(Debug, Clone)]
pub(super) struct AdafactorRule {
    settings: Adafactor,
    parameters: Vec<ParameterMoments>,
    /// The numbers of values of all rows, all columns and all vectors.
    lens: [usize; 3],
}

#[derive(Debug, Clone)]
struct ParameterMoments {
    range: Range<usize>,
    group: Group,
    moments: Moments,
}

/// The position of a parameter's second moments.
#[derive(Debug, Clone)]
enum Moments {
    Factored {
        dims: [usize; 2],
        rows: Range<usize>,
        columns: Range<usize>,
        /// The bounds of the pieces of columns summed by one task each.
        pieces: Vec<usize>,
    },
    Whole(Range<usize>),
}

/// The maximum number of columns summed by a task at a time: a few cache lines of each row.
const COLUMNS: usize = 64;

/// The bounds of pieces of at most [`COLUMNS`] columns, each of one matrix.
fn pieces(matrices: usize, columns: usize) -> Vec<usize> {
    let starts = (0..matrices).flat_map(|matrix| {
        (0..columns).step_by(COLUMNS).map(move |column| matrix * columns + column)
    });
    starts.chain([matrices * columns]).collect()
}

impl Rule for AdafactorRule {
    fn arrays(&self, layout: &Layout) -> Vec<Array> {
        let mut arrays = self.lens.map(|len| Array::working(len, Some(0.0)));
        for (p, parameter) in layout.parameters.iter().zip(&self.parameters) {
            let dims = p.shape.dims();
            let mut part = |array: usize, slot, start: usize, shape: Option<Shape>| {
                let part = Part::of(slot, p, start);
                arrays[array].parts.push(Part { shape: shape.unwrap_or(part.shape), ..part });
            };
            match &parameter.moments {
                Moments::Factored { rows, columns, .. } => {
                    part(0, "row_var", rows.start, with_one(dims, dims.len() - 1));
                    part(1, "col_var", columns.start, with_one(dims, dims.len() - 2));
                }
                Moments::Whole(range) => part(2, "variance", range.start, None),
            }
        }
        arrays.into()
    }

    fn update<T: Product>(
        &mut self,
        step: &Step<'_>,
        w: &mut [T],
        g: &[T],
        arrays: &mut [Tensor],
    ) -> ff_graph::Result<()> {
        let [rows, columns, values] = slices(arrays)?;
        let Adafactor { eps, eps2, beta2_decay, d } = self.settings;
        let epsilon = if T::DTYPE == DType::F32 { f64::from(f32::EPSILON) } else { f64::EPSILON };
        let t = step.number as f64;
        for part in self.parameters.iter().filter(|part| !part.range.is_empty()) {
            let parameter = Parameter {
                cpu: step.cpu,
                read: step.reader::<T>(&part.group),
                g: &g[part.range.clone()],
                fresh: T::of(t.powf(beta2_decay)),
                eps: eps.unwrap_or(epsilon),
            };
            let w = &mut w[part.range.clone()];
            let lr = step.lr * part.group.lr_scale;
            let keep = T::of(1.0 - lr * step.decay(&part.group));
            let scale = sum_pieces(step.cpu, w.len(), |r| sum_of(&w[r], |w| w.f64().powi(2)));
            let alpha = eps2.max((scale / w.len() as f64).sqrt()) * lr.min(1.0 / t.sqrt());
            // α / max(1, RMS(U) / d), from Σ U².
            let rate = |squares: f64| {
                let rms = (squares / part.range.len() as f64).sqrt();
                T::of(alpha / (rms / d).max(1.0))
            };
            match &part.moments {
                Moments::Factored { dims, rows: r, columns: c, pieces } => {
                    let (r, c) = (&mut rows[r.clone()], &mut columns[c.clone()]);
                    parameter.take_in_rows(w, *dims, r);
                    parameter.take_in_columns(w, *dims, c, pieces);
                    let rate = rate(parameter.factored_squares(w, *dims, [&*r, &*c]));
                    parameter.move_matrices(w, *dims, [&*r, &*c], [keep, rate]);
                }
                Moments::Whole(range) => {
                    let v = &mut values[range.clone()];
                    parameter.take_in(w, v);
                    let rate = rate(parameter.squares(w, v));
                    parameter.move_values(w, v, [keep, rate]);
                }
            }
        }
        Ok(())
    }
}

/// The shape with one dimension set to 1.
fn with_one(dims: &[usize], axis: usize) -> Option<Shape> {
    let dims: Vec<usize> =
        dims.iter().enumerate().map(|(i, &n)| if i == axis { 1 } else { n }).collect();
    Shape::new(&dims).ok()
}

/// The gradient of a parameter, and the terms of its update.
struct Parameter<'a, T, R> {
    cpu: &'a CpuDevice,
    read: R,
    g: &'a [T],
    /// β
    fresh: T,
    /// ε₁
    eps: f64,
}

impl<T: Product, R: Fn(T, T) -> T + Sync + Copy> Parameter<'_, T, R> {
    /// R += β (G² 1ₙ / n − R)
    fn take_in_rows(&self, w: &[T], [_, n]: [usize; 2], rows: &mut [T]) {
        let (read, g, fresh) = (self.read, self.g, self.fresh);
        for_rows(
            self.cpu,
            rows.len(),
            4 * n,
            [(rows, 1)],
            #[inline(always)]
            |i, [r]| {
                let row = i * n..(i + 1) * n;
                let squares = sum_of2(&g[row.clone()], &w[row], |g, w| read(g, w).f64().powi(2));
                r[0] += fresh * (T::of(squares / n as f64) - r[0]);
            },
        );
    }

    /// C += β (1ₘᵀ G² / m − C)
    fn take_in_columns(&self, w: &[T], [m, n]: [usize; 2], columns: &mut [T], pieces: &[usize]) {
        let (read, g, fresh) = (self.read, self.g, self.fresh);
        for_ranges(
            self.cpu,
            pieces,
            [columns],
            #[inline(always)]
            |piece, [c]| {
                let (matrix, first) = (pieces[piece] / n, pieces[piece] % n);
                let mut sums = [0.0; COLUMNS];
                for row in 0..m {
                    let start = (matrix * m + row) * n + first;
                    let (g, w) = (&g[start..][..c.len()], &w[start..][..c.len()]);
                    for ((sum, &g), &w) in sums.iter_mut().zip(g).zip(w) {
                        *sum += read(g, w).f64().powi(2);
                    }
                }
                for (c, sum) in c.iter_mut().zip(sums) {
                    *c += fresh * (T::of(sum / m as f64) - *c);
                }
            },
        );
    }

    /// G / √max(V, ε₁²)
    #[inline(always)]
    fn unit(&self, g: T, w: T, v: T) -> T {
        (self.read)(g, w) / v.maximum(T::of(self.eps * self.eps)).sqrt()
    }

    /// The factor of a matrix's R: 1 / max(mean R, ε₁).
    fn row_scale(&self, rows: &[T]) -> T {
        T::of(1.0 / (sum(rows) / rows.len() as f64).max(self.eps))
    }

    /// Σ U² of matrices.
    fn factored_squares(&self, w: &[T], [m, n]: [usize; 2], [r, c]: [&[T]; 2]) -> f64 {
        let matrices = r.chunks(m).zip(c.chunks(n)).zip(self.g.chunks(m * n).zip(w.chunks(m * n)));
        let squares = matrices.map(|((r, c), (g, w))| {
            let scale = self.row_scale(r);
            sum_pieces(self.cpu, m * n, |piece| {
                // A piece holds the end of a row, whole rows and the start of a row.
                let rows = piece.start / n..piece.end.div_ceil(n);
                let squares = rows.map(|i| {
                    let row = piece.start.max(i * n)..piece.end.min((i + 1) * n);
                    let v = r[i] * scale;
                    let c = &c[row.start - i * n..];
                    sum_lanes(&g[row.clone()], &w[row], c, |g, w, c| self.unit(g, w, v * c))
                });
                squares.sum()
            })
        });
        squares.sum()
    }

    /// W = keep W − rate U for matrices.
    fn move_matrices(
        &self,
        w: &mut [T],
        [m, n]: [usize; 2],
        [r, c]: [&[T]; 2],
        [keep, rate]: [T; 2],
    ) {
        let matrices = r.chunks(m).zip(c.chunks(n));
        let values = self.g.chunks(m * n).zip(w.chunks_mut(m * n));
        for ((r, c), (g, w)) in matrices.zip(values) {
            let scale = self.row_scale(r);
            for_rows(
                self.cpu,
                m,
                8 * n,
                [(w, n)],
                #[inline(always)]
                |i, [w]| {
                    let v = r[i] * scale;
                    for ((w, &g), &c) in w.iter_mut().zip(&g[i * n..]).zip(c) {
                        *w = *w * keep - rate * self.unit(g, *w, v * c);
                    }
                },
            );
        }
    }

    /// V += β (G² − V)
    fn take_in(&self, w: &[T], v: &mut [T]) {
        for_pieces(
            self.cpu,
            v,
            #[inline(always)]
            |start, v| {
                for ((v, &g), &w) in v.iter_mut().zip(&self.g[start..]).zip(&w[start..]) {
                    let g = (self.read)(g, w);
                    *v += self.fresh * (g * g - *v);
                }
            },
        );
    }

    /// Σ U² of a vector.
    fn squares(&self, w: &[T], v: &[T]) -> f64 {
        sum_pieces(self.cpu, v.len(), |piece| {
            let (g, w) = (&self.g[piece.clone()], &w[piece.clone()]);
            sum_lanes(g, w, &v[piece], |g, w, v| self.unit(g, w, v))
        })
    }

    /// W = keep W − rate U for a vector.
    fn move_values(&self, w: &mut [T], v: &[T], [keep, rate]: [T; 2]) {
        for_pieces(
            self.cpu,
            w,
            #[inline(always)]
            |start, w| {
                for ((w, &g), &v) in w.iter_mut().zip(&self.g[start..]).zip(&v[start..]) {
                    *w = *w * keep - rate * self.unit(g, *w, v);
                }
            },
        );
    }
}

/// Σ f(a, b, c)² over `a`, in parallel lanes so that the sum vectorises.
#[inline(always)]
fn sum_lanes<T: Float>(a: &[T], b: &[T], c: &[T], f: impl Fn(T, T, T) -> T) -> f64 {
    const LANES: usize = 8;
    let (b, c) = (&b[..a.len()], &c[..a.len()]);
    let mut lanes = [0.0; LANES];
    let whole = a.len() - a.len() % LANES;
    for start in (0..whole).step_by(LANES) {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += f(a[start + l], b[start + l], c[start + l]).f64().powi(2);
        }
    }
    for (l, lane) in lanes.iter_mut().enumerate().take(a.len() - whole) {
        *lane += f(a[whole + l], b[whole + l], c[whole + l]).f64().powi(2);
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::testing::{F32, F64, agrees, kept};

    #[test]
    fn agrees_with_pytorch() {
        agrees(include_str!("../../tests/fixtures/optim/adafactor.json"), F64, F32);
    }

    #[test]
    fn a_matrix_takes_a_row_and_a_column() {
        // A weight [4, 6] and a bias [4].
        assert_eq!(kept(Adafactor::default()), 4 + 6 + 4);
    }
}
