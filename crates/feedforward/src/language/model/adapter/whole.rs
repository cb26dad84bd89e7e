//! What an adapter has beside A and B: parameters in place of the base model's, and magnitudes.

use super::base::Base;
use super::fingerprint::each_row;
use super::parts::parameter;
use super::settings::OUTPUT;
use super::{Places, Replaced};
use crate::error::{Error, Result};
use ff_graph::{ParamId, Params};
use ff_kernels::file_rows;
use ff_nn::LoraConfig;
use ff_nn::models::FileTensor;
use ff_ops::adapted_row_norms;
use ff_tensor::Device;
use std::collections::BTreeSet;

/// What is within the name of the trained rows of a table.
const TOKEN_ADAPTER: &str = ".token_adapter.";

/// The tensors of what an adapter has in place of the base model's parameters, with its parameters.
pub(super) fn whole_tensors(
    model: Base<'_>,
    params: &Params,
    replaced: &[Replaced],
) -> Vec<(FileTensor, ParamId)> {
    let tensors = model.tensors(params);
    let of = |&Replaced { base, own }: &Replaced| -> Vec<(FileTensor, ParamId)> {
        // The base model has no tensor for an output layer that is its table.
        let is_output = params.info(own).spec.name.starts_with("lm_head.");
        let parts = tensors.iter().filter(|tensor| tensor.param == base.index());
        let named = |tensor: &FileTensor| {
            let name = if is_output { OUTPUT } else { tensor.name.as_str() };
            (FileTensor { name: name.into(), ..tensor.clone() }, own)
        };
        parts.map(named).collect()
    };
    replaced.iter().flat_map(of).collect()
}

/// The rows of the table of embeddings that the adapter has for itself: the parameter, and the name
/// of the table's module.
pub(super) fn own_rows(params: &Params) -> Option<(ParamId, &str)> {
    let (id, info) = params.iter().find(|(_, info)| info.spec.name.contains(TOKEN_ADAPTER))?;
    Some((id, info.spec.name.split_once(TOKEN_ADAPTER)?.0))
}

/// The name of a tensor in PEFT's file: the bias of a layer with an adapter belongs to its base.
pub(super) fn stored_name(name: &str, adapted: &BTreeSet<String>) -> String {
    match name.rsplit_once('.') {
        Some((module, end)) if adapted.contains(module) => format!("{module}.base_layer.{end}"),
        _ => name.to_owned(),
    }
}

/// Makes an adapter ready to be trained: it begins with the base model's values in what it has for
/// itself, and with the norms of its rows as magnitudes.
///
/// # Errors
/// Memory is short.
pub(crate) fn begin_adapter(
    params: &mut Params,
    config: &LoraConfig,
    places: Places<'_>,
    device: &Device,
) -> Result<()> {
    for &replaced in places.replaced {
        copy_base(params, replaced, device)?;
    }
    if !config.tokens.is_empty()
        && let Some((own, module)) = own_rows(params)
        && let Some(base) = params.id(&format!("{module}.weight"))
    {
        let mut rows = Vec::with_capacity(params.info(own).spec.shape.len());
        for &id in &config.tokens {
            rows.extend(row(params, base, id as usize, device)?);
        }
        params.values_mut::<f32>(own)?.copy_from_slice(&rows);
    }
    if config.dora {
        for layer in places.adapted() {
            let (id, norms) = row_norms(params, (layer, ""), config.scale(layer), device)?;
            params.values_mut::<f32>(id)?.copy_from_slice(&norms);
        }
    }
    Ok(())
}

/// Gives the adapter's own parameter the values of the base model's.
pub(super) fn copy_base(
    params: &mut Params,
    Replaced { base, own }: Replaced,
    device: &Device,
) -> Result<()> {
    let mut values = Vec::with_capacity(params.info(own).spec.shape.len());
    each_row(params, base, device, &mut |row| values.extend_from_slice(row))?;
    params.values_mut::<f32>(own)?.copy_from_slice(&values);
    Ok(())
}

/// A row of a table.
fn row(params: &Params, table: ParamId, i: usize, device: &Device) -> Result<Vec<f32>> {
    let width = params.info(table).spec.shape.last();
    if let Some(matrix) = params.view(table).file() {
        let mut row = vec![0.0; width];
        file_rows(device.cpu(), matrix, i..i + 1, &mut row);
        return Ok(row);
    }
    Ok(params.values::<f32>(table)?[i * width..][..width].to_vec())
}

/// Turns the magnitudes of a layer whose adapter is only read into the factors of its rows.
pub(super) fn fix_magnitudes(
    params: &mut Params,
    layer: (&str, &str),
    scale: f64,
    device: &Device,
) -> Result<()> {
    let (id, norms) = row_norms(params, layer, scale, device)?;
    params.values_mut::<f32>(id)?.iter_mut().zip(&norms).for_each(|(m, norm)| *m /= norm);
    Ok(())
}

/// The parameter of a layer's magnitudes, and the norms of the rows of its adapted weight.
fn row_norms(
    params: &Params,
    (layer, name): (&str, &str),
    scale: f64,
    device: &Device,
) -> Result<(ParamId, Vec<f32>)> {
    let id =
        |name: String| params.id(&name).ok_or_else(|| Error::usage(format!("there is no {name}")));
    let part = |part: &str| id(parameter(layer, part, name, "weight"));
    let magnitude = part("lora_magnitude_vector")?;
    let views = [id(format!("{layer}.weight"))?, part("lora_A")?, part("lora_B")?];
    let mut norms = vec![0.0f32; params.info(magnitude).spec.shape.len()];
    adapted_row_norms(device, views.map(|id| params.view(id)), scale, &mut norms)
        .map_err(ff_graph::Error::of("dora_factors"))?;
    Ok((magnitude, norms))
}
