//! Layers of `torch.nn` as nodes: a row for each.

use super::{Layer, SEQUENTIAL, TorchModule, TorchSetting};
use crate::onnx::proto::AttributeProto;
use crate::onnx::{DType, Result, Tensor};

/// The nodes of a layer.
#[derive(Clone, Copy)]
pub(super) enum Does {
    /// Nodes of these operators, one behind the other; none for what only training changes.
    Nodes(&'static [&'static str]),
    /// Several nodes, or attributes.
    More(fn(&mut Layer<'_, '_>) -> Result<()>),
}
use Does::{More, Nodes};

impl Does {
    pub(super) fn run(self, c: &mut Layer<'_, '_>) -> Result<()> {
        match self {
            Nodes(operators) => operators.iter().for_each(|operator| c.node(operator, &[], &[])),
            More(run) => run(c)?,
        }
        Ok(())
    }
}

/// A layer's class, and what it does.
type Row = (&'static str, Does);

/// Where the classes are defined, and all that is known of them.
const MODULE: &str = "torch.nn.modules.";

static ROWS: &[Row] = &[
    ("Linear", More(linear)),
    ("BatchNorm1d", More(batch_norm)),
    ("LayerNorm", More(layer_norm)),
    ("RMSNorm", More(rms_norm)),
    ("Identity", Nodes(&[])),
    ("Dropout", Nodes(&[])),
    ("AlphaDropout", Nodes(&[])),
    (
        "Flatten",
        More(|c| match c.number("start_dim") {
            Ok(1.0) => Ok(()),
            _ => Err(c.unsupported("`start_dim` is not 1")),
        }),
    ),
    ("ReLU", Nodes(&["Relu"])),
    ("ReLU6", More(|c| clip(c, 0.0, 6.0))),
    ("LeakyReLU", More(|c| slope(c, "LeakyRelu", "negative_slope"))),
    ("PReLU", More(prelu)),
    ("ELU", More(|c| slope(c, "Elu", "alpha"))),
    ("CELU", More(|c| slope(c, "Celu", "alpha"))),
    ("SELU", Nodes(&["Selu"])),
    ("GELU", More(gelu)),
    (
        "SiLU",
        More(|c| {
            let x = c.net.x.clone();
            c.node("Sigmoid", &[], &[]);
            c.node("Mul", &[&x], &[]);
            Ok(())
        }),
    ),
    ("Mish", Nodes(&["Mish"])),
    ("Sigmoid", Nodes(&["Sigmoid"])),
    // −ln(1 + e⁻ˣ)
    ("LogSigmoid", Nodes(&["Neg", "Softplus", "Neg"])),
    ("Tanh", Nodes(&["Tanh"])),
    (
        "Tanhshrink",
        More(|c| {
            let x = c.net.x.clone();
            c.node("Tanh", &[], &[]);
            let y = c.net.x.clone();
            c.net.x = c.add("Sub", &[&x, &y], &[]);
            Ok(())
        }),
    ),
    ("Softsign", Nodes(&["Softsign"])),
    ("Softplus", More(softplus)),
    ("Hardtanh", More(|c| clip(c, c.number("min_val")?, c.number("max_val")?))),
    (
        "Hardsigmoid",
        More(|c| {
            let attributes = [float("alpha", 1.0 / 6.0), float("beta", 0.5)];
            c.node("HardSigmoid", &[], &attributes);
            Ok(())
        }),
    ),
    ("Hardswish", Nodes(&["HardSwish"])),
    ("Hardshrink", More(|c| shrink(c, 0.0))),
    ("Softshrink", More(|c| shrink(c, c.number("lambd")?))),
    ("GLU", More(glu)),
    ("Softmax", More(|c| softmax(c, "Softmax"))),
    ("LogSoftmax", More(|c| softmax(c, "LogSoftmax"))),
    (
        "Softmin",
        More(|c| {
            c.node("Neg", &[], &[]);
            softmax(c, "Softmax")
        }),
    ),
];

/// What a layer does, if it is one of PyTorch's own that is known.
pub(super) fn row(module: &TorchModule) -> Option<Does> {
    let own = module.class.starts_with(MODULE);
    ROWS.iter().find(|(name, _)| own && *name == module.class_name()).map(|&(_, does)| does)
}

/// The classes that are known.
pub(super) fn names() -> Vec<&'static str> {
    ROWS.iter().map(|&(name, _)| name).collect()
}

/// The numbers of a row that a module takes, where a layer says so before their number changes.
pub(super) fn in_features(module: &TorchModule) -> Option<usize> {
    if module.class_name() == SEQUENTIAL {
        for (_, part) in &module.parts {
            if let Some(width) = in_features(part) {
                return Some(width);
            }
            if part.class_name() == "GLU" {
                return None;
            }
        }
        return None;
    }
    match module.class_name() {
        "Linear" => size(module, "in_features"),
        "BatchNorm1d" => size(module, "num_features"),
        "LayerNorm" | "RMSNorm" => normalized(module),
        "PReLU" => size(module, "num_parameters").filter(|&n| n > 1),
        _ => None,
    }
}

fn size(module: &TorchModule, key: &str) -> Option<usize> {
    match module.settings.get(key) {
        Some(&TorchSetting::Number(n)) if n >= 1.0 => Some(n as usize),
        _ => None,
    }
}

/// The only size of `normalized_shape`.
fn normalized(module: &TorchModule) -> Option<usize> {
    match module.settings.get("normalized_shape") {
        Some(TorchSetting::Integers(dims)) => match dims.as_slice() {
            [n] => usize::try_from(*n).ok(),
            _ => None,
        },
        _ => None,
    }
}

fn float(name: &str, x: f64) -> AttributeProto {
    AttributeProto::float(name, x as f32)
}

fn width_of(c: &Layer<'_, '_>, key: &str) -> Result<usize> {
    let width = size(c.module, key).ok_or_else(|| c.bad(format!("its `{key}` is no size")))?;
    c.expect(width)?;
    Ok(width)
}

/// y = x Wᵀ + b
fn linear(c: &mut Layer<'_, '_>) -> Result<()> {
    let inputs = width_of(c, "in_features")?;
    let outputs = size(c.module, "out_features");
    let outputs = outputs.ok_or_else(|| c.bad("its `out_features` is no size"))?;
    let weight = c.needed("weight", &[outputs, inputs])?;
    let bias = c.tensor("bias", &[outputs])?;
    let others: Vec<&str> =
        [Some(&weight), bias.as_ref()].into_iter().flatten().map(String::as_str).collect();
    c.node("Gemm", &others, &[AttributeProto::int("transB", 1)]);
    c.net.width = Some(outputs);
    Ok(())
}

/// (x − μ) / √(σ² + ε) γ + β with the running statistics.
fn batch_norm(c: &mut Layer<'_, '_>) -> Result<()> {
    let width = width_of(c, "num_features")?;
    let Some(mean) = c.tensor("running_mean", &[width])? else {
        return Err(c.unsupported("without running statistics a row depends on its batch"));
    };
    let variance = c.needed("running_var", &[width])?;
    let ones = constant(c, width, 1.0)?;
    let zeros = constant(c, width, 0.0)?;
    let gamma = c.tensor("weight", &[width])?.unwrap_or(ones);
    let beta = c.tensor("bias", &[width])?.unwrap_or(zeros);
    let epsilon = float("epsilon", c.number("eps")?);
    c.node("BatchNormalization", &[&gamma, &beta, &mean, &variance], &[epsilon]);
    Ok(())
}

/// The width of a norm of the last dimension.
fn last(c: &Layer<'_, '_>) -> Result<usize> {
    let width = normalized(c.module)
        .ok_or_else(|| c.unsupported("it normalises other dimensions than the last"))?;
    c.expect(width)?;
    Ok(width)
}

fn layer_norm(c: &mut Layer<'_, '_>) -> Result<()> {
    let width = last(c)?;
    let ones = constant(c, width, 1.0)?;
    let gamma = c.tensor("weight", &[width])?.unwrap_or(ones);
    let beta = c.tensor("bias", &[width])?;
    let others: Vec<&str> =
        [Some(&gamma), beta.as_ref()].into_iter().flatten().map(String::as_str).collect();
    let epsilon = float("epsilon", c.number("eps")?);
    c.node("LayerNormalization", &others, &[AttributeProto::int("axis", -1), epsilon]);
    Ok(())
}

/// x / √(mean x² + ε) γ
fn rms_norm(c: &mut Layer<'_, '_>) -> Result<()> {
    let width = last(c)?;
    let double = c.net.dtype == DType::F64;
    let usual = if double { f64::EPSILON } else { f64::from(f32::EPSILON) };
    let epsilon = c.number("eps").unwrap_or(usual);
    let x = c.net.x.clone();
    c.node("Mul", &[&x], &[]);
    let axes = Tensor::new(&[1], vec![-1i64])?;
    let axes = c.net.graph.constant("axes", &axes);
    c.node("ReduceMean", &[&axes], &[]);
    c.with("Add", epsilon)?;
    c.node("Sqrt", &[], &[]);
    let root = c.net.x.clone();
    c.net.x = c.add("Div", &[&x, &root], &[]);
    if let Some(gamma) = c.tensor("weight", &[width])? {
        c.node("Mul", &[&gamma], &[]);
    }
    Ok(())
}

fn constant(c: &mut Layer<'_, '_>, width: usize, x: f64) -> Result<String> {
    let data = c.net.dtype.numbers(vec![x; width]);
    let data = data.ok_or_else(|| c.bad("its numbers are no floats"))?;
    Ok(c.net.graph.constant("constant", &Tensor::new(&[width], data)?))
}

/// A node with `alpha`.
fn slope(c: &mut Layer<'_, '_>, operator: &str, key: &str) -> Result<()> {
    let alpha = float("alpha", c.number(key)?);
    c.node(operator, &[], &[alpha]);
    Ok(())
}

fn clip(c: &mut Layer<'_, '_>, least: f64, most: f64) -> Result<()> {
    let (least, most) = (c.scalar(least)?, c.scalar(most)?);
    c.node("Clip", &[&least, &most], &[]);
    Ok(())
}

fn prelu(c: &mut Layer<'_, '_>) -> Result<()> {
    let n = size(c.module, "num_parameters").ok_or_else(|| c.bad("it has no parameters"))?;
    if n > 1 {
        c.expect(n)?;
    }
    let slopes = c.needed("weight", &[n])?;
    c.node("PRelu", &[&slopes], &[]);
    Ok(())
}

fn gelu(c: &mut Layer<'_, '_>) -> Result<()> {
    let kind = match c.text("approximate") {
        kind @ ("none" | "tanh") => kind.to_owned(),
        _ => return Err(c.unsupported("`approximate` is neither none nor tanh")),
    };
    c.node("Gelu", &[], &[AttributeProto::text("approximate", &kind)]);
    Ok(())
}

/// ln(1 + e^βx) / β, which is x to the last digit above PyTorch's threshold.
fn softplus(c: &mut Layer<'_, '_>) -> Result<()> {
    let beta = c.number("beta")?;
    if c.number("threshold")? < 20.0 {
        return Err(c.unsupported("a threshold below 20 is not evaluated"));
    }
    if beta != 1.0 {
        c.with("Mul", beta)?;
    }
    c.node("Softplus", &[], &[]);
    if beta == 1.0 { Ok(()) } else { c.with("Div", beta) }
}

fn shrink(c: &mut Layer<'_, '_>, bias: f64) -> Result<()> {
    let attributes = [float("lambd", c.number("lambd")?), float("bias", bias)];
    c.node("Shrink", &[], &attributes);
    Ok(())
}

/// The dimension of a layer, which must be that of a row's numbers.
fn over_columns(c: &Layer<'_, '_>, by_default: bool) -> Result<()> {
    match c.number("dim") {
        Ok(dim) if dim == 1.0 || dim == -1.0 => Ok(()),
        // Softmax over the numbers of a row, as PyTorch guesses.
        Err(_) if by_default => Ok(()),
        _ => Err(c.unsupported("its `dim` is not that of the columns")),
    }
}

fn softmax(c: &mut Layer<'_, '_>, operator: &str) -> Result<()> {
    over_columns(c, true)?;
    c.node(operator, &[], &[AttributeProto::int("axis", -1)]);
    Ok(())
}

/// a ⊙ σ(b) of both halves of a row.
fn glu(c: &mut Layer<'_, '_>) -> Result<()> {
    over_columns(c, false)?;
    let width = c.net.width.filter(|width| width % 2 == 0);
    let half = width.ok_or_else(|| c.bad("the numbers of a row are not even, or unknown"))? / 2;
    let integers = |c: &mut Layer<'_, '_>, n: usize| -> Result<String> {
        let n = Tensor::new(&[1], vec![n as i64])?;
        Ok(c.net.graph.constant("columns", &n))
    };
    let [none, half_, all, axis] = [0, half, 2 * half, 1].map(|n| integers(c, n));
    let (none, half_, all, axis) = (none?, half_?, all?, axis?);
    let x = c.net.x.clone();
    c.node("Slice", &[&half_, &all, &axis], &[]);
    c.node("Sigmoid", &[], &[]);
    let a = c.add("Slice", &[&x, &none, &half_, &axis], &[]);
    c.node("Mul", &[&a], &[]);
    c.net.width = Some(half);
    Ok(())
}
