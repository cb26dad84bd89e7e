//! An adapter added to the weights of its base model.

use super::Places;
use super::base::Base;
use super::experts::merge_stack;
use super::parts::parameter;
use super::whole::fix_magnitudes;
use crate::error::{Error, Result};
use ff_graph::{ParamId, Params};
use ff_nn::{LoraConfig, Replaced};
use ff_tensor::Device;

/// Gives the base model the weights of the adapter: W + s B A, or g ⊙ (W + s B A), computed in f64
/// and rounded once; what the adapter has for itself in place of the base model's.
///
/// # Errors
/// The base model has no place for a part of the adapter.
pub(in crate::language::model) fn merge(
    params: &mut Params,
    config: &LoraConfig,
    name: &str,
    places: Places<'_>,
    base: Base<'_>,
) -> Result<()> {
    merge_layers(params, config, name, places)?;
    for (stack, _) in places.stacks.iter().filter(|(_, adapted)| *adapted) {
        merge_stack(params, (stack, name), config.scale(stack), base)?;
    }
    Ok(())
}

/// The same for an adapter that was trained just now, on a model without stacks of experts'
/// matrices.
///
/// # Errors
/// As [`merge`].
pub(crate) fn merge_trained(
    params: &mut Params,
    config: &LoraConfig,
    places: Places<'_>,
    device: &Device,
) -> Result<()> {
    if config.dora {
        for layer in places.adapted() {
            fix_magnitudes(params, (layer, ""), config.scale(layer), device)?;
        }
    }
    merge_layers(params, config, "", places)
}

fn merge_layers(
    params: &mut Params,
    config: &LoraConfig,
    name: &str,
    places: Places<'_>,
) -> Result<()> {
    for layer in places.adapted() {
        if config.lora_bias && params.id(&format!("{layer}.bias")).is_none() {
            return Err(Error::usage(format!(
                "lora_bias: {layer} has no bias in the base model that the adapter's could be added to; use the adapter \
                 beside the model (--adapter)"
            )));
        }
    }
    for &Replaced { base, own } in places.replaced {
        let values = params.values::<f32>(own)?.to_vec();
        params.values_mut::<f32>(base)?.copy_from_slice(&values);
    }
    for layer in places.adapted() {
        merge_layer(params, config, layer, name)?;
    }
    Ok(())
}

fn merge_layer(params: &mut Params, config: &LoraConfig, layer: &str, name: &str) -> Result<()> {
    let values = |params: &Params, name: &str| -> Result<(ParamId, Vec<f32>)> {
        let id = params.id(name).ok_or_else(|| Error::usage(format!("there is no {name}")))?;
        Ok((id, params.values::<f32>(id)?.to_vec()))
    };
    let scale = config.scale(layer);
    let part = |part: &str, end: &str| parameter(layer, part, name, end);
    let (_, a) = values(params, &part("lora_A", "weight"))?;
    let (b_id, b) = values(params, &part("lora_B", "weight"))?;
    let factors = config.dora.then(|| values(params, &part("lora_magnitude_vector", "weight")));
    let factors = factors.transpose()?.map(|(_, factors)| factors);
    let rank = params.info(b_id).spec.shape.last();
    let (id, _) = values(params, &format!("{layer}.weight"))?;
    let inputs = params.info(id).spec.shape.last();
    let rows = params.values_mut::<f32>(id)?.chunks_exact_mut(inputs);
    let mut delta = vec![0.0f64; inputs];
    for (i, (weights, b)) in rows.zip(b.chunks_exact(rank)).enumerate() {
        delta.fill(0.0);
        for (&b, a) in b.iter().zip(a.chunks_exact(inputs)) {
            delta.iter_mut().zip(a).for_each(|(d, &a)| *d += f64::from(b) * f64::from(a));
        }
        let factor = factors.as_ref().map_or(1.0, |factors| f64::from(factors[i]));
        for (w, d) in weights.iter_mut().zip(&delta) {
            *w = (factor * (f64::from(*w) + scale * d)) as f32;
        }
    }
    if config.lora_bias {
        let (_, bias) = values(params, &part("lora_B", "bias"))?;
        let (id, _) = values(params, &format!("{layer}.bias"))?;
        for (to, b) in params.values_mut::<f32>(id)?.iter_mut().zip(bias) {
            *to = (f64::from(*to) + scale * f64::from(b)) as f32;
        }
    }
    Ok(())
}
