//! Helpers for the tests of all losses.

use ff_graph::{Error, Graph, Op, Params, Result, Value};
use ff_tensor::{DType, Device, DeviceOptions, Slice, Tensor};
use std::sync::Arc;

/// Predictions `[3, 2]` of the tests that compare with PyTorch.
pub(crate) const X: [f64; 6] = [0.5, -1.0, 2.0, 3.0, -0.75, 0.0];
/// Targets for [`X`].
pub(crate) const Y: [f64; 6] = [0.0, -3.0, 2.5, 3.0, 1.0, -0.25];
/// Probabilities for [`X`], one output at a time.
pub(crate) const B: [f64; 6] = [0.0, 1.0, 0.3, 1.0, 1.0, 0.0];
/// Logits `[4, 3]` of the tests that compare with PyTorch.
pub(crate) const Z: [f64; 12] = [1.0, 2.0, -0.5, 0.25, -1.0, 3.0, 2.0, 0.0, 0.5, -1.5, 0.75, 1.0];
/// Probabilities for [`Z`].
pub(crate) const P: [f64; 12] = [0.2, 0.5, 0.3, 0.0, 0.0, 1.0, 0.6, 0.4, 0.0, 0.1, 0.1, 0.8];

/// An input: values and dimensions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Data<'a> {
    F64(&'a [f64], &'a [usize]),
    F32(&'a [f32], &'a [usize]),
    I32(&'a [i32], &'a [usize]),
}

impl Data<'_> {
    fn tensor(self, device: &Device) -> Tensor {
        match self {
            Data::F64(values, dims) => Tensor::from_slice(device, values, dims),
            Data::F32(values, dims) => Tensor::from_slice(device, values, dims),
            Data::I32(values, dims) => Tensor::from_slice(device, values, dims),
        }
        .unwrap()
    }
}

/// The results.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LossResult {
    pub(crate) loss: f64,
    pub(crate) count: f64,
    pub(crate) gradient: Vec<f64>,
}

impl LossResult {
    /// Sums of about a dozen terms near 1 err by a few units in the last place of an f64.
    pub(crate) fn assert_gradient(&self, expected: &[f64]) {
        assert_eq!(self.gradient.len(), expected.len());
        for (i, (found, expected)) in self.gradient.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() < 1e-14, "{i}: {found} for {expected}");
        }
    }

    /// Asserts that loss and gradient match PyTorch's.
    pub(crate) fn assert(&self, loss: f64, count: f64, gradient: &[f64]) {
        assert_close(self.loss, loss);
        assert_close(self.count, count);
        self.assert_gradient(gradient);
    }
}

/// Asserts equality up to a few roundings of an f64.
pub(crate) fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 4e-15 * expected.abs().max(1.0), "{found} for {expected}");
}

/// Runs forward and backward on one thread.
pub(crate) fn run(op: &Arc<dyn Op>, inputs: &[Data<'_>]) -> LossResult {
    run_on(&Device::default(), op, inputs).unwrap()
}

/// Asserts bit-identical results for 1, 2 and 4 threads.
pub(crate) fn assert_same_bits(op: &Arc<dyn Op>, inputs: &[Data<'_>]) {
    let bits = |threads| {
        let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
        let found = run_on(&device, op, inputs).unwrap();
        let values = [found.loss, found.count].into_iter().chain(found.gradient);
        values.map(f64::to_bits).collect::<Vec<_>>()
    };
    let one = bits(1);
    assert!(bits(2) == one && bits(4) == one, "{}", op.name());
}

/// Asserts that the operation fails with this message.
pub(crate) fn fails(op: &Arc<dyn Op>, inputs: &[Data<'_>], message: &str) {
    let error = run_on(&Device::default(), op, inputs).unwrap_err();
    assert_eq!(error.to_string(), message);
}

fn run_on(device: &Device, op: &Arc<dyn Op>, inputs: &[Data<'_>]) -> Result<LossResult> {
    device.pool().set_poison(true);
    let params = Params::allocate(device, DType::F64, vec![], true)?;
    let mut graph = Graph::new(device, params);
    let values: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(i, data)| match i {
            0 => graph.variable(data.tensor(device)),
            _ => graph.input(data.tensor(device)),
        })
        .collect();
    let outputs = graph.apply_all(op, &values.iter().collect::<Vec<_>>())?;
    let (loss, count) = (outputs[0].item()?, outputs[1].item()?);
    assert!(!outputs[1].needs_grad(), "the count is constant");
    graph.backward(outputs[0].clone())?;
    let gradient = graph.grad(&values[0]).ok_or(Error::NoGradient)?;
    let gradient = match gradient.view().data() {
        Slice::F32(values) => values.iter().map(|&v| v.into()).collect(),
        _ => gradient.slice::<f64>().map_err(Error::of("test"))?.to_vec(),
    };
    Ok(LossResult { loss, count, gradient })
}
