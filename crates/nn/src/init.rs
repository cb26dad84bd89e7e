use ff_kernels::{Float, for_pieces};
use ff_ops::{Activation, WeightInit};
use ff_tensor::{CpuDevice, Key, Rng, Shape};

/// The side of a weight that determines its variance.
///
/// ```
/// use ff_nn::{Fan, Init};
/// let he = Init::HeNormal { gain: 2f64.sqrt(), fan: Fan::In };
/// assert_eq!(he, Init::for_activation(ff_ops::Activation::Relu));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fan {
    /// The number of inputs, which preserves the scale of activations in the forward pass.
    In,
    /// The number of outputs, which preserves the scale of gradients in the backward pass.
    Out,
}

/// The distribution of a parameter's initial values.
///
/// For a weight `[out, in]`, fan-in is `in` and fan-out is `out`; `gain` is that of the following
/// activation ([`Init::gain`]). The names follow `torch.nn.init`.
///
/// ```
/// use ff_nn::{Fan, Init};
/// use ff_tensor::{Device, Key};
/// let init = Init::HeUniform { gain: 2f64.sqrt(), fan: Fan::In };
/// let mut values = vec![0.0f64; 600];
/// init.fill(Device::default().cpu(), [30, 20].into(), Key::new(0), &mut values);
/// let bound = (6.0f64 / 20.0).sqrt();
/// assert!(values.iter().all(|v| v.abs() <= bound));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// U(−a, a), a = gain · √(6 / (fan-in + fan-out)) (Glorot and Bengio, 2010)
    XavierUniform {
        /// The activation's gain.
        gain: f64,
    },
    /// N(0, σ²), σ = gain · √(2 / (fan-in + fan-out)) (Glorot and Bengio, 2010)
    XavierNormal {
        /// The activation's gain.
        gain: f64,
    },
    /// U(−a, a), a = gain · √(3 / fan) (He et al., 2015)
    HeUniform {
        /// The activation's gain; √2 for ReLU.
        gain: f64,
        /// The side that determines the variance.
        fan: Fan,
    },
    /// N(0, σ²), σ = gain / √fan (He et al., 2015)
    HeNormal {
        /// The activation's gain; √2 for ReLU.
        gain: f64,
        /// The side that determines the variance.
        fan: Fan,
    },
    /// U(−a, a), a = √(3 / fan-in) (LeCun et al., 1998)
    LecunUniform,
    /// N(0, σ²), σ = 1 / √fan-in (LeCun et al., 1998)
    LecunNormal,
    /// gain · Q with orthonormal rows or columns, whichever is fewer (Saxe et al., 2013)
    Orthogonal {
        /// The activation's gain.
        gain: f64,
    },
    /// N(0, σ²) within ±2σ
    TruncatedNormal {
        /// σ before truncation.
        std: f64,
    },
    /// U(low, high)
    Uniform {
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
    },
    /// N(0, σ²)
    Normal {
        /// σ.
        std: f64,
    },
    /// 1 or −1, as likely.
    Signs,
    /// A constant.
    Constant(f64),
    /// Zeros.
    Zeros,
}

impl Init {
    /// The factor that keeps the variance constant through an activation, as in
    /// `torch.nn.init.calculate_gain`; smooth variants of ReLU have its √2.
    pub fn gain(activation: Activation) -> f64 {
        match activation.init() {
            WeightInit::Xavier(gain) | WeightInit::He(gain) | WeightInit::Lecun(gain) => gain,
        }
    }

    /// The usual initialiser before an activation: He for ReLU and its variants, LeCun for SELU,
    /// Xavier for saturating activations and outputs.
    pub fn for_activation(activation: Activation) -> Self {
        match activation.init() {
            WeightInit::Xavier(gain) => Init::XavierUniform { gain },
            WeightInit::He(gain) => Init::HeNormal { gain, fan: Fan::In },
            WeightInit::Lecun(_) => Init::LecunNormal,
        }
    }

    /// Draws the values of a parameter on all threads; each value depends only on the key and its
    /// index. All but `Orthogonal` treat leading dimensions as outputs.
    ///
    /// # Panics
    /// If the length of `out` differs from that of the shape.
    pub fn fill<T: Float>(&self, cpu: &CpuDevice, shape: Shape, key: Key, out: &mut [T]) {
        assert_eq!(out.len(), shape.len(), "values of shape {shape}");
        let fan_in = shape.last().max(1) as f64;
        let fan_out = shape.rows().max(1) as f64;
        let fan = |fan| if fan == Fan::In { fan_in } else { fan_out };
        let around_zero = |bound: f64| move |u: f64| bound * (2.0 * u - 1.0);
        match *self {
            Init::XavierUniform { gain } => {
                uniform(cpu, key, out, around_zero(gain * (6.0 / (fan_in + fan_out)).sqrt()));
            }
            Init::XavierNormal { gain } => {
                normal(cpu, key, out, gain * (2.0 / (fan_in + fan_out)).sqrt());
            }
            Init::HeUniform { gain, fan: side } => {
                uniform(cpu, key, out, around_zero(gain * (3.0 / fan(side)).sqrt()));
            }
            Init::HeNormal { gain, fan: side } => normal(cpu, key, out, gain / fan(side).sqrt()),
            Init::LecunUniform => uniform(cpu, key, out, around_zero((3.0 / fan_in).sqrt())),
            Init::LecunNormal => normal(cpu, key, out, 1.0 / fan_in.sqrt()),
            Init::Orthogonal { gain } => {
                let mut exact = vec![0.0; out.len()];
                orthogonal(cpu, key, &mut exact, shape.rows(), shape.last(), gain);
                out.iter_mut().zip(exact).for_each(|(v, exact)| *v = T::of(exact));
            }
            // Rejection sampling: each value depends on the number of earlier draws.
            Init::TruncatedNormal { std } => {
                let mut rng = Rng::new(key);
                for v in out {
                    let z = std::iter::repeat_with(|| rng.normal()).find(|z| z.abs() <= 2.0);
                    *v = T::of(std * z.unwrap_or_default());
                }
            }
            Init::Uniform { low, high } => uniform(cpu, key, out, |u| low + (high - low) * u),
            Init::Normal { std } => normal(cpu, key, out, std),
            Init::Signs => uniform(cpu, key, out, |u| if u < 0.5 { -1.0 } else { 1.0 }),
            Init::Constant(value) => out.fill(T::of(value)),
            Init::Zeros => out.fill(T::ZERO),
        }
    }
}

/// The number of draws at a time: two registers of f64, whose latencies overlap.
const LANES: usize = 16;

/// f of the draws of [`Rng::uniform`], one per value.
fn uniform<T: Float>(cpu: &CpuDevice, key: Key, out: &mut [T], f: impl Fn(f64) -> f64 + Sync) {
    for_pieces(
        cpu,
        out,
        #[inline(always)]
        |start, part| {
            for (i, part) in part.chunks_mut(LANES).enumerate() {
                let draws = key.uniforms::<LANES>((start + i * LANES) as u64);
                part.iter_mut().zip(draws).for_each(|(v, u)| *v = T::of(f(u)));
            }
        },
    );
}

/// The draws of [`Rng::normal`] times the standard deviation.
fn normal<T: Float>(cpu: &CpuDevice, key: Key, out: &mut [T], std: f64) {
    for_pieces(
        cpu,
        out,
        #[inline(always)]
        |start, part| {
            for (i, part) in part.chunks_mut(LANES).enumerate() {
                let draws = key.normals::<LANES>((start + i * LANES) as u64);
                part.iter_mut().zip(draws).for_each(|(v, z)| *v = T::of(std * z));
            }
        },
    );
}

/// Gram–Schmidt, twice for accuracy, on the rows of a wide matrix or the columns of a tall one.
fn orthogonal(cpu: &CpuDevice, key: Key, out: &mut [f64], rows: usize, cols: usize, gain: f64) {
    normal(cpu, key, out, 1.0);
    let (count, len) = (rows.min(cols), rows.max(cols));
    let at = |vector: usize, i: usize| {
        if rows <= cols { vector * cols + i } else { i * cols + vector }
    };
    for v in 0..count {
        for _ in 0..2 {
            for u in 0..v {
                let dot: f64 = (0..len).map(|i| out[at(v, i)] * out[at(u, i)]).sum();
                (0..len).for_each(|i| out[at(v, i)] -= dot * out[at(u, i)]);
            }
            let norm = (0..len).map(|i| out[at(v, i)].powi(2)).sum::<f64>().sqrt();
            (0..len).for_each(|i| out[at(v, i)] /= norm);
        }
    }
    for value in out {
        *value *= gain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{Device, DeviceOptions};

    const ROWS: usize = 200;
    const COLS: usize = 300;

    fn draw(init: Init) -> Vec<f64> {
        let mut values = vec![f64::NAN; ROWS * COLS];
        init.fill(Device::default().cpu(), [ROWS, COLS].into(), Key::new(11), &mut values);
        values
    }

    #[test]
    fn values_are_those_drawn_one_after_the_other() {
        let mut rng = Rng::new(Key::new(11));
        assert!(draw(Init::Normal { std: 0.5 }).iter().all(|&v| v == 0.5 * rng.normal()));
        let mut rng = Rng::new(Key::new(11));
        let drawn = draw(Init::Uniform { low: 1.0, high: 3.0 });
        assert!(drawn.iter().all(|&v| v == 1.0 + 2.0 * rng.uniform()));
        // f32 values are the f64 values, rounded once, for any number of threads.
        let device = Device::open(DeviceOptions { threads: 3, isa: None }).unwrap();
        let mut narrow = vec![0f32; ROWS * COLS];
        let init = Init::Normal { std: 0.5 };
        init.fill(device.cpu(), [ROWS, COLS].into(), Key::new(11), &mut narrow);
        assert!(narrow.iter().zip(draw(init)).all(|(&v, exact)| v == exact as f32));
    }

    /// Mean and variance within five standard errors, and within the bound, if any. The standard
    /// error of a variance estimate is at most σ²·√(2/n), the normal's.
    fn check(init: Init, variance: f64, bound: Option<f64>) {
        let values = draw(init);
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let found = values.iter().map(|v| v * v).sum::<f64>() / n;
        assert!(mean.abs() < 5.0 * (variance / n).sqrt(), "{init:?}: mean {mean}");
        assert!(
            (found / variance - 1.0).abs() < 5.0 * (2.0 / n).sqrt(),
            "{init:?}: variance {found}, not {variance}"
        );
        if let Some(bound) = bound {
            let largest = values.iter().fold(0f64, |m, v| m.max(v.abs()));
            assert!(
                largest <= bound && largest > 0.99 * bound,
                "{init:?}: {largest} against {bound}"
            );
        }
    }

    #[test]
    fn mean_variance_and_bounds_are_those_of_the_papers() {
        let (fan_in, fan_out) = (COLS as f64, ROWS as f64);
        let sum = fan_in + fan_out;
        check(Init::XavierUniform { gain: 1.0 }, 2.0 / sum, Some((6.0 / sum).sqrt()));
        check(Init::XavierNormal { gain: 2.0 }, 8.0 / sum, None);
        let gain = 2f64.sqrt();
        check(Init::HeUniform { gain, fan: Fan::In }, 2.0 / fan_in, Some((6.0 / fan_in).sqrt()));
        check(Init::HeNormal { gain, fan: Fan::Out }, 2.0 / fan_out, None);
        check(Init::LecunUniform, 1.0 / fan_in, Some((3.0 / fan_in).sqrt()));
        check(Init::LecunNormal, 1.0 / fan_in, None);
        check(Init::Uniform { low: -0.5, high: 0.5 }, 1.0 / 12.0, Some(0.5));
        check(Init::Normal { std: 0.02 }, 0.0004, None);
        // A normal truncated at ±2σ keeps 1 − 4φ(2)/(2Φ(2) − 1) = 0.7737 of its variance.
        check(Init::TruncatedNormal { std: 0.1 }, 0.01 * 0.773_741, Some(0.2));
        assert!(draw(Init::Constant(3.0)).iter().all(|&v| v == 3.0));
        assert!(draw(Init::Zeros).iter().all(|&v| v == 0.0));
    }

    #[test]
    fn orthogonal_vectors_are_orthogonal_both_ways() {
        for (rows, cols) in [(7, 20), (20, 7), (1, 1), (5, 5)] {
            let mut q = vec![0.0; rows * cols];
            let (init, device) = (Init::Orthogonal { gain: 2.0 }, Device::default());
            init.fill(device.cpu(), [rows, cols].into(), Key::new(2), &mut q);
            let count = rows.min(cols);
            for a in 0..count {
                for b in 0..count {
                    let dot: f64 = if rows <= cols {
                        (0..cols).map(|i| q[a * cols + i] * q[b * cols + i]).sum()
                    } else {
                        (0..rows).map(|i| q[i * cols + a] * q[i * cols + b]).sum()
                    };
                    let expected = if a == b { 4.0 } else { 0.0 };
                    assert!((dot - expected).abs() < 1e-12, "{rows}×{cols}: {a}·{b} = {dot}");
                }
            }
        }
    }

    #[test]
    fn empty_shapes_are_fine() {
        let device = Device::default();
        for init in [Init::XavierUniform { gain: 1.0 }, Init::Orthogonal { gain: 1.0 }] {
            init.fill::<f64>(device.cpu(), [0, 3].into(), Key::new(0), &mut []);
        }
    }
}
