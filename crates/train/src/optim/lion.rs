use super::layout::Layout;
use super::product::Product;
use super::rule::{Array, Method, Rule, slices};
use super::step::Step;
use crate::keys::keyed;
use ff_settings::Range::BelowOne;
use ff_tensor::Tensor;

keyed! {
    /// Lion, the sign of an interpolated momentum: Chen et al. 2023.
    ///
    /// w −= lr (sign(β₁ m + (1 − β₁) g) + λ w);  m = β₂ m + (1 − β₂) g
    pub struct Lion {
        /// The decay of the momentum in the update, and that of the running mean.
        betas: [f64; 2] = [0.9, 0.99], in BelowOne;
    }
}

impl Method for Lion {
    /// The rate of the paper.
    const LR: f64 = 1e-4;
    const DECOUPLED: bool = true;
    type Rule = Self;

    fn rule(self, _: &Layout, _: f64) -> Self {
        self
    }
}

impl Rule for Lion {
    fn arrays(&self, layout: &Layout) -> Vec<Array> {
        vec![Array::zeros("exp_avg", layout)]
    }

    fn update<T: Product>(
        &mut self,
        step: &Step<'_>,
        w: &mut [T],
        g: &[T],
        arrays: &mut [Tensor],
    ) -> ff_graph::Result<()> {
        let [m] = slices(arrays)?;
        let [beta1, beta2] = self.betas;
        let [b1, f1, b2, f2] = [beta1, 1.0 - beta1, beta2, 1.0 - beta2].map(T::of);
        step.update(g, [w, m], |group| {
            let rate = step.lr * group.lr_scale;
            let (lr, keep) = (T::of(rate), T::of(1.0 - rate * step.decay(group)));
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Lion;
    use crate::optim::testing::{F32, F64, agrees, kept};

    #[test]
    fn agrees_with_the_paper() {
        agrees(include_str!("../../tests/fixtures/optim/lion.json"), F64, F32);
    }

    #[test]
    fn one_array_is_kept() {
        assert_eq!(kept(Lion::default()), 28);
    }
}
