//! What is chosen on rows that the network did not learn: the temperature of its logits and the
//! threshold of its decisions.

use super::model::{ModelFile, TableModel};
use super::objective;
use super::recipe::Recipe;
use crate::error::Result;
use ff_metrics::{choose_threshold, fit_temperature};
use ff_settings::ConfigError;
use ff_table::{Encoded, Target};

/// Fits the temperature and then chooses the threshold on the validation part, where the recipe asks
/// for them.
pub(super) fn calibrate(recipe: &Recipe, model: &mut TableModel, valid: &Encoded) -> Result<()> {
    check_threshold(recipe, model.file(), valid)?;
    let any = recipe.train.temperature || recipe.evaluate.threshold.is_some();
    if any && valid.rows > 0 && !model.file().classes.is_empty() {
        let outputs = model.outputs(valid)?;
        fit(recipe, model.file_mut(), &outputs, valid)?;
        decide(recipe, model.file_mut(), &outputs, valid)?;
    }
    Ok(())
}

/// Fits the temperature on rows with these outputs, where the recipe asks for it.
///
/// The outputs of an ensemble are the logits of its members' mean probabilities, so the temperature
/// is that of the mean: members may each be calibrated and their mean still be unsure of itself.
pub(super) fn fit(
    recipe: &Recipe,
    file: &mut ModelFile,
    outputs: &[f32],
    data: &Encoded,
) -> Result<()> {
    if let (true, Some(Target::Class(labels))) = (recipe.train.temperature, &data.target) {
        let (width, weights) = (file.network.outputs, data.weights.as_deref());
        file.temperature = Some(fit_temperature(outputs, width, labels, weights)?);
    }
    Ok(())
}

/// Chooses the threshold on rows with these outputs, where the recipe has an aim for it.
pub(super) fn decide(
    recipe: &Recipe,
    file: &mut ModelFile,
    outputs: &[f32],
    data: &Encoded,
) -> Result<()> {
    let (Some(aim), Some(Target::Class(labels))) = (recipe.evaluate.threshold, &data.target) else {
        return Ok(());
    };
    let (width, positive) = (file.network.outputs, file.positive.unwrap_or(1));
    let probabilities = objective::probabilities(outputs, width, file.temperature());
    let scores: Vec<f64> = probabilities.chunks_exact(2).map(|row| row[positive]).collect();
    let is_positive: Vec<bool> = labels.iter().map(|&c| c as usize == positive).collect();
    let chosen = choose_threshold(&scores, &is_positive, data.weights.as_deref(), aim)?;
    (file.threshold, file.chosen) = (Some(chosen.threshold), Some(chosen));
    Ok(())
}

/// Refuses an aim for a threshold that cannot be chosen.
pub(super) fn check_threshold(recipe: &Recipe, file: &ModelFile, valid: &Encoded) -> Result<()> {
    let (Some(_), classes) = (recipe.evaluate.threshold, file.classes.len()) else {
        return Ok(());
    };
    let refused = |message: &str| Err(ConfigError::new("evaluate.threshold", message).into());
    if classes != 2 {
        return refused(&format!("a threshold is for two classes, the target has {classes}"));
    }
    if valid.rows == 0 {
        return refused(
            "is chosen on the validation part, which has no rows; set data.split.valid",
        );
    }
    Ok(())
}
