//! The operations by name, with their attributes as keyword arguments.

use crate::DEVICE;
use crate::arrays::{ArrayMut, float_dtype};
use crate::attributes::{Attributes, activation};
use crate::errors::compute;
use feedforward::graph::Op;
use feedforward::nn::Init;
use feedforward::ops::{
    Activate, Activation, Add, Attention, BatchNorm, BinaryCrossEntropyWithLogits, BinaryFocal,
    Concat, Dropout, Embedding, Feedforward, FeedforwardBlock, Focal, KlDivergence, LayerNorm,
    LinearCrossEntropy, LogSoftmax, MixtureOfExperts, Mul, PoolTokens, Prelu, RegressionLoss,
    RmsNorm, Rotary, RouterBalance, Scale, ScaleRows, Segments, SoftCap, Softmax,
    SoftmaxCrossEntropy, Split, Statistics,
};
use feedforward::tensor::{Key, Shape};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;

/// The operation of this name for so many inputs; optional inputs follow from their number.
pub(crate) fn build(
    name: &str,
    inputs: usize,
    given: Option<&Bound<'_, PyDict>>,
) -> PyResult<Arc<dyn Op>> {
    let mut a = Attributes::new(name, given)?;
    let floats = |values: Option<Vec<f64>>| values.map(Arc::from);
    let op: Arc<dyn Op> = match name {
        "activation" => Activate::op(a.activation(Activation::Identity)?),
        "add" => Add::op(),
        "attention" => attention(&mut a, inputs)?,
        "batch_norm" => {
            let running = a.take("running", false)?;
            let statistics = if running { Statistics::Running } else { Statistics::Batch };
            let affine = inputs == if running { 5 } else { 3 };
            BatchNorm::op(a.take("eps", 1e-5)?, affine, statistics)
        }
        "binary_cross_entropy_with_logits" => BinaryCrossEntropyWithLogits {
            reduction: a.reduction()?,
            label_smoothing: a.take("label_smoothing", 0.0)?,
            positive_weight: floats(a.optional("positive_weight")?),
        }
        .op(),
        "binary_focal" => BinaryFocal {
            gamma: a.take("gamma", 2.0)?,
            alpha: a.optional("alpha")?,
            reduction: a.reduction()?,
        }
        .op(),
        "concat" => Concat::op(),
        "dropout" => Dropout::op(a.take("p", 0.5)?, "dropout"),
        "embedding" => Embedding::op(a.optional("padding")?),
        "feedforward" => Feedforward::op(a.activation(Activation::Identity)?, inputs == 3),
        "feedforward_block" => {
            let gated = a.take("gated", true)?;
            let default = if gated { Activation::Silu } else { Activation::Relu };
            FeedforwardBlock {
                activation: a.activation(default)?,
                gated,
                bias: inputs > 3 + usize::from(gated),
                recompute: a.take("recompute", false)?,
                bf16: false,
            }
            .op()
        }
        "focal" => Focal {
            gamma: a.take("gamma", 2.0)?,
            alpha: floats(a.optional("alpha")?),
            ignore_index: a.take("ignore_index", -100)?,
            reduction: a.reduction()?,
        }
        .op(),
        "kl_divergence" => KlDivergence { reduction: a.reduction()? }.op(),
        "layer_norm" => LayerNorm::op(a.take("eps", 1e-5)?, inputs > 1, inputs > 2),
        "linear_cross_entropy" => LinearCrossEntropy {
            ignore_index: a.take("ignore_index", -100)?,
            label_smoothing: a.take("label_smoothing", 0.0)?,
            z_loss: a.take("z_loss", 0.0)?,
            soft_cap: a.optional("soft_cap")?,
            bias: inputs == 4,
            ..LinearCrossEntropy::default()
        }
        .op(),
        "log_softmax" => LogSoftmax::op(),
        "mixture_of_experts" => {
            let default = MixtureOfExperts::default();
            MixtureOfExperts {
                top_k: a.take("top_k", default.top_k)?,
                softmax_first: a.take("softmax_first", default.softmax_first)?,
                normalize: a.take("normalize", default.normalize)?,
                activation: a.activation(default.activation)?,
                ..default
            }
            .op()
        }
        "mul" => Mul::op(),
        "pool_tokens" => PoolTokens { mean: a.take("mean", true)?, segments: inputs == 2 }.op(),
        "prelu" => Prelu::op(),
        "rms_norm" => Arc::new(RmsNorm {
            eps: a.take("eps", 1e-6)?,
            weight: inputs > 1,
            offset: a.take("offset", 0.0)?,
        }),
        "rotary" => rotary(&mut a)?,
        "router_balance" => RouterBalance { top_k: a.take("top_k", 1)? }.op(),
        "scale" => Scale::op(a.required("factor")?),
        "scale_rows" => ScaleRows::op(),
        "soft_cap" => SoftCap::op(a.required("cap")?),
        "softmax" => Softmax::op(),
        "split" => Split::op(&a.required::<Vec<usize>>("widths")?),
        "softmax_cross_entropy" => SoftmaxCrossEntropy {
            reduction: a.reduction()?,
            label_smoothing: a.take("label_smoothing", 0.0)?,
            ignore_index: a.take("ignore_index", -100)?,
            class_weights: floats(a.optional("class_weights")?),
        }
        .op(),
        other => {
            let Some(loss) = RegressionLoss::ALL.iter().find(|loss| loss.name() == other) else {
                let message = format!("there is no operation `{other}`");
                return Err(PyValueError::new_err(message));
            };
            let loss = match loss.attribute() {
                Some((key, value)) => loss.with_attribute(a.take(key, value)?),
                None => *loss,
            };
            loss.validate().map_err(PyValueError::new_err)?;
            loss.op(a.reduction()?)
        }
    };
    a.finish()?;
    Ok(op)
}

fn attention(a: &mut Attributes<'_>, inputs: usize) -> PyResult<Arc<dyn Op>> {
    let heads = a.required("heads")?;
    let kv_heads = a.take("kv_heads", heads)?;
    let segments = match inputs {
        3 => Segments::None,
        4 => Segments::Keys,
        5 => Segments::Both,
        _ => return Err(PyTypeError::new_err("attention: expected 3 to 5 inputs")),
    };
    let attention = Attention {
        scale: a.optional("scale")?,
        causal: a.take("causal", false)?,
        window: a.optional("window")?,
        soft_cap: a.optional("soft_cap")?,
        alibi: a.take("alibi", false)?,
        fused: false,
        segments,
        ..Attention::new(heads, kv_heads, a.required("head_dim")?)
    };
    Ok(attention.op())
}

fn rotary(a: &mut Attributes<'_>) -> PyResult<Arc<dyn Op>> {
    let head_dim: usize = a.required("head_dim")?;
    let base: f64 = a.take("base", 10_000.0)?;
    if head_dim == 0 || head_dim % 2 == 1 || !(base > 1.0 && base.is_finite()) {
        let message = "rotary: head_dim must be even, and base above 1";
        return Err(PyValueError::new_err(message));
    }
    let interleaved = a.take("interleaved", false)?;
    Ok(Rotary { interleaved, ..Rotary::new(head_dim, base) }.op())
}

/// The names of the activations.
#[pyfunction]
pub(crate) fn activations() -> Vec<&'static str> {
    Activation::ALL.iter().map(|f| f.name()).collect()
}

/// An activation as an expression of PyTorch in x, and its attribute.
#[pyfunction]
pub(crate) fn activation_of_torch(
    name: &str,
) -> PyResult<(&'static str, Option<(&'static str, f64)>)> {
    let f = activation(name)?;
    Ok((f.torch(), f.attribute()))
}

/// A weight `[outputs, inputs]` with the usual initial values before an activation: He for ReLU and
/// its variants, LeCun for SELU, Xavier for the others.
#[pyfunction]
pub(crate) fn initial_weight<'py>(
    py: Python<'py>,
    shape: (usize, usize),
    f: &str,
    dtype: &Bound<'py, PyAny>,
    seed: u64,
) -> PyResult<Bound<'py, PyAny>> {
    let init = Init::for_activation(activation(f)?);
    let shape = Shape::from([shape.0, shape.1]);
    let mut array = ArrayMut::zeros(py, &shape, float_dtype(dtype)?)?;
    let key = Key::new(seed).with_name("weight");
    let cpu = DEVICE.cpu();
    match &mut array {
        ArrayMut::F32(w) => fill(py, w.as_slice_mut(), |w| init.fill(cpu, shape, key, w))?,
        ArrayMut::F64(w) => fill(py, w.as_slice_mut(), |w| init.fill(cpu, shape, key, w))?,
        ArrayMut::I32(_) => {}
    }
    Ok(array.into_object())
}

fn fill<T: Send, E: std::fmt::Display>(
    py: Python<'_>,
    values: Result<&mut [T], E>,
    f: impl Send + FnOnce(&mut [T]),
) -> PyResult<()> {
    let values = values.map_err(|error| PyTypeError::new_err(error.to_string()))?;
    compute(py, || f(values))
}
