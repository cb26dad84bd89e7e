//! Recurrent networks: LSTM, GRU and plain ones, in either direction or both.

use super::super::data::{DType, Data};
use super::super::session::{Attribute, Call, Outcome, UNSUPPORTED, ints};
use super::super::tensor::{Tensor, count};
use super::shape::floats;
use super::{Operator, op};
use ff_kernels::{Float, MatRef, PackedMatrix, Work, dispatch, gemm};
use ff_tensor::CpuDevice;
use std::borrow::Cow;

const COMMON: &[&str] = &[
    "activation_alpha",
    "activation_beta",
    "activations",
    "clip",
    "direction",
    "hidden_size",
    "layout",
];

pub(super) const OPS: &[Operator] = &[
    // Sequences are not cut off before version 7: what that version says of `output_sequence` is.
    op(
        "GRU",
        &[
            "activation_alpha",
            "activation_beta",
            "activations",
            "clip",
            "direction",
            "hidden_size",
            "layout",
            "linear_before_reset",
        ],
        |c| run(c, Cell::Gru),
    ),
    op(
        "LSTM",
        &[
            "activation_alpha",
            "activation_beta",
            "activations",
            "clip",
            "direction",
            "hidden_size",
            "input_forget",
            "layout",
        ],
        |c| run(c, Cell::Lstm),
    ),
    op("RNN", COMMON, |c| run(c, Cell::Plain)),
];

#[derive(Clone, Copy, PartialEq)]
enum Cell {
    Plain,
    Gru,
    Lstm,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Self::Plain => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["Tanh"],
            Self::Gru => &["Sigmoid", "Tanh"],
            Self::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

/// An activation of a gate.
#[derive(Clone, Copy)]
enum Gate {
    Sigmoid,
    Tanh,
    Relu,
    Affine(f32, f32),
    LeakyRelu(f32),
    ThresholdedRelu(f32),
    ScaledTanh(f32, f32),
    HardSigmoid(f32, f32),
    Elu(f32),
    Softsign,
    Softplus,
}

impl Gate {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        match self {
            Self::Sigmoid => x.sigmoid(),
            Self::Tanh => Float::tanh(x),
            Self::Relu => x.max(0.0),
            Self::Affine(a, b) => a * x + b,
            Self::LeakyRelu(a) => {
                if x < 0.0 {
                    a * x
                } else {
                    x
                }
            }
            Self::ThresholdedRelu(a) => {
                if x > a {
                    x
                } else {
                    0.0
                }
            }
            Self::ScaledTanh(a, b) => a * Float::tanh(b * x),
            Self::HardSigmoid(a, b) => (a * x + b).clamp(0.0, 1.0),
            Self::Elu(a) => {
                if x < 0.0 {
                    a * Float::exp_m1(x)
                } else {
                    x
                }
            }
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Softplus => x.softplus(),
        }
    }
}

/// The activations of each direction.
fn gates(c: &Call<'_>, cell: Cell, directions: usize) -> Result<Vec<Gate>, String> {
    let names: Vec<String> = match c.attribute("activations") {
        Some(Attribute::Texts(names)) => names.clone(),
        Some(_) => return Err("its attribute `activations` is no list of texts".into()),
        None => {
            let own = cell.activations().iter().map(|&name| name.to_owned());
            own.cycle().take(cell.activations().len() * directions).collect()
        }
    };
    if names.len() != cell.activations().len() * directions {
        return Err(format!(
            "{} activations are not those of {directions} directions",
            names.len()
        ));
    }
    let numbers = |name: &str| match c.attribute(name) {
        Some(Attribute::Floats(values)) => Ok(values.clone()),
        None => Ok(Vec::new()),
        Some(_) => Err(format!("its attribute `{name}` is no list of numbers")),
    };
    // Numbers are for those that take some, in their order.
    let (alpha, beta) = (numbers("activation_alpha")?, numbers("activation_beta")?);
    let (mut alpha, mut beta) = (alpha.into_iter(), beta.into_iter());
    names
        .iter()
        .map(|name| {
            let mut a = |default: f32| alpha.next().unwrap_or(default);
            Ok(match name.to_ascii_lowercase().as_str() {
                "sigmoid" => Gate::Sigmoid,
                "tanh" => Gate::Tanh,
                "relu" => Gate::Relu,
                "softsign" => Gate::Softsign,
                "softplus" => Gate::Softplus,
                "affine" => Gate::Affine(a(1.0), beta.next().unwrap_or(0.0)),
                "leakyrelu" => Gate::LeakyRelu(a(0.01)),
                "thresholdedrelu" => Gate::ThresholdedRelu(a(1.0)),
                "scaledtanh" => Gate::ScaledTanh(a(1.0), beta.next().unwrap_or(1.0)),
                "hardsigmoid" => Gate::HardSigmoid(a(0.2), beta.next().unwrap_or(0.5)),
                "elu" => Gate::Elu(a(1.0)),
                _ => return Err(format!("{UNSUPPORTED}the activation `{name}`")),
            })
        })
        .collect()
}

/// The values of an input as `f32`, in which all sequences are computed.
fn values<'a>(c: &'a Call<'_>, i: usize) -> Result<Option<Cow<'a, [f32]>>, String> {
    Ok(match c.get(i) {
        None => None,
        Some(x) => Some(match x.data() {
            Data::F32(v) => v.as_slice().into(),
            _ => floats(x)?.0.into_iter().map(|x| x as f32).collect::<Vec<_>>().into(),
        }),
    })
}

/// A product with a weight `[M, K]`, packed where it never changes.
enum Weight<'a> {
    Packed(&'a PackedMatrix<f32>),
    Plain(MatRef<'a, f32>),
}

impl Weight<'_> {
    fn product(&self, cpu: &CpuDevice, x: &[f32], rows: usize, y: &mut [f32]) {
        match self {
            Self::Packed(packed) => packed.product(cpu, x, None, y, |y| y),
            Self::Plain(w) => {
                let (_, depth) = w.shape();
                gemm(cpu, MatRef::new(x, rows, depth), w.t(), y, false);
            }
        }
    }
}

/// The usual cell: its sums are those of its input and its state.
fn lstm(cpu: &CpuDevice, z: &[f32], u: &[f32], h: &mut [f32], cells: &mut [f32]) {
    struct Step<'a>([&'a [f32]; 2], [&'a mut [f32]; 2]);
    impl Work for Step<'_> {
        type Output = ();
        #[inline(always)]
        fn run(self) {
            let Self([z, u], [h, cells]) = self;
            let n = h.len();
            let (zi, z) = z.split_at(n);
            let (zo, z) = z.split_at(n);
            let (zf, zc) = z.split_at(n);
            let (ui, u) = u.split_at(n);
            let (uo, u) = u.split_at(n);
            let (uf, uc) = u.split_at(n);
            let (zc, uc, cells) = (&zc[..n], &uc[..n], &mut cells[..n]);
            for k in 0..n {
                let input = (zi[k] + ui[k]).sigmoid() * Float::tanh(zc[k] + uc[k]);
                let new = (zf[k] + uf[k]).sigmoid() * cells[k] + input;
                cells[k] = new;
                h[k] = (zo[k] + uo[k]).sigmoid() * Float::tanh(new);
            }
        }
    }
    dispatch(cpu, Step([z, u], [h, cells]));
}

#[allow(clippy::too_many_lines)]
fn run(c: &Call<'_>, cell: Cell) -> Outcome {
    let (x, w, r) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let (&[d0, d1, width], &[directions, rows, w_width], &[r_directions, r_rows, hidden]) =
        (x.dims(), w.dims(), r.dims())
    else {
        return Err("a sequence and two weights of three dimensions each are expected".into());
    };
    let batch_first = c.int("layout", 0)? != 0;
    let (steps, batch) = if batch_first { (d1, d0) } else { (d0, d1) };
    let g = cell.gates();
    if hidden == 0 {
        return Err("it has no hidden units".into());
    }
    if w_width != width || rows != g * hidden || r_rows != rows || r_directions != directions {
        return Err(format!(
            "weights of shape {:?} and {:?} do not fit a sequence of shape {:?}",
            w.dims(),
            r.dims(),
            x.dims()
        ));
    }
    let backward: &[bool] = match (c.text("direction", "forward")?, directions) {
        ("forward", 1) => &[false],
        ("reverse", 1) => &[true],
        ("bidirectional", 2) => &[false, true],
        (other, _) => return Err(format!("its direction `{other}` has not {directions} weights")),
    };
    let gates = gates(c, cell, directions)?;
    let clip = c.float("clip", 0.0)? as f32;
    let clipped = |x: f32| if clip > 0.0 { x.clamp(-clip, clip) } else { x };
    let coupled = c.int("input_forget", 0)? != 0;
    let after = c.int("linear_before_reset", 0)? != 0;
    let lengths = match c.get(4) {
        Some(lengths) => {
            let lengths = super::shape::sizes(&ints(lengths)?)?;
            if lengths.len() != batch || lengths.iter().any(|&n| n > steps) {
                return Err(format!("{lengths:?} are no lengths of {batch} sequences"));
            }
            Some(lengths)
        }
        None => None,
    };
    let size = batch * hidden;
    count(&[steps, directions, size.max(1), g])?;
    let dtype = x.dtype();
    let needed = |i: usize| values(c, i)?.ok_or_else(|| format!("its input {i} is missing"));
    let (x, w, r) = (needed(0)?, needed(1)?, needed(2)?);
    let check = |name: &str, found: Option<usize>, n: usize| match found {
        Some(found) if found != n => Err(format!("its {name} has {found} numbers, not {n}")),
        _ => Ok(()),
    };
    let bias = values(c, 3)?;
    check("bias", bias.as_ref().map(|v| v.len()), 2 * directions * rows)?;
    let initial = [values(c, 5)?, if cell == Cell::Lstm { values(c, 6)? } else { None }];
    for state in initial.iter().flatten() {
        check("initial state", Some(state.len()), directions * size)?;
    }
    let peepholes = if cell == Cell::Lstm { values(c, 7)? } else { None };
    check("peepholes", peepholes.as_ref().map(|v| v.len()), directions * 3 * hidden)?;
    // Steps first.
    let x = if batch_first {
        let mut to = Vec::with_capacity(x.len());
        for t in 0..steps {
            for b in 0..batch {
                to.extend_from_slice(&x[(b * steps + t) * width..][..width]);
            }
        }
        to.into()
    } else {
        x
    };
    let mut y = vec![0.0f32; steps * directions * size];
    let mut last = [vec![0.0f32; directions * size], vec![0.0f32; directions * size]];
    for (direction, &backward) in backward.iter().enumerate() {
        let part = |v: &'_ [f32], n: usize| -> Vec<f32> { v[direction * n..][..n].to_vec() };
        let state = |i: usize| match &initial[i] {
            // `[batch, directions, hidden]` where the batch is first.
            Some(v) if batch_first && directions > 1 => (0..batch)
                .flat_map(|b| v[(b * directions + direction) * hidden..][..hidden].iter().copied())
                .collect(),
            Some(v) => part(v, size),
            None => vec![0.0; size],
        };
        let (mut h, mut cells): (Vec<f32>, Vec<f32>) = (state(0), state(1));
        let own_w = &w[direction * rows * width..][..rows * width];
        let own_r = &r[direction * rows * hidden..][..rows * hidden];
        let weight = |i: usize, v, cols| {
            let view = MatRef::new(v, rows, cols);
            let packed = (directions == 1 && dtype == DType::F32 && batch <= 16)
                .then(|| c.packed(i, || view.t()))
                .flatten();
            packed.map_or(Weight::Plain(view), Weight::Packed)
        };
        // Both biases at once, but that of a GRU's candidate within its product.
        let bias = bias.as_ref().map_or_else(|| vec![0.0; 2 * rows], |b| part(b, 2 * rows));
        let (bias_w, bias_r) = bias.split_at(rows);
        let mut inputs = vec![0.0f32; steps * batch * rows];
        if !inputs.is_empty() && width > 0 {
            weight(1, own_w, width).product(c.cpu(), &x, steps * batch, &mut inputs);
        }
        for row in inputs.chunks_exact_mut(rows.max(1)) {
            for (k, v) in row.iter_mut().enumerate() {
                *v += bias_w[k];
                if cell != Cell::Gru || k < 2 * hidden {
                    *v += bias_r[k];
                }
            }
        }
        let recurrent = weight(2, own_r, hidden);
        let mut own = vec![0.0f32; batch * rows];
        let peep = peepholes.as_ref().map(|p| part(p, 3 * hidden));
        let f = &gates[direction * cell.activations().len()..][..cell.activations().len()];
        let usual = matches!(f, [Gate::Sigmoid, Gate::Tanh, Gate::Tanh])
            && peep.is_none()
            && clip <= 0.0
            && !coupled;
        for step in 0..steps {
            if size > 0 {
                recurrent.product(c.cpu(), &h, batch, &mut own);
            }
            let before = (cell == Cell::Gru && !after).then(|| h.clone());
            for b in 0..batch {
                let n = lengths.as_ref().map_or(steps, |lengths| lengths[b]);
                if step >= n {
                    continue;
                }
                let t = if backward { n - 1 - step } else { step };
                let z = &inputs[(t * batch + b) * rows..][..rows];
                let u = &own[b * rows..][..rows];
                let h = &mut h[b * hidden..][..hidden];
                let cells = &mut cells[b * hidden..][..hidden];
                match cell {
                    Cell::Plain => {
                        for k in 0..hidden {
                            h[k] = f[0].of(clipped(z[k] + u[k]));
                        }
                    }
                    Cell::Gru => {
                        let gate = |i: usize, k: usize| {
                            f[0].of(clipped(z[i * hidden + k] + u[i * hidden + k]))
                        };
                        let mut candidate = vec![0.0f32; hidden];
                        if let Some(before) = &before {
                            // The reset gate is within the product.
                            let before = &before[b * hidden..][..hidden];
                            let gated: Vec<f32> =
                                (0..hidden).map(|k| gate(1, k) * before[k]).collect();
                            let last = &own_r[2 * hidden * hidden..];
                            for (k, row) in last.chunks_exact(hidden).enumerate() {
                                candidate[k] =
                                    row.iter().zip(&gated).map(|(a, b)| a * b).sum::<f32>()
                                        + bias_r[2 * hidden + k];
                            }
                        } else {
                            for k in 0..hidden {
                                candidate[k] =
                                    gate(1, k) * (u[2 * hidden + k] + bias_r[2 * hidden + k]);
                            }
                        }
                        for k in 0..hidden {
                            let update = gate(0, k);
                            let new = f[1].of(clipped(z[2 * hidden + k] + candidate[k]));
                            h[k] = (1.0 - update) * new + update * h[k];
                        }
                    }
                    Cell::Lstm if usual => lstm(c.cpu(), z, u, h, cells),
                    Cell::Lstm => {
                        let p = |i: usize, k: usize, cell: f32| {
                            peep.as_ref().map_or(0.0, |p| p[i * hidden + k] * cell)
                        };
                        for k in 0..hidden {
                            let at = |i: usize| z[i * hidden + k] + u[i * hidden + k];
                            let old = cells[k];
                            let i = f[0].of(clipped(at(0) + p(0, k, old)));
                            let forget = if coupled {
                                1.0 - i
                            } else {
                                f[0].of(clipped(at(2) + p(2, k, old)))
                            };
                            let new = forget * old + i * f[1].of(clipped(at(3)));
                            let o = f[0].of(clipped(at(1) + p(1, k, new)));
                            cells[k] = new;
                            h[k] = o * f[2].of(new);
                        }
                    }
                }
                y[((t * directions + direction) * batch + b) * hidden..][..hidden]
                    .copy_from_slice(h);
            }
        }
        last[0][direction * size..][..size].copy_from_slice(&h);
        last[1][direction * size..][..size].copy_from_slice(&cells);
    }
    let tensor = |dims: &[usize], v: Vec<f32>| -> Result<Tensor, String> {
        let x = Tensor::of(dims, v.into())?;
        if dtype == DType::F32 { Ok(x) } else { Ok(super::elementwise::cast(&x, dtype)?.remove(0)) }
    };
    let y = tensor(&[steps, directions, batch, hidden], y)?;
    let last = last.map(|v| tensor(&[directions, batch, hidden], v));
    let [h, cells] = last;
    let (mut y, mut h, mut cells) = (y, h?, cells?);
    if batch_first {
        y = super::linear::transposed(c, &y, &[2, 0, 1, 3])?;
        h = super::linear::transposed(c, &h, &[1, 0, 2])?;
        cells = super::linear::transposed(c, &cells, &[1, 0, 2])?;
    }
    Ok(if cell == Cell::Lstm { vec![y, h, cells] } else { vec![y, h] })
}
