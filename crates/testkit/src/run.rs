//! Runs a case on a device: forward, a weighted sum of its outputs, backward.

use crate::WeightedSum;
use crate::fill::{Data, weights};
use ff_graph::{Case, Error, Graph, Mode, ParamKind, ParamSpec, Params, Result, Value};
use ff_tensor::{DType, Device, Element, Shape, Slice, TensorRef};

/// How an input enters the tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Data: no gradient.
    Constant,
    /// A value of the tape with a gradient.
    Variable,
    /// A parameter in the arena.
    Param,
    /// The value of an earlier input itself.
    SameAs(usize),
}

/// A run of an operation.
#[derive(Debug, Clone)]
pub(crate) struct Run<'a> {
    pub(crate) case: &'a Case,
    pub(crate) dtype: DType,
    pub(crate) roles: Vec<Role>,
    /// One factor per node of the operation; it multiplies the gradients of the node's outputs.
    pub(crate) factors: &'a [f64],
    /// The number of forward and backward passes without clearing gradients in between.
    pub(crate) passes: usize,
    /// The only output with a gradient; `None` for all.
    pub(crate) only: Option<usize>,
    pub(crate) mode: Mode,
    pub(crate) seed: u64,
    /// The gradients of the outputs; if `None`, drawn from the name of the case.
    pub(crate) dy: Option<&'a [Vec<f64>]>,
}

/// The results.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Each output with its shape; integers as floats.
    pub(crate) y: Vec<(Shape, Vec<f64>)>,
    /// Whether each output has a gradient.
    pub(crate) differentiable: Vec<bool>,
    /// The gradient of each input, if any.
    pub(crate) dx: Vec<Option<Vec<f64>>>,
    /// Bytes kept for backward.
    pub(crate) kept: u64,
}

impl<'a> Run<'a> {
    /// A run in f64, with every input that the case differentiates as a variable.
    pub(crate) fn new(case: &'a Case) -> Self {
        let role = |grad| if grad { Role::Variable } else { Role::Constant };
        Self {
            case,
            dtype: DType::F64,
            roles: case.inputs.iter().map(|x| role(x.grad)).collect(),
            factors: &[1.0],
            passes: 1,
            only: None,
            mode: Mode::Train,
            seed: 0,
            dy: None,
        }
    }

    /// The same run without gradients.
    pub(crate) fn constant(case: &'a Case) -> Self {
        Self { roles: vec![Role::Constant; case.inputs.len()], ..Self::new(case) }
    }

    pub(crate) fn on(&self, device: &Device, data: &[Data]) -> Result<Outcome> {
        let mut graph = Graph::new(device, self.params(device, data)?);
        graph.set_mode(self.mode);
        graph.set_seed(self.seed);
        let mut outcome = Outcome::default();
        for _ in 0..self.passes {
            graph.reset();
            self.pass(&mut graph, data, &mut outcome)?;
        }
        Ok(outcome)
    }

    fn params(&self, device: &Device, data: &[Data]) -> Result<Params> {
        // In reverse, so that the order of the arena differs from that of the inputs.
        let inputs = || (0..self.roles.len()).rev().filter(|&i| self.roles[i] == Role::Param);
        let specs = inputs()
            .map(|i| {
                let shape = Shape::new(&self.case.inputs[i].dims).map_err(Error::of("testkit"))?;
                Ok(ParamSpec::new(param_name(i), shape, ParamKind::Weight))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut params = Params::allocate(device, self.dtype, specs, true)?;
        if !device.pool().is_planning() {
            for i in inputs() {
                let (Some(id), Some(values)) = (params.id(&param_name(i)), data[i].floats()) else {
                    continue;
                };
                match self.dtype {
                    DType::F32 => {
                        let to = params.values_mut::<f32>(id)?;
                        to.iter_mut().zip(values).for_each(|(to, &v)| *to = v as f32);
                    }
                    _ => params.values_mut::<f64>(id)?.copy_from_slice(values),
                }
            }
        }
        Ok(params)
    }

    fn pass(&self, graph: &mut Graph, data: &[Data], outcome: &mut Outcome) -> Result<()> {
        let planning = graph.device().pool().is_planning();
        let device = graph.device().clone();
        let mut values: Vec<Value> = Vec::with_capacity(data.len());
        for (i, input) in self.case.inputs.iter().enumerate() {
            let tensor = || data[i].tensor(&device, &input.dims, self.dtype);
            values.push(match self.roles[i] {
                Role::Constant => graph.input(tensor()?),
                Role::Variable => graph.variable(tensor()?),
                Role::SameAs(first) => values[first].clone(),
                Role::Param => {
                    let id = graph.params().id(&param_name(i));
                    graph.param(id.ok_or_else(|| Error::shape("testkit", "no such parameter"))?)
                }
            });
        }
        let inputs: Vec<&Value> = values.iter().collect();
        let mut nodes: Vec<Vec<Value>> = Vec::with_capacity(self.factors.len());
        for _ in self.factors {
            nodes.push(graph.apply_all(&self.case.op, &inputs)?.into_vec());
        }
        if let Some(first) = nodes.first() {
            outcome.differentiable = first.iter().map(Value::needs_grad).collect();
            let tensors = first.iter().filter_map(Value::tensor).filter(|_| !planning);
            outcome.y = tensors.map(|t| (*t.shape(), to_f64(&t.view()))).collect();
        }
        outcome.kept = graph.tally().kept;
        if values.iter().any(Value::needs_grad) {
            let loss = self.loss(graph, &nodes)?;
            drop(nodes);
            graph.backward(loss)?;
            if !planning {
                outcome.dx = self.gradients(graph, &values)?;
            }
        }
        Ok(())
    }

    fn loss(&self, graph: &mut Graph, nodes: &[Vec<Value>]) -> Result<Value> {
        let (mut outputs, mut dys) = (Vec::new(), Vec::new());
        for (node, factor) in nodes.iter().zip(self.factors) {
            for (j, value) in node.iter().enumerate() {
                if value.needs_grad() && self.only.is_none_or(|only| only == j) {
                    let n = value.shape().len();
                    let given = self.dy.and_then(|dy| dy.get(j)).cloned();
                    let mut dy = given.unwrap_or_else(|| weights(&self.case.name, j, n));
                    for w in &mut dy {
                        *w *= factor;
                    }
                    let dims = value.shape().dims();
                    dys.push(Data::Float(dy).tensor(graph.device(), dims, self.dtype)?);
                    outputs.push(value);
                }
            }
        }
        WeightedSum::apply(graph, &outputs, dys)
    }

    fn gradients(&self, graph: &mut Graph, values: &[Value]) -> Result<Vec<Option<Vec<f64>>>> {
        let mut all = Vec::with_capacity(values.len());
        for (i, value) in values.iter().enumerate() {
            all.push(match self.roles[i] {
                Role::Variable => graph.grad(value).map(|t| to_f64(&t.view())),
                Role::Param => {
                    let info = graph.params().id(&param_name(i)).map(|id| graph.params().info(id));
                    let range = info.map(ff_graph::ParamInfo::range).unwrap_or_default();
                    Some(match self.dtype {
                        DType::F32 => widen(&graph.params_mut().gradients::<f32>()?[range]),
                        _ => graph.params_mut().gradients::<f64>()?[range].to_vec(),
                    })
                }
                Role::Constant | Role::SameAs(_) => None,
            });
        }
        Ok(all)
    }
}

fn param_name(input: usize) -> String {
    format!("input.{input}")
}

fn widen<T: Element + Into<f64>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

/// Values of any type as f64, all exact.
pub(crate) fn to_f64(view: &TensorRef<'_>) -> Vec<f64> {
    match view.data() {
        Slice::F32(values) => widen(values),
        Slice::F64(values) => values.to_vec(),
        Slice::I32(values) => widen(values),
        Slice::U8(values) => widen(values),
        _ => Vec::new(),
    }
}
