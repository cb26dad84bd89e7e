//! The operations by name, with their attributes as keyword arguments.

use crate::DEVICE;
use crate::arrays::{ArrayMut, float_dtype, shape};
use crate::attributes::{Attributes, activation};
use crate::interpreter::compute;
use feedforward::graph::Op;
use feedforward::nn::Init;
use feedforward::ops::{
    Activate, Activation, AdaptedExperts, Add, Attention, AttentionDropout, BatchEnsemble,
    BatchNorm, BinaryCrossEntropyWithLogits, BinaryFocal, Concat, DistanceBuckets, DoraFactors,
    Dropout, Embedding, EmbeddingBag, Feedforward, FeedforwardBlock, Focal, Gate, InBatchRanking,
    KlDivergence, LayerNorm, LinearCrossEntropy, LogSoftmax, LoraLinear, MeanOfMembers,
    MemberLinear, MemberMean, MixtureOfExperts, Mul, ParametricActivation, Periodic, PeriodicForm,
    PiecewiseLinear, PoolTokens, Preference, PreferenceLoss, Prelu, RegressionLoss, ReplaceRows,
    RmsNorm, Rotary, RouterBalance, Scale, ScaleRows, Segments, SoftCap, Softmax,
    SoftmaxCrossEntropy, Split, Statistics,
};
use feedforward::tensor::Key;
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
        "adapted_experts" => {
            AdaptedExperts { scale: a.required("scale")?, first: a.take("first", 0)? }.op()
        }
        "add" => Add::op(),
        "attention" => attention(&mut a, inputs)?.op(),
        "attention_dropout" => {
            let p = a.take("p", 0.1)?;
            AttentionDropout::op(attention(&mut a, inputs)?, p, "attention_dropout")
        }
        "batch_ensemble" => BatchEnsemble::op(a.activation(Activation::Identity)?),
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
        "dora_factors" => DoraFactors { scale: a.required("scale")? }.op(),
        "dropout" => Dropout::op(a.take("p", 0.5)?, "dropout"),
        "embedding" => Embedding::op(a.optional("padding")?),
        "embedding_bag" => EmbeddingBag::op(),
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
        "gate" => Gate::op(a.activation(Activation::Silu)?),
        "in_batch_ranking" => {
            InBatchRanking { columns: a.take("columns", 2)?, scale: a.take("scale", 20.0)? }.op()
        }
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
        "lora_linear" => LoraLinear {
            scale: a.take("scale", 1.0)?,
            bias: a.take("bias", false)?,
            own_input: a.take("own_input", false)?,
            masked: a.take("masked", false)?,
            bf16: None,
        }
        .op(),
        "mean_of_members" => MeanOfMembers::op(a.one_of(
            "mean",
            &[
                ("values", MemberMean::Values),
                ("softmax", MemberMean::Softmax),
                ("sigmoid", MemberMean::Sigmoid),
            ],
        )?),
        "member_linear" => MemberLinear::op(),
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
        "parametric_activation" => ParametricActivation::op(a.activation(Activation::Relu)?),
        "periodic" => {
            let form = if inputs == 5 { PeriodicForm::Dense } else { PeriodicForm::Relu };
            Periodic::op(a.required::<Vec<bool>>("embedded")?, form)
        }
        "piecewise_linear" => PiecewiseLinear::op(a.required::<Vec<usize>>("bins")?),
        "pool_tokens" => PoolTokens { mean: a.take("mean", true)?, segments: inputs == 2 }.op(),
        "preference" => PreferenceLoss {
            kind: a.one_of(
                "kind",
                &[
                    ("dpo", Preference::Dpo),
                    ("ipo", Preference::Ipo),
                    ("orpo", Preference::Orpo),
                    ("simpo", Preference::SimPo),
                ],
            )?,
            beta: a.take("beta", 0.1)?,
            gamma: a.take("gamma", 0.0)?,
            label_smoothing: a.take("label_smoothing", 0.0)?,
        }
        .op(),
        "prelu" => Prelu::op(),
        "replace_rows" => ReplaceRows::op(a.distinct("ids")?),
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

fn attention(a: &mut Attributes<'_>, inputs: usize) -> PyResult<Attention> {
    let heads = a.required("heads")?;
    let kv_heads = a.take("kv_heads", heads)?;
    let sinks = a.take("sinks", false)?;
    let count: Option<usize> = a.optional("distances")?;
    let (far, both) = (a.take("far", 128)?, a.take("both", false)?);
    let distances = count.map(|count| DistanceBuckets { count, far, both });
    let learned = usize::from(sinks) + usize::from(distances.is_some());
    let segments = match inputs.checked_sub(learned) {
        Some(3) => Segments::None,
        Some(4) => Segments::Keys,
        Some(5) => Segments::Both,
        _ => {
            let message = "attention: expected q, k and v, and perhaps segments, scores by distance and sinks";
            return Err(PyTypeError::new_err(message));
        }
    };
    Ok(Attention {
        scale: a.optional("scale")?,
        causal: a.take("causal", false)?,
        window: a.optional("window")?,
        ahead: a.optional("ahead")?,
        soft_cap: a.optional("soft_cap")?,
        alibi: a.take("alibi", false)?,
        fused: false,
        segments,
        distances,
        sinks,
        ..Attention::new(heads, kv_heads, a.required("head_dim")?)
    })
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

/// The names of all operations.
#[pyfunction]
pub(crate) fn operations() -> Vec<&'static str> {
    feedforward::ops::registry().iter().map(|entry| entry.name).collect()
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
    dims: (usize, usize),
    f: &str,
    dtype: &Bound<'py, PyAny>,
    seed: u64,
) -> PyResult<Bound<'py, PyAny>> {
    let init = Init::for_activation(activation(f)?);
    let shape = shape(&[dims.0, dims.1])?;
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
