//! What every rule states and does, and the registry's macro.

use super::closure::{Closure, MinimizeReport};
use super::error::{Error, Result};
use super::layout::{Layout, Parameter};
use super::product::Product;
use super::step::Step;
use crate::keys::Keyed;
use ff_settings::ConfigError;
use ff_tensor::{Shape, Tensor};
use std::fmt::Debug;

/// A rule as a recipe states it; the type of its settings implements this.
pub(super) trait Method: Keyed {
    /// The learning rate where a recipe gives none.
    const LR: f64;
    /// The weight decay where a recipe gives none.
    const WEIGHT_DECAY: f64 = 0.0;
    /// Whether weight decay is decoupled, w ← w − lr·decay·w, and not added to the gradient.
    const DECOUPLED: bool = false;
    /// Whether weight matrices are updated otherwise than the rest.
    const SPLITS_MATRICES: bool = false;
    /// Whether a step evaluates the loss several times, by [`Rule::minimize`].
    const REEVALUATES: bool = false;

    /// The rule at work; the settings themselves where those are all it needs.
    type Rule: Rule;

    /// Checks what ranges cannot say.
    ///
    /// # Errors
    /// Two settings contradict each other.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// The rule for these parameters at the recipe's rate.
    fn rule(self, layout: &Layout, lr: f64) -> Self::Rule;
}

/// A rule at work on an arena of parameters.
pub(super) trait Rule: Debug + Clone {
    /// The arrays that it keeps and works in, in the order in which it takes them.
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

    /// One step of a rule that evaluates the loss itself.
    fn minimize<T: Product, C: Closure>(
        &mut self,
        step: &Step<'_>,
        closure: &mut C,
        arrays: &mut [Tensor],
    ) -> Result<MinimizeReport, C::Error> {
        let _ = (step, closure, arrays);
        Err(Error::NeedsClosure.into())
    }

    /// Which arrays a checkpoint saves, of so many, in order; with a name where it is not the
    /// array's own.
    fn saved(&self, arrays: usize) -> Vec<(usize, Option<String>)> {
        (0..arrays).map(|array| (array, None)).collect()
    }

    /// The numbers that a checkpoint saves beside the arrays.
    fn numbers(&self) -> Option<serde_json::Value> {
        None
    }

    /// Takes up saved numbers.
    ///
    /// # Errors
    /// What does not fit.
    fn restore(&mut self, numbers: Option<&serde_json::Value>) -> Result<(), String> {
        match numbers {
            None => Ok(()),
            Some(_) => Err("belongs to no rule of this name".into()),
        }
    }
}

/// An array that a rule keeps.
#[derive(Debug)]
pub(super) struct Array {
    pub(super) len: usize,
    /// What it holds before the first step; `None` where it is written before it is read.
    pub(super) initial: Option<f64>,
    /// What belongs to which parameter; nothing for working memory, which no checkpoint saves.
    pub(super) parts: Vec<Part>,
}

/// A parameter's part of an array.
#[derive(Debug)]
pub(super) struct Part {
    /// PyTorch's name of the array, which with the parameter's is the name in a checkpoint.
    pub(super) slot: &'static str,
    /// The parameter's place in [`ff_graph::Params::infos`].
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
    /// A value for each parameter, in the arena's order.
    pub(super) fn whole(slot: &'static str, layout: &Layout, initial: Option<f64>) -> Self {
        let parts = layout.parameters.iter().map(|p| Part::of(slot, p, p.range.start));
        Self { len: layout.len(), initial, parts: parts.collect() }
    }

    /// Zeros for each parameter.
    pub(super) fn zeros(slot: &'static str, layout: &Layout) -> Self {
        Self::whole(slot, layout, Some(0.0))
    }

    /// Memory that a step works in.
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

/// What is the same for every recipe that names a rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) lr: f64,
    pub(super) weight_decay: f64,
    pub(super) decoupled: bool,
    pub(super) splits_matrices: bool,
    pub(super) reevaluates: bool,
}

impl Facts {
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

/// Makes the kinds, and the one type that holds any rule.
macro_rules! registry {
    ($($(#[$attribute:meta])* $module:ident::$Name:ident = $name:literal,)+) => {
        $(pub use super::$module::$Name;)+

        $crate::keys::kinds! {
            /// The rule that turns gradients into updates.
            pub enum OptimizerKind { $($(#[$attribute])* $Name = $name,)+ }
        }

        /// A rule's settings, which know their kind.
        pub trait Named: $crate::keys::Keyed {
            /// The kind.
            const KIND: OptimizerKind;
        }

        $(impl Named for $Name {
            const KIND: OptimizerKind = OptimizerKind::$Name;
        })+

        impl OptimizerKind {
            pub(super) const fn facts(self) -> super::rule::Facts {
                match self { $(Self::$Name => super::rule::Facts::of::<$Name>(),)+ }
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
