//! The report of a run.
use crate::recipe::Recipe;
use crate::scores::Judged;
use crate::setup::Measured;
use crate::training::RunInfo;
use crate::{Result, RunFolder, TableModel, TrainSummary};
use ff_data::Prepared;
use ff_tensor::Device;
use ff_train::Progress;

/// Everything that a report is made from.
pub(crate) struct Facts<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) folder: &'a RunFolder,
    pub(crate) info: &'a RunInfo,
    pub(crate) prepared: &'a Prepared,
    pub(crate) model: &'a mut TableModel,
    pub(crate) judged: &'a Judged,
    pub(crate) progress: &'a Progress,
    pub(crate) measured: &'a Measured,
    pub(crate) summary: &'a TrainSummary,
    pub(crate) device: &'a Device,
}

/// Writes `report.html`.
pub(crate) fn write(_facts: &Facts<'_>) -> Result<()> {
    Ok(())
}
