//! Muon: a matrix moves along its momentum made orthogonal, everything else by AdamW.

use super::group::{Group, Layout};
use super::pass::Pass;
use super::rule::Adam;
use super::{AdjustLr, NAME, OptimizerConfig};
use ff_graph::{Error, ParamInfo, Params, Result, Segment};
use ff_kernels::{
    Epilogue, Float, MatRef, for_rows, gemm, gemm_bf16, map, sum_of, sum_pieces, zip_into,
};
use ff_tensor::{CpuDevice, Device, Tensor};
use std::ops::Range;

/// The polynomial a x + b x³ + c x⁵ that singular values go through, steepest at 0.
const POLYNOMIAL: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// A matrix whose norm is below this is not scaled up to 1.
const LEAST_NORM: f64 = 1e-7;

/// For each matrix W `[out, in]`, with its gradient G:
///
/// B = μ B + (1 − μ) G;  U = B, or (1 − μ) G + μ B with Nesterov;  X = U / ‖U‖;
/// five times, with A = X Xᵀ:  X = a X + (b A + c A²) X;  W = (1 − lr λ) W − lr · adjust(out, in) · X
///
/// which brings U's singular values near 1 (Newton and Schulz's iteration). Of a weight with more dimensions, the last two
/// are those of its matrices. Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
#[derive(Debug)]
pub(super) struct Muon {
    momentum: f64,
    nesterov: bool,
    adjust: AdjustLr,
    steps: usize,
    bf16: bool,
    betas: [f64; 2],
    eps: f64,
    /// AdamW's rate over Muon's.
    ratio: f64,
    matrices: Vec<Matrix>,
    rest: Vec<Run>,
    /// Room for U and X, and for A and A².
    space: [Tensor; 4],
}

#[derive(Debug)]
struct Matrix {
    range: Range<usize>,
    rows: usize,
    columns: usize,
    group: Group,
}

/// Neighbours in the arena that AdamW updates.
#[derive(Debug)]
struct Run {
    range: Range<usize>,
    first_piece: usize,
    /// The borders of its pieces, from its start.
    bounds: Vec<usize>,
    /// Where its second moments start.
    second: usize,
}

/// Where a parameter's state lies: Muon's momentum, or AdamW's first moment with the place of the second.
pub(super) enum Place {
    Momentum,
    Moments(usize),
}

impl Muon {
    /// With its two arrays of state: one value for each parameter, one more for each that AdamW updates.
    pub(super) fn new(
        config: &OptimizerConfig,
        params: &Params,
        layout: &Layout,
        device: &Device,
    ) -> Result<(Self, Vec<Tensor>)> {
        let mut matrices = Vec::new();
        for info in trainable(params) {
            let group = Layout::group_of(config, &info.spec);
            if !group.muon {
                continue;
            }
            if let &[.., rows, columns] = info.spec.shape.dims() {
                let starts = info.range().step_by(rows * columns);
                matrices.extend(starts.map(|start| {
                    let range = start..start + rows * columns;
                    Matrix { range, rows, columns, group }
                }));
            }
        }
        let rest = runs(layout);
        let dtype = params.dtype();
        let zeros =
            |len: usize| Tensor::zeros(device, [len].into(), dtype).map_err(Error::of(NAME));
        let largest = |of: fn(&Matrix) -> usize| zeros(matrices.iter().map(of).max().unwrap_or(0));
        let value = |m: &Matrix| m.range.len();
        let square = |m: &Matrix| m.rows.min(m.columns).pow(2);
        let space = [largest(value)?, largest(value)?, largest(square)?, largest(square)?];
        let second = rest.last().map_or(0, |run| run.second + run.range.len());
        let slots = vec![zeros(params.trainable_len())?, zeros(second)?];
        let (lr, adamw_lr) = (config.lr(), config.adamw_lr);
        let muon = Self {
            momentum: config.momentum.unwrap_or(0.95),
            nesterov: config.nesterov.unwrap_or(true),
            adjust: config.adjust_lr_fn.unwrap_or_default(),
            steps: config.ns_steps.unwrap_or(5),
            bf16: config.ns_bf16.unwrap_or(false),
            betas: config.betas.unwrap_or([0.9, 0.999]),
            eps: config.eps.unwrap_or(1e-8),
            ratio: adamw_lr.map_or(1.0, |rate| if lr > 0.0 { rate / lr } else { 1.0 }),
            matrices,
            rest,
            space,
        };
        Ok((muon, slots))
    }

    /// What it works in, beside its state.
    pub(super) fn space(&self) -> &[Tensor] {
        &self.space
    }

    /// Where the state of a parameter lies.
    pub(super) fn place(&self, info: &ParamInfo) -> Place {
        let run = self.rest.iter().find(|run| {
            // A parameter of no values may lie anywhere.
            run.range.contains(&info.offset)
                || run.range.end == info.offset && info.range().is_empty()
        });
        match run {
            Some(run) => Place::Moments(run.second + (info.offset - run.range.start)),
            None if info.range().is_empty() => Place::Moments(0),
            None => Place::Momentum,
        }
    }

    /// One update of all parameters, number `t` from 1, at rate `lr`.
    pub(super) fn update<T: Orthogonal>(
        &mut self,
        pass: &Pass<'_>,
        w: &mut [T],
        g: &[T],
        slots: &mut [Tensor],
        lr: f64,
        t: u64,
    ) -> Result<()> {
        let error = Error::of(NAME);
        let [first, second] = slots else { return Ok(()) };
        let first = first.slice_mut::<T>().map_err(&error)?;
        let second = second.slice_mut::<T>().map_err(&error)?;
        let adam = Adam::<T>::new(self.betas, self.eps, true, t);
        let rate = lr * self.ratio;
        for run in &self.rest {
            let range = run.range.clone();
            let v = &mut second[run.second..][..range.len()];
            let arrays = [&mut w[range.clone()], &mut first[range.clone()], v];
            pass.update_pieces(run.first_piece, &run.bounds, &g[range], arrays, |group| {
                let at = adam.at(rate * group.lr_scale, group.weight_decay);
                #[inline(always)]
                move |g, [w, m, v]| {
                    let (m, v) = adam.moments(g, m, v);
                    [at.step(&adam, w, m, v), m, v]
                }
            });
        }
        let [u, x, a, b] = &mut self.space;
        let space = [u, x, a, b].map(|tensor| tensor.slice_mut::<T>().map_err(&error));
        let [u, x, a, b] = space;
        let (mut u, mut x, a, b) = (u?, x?, a?, b?);
        for matrix in &self.matrices {
            let (rows, columns) = (matrix.rows, matrix.columns);
            let (range, least) = (matrix.range.clone(), rows.min(columns));
            let (w, g) = (&mut w[range.clone()], &g[range.clone()]);
            let len = range.len();
            let m = &mut first[range];
            direction(pass, matrix, (self.momentum, self.nesterov), (w, g), m, &mut u[..len]);
            let (a, b) = (&mut a[..least * least], &mut b[..least * least]);
            for _ in 0..self.steps {
                let to = &mut x[..len];
                iterate((pass.cpu, self.bf16), matrix, &u[..len], a, b, to);
                std::mem::swap(&mut u, &mut x);
            }
            let rate = lr * matrix.group.lr_scale;
            let keep = T::of(1.0 - rate * matrix.group.weight_decay);
            let step = T::of(rate * self.adjust.factor(rows, columns));
            let u = &u[..len];
            for_rows(
                pass.cpu,
                rows,
                2 * columns,
                [(w, columns)],
                #[inline(always)]
                |i, [w]| {
                    for (w, &u) in w.iter_mut().zip(&u[i * columns..][..columns]) {
                        *w = *w * keep - step * u;
                    }
                },
            );
        }
        Ok(())
    }
}

/// A type that matrices are made orthogonal in.
pub(super) trait Orthogonal: Float {
    /// C = A · B, or C += A · B, with operands rounded to bf16 where that is asked for.
    fn product(
        how: (&CpuDevice, bool),
        a: MatRef<Self>,
        b: MatRef<Self>,
        c: &mut [Self],
        accumulate: bool,
    );
}

impl Orthogonal for f32 {
    fn product(
        (cpu, bf16): (&CpuDevice, bool),
        a: MatRef<f32>,
        b: MatRef<f32>,
        c: &mut [f32],
        accumulate: bool,
    ) {
        if bf16 {
            gemm_bf16(cpu, a, b, c, accumulate, Epilogue::default());
        } else {
            gemm(cpu, a, b, c, accumulate);
        }
    }
}

impl Orthogonal for f64 {
    fn product(
        (cpu, _): (&CpuDevice, bool),
        a: MatRef<f64>,
        b: MatRef<f64>,
        c: &mut [f64],
        accumulate: bool,
    ) {
        gemm(cpu, a, b, c, accumulate);
    }
}

/// Takes the gradient into the momentum, and writes the direction U / ‖U‖.
fn direction<T: Float>(
    pass: &Pass<'_>,
    matrix: &Matrix,
    (momentum, nesterov): (f64, bool),
    (w, g): (&[T], &[T]),
    m: &mut [T],
    u: &mut [T],
) {
    let read = pass.reader::<T>(&matrix.group);
    let (fresh, momentum, columns) = (T::of(1.0 - momentum), T::of(momentum), matrix.columns);
    for_rows(
        pass.cpu,
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
    let norm = sum_pieces(pass.cpu, u.len(), square).sqrt();
    let over = T::of(1.0 / norm.max(LEAST_NORM));
    for_rows(pass.cpu, matrix.rows, columns, [(u, columns)], |_, [u]| {
        for u in u {
            *u *= over;
        }
    });
}

/// X = a U + (b A + c A²) U with A = U Uᵀ; from the other side where U has more rows than columns.
fn iterate<T: Orthogonal>(
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
    // A and so b are symmetric.
    let b = MatRef::new(&*b, n, n);
    let (left, right) = if tall { (u, b) } else { (b, u) };
    T::product(how, left, right, x, true);
}

/// The runs of pieces that AdamW updates.
fn runs(layout: &Layout) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut second = 0;
    for piece in 0..layout.pieces() {
        if layout.group(piece).muon {
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

fn trainable(params: &Params) -> impl Iterator<Item = &ParamInfo> {
    params.infos().iter().filter(|info| info.spec.segment == Segment::Trainable)
}
