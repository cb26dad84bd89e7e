//! L-BFGS: the inverse Hessian from the last steps and gradient changes, and a search along the direction it gives.

mod history;
mod search;

use super::group::Layout;
use super::pass::Pass;
use super::{Error, LineSearch, OptimizerConfig, Result};
use ff_graph::Params;
use ff_kernels::{Float, dot, map, map2, sum_of, sum_pieces};
use ff_tensor::{CpuDevice, DType, Device, Tensor};
pub(super) use history::History;
use search::Trial;
use serde::{Deserialize, Serialize};

/// A loss over all rows that can be evaluated again: what L-BFGS minimises.
///
/// ```
/// use ff_graph::{ParamKind, ParamSpec, Params};
/// use ff_tensor::{DType, Device};
/// use ff_train::optim::{Error, Evaluation, Objective, Optimizer, OptimizerConfig, OptimizerKind};
/// /// (w − 3)² for one row.
/// struct Parabola(Params);
/// impl Objective for Parabola {
///     type Error = Error;
///     fn params(&mut self) -> &mut Params {
///         &mut self.0
///     }
///     fn evaluate(&mut self) -> Result<Evaluation, Error> {
///         self.0.clear_gradients();
///         let (w, dw) = self.0.flat_and_gradients::<f64>()?;
///         dw[0] = 2.0 * (w[0] - 3.0);
///         Ok(Evaluation { loss: (w[0] - 3.0).powi(2), count: 1.0 })
///     }
/// }
/// let device = Device::default();
/// let specs = vec![ParamSpec::new("w", [1], ParamKind::Bias)];
/// let mut parabola = Parabola(Params::allocate(&device, DType::F64, specs, true)?);
/// let config = OptimizerConfig::new(OptimizerKind::Lbfgs);
/// let mut optimizer = Optimizer::new(&config, &parabola.0, &device)?;
/// let report = optimizer.minimize(&mut parabola, config.lr())?;
/// assert!(report.converged());
/// assert!((parabola.0.flat::<f64>()?[0] - 3.0).abs() < 1e-7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Objective {
    /// What evaluating can fail with; the optimiser's own errors become it.
    type Error: From<Error>;

    /// The parameters that the loss depends on.
    fn params(&mut self) -> &mut Params;

    /// Clears the gradients, runs forward and backward over all rows, and leaves the summed gradients in the arena. It
    /// gives the same for the same parameters: dropout keeps its mask, the rows are the same.
    ///
    /// # Errors
    /// Whatever the model fails with.
    fn evaluate(&mut self) -> Result<Evaluation, Self::Error>;
}

/// What an evaluation of the loss gives.
///
/// ```
/// let evaluation = ff_train::optim::Evaluation { loss: 12.0, count: 4.0 };
/// assert_eq!(evaluation.loss / evaluation.count, 3.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// The loss, summed over rows.
    pub loss: f64,
    /// How many rows, by which loss and gradients are divided.
    pub count: f64,
}

/// Where a minimisation ended and why.
///
/// ```
/// let report = ff_train::optim::MinimizeReport::default();
/// assert!(!report.converged());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MinimizeReport {
    /// The mean loss at the end, penalties included.
    pub loss: f64,
    /// The norm of its gradient.
    pub grad_norm: f64,
    /// Steps made.
    pub iterations: usize,
    /// How often the loss was evaluated.
    pub evaluations: usize,
    /// Why it ended.
    pub stop: Stop,
}

impl MinimizeReport {
    /// Whether a tolerance was reached, so that going on is of no use.
    pub fn converged(&self) -> bool {
        matches!(self.stop, Stop::Gradient | Stop::Change)
    }
}

/// Why a minimisation ended.
///
/// ```
/// assert_eq!(ff_train::optim::Stop::default(), ff_train::optim::Stop::Limit);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stop {
    /// `max_iter` or `max_eval` was reached.
    #[default]
    Limit,
    /// No gradient is above `tolerance_grad`.
    Gradient,
    /// Neither loss nor weights change by more than `tolerance_change`.
    Change,
    /// The loss or a gradient is not finite at the start; nothing was changed.
    NonFinite,
}

/// The numbers of L-BFGS's state.
///
/// ```
/// let scalars = ff_train::optim::LbfgsScalars::default();
/// assert_eq!(scalars.iterations, 0);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LbfgsScalars {
    /// Iterations made in all.
    pub iterations: u64,
    /// The scale of the first guess of the inverse Hessian.
    pub diagonal: f64,
    /// 1 / yᵀs of each remembered step, the oldest first.
    pub rho: Vec<f64>,
}

/// Settings and memory of the method: Nocedal 1980; Liu and Nocedal 1989; steps, safeguards and tolerances as in
/// `torch.optim.LBFGS`.
#[derive(Debug)]
pub(super) struct Lbfgs {
    max_iter: usize,
    max_eval: usize,
    tolerance_grad: f64,
    tolerance_change: f64,
    line_search: LineSearch,
    pub(super) history: History,
    pub(super) iterations: u64,
    direction: Tensor,
    /// The weights that a search starts from.
    start: Tensor,
    /// Gradients at the start of a search and at three trial points: both ends of a bracket and what is tried next.
    gradients: [Tensor; 4],
}

/// Arrays beside the history: the direction, the start and four gradients.
const WORK_ARRAYS: usize = 6;

pub(super) fn arrays(config: &OptimizerConfig) -> usize {
    2 * config.history_size.unwrap_or(History::DEFAULT) + WORK_ARRAYS
}

impl Lbfgs {
    pub(super) fn new(
        config: &OptimizerConfig,
        device: &Device,
        len: usize,
        dtype: DType,
    ) -> Result<Self> {
        // Memory is asked for at the start, so that a plan counts it; the system hands pages out as they are written.
        let array = || {
            Tensor::uninit(device, [len].into(), dtype).map_err(ff_graph::Error::of(super::NAME))
        };
        let max_iter = config.max_iter.unwrap_or(20);
        Ok(Self {
            max_iter,
            max_eval: config.max_eval.unwrap_or(max_iter * 5 / 4),
            tolerance_grad: config.tolerance_grad.unwrap_or(1e-7),
            tolerance_change: config.tolerance_change.unwrap_or(1e-9),
            line_search: config.line_search.unwrap_or_default(),
            history: History::new(config.history_size.unwrap_or(History::DEFAULT), array)?,
            iterations: 0,
            direction: array()?,
            start: array()?,
            gradients: [array()?, array()?, array()?, array()?],
        })
    }

    /// Up to `max_iter` iterations at rate `lr`; the rate is each search's first step but the very first's.
    pub(super) fn minimize<T: Float, O: Objective>(
        &mut self,
        cpu: &CpuDevice,
        layout: &Layout,
        objective: &mut O,
        lr: f64,
    ) -> Result<MinimizeReport, O::Error> {
        let mut run = Run { cpu, layout, objective, evaluations: 0 };
        let [first, ..] = &mut self.gradients;
        let Some(loss) = run.evaluate::<T>(first)? else {
            let stop = Stop::NonFinite;
            return Ok(MinimizeReport {
                loss: f64::NAN,
                stop,
                evaluations: 1,
                ..Default::default()
            });
        };
        let mut at = Trial { t: 0.0, loss, slope: 0.0, slot: 0 };
        let mut report = MinimizeReport::default();
        if self.largest_gradient::<T>(at)? <= self.tolerance_grad {
            report.stop = Stop::Gradient;
        } else {
            for _ in 0..self.max_iter {
                let before = at.loss;
                let moved = self.iterate::<T, O>(&mut run, &mut at, lr)?;
                report.iterations += 1;
                if self.largest_gradient::<T>(at)? <= self.tolerance_grad {
                    report.stop = Stop::Gradient;
                } else if moved <= self.tolerance_change
                    || (at.loss - before).abs() < self.tolerance_change
                {
                    report.stop = Stop::Change;
                } else if run.evaluations < self.max_eval {
                    continue;
                }
                break;
            }
        }
        report.loss = at.loss;
        let gradient = slice::<T>(&self.gradients[at.slot])?;
        report.grad_norm = sum_squares(cpu, gradient).sqrt();
        report.evaluations = run.evaluations;
        Ok(report)
    }

    /// One direction and one search along it; gives the largest change of a weight.
    fn iterate<T: Float, O: Objective>(
        &mut self,
        run: &mut Run<'_, O>,
        at: &mut Trial,
        lr: f64,
    ) -> Result<f64, O::Error> {
        let cpu = run.cpu;
        let gradient = slice::<T>(&self.gradients[at.slot])?;
        let direction = slice_mut::<T>(&mut self.direction)?;
        self.history.direction(cpu, gradient, direction)?;
        let mut t = lr;
        if self.iterations == 0 {
            // Nothing is known of the curvature yet: no weight moves far.
            let total =
                sum_pieces(cpu, gradient.len(), |r| sum_of(&gradient[r], |g| g.f64().abs()));
            t *= (1.0 / total).min(1.0);
        }
        self.iterations += 1;
        at.t = 0.0;
        at.slope = dot_product(cpu, gradient, direction);
        if at.slope > -self.tolerance_change {
            return Ok(0.0);
        }
        let weights = run.objective.params().flat::<T>().map_err(Error::from)?;
        slice_mut::<T>(&mut self.start)?.copy_from_slice(weights);
        let left = self.max_eval.saturating_sub(run.evaluations);
        let end = match self.line_search {
            LineSearch::StrongWolfe => self.strong_wolfe::<T, O>(run, *at, t, left)?,
            LineSearch::Backtracking => self.backtrack::<T, O>(run, *at, t, left)?,
            LineSearch::None => self.try_at::<T, O>(run, t, (at.slot + 1) % 4)?,
        };
        self.move_to::<T, O>(run, end.t)?;
        if end.t != 0.0 {
            let (old, new) = (slice(&self.gradients[at.slot])?, slice(&self.gradients[end.slot])?);
            self.history.remember::<T>(cpu, slice(&self.direction)?, end.t, old, new)?;
        }
        *at = end;
        let direction = slice::<T>(&self.direction)?;
        Ok(largest(direction) * end.t.abs())
    }

    /// Puts the weights to start + t · direction.
    fn move_to<T: Float, O: Objective>(
        &self,
        run: &mut Run<'_, O>,
        t: f64,
    ) -> Result<(), O::Error> {
        let weights = run.objective.params().flat_mut::<T>().map_err(Error::from)?;
        let t = T::of(t);
        let (start, direction) = (slice(&self.start)?, slice(&self.direction)?);
        map2(run.cpu, start, direction, weights, false, |x, d| x + t * d);
        Ok(())
    }

    /// Evaluates at start + t · direction and keeps the gradient in a slot; an infinite loss where anything there is not
    /// finite, from which every search turns back.
    fn try_at<T: Float, O: Objective>(
        &mut self,
        run: &mut Run<'_, O>,
        t: f64,
        slot: usize,
    ) -> Result<Trial, O::Error> {
        self.move_to::<T, O>(run, t)?;
        let loss = run.evaluate::<T>(&mut self.gradients[slot])?.unwrap_or(f64::INFINITY);
        let slope =
            dot_product::<T>(run.cpu, slice(&self.gradients[slot])?, slice(&self.direction)?);
        Ok(Trial { t, loss, slope, slot })
    }

    fn largest_gradient<T: Float>(&self, at: Trial) -> Result<f64> {
        Ok(largest(slice::<T>(&self.gradients[at.slot])?))
    }
}

/// What stays the same during a minimisation.
struct Run<'a, O> {
    cpu: &'a CpuDevice,
    layout: &'a Layout,
    objective: &'a mut O,
    evaluations: usize,
}

impl<O: Objective> Run<'_, O> {
    /// The mean loss with its penalty, and its gradient into `gradient`; `None` where either is not finite.
    fn evaluate<T: Float>(&mut self, gradient: &mut Tensor) -> Result<Option<f64>, O::Error> {
        let Evaluation { loss, count } = self.objective.evaluate()?;
        self.evaluations += 1;
        if !(count.is_finite() && count > 0.0) {
            return Err(Error::Count(count).into());
        }
        let (w, g) = self.objective.params().flat_and_gradients::<T>().map_err(Error::from)?;
        let pass = Pass {
            cpu: self.cpu,
            layout: self.layout,
            scale: 1.0 / count,
            clip_value: None,
            shrink: 1.0,
        };
        let gradient = slice_mut::<T>(gradient)?;
        pass.gradient(w, g, gradient);
        let loss = loss / count + pass.l2_penalty(w);
        let finite = loss.is_finite() && sum_squares(self.cpu, gradient).is_finite();
        Ok(finite.then_some(loss))
    }
}

fn slice<T: Float>(tensor: &Tensor) -> Result<&[T]> {
    Ok(tensor.slice().map_err(ff_graph::Error::of(super::NAME))?)
}

fn slice_mut<T: Float>(tensor: &mut Tensor) -> Result<&mut [T]> {
    Ok(tensor.slice_mut().map_err(ff_graph::Error::of(super::NAME))?)
}

fn dot_product<T: Float>(cpu: &CpuDevice, a: &[T], b: &[T]) -> f64 {
    sum_pieces(cpu, a.len(), |range| dot(&a[range.clone()], &b[range]))
}

fn sum_squares<T: Float>(cpu: &CpuDevice, x: &[T]) -> f64 {
    dot_product(cpu, x, x)
}

/// The largest |x|.
fn largest<T: Float>(x: &[T]) -> f64 {
    x.iter().map(|x| x.f64().abs()).fold(0.0, f64::max)
}

/// y = a x.
fn scaled<T: Float>(cpu: &CpuDevice, a: T, x: &[T], y: &mut [T]) {
    map(cpu, x, y, |x| a * x);
}
