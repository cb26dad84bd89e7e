use crate::{ConfigError, LossConfig, LossKind};
use ff_graph::{Graph, Op, Result, Value};
use ff_ops::{
    BinaryCrossEntropyWithLogits, BinaryFocal, Focal, KlDivergence, Reduction, RegressionLoss,
    SoftmaxCrossEntropy,
};
use std::sync::Arc;

/// The targets of a loss.
///
/// ```
/// use ff_nn::{Loss, LossConfig, LossKind, LossTarget};
/// let kl = LossConfig { kind: LossKind::Kl, ..Default::default() };
/// assert_eq!(Loss::new(&kl, Some(3), None)?.target(), LossTarget::Probabilities(3));
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossTarget {
    /// Class indices `[N]`, i32.
    Classes,
    /// A probability per class `[N, C]`.
    Probabilities(usize),
    /// Numbers `[N, outputs]`; for logits, 1 is the positive class or a label that is true.
    Values,
}

/// A training loss: a sum over rows, and the count by which to divide it.
///
/// ```
/// use ff_nn::{Loss, LossConfig, LossTarget};
/// let loss = Loss::new(&LossConfig::default(), Some(10), None)?;
/// assert_eq!((loss.outputs(), loss.target()), (10, LossTarget::Classes));
/// let loss = Loss::new(&LossConfig::default(), None, None)?; // numbers
/// assert_eq!((loss.outputs(), loss.target()), (1, LossTarget::Values));
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Loss {
    op: Arc<dyn Op>,
    name: &'static str,
    outputs: usize,
    classes: usize,
    target: LossTarget,
}

impl Loss {
    /// The loss of a recipe, over this number of classes or over numbers, with a weight per class.
    ///
    /// # Errors
    /// If the loss does not suit the target, or a setting does not suit the loss.
    pub fn new(
        config: &LossConfig,
        classes: Option<usize>,
        class_weights: Option<Vec<f64>>,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let kind = match (config.kind, classes) {
            (LossKind::Auto, Some(_)) => LossKind::CrossEntropy,
            (LossKind::Auto, None) => LossKind::Regression(RegressionLoss::Mse),
            (kind, _) => kind,
        };
        let numbers = matches!(kind, LossKind::Regression(_));
        if numbers != classes.is_none() {
            let (has, use_) = if numbers {
                ("classes", "cross_entropy, focal, kl, or bce for two".to_owned())
            } else {
                ("numbers", regression_names())
            };
            return Err(ConfigError::new("loss.kind", format!("the target has {has}; use {use_}")));
        }
        Self::check_settings(config, kind)?;
        let n = classes.unwrap_or(1);
        if kind == LossKind::Bce && n != 2 {
            return Err(ConfigError::new(
                "loss.kind",
                format!("bce is for two classes, but the target has {n}; use cross_entropy"),
            ));
        }
        if let Some(weights) = &class_weights
            && weights.len() != n
        {
            return Err(ConfigError::new(
                "loss.class_weights",
                format!("expected {n} weights, one per class, found {}", weights.len()),
            ));
        }
        let reduction = Reduction::Sum;
        let label_smoothing = config.label_smoothing;
        let binary = |op: Arc<dyn Op>, name| (op, name, 1, LossTarget::Values);
        let (op, name, outputs, target) = match kind {
            LossKind::Auto | LossKind::CrossEntropy => {
                let class_weights = class_weights.map(Arc::from);
                let op = SoftmaxCrossEntropy {
                    reduction,
                    label_smoothing,
                    class_weights,
                    ..Default::default()
                };
                (op.op(), "cross_entropy", n, LossTarget::Classes)
            }
            LossKind::Bce => {
                // With one logit, only the ratio of the class weights matters.
                let ratio = class_weights.map(|w| w[1] / w[0]);
                let positive_weight = config.pos_weight.or(ratio).map(|w| Arc::from([w]));
                let op =
                    BinaryCrossEntropyWithLogits { reduction, label_smoothing, positive_weight };
                binary(op.op(), "bce")
            }
            LossKind::Focal if n == 2 && config.pos_weight.is_some() => {
                let alpha = config.pos_weight.map(|w| w / (1.0 + w));
                binary(
                    BinaryFocal { gamma: config.gamma.unwrap_or(2.0), alpha, reduction }.op(),
                    "focal",
                )
            }
            LossKind::Focal => {
                let alpha = class_weights.map(Arc::from);
                let op = Focal {
                    gamma: config.gamma.unwrap_or(2.0),
                    alpha,
                    reduction,
                    ..Default::default()
                };
                (op.op(), "focal", n, LossTarget::Classes)
            }
            LossKind::Kl => {
                (KlDivergence { reduction }.op(), "kl", n, LossTarget::Probabilities(n))
            }
            LossKind::Regression(loss) => {
                let loss = config.delta.map_or(loss, |delta| loss.with_attribute(delta));
                binary(loss.op(reduction), loss.name())
            }
        };
        Ok(Self { op, name, outputs, classes: n, target })
    }

    /// The loss of several outputs for each row: labels, each true or false (bce), or numbers (a
    /// regression loss).
    ///
    /// ```
    /// use ff_nn::{Loss, LossConfig, LossTarget};
    /// let loss = Loss::of_many(&LossConfig::default(), 12, true)?;
    /// assert_eq!((loss.name(), loss.outputs()), ("bce", 12));
    /// # Ok::<(), ff_nn::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If the loss does not suit the target, or a setting does not suit the loss.
    pub fn of_many(config: &LossConfig, outputs: usize, labels: bool) -> Result<Self, ConfigError> {
        config.validate()?;
        let kind = match (config.kind, labels) {
            (LossKind::Auto, true) => LossKind::Bce,
            (LossKind::Auto, false) => LossKind::Regression(RegressionLoss::Mse),
            (kind, _) => kind,
        };
        Self::check_settings(config, kind)?;
        if config.class_weights.is_some() || config.balanced {
            let message = "is for one class of several; labels have loss.pos_weight";
            return Err(ConfigError::new("loss.class_weights", message));
        }
        let (reduction, label_smoothing) = (Reduction::Sum, config.label_smoothing);
        let (op, name) = match (kind, labels) {
            (LossKind::Bce, true) => {
                let positive_weight = config.pos_weight.map(|w| Arc::from([w]));
                let op =
                    BinaryCrossEntropyWithLogits { reduction, label_smoothing, positive_weight };
                (op.op(), "bce")
            }
            (LossKind::Regression(loss), false) => {
                let loss = config.delta.map_or(loss, |delta| loss.with_attribute(delta));
                (loss.op(reduction), loss.name())
            }
            _ => {
                let message = if labels {
                    "the target has labels; use bce".to_owned()
                } else {
                    format!("the target has numbers; use {}", regression_names())
                };
                return Err(ConfigError::new("loss.kind", message));
            }
        };
        Ok(Self { op, name, outputs, classes: outputs, target: LossTarget::Values })
    }

    fn check_settings(config: &LossConfig, kind: LossKind) -> Result<(), ConfigError> {
        let refuse = |key: &str, goes_with: &str| {
            let message = format!("applies only to {goes_with}; remove it or change loss.kind");
            Err(ConfigError::new(format!("loss.{key}"), message))
        };
        if config.label_smoothing > 0.0 && !matches!(kind, LossKind::CrossEntropy | LossKind::Bce) {
            return refuse("label_smoothing", "cross_entropy and bce");
        }
        if config.pos_weight.is_some() && !matches!(kind, LossKind::Bce | LossKind::Focal) {
            return refuse("pos_weight", "bce and focal");
        }
        let has_delta = |loss: &RegressionLoss| loss.attribute().is_some_and(|(k, _)| k == "delta");
        if config.delta.is_some() && !matches!(&kind, LossKind::Regression(l) if has_delta(l)) {
            return refuse("delta", "huber");
        }
        if config.gamma.is_some() && kind != LossKind::Focal {
            return refuse("gamma", "focal");
        }
        let weighted = config.class_weights.is_some() || config.balanced;
        if weighted && !matches!(kind, LossKind::CrossEntropy | LossKind::Bce | LossKind::Focal) {
            return refuse("class_weights", "cross_entropy, bce and focal");
        }
        Ok(())
    }

    /// The name in reports.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The number of network outputs: one per class, or one.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The targets.
    pub fn target(&self) -> LossTarget {
        self.target
    }

    /// The width of a row of target probabilities: one per class, or one for a single logit.
    pub fn classes(&self) -> usize {
        if self.outputs == 1 { 1 } else { self.classes }
    }

    /// The sum of the losses of all rows, and the count.
    ///
    /// # Errors
    /// If shapes do not match, or a target is out of range.
    pub fn apply(
        &self,
        graph: &mut Graph,
        output: &Value,
        target: &Value,
        weights: Option<&Value>,
    ) -> Result<(Value, Value)> {
        let mut outputs = match weights {
            Some(weights) => graph.apply_all(&self.op, &[output, target, weights])?,
            None => graph.apply_all(&self.op, &[output, target])?,
        };
        match (outputs.pop(), outputs.pop()) {
            (Some(count), Some(sum)) => Ok((sum, count)),
            _ => Err(ff_graph::Error::shape(
                self.op.name(),
                "a loss has two outputs, loss and count",
            )),
        }
    }
}

/// The losses for numbers, in a message.
fn regression_names() -> String {
    let names: Vec<&str> = RegressionLoss::ALL.iter().map(|loss| loss.name()).collect();
    match names.as_slice() {
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
        [] => String::new(),
    }
}
