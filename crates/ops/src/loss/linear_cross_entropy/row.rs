//! Passes over one row of logits.

use super::LinearCrossEntropy;
use crate::loss::{Total, times};
use ff_kernels::{Float, map_sum, maximum, sum_of};

impl LinearCrossEntropy {
    /// The loss of a row; with a `scale`, scale · dz replaces the logits, otherwise they are lost.
    #[inline(always)]
    pub(super) fn row<T: Float>(&self, z: &mut [T], target: i32, scale: Option<f64>) -> Total {
        if target == self.ignore_index {
            if scale.is_some() {
                z.fill(T::ZERO);
            }
            return Total::default();
        }
        let target = target as usize;
        if let Some(cap) = self.soft_cap {
            let (cap, over) = (T::of(cap), T::of(1.0 / cap));
            for z in &mut *z {
                *z = cap * (*z * over).tanh();
            }
        }
        let (m, own) = (maximum(z), z[target]);
        let even = self.label_smoothing / z.len() as f64;
        let spread = if even == 0.0 {
            0.0
        } else {
            sum_of(
                z,
                #[inline(always)]
                |z| (m - z).f64(),
            )
        };
        // Exponentials replace the logits, unless dz needs the logits again.
        let sum = if self.soft_cap.is_none() {
            map_sum(
                z,
                #[inline(always)]
                |z| (z - m).exp(),
            )
        } else {
            sum_of(
                z,
                #[inline(always)]
                |z| (z - m).exp().f64(),
            )
        };
        let log = sum.ln();
        let log_sum_exp = m.f64() + log;
        let hard = 1.0 - self.label_smoothing;
        let mut loss = log + times(hard, (m - own).f64()) + even * spread;
        if self.z_loss > 0.0 {
            loss += self.z_loss * log_sum_exp * log_sum_exp;
        }
        if let Some(scale) = scale {
            let factor = T::of(scale * (1.0 + 2.0 * self.z_loss * log_sum_exp) / sum);
            let (hard, even) = (T::of(scale * hard), T::of(scale * even));
            match self.soft_cap {
                None => {
                    for z in &mut *z {
                        *z = *z * factor - even;
                    }
                    z[target] -= hard;
                }
                Some(cap) => {
                    let over = T::of(1.0 / cap);
                    for z in &mut *z {
                        let share = *z * over;
                        *z = ((*z - m).exp() * factor - even) * (T::ONE - share * share);
                    }
                    let share = own * over;
                    z[target] -= hard * (T::ONE - share * share);
                }
            }
        }
        Total { loss, count: 1.0 }
    }
}
