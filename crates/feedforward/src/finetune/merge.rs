//! A base model and an adapter as one model.

use crate::error::Result;
use crate::language::{LanguageModel, SaveOptions, Translator, adapter_folder, model_folder};
use ff_nn::models::LanguageOptions;
use ff_tensor::{Device, DeviceOptions};
use std::path::Path;

/// Writes the model whose weights are W + s B A, computed in f64 and rounded once, into a new
/// folder; a run that trained an adapter, or an adapter that names its base model, needs no
/// `adapter`.
///
/// # Errors
/// The model or the adapter cannot be read, there is no adapter, the folder is not empty or cannot
/// be written.
///
/// ```no_run
/// use feedforward::finetune::merge;
/// merge("runs/tone-1".as_ref(), None, "models/mine".as_ref(), Default::default())?;
/// # Ok::<(), feedforward::Error>(())
/// ```
pub fn merge(
    model: &Path,
    adapter: Option<&Path>,
    out: &Path,
    options: DeviceOptions,
) -> Result<()> {
    crate::run::folder::refuse_taken(out)?;
    let device = Device::open(options)?;
    let adapters: Vec<&Path> = adapter.into_iter().collect();
    let options = LanguageOptions::default();
    if Translator::is_at(model)? {
        // The model of a run that trained an adapter has it already.
        let merged = adapter.is_none() && model_folder(model).is_ok();
        let merged = merged && adapter_folder(model).is_some();
        let mut model = Translator::open_with_adapter(model, adapter, &device, &options)?;
        if !merged {
            model.merge_adapter()?;
        }
        return model.save(out, &SaveOptions::default());
    }
    let mut model = LanguageModel::open_with_adapters(model, &adapters, &device, &options)?;
    model.merge_adapter()?;
    model.save(out, &SaveOptions::default())
}
