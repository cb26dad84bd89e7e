use ff_graph::{
    Contract, Cx, Graph, Kept, Op, OpError, OpResult, Result, Slot, Spec, Value, for_float,
};
use ff_kernels::{Float, Stored};
use ff_tensor::{DType, Shape, Tensor, TensorMut, TensorRef, bf16};
use std::sync::Arc;

/// The sum of all values of all inputs, each with its weight: L = Σᵢ ⟨wᵢ, xᵢ⟩.
///
/// It turns any outputs into one number to differentiate, so that each xᵢ gets the gradient wᵢ.
/// Backward: dxᵢ = dL wᵢ; the weights get none.
///
/// # Shapes
/// x₁ … xₙ of any shapes, then w₁ … wₙ of the same shapes → L `[1]`, in f32 for values of bf16
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_tensor::{DType, Device, Tensor};
/// use ff_testkit::WeightedSum;
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], true)?);
/// let tensor = |values: &[f64]| Tensor::from_slice(&device, values, &[2]).unwrap();
/// let x = graph.variable(tensor(&[1.0, 2.0]));
/// let loss = WeightedSum::apply(&mut graph, &[&x], vec![tensor(&[10.0, 100.0])])?;
/// assert_eq!(loss.item()?, 210.0);
/// graph.backward(loss)?;
/// assert_eq!(graph.grad(&x).unwrap().slice::<f64>().unwrap(), [10.0, 100.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightedSum;

impl WeightedSum {
    /// The weighted sum of values, with one tensor of weights per value.
    ///
    /// # Errors
    /// If the shapes or types of values and weights differ.
    pub fn apply(graph: &mut Graph, values: &[&Value], weights: Vec<Tensor>) -> Result<Value> {
        let weights: Vec<Value> = weights.into_iter().map(|w| graph.input(w)).collect();
        let inputs: Vec<&Value> = values.iter().copied().chain(&weights).collect();
        graph.apply(&(Arc::new(WeightedSum) as Arc<dyn Op>), &inputs)
    }
}

impl Op for WeightedSum {
    fn name(&self) -> &'static str {
        "weighted_sum"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let (values, weights) = x.split_at(x.len() / 2);
        if values.is_empty() || values != weights {
            return Err(OpError::shape(format!(
                "expected as many weights as values, of the same shapes and types, found {x:?}"
            )));
        }
        if need[values.len()..].contains(&true) {
            return Err(OpError::shape("weights are constants and have no gradient"));
        }
        let size: usize = values.iter().map(|v| v.shape.len()).sum();
        let dtype = if x[0].dtype == DType::BF16 { DType::F32 } else { x[0].dtype };
        let contract = Contract::new([Spec::new(Shape::scalar(), dtype)]).cost(2 * size, size);
        Ok((values.len()..x.len()).fold(contract, Contract::keep_input))
    }

    fn forward(
        &self,
        _cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        match x[0].dtype() {
            DType::BF16 => sum::<bf16>(x, y),
            dtype => for_float!(dtype, T => sum::<T>(x, y)),
        }
    }

    fn backward(
        &self,
        _cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        match kept.spec(0).dtype {
            DType::BF16 => spread::<bf16>(kept, dy, dx),
            dtype => for_float!(dtype, T => spread::<T>(kept, dy, dx)),
        }
    }
}

fn sum<S: Stored>(x: &[TensorRef<'_>], y: &mut [TensorMut<'_>]) -> OpResult {
    let (values, weights) = x.split_at(x.len() / 2);
    let mut sum = 0.0;
    for (x, w) in values.iter().zip(weights) {
        sum += dot::<S>(x, w)?;
    }
    y[0].slice_mut::<S::Compute>()?[0] = S::Compute::of(sum);
    Ok(())
}

fn spread<S: Stored>(
    kept: &Kept<'_>,
    dy: &mut [Option<TensorMut<'_>>],
    dx: &mut [Slot<'_>],
) -> OpResult {
    let Some(dy) = &mut dy[0] else { return Ok(()) };
    let dy = dy.slice_mut::<S::Compute>()?[0];
    let n = dx.len() / 2;
    for (i, slot) in dx.iter_mut().enumerate().take(n) {
        if let Some((dx, accumulate)) = slot.take::<S>()? {
            let w = kept.input(n + i)?.slice::<S>()?;
            for (dx, &w) in dx.iter_mut().zip(w) {
                let d = dy * w.compute();
                *dx = S::from_compute(if accumulate { dx.compute() + d } else { d });
            }
        }
    }
    Ok(())
}

fn dot<S: Stored>(x: &TensorRef<'_>, w: &TensorRef<'_>) -> OpResult<f64> {
    let pairs = x.slice::<S>()?.iter().zip(w.slice::<S>()?);
    Ok(pairs.map(|(x, w)| x.compute().f64() * w.compute().f64()).sum())
}
