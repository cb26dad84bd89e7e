//! Saving and restoring an optimiser's state, by the names of parameters.

use super::lbfgs::History;
use super::muon::Place;
use super::{Error, LbfgsScalars, NAME, Optimizer, OptimizerKind, Result};
use ff_graph::{ParamInfo, Params, Segment, for_float};
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
    /// Those of L-BFGS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lbfgs: Option<LbfgsScalars>,
}

impl OptimizerScalars {
    /// Those of a rule that has not made a step.
    pub fn new(kind: OptimizerKind) -> Self {
        Self { kind, updates: 0, average_updates: 0, lbfgs: None }
    }
}

impl Optimizer {
    /// The numbers to save beside [`Optimizer::state_tensors`].
    pub fn scalars(&self) -> OptimizerScalars {
        OptimizerScalars {
            updates: self.updates,
            average_updates: self.average.as_ref().map_or(0, |average| average.updates),
            lbfgs: self.lbfgs.as_ref().map(|lbfgs| LbfgsScalars {
                iterations: lbfgs.iterations,
                diagonal: lbfgs.history.diagonal,
                rho: lbfgs.history.rho(),
            }),
            ..OptimizerScalars::new(self.config.kind)
        }
    }

    /// The tensors to save, in a fixed order, each with its parameter's shape: `exp_avg.layers.0.weight` and the like,
    /// L-BFGS's steps from the oldest as `s.0.…` and `y.0.…`, and the running average as `ema.…`.
    ///
    /// # Errors
    /// The parameters are others than at the start, the averaged weights are swapped in, or this is a plan.
    pub fn state_tensors<'a>(&'a self, params: &Params) -> Result<Vec<(String, TensorRef<'a>)>> {
        self.check(params)?;
        let history = self.lbfgs.as_ref().map(|lbfgs| &lbfgs.history);
        let steps = history.map_or(0, |h| h.rho().len());
        let arrays = self.slots.iter().chain(history.into_iter().flat_map(History::arrays));
        let arrays = arrays.chain(self.average.iter().map(|average| &average.values));
        let mut tensors = Vec::new();
        for (parts, array) in self.parts(params, steps).into_iter().zip(arrays) {
            if array.is_planned() {
                return Err(ff_graph::Error::of(NAME)(ff_tensor::Error::Planned).into());
            }
            let data = array.view().data();
            for part in parts {
                let shape = part.info.spec.shape;
                let tensor = TensorRef::new(data.range(part.start, shape.len()), shape);
                tensors.push((part.name, tensor));
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
        let steps = self.check_history(scalars)?;
        let mut saved: BTreeMap<&str, TensorRef<'t>> = tensors.into_iter().collect();
        let mut found = Vec::new();
        for part in self.parts(params, steps).into_iter().flatten() {
            let (name, info) = (part.name, part.info);
            let error = |message| Err(Error::State { name: name.clone(), message });
            let Some(tensor) = saved.remove(name.as_str()) else {
                return error(
                    "is missing; the checkpoint is of another model or optimiser setting".into(),
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
            found.push((part.array, part.start, tensor.data()));
        }
        if let Some(name) = saved.keys().next() {
            let message =
                "belongs to no parameter; the checkpoint is of another model or optimiser setting";
            return Err(Error::State { name: (*name).into(), message: message.into() });
        }
        let mut found = found.into_iter().peekable();
        let mut number = 0;
        let mut fill = |array: &mut Tensor| {
            while let Some((_, start, data)) = found.next_if(|(array, ..)| *array == number) {
                copy(array, start, data)?;
            }
            number += 1;
            Ok::<(), Error>(())
        };
        self.slots.iter_mut().try_for_each(&mut fill)?;
        if let (Some(lbfgs), Some(scalars)) = (&mut self.lbfgs, &scalars.lbfgs) {
            lbfgs.iterations = scalars.iterations;
            lbfgs.history.restore(&scalars.rho, scalars.diagonal).try_for_each(&mut fill)?;
        }
        if let Some(average) = &mut self.average {
            fill(&mut average.values)?;
            average.updates = scalars.average_updates;
        }
        self.updates = scalars.updates;
        Ok(())
    }

    /// How many steps L-BFGS's saved history has.
    fn check_history(&self, scalars: &OptimizerScalars) -> Result<usize> {
        let error = |message: String| Err(Error::State { name: "lbfgs".into(), message });
        match (&self.lbfgs, &scalars.lbfgs) {
            (None, None) => Ok(0),
            (Some(lbfgs), Some(scalars)) => {
                let (steps, most) = (scalars.rho.len(), lbfgs.history.capacity());
                if steps <= most {
                    return Ok(steps);
                }
                error(format!("remembers {steps} steps, `history_size` allows {most}"))
            }
            (Some(_), None) => error("is missing; the checkpoint is damaged".into()),
            (None, Some(_)) => error("is there, but the rule is another".into()),
        }
    }

    /// What each array holds, parameter by parameter, for a history of so many steps.
    fn parts<'p>(&self, params: &'p Params, steps: usize) -> Vec<Vec<Part<'p>>> {
        let mut names: Vec<String> = self.rule.slots().iter().map(ToString::to_string).collect();
        names.extend((0..steps).flat_map(|i| [format!("s.{i}"), format!("y.{i}")]));
        let mut arrays = Vec::new();
        if let Some(muon) = &self.muon {
            let [mut first, mut second] = [Vec::new(), Vec::new()];
            for info in trainable(params) {
                match muon.place(info) {
                    Place::Momentum => {
                        first.push(Part::new("momentum_buffer", info, info.offset, 0));
                    }
                    Place::Moments(start) => {
                        first.push(Part::new("exp_avg", info, info.offset, 0));
                        second.push(Part::new("exp_avg_sq", info, start, 1));
                    }
                }
            }
            arrays.extend([first, second]);
        }
        names.extend(self.average.iter().map(|_| AVERAGE.to_owned()));
        for name in names {
            let array = arrays.len();
            let parts = trainable(params).map(|info| Part::new(&name, info, info.offset, array));
            arrays.push(parts.collect());
        }
        arrays
    }
}

/// A parameter's part of an array of the state.
struct Part<'p> {
    name: String,
    info: &'p ParamInfo,
    start: usize,
    array: usize,
}

impl<'p> Part<'p> {
    fn new(slot: &str, info: &'p ParamInfo, start: usize, array: usize) -> Self {
        Self { name: format!("{slot}.{}", info.spec.name), info, start, array }
    }
}

fn trainable(params: &Params) -> impl Iterator<Item = &ParamInfo> {
    params.infos().iter().filter(|info| info.spec.segment == Segment::Trainable)
}

fn copy(to: &mut Tensor, start: usize, from: Slice<'_>) -> Result<()> {
    for_float!(NAME, to.dtype(), T => {
        let from = <T as ff_tensor::Element>::of_slice(from).map_err(ff_graph::Error::of(NAME))?;
        let to = to.slice_mut::<T>().map_err(ff_graph::Error::of(NAME))?;
        to[start..start + from.len()].copy_from_slice(from);
        Ok(())
    })?;
    Ok(())
}
