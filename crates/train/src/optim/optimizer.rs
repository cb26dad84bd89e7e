//! An optimiser: a rule with its state, and the rest of a step around it.

use super::average::{Average, MaxNorm};
use super::closure::{Closure, LossSum, MinimizeReport, Status};
use super::config::OptimizerConfig;
use super::error::{Error, NAME, Result};
use super::layout::Layout;
use super::product::Product;
use super::registry::AnyRule;
use super::rule::{Array, Rule};
use super::step::Step;
use ff_graph::{Params, Segment, for_float};
use ff_kernels::Float;
use ff_tensor::{DType, Device, Tensor};

/// A rule with its state for one arena of parameters.
///
/// ```
/// use ff_graph::{ParamKind, ParamSpec, Params};
/// use ff_tensor::{DType, Device};
/// use ff_train::optim::{Optimizer, OptimizerConfig, OptimizerKind};
/// let device = Device::default();
/// let specs = vec![ParamSpec::new("weight", [1, 2], ParamKind::Weight)];
/// let mut params = Params::allocate(&device, DType::F32, specs, true)?;
/// let mut optimizer =
///     Optimizer::new(&OptimizerConfig::new(OptimizerKind::Sgd), &params, &device)?;
///
/// params.gradients::<f32>()?.copy_from_slice(&[6.0, 8.0]); // summed over two rows
/// let report = optimizer.step(&mut params, 2.0, 0.1)?;
/// assert_eq!(report.grad_norm, 5.0);
/// assert_eq!(params.flat::<f32>()?, [-0.3, -0.4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Optimizer {
    pub(super) config: OptimizerConfig,
    device: Device,
    pub(super) rule: AnyRule,
    pub(super) layout: Layout,
    /// The declarations of the arrays.
    pub(super) declared: Vec<Array>,
    pub(super) arrays: Vec<Tensor>,
    pub(super) average: Option<Average>,
    max_norm: Option<MaxNorm>,
    /// One sum per piece of the layout.
    partials: Vec<f64>,
    /// The factor of weight decay.
    decay: f64,
    pub(super) updates: u64,
    pub(super) dtype: DType,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepReport {
    /// The norm of the whole gradient, divided by the count, with penalties and after clipping by
    /// value, before clipping by norm.
    pub grad_norm: f64,
    /// Whether clipping by norm shrank the gradient.
    pub clipped: bool,
    /// The reason for skipping the update; `None` if it was made.
    pub skipped: Option<Skip>,
}

/// The reason for a skipped update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// A gradient is infinite or NaN; [`first_non_finite_gradient`] names it.
    NonFinite,
    /// The count is 0: the loss covers no row.
    Nothing,
}

/// A non-finite gradient.
///
/// ```
/// use ff_graph::{ParamKind, ParamSpec, Params};
/// use ff_tensor::{DType, Device};
/// let specs = vec![ParamSpec::new("head.weight", [1, 2], ParamKind::Weight)];
/// let mut params = Params::allocate(&Device::default(), DType::F32, specs, true)?;
/// params.gradients::<f32>()?.copy_from_slice(&[0.0, f32::NAN]);
/// let found = ff_train::optim::first_non_finite_gradient(&mut params)?.unwrap();
/// assert_eq!((found.name.as_str(), found.index), ("head.weight", 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NonFiniteGradient {
    /// The parameter.
    pub name: String,
    /// The index in its flat values.
    pub index: usize,
    /// NaN or an infinity.
    pub value: f64,
}

/// The first gradient that is infinite or NaN, in the order of the parameters.
///
/// # Errors
/// If the parameters hold no gradients.
pub fn first_non_finite_gradient(params: &mut Params) -> Result<Option<NonFiniteGradient>> {
    fn find<T: Float>(params: &mut Params) -> ff_graph::Result<Option<(usize, f64)>> {
        let gradients = params.gradients::<T>()?;
        Ok(gradients.iter().position(|g| !g.is_finite()).map(|i| (i, gradients[i].f64())))
    }
    let found = for_float!(NAME, params.dtype(), T => find::<T>(params))?;
    Ok(found.and_then(|(place, value)| {
        let mut trainable =
            params.infos().iter().filter(|info| info.spec.segment == Segment::Trainable);
        let info = trainable.find(|info| info.range().contains(&place))?;
        Some(NonFiniteGradient { name: info.spec.name.clone(), index: place - info.offset, value })
    }))
}

impl Optimizer {
    /// An optimiser for these parameters, in its initial state.
    ///
    /// On a planning device, it allocates nothing and its steps do nothing, but the pool counts its
    /// state.
    ///
    /// # Errors
    /// If the config is contradictory, a group matches no parameter, or memory is exhausted.
    pub fn new(config: &OptimizerConfig, params: &Params, device: &Device) -> Result<Self> {
        config.validate()?;
        let dtype = params.dtype();
        if !dtype.is_float() {
            let (expected, found) = ("f32 or f64", dtype);
            return Err(ff_graph::Error::dtype(NAME, expected, found).into());
        }
        let layout = Layout::new(config, params)?;
        let rule = config.kind.rule(&config.settings, &layout, config.lr());
        let declared = rule.arrays(&layout);
        let arrays = declared.iter().map(|array| allocate(array, dtype, device));
        let arrays = arrays.collect::<ff_graph::Result<_>>()?;
        let average = match config.ema {
            Some(decay) => Some(Average::new(device, params, decay)?),
            None => None,
        };
        Ok(Self {
            rule,
            declared,
            arrays,
            average,
            max_norm: config.max_norm.map(|limit| MaxNorm::new(params, limit)),
            partials: vec![0.0; layout.pieces()],
            decay: 1.0,
            layout,
            updates: 0,
            dtype,
            device: device.clone(),
            config: config.clone(),
        })
    }

    /// One update of all trainable parameters from the gradients in the arena, in this order:
    ///
    /// 1. gradients are sums over the rows (or tokens) of all micro-batches: each is divided by
    ///    `count`;
    /// 2. the gradients of the penalties are added: g += l1 · sign(w) + l2 · w;
    /// 3. clipping by value: g = min(max(g, −clip_value), clip_value);
    /// 4. clipping by norm: g *= min(1, clip_norm / (‖g‖ + 10⁻⁶)), with the norm over all
    ///    parameters, in f64 (as `torch.nn.utils.clip_grad_norm_`);
    /// 5. the rule's update at rate `lr`, times the group's `lr_scale`, with weight decay:
    ///    decoupled or added to the clipped gradient;
    /// 6. the rows of weight matrices are scaled down to `max_norm`;
    /// 7. the running average is updated with the new weights.
    ///
    /// With a non-finite gradient nothing changes, as the report states. Gradients are only read;
    /// the caller clears them. Steps after the first allocate nothing, and results do not depend on
    /// the number of threads.
    ///
    /// # Errors
    /// If the parameters differ from those at the start or hold no gradients; `count` or `lr` is
    /// negative or not finite; the rule re-evaluates the loss; or the averaged weights are swapped
    /// in.
    pub fn step(&mut self, params: &mut Params, count: f64, lr: f64) -> Result<StepReport> {
        self.check(params)?;
        if self.needs_closure() {
            return Err(Error::NeedsClosure);
        }
        if !(count.is_finite() && count >= 0.0) {
            return Err(Error::Count(count));
        }
        check_rate(lr)?;
        if count == 0.0 {
            return Ok(StepReport { skipped: Some(Skip::Nothing), ..StepReport::default() });
        }
        if self.device.pool().is_planning() {
            return Ok(StepReport::default());
        }
        Ok(for_float!(NAME, self.dtype, T => self.step_in::<T>(params, count, lr))?)
    }

    fn step_in<T: Product>(
        &mut self,
        params: &mut Params,
        count: f64,
        lr: f64,
    ) -> ff_graph::Result<StepReport> {
        let (w, g) = params.flat_and_gradients::<T>()?;
        let cpu = self.device.cpu();
        let mut step = Step {
            cpu,
            layout: &self.layout,
            scale: 1.0 / count,
            clip_value: self.config.clip_value,
            shrink: 1.0,
            lr,
            decay: self.decay,
            number: self.updates + 1,
        };
        let grad_norm = step.norm(w, g, &mut self.partials);
        if !grad_norm.is_finite() {
            return Ok(StepReport { grad_norm, clipped: false, skipped: Some(Skip::NonFinite) });
        }
        if let Some(limit) = self.config.clip_norm {
            step.shrink = (limit / (grad_norm + 1e-6)).min(1.0);
        }
        self.updates += 1;
        self.rule.update(&step, w, g, &mut self.arrays)?;
        if let Some(max_norm) = &self.max_norm {
            max_norm.apply(cpu, w);
        }
        if let Some(average) = &mut self.average {
            average.update(cpu, &self.layout.bounds, w)?;
        }
        Ok(StepReport { grad_norm, clipped: step.shrink < 1.0, skipped: None })
    }

    /// Sets the part of training that is over, from 0 to 1, which weight decay may depend on.
    pub fn set_progress(&mut self, progress: f64) {
        self.decay = self.config.weight_decay_schedule.at(progress);
    }

    /// Whether steps evaluate the loss several times and need [`Optimizer::minimize`].
    pub fn needs_closure(&self) -> bool {
        self.config.needs_closure()
    }

    /// A step that evaluates the loss itself: once, followed by [`Optimizer::step`], or as often as
    /// the rule needs.
    ///
    /// L-BFGS makes up to `max_iter` iterations, each a direction and a search along it. Loss and
    /// gradients are divided by the count, and the penalty l2/2 · Σw² is part of the loss.
    /// Curvature information is kept between calls, so the loss should stay the same function. The
    /// calls give the same weights as `torch.optim.LBFGS.step`.
    ///
    /// # Errors
    /// If the closure fails; its parameters differ from those at the start; its count is negative,
    /// or 0 for L-BFGS; `lr` is negative or not finite; or the averaged weights are swapped in.
    pub fn minimize<C: Closure>(
        &mut self,
        closure: &mut C,
        lr: f64,
    ) -> Result<MinimizeReport, C::Error> {
        self.check(closure.params())?;
        check_rate(lr)?;
        let nothing_to_move = self.device.pool().is_planning() || self.layout.len() == 0;
        if !self.needs_closure() || nothing_to_move {
            return self.evaluate_and_step(closure, lr);
        }
        let step = Step {
            cpu: self.device.cpu(),
            layout: &self.layout,
            scale: 1.0,
            clip_value: None,
            shrink: 1.0,
            lr,
            decay: self.decay,
            number: self.updates + 1,
        };
        let report = match self.dtype {
            DType::F64 => self.rule.minimize::<f64, C>(&step, closure, &mut self.arrays)?,
            _ => self.rule.minimize::<f32, C>(&step, closure, &mut self.arrays)?,
        };
        if report.status == Status::NonFinite {
            return Ok(report);
        }
        self.updates += 1;
        if let Some(average) = &mut self.average {
            let averaged: ff_graph::Result<()> = for_float!(NAME, self.dtype, T => {
                let weights = closure.params().flat::<T>();
                weights.and_then(|w| average.update::<T>(step.cpu, &self.layout.bounds, w))
            });
            averaged.map_err(Error::from)?;
        }
        Ok(report)
    }

    fn evaluate_and_step<C: Closure>(
        &mut self,
        closure: &mut C,
        lr: f64,
    ) -> Result<MinimizeReport, C::Error> {
        let LossSum { sum, count } = closure.evaluate()?;
        let mut report =
            MinimizeReport { loss: sum / count, evaluations: 1, ..MinimizeReport::default() };
        if !sum.is_finite() {
            report.status = Status::NonFinite;
        } else if !self.needs_closure() {
            let step = self.step(closure.params(), count, lr)?;
            report.grad_norm = step.grad_norm;
            match step.skipped {
                Some(Skip::NonFinite) => report.status = Status::NonFinite,
                Some(Skip::Nothing) => {}
                None => report.iterations = 1,
            }
        }
        Ok(report)
    }

    /// Swaps the weights and their running average for evaluation, and back on the next call; false
    /// without an average or before the first update.
    ///
    /// # Errors
    /// If the parameters differ from those at the start.
    pub fn swap_average(&mut self, params: &mut Params) -> Result<bool> {
        self.check_size(params)?;
        let Some(average) = &mut self.average else { return Ok(false) };
        if average.values.is_planned() {
            return Ok(false);
        }
        for_float!(NAME, self.dtype, T => average.swap::<T>(params.flat_mut()?))?;
        Ok(average.updates > 0)
    }

    /// The config of the optimiser.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// The number of updates; skipped steps do not count.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The bytes of state and scratch memory.
    pub fn state_bytes(&self) -> usize {
        let average = self.average.iter().map(|average| &average.values);
        let tensors = self.arrays.iter().chain(average);
        tensors.map(|tensor| tensor.shape().len()).sum::<usize>() * self.dtype.bytes()
    }

    pub(super) fn check(&self, params: &Params) -> Result<()> {
        if self.average.as_ref().is_some_and(|average| average.swapped) {
            return Err(Error::Swapped);
        }
        self.check_size(params)
    }

    fn check_size(&self, params: &Params) -> Result<()> {
        if params.trainable_len() != self.layout.len() || params.dtype() != self.dtype {
            return Err(Error::OtherParams {
                expected: self.layout.len(),
                expected_dtype: self.dtype,
                found: params.trainable_len(),
                found_dtype: params.dtype(),
            });
        }
        Ok(())
    }
}

fn check_rate(lr: f64) -> Result<()> {
    if lr.is_finite() && lr >= 0.0 { Ok(()) } else { Err(Error::Rate(lr)) }
}

/// An array with its initial values.
fn allocate(array: &Array, dtype: DType, device: &Device) -> ff_graph::Result<Tensor> {
    let (shape, error) = ([array.len].into(), ff_graph::Error::of(NAME));
    // Scratch memory is requested now, so that a plan counts it; the system provides its pages on
    // first write.
    let Some(initial) = array.initial else {
        return Tensor::uninit(device, shape, dtype).map_err(error);
    };
    let mut tensor = Tensor::zeros(device, shape, dtype).map_err(&error)?;
    if initial != 0.0 && !tensor.is_planned() {
        for_float!(NAME, dtype, T => {
            tensor.slice_mut::<T>().map_err(&error)?.fill(T::of(initial));
            Ok(())
        })?;
    }
    Ok(tensor)
}
