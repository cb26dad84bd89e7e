use super::layout::Layout;
use super::product::Product;
use super::rule::{Array, Method, Rule, slices};
use super::step::Step;
use crate::keys::keyed;
use ff_settings::ConfigError;
use ff_settings::Range::{Any, AtLeast};
use ff_tensor::Tensor;

keyed! {
    /// Stochastic gradient descent with momentum (`torch.optim.SGD`).
    ///
    /// g += λ w;  m = μ m + (1 − dampening) g, at first m = g
    ///
    /// w −= lr m, with Nesterov lr (g + μ m)
    pub struct Sgd {
        /// Momentum.
        momentum: f64 = 0.0, in AtLeast(0.0);
        /// The fraction of each gradient excluded from the momentum.
        dampening: f64 = 0.0, in Any;
        /// Nesterov's momentum.
        nesterov: bool = false;
    }
}

impl Method for Sgd {
    const LR: f64 = 1e-3;
    type Rule = Self;

    fn check(&self) -> Result<(), ConfigError> {
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            let message = "needs `momentum` above 0 and `dampening` of 0";
            return Err(ConfigError::new("nesterov", message));
        }
        Ok(())
    }

    fn rule(self, _: &Layout, _: f64) -> Self {
        self
    }
}

impl Rule for Sgd {
    fn arrays(&self, layout: &Layout) -> Vec<Array> {
        let momentum = (self.momentum != 0.0).then(|| Array::zeros("momentum_buffer", layout));
        momentum.into_iter().collect()
    }

    fn update<T: Product>(
        &mut self,
        step: &Step<'_>,
        w: &mut [T],
        g: &[T],
        arrays: &mut [Tensor],
    ) -> ff_graph::Result<()> {
        if self.momentum == 0.0 {
            step.update(g, [w], |group| {
                let (lr, decay) = step.rate_and_decay::<T>(group);
                #[inline(always)]
                move |g, [w]| [w - lr * (g + decay * w)]
            });
            return Ok(());
        }
        let [m] = slices(arrays)?;
        let fresh = T::of(if step.number == 1 { 1.0 } else { 1.0 - self.dampening });
        let (momentum, nesterov) = (T::of(self.momentum), self.nesterov);
        step.update(g, [w, m], |group| {
            let (lr, decay) = step.rate_and_decay::<T>(group);
            #[inline(always)]
            move |g, [w, m]| {
                let g = g + decay * w;
                let m = momentum * m + fresh * g;
                [w - lr * if nesterov { g + momentum * m } else { m }, m]
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Sgd;
    use crate::optim::testing::{F32, F64, agrees, kept};

    #[test]
    fn agrees_with_pytorch() {
        agrees(include_str!("../../tests/fixtures/optim/sgd.json"), F64, F32);
    }

    #[test]
    fn only_momentum_takes_memory() {
        assert_eq!(kept(Sgd::default()), 0);
        assert_eq!(kept(Sgd { momentum: 0.9, ..Sgd::default() }), 28);
    }
}
