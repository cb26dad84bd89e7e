use ff_graph::{Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec};
use ff_kernels::{Float, MAX_COLUMNS, for_columns, for_rows};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// The snake activation y = x + sin²(αx)/α with a learned frequency α per feature: it extrapolates
/// periodically beyond the training data (Ziyin, Hartwig and Ueda, "Neural networks fail to learn
/// periodic functions and how to fix it", 2020).
///
/// With u = αx and s(u) = sin(u)/u, which is 1 at 0, there is no division by α:
///
/// Forward:  y = x + x sin(u) s(u)
/// Backward:  dx = dy (1 + sin 2u),  dα = Σ dy x² s(u) (2 cos u − s(u)), over all rows
///
/// Kept: x, and α if x or α needs a gradient; parameters are never copied.
///
/// # Shapes
/// x `[…, features]`, α `[features]` → y `[…, features]`
///
/// ```
/// use custom_layer::Snake;
/// use ff_graph::{Graph, Params};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[0.5f64], &[1, 1]).unwrap());
/// let alpha = graph.input(Tensor::from_slice(&device, &[std::f64::consts::PI], &[1]).unwrap());
/// let y = graph.apply(&Snake::op(), &[&x, &alpha])?;
/// assert!((y.item()? - (0.5 + 1.0 / std::f64::consts::PI)).abs() < 1e-15); // sin²(π/2) = 1
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snake;

/// The approximate cost of a sine and a cosine in additions, from which kernels derive the number
/// of threads.
const WORK: usize = 20;

impl Snake {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op() -> Arc<dyn Op> {
        Arc::new(Self)
    }
}

impl FloatOp for Snake {
    fn name(&self) -> &'static str {
        "snake"
    }

    // The outputs, the values for backward, and the cost. The graph allocates accordingly, and
    // `feedforward plan` uses it; messages state what was expected and what was found.
    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let [x, alpha] = x else {
            let message = format!("expected x and alpha, found {} inputs", x.len());
            return Err(OpError::shape(message));
        };
        if x.shape.rank() == 0 || alpha.shape.dims() != [x.shape.last()] {
            let message = format!(
                "alpha must be [{}], one per feature of x {}, found {}",
                x.shape.last(),
                x.shape,
                alpha.shape
            );
            return Err(OpError::shape(message));
        }
        if alpha.dtype != x.dtype {
            return Err(OpError::dtype("alpha of the type of x", alpha.dtype));
        }
        let cost = WORK * x.shape.len();
        let contract = Contract::new([*x]).cost(cost, cost * need.iter().filter(|&&n| n).count());
        // No gradients needed, nothing kept.
        Ok(if need.contains(&true) { contract.keep_input(0).keep_input(1) } else { contract })
    }

    // Written once: f32 in training, f64 in gradient checks.
    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (rows, width) = (x[0].shape().rows(), x[0].shape().last());
        let (x, alpha) = (x[0].slice::<T>()?, x[1].slice::<T>()?);
        // Each row belongs to one task, so results do not depend on the number of threads.
        for_rows(cx.cpu(), rows, width * WORK, [(y[0].slice_mut()?, width)], |i, [y]| {
            for ((y, &x), &alpha) in y.iter_mut().zip(&x[i * width..]).zip(alpha) {
                let (x, u) = (x.f64(), x.f64() * alpha.f64());
                *y = T::of(x + x * u.sin() * sinc(u));
            }
        });
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let (rows, width) = (kept.spec(0).shape.rows(), kept.spec(0).shape.last());
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        let x = kept.input(0)?.slice::<T>()?;
        let alpha = kept.input(1)?.slice::<T>()?;
        // A slot tells whether the gradient is needed, and whether to write or add it.
        if let Some((dx, accumulate)) = dx[0].take::<T>()? {
            for_rows(cx.cpu(), rows, width * WORK, [(dx, width)], |i, [dx]| {
                let values = x[i * width..].iter().zip(&dy[i * width..]).zip(alpha);
                for (dx, ((&x, &dy), &alpha)) in dx.iter_mut().zip(values) {
                    let d = T::of(dy.f64() * (1.0 + (2.0 * x.f64() * alpha.f64()).sin()));
                    *dx = if accumulate { *dx + d } else { d };
                }
            });
        }
        if let Some((dalpha, accumulate)) = dx[1].take::<T>()? {
            // Each column belongs to one task, which adds its rows in order.
            for_columns(cx.cpu(), width, rows * WORK, [dalpha], |columns, [mut dalpha]| {
                let mut sums = [0.0; MAX_COLUMNS];
                for row in 0..rows {
                    for (sum, j) in sums.iter_mut().zip(columns.clone()) {
                        let (x, dy) = (x[row * width + j].f64(), dy[row * width + j].f64());
                        let u = x * alpha[j].f64();
                        *sum += dy * x * x * sinc(u) * (2.0 * u.cos() - sinc(u));
                    }
                }
                dalpha.put(&sums, accumulate);
            });
        }
        Ok(())
    }
}

/// sin(u)/u, 1 at 0.
fn sinc(u: f64) -> f64 {
    if u == 0.0 { 1.0 } else { u.sin() / u }
}
