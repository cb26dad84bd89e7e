//! What is chosen on rows that the network did not learn: the temperature of its logits, the
//! threshold of its decisions, and the scores behind intervals and sets.

use super::bags::OutOfFold;
use super::model::{ModelFile, Predictions, TableModel};
use super::objective;
use super::recipe::Recipe;
use crate::error::Result;
use ff_metrics::{ChosenThreshold, ThresholdAim, choose_threshold, fit_temperature};
use ff_settings::ConfigError;
use ff_table::{Encoded, Target};

/// Fits the temperature, then chooses the threshold on the validation part, where the recipe asks
/// for them, and keeps the conformal scores of its rows.
pub(super) fn calibrate(recipe: &Recipe, model: &mut TableModel, valid: &Encoded) -> Result<()> {
    check_threshold(recipe, model.file(), valid)?;
    if valid.rows == 0 {
        return Ok(());
    }
    let outputs = model.outputs(valid)?;
    fit(recipe, model.file_mut(), &outputs, valid)?;
    decide(recipe, model.file_mut(), &outputs, valid)?;
    let spread = model.own_spread(valid)?;
    keep_scores(model, valid, &outputs, spread.as_deref())
}

/// The same for several networks, on the rows that each did not learn; what these are predicted as.
/// No temperature: it would be that of single networks, whose mean is less sure than each of them.
pub(super) fn calibrate_networks(
    recipe: &Recipe,
    model: &mut TableModel,
    found: &OutOfFold,
) -> Result<Predictions> {
    check_threshold(recipe, model.file(), &found.data)?;
    decide(recipe, model.file_mut(), &found.outputs, &found.data)?;
    model.share_calibration();
    let predictions = if model.file().classes.is_empty() {
        Predictions::Values(found.values.clone())
    } else {
        model.interpret(&found.outputs)
    };
    let spread = found.spread.as_deref();
    let conformal = model.conformal_of(&found.data, &predictions, spread)?;
    model.set_conformal(conformal);
    Ok(predictions)
}

fn keep_scores(
    model: &mut TableModel,
    valid: &Encoded,
    outputs: &[f32],
    spread: Option<&[f64]>,
) -> Result<()> {
    let predictions = model.interpret(outputs);
    // A prediction that is not finite is an error of its own, where rows are evaluated.
    if predictions.values().iter().all(|value| value.is_finite()) {
        let conformal = model.conformal_of(valid, &predictions, spread)?;
        model.set_conformal(conformal);
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
    let probabilities = objective::probabilities(outputs, file.network.outputs, file.temperature());
    let weights = data.weights.as_deref();
    file.set_threshold(Some(choose(aim, file, &probabilities, labels, weights)?));
    Ok(())
}

/// The threshold of the positive class on rows with these probabilities.
pub(crate) fn choose(
    aim: ThresholdAim,
    file: &ModelFile,
    probabilities: &[f64],
    labels: &[i32],
    weights: Option<&[f32]>,
) -> Result<ChosenThreshold> {
    let positive = file.positive.unwrap_or(1);
    let rows = probabilities.chunks_exact(file.classes.len());
    let scores: Vec<f64> = rows.map(|row| row[positive]).collect();
    let is_positive: Vec<bool> = labels.iter().map(|&c| c as usize == positive).collect();
    Ok(choose_threshold(&scores, &is_positive, weights, aim)?)
}

/// Refuses an aim for a threshold that cannot be chosen.
pub(crate) fn check_threshold(recipe: &Recipe, file: &ModelFile, valid: &Encoded) -> Result<()> {
    let (Some(_), classes) = (recipe.evaluate.threshold, file.classes.len()) else {
        return Ok(());
    };
    let refused = |message: &str| Err(ConfigError::new("evaluate.threshold", message).into());
    if classes != 2 && file.positive.is_none() {
        return refused(&if classes == 0 {
            "a threshold is for classes, the target is a number".to_owned()
        } else {
            format!(
                "the target has {classes} classes; name the one that the threshold is for as \
                 data.positive"
            )
        });
    }
    if valid.rows == 0 {
        return refused(
            "is chosen on the validation part, which has no rows; set data.split.valid",
        );
    }
    Ok(())
}
