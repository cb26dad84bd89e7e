use ff_kernels::Float;
use ff_ops::{Contract, Cx, Error, Graph, Kept, Op, Result, Slot, Spec, Value, for_float};
use ff_tensor::{Shape, Tensor, TensorMut, TensorRef};
use std::sync::Arc;

/// The sum of all values of all inputs, each with its weight: L = Σᵢ ⟨wᵢ, xᵢ⟩.
///
/// It turns any outputs into one number to differentiate, so that each xᵢ gets the gradient wᵢ.
/// Backward: dxᵢ = dL wᵢ; the weights get none.
///
/// # Shapes
/// x₁ … xₙ of any shapes, then w₁ … wₙ of the same shapes → L `[1]`
///
/// ```
/// use ff_ops::{Graph, Params};
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
/// # Ok::<(), ff_ops::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightedSum;

const NAME: &str = "weighted_sum";

impl WeightedSum {
    /// The weighted sum of these values, one tensor of weights for each.
    ///
    /// # Errors
    /// The shapes or types of values and weights differ.
    pub fn apply(graph: &mut Graph, values: &[&Value], weights: Vec<Tensor>) -> Result<Value> {
        let weights: Vec<Value> = weights.into_iter().map(|w| graph.input(w)).collect();
        let inputs: Vec<&Value> = values.iter().copied().chain(&weights).collect();
        graph.apply(&(Arc::new(WeightedSum) as Arc<dyn Op>), &inputs)
    }
}

impl Op for WeightedSum {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> Result<Contract> {
        let (values, weights) = x.split_at(x.len() / 2);
        if values.is_empty() || values != weights {
            return Err(Error::shape(
                NAME,
                format!(
                    "expected as many weights as values, of the same shapes and types, found {x:?}"
                ),
            ));
        }
        if need[values.len()..].contains(&true) {
            return Err(Error::shape(NAME, "weights are constants and get no gradient"));
        }
        let size: usize = values.iter().map(|v| v.shape.len()).sum();
        let contract = Contract::new([x[0].with_shape(Shape::scalar())]).cost(2 * size, size);
        Ok((values.len()..x.len()).fold(contract, Contract::keep_input))
    }

    fn forward(
        &self,
        _cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> Result<()> {
        let (values, weights) = x.split_at(x.len() / 2);
        for_float!(NAME, x[0].dtype(), T => {
            let mut sum = 0.0;
            for (x, w) in values.iter().zip(weights) {
                sum += dot::<T>(x, w).map_err(Error::of(NAME))?;
            }
            y[0].slice_mut::<T>().map_err(Error::of(NAME))?[0] = T::of(sum);
            Ok(())
        })
    }

    fn backward(
        &self,
        _cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> Result<()> {
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        for_float!(NAME, kept.spec(0).dtype, T => {
            let dy = dy.slice_mut::<T>().map_err(Error::of(NAME))?[0];
            let n = dx.len() / 2;
            for (i, slot) in dx.iter_mut().enumerate().take(n) {
                if let Some((dx, accumulate)) = slot.take::<T>().map_err(Error::of(NAME))? {
                    let w = kept.input(n + i)?.slice::<T>().map_err(Error::of(NAME))?;
                    for (dx, &w) in dx.iter_mut().zip(w) {
                        *dx = if accumulate { *dx + dy * w } else { dy * w };
                    }
                }
            }
            Ok(())
        })
    }
}

fn dot<T: Float>(x: &TensorRef<'_>, w: &TensorRef<'_>) -> ff_tensor::Result<f64> {
    Ok(x.slice::<T>()?.iter().zip(w.slice::<T>()?).map(|(x, w)| x.f64() * w.f64()).sum())
}
