//! The interface of rules, and the macro of the registry.

use super::closure::{Closure, MinimizeReport};
use super::error::{Error, Result};
use super::layout::{Layout, Parameter};
use super::product::Product;
use super::step::Step;
use crate::keys::Keyed;
use ff_settings::ConfigError;
use ff_tensor::{Shape, Tensor};
use std::fmt::Debug;

/// A rule in a recipe; implemented by the type of its settings.
pub(super) trait Method: Keyed {
    /// The default learning rate.
    const LR: f64;
    /// The default weight decay.
    const WEIGHT_DECAY: f64 = 0.0;
    /// Whether weight decay is decoupled, w ← w − lr·decay·w, rather than added to the gradient.
    const DECOUPLED: bool = false;
    /// Whether weight matrices have an update of their own.
    const SPLITS_MATRICES: bool = false;
    /// Whether a step evaluates the loss several times, by [`Rule::minimize`].
    const REEVALUATES: bool = false;

    /// The rule at work; the settings themselves if they suffice.
    type Rule: Rule;

    /// Checks beyond ranges.
    ///
    /// # Errors
    /// If two settings contradict each other.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// The rule for these parameters at the rate of the recipe.
    fn rule(self, layout: &Layout, lr: f64) -> Self::Rule;
}

/// A rule at work on an arena of parameters.
pub(super) trait Rule: Debug + Clone {
    /// The arrays of state and scratch memory, in the order of their use.
    fn arrays(&self, layout: &Layout) -> Vec<Array>;

    /// One update of all parameters from their gradients.
    fn update<T: Product>(
        &mut self,
        step: &Step<'_>,
        w: &mut [T],
        g: &[T],
        arrays: &mut [Tensor],
    ) -> ff_graph::Result<()> {
        let _ = (step, w, g, arrays);
        Ok(())
    }

    /// A step of a rule that evaluates the loss itself.
    fn minimize<T: Product, C: Closure>(
        &mut self,
        step: &Step<'_>,
        closure: &mut C,
        arrays: &mut [Tensor],
    ) -> Result<MinimizeReport, C::Error> {
        let _ = (step, closure, arrays);
        Err(Error::NeedsClosure.into())
    }

    /// The arrays saved in a checkpoint, in order, out of the given number; with a name if other
    /// than the array's own.
    fn saved(&self, arrays: usize) -> Vec<(usize, Option<String>)> {
        (0..arrays).map(|array| (array, None)).collect()
    }

    /// The scalars saved in a checkpoint beside the arrays.
    fn numbers(&self) -> Option<serde_json::Value> {
        None
    }

    /// Restores saved scalars.
    ///
    /// # Errors
    /// The mismatch.
    fn restore(&mut self, numbers: Option<&serde_json::Value>) -> Result<(), String> {
        match numbers {
            None => Ok(()),
            Some(_) => Err("belongs to no rule of this name".into()),
        }
    }
}

/// An array of a rule.
#[derive(Debug)]
pub(super) struct Array {
    pub(super) len: usize,
    /// The initial value; `None` if it is written before it is read.
    pub(super) initial: Option<f64>,
    /// The parts of parameters; empty for scratch memory, which is not saved in checkpoints.
    pub(super) parts: Vec<Part>,
}

/// The part of a parameter in an array.
#[derive(Debug)]
pub(super) struct Part {
    /// PyTorch's name of the array, part of the name in checkpoints with the parameter's.
    pub(super) slot: &'static str,
    /// The parameter's index in [`ff_graph::Params::infos`].
    pub(super) param: usize,
    pub(super) start: usize,
    pub(super) shape: Shape,
}

impl Part {
    pub(super) fn of(slot: &'static str, parameter: &Parameter, start: usize) -> Self {
        Self { slot, param: parameter.index, start, shape: parameter.shape }
    }
}

impl Array {
    /// Values, one per trainable value, in the order of the arena.
    pub(super) fn whole(slot: &'static str, layout: &Layout, initial: Option<f64>) -> Self {
        let parts = layout.parameters.iter().map(|p| Part::of(slot, p, p.range.start));
        Self { len: layout.len(), initial, parts: parts.collect() }
    }

    /// Zeros, one per trainable value.
    pub(super) fn zeros(slot: &'static str, layout: &Layout) -> Self {
        Self::whole(slot, layout, Some(0.0))
    }

    /// Scratch memory of a step.
    pub(super) fn working(len: usize, initial: Option<f64>) -> Self {
        Self { len, initial, parts: Vec::new() }
    }
}

/// The values of the first N arrays.
pub(super) fn slices<T: Product, const N: usize>(
    arrays: &mut [Tensor],
) -> ff_graph::Result<[&mut [T]; N]> {
    let mut slices: [&mut [T]; N] = std::array::from_fn(|_| Default::default());
    for (slice, array) in slices.iter_mut().zip(arrays) {
        *slice = array.slice_mut().map_err(ff_graph::Error::of(super::error::NAME))?;
    }
    Ok(slices)
}

/// The properties of a rule that do not depend on its settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct MethodInfo {
    pub(super) lr: f64,
    pub(super) weight_decay: f64,
    pub(super) decoupled: bool,
    pub(super) splits_matrices: bool,
    pub(super) reevaluates: bool,
}

impl MethodInfo {
    pub(super) const fn of<M: Method>() -> Self {
        Self {
            lr: M::LR,
            weight_decay: M::WEIGHT_DECAY,
            decoupled: M::DECOUPLED,
            splits_matrices: M::SPLITS_MATRICES,
            reevaluates: M::REEVALUATES,
        }
    }
}

/// Declares the kinds, and one type for any rule.
macro_rules! registry {
    ($($(#[$attribute:meta])* $module:ident::$Name:ident = $name:literal,)+) => {
        $(pub use super::$module::$Name;)+

        $crate::keys::kinds! {
            /// The rule that turns gradients into updates.
            pub enum OptimizerKind { $($(#[$attribute])* $Name = $name,)+ }
        }

        /// The settings of a rule, with their kind.
        pub trait Named: $crate::keys::Keyed {
            /// The kind.
            const KIND: OptimizerKind;
        }

        $(impl Named for $Name {
            const KIND: OptimizerKind = OptimizerKind::$Name;
        })+

        impl OptimizerKind {
            pub(super) const fn info(self) -> super::rule::MethodInfo {
                match self { $(Self::$Name => super::rule::MethodInfo::of::<$Name>(),)+ }
            }

            pub(super) fn check(
                self,
                given: &$crate::keys::Given<Self>,
            ) -> Result<(), ff_settings::ConfigError> {
                given.check(self)?;
                match self {
                    $(Self::$Name => {
                        let settings = <$Name as $crate::keys::Keyed>::read(given);
                        super::rule::Method::check(&settings)
                    })+
                }
            }

            pub(super) fn rule(
                self,
                given: &$crate::keys::Given<Self>,
                layout: &super::layout::Layout,
                lr: f64,
            ) -> AnyRule {
                match self {
                    $(Self::$Name => {
                        let settings = <$Name as $crate::keys::Keyed>::read(given);
                        AnyRule::$Name(super::rule::Method::rule(settings, layout, lr))
                    })+
                }
            }
        }

        /// A rule of any kind at work.
        #[derive(Debug, Clone)]
        pub(super) enum AnyRule {
            $($Name(<$Name as super::rule::Method>::Rule),)+
        }

        impl super::rule::Rule for AnyRule {
            fn arrays(&self, layout: &super::layout::Layout) -> Vec<super::rule::Array> {
                match self { $(Self::$Name(rule) => rule.arrays(layout),)+ }
            }

            fn update<T: super::product::Product>(
                &mut self,
                step: &super::step::Step<'_>,
                w: &mut [T],
                g: &[T],
                arrays: &mut [ff_tensor::Tensor],
            ) -> ff_graph::Result<()> {
                match self { $(Self::$Name(rule) => rule.update(step, w, g, arrays),)+ }
            }

            fn minimize<T: super::product::Product, C: super::closure::Closure>(
                &mut self,
                step: &super::step::Step<'_>,
                closure: &mut C,
                arrays: &mut [ff_tensor::Tensor],
            ) -> Result<super::closure::MinimizeReport, C::Error> {
                match self { $(Self::$Name(rule) => rule.minimize::<T, C>(step, closure, arrays),)+ }
            }

            fn saved(&self, arrays: usize) -> Vec<(usize, Option<String>)> {
                match self { $(Self::$Name(rule) => rule.saved(arrays),)+ }
            }

            fn numbers(&self) -> Option<serde_json::Value> {
                match self { $(Self::$Name(rule) => rule.numbers(),)+ }
            }

            fn restore(&mut self, numbers: Option<&serde_json::Value>) -> Result<(), String> {
                match self { $(Self::$Name(rule) => rule.restore(numbers),)+ }
            }
        }
    };
}
pub(super) use registry;
