//! Saving and restoring an optimiser's state, by the names of parameters.

use super::{Error, NAME, Optimizer, OptimizerKind, Result};
use ff_ops::{Params, Segment, for_float};
use ff_tensor::{Slice, Tensor, TensorRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of the running average's tensors.
const AVERAGE: &str = "ema";

/// The numbers of an optimiser's state, beside its tensors.
///
/// ```
/// use ff_train::optim::{OptimizerKind, OptimizerScalars};
/// let scalars = OptimizerScalars { updates: 7, ..OptimizerScalars::new(OptimizerKind::Adam) };
/// let json = serde_json::to_string(&scalars)?;
/// assert_eq!(serde_json::from_str::<OptimizerScalars>(&json)?, scalars);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerScalars {
    /// The rule that the state belongs to.
    pub kind: OptimizerKind,
    /// How many updates were made.
    pub updates: u64,
    /// How many updates the running average took in.
    pub average_updates: u64,
}

impl OptimizerScalars {
    /// Those of a rule that has not made a step.
    pub fn new(kind: OptimizerKind) -> Self {
        Self { kind, updates: 0, average_updates: 0 }
    }
}

impl Optimizer {
    /// The numbers to save beside [`Optimizer::state_tensors`].
    pub fn scalars(&self) -> OptimizerScalars {
        OptimizerScalars {
            updates: self.updates,
            average_updates: self.average.as_ref().map_or(0, |average| average.updates),
            ..OptimizerScalars::new(self.config.kind)
        }
    }

    /// The tensors to save, in a fixed order: `exp_avg.layers.0.weight` and the like, each with its parameter's shape, and
    /// the running average as `ema.…`.
    ///
    /// # Errors
    /// The parameters are others than at the start, the averaged weights are swapped in, or this is a plan.
    pub fn state_tensors<'a>(&'a self, params: &Params) -> Result<Vec<(String, TensorRef<'a>)>> {
        self.check(params)?;
        let mut tensors = Vec::new();
        for (slot, tensor) in self.arrays() {
            if tensor.is_planned() {
                return Err(ff_ops::Error::of(NAME)(ff_tensor::Error::Planned).into());
            }
            let data = tensor.view().data();
            for info in params.infos().iter().filter(|i| i.spec.segment == Segment::Trainable) {
                let part = data.range(info.offset, info.spec.shape.len());
                let name = format!("{slot}.{}", info.spec.name);
                tensors.push((name, TensorRef::new(part, info.spec.shape)));
            }
        }
        Ok(tensors)
    }

    /// Takes up a saved state: the next steps have the same bits as if the optimiser had never stopped. Nothing is changed
    /// where anything does not fit.
    ///
    /// # Errors
    /// A tensor is missing, is one too many, or has another shape or type; the numbers are of another rule.
    pub fn load_state<'t>(
        &mut self,
        params: &Params,
        scalars: &OptimizerScalars,
        tensors: impl IntoIterator<Item = (&'t str, TensorRef<'t>)>,
    ) -> Result<()> {
        self.check(params)?;
        if scalars.kind != self.config.kind {
            let message = format!(
                "was saved by {}, the recipe asks for {}; resume with the recipe that the run was started with",
                scalars.kind, self.config.kind
            );
            return Err(Error::State { name: "kind".into(), message });
        }
        let mut saved: BTreeMap<&str, TensorRef<'t>> = tensors.into_iter().collect();
        let mut found = Vec::new();
        for (slot, _) in self.arrays() {
            for info in params.infos().iter().filter(|i| i.spec.segment == Segment::Trainable) {
                let name = format!("{slot}.{}", info.spec.name);
                let error = |message| Err(Error::State { name: name.clone(), message });
                let Some(tensor) = saved.remove(name.as_str()) else {
                    return error(
                        "is missing; the checkpoint is of another model or optimiser setting"
                            .into(),
                    );
                };
                if *tensor.shape() != info.spec.shape || tensor.dtype() != self.dtype {
                    return error(format!(
                        "has shape {} of type {}, expected {} of type {}",
                        tensor.shape(),
                        tensor.dtype(),
                        info.spec.shape,
                        self.dtype
                    ));
                }
                found.push((info.range(), tensor.data()));
            }
        }
        if let Some(name) = saved.keys().next() {
            let message =
                "belongs to no parameter; the checkpoint is of another model or optimiser setting";
            return Err(Error::State { name: (*name).into(), message: message.into() });
        }
        let mut found = found.into_iter();
        let trainable = params.infos().iter().filter(|i| i.spec.segment == Segment::Trainable);
        let per_array = trainable.count();
        for array in self.arrays_mut() {
            for (range, data) in found.by_ref().take(per_array) {
                copy(array, range.start, data)?;
            }
        }
        self.updates = scalars.updates;
        if let Some(average) = &mut self.average {
            average.updates = scalars.average_updates;
        }
        Ok(())
    }

    fn arrays(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let average = self.average.iter().map(|average| (AVERAGE, &average.values));
        self.rule.slots().iter().copied().zip(&self.slots).chain(average)
    }

    fn arrays_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.slots.iter_mut().chain(self.average.iter_mut().map(|average| &mut average.values))
    }
}

fn copy(to: &mut Tensor, start: usize, from: Slice<'_>) -> Result<()> {
    for_float!(NAME, to.dtype(), T => {
        let from = <T as ff_tensor::Element>::of_slice(from).map_err(ff_ops::Error::of(NAME))?;
        let to = to.slice_mut::<T>().map_err(ff_ops::Error::of(NAME))?;
        to[start..start + from.len()].copy_from_slice(from);
        Ok(())
    })?;
    Ok(())
}
