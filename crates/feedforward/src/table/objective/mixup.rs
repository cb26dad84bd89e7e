//! Mixing rows in pairs.

use super::gather::{Rows, add_class, fill, no_target, tensor, value};
use ff_graph::{Graph, Result, Value};
use ff_nn::{Loss, LossTarget};
use ff_table::{Encoded, Target};
use ff_tensor::{DType, Key, Rng};

/// Pairs of rows and their shares (Zhang et al., "mixup", 2017). Category ids cannot be mixed: a
/// row keeps its own, so its share is never the smaller one.
pub(super) struct Mix {
    pub(super) partners: Vec<u32>,
    pub(super) share: f32,
}

impl Mix {
    pub(super) fn draw(rows: &[u32], alpha: f64, key: Key) -> Self {
        let mut rng = Rng::new(key);
        let (a, b) = (gamma(&mut rng, alpha), gamma(&mut rng, alpha));
        let share = if a + b > 0.0 { a / (a + b) } else { 1.0 };
        let mut partners = rows.to_vec();
        rng.shuffle(&mut partners);
        Self { partners, share: share.max(1.0 - share) as f32 }
    }
}

/// A number of the Gamma distribution with scale 1 (Marsaglia and Tsang, 2000).
fn gamma(rng: &mut Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        let boost = rng.uniform().powf(1.0 / shape);
        return gamma(rng, shape + 1.0) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let z = rng.normal();
        let v = (1.0 + c * z).powi(3);
        if v > 0.0 && (1.0 - rng.uniform()).ln() < 0.5 * z * z + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

pub(super) fn mixed_target(
    graph: &Graph,
    loss: &Loss,
    data: &Encoded,
    rows: &Rows<'_>,
    mix: &Mix,
) -> Result<Value> {
    let target = data.target.as_ref().ok_or_else(no_target)?;
    let (share, rest) = (mix.share, 1.0 - mix.share);
    let pairs = rows.rows.iter().zip(&mix.partners);
    match (loss.target(), target) {
        (LossTarget::Values, target) => {
            let mut y = tensor(graph, rows.shape(Some(1)), DType::F32)?;
            fill::<f32>(&mut y, |y| {
                for (y, (&a, &b)) in y.iter_mut().zip(pairs) {
                    *y = share * value(target, a) + rest * value(target, b);
                }
            })?;
            Ok(graph.input(y))
        }
        (_, Target::Class(classes)) => {
            let width = loss.classes();
            let mut y = tensor(graph, rows.shape(Some(width)), DType::F32)?;
            fill::<f32>(&mut y, |y| {
                for (y, (&a, &b)) in y.chunks_exact_mut(width).zip(pairs) {
                    add_class(y, classes[a as usize], share, true);
                    add_class(y, classes[b as usize], rest, false);
                }
            })?;
            Ok(graph.input(y))
        }
        _ => Err(no_target()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_shares_follow_the_beta_distribution() {
        // Beta(α, α) folded at 1/2: its mean is known for α = 1, uniform: 3/4.
        let n = 4000;
        let mean =
            (0..n).map(|i| f64::from(Mix::draw(&[0, 1], 1.0, Key::new(i)).share)).sum::<f64>()
                / n as f64;
        // Uniform on [1/2, 1] has a standard deviation of 0.144; five standard errors.
        assert!((mean - 0.75).abs() < 5.0 * 0.1443 / (n as f64).sqrt(), "{mean}");
    }

    #[test]
    fn gamma_has_its_mean_and_variance() {
        for shape in [0.3, 1.0, 4.5] {
            let mut rng = Rng::new(Key::new(9));
            let n = 40_000;
            let draws: Vec<f64> = (0..n).map(|_| gamma(&mut rng, shape)).collect();
            let mean = draws.iter().sum::<f64>() / f64::from(n);
            assert!((mean - shape).abs() < 5.0 * (shape / f64::from(n)).sqrt(), "{shape}: {mean}");
        }
    }
}
