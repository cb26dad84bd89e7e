//! L-BFGS: the inverse Hessian from the last steps and gradient changes, and a line search along
//! its direction.

mod history;
mod search;

use super::closure::{Closure, LossSum, MinimizeReport, Status};
use super::error::{Error, NAME, Result};
use super::layout::Layout;
use super::product::Product;
use super::rule::{Array, Method, Rule};
use super::step::Step;
use crate::keys::{keyed, words};
use ff_kernels::{Float, dot, map, map2, sum_of, sum_pieces};
use ff_settings::Range::AtLeast;
use ff_tensor::{CpuDevice, Tensor};
use history::History;
use schemars::JsonSchema;
use search::Trial;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

keyed! {
    /// L-BFGS, for small data as one batch: Nocedal 1980 (`torch.optim.LBFGS`).
    ///
    /// d = −H g, with H from the last steps s and gradient changes y;  w += t d, with t from a line
    /// search. Liu and Nocedal 1989; steps, safeguards and tolerances are PyTorch's.
    pub struct Lbfgs {
        /// The number of past steps that determine the search direction.
        history_size: u64 = 100, in AtLeast(1.0);
        /// The maximum number of iterations per step.
        max_iter: u64 = 20, in AtLeast(1.0);
        /// The maximum number of evaluations of the loss per step.
        max_eval: Option<u64> = None, in AtLeast(1.0), shown "1.25 max_iter";
        /// Converged if no gradient exceeds this.
        tolerance_grad: f64 = 1e-7, in AtLeast(0.0);
        /// Converged if neither the loss nor any weight changes by more.
        tolerance_change: f64 = 1e-9, in AtLeast(0.0);
        /// The line search: strong_wolfe, backtracking or none (PyTorch's default).
        line_search: LineSearch = LineSearch::StrongWolfe;
    }
}

/// The line search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineSearch {
    /// Brackets and zooms until the strong Wolfe conditions hold (c₁ = 10⁻⁴, c₂ = 0.9).
    #[default]
    StrongWolfe,
    /// Halves the step until the loss falls enough (Armijo, c₁ = 10⁻⁴).
    Backtracking,
    /// Always takes the learning rate.
    None,
}

words!(LineSearch: "strong_wolfe, backtracking or none");

impl Method for Lbfgs {
    const LR: f64 = 1.0;
    const REEVALUATES: bool = true;
    type Rule = LbfgsRule;

    fn rule(self, _: &Layout, _: f64) -> LbfgsRule {
        let history = History::new(self.history_size as usize);
        LbfgsRule { settings: self, history, iterations: 0 }
    }
}

/// L-BFGS with its memory of the last steps.
#[derive(Debug, Clone)]
pub(super) struct LbfgsRule {
    settings: Lbfgs,
    history: History,
    iterations: u64,
}

/// The scalars of the state.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    iterations: u64,
    diagonal: f64,
    /// 1 / yᵀs of each remembered step, the oldest first.
    rho: Vec<f64>,
}

/// Gradients at the start of a search and at three trial points: both ends of a bracket and the
/// next trial.
const GRADIENTS: usize = 4;

impl Rule for LbfgsRule {
    /// The pairs of the history, the direction, the weights at the start of a search, the
    /// gradients.
    fn arrays(&self, layout: &Layout) -> Vec<Array> {
        let pairs = 0..2 * self.history.capacity();
        let pairs = pairs.map(|i| Array::whole(["s", "y"][i % 2], layout, None));
        let work = (0..2 + GRADIENTS).map(|_| Array::working(layout.len(), None));
        pairs.chain(work).collect()
    }

    /// Up to `max_iter` iterations; the rate is the first step of every search but the very first.
    fn minimize<T: Product, C: Closure>(
        &mut self,
        step: &Step<'_>,
        closure: &mut C,
        arrays: &mut [Tensor],
    ) -> Result<MinimizeReport, C::Error> {
        let (pairs, work) = arrays.split_at_mut(2 * self.history.capacity());
        let [direction, start, gradients @ ..] = work else {
            return Ok(MinimizeReport::default());
        };
        let mut descent = Descent {
            rule: self,
            step,
            closure,
            pairs,
            direction,
            start,
            gradients,
            evaluations: 0,
        };
        descent.minimize::<T>()
    }

    fn saved(&self, _: usize) -> Vec<(usize, Option<String>)> {
        let pairs = self.history.order().enumerate().flat_map(|(age, pair)| {
            [(2 * pair, Some(format!("s.{age}"))), (2 * pair + 1, Some(format!("y.{age}")))]
        });
        pairs.collect()
    }

    fn numbers(&self) -> Option<Json> {
        let (diagonal, rho) = (self.history.diagonal, self.history.rho());
        serde_json::to_value(Numbers { iterations: self.iterations, diagonal, rho }).ok()
    }

    fn restore(&mut self, numbers: Option<&Json>) -> Result<(), String> {
        let numbers = numbers.ok_or("is missing; the checkpoint is damaged")?;
        let numbers = Numbers::deserialize(numbers).map_err(|e| format!("cannot be read: {e}"))?;
        let (steps, most) = (numbers.rho.len(), self.history.capacity());
        if steps > most {
            return Err(format!("remembers {steps} steps, `history_size` allows {most}"));
        }
        self.history.restore(&numbers.rho, numbers.diagonal);
        self.iterations = numbers.iterations;
        Ok(())
    }
}

/// One minimisation.
struct Descent<'a, C> {
    rule: &'a mut LbfgsRule,
    step: &'a Step<'a>,
    closure: &'a mut C,
    pairs: &'a mut [Tensor],
    direction: &'a mut Tensor,
    start: &'a mut Tensor,
    gradients: &'a mut [Tensor],
    evaluations: usize,
}

impl<C: Closure> Descent<'_, C> {
    fn max_eval(&self) -> usize {
        let Lbfgs { max_eval, max_iter, .. } = self.rule.settings;
        max_eval.unwrap_or(max_iter * 5 / 4) as usize
    }

    fn minimize<T: Float>(&mut self) -> Result<MinimizeReport, C::Error> {
        let Some(loss) = self.evaluate::<T>(0)? else {
            let (loss, status) = (f64::NAN, Status::NonFinite);
            return Ok(MinimizeReport { loss, status, evaluations: 1, ..Default::default() });
        };
        let Lbfgs { max_iter, tolerance_grad, tolerance_change, .. } = self.rule.settings;
        let mut at = Trial { t: 0.0, loss, slope: 0.0, slot: 0 };
        let mut report = MinimizeReport::default();
        if self.largest_gradient::<T>(at)? <= tolerance_grad {
            report.status = Status::Gradient;
        } else {
            for _ in 0..max_iter {
                let before = at.loss;
                let moved = self.iterate::<T>(&mut at)?;
                report.iterations += 1;
                if self.largest_gradient::<T>(at)? <= tolerance_grad {
                    report.status = Status::Gradient;
                } else if moved <= tolerance_change || (at.loss - before).abs() < tolerance_change {
                    report.status = Status::Change;
                } else if self.evaluations < self.max_eval() {
                    continue;
                }
                break;
            }
        }
        report.loss = at.loss;
        report.grad_norm = sum_squares(self.step.cpu, self.gradient::<T>(at.slot)?).sqrt();
        report.evaluations = self.evaluations;
        Ok(report)
    }

    /// One direction and one search along it; returns the largest change of a weight.
    fn iterate<T: Float>(&mut self, at: &mut Trial) -> Result<f64, C::Error> {
        let cpu = self.step.cpu;
        let gradient = slice::<T>(&self.gradients[at.slot])?;
        let direction = slice_mut::<T>(self.direction)?;
        self.rule.history.direction(cpu, self.pairs, gradient, direction)?;
        let mut t = self.step.lr;
        if self.rule.iterations == 0 {
            // The curvature is still unknown: no weight moves far.
            let total =
                sum_pieces(cpu, gradient.len(), |r| sum_of(&gradient[r], |g| g.f64().abs()));
            t *= (1.0 / total).min(1.0);
        }
        self.rule.iterations += 1;
        at.t = 0.0;
        at.slope = dot_product(cpu, gradient, direction);
        if at.slope > -self.rule.settings.tolerance_change {
            return Ok(0.0);
        }
        let weights = self.closure.params().flat::<T>().map_err(Error::from)?;
        slice_mut::<T>(self.start)?.copy_from_slice(weights);
        let left = self.max_eval().saturating_sub(self.evaluations);
        let end = match self.rule.settings.line_search {
            LineSearch::StrongWolfe => self.strong_wolfe::<T>(*at, t, left)?,
            LineSearch::Backtracking => self.backtrack::<T>(*at, t, left)?,
            LineSearch::None => self.try_at::<T>(t, (at.slot + 1) % GRADIENTS)?,
        };
        self.move_to::<T>(end.t)?;
        let direction = slice::<T>(self.direction)?;
        if end.t != 0.0 {
            let gradients = [slice(&self.gradients[at.slot])?, slice(&self.gradients[end.slot])?];
            self.rule.history.remember(cpu, self.pairs, direction, end.t, gradients)?;
        }
        *at = end;
        Ok(largest(direction) * end.t.abs())
    }

    /// Sets the weights to start + t · direction.
    fn move_to<T: Float>(&mut self, t: f64) -> Result<(), C::Error> {
        let weights = self.closure.params().flat_mut::<T>().map_err(Error::from)?;
        let t = T::of(t);
        let (start, direction) = (slice(self.start)?, slice(self.direction)?);
        map2(self.step.cpu, start, direction, weights, false, |x, d| x + t * d);
        Ok(())
    }

    /// Evaluates at start + t · direction and keeps the gradient in a slot; the loss is infinite if
    /// any value is not finite, which makes every search turn back.
    fn try_at<T: Float>(&mut self, t: f64, slot: usize) -> Result<Trial, C::Error> {
        self.move_to::<T>(t)?;
        let loss = self.evaluate::<T>(slot)?.unwrap_or(f64::INFINITY);
        let (gradient, direction) = (self.gradient::<T>(slot)?, slice(self.direction)?);
        let slope = dot_product::<T>(self.step.cpu, gradient, direction);
        Ok(Trial { t, loss, slope, slot })
    }

    /// The mean loss with its penalty; its gradient goes into a slot. `None` if either is not
    /// finite.
    fn evaluate<T: Float>(&mut self, slot: usize) -> Result<Option<f64>, C::Error> {
        let LossSum { sum, count } = self.closure.evaluate()?;
        self.evaluations += 1;
        if !(count.is_finite() && count > 0.0) {
            return Err(Error::Count(count).into());
        }
        let (w, g) = self.closure.params().flat_and_gradients::<T>().map_err(Error::from)?;
        let step = Step { scale: 1.0 / count, ..*self.step };
        let gradient = slice_mut::<T>(&mut self.gradients[slot])?;
        step.gradient(w, g, gradient);
        let loss = sum / count + step.l2_penalty(w);
        let finite = loss.is_finite() && sum_squares(step.cpu, gradient).is_finite();
        Ok(finite.then_some(loss))
    }

    fn gradient<T: Float>(&self, slot: usize) -> Result<&[T]> {
        slice(&self.gradients[slot])
    }

    fn largest_gradient<T: Float>(&self, at: Trial) -> Result<f64> {
        Ok(largest(self.gradient::<T>(at.slot)?))
    }
}

fn slice<T: Float>(tensor: &Tensor) -> Result<&[T]> {
    Ok(tensor.slice().map_err(ff_graph::Error::of(NAME))?)
}

fn slice_mut<T: Float>(tensor: &mut Tensor) -> Result<&mut [T]> {
    Ok(tensor.slice_mut().map_err(ff_graph::Error::of(NAME))?)
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
