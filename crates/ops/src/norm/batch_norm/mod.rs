//! Batch normalisation.

mod cpu;

use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::Float;
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// The statistics used by batch normalisation.
///
/// ```
/// use ff_ops::{BatchNorm, Statistics};
/// assert_eq!(BatchNorm { eps: 1e-5, affine: true, statistics: Statistics::Batch }.inputs(), 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistics {
    /// The statistics of the batch: training.
    Batch,
    /// Given statistics, independent of x: evaluation, or a frozen layer.
    Running,
}

/// Batch normalisation, `torch.nn.BatchNorm1d` (Ioffe and Szegedy, 2015): each feature over all
/// rows.
///
/// Forward:  x̂ = (x − μ) r with r = 1/√(σ² + ε),  y = w ⊙ x̂ + b
/// Backward, with N rows:  db = Σ dy,  dw = Σ dy ⊙ x̂, and
///   with batch statistics  dx = w r ⊙ (dy − db/N − x̂ ⊙ dw/N),
///   with running statistics  dx = w r ⊙ dy
///
/// Inputs: x; w and b if affine; the mean and the variance for running statistics. With batch
/// statistics, two more outputs without gradients: the mean, and the variance Σ(x − μ)²/(N − 1) for
/// the running statistics; y uses σ² = Σ(x − μ)²/N.
///
/// Kept: x, μ, r and w; with running statistics w, μ and σ², and x only for dw.
///
/// # Shapes
/// x `[…, features]`, all others `[features]` → y `[…, features]`, mean `[features]`, variance
/// `[features]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::{BatchNorm, Statistics};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f64, 3.0], &[2, 1]).unwrap());
/// let outputs = graph.apply_all(&BatchNorm::op(0.0, false, Statistics::Batch), &[&x])?;
/// assert_eq!(outputs[0].slice::<f64>()?, [-1.0, 1.0]);
/// assert_eq!((outputs[1].item()?, outputs[2].item()?), (2.0, 2.0));
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// ε, added to the variance; usually 1e-5.
    pub eps: f64,
    /// Whether the layer is affine, with w and b.
    pub affine: bool,
    /// The statistics used.
    pub statistics: Statistics,
}

impl BatchNorm {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(eps: f64, affine: bool, statistics: Statistics) -> Arc<dyn Op> {
        Arc::new(Self { eps, affine, statistics })
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.mean() + if self.statistics == Statistics::Running { 2 } else { 0 }
    }

    /// The index of the mean among the inputs, or one past the last.
    fn mean(&self) -> usize {
        if self.affine { 3 } else { 1 }
    }
}

impl FloatOp for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let names = match (self.affine, self.statistics) {
            (false, Statistics::Batch) => "x",
            (false, Statistics::Running) => "x, mean, variance",
            (true, Statistics::Batch) => "x, weight, bias",
            (true, Statistics::Running) => "x, weight, bias, mean, variance",
        };
        check::inputs(x, self.inputs(), names)?;
        check::float(&x[0])?;
        check::eps(self.eps)?;
        let affine = if self.affine { ["the weight", "the bias"].as_slice() } else { &[] };
        let vectors = affine.iter().chain(&["the mean", "the variance"]);
        for (spec, what) in x[1..].iter().zip(vectors) {
            check::per_feature(what, spec, &x[0])?;
        }
        let (n, rows) = (x[0].shape.len(), x[0].shape.rows());
        let vector = x[0].with_shape([x[0].shape.last()]);
        let (need_x, need_w) = (need[0], self.affine && need[1]);
        match self.statistics {
            Statistics::Batch => {
                if rows < 2 {
                    let message = format!(
                        "the variance of a batch needs at least 2 rows, x {} has {rows}; use a \
                         larger batch, drop the last incomplete one, or use layer_norm",
                        x[0].shape
                    );
                    return Err(OpError::shape(message));
                }
                let mut contract = Contract::new([x[0], vector, vector])
                    .constant_output(1)
                    .constant_output(2)
                    .cost(8 * n, 10 * n);
                if need_x || need_w {
                    contract = contract.keep_input(0).keep_output(1).save(vector);
                }
                Ok(if need_x && self.affine { contract.keep_input(1) } else { contract })
            }
            Statistics::Running => {
                let mut contract = Contract::new([x[0]]).cost(4 * n, 5 * n);
                if need_w {
                    contract = contract.keep_input(0).keep_input(self.mean());
                }
                if need_x && self.affine {
                    contract = contract.keep_input(1);
                }
                if need_x || need_w {
                    contract = contract.keep_input(self.mean() + 1);
                }
                Ok(contract)
            }
        }
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        match self.statistics {
            Statistics::Batch => self.forward_batch::<T>(cx, x, y, saved),
            Statistics::Running => self.forward_running::<T>(cx, x, y),
        }
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        match self.statistics {
            Statistics::Batch => self.backward_batch::<T>(cx, kept, dy, dx),
            Statistics::Running => self.backward_running::<T>(cx, kept, dy, dx),
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, affine: bool, statistics, dims: &[usize]| {
        let features = dims[dims.len() - 1];
        let mut inputs = vec![CaseInput::new(dims, Fill::Normal(2.0))];
        if affine {
            inputs.extend([CaseInput::normal([features]), CaseInput::normal([features])]);
        }
        if statistics == Statistics::Running {
            inputs.push(CaseInput::constant([features], Fill::Normal(1.0)));
            inputs.push(CaseInput::constant([features], Fill::Uniform(0.5, 2.0)));
        }
        Case::new(format!("batch_norm/{name}"), BatchNorm::op(1e-5, affine, statistics), inputs)
    };
    vec![
        case("batch", true, Statistics::Batch, &[5, 3]),
        case("batch_plain", false, Statistics::Batch, &[5, 3]),
        case("batch_folded", true, Statistics::Batch, &[2, 3, 4]),
        case("batch_wide", true, Statistics::Batch, &[5, 67]),
        case("running", true, Statistics::Running, &[5, 3]),
        case("running_plain", false, Statistics::Running, &[5, 3]),
        case("running_one", true, Statistics::Running, &[1, 1]),
        case("running_no_rows", true, Statistics::Running, &[0, 3]),
        case("running_wide", true, Statistics::Running, &[2, 2, 67]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};
    use ff_tensor::DType;

    /// x = [1, 2, 6]: mean 3, Σ(x − 3)² = 14.
    #[test]
    fn statistics_of_three_rows() {
        let inputs = [tensor(&[1.0f64, 2.0, 6.0], &[3, 1])];
        let op = BatchNorm::op(0.0, false, Statistics::Batch);
        let run = Run::new(&op, &inputs).unwrap();
        assert_eq!((run.output::<f64>(1), run.output::<f64>(2)), (vec![3.0], vec![7.0]));
        let r = (3.0f64 / 14.0).sqrt();
        for (y, x) in run.output::<f64>(0).iter().zip([-2.0, -1.0, 3.0]) {
            assert!((y - x * r).abs() < 1e-15);
        }
    }

    /// In f32, Σx² − (Σx)² would lose all digits of this variance.
    #[test]
    fn a_large_mean_does_not_swallow_the_variance() {
        let x: Vec<f32> = (0..1000).map(|i| 1e5 + (i % 2) as f32).collect();
        let op = BatchNorm::op(1e-5, false, Statistics::Batch);
        let run = Run::new(&op, &[tensor(&x, &[1000, 1])]).unwrap();
        let expected = 0.25 * 1000.0 / 999.0;
        assert!((f64::from(run.output::<f32>(2)[0]) - expected).abs() < 1e-7);
    }

    #[test]
    fn nan_stays_in_its_column() {
        let inputs = [tensor(&[f32::NAN, 1.0, 2.0, 2.0], &[2, 2])];
        let op = BatchNorm::op(1e-5, false, Statistics::Batch);
        let run = Run::new(&op, &inputs).unwrap();
        let y = run.output::<f32>(0);
        assert!(y[0].is_nan() && y[2].is_nan() && y[1].is_finite() && y[3].is_finite());
    }

    #[test]
    fn a_gradient_of_running_statistics_is_refused() {
        let op = BatchNorm::op(1e-5, false, Statistics::Running);
        let vector = || tensor(&[1.0f32], &[1]);
        let run = Run::new(&op, &[tensor(&[2.0f32], &[1, 1]), vector(), vector()]).unwrap();
        let error = run.try_backward(&[1.0f32]).unwrap_err().to_string();
        assert!(error.contains("running statistics; give them as"), "{error}");
    }

    #[test]
    fn one_row_and_wrong_vectors_are_named() {
        let spec = |dims: &[usize]| Spec::new(ff_tensor::Shape::new(dims).unwrap(), DType::F32);
        let op = BatchNorm::op(1e-5, true, Statistics::Batch);
        let message = |x: &[Spec]| op.contract(x, &[true; 5]).unwrap_err().to_string();
        let one = message(&[spec(&[1, 3]), spec(&[3]), spec(&[3])]);
        assert!(one.contains("at least 2 rows") && one.contains("larger batch"), "{one}");
        let wrong = message(&[spec(&[4, 3]), spec(&[3]), spec(&[4])]);
        assert!(wrong.contains("the bias must be [3]") && wrong.contains("found [4]"), "{wrong}");
        assert!(message(&[spec(&[4, 3])]).contains("expected 3 inputs (x, weight, bias), found 1"));
    }
}
