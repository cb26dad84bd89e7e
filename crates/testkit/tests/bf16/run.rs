//! Forward and backward of one operation, whose values are f32 or bf16.

use ff_graph::{Graph, Mode, Op, ParamKind, ParamSpec, Params, Result, Value};
use ff_tensor::{DType, Device, Key, Rng, Shape, Slice, Tensor, TensorRef, bf16};
use ff_testkit::WeightedSum;
use std::sync::Arc;

/// The values of x, weights and biases, and the gradient of y.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub(crate) x: DType,
    pub(crate) y: DType,
    pub(crate) dims: Vec<Vec<usize>>,
    pub(crate) values: Vec<Vec<f64>>,
    /// Exact in bf16, so that rounding makes no difference.
    pub(crate) dy: Vec<f64>,
}

impl Inputs {
    /// Standard normal values for x and weights of these dimensions, and biases, if any.
    pub(crate) fn new(
        seed: u64,
        x: DType,
        y: DType,
        matrices: &[[usize; 2]],
        biases: Option<&[usize]>,
    ) -> Self {
        let mut dims: Vec<Vec<usize>> = matrices.iter().map(|dims| dims.to_vec()).collect();
        dims.extend(biases.unwrap_or_default().iter().map(|&n| vec![n]));
        let mut rng = Rng::new(Key::new(seed).with_name("bf16"));
        let mut draw = |n: usize| (0..n).map(|_| f64::from(rng.normal() as f32)).collect();
        let values: Vec<Vec<f64>> = dims.iter().map(|dims| draw(dims.iter().product())).collect();
        let outputs = matrices[0][0] * matrices[matrices.len() - 1][0];
        let dy = rounded(&draw(outputs));
        Self { x, y, dims, values, dy }
    }

    /// The values as operands of a product: x and weights rounded.
    pub(crate) fn rounded(&self) -> Vec<Vec<f64>> {
        let pairs = self.values.iter().zip(&self.dims);
        pairs.map(|(v, dims)| if dims.len() == 2 { rounded(v) } else { v.clone() }).collect()
    }

    fn tensor(&self, device: &Device, i: usize) -> Tensor {
        tensor(device, &self.values[i], &self.dims[i], if i == 0 { self.x } else { DType::F32 })
    }
}

pub(crate) fn rounded(values: &[f64]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(bf16::from_f32(v as f32))).collect()
}

fn tensor(device: &Device, values: &[f64], dims: &[usize], dtype: DType) -> Tensor {
    match dtype {
        DType::BF16 => {
            let values: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v as f32)).collect();
            Tensor::from_slice(device, &values, dims)
        }
        DType::F64 => Tensor::from_slice(device, values, dims),
        _ => {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            Tensor::from_slice(device, &values, dims)
        }
    }
    .unwrap()
}

fn to_f64(view: &TensorRef<'_>) -> Vec<f64> {
    match view.data() {
        Slice::F32(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Slice::BF16(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Slice::F64(values) => values.to_vec(),
        _ => panic!("neither f32 nor bf16"),
    }
}

/// y and the gradient of every input.
#[derive(Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) y: Vec<f64>,
    pub(crate) dx: Vec<Vec<f64>>,
}

impl Outcome {
    pub(crate) fn same_bits(&self, other: &Self) -> bool {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let all =
            |o: &Self| [bits(&o.y)].into_iter().chain(o.dx.iter().map(|dx| bits(dx))).collect();
        let [one, two]: [Vec<Vec<u64>>; 2] = [all(self), all(other)];
        one == two
    }
}

/// Nodes of the operation with shared inputs.
pub(crate) fn run(
    device: &Device,
    op: &Arc<dyn Op>,
    inputs: &Inputs,
    nodes: usize,
) -> Result<Outcome> {
    let mut graph = Graph::new(device, Params::allocate(device, DType::F32, vec![], true)?);
    let tensors = (0..inputs.values.len()).map(|i| inputs.tensor(device, i));
    pass(&mut graph, op, inputs, tensors.collect(), nodes)
}

/// The exact operation in f64, on rounded operands.
pub(crate) fn exact(op: &Arc<dyn Op>, inputs: &Inputs) -> Outcome {
    let device = Device::default();
    let params = Params::allocate(&device, DType::F64, vec![], true).unwrap();
    let mut graph = Graph::new(&device, params);
    let values = inputs.rounded();
    let pairs = values.iter().zip(&inputs.dims);
    let tensors = pairs.map(|(v, dims)| tensor(&device, v, dims, DType::F64)).collect();
    let inputs = Inputs { y: DType::F64, ..inputs.clone() };
    pass(&mut graph, op, &inputs, tensors, 1).unwrap()
}

fn pass(
    graph: &mut Graph,
    op: &Arc<dyn Op>,
    inputs: &Inputs,
    tensors: Vec<Tensor>,
    nodes: usize,
) -> Result<Outcome> {
    let values: Vec<Value> = tensors.into_iter().map(|t| graph.variable(t)).collect();
    let (y, dx) = differentiate(graph, op, inputs, &values, nodes)?;
    if graph.device().pool().is_planning() {
        return Ok(Outcome::default());
    }
    let dx = dx.then(|| values.iter().map(|v| to_f64(&graph.grad(v).unwrap().view())).collect());
    Ok(Outcome { y, dx: dx.unwrap_or_default() })
}

/// y, and whether backward ran.
fn differentiate(
    graph: &mut Graph,
    op: &Arc<dyn Op>,
    inputs: &Inputs,
    values: &[Value],
    nodes: usize,
) -> Result<(Vec<f64>, bool)> {
    let x: Vec<&Value> = values.iter().collect();
    let outputs: Vec<Value> = (0..nodes).map(|_| graph.apply(op, &x)).collect::<Result<_>>()?;
    let dims = outputs[0].shape().dims().to_vec();
    let planning = graph.device().pool().is_planning();
    let y = outputs[0].tensor().filter(|_| !planning).map(|t| to_f64(&t.view()));
    let differentiable = outputs[0].needs_grad();
    if differentiable {
        let dy = |_| tensor(graph.device(), &inputs.dy, &dims, inputs.y);
        let dys = (0..nodes).map(dy).collect();
        let loss = WeightedSum::apply(graph, &outputs.iter().collect::<Vec<_>>(), dys)?;
        drop(outputs);
        graph.backward(loss)?;
    }
    Ok((y.unwrap_or_default(), differentiable))
}

/// The peak of the pool on a planning device and on a real one: for an evaluation, for a training
/// step with a gradient of x, and for one without.
pub(crate) fn planned_and_measured(
    op: &Arc<dyn Op>,
    inputs: &Inputs,
) -> [(&'static str, [usize; 2]); 3] {
    let peak = |device: Device, train: bool, dx: bool| {
        let mut specs = Vec::new();
        for (i, dims) in inputs.dims.iter().enumerate().skip(1) {
            let kind = ParamKind::Weight;
            specs.push(ParamSpec::new(format!("input.{i}"), Shape::new(dims).unwrap(), kind));
        }
        let params = Params::allocate(&device, DType::F32, specs, train).unwrap();
        let mut graph = Graph::new(&device, params);
        graph.set_mode(if train { Mode::Train } else { Mode::Eval });
        let x = inputs.tensor(&device, 0);
        let mut values = vec![if dx { graph.variable(x) } else { graph.input(x) }];
        for i in 1..inputs.dims.len() {
            let id = graph.params().id(&format!("input.{i}")).unwrap();
            values.push(graph.param(id));
        }
        differentiate(&mut graph, op, inputs, &values, 1).unwrap();
        device.pool().stats().peak
    };
    [("evaluation", false, false), ("training", true, true), ("training without dx", true, false)]
        .map(|(what, train, dx)| {
            (what, [Device::planning(), Device::default()].map(|device| peak(device, train, dx)))
        })
}
