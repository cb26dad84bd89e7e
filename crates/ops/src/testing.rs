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

    pub(crate) fn in_mode(mode: Mode, op: &Arc<dyn Op>, inputs: &[Tensor]) -> Result<Self> {
        let device = Device::default();
        device.pool().set_poison(true);
        let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], true)?);
        graph.set_mode(mode);
        let inputs: Vec<Value> = inputs.iter().map(|t| graph.variable(t.clone())).collect();
        let references: Vec<&Value> = inputs.iter().collect();
        let outputs = graph.apply_all(op, &references)?.into_vec();
        Ok(Self { graph, inputs, outputs })
    }

    pub(crate) fn output<T: Float>(&self, i: usize) -> Vec<T> {
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
