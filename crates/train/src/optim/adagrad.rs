use super::layout::Layout;
use super::product::Product;
use super::rule::{Array, Method, Rule, slices};
use super::step::Step;
use crate::keys::keyed;
use ff_settings::Range::AtLeast;
use ff_tensor::Tensor;

keyed! {
    /// Adagrad: Duchi, Hazan and Singer 2011 (`torch.optim.Adagrad`).
    ///
    /// g += λ w;  s += g²;  w −= lr / (1 + (t − 1) lr_decay) · g / (√s + ε)
    ///
    /// With `eps_first` the denominator is √(s + ε).
    pub struct Adagrad {
        /// Added to the denominator.
        eps: f64 = 1e-10, in AtLeast(0.0);
        /// The rate falls as 1 / (1 + t·lr_decay).
        lr_decay: f64 = 0.0, in AtLeast(0.0);
        /// The initial value of the sums of squares.
        initial_accumulator_value: f64 = 0.0, in AtLeast(0.0);
        /// Add `eps` before the root is taken, as Keras and TensorFlow do.
        eps_first: bool = false;
    }
}

impl Method for Adagrad {
    const LR: f64 = 1e-2;
    type Rule = Self;

    fn rule(self, _: &Layout, _: f64) -> Self {
        self
    }
}

impl Rule for Adagrad {
    fn arrays(&self, layout: &Layout) -> Vec<Array> {
        vec![Array::whole("sum", layout, Some(self.initial_accumulator_value))]
    }

    fn update<T: Product>(
        &mut self,
        step: &Step<'_>,
        w: &mut [T],
        g: &[T],
        arrays: &mut [Tensor],
    ) -> ff_graph::Result<()> {
        let [sum] = slices(arrays)?;
        let lr = step.lr / (1.0 + (step.number - 1) as f64 * self.lr_decay);
        let [inside, eps] = if self.eps_first { [self.eps, 0.0] } else { [0.0, self.eps] };
        let (inside, eps) = (T::of(inside), T::of(eps));
        step.update(g, [w, sum], |group| {
            let (lr, decay) = (T::of(lr * group.lr_scale), T::of(step.decay(group)));
            #[inline(always)]
            move |g, [w, sum]| {
                let g = g + decay * w;
                let sum = sum + g * g;
                [w - lr * g / ((sum + inside).sqrt() + eps), sum]
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Adagrad;
    use crate::optim::testing::{F32, F64, agrees, kept};

    #[test]
    fn agrees_with_pytorch() {
        agrees(include_str!("../../tests/fixtures/optim/adagrad.json"), F64, F32);
    }

    #[test]
    fn one_array_is_kept() {
        assert_eq!(kept(Adagrad::default()), 28);
    }
}
