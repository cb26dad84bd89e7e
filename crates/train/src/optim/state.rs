//! Saving and restoring an optimiser's state, by the names of parameters.

use super::error::{Error, NAME, Result};
use super::optimizer::Optimizer;
use super::registry::{AnyRule, OptimizerKind};
use super::rule::{Array, Rule};
use ff_graph::{Params, for_float};
use ff_tensor::{Shape, Slice, Tensor, TensorRef};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The name of the running average's tensors.
const AVERAGE: &str = "ema";

/// The scalars of an optimiser's state, beside its tensors.
///
/// ```
/// use ff_train::optim::{OptimizerKind, OptimizerScalars};
/// let scalars = OptimizerScalars { updates: 7, ..OptimizerScalars::new(OptimizerKind::Adam) };
/// let json = serde_json::to_string(&scalars)?;
/// assert_eq!(json, r#"{"kind":"adam","updates":7,"average_updates":0}"#);
/// assert_eq!(serde_json::from_str::<OptimizerScalars>(&json)?, scalars);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptimizerScalars {
    /// The rule of the state.
    pub kind: OptimizerKind,
    /// The number of updates.
    pub updates: u64,
    /// The number of updates of the running average.
    pub average_updates: u64,
    /// The rule's own scalars, under its name.
    #[serde(flatten)]
    pub rule: BTreeMap<String, Json>,
}

impl OptimizerScalars {
    /// The scalars before the first step.
    pub fn new(kind: OptimizerKind) -> Self {
        Self { kind, updates: 0, average_updates: 0, rule: BTreeMap::new() }
    }
}

/// A tensor of the state: its array and its position.
struct Saved {
    name: String,
    array: usize,
    start: usize,
    shape: Shape,
}

impl Optimizer {
    /// The scalars to save beside [`Optimizer::state_tensors`].
    pub fn scalars(&self) -> OptimizerScalars {
        let kind = self.config.kind;
        let numbers = self.rule.numbers().map(|numbers| (kind.name().to_owned(), numbers));
        OptimizerScalars {
            updates: self.updates,
            average_updates: self.average.as_ref().map_or(0, |average| average.updates),
            rule: numbers.into_iter().collect(),
            ..OptimizerScalars::new(kind)
        }
    }

    /// The tensors to save, in a fixed order: `exp_avg.layers.0.weight` and the like, the steps of
    /// L-BFGS from the oldest as `s.0.…` and `y.0.…`, and the running average as `ema.…`.
    ///
    /// # Errors
    /// If the parameters differ from those at the start, the averaged weights are swapped in, or
    /// this is a plan.
    pub fn state_tensors<'a>(&'a self, params: &Params) -> Result<Vec<(String, TensorRef<'a>)>> {
        self.check(params)?;
        let arrays: Vec<&Tensor> =
            self.arrays.iter().chain(self.average.iter().map(|average| &average.values)).collect();
        if arrays.iter().any(|array| array.is_planned()) {
            return Err(ff_graph::Error::of(NAME)(ff_tensor::Error::Planned).into());
        }
        let tensors = self.saved(&self.rule, params).into_iter().map(|saved| {
            let data = arrays[saved.array].view().data();
            let data = data.range(saved.start, saved.shape.len());
            (saved.name, TensorRef::new(data, saved.shape))
        });
        Ok(tensors.collect())
    }

    /// Restores a saved state: the next steps have the same bits as if the optimiser had never
    /// stopped. A mismatched state changes nothing.
    ///
    /// # Errors
    /// If a tensor is missing, unknown, or of another shape or type, or the scalars belong to
    /// another rule.
    pub fn load_state<'t>(
        &mut self,
        params: &Params,
        scalars: &OptimizerScalars,
        tensors: impl IntoIterator<Item = (&'t str, TensorRef<'t>)>,
    ) -> Result<()> {
        self.check(params)?;
        let rule = self.restored_rule(scalars)?;
        let mut given: BTreeMap<&str, TensorRef<'t>> = tensors.into_iter().collect();
        let mut found = Vec::new();
        for saved in self.saved(&rule, params) {
            let error = |message| Err(Error::State { name: saved.name.clone(), message });
            let Some(tensor) = given.remove(saved.name.as_str()) else {
                return error(
                    "is missing; the checkpoint belongs to another model or optimiser setting"
                        .into(),
                );
            };
            if *tensor.shape() != saved.shape || tensor.dtype() != self.dtype {
                return error(format!(
                    "has shape {} of type {}, expected {} of type {}",
                    tensor.shape(),
                    tensor.dtype(),
                    saved.shape,
                    self.dtype
                ));
            }
            found.push((saved, tensor.data()));
        }
        if let Some(name) = given.keys().next() {
            let message = "belongs to no parameter; the checkpoint belongs to another model or optimiser \
                 setting";
            return Err(Error::State { name: (*name).into(), message: message.into() });
        }
        let average = self.average.iter_mut().map(|average| &mut average.values);
        let mut arrays: Vec<&mut Tensor> = self.arrays.iter_mut().chain(average).collect();
        for (saved, data) in found {
            copy(arrays[saved.array], saved.start, data)?;
        }
        if let Some(average) = &mut self.average {
            average.updates = scalars.average_updates;
        }
        self.rule = rule;
        self.updates = scalars.updates;
        Ok(())
    }

    /// The rule with its saved scalars.
    fn restored_rule(&self, scalars: &OptimizerScalars) -> Result<AnyRule> {
        let kind = self.config.kind;
        if scalars.kind != kind {
            let message = format!(
                "was saved by {}, but the recipe asks for {kind}; resume with the original recipe \
                 of the run",
                scalars.kind
            );
            return Err(Error::State { name: "kind".into(), message });
        }
        if let Some(name) = scalars.rule.keys().find(|name| *name != kind.name()) {
            let message = format!("exists, but the rule is {kind}");
            return Err(Error::State { name: name.clone(), message });
        }
        let mut rule = self.rule.clone();
        rule.restore(scalars.rule.get(kind.name()))
            .map_err(|message| Error::State { name: kind.name().into(), message })?;
        Ok(rule)
    }

    /// Every tensor saved for a rule in this state.
    fn saved(&self, rule: &AnyRule, params: &Params) -> Vec<Saved> {
        let average = Array::zeros(AVERAGE, &self.layout);
        let average = self.average.as_ref().map(|_| (self.arrays.len(), None, &average));
        let arrays = rule.saved(self.arrays.len()).into_iter();
        let arrays = arrays.map(|(array, name)| (array, name, &self.declared[array]));
        let saved = arrays.chain(average).flat_map(|(array, name, declared)| {
            declared.parts.iter().map(move |part| {
                let slot = name.as_deref().unwrap_or(part.slot);
                let parameter = &params.infos()[part.param].spec.name;
                let name = format!("{slot}.{parameter}");
                Saved { name, array, start: part.start, shape: part.shape }
            })
        });
        saved.collect()
    }
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
