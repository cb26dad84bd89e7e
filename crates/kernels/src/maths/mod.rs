//! Elementary functions of f32, written to vectorise in loops.
//!
//! A function has no branch, no table and no call: integer arithmetic on the bits reduces the
//! argument, a polynomial does the rest, and special values are selected at the end. Only
//! additions, multiplications and one division are used, not their fused forms, so that every
//! instruction set gives the same bits. Polynomials are minimax fits by `scripts/minimax.py`; "ulp"
//! is the distance of an f32 to the next. The bounds are tested on a few million values.

mod erf;
mod exp;
mod ln;
mod sigmoid;
#[cfg(test)]
mod testing;
mod turn;

pub(crate) use erf::{erf, normal};
pub(crate) use exp::{exp, exp_m1, exp_weight};
pub(crate) use ln::{ln, ln_1p, softplus};
pub(crate) use sigmoid::{sigmoid, tanh};
pub(crate) use turn::turn;

/// ln 2 in two parts; the first has 16 bits, so that its product with an exponent is exact.
const LN_2_HIGH: f32 = 0.693_145_75;
const LN_2_LOW: f32 = 1.428_606_8e-6;

/// The smaller of a value and a bound; NaN stays NaN.
#[inline(always)]
fn at_most(x: f32, bound: f32) -> f32 {
    if x > bound { bound } else { x }
}

/// 2ⁿ for −126 ≤ n ≤ 127, and 0 for −127.
#[inline(always)]
fn power_of_2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{Device, DeviceOptions, Isa};

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        type Function = fn(&Device, &[f32], &mut [f32]);
        // Functions are called by name, so that they are inlined and compiled for the set.
        macro_rules! functions {
            ($($f:expr),*) => {
                [$(|device, x, y| crate::map(device.cpu(), x, y, #[inline(always)] |x| $f(x))),*]
            };
        }
        let functions: [Function; 11] = functions!(
            exp,
            exp_weight,
            exp_m1,
            ln,
            ln_1p,
            softplus,
            sigmoid,
            tanh,
            erf,
            (|x| {
                let (cumulative, density) = normal(x);
                cumulative + density
            }),
            (|x| {
                let (sin, cos) = turn(x);
                sin + cos
            })
        );
        let x: Vec<f32> = testing::samples().step_by(97).collect();
        let run = |isa: Isa| {
            let device = Device::open(DeviceOptions { threads: 1, isa: Some(isa) }).ok()?;
            let mut y = vec![0.0; x.len()];
            let all = functions.iter().map(|function| {
                function(&device, &x, &mut y);
                // NaN payloads may differ.
                y.iter().map(|y| if y.is_nan() { 0 } else { y.to_bits() }).collect::<Vec<_>>()
            });
            Some(all.collect::<Vec<_>>())
        };
        let plain = run(Isa::Plain);
        for isa in [Isa::Avx2, Isa::Avx512] {
            assert!(run(isa).is_none_or(|found| Some(&found) == plain.as_ref()), "{isa:?}");
        }
    }
}
