//! Muon: matrices move along their orthogonalised momentum, the rest by AdamW.

use super::adam::Moments;
use super::layout::{Group, Layout};
use super::product::Product;
use super::rule::{Array, Method, Part, Rule, slices};
use super::step::Step;
use crate::keys::{keyed, words};
use ff_kernels::{Float, MatRef, for_rows, map, sum_of, sum_pieces, zip_into};
use ff_settings::ConfigError;
use ff_settings::Range::{AtLeast, BelowOne};
use ff_tensor::{CpuDevice, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The polynomial a x + b x³ + c x⁵ of singular values, steepest at 0.
const POLYNOMIAL: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// The minimum norm for scaling a matrix to norm 1.
const LEAST_NORM: f64 = 1e-7;

keyed! {
    /// Muon, matrices by their orthogonalised momentum and the rest by AdamW: Jordan et al. 2024
    /// (`torch.optim.Muon`).
    ///
    /// For each matrix W `[out, in]`, with its gradient G:
    ///
    /// B = μ B + (1 − μ) G;  U = B, or (1 − μ) G + μ B with Nesterov;  X = U / ‖U‖
    ///
    /// five times, with A = X Xᵀ:  X = a X + (b A + c A²) X
    ///
    /// W = (1 − lr λ) W − lr · adjust(out, in) · X
    ///
    /// which brings U's singular values near 1 (Newton and Schulz's iteration). A weight with more
    /// dimensions is a stack of matrices, its last two. Jordan et al. 2024, "Muon: an optimizer for
    /// hidden layers in neural networks".
    pub struct Muon {
        /// AdamW's decay of the running means of the gradient and of its square, for the rest.
        betas: [f64; 2] = [0.9, 0.999], in BelowOne;
        /// Added to AdamW's denominator, for the rest.
        eps: f64 = 1e-8, in AtLeast(0.0);
        /// Momentum.
        momentum: f64 = 0.95, in BelowOne;
        /// Nesterov's momentum.
        nesterov: bool = true;
        /// AdamW's rate for the rest, scaled by the schedule like `lr`.
        adamw_lr: Option<f64> = None, in AtLeast(0.0), shown "lr";
        /// The dependence of the rate on the shape of a matrix: original, match_rms_adamw or
        /// spectral_unclamped.
        adjust_lr_fn: AdjustLr = AdjustLr::Original;
        /// The number of orthogonalisation iterations.
        ns_steps: u64 = 5, in AtLeast(1.0);
        /// Whether these iterations multiply in bf16, as in PyTorch.
        ns_bf16: bool = false;
    }
}

/// The dependence of Muon's rate on the shape `[out, in]` of a matrix, with the names of
/// `torch.optim.Muon`.
///
/// ```
/// use ff_train::optim::AdjustLr;
/// assert_eq!(AdjustLr::default().factor(400, 100), 2.0);
/// assert_eq!(AdjustLr::MatchRmsAdamW.factor(400, 100), 4.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdjustLr {
    /// √max(1, out/in), Keller Jordan's.
    #[default]
    Original,
    /// 0.2 √max(out, in): steps as large as AdamW's, so that AdamW's rate and decay apply (Liu et
    /// al. 2025).
    #[serde(rename = "match_rms_adamw")]
    MatchRmsAdamW,
    /// √(out/in): Bernstein 2025.
    SpectralUnclamped,
}

impl AdjustLr {
    /// The factor of the rate.
    pub fn factor(self, rows: usize, columns: usize) -> f64 {
        let (rows, columns) = (rows as f64, columns as f64);
        match self {
            Self::Original => (rows / columns).max(1.0).sqrt(),
            Self::MatchRmsAdamW => 0.2 * rows.max(columns).sqrt(),
            Self::SpectralUnclamped => (rows / columns).sqrt(),
        }
    }
}

words!(AdjustLr: "original, match_rms_adamw or spectral_unclamped");

impl Method for Muon {
    const LR: f64 = 1e-3;
    const WEIGHT_DECAY: f64 = 0.1;
    const DECOUPLED: bool = true;
    const SPLITS_MATRICES: bool = true;
    type Rule = MuonRule;

    fn check(&self) -> Result<(), ConfigError> {
        if self.ns_steps >= 100 {
            let message = format!("must be below 100, found {}", self.ns_steps);
            return Err(ConfigError::new("ns_steps", message));
        }
        Ok(())
    }

    fn rule(self, layout: &Layout, lr: f64) -> MuonRule {
        let matrices = layout.parameters.iter().filter(|p| p.group.matrix).flat_map(|p| {
            let [rows, columns] = matrix_dims(p.shape.dims());
            p.range.clone().step_by(rows * columns).map(move |start| Matrix {
                range: start..start + rows * columns,
                rows,
                columns,
                group: p.group,
            })
        });
        let ratio = self.adamw_lr.map_or(1.0, |rate| if lr > 0.0 { rate / lr } else { 1.0 });
        MuonRule { matrices: matrices.collect(), rest: runs(layout), ratio, settings: self }
    }
}

/// The last two dimensions.
fn matrix_dims(dims: &[usize]) -> [usize; 2] {
    if let &[.., rows, columns] = dims { [rows, columns] } else { [1, 1] }
}

/// Muon with the layout of matrices and of the rest.
#[derive(Debug, Clone)]
pub(super) struct MuonRule {
    settings: Muon,
    /// The ratio of AdamW's rate to Muon's.
    ratio: f64,
    matrices: Vec<Matrix>,
    rest: Vec<Run>,
}

#[derive(Debug, Clone)]
struct Matrix {
    range: Range<usize>,
    rows: usize,
    columns: usize,
    group: Group,
}

/// Adjacent values in the arena, updated by AdamW.
#[derive(Debug, Clone)]
struct Run {
    range: Range<usize>,
    first_piece: usize,
    /// The bounds of its pieces, from its start.
    bounds: Vec<usize>,
    /// The start of its second moments.
    second: usize,
}

impl MuonRule {
    /// The position of the second moments of a parameter updated by AdamW.
    fn second_moments(&self, range: &Range<usize>) -> usize {
        let run = self.rest.iter().find(|run| {
            // An empty parameter may lie anywhere.
            run.range.contains(&range.start) || run.range.end == range.start && range.is_empty()
        });
        run.map_or(0, |run| run.second + (range.start - run.range.start))
    }

    /// AdamW's update of all but the matrices.
    fn update_rest<T: Product>(
        &self,
        step: &Step<'_>,
        w: &mut [T],
        g: &[T],
        [first, second]: [&mut [T]; 2],
    ) {
        let Muon { betas, eps, .. } = self.settings;
        let moments = Moments::<T>::new(betas, eps, true, step.number);
        let rate = step.lr * self.ratio;
        for run in &self.rest {
            let range = run.range.clone();
            let v = &mut second[run.second..][..range.len()];
            let arrays = [&mut w[range.clone()], &mut first[range.clone()], v];
            step.update_pieces(run.first_piece, &run.bounds, &g[range], arrays, |group| {
                let rates = moments.rates(rate, step.decay(group), group);
                #[inline(always)]
                move |g, [w, m, v]| {
                    let (m, v) = moments.next(g, m, v);
                    [rates.step(w, m, v), m, v]
                }
            });
        }
    }
}

impl Rule for MuonRule {
    /// The momentum of matrices with the first moments of the rest; the second moments of the rest;
    /// scratch for U and X, and for A and A².
    fn arrays(&self, layout: &Layout) -> Vec<Array> {
        let mut first = Array::working(layout.len(), Some(0.0));
        let last = self.rest.last();
        let mut second =
            Array::working(last.map_or(0, |run| run.second + run.range.len()), Some(0.0));
        for p in &layout.parameters {
            if p.group.matrix {
                first.parts.push(Part::of("momentum_buffer", p, p.range.start));
            } else {
                first.parts.push(Part::of("exp_avg", p, p.range.start));
                second.parts.push(Part::of("exp_avg_sq", p, self.second_moments(&p.range)));
            }
        }
        let largest = |of: fn(&Matrix) -> usize| {
            Array::working(self.matrices.iter().map(of).max().unwrap_or(0), Some(0.0))
        };
        let values = |m: &Matrix| m.range.len();
        let square = |m: &Matrix| m.rows.min(m.columns).pow(2);
        vec![first, second, largest(values), largest(values), largest(square), largest(square)]
    }

    fn update<T: Product>(
        &mut self,
        step: &Step<'_>,
        w: &mut [T],
        g: &[T],
        arrays: &mut [Tensor],
    ) -> ff_graph::Result<()> {
        let [first, second, mut u, mut x, a, b] = slices(arrays)?;
        self.update_rest(step, w, g, [&mut *first, second]);
        let Muon { momentum, nesterov, adjust_lr_fn, ns_steps, ns_bf16, .. } = self.settings;
        for matrix in &self.matrices {
            let (rows, columns) = (matrix.rows, matrix.columns);
            let (range, least) = (matrix.range.clone(), rows.min(columns));
            let (w, g) = (&mut w[range.clone()], &g[range.clone()]);
            let len = range.len();
            let m = &mut first[range];
            direction(step, matrix, (momentum, nesterov), (w, g), m, &mut u[..len]);
            let (a, b) = (&mut a[..least * least], &mut b[..least * least]);
            for _ in 0..ns_steps {
                let to = &mut x[..len];
                iterate((step.cpu, ns_bf16), matrix, &u[..len], a, b, to);
                std::mem::swap(&mut u, &mut x);
            }
            let rate = step.lr * matrix.group.lr_scale;
            let keep = T::of(1.0 - rate * step.decay(&matrix.group));
            let factor = T::of(rate * adjust_lr_fn.factor(rows, columns));
            let u = &u[..len];
            for_rows(
                step.cpu,
                rows,
                2 * columns,
                [(w, columns)],
                #[inline(always)]
                |i, [w]| {
                    for (w, &u) in w.iter_mut().zip(&u[i * columns..][..columns]) {
                        *w = *w * keep - factor * u;
                    }
                },
            );
        }
        Ok(())
    }

    fn saved(&self, _: usize) -> Vec<(usize, Option<String>)> {
        vec![(0, None), (1, None)]
    }
}

/// The runs of pieces updated by AdamW.
fn runs(layout: &Layout) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut second = 0;
    for piece in 0..layout.pieces() {
        if layout.group(piece).matrix {
            continue;
        }
        let range = layout.range(piece);
        match runs.last_mut() {
            Some(run) if run.range.end == range.start => {
                run.range.end = range.end;
                run.bounds.push(range.end - run.range.start);
            }
            _ => runs.push(Run {
                first_piece: piece,
                bounds: vec![0, range.len()],
                second,
                range: range.clone(),
            }),
        }
        second += range.len();
    }
    runs
}

/// Adds the gradient to the momentum, and writes the direction U / ‖U‖.
fn direction<T: Float>(
    step: &Step<'_>,
    matrix: &Matrix,
    (momentum, nesterov): (f64, bool),
    (w, g): (&[T], &[T]),
    m: &mut [T],
    u: &mut [T],
) {
    let read = step.reader::<T>(&matrix.group);
    let (fresh, momentum, columns) = (T::of(1.0 - momentum), T::of(momentum), matrix.columns);
    for_rows(
        step.cpu,
        matrix.rows,
        8 * columns,
        [(m, columns), (&mut *u, columns)],
        #[inline(always)]
        |i, [m, u]| {
            let row = i * columns..(i + 1) * columns;
            let (w, g) = (&w[row.clone()], &g[row]);
            for (((m, u), &w), &g) in m.iter_mut().zip(u).zip(w).zip(g) {
                let g = read(g, w);
                *m += fresh * (g - *m);
                *u = if nesterov { g + momentum * (*m - g) } else { *m };
            }
        },
    );
    let square = |piece: Range<usize>| sum_of(&u[piece], |u| u.f64() * u.f64());
    let norm = sum_pieces(step.cpu, u.len(), square).sqrt();
    let over = T::of(1.0 / norm.max(LEAST_NORM));
    for_rows(step.cpu, matrix.rows, columns, [(u, columns)], |_, [u]| {
        for u in u {
            *u *= over;
        }
    });
}

/// X = a U + (b A + c A²) U with A = U Uᵀ; from the other side if U has more rows than columns.
fn iterate<T: Product>(
    how: (&CpuDevice, bool),
    matrix: &Matrix,
    u: &[T],
    a: &mut [T],
    b: &mut [T],
    x: &mut [T],
) {
    let cpu = how.0;
    let [first, third, fifth] = POLYNOMIAL.map(T::of);
    map(cpu, u, x, |u| first * u);
    let tall = matrix.rows > matrix.columns;
    let n = matrix.rows.min(matrix.columns);
    let u = MatRef::new(u, matrix.rows, matrix.columns);
    let (left, right) = if tall { (u.t(), u) } else { (u, u.t()) };
    T::product(how, left, right, a, false);
    let square = MatRef::new(&*a, n, n);
    T::product(how, square, square, b, false);
    zip_into(cpu, a, b, |b, a| third * a + fifth * b);
    // A is symmetric, and so is b.
    let b = MatRef::new(&*b, n, n);
    let (left, right) = if tall { (u, b) } else { (b, u) };
    T::product(how, left, right, x, true);
}

#[cfg(test)]
mod tests {
    use super::Muon;
    use crate::optim::testing::{F32, F64, agrees, kept};

    #[test]
    fn agrees_with_pytorch() {
        agrees(include_str!("../../tests/fixtures/optim/muon.json"), F64, F32);
    }

    #[test]
    fn matrices_keep_one_array_and_the_rest_two() {
        // The matrix needs scratch of twice its size and two matrices [4, 4].
        assert_eq!(kept(Muon::default()), 24 + 2 * 4 + 2 * 24 + 2 * 16);
    }
}
