//! The interface of schedules, and the macro of the registry.

use super::state::PlateauState;
use crate::keys::Keyed;
use ff_settings::ConfigError;

/// The shape of a schedule after its warm-up; implemented by the type of its settings.
pub(super) trait Shape: Keyed {
    /// The rate of step `step` ≤ `total`, both after the warm-up, relative to the rate of the
    /// optimiser.
    fn lr(&self, lr: f64, step: u64, total: u64) -> f64;

    /// Checks beyond ranges.
    ///
    /// # Errors
    /// If settings are missing or contradict each other.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Records a validation score; returns the new rate if it changes.
    fn observe(
        &self,
        state: &mut PlateauState,
        lr: f64,
        score: f64,
        higher_is_better: bool,
    ) -> Option<f64> {
        let _ = (state, lr, score, higher_is_better);
        None
    }
}

/// Declares the kinds, and one type for any shape.
macro_rules! registry {
    ($($(#[$attribute:meta])* $module:ident::$Name:ident = $name:literal,)+) => {
        $(pub use super::$module::$Name;)+

        $crate::keys::kinds! {
            /// The shape of a schedule after its warm-up. In the equations, lr is the rate of the
            /// optimiser, t the step and T the number of steps, both after the warm-up.
            pub enum ScheduleKind { $($(#[$attribute])* $Name = $name,)+ }
        }

        /// The settings of a schedule, with their kind.
        pub trait Named: $crate::keys::Keyed {
            /// The kind.
            const KIND: ScheduleKind;
        }

        $(impl Named for $Name {
            const KIND: ScheduleKind = ScheduleKind::$Name;
        })+

        impl ScheduleKind {
            pub(super) fn shape(self, given: &$crate::keys::Given<Self>) -> AnyShape {
                match self {
                    $(Self::$Name => AnyShape::$Name($crate::keys::Keyed::read(given)),)+
                }
            }
        }

        /// A shape of any kind.
        #[derive(Debug, Clone, PartialEq)]
        pub(super) enum AnyShape {
            $($Name($Name),)+
        }

        impl AnyShape {
            pub(super) fn lr(&self, lr: f64, step: u64, total: u64) -> f64 {
                match self { $(Self::$Name(shape) => super::shape::Shape::lr(shape, lr, step, total),)+ }
            }

            pub(super) fn check(&self) -> Result<(), ff_settings::ConfigError> {
                match self { $(Self::$Name(shape) => super::shape::Shape::check(shape),)+ }
            }

            pub(super) fn observe(
                &self,
                state: &mut super::state::PlateauState,
                lr: f64,
                score: f64,
                higher_is_better: bool,
            ) -> Option<f64> {
                match self {
                    $(Self::$Name(shape) => {
                        super::shape::Shape::observe(shape, state, lr, score, higher_is_better)
                    })+
                }
            }
        }
    };
}
pub(super) use registry;
