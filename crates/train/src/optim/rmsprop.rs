use super::layout::Layout;
use super::product::Product;
use super::rule::{Array, Method, Rule, slices};
use super::step::Step;
use crate::keys::keyed;
use ff_kernels::Float;
use ff_settings::Range::{AtLeast, BelowOne};
use ff_tensor::Tensor;

keyed! {
    /// RMSprop: Hinton's lecture 6e, centred as in Graves 2013 (`torch.optim.RMSprop`).
    ///
    /// g += λ w;  v = α v + (1 − α) g²;  centred: a = α a + (1 − α) g, and v − a² for v below
    /// u = g / (√v + ε);  w −= lr u, or with momentum m = μ m + u and w −= lr m
    ///
    /// With `eps_first` the denominator is √(v + ε).
    pub struct RmsProp {
        /// Added to the denominator.
        eps: f64 = 1e-8, in AtLeast(0.0);
        /// Momentum.
        momentum: f64 = 0.0, in AtLeast(0.0);
        /// The decay of the running mean of squares.
        alpha: f64 = 0.99, in BelowOne;
        /// Divide by the running variance instead of the mean square.
        centered: bool = false;
        /// Add `eps` before the root is taken, as Keras and TensorFlow do.
        eps_first: bool = false;
    }
}

impl Method for RmsProp {
    const LR: f64 = 1e-2;
    type Rule = Self;

    fn rule(self, _: &Layout, _: f64) -> Self {
        self
    }
}

impl Rule for RmsProp {
    fn arrays(&self, layout: &Layout) -> Vec<Array> {
        let arrays = [
            ("square_avg", true),
            ("grad_avg", self.centered),
            ("momentum_buffer", self.momentum != 0.0),
        ];
        let kept = arrays.iter().filter(|(_, kept)| *kept);
        kept.map(|(name, _)| Array::zeros(name, layout)).collect()
    }

    fn update<T: Product>(
        &mut self,
        step: &Step<'_>,
        w: &mut [T],
        g: &[T],
        arrays: &mut [Tensor],
    ) -> ff_graph::Result<()> {
        let rms = Constants::<T> {
            alpha: T::of(self.alpha),
            fresh: T::of(1.0 - self.alpha),
            eps: T::of(if self.eps_first { 0.0 } else { self.eps }),
            eps_first: T::of(if self.eps_first { self.eps } else { 0.0 }),
            momentum: T::of(self.momentum),
        };
        match (self.centered, self.momentum != 0.0) {
            (false, false) => {
                let [v] = slices(arrays)?;
                step.update(g, [w, v], |group| {
                    let (lr, decay) = step.rate_and_decay::<T>(group);
                    #[inline(always)]
                    move |g, [w, v]| {
                        let g = g + decay * w;
                        let v = rms.square(g, v);
                        [w - lr * g / rms.root(v), v]
                    }
                });
            }
            (false, true) => {
                let [v, m] = slices(arrays)?;
                step.update(g, [w, v, m], |group| {
                    let (lr, decay) = step.rate_and_decay::<T>(group);
                    #[inline(always)]
                    move |g, [w, v, m]| {
                        let g = g + decay * w;
                        let v = rms.square(g, v);
                        let m = rms.momentum * m + g / rms.root(v);
                        [w - lr * m, v, m]
                    }
                });
            }
            (true, false) => {
                let [v, a] = slices(arrays)?;
                step.update(g, [w, v, a], |group| {
                    let (lr, decay) = step.rate_and_decay::<T>(group);
                    #[inline(always)]
                    move |g, [w, v, a]| {
                        let g = g + decay * w;
                        let (v, a) = (rms.square(g, v), rms.mean(g, a));
                        [w - lr * g / rms.root(v - a * a), v, a]
                    }
                });
            }
            (true, true) => {
                let [v, a, m] = slices(arrays)?;
                step.update(g, [w, v, a, m], |group| {
                    let (lr, decay) = step.rate_and_decay::<T>(group);
                    #[inline(always)]
                    move |g, [w, v, a, m]| {
                        let g = g + decay * w;
                        let (v, a) = (rms.square(g, v), rms.mean(g, a));
                        let m = rms.momentum * m + g / rms.root(v - a * a);
                        [w - lr * m, v, a, m]
                    }
                });
            }
        }
        Ok(())
    }
}

/// The settings in the type of the arena.
#[derive(Clone, Copy)]
struct Constants<T> {
    alpha: T,
    fresh: T,
    eps: T,
    /// ε under the root.
    eps_first: T,
    momentum: T,
}

impl<T: Float> Constants<T> {
    #[inline(always)]
    fn square(&self, g: T, v: T) -> T {
        self.alpha * v + self.fresh * g * g
    }

    #[inline(always)]
    fn mean(&self, g: T, a: T) -> T {
        a + self.fresh * (g - a)
    }

    /// √v + ε or √(v + ε); a variance below 0 from rounding counts as 0.
    #[inline(always)]
    fn root(&self, v: T) -> T {
        (v.maximum(T::ZERO) + self.eps_first).sqrt() + self.eps
    }
}

#[cfg(test)]
mod tests {
    use super::RmsProp;
    use crate::optim::testing::{F32, F64, agrees, kept};

    #[test]
    fn agrees_with_pytorch() {
        agrees(include_str!("../../tests/fixtures/optim/rmsprop.json"), F64, F32);
    }

    #[test]
    fn every_option_takes_an_array() {
        assert_eq!(kept(RmsProp::default()), 28);
        let both = RmsProp { centered: true, momentum: 0.5, ..RmsProp::default() };
        assert_eq!(kept(both), 3 * 28);
    }
}
