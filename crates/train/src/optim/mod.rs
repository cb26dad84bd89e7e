//! Optimisers: passes over the flat arena of parameters that turn gradients into updates.
//!
//! An [`OptimizerConfig`] is what a recipe says; an [`Optimizer`] holds the rule's state and does the whole step, from
//! summed gradients to constrained and averaged weights. Rules and defaults are PyTorch's; fixtures made with PyTorch
//! check every option.

mod average;
mod config;
mod error;
mod group;
mod lbfgs;
mod muon;
mod pass;
mod rule;
mod state;

pub use config::{AdjustLr, LineSearch, OptimizerConfig, OptimizerKind};
pub use error::{Error, Result};
pub use ff_settings::ConfigError;
pub use group::GroupConfig;
pub use lbfgs::{Evaluation, LbfgsScalars, MinimizeReport, Objective, Stop};
pub use state::OptimizerScalars;

use average::{Average, MaxNorm};
use ff_graph::{Params, Segment, for_float};
use ff_kernels::Float;
use ff_tensor::{DType, Device, Tensor};
use group::Layout;
use lbfgs::Lbfgs;
use muon::{Muon, Orthogonal};
use pass::Pass;
use rule::Rule;

const NAME: &str = "optimizer";

/// A rule with its state for one arena of parameters.
///
/// ```
/// use ff_graph::{ParamKind, ParamSpec, Params};
/// use ff_tensor::{DType, Device};
/// use ff_train::optim::{Optimizer, OptimizerConfig, OptimizerKind};
/// let device = Device::default();
/// let specs = vec![ParamSpec::new("weight", [1, 2], ParamKind::Weight)];
/// let mut params = Params::allocate(&device, DType::F32, specs, true)?;
/// let mut optimizer = Optimizer::new(&OptimizerConfig::new(OptimizerKind::Sgd), &params, &device)?;
///
/// params.gradients::<f32>()?.copy_from_slice(&[6.0, 8.0]); // summed over two rows
/// let report = optimizer.step(&mut params, 2.0, 0.1)?;
/// assert_eq!(report.grad_norm, 5.0);
/// assert_eq!(params.flat::<f32>()?, [-0.3, -0.4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    device: Device,
    rule: Rule,
    layout: Layout,
    slots: Vec<Tensor>,
    lbfgs: Option<Lbfgs>,
    muon: Option<Muon>,
    average: Option<Average>,
    max_norm: Option<MaxNorm>,
    /// One sum for each piece of the layout.
    partials: Vec<f64>,
    updates: u64,
    dtype: DType,
    len: usize,
}

/// What a step found and did.
///
/// ```
/// let report = ff_train::optim::StepReport::default();
/// assert!(report.skipped.is_none() && !report.clipped);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepReport {
    /// The norm of the whole gradient, divided by the count, with penalties and after clipping by value, before clipping
    /// by norm.
    pub grad_norm: f64,
    /// Whether clipping by norm made the gradient smaller.
    pub clipped: bool,
    /// Why no update was made, if none was.
    pub skipped: Option<Skip>,
}

/// Why a step changed nothing.
///
/// ```
/// assert_ne!(ff_train::optim::Skip::NonFinite, ff_train::optim::Skip::Nothing);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// A gradient is infinite or not a number; [`first_non_finite_gradient`] says which.
    NonFinite,
    /// The count is 0: no row took part in the loss.
    Nothing,
}

/// Where a gradient is not finite.
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
    /// The place in its flat values.
    pub index: usize,
    /// NaN or an infinity.
    pub value: f64,
}

/// The first gradient that is infinite or NaN, in the order of the parameters.
///
/// # Errors
/// The parameters hold no gradients.
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
    /// An optimiser for these parameters, with its state at zero.
    ///
    /// On a planning device it takes no memory and its steps do nothing, but the pool counts its state.
    ///
    /// # Errors
    /// The config does not hold together, a group matches no parameter, or there is not enough memory.
    pub fn new(config: &OptimizerConfig, params: &Params, device: &Device) -> Result<Self> {
        config.validate()?;
        if !params.dtype().is_float() {
            let (expected, found) = ("f32 or f64", params.dtype());
            return Err(ff_graph::Error::dtype(NAME, expected, found).into());
        }
        let rule = Rule::new(config);
        let layout = Layout::new(config, params)?;
        let (len, dtype) = (params.trainable_len(), params.dtype());
        let mut slots = Vec::new();
        for _ in rule.slots() {
            let mut slot =
                Tensor::zeros(device, [len].into(), dtype).map_err(ff_graph::Error::of(NAME))?;
            if rule.initial() != 0.0 && !slot.is_planned() {
                for_float!(NAME, dtype, T => {
                    let values = slot.slice_mut::<T>().map_err(ff_graph::Error::of(NAME))?;
                    values.fill(T::of(rule.initial()));
                    Ok(())
                })?;
            }
            slots.push(slot);
        }
        let lbfgs = match rule {
            Rule::Lbfgs => Some(Lbfgs::new(config, device, len, dtype)?),
            _ => None,
        };
        let muon = match rule {
            Rule::Muon => {
                let (muon, state) = Muon::new(config, params, &layout, device)?;
                slots = state;
                Some(muon)
            }
            _ => None,
        };
        let average = match config.ema {
            Some(decay) => Some(Average::new(device, params, decay)?),
            None => None,
        };
        Ok(Self {
            rule,
            slots,
            lbfgs,
            muon,
            average,
            max_norm: config.max_norm.map(|limit| MaxNorm::new(params, limit)),
            partials: vec![0.0; layout.pieces()],
            layout,
            updates: 0,
            dtype,
            len,
            device: device.clone(),
            config: config.clone(),
        })
    }

    /// One update of all trainable parameters from the gradients in the arena, in this order:
    ///
    /// 1. gradients are sums over the rows (or tokens) of all micro-batches: each is divided by their `count`;
    /// 2. the gradients of the penalties are added: g += l1 · sign(w) + l2 · w;
    /// 3. clipping by value: g = min(max(g, −clip_value), clip_value);
    /// 4. clipping by norm: g *= min(1, clip_norm / (‖g‖ + 10⁻⁶)), with the norm over all parameters, in f64 (as
    ///    `torch.nn.utils.clip_grad_norm_`);
    /// 5. the rule's update at rate `lr`, times the group's `lr_scale`, with weight decay: decoupled (AdamW, Lion, Muon) or
    ///    added to the clipped gradient (the others);
    /// 6. the rows of weight matrices are scaled down to `max_norm`;
    /// 7. the running average takes the new weights in.
    ///
    /// Where any gradient is not finite, nothing is changed and the report says so. Gradients are only read; the caller
    /// clears them. In steady state nothing is allocated, and the bits do not depend on the number of threads.
    ///
    /// # Errors
    /// The parameters are others than at the start or hold no gradients; `count` or `lr` is negative or not finite; the
    /// rule is L-BFGS; the averaged weights are swapped in.
    pub fn step(&mut self, params: &mut Params, count: f64, lr: f64) -> Result<StepReport> {
        self.check(params)?;
        if self.lbfgs.is_some() {
            return Err(Error::NeedsObjective);
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

    fn step_in<T: Orthogonal>(
        &mut self,
        params: &mut Params,
        count: f64,
        lr: f64,
    ) -> ff_graph::Result<StepReport> {
        let (w, g) = params.flat_and_gradients::<T>()?;
        let cpu = self.device.cpu();
        let mut pass = Pass {
            cpu,
            layout: &self.layout,
            scale: 1.0 / count,
            clip_value: self.config.clip_value,
            shrink: 1.0,
        };
        let grad_norm = pass.norm(w, g, &mut self.partials);
        if !grad_norm.is_finite() {
            return Ok(StepReport { grad_norm, clipped: false, skipped: Some(Skip::NonFinite) });
        }
        if let Some(limit) = self.config.clip_norm {
            pass.shrink = (limit / (grad_norm + 1e-6)).min(1.0);
        }
        self.updates += 1;
        match &mut self.muon {
            Some(muon) => muon.update(&pass, w, g, &mut self.slots, lr, self.updates)?,
            None => self.rule.update(&pass, w, g, &mut self.slots, lr, self.updates)?,
        }
        if let Some(max_norm) = &self.max_norm {
            max_norm.apply(cpu, w);
        }
        if let Some(average) = &mut self.average {
            average.update(cpu, &self.layout.bounds, w)?;
        }
        Ok(StepReport { grad_norm, clipped: pass.shrink < 1.0, skipped: None })
    }

    /// Whether it is L-BFGS, whose steps are [`Optimizer::minimize`].
    pub fn needs_objective(&self) -> bool {
        self.lbfgs.is_some()
    }

    /// One step of L-BFGS: up to `max_iter` iterations, each a direction and a search along it, from the weights as they
    /// are, after which the running average takes the new weights in.
    ///
    /// Loss and gradients are divided by the count, and the penalty l2/2 · Σw² is part of the loss. What is known of the
    /// curvature is kept from call to call, so the objective should be the same. The calls give the weights that
    /// `torch.optim.LBFGS.step` gives.
    ///
    /// # Errors
    /// The rule is not L-BFGS; the objective fails; its parameters are others than at the start, its count is not above 0;
    /// `lr` is negative or not finite; the averaged weights are swapped in.
    pub fn minimize<O: Objective>(
        &mut self,
        objective: &mut O,
        lr: f64,
    ) -> Result<MinimizeReport, O::Error> {
        self.check(objective.params())?;
        check_rate(lr)?;
        let Some(lbfgs) = &mut self.lbfgs else { return Err(Error::NoObjective.into()) };
        if self.device.pool().is_planning() || self.len == 0 {
            objective.evaluate()?;
            return Ok(MinimizeReport { evaluations: 1, ..MinimizeReport::default() });
        }
        let (cpu, layout) = (self.device.cpu(), &self.layout);
        let report = match self.dtype {
            DType::F64 => lbfgs.minimize::<f64, O>(cpu, layout, objective, lr)?,
            _ => lbfgs.minimize::<f32, O>(cpu, layout, objective, lr)?,
        };
        if report.stop == Stop::NonFinite {
            return Ok(report);
        }
        self.updates += 1;
        if let Some(average) = &mut self.average {
            let taken: ff_graph::Result<()> = for_float!(NAME, self.dtype, T => {
                let weights = objective.params().flat::<T>();
                weights.and_then(|weights| average.update::<T>(cpu, &layout.bounds, weights))
            });
            taken.map_err(Error::from)?;
        }
        Ok(report)
    }

    /// Exchanges the weights and their running average, for evaluation, and exchanges them back when called again; false
    /// where no average is kept or no update has been made.
    ///
    /// # Errors
    /// The parameters are others than at the start.
    pub fn swap_average(&mut self, params: &mut Params) -> Result<bool> {
        self.check_size(params)?;
        let Some(average) = &mut self.average else { return Ok(false) };
        if average.values.is_planned() {
            return Ok(false);
        }
        for_float!(NAME, self.dtype, T => average.swap::<T>(params.flat_mut()?))?;
        Ok(average.updates > 0)
    }

    /// What it was made from.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// How many updates have been made; skipped steps do not count.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The bytes of its state, and of what Muon works in.
    pub fn state_bytes(&self) -> usize {
        let values = match &self.muon {
            None => self.config.values_per_parameter() * self.len,
            Some(muon) => {
                let average = self.average.iter().map(|average| &average.values);
                let tensors = self.slots.iter().chain(muon.space()).chain(average);
                tensors.map(|tensor| tensor.shape().len()).sum()
            }
        };
        values * self.dtype.bytes()
    }

    fn check(&self, params: &Params) -> Result<()> {
        if self.average.as_ref().is_some_and(|average| average.swapped) {
            return Err(Error::Swapped);
        }
        self.check_size(params)
    }

    fn check_size(&self, params: &Params) -> Result<()> {
        if params.trainable_len() != self.len || params.dtype() != self.dtype {
            return Err(Error::OtherParams {
                expected: self.len,
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
