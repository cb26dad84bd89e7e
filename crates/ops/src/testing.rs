//! Runs one operation, for tests beyond the generic checks.

use ff_graph::{Graph, Mode, Op, Params, Result, Value};
use ff_kernels::Float;
use ff_tensor::{DType, Device, Element, Tensor};
use std::sync::Arc;

/// An operation after its forward pass, with all outputs.
pub(crate) struct Run {
    graph: Graph,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
}

impl Run {
    /// Runs an operation in training mode, with gradients of all float inputs, in memory filled
    /// with NaN.
    pub(crate) fn new(op: &Arc<dyn Op>, inputs: &[Tensor]) -> Result<Self> {
        Self::in_mode(Mode::Train, op, inputs)
    }

    /// The same with the first inputs as data, without gradients.
    pub(crate) fn with_constants(op: &Arc<dyn Op>, x: &[Tensor], constants: usize) -> Result<Self> {
        Self::recorded(Mode::Train, op, x, constants)
    }

    pub(crate) fn in_mode(mode: Mode, op: &Arc<dyn Op>, inputs: &[Tensor]) -> Result<Self> {
        Self::recorded(mode, op, inputs, 0)
    }

    fn recorded(mode: Mode, op: &Arc<dyn Op>, x: &[Tensor], constants: usize) -> Result<Self> {
        let device = Device::default();
        device.pool().set_poison(true);
        let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], true)?);
        graph.set_mode(mode);
        let (data, variables) = x.split_at(constants);
        let mut inputs: Vec<Value> = data.iter().map(|t| graph.input(t.clone())).collect();
        inputs.extend(variables.iter().map(|t| graph.variable(t.clone())));
        let references: Vec<&Value> = inputs.iter().collect();
        let outputs = graph.apply_all(op, &references)?.into_vec();
        Ok(Self { graph, inputs, outputs })
    }

    pub(crate) fn output<T: Element>(&self, i: usize) -> Vec<T> {
        self.outputs[i].slice::<T>().unwrap().to_vec()
    }

    /// The gradients of all float inputs from the gradient of output 0.
    pub(crate) fn backward<T: Float>(self, dy: &[T]) -> Vec<Vec<T>> {
        self.try_backward(dy).unwrap()
    }

    pub(crate) fn try_backward<T: Float>(mut self, dy: &[T]) -> Result<Vec<Vec<T>>> {
        let output = self.outputs.swap_remove(0);
        let dy = tensor(dy, output.shape().dims());
        self.graph.backward_from(output, Some(dy))?;
        let grads = self.inputs.iter().filter_map(|x| self.graph.grad(x));
        Ok(grads.map(|dx| dx.slice::<T>().unwrap().to_vec()).collect())
    }
}

/// A tensor of these values.
pub(crate) fn tensor<T: Element>(values: &[T], dims: &[usize]) -> Tensor {
    Tensor::from_slice(&Device::default(), values, dims).unwrap()
}
