use super::layout::{Group, Layout};
use super::product::Product;
use super::rule::{Array, Method, Rule, slices};
use super::step::Step;
use crate::keys::keyed;
use ff_kernels::Float;
use ff_settings::Range::{AtLeast, BelowOne};
use ff_tensor::Tensor;

keyed! {
    /// Adam: Kingma and Ba 2015 (`torch.optim.Adam`).
    ///
    /// m = β₁ m + (1 − β₁) g;  v = β₂ v + (1 − β₂) g²;  w −= lr m̂ / (√v̂ + ε)
    ///
    /// with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ). AMSGrad uses the largest v so far; λ w is
    /// added to g. With `eps_first` the denominator is (√v + ε) / √(1 − β₂ᵗ).
    pub struct Adam {
        /// The decay of the running means of the gradient and of its square.
        betas: [f64; 2] = [0.9, 0.999], in BelowOne;
        /// Added to the denominator.
        eps: f64 = 1e-8, in AtLeast(0.0);
        /// Divide by the largest second moment so far (Reddi et al. 2018).
        amsgrad: bool = false;
        /// Add `eps` before the bias correction, to √v, as Keras does.
        eps_first: bool = false;
    }
}

keyed! {
    /// Adam with decoupled weight decay: Loshchilov and Hutter 2019 (`torch.optim.AdamW`).
    ///
    /// w −= lr λ w, then [`Adam`]'s update.
    pub struct AdamW {
        /// The decay of the running means of the gradient and of its square.
        betas: [f64; 2] = [0.9, 0.999], in BelowOne;
        /// Added to the denominator.
        eps: f64 = 1e-8, in AtLeast(0.0);
        /// Divide by the largest second moment so far (Reddi et al. 2018).
        amsgrad: bool = false;
        /// Add `eps` before the bias correction, to √v, as Keras does.
        eps_first: bool = false;
    }
}

impl Method for Adam {
    const LR: f64 = 1e-3;
    type Rule = AdamRule;

    fn rule(self, _: &Layout, _: f64) -> AdamRule {
        let Self { betas, eps, amsgrad, eps_first } = self;
        AdamRule { betas, eps, amsgrad, eps_first, decoupled: false }
    }
}

impl Method for AdamW {
    const LR: f64 = 1e-3;
    const WEIGHT_DECAY: f64 = 0.01;
    const DECOUPLED: bool = true;
    type Rule = AdamRule;

    fn rule(self, _: &Layout, _: f64) -> AdamRule {
        let Self { betas, eps, amsgrad, eps_first } = self;
        AdamRule { betas, eps, amsgrad, eps_first, decoupled: true }
    }
}

/// Adam's update with either weight decay.
#[derive(Debug, Clone)]
pub(super) struct AdamRule {
    betas: [f64; 2],
    eps: f64,
    amsgrad: bool,
    eps_first: bool,
    decoupled: bool,
}

impl Rule for AdamRule {
    fn arrays(&self, layout: &Layout) -> Vec<Array> {
        let names = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];
        let count = if self.amsgrad { 3 } else { 2 };
        names[..count].iter().map(|name| Array::zeros(name, layout)).collect()
    }

    fn update<T: Product>(
        &mut self,
        step: &Step<'_>,
        w: &mut [T],
        g: &[T],
        arrays: &mut [Tensor],
    ) -> ff_graph::Result<()> {
        let mut moments = Moments::<T>::new(self.betas, self.eps, self.decoupled, step.number);
        if self.eps_first {
            moments.eps = self.eps;
        }
        if self.amsgrad {
            let [m, v, largest] = slices(arrays)?;
            step.update(g, [w, m, v, largest], |group| {
                let rates = moments.rates(step.lr, step.decay(group), group);
                #[inline(always)]
                move |g, [w, m, v, largest]| {
                    let (m, v) = moments.next(g + rates.decay * w, m, v);
                    let largest = largest.maximum(v);
                    [rates.step(w, m, largest), m, v, largest]
                }
            });
        } else {
            let [m, v] = slices(arrays)?;
            step.update(g, [w, m, v], |group| {
                let rates = moments.rates(step.lr, step.decay(group), group);
                #[inline(always)]
                move |g, [w, m, v]| {
                    let (m, v) = moments.next(g + rates.decay * w, m, v);
                    [rates.step(w, m, v), m, v]
                }
            });
        }
        Ok(())
    }
}

/// The constants of update t in the arena's type.
#[derive(Clone, Copy)]
pub(super) struct Moments<T> {
    fresh1: T,
    beta2: T,
    fresh2: T,
    /// ε √(1 − β₂ᵗ): numerator and denominator of the step are multiplied by that root. Or ε,
    /// where it is added before the correction.
    eps: f64,
    /// The factor of the rate: √(1 − β₂ᵗ) / (1 − β₁ᵗ).
    correction: f64,
    decoupled: bool,
}

/// The constants of a group.
#[derive(Clone, Copy)]
pub(super) struct Rates<T> {
    rate: T,
    keep: T,
    pub(super) decay: T,
    eps: T,
}

impl<T: Float> Moments<T> {
    pub(super) fn new([beta1, beta2]: [f64; 2], eps: f64, decoupled: bool, t: u64) -> Self {
        let root = (1.0 - beta2.powf(t as f64)).sqrt();
        Self {
            fresh1: T::of(1.0 - beta1),
            beta2: T::of(beta2),
            fresh2: T::of(1.0 - beta2),
            eps: eps * root,
            correction: root / (1.0 - beta1.powf(t as f64)),
            decoupled,
        }
    }

    pub(super) fn rates(&self, lr: f64, decay: f64, group: &Group) -> Rates<T> {
        let lr = lr * group.lr_scale;
        let (keep, decay) = if self.decoupled { (1.0 - lr * decay, 0.0) } else { (1.0, decay) };
        // A matrix is W / √fan_in of a W with the group's rate: its steps are smaller by that root,
        // its gradient larger; decay is relative and stays.
        let root = group.fan_in.sqrt();
        Rates {
            rate: T::of(lr / root * self.correction),
            keep: T::of(keep),
            decay: T::of(decay),
            eps: T::of(self.eps * root),
        }
    }

    /// m and v after a new gradient.
    #[inline(always)]
    pub(super) fn next(&self, g: T, m: T, v: T) -> (T, T) {
        (m + self.fresh1 * (g - m), self.beta2 * v + self.fresh2 * g * g)
    }
}

impl<T: Float> Rates<T> {
    /// The new w.
    #[inline(always)]
    pub(super) fn step(&self, w: T, m: T, v: T) -> T {
        w * self.keep - self.rate * m / (v.sqrt() + self.eps)
    }
}

#[cfg(test)]
mod tests {
    use super::{Adam, AdamW};
    use crate::optim::testing::{F32, F64, agrees, kept};

    #[test]
    fn both_agree_with_pytorch() {
        agrees(include_str!("../../tests/fixtures/optim/adam.json"), F64, F32);
        agrees(include_str!("../../tests/fixtures/optim/adamw.json"), F64, F32);
    }

    #[test]
    fn two_or_three_moments_are_kept() {
        assert_eq!(kept(Adam::default()), 2 * 28);
        assert_eq!(kept(AdamW { amsgrad: true, ..AdamW::default() }), 3 * 28);
    }
}
