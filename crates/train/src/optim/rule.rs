//! The element-wise rules: each equation beside its pass.

use super::pass::Pass;
use super::{OptimizerConfig, OptimizerKind};
use ff_graph::{Error, Result};
use ff_kernels::Float;
use ff_tensor::Tensor;

/// A rule with all its settings. Below, g is the step's gradient of a parameter w, lr the rate, λ the weight decay and t
/// the number of updates, this one included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rule {
    /// g += λ w;  m = μ m + (1 − dampening) g (m = g at first);  w −= lr m, or lr (g + μ m) with Nesterov.
    Sgd { momentum: f64, dampening: f64, nesterov: bool },
    /// m = β₁ m + (1 − β₁) g;  v = β₂ v + (1 − β₂) g²;  w −= lr m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and
    /// v̂ = v / (1 − β₂ᵗ); AMSGrad takes the largest v so far. λ w is added to g, or if decoupled w −= lr λ w first.
    Adam { betas: [f64; 2], eps: f64, amsgrad: bool, decoupled: bool },
    /// g += λ w;  v = α v + (1 − α) g²;  centred: a = α a + (1 − α) g and v − a² for v below;  u = g / (√v + ε);
    /// w −= lr u, or with momentum m = μ m + u and w −= lr m.
    RmsProp { alpha: f64, eps: f64, momentum: f64, centered: bool },
    /// g += λ w;  s += g²;  w −= lr / (1 + (t − 1) decay) · g / (√s + ε).
    Adagrad { lr_decay: f64, eps: f64, initial: f64 },
    /// w −= lr (sign(β₁ m + (1 − β₁) g) + λ w);  m = β₂ m + (1 − β₂) g.
    Lion { betas: [f64; 2] },
    /// Looks at whole matrices: see `muon`.
    Muon,
    /// Needs the loss again: see `lbfgs`.
    Lbfgs,
}

impl Rule {
    pub(super) fn new(config: &OptimizerConfig) -> Self {
        let or = |value: Option<f64>, default: f64| value.unwrap_or(default);
        match config.kind {
            OptimizerKind::Sgd => Self::Sgd {
                momentum: or(config.momentum, 0.0),
                dampening: or(config.dampening, 0.0),
                nesterov: config.nesterov.unwrap_or(false),
            },
            OptimizerKind::Adam | OptimizerKind::AdamW => Self::Adam {
                betas: config.betas.unwrap_or([0.9, 0.999]),
                eps: or(config.eps, 1e-8),
                amsgrad: config.amsgrad.unwrap_or(false),
                decoupled: config.kind == OptimizerKind::AdamW,
            },
            OptimizerKind::RmsProp => Self::RmsProp {
                alpha: or(config.alpha, 0.99),
                eps: or(config.eps, 1e-8),
                momentum: or(config.momentum, 0.0),
                centered: config.centered.unwrap_or(false),
            },
            OptimizerKind::Adagrad => Self::Adagrad {
                lr_decay: or(config.lr_decay, 0.0),
                eps: or(config.eps, 1e-10),
                initial: or(config.initial_accumulator_value, 0.0),
            },
            OptimizerKind::Lion => Self::Lion { betas: config.betas.unwrap_or([0.9, 0.99]) },
            OptimizerKind::Muon => Self::Muon,
            OptimizerKind::Lbfgs => Self::Lbfgs,
        }
    }

    /// The names of the arrays it keeps, PyTorch's; in the order in which `update` takes them.
    pub(super) fn slots(self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum, .. } if momentum != 0.0 => &["momentum_buffer"],
            Self::Sgd { .. } | Self::Muon | Self::Lbfgs => &[],
            Self::Adam { amsgrad: false, .. } => &["exp_avg", "exp_avg_sq"],
            Self::Adam { amsgrad: true, .. } => &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
            Self::RmsProp { momentum, centered, .. } => match (centered, momentum != 0.0) {
                (false, false) => &["square_avg"],
                (false, true) => &["square_avg", "momentum_buffer"],
                (true, false) => &["square_avg", "grad_avg"],
                (true, true) => &["square_avg", "grad_avg", "momentum_buffer"],
            },
            Self::Adagrad { .. } => &["sum"],
            Self::Lion { .. } => &["exp_avg"],
        }
    }

    /// What its arrays hold before the first step.
    pub(super) fn initial(self) -> f64 {
        if let Self::Adagrad { initial, .. } = self { initial } else { 0.0 }
    }

    /// One update of all parameters, number `t` from 1, at rate `lr`.
    pub(super) fn update<T: Float>(
        self,
        pass: &Pass<'_>,
        w: &mut [T],
        g: &[T],
        slots: &mut [Tensor],
        lr: f64,
        t: u64,
    ) -> Result<()> {
        match self {
            Self::Sgd { momentum: 0.0, .. } => {
                pass.update(g, [w], |group| {
                    let (lr, decay) = (T::of(lr * group.lr_scale), T::of(group.weight_decay));
                    #[inline(always)]
                    move |g, [w]| [w - lr * (g + decay * w)]
                });
            }
            Self::Sgd { momentum, dampening, nesterov } => {
                let [m] = slices(slots)?;
                let fresh = T::of(if t == 1 { 1.0 } else { 1.0 - dampening });
                let momentum = T::of(momentum);
                pass.update(g, [w, m], |group| {
                    let (lr, decay) = (T::of(lr * group.lr_scale), T::of(group.weight_decay));
                    #[inline(always)]
                    move |g, [w, m]| {
                        let g = g + decay * w;
                        let m = momentum * m + fresh * g;
                        [w - lr * if nesterov { g + momentum * m } else { m }, m]
                    }
                });
            }
            Self::Adam { betas, eps, amsgrad, decoupled } => {
                let adam = Adam::<T>::new(betas, eps, decoupled, t);
                if amsgrad {
                    let [m, v, largest] = slices(slots)?;
                    pass.update(g, [w, m, v, largest], |group| {
                        let at = adam.at(lr * group.lr_scale, group.weight_decay);
                        #[inline(always)]
                        move |g, [w, m, v, largest]| {
                            let (m, v) = adam.moments(g + at.decay * w, m, v);
                            let largest = largest.maximum(v);
                            [at.step(&adam, w, m, largest), m, v, largest]
                        }
                    });
                } else {
                    let [m, v] = slices(slots)?;
                    pass.update(g, [w, m, v], |group| {
                        let at = adam.at(lr * group.lr_scale, group.weight_decay);
                        #[inline(always)]
                        move |g, [w, m, v]| {
                            let (m, v) = adam.moments(g + at.decay * w, m, v);
                            [at.step(&adam, w, m, v), m, v]
                        }
                    });
                }
            }
            Self::RmsProp { alpha, eps, momentum, centered } => {
                let rms = RmsProp {
                    alpha: T::of(alpha),
                    fresh: T::of(1.0 - alpha),
                    eps: T::of(eps),
                    momentum: T::of(momentum),
                };
                rms.update(pass, w, g, slots, lr, centered)?;
            }
            Self::Adagrad { lr_decay, eps, .. } => {
                let [sum] = slices(slots)?;
                let lr = lr / (1.0 + (t - 1) as f64 * lr_decay);
                let eps = T::of(eps);
                pass.update(g, [w, sum], |group| {
                    let (lr, decay) = (T::of(lr * group.lr_scale), T::of(group.weight_decay));
                    #[inline(always)]
                    move |g, [w, sum]| {
                        let g = g + decay * w;
                        let sum = sum + g * g;
                        [w - lr * g / (sum.sqrt() + eps), sum]
                    }
                });
            }
            Self::Lion { betas: [beta1, beta2] } => {
                let [m] = slices(slots)?;
                let [b1, f1, b2, f2] = [beta1, 1.0 - beta1, beta2, 1.0 - beta2].map(T::of);
                pass.update(g, [w, m], |group| {
                    let rate = lr * group.lr_scale;
                    let (lr, keep) = (T::of(rate), T::of(1.0 - rate * group.weight_decay));
                    #[inline(always)]
                    move |g, [w, m]| {
                        let direction = b1 * m + f1 * g;
                        let step = if direction > T::ZERO {
                            lr
                        } else if direction < T::ZERO {
                            -lr
                        } else {
                            T::ZERO
                        };
                        [w * keep - step, b2 * m + f2 * g]
                    }
                });
            }
            Self::Muon | Self::Lbfgs => {}
        }
        Ok(())
    }
}

/// What Adam's update number t needs, in the arena's type.
#[derive(Clone, Copy)]
pub(super) struct Adam<T> {
    fresh1: T,
    beta2: T,
    fresh2: T,
    /// ε √(1 − β₂ᵗ): numerator and denominator of the step are both multiplied with that root.
    eps: T,
    /// What the rate is multiplied with: √(1 − β₂ᵗ) / (1 − β₁ᵗ).
    correction: f64,
    decoupled: bool,
}

/// A group's part of it.
#[derive(Clone, Copy)]
pub(super) struct AdamAt<T> {
    step: T,
    keep: T,
    decay: T,
}

impl<T: Float> Adam<T> {
    pub(super) fn new([beta1, beta2]: [f64; 2], eps: f64, decoupled: bool, t: u64) -> Self {
        let root = (1.0 - beta2.powf(t as f64)).sqrt();
        Self {
            fresh1: T::of(1.0 - beta1),
            beta2: T::of(beta2),
            fresh2: T::of(1.0 - beta2),
            eps: T::of(eps * root),
            correction: root / (1.0 - beta1.powf(t as f64)),
            decoupled,
        }
    }

    pub(super) fn at(&self, lr: f64, decay: f64) -> AdamAt<T> {
        let (keep, decay) = if self.decoupled { (1.0 - lr * decay, 0.0) } else { (1.0, decay) };
        AdamAt { step: T::of(lr * self.correction), keep: T::of(keep), decay: T::of(decay) }
    }

    #[inline(always)]
    pub(super) fn moments(&self, g: T, m: T, v: T) -> (T, T) {
        (m + self.fresh1 * (g - m), self.beta2 * v + self.fresh2 * g * g)
    }
}

impl<T: Float> AdamAt<T> {
    #[inline(always)]
    pub(super) fn step(&self, adam: &Adam<T>, w: T, m: T, v: T) -> T {
        w * self.keep - self.step * m / (v.sqrt() + adam.eps)
    }
}

#[derive(Clone, Copy)]
struct RmsProp<T> {
    alpha: T,
    fresh: T,
    eps: T,
    momentum: T,
}

impl<T: Float> RmsProp<T> {
    #[inline(always)]
    fn square(&self, g: T, v: T) -> T {
        self.alpha * v + self.fresh * g * g
    }

    #[inline(always)]
    fn mean(&self, g: T, a: T) -> T {
        a + self.fresh * (g - a)
    }

    /// √v + ε; rounding can make a variance negative where the gradient does not change, which counts as 0.
    #[inline(always)]
    fn root(&self, v: T) -> T {
        v.maximum(T::ZERO).sqrt() + self.eps
    }

    fn update(
        self,
        pass: &Pass<'_>,
        w: &mut [T],
        g: &[T],
        slots: &mut [Tensor],
        lr: f64,
        centered: bool,
    ) -> Result<()> {
        let at =
            |group: &super::group::Group| (T::of(lr * group.lr_scale), T::of(group.weight_decay));
        match (centered, self.momentum != T::ZERO) {
            (false, false) => {
                let [v] = slices(slots)?;
                pass.update(g, [w, v], |group| {
                    let (lr, decay) = at(group);
                    #[inline(always)]
                    move |g, [w, v]| {
                        let g = g + decay * w;
                        let v = self.square(g, v);
                        [w - lr * g / self.root(v), v]
                    }
                });
            }
            (false, true) => {
                let [v, m] = slices(slots)?;
                pass.update(g, [w, v, m], |group| {
                    let (lr, decay) = at(group);
                    #[inline(always)]
                    move |g, [w, v, m]| {
                        let g = g + decay * w;
                        let v = self.square(g, v);
                        let m = self.momentum * m + g / self.root(v);
                        [w - lr * m, v, m]
                    }
                });
            }
            (true, false) => {
                let [v, a] = slices(slots)?;
                pass.update(g, [w, v, a], |group| {
                    let (lr, decay) = at(group);
                    #[inline(always)]
                    move |g, [w, v, a]| {
                        let g = g + decay * w;
                        let (v, a) = (self.square(g, v), self.mean(g, a));
                        [w - lr * g / self.root(v - a * a), v, a]
                    }
                });
            }
            (true, true) => {
                let [v, a, m] = slices(slots)?;
                pass.update(g, [w, v, a, m], |group| {
                    let (lr, decay) = at(group);
                    #[inline(always)]
                    move |g, [w, v, a, m]| {
                        let g = g + decay * w;
                        let (v, a) = (self.square(g, v), self.mean(g, a));
                        let m = self.momentum * m + g / self.root(v - a * a);
                        [w - lr * m, v, a, m]
                    }
                });
            }
        }
        Ok(())
    }
}

/// The arrays of the slots, which are N by the rule's `slots`.
fn slices<T: Float, const N: usize>(slots: &mut [Tensor]) -> Result<[&mut [T]; N]> {
    let mut arrays: [&mut [T]; N] = std::array::from_fn(|_| Default::default());
    for (array, slot) in arrays.iter_mut().zip(slots) {
        *array = slot.slice_mut().map_err(Error::of("optimizer"))?;
    }
    Ok(arrays)
}
