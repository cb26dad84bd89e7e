//! The loss as a re-evaluable function, and the result of its minimisation.

use super::error::Error;
use ff_graph::Params;

/// A loss that can be evaluated repeatedly: PyTorch's closure.
///
/// ```
/// use ff_graph::{ParamKind, ParamSpec, Params};
/// use ff_tensor::{DType, Device};
/// use ff_train::optim::{Closure, Error, LossSum, Optimizer, OptimizerConfig, OptimizerKind};
/// /// (w − 3)² for one row.
/// struct Parabola(Params);
/// impl Closure for Parabola {
///     type Error = Error;
///     fn params(&mut self) -> &mut Params {
///         &mut self.0
///     }
///     fn evaluate(&mut self) -> Result<LossSum, Error> {
///         self.0.clear_gradients();
///         let (w, dw) = self.0.flat_and_gradients::<f64>()?;
///         dw[0] = 2.0 * (w[0] - 3.0);
///         Ok(LossSum { sum: (w[0] - 3.0).powi(2), count: 1.0 })
///     }
/// }
/// let device = Device::default();
/// let specs = vec![ParamSpec::new("w", [1], ParamKind::Bias)];
/// let mut parabola = Parabola(Params::allocate(&device, DType::F64, specs, true)?);
/// let config = OptimizerConfig::new(OptimizerKind::Lbfgs);
/// let mut optimizer = Optimizer::new(&config, &parabola.0, &device)?;
/// let report = optimizer.minimize(&mut parabola, config.lr())?;
/// assert!(report.converged());
/// assert!((parabola.0.flat::<f64>()?[0] - 3.0).abs() < 1e-7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Closure {
    /// The error of evaluations; it also wraps errors of the optimiser.
    type Error: From<Error>;

    /// The parameters of the loss.
    fn params(&mut self) -> &mut Params;

    /// Clears the gradients, runs forward and backward, and leaves the summed gradients in the
    /// arena. The same parameters give the same loss: the rows are the same, and dropout keeps its
    /// mask.
    ///
    /// # Errors
    /// If the model fails.
    fn evaluate(&mut self) -> Result<LossSum, Self::Error>;
}

/// A loss as a sum over rows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossSum {
    /// The sum.
    pub sum: f64,
    /// The number of rows, by which loss and gradients are divided.
    pub count: f64,
}

/// The end of a minimisation.
///
/// ```
/// use ff_train::optim::{MinimizeReport, Status};
/// assert!(MinimizeReport { status: Status::Gradient, ..Default::default() }.converged());
/// assert!(!MinimizeReport::default().converged());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MinimizeReport {
    /// The mean loss: for L-BFGS at the end, with penalties; for other rules at the start.
    pub loss: f64,
    /// The norm of its gradient.
    pub grad_norm: f64,
    /// The number of updates.
    pub iterations: usize,
    /// The number of evaluations of the loss.
    pub evaluations: usize,
    /// The reason for the end.
    pub status: Status,
}

impl MinimizeReport {
    /// Whether a tolerance was reached, so that further steps are useless.
    pub fn converged(&self) -> bool {
        matches!(self.status, Status::Gradient | Status::Change)
    }
}

/// The reason for the end of a minimisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// The limit of iterations or evaluations was reached.
    #[default]
    Limit,
    /// No gradient exceeds `tolerance_grad`.
    Gradient,
    /// Neither the loss nor any weight changes by more than `tolerance_change`.
    Change,
    /// The loss or a gradient is not finite at the start; nothing was changed.
    NonFinite,
}
