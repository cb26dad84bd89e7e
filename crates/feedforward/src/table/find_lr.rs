//! A starting learning rate, found on the recipe's own network and data.

use super::recipe::Recipe;
use super::setup::{Setup, trainer};
use crate::error::Result;
use crate::run::measure::open_device;
use ff_table::prepare;
use ff_tensor::DeviceOptions;
use ff_train::schedule::{FinderConfig, FinderReport};
use serde::Serialize;
use std::path::Path;

/// The result of a sweep over learning rates.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct LrSuggestion {
    /// The rate of the steepest fall of the loss, to two digits; `None` where it never falls.
    pub suggestion: Option<f64>,
    /// A tenth of the rate of the lowest loss, to two digits: the other usual choice.
    pub tenth_of_minimum: Option<f64>,
    /// The recipe's rate.
    pub recipe_lr: f64,
    /// Rows in a step.
    pub rows_per_step: usize,
    /// Every rate, with the loss at it.
    #[serde(flatten)]
    pub report: FinderReport,
}

impl LrSuggestion {
    /// The suggestion for `--set`: `optimizer.lr=0.003`.
    pub fn setting(&self) -> Option<String> {
        self.suggestion.map(|lr| format!("optimizer.lr={lr:?}"))
    }
}

/// Sweeps the learning rate while the recipe's network trains on its training part, and suggests
/// one (Smith 2015, section 3.3). Writes nothing and discards the network.
///
/// # Errors
/// Invalid recipe or data, or an optimiser without a rate to search for.
pub fn find_lr(
    recipe: &Recipe,
    config: &FinderConfig,
    device: DeviceOptions,
) -> Result<LrSuggestion> {
    let device = open_device(recipe, device)?;
    let prepared = prepare(&recipe.data, recipe.train.seed, Path::new(""), device.cpu().threads())?;
    let (train, valid) = (&prepared.train, &prepared.valid);
    let recipe = &recipe.for_data(train, prepared.split);
    let (setup, graph) =
        Setup::new(recipe, &prepared.target, &prepared.transforms, train, &device)?;
    let mut objective = setup.objective(recipe, train, valid);
    let report = trainer(recipe, graph, &device)?.find_lr(&mut objective, config)?;
    let rows_per_step = recipe.train.batch_size.saturating_mul(recipe.train.accumulate);
    Ok(LrSuggestion {
        suggestion: report.steepest.map(two_digits),
        tenth_of_minimum: report.tenth_of_minimum.map(two_digits),
        recipe_lr: recipe.optimizer.lr(),
        rows_per_step: rows_per_step.min(train.rows),
        report,
    })
}

/// The curve resolves no more digits.
fn two_digits(lr: f64) -> f64 {
    format!("{lr:.1e}").parse().unwrap_or(lr)
}

#[cfg(test)]
mod tests {
    use super::two_digits;

    #[test]
    fn rates_have_two_digits() {
        assert_eq!([0.003_162, 1.0, 9.97e-5, 0.0].map(two_digits), [0.0032, 1.0, 1e-4, 0.0]);
    }
}
