//! Writing an adapter as PEFT does.

use super::base::Base;
use super::experts::Stack;
use super::names::{BASE, CONFIG, PREFIX, TENSORS};
use super::parts::{STACKS, TOKENS, parameter, pieces};
use super::settings::{INVOCATION, OUTPUT, is_at_end};
use super::whole::{own_rows, stored_name, whole_tensors};
use super::{Places, fingerprint};
use crate::error::Result;
use crate::files::write_text;
use ff_formats::TensorWriter;
use ff_graph::Params;
use ff_nn::{AdaptedBiases, LoraConfig, matches};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

/// Writes an adapter as PEFT does, from the parameters of a model that was built with it.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn write_adapter(
    folder: &Path,
    config: &LoraConfig,
    base: (&Path, Base<'_>),
    params: &Params,
    places: Places<'_>,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(ff_formats::Error::io(folder, "making the folder"))?;
    let whole = whole_tensors(base.1, params, places.replaced);
    let mut writer = TensorWriter::new();
    writer.metadata("format", "pt");
    writer.metadata(BASE, fingerprint(params)?);
    for layer in places.adapted() {
        for (part, end, stored) in pieces(config) {
            let Some(id) = params.id(&parameter(layer, part, "", end)) else { continue };
            let dims = params.info(id).spec.shape.dims();
            writer.add_f32(format!("{PREFIX}{layer}.{stored}"), dims, params.values::<f32>(id)?);
        }
    }
    let adapted: BTreeSet<String> = places.adapted().map(str::to_owned).collect();
    for (tensor, own) in &whole {
        let stored = format!("{PREFIX}{}", stored_name(&tensor.name, &adapted));
        let values = params.values::<f32>(*own)?;
        writer.add_made(&stored, &tensor.dims, move || tensor.write(values));
        if config.keep_tied && base.1.is_tied() && base.1.tied_tensors()[0] == tensor.name {
            let output = format!("{PREFIX}{OUTPUT}");
            writer.add_made(&output, &tensor.dims, move || tensor.write(values));
        }
    }
    for (stack, _) in places.stacks.iter().filter(|(_, adapted)| *adapted) {
        let place = Stack::find(params, stack, "", base.1)?;
        let [a_dims, b_dims] = place.dims();
        let module = module_of(stack, places.stacks);
        writer.add_f32(
            format!("{PREFIX}{module}.lora_A.weight"),
            &a_dims,
            params.values::<f32>(place.a)?,
        );
        let b = place.stored_b(params)?;
        writer
            .add_made(format!("{PREFIX}{module}.lora_B.weight"), &b_dims, move || b.clone().into());
    }
    if let Some((own, module)) = own_rows(params) {
        let dims = params.info(own).spec.shape.dims();
        writer.add_f32(format!("{PREFIX}{module}{TOKENS}"), dims, params.values::<f32>(own)?);
    }
    let is_saved = |name: &str| config.saved.iter().any(|pattern| matches(pattern, name));
    let names = whole.iter().map(|(tensor, _)| tensor.name.as_str()).filter(|name| is_saved(name));
    let saved: BTreeSet<&str> = names.filter_map(|name| Some(name.rsplit_once('.')?.0)).collect();
    writer.write(&folder.join(TENSORS))?;
    let adapted_stacks = places.stacks.iter().filter(|(_, adapted)| *adapted);
    let adapted_stacks: Vec<&String> = adapted_stacks.map(|(stack, _)| stack).collect();
    let json = json!({
        "peft_type": "LORA",
        "task_type": base.1.task(),
        "base_model_name_or_path": base.0,
        "inference_mode": true,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": target_modules(places.layers),
        "fan_in_fan_out": base.1.has_transposed_files(),
        "bias": match config.biases {
            AdaptedBiases::None => "none",
            AdaptedBiases::Adapted => "lora_only",
            AdaptedBiases::All => "all",
        },
        "use_rslora": config.rank_stabilized,
        "rank_pattern": config.ranks,
        "alpha_pattern": config.alphas,
        "modules_to_save": (!saved.is_empty()).then_some(&saved),
        "ensure_weight_tying": config.keep_tied && base.1.is_tied() && !saved.is_empty(),
        "target_parameters": (!adapted_stacks.is_empty()).then_some(&adapted_stacks),
        INVOCATION: (!config.invocation.is_empty()).then_some(&config.invocation),
        "trainable_token_indices": (!config.tokens.is_empty()).then_some(&config.tokens),
        "init_lora_weights": true,
        "use_dora": config.dora,
        "lora_bias": config.lora_bias,
    });
    write_text(&folder.join(CONFIG), &format!("{json:#}\n"))
}

/// The module that has the tensors of a stack: the last adapted stack of experts wraps the others.
fn module_of(stack: &str, stacks: &[(String, bool)]) -> String {
    let (module, last) = stack.rsplit_once('.').unwrap_or((stack, ""));
    let is_adapted = |name: &&str| stacks.contains(&(format!("{module}.{name}"), true));
    let adapted: Vec<&str> = STACKS.iter().copied().filter(|name| is_adapted(name)).collect();
    let at = adapted.iter().position(|name| *name == last).unwrap_or(0);
    format!("{module}{}", ".base_layer".repeat(adapted.len().saturating_sub(at + 1)))
}

/// The shortest list of PEFT's `target_modules`: ends of names that mean adapted layers alone, and
/// else whole names.
fn target_modules(layers: &[(String, bool)]) -> BTreeSet<&str> {
    let end = |layer: &str| layer.rfind('.').map_or(0, |at| at + 1);
    let mixed =
        |last: &str| layers.iter().any(|(layer, adapted)| !adapted && is_at_end(layer, last));
    let adapted = layers.iter().filter(|(_, adapted)| *adapted).map(|(layer, _)| layer.as_str());
    adapted
        .map(|layer| {
            let last = &layer[end(layer)..];
            if mixed(last) { layer } else { last }
        })
        .collect()
}
