//! Losses, and the steps of optimisers.

use super::super::session::{Call, Outcome, ints};
use super::super::tensor::Tensor;
use super::reduce::log_sum_exp;
use super::shape::{floats, rows_along, tensor};
use super::{Operator, of, op};

/// The domain of operators for training.
const TRAINING: &str = "ai.onnx.preview.training";

pub(super) const OPS: &[Operator] = &[
    op("NegativeLogLikelihoodLoss", &["ignore_index", "reduction"], |c| {
        Ok(vec![likelihood(c, c.input(0)?)?])
    }),
    op("SoftmaxCrossEntropyLoss", &["ignore_index", "reduction"], |c| {
        let x = c.input(0)?;
        if x.dims().len() < 2 {
            return Err("rows of classes are expected".into());
        }
        let (mut values, dtype) = floats(x)?;
        for places in rows_along(x, 1) {
            let row: Vec<f64> = places.clone().map(|at| values[at]).collect();
            let sum = log_sum_exp(&row);
            places.for_each(|at| values[at] -= sum);
        }
        let log = tensor(x.dims(), dtype, values)?;
        Ok(vec![likelihood(c, &log)?, log])
    }),
    of(TRAINING, "Adagrad", &["decay_factor", "epsilon", "norm_coefficient"], |c| {
        let (eps, decay, norm) = (
            c.float("epsilon", 1e-6)?,
            c.float("decay_factor", 0.0)?,
            c.float("norm_coefficient", 0.0)?,
        );
        optimise(c, 2, |[rate, t], [x, g, h, _]| {
            let rate = rate / (1.0 + t * decay);
            let g = g + norm * x;
            let h = h + g * g;
            [x - rate * g / (h.sqrt() + eps), h, 0.0]
        })
    }),
    of(
        TRAINING,
        "Adam",
        &["alpha", "beta", "epsilon", "norm_coefficient", "norm_coefficient_post"],
        |c| {
            let (alpha, beta, eps) =
                (c.float("alpha", 0.9)?, c.float("beta", 0.999)?, c.float("epsilon", 1e-6)?);
            let (norm, post) =
                (c.float("norm_coefficient", 0.0)?, c.float("norm_coefficient_post", 0.0)?);
            optimise(c, 3, |[rate, t], [x, g, v, h]| {
                let g = g + norm * x;
                let (v, h) = (alpha * v + (1.0 - alpha) * g, beta * h + (1.0 - beta) * g * g);
                let rate = if t > 0.0 {
                    rate * (1.0 - beta.powf(t)).sqrt() / (1.0 - alpha.powf(t))
                } else {
                    rate
                };
                [(1.0 - post) * (x - rate * v / (h.sqrt() + eps)), v, h]
            })
        },
    ),
    of(TRAINING, "Momentum", &["alpha", "beta", "mode", "norm_coefficient"], |c| {
        let (alpha, beta, norm) =
            (c.float("alpha", 0.0)?, c.float("beta", 0.0)?, c.float("norm_coefficient", 0.0)?);
        let nesterov = match c.text("mode", "standard")? {
            "standard" => false,
            "nesterov" => true,
            other => {
                return Err(format!(
                    "its attribute `mode` is `{other}`, neither `standard` nor `nesterov`"
                ));
            }
        };
        optimise(c, 2, |[rate, t], [x, g, v, _]| {
            let g = g + norm * x;
            let v = alpha * v + if t > 0.0 { beta } else { 1.0 } * g;
            let step = if nesterov { g + alpha * v } else { v };
            [x - rate * step, v, 0.0]
        })
    }),
];

/// −wₜ xₜ of the target t of each row, and their sum or weighted mean.
fn likelihood(c: &Call<'_>, log: &Tensor) -> Result<Tensor, String> {
    let target = c.input(1)?;
    let &[n, classes, ..] = log.dims() else { return Err("rows of classes are expected".into()) };
    let inner: usize = log.dims()[2..].iter().product();
    if target.dims() != [&[n], &log.dims()[2..]].concat() {
        return Err(format!("targets of shape {:?} do not fit {:?}", target.dims(), log.dims()));
    }
    let (values, dtype) = floats(log)?;
    let weights = c.get(2).map(floats).transpose()?.map(|(w, _)| w);
    if weights.as_ref().is_some_and(|w| w.len() != classes) {
        return Err(format!("{classes} classes need as many weights"));
    }
    let ignored = c.maybe_int("ignore_index")?;
    let (mut losses, mut total) = (Vec::with_capacity(n * inner), 0.0);
    for (i, t) in ints(target)?.into_iter().enumerate() {
        if Some(t) == ignored {
            losses.push(0.0);
            continue;
        }
        let class = usize::try_from(t).ok().filter(|&t| t < classes);
        let class = class.ok_or_else(|| format!("the target {t} is none of {classes} classes"))?;
        let weight = weights.as_ref().map_or(1.0, |w| w[class]);
        total += weight;
        losses.push(
            -weight * values[(i / inner.max(1) * classes + class) * inner + i % inner.max(1)],
        );
    }
    let sum: f64 = losses.iter().sum();
    match c.text("reduction", "mean")? {
        "none" => tensor(target.dims(), dtype, losses),
        "sum" => tensor(&[], dtype, vec![sum]),
        "mean" => tensor(&[], dtype, vec![sum / total]),
        other => {
            Err(format!("its attribute `reduction` is `{other}`, which is none of the standard's"))
        }
    }
}

/// A step for each of some tensors: the rate and the number of the step; then all parameters, all
/// gradients, and the state in one or two tensors each.
fn optimise(c: &Call<'_>, kinds: usize, step: impl Fn([f64; 2], [f64; 4]) -> [f64; 3]) -> Outcome {
    let number = |i: usize| {
        let value = c.input(i)?.data().floats().and_then(|v| v.first().copied());
        value.ok_or_else(|| format!("its input {i} is no number"))
    };
    let settings = [number(0)?, number(1)?];
    let each = kinds + 1;
    let n = (c.len() - 2) / each;
    if c.len() != 2 + n * each {
        return Err("parameters, gradients and states differ in number".into());
    }
    let mut outputs = vec![Vec::new(); kinds];
    for i in 0..n {
        let parts = (0..each).map(|k| c.input(2 + k * n + i)).collect::<Result<Vec<_>, _>>()?;
        if parts.iter().any(|part| part.dims() != parts[0].dims()) {
            return Err("a parameter, its gradient and its state differ in shape".into());
        }
        let values =
            parts.iter().map(|part| Ok(floats(part)?.0)).collect::<Result<Vec<_>, String>>()?;
        let mut next = vec![Vec::new(); kinds];
        for j in 0..values[0].len() {
            let at = |k: usize| values.get(k).map_or(0.0, |v| v[j]);
            let found = step(settings, [at(0), at(1), at(2), at(3)]);
            next.iter_mut().zip(found).for_each(|(next, x)| next.push(x));
        }
        for (outputs, next) in outputs.iter_mut().zip(next) {
            outputs.push(tensor(parts[0].dims(), parts[0].dtype(), next)?);
        }
    }
    Ok(outputs.into_iter().flatten().collect())
}
