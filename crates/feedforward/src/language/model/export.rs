//! Writing models: Hugging Face folders in any float type, GGUF files.

use super::architecture::{Architecture, usual_scaling, yarn};
use super::decoder::LanguageModel;
use super::folder::{as_written, write_rest};
use super::gguf::{LONG, name_of, pairs};
use super::stacks::Stack;
use super::weights::{base_tensors, write_weights_as};
use crate::error::{Error, Result};
use ff_formats::{GgufFileType, GgufModel, GgufValue, GgufWriter};
use ff_graph::ParamId;
use ff_nn::models::{DecoderConfig, Rope};
use ff_ops::LongAngles;
use ff_tensor::ThreadPool;
use serde_json::Value;
use std::borrow::Cow;
use std::path::Path;

/// The values of a tensor, by its name and shape, as they are read back.
pub(crate) type ReadBack = Box<dyn Fn(&str, &[usize], &[f32], &ThreadPool) -> Option<Vec<f32>>>;
/// The size of a file from which on another one is begun.
const SHARD: usize = 5_000_000_000;

/// Writes a folder with weights of this float type.
pub(crate) fn write_huggingface(
    model: &LanguageModel,
    dtype: GgufFileType,
    folder: &Path,
) -> Result<ReadBack> {
    let name = match dtype {
        GgufFileType::F32 => "float32",
        GgufFileType::F16 => "float16",
        GgufFileType::BF16 => "bfloat16",
        other => {
            return Err(Error::usage(format!(
                "Hugging Face folders hold weights as f32, f16 or bf16, and not as {other}; choose one, or export to GGUF"
            )));
        }
    };
    let dtype = dtype.base();
    std::fs::create_dir_all(folder).map_err(ff_formats::Error::io(folder, "making the folder"))?;
    let params = model.graph.params();
    write_weights_as(folder, &base_tensors(&model.config, params), params, SHARD, dtype)?;
    let config = as_written(&model.config, name)?.to_json();
    write_rest(folder, (model.tokenizer.as_ref(), Some(&model.generation)), &config)?;
    Ok(Box::new(move |_, _, values, threads| dtype.rounded(values, threads)))
}

/// Writes a GGUF file, with tokenizer and chat template.
pub(crate) fn write_gguf(
    model: &LanguageModel,
    kind: GgufFileType,
    path: &Path,
) -> Result<ReadBack> {
    let config = &model.config;
    let refuse =
        |what: &str| Err(Error::usage(format!("{what}; export to a Hugging Face folder instead")));
    let Some(dialect) = Architecture::of(config.family.name) else {
        return refuse(&format!(
            "models of the family {} are not written as GGUF",
            config.family.name
        ));
    };
    let architecture = dialect.name;
    let more = match (dialect.write)(config) {
        Ok(more) => more,
        Err(what) => return refuse(&format!("GGUF has no form for {what}")),
    };
    let mut writer = GgufWriter::new();
    let text = |text: &str| GgufValue::String(text.to_owned());
    writer.metadata("general.architecture", text(architecture));
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or("model");
    writer.metadata("general.name", text(name));
    writer.metadata("general.file_type", GgufValue::U32(kind as u32));
    writer.metadata("general.quantization_version", GgufValue::U32(2));
    let size = |n: usize| GgufValue::U32(u32::try_from(n).unwrap_or(u32::MAX));
    let rope = config.rope.as_ref();
    // llama.cpp has no base that grows; up to its bound, all is the same.
    let grows = rope.is_some() && !config.has_long_angles();
    let positions = if grows { config.positions_unchanged() } else { config.max_positions };
    for (key, value) in [
        ("block_count", size(config.layers.len())),
        ("context_length", size(positions)),
        ("embedding_length", size(config.hidden_size)),
        ("feed_forward_length", size(config.intermediate_size)),
        ("attention.head_count", size(config.heads)),
        ("attention.head_count_kv", size(config.kv_heads)),
        ("attention.key_length", size(config.head_dim)),
        ("attention.value_length", size(config.head_dim)),
        ("rope.dimension_count", size(rope.map_or(config.head_dim, |rope| rope.rotary_dim))),
        ("rope.freq_base", GgufValue::F32(rope.map_or(1e4, |rope| rope.theta as f32))),
        ("attention.layer_norm_rms_epsilon", GgufValue::F32(config.norm_eps as f32)),
        ("vocab_size", size(config.vocab_size)),
    ]
    .into_iter()
    .chain(more)
    {
        writer.metadata(&format!("{architecture}.{key}"), value);
    }
    let factors = scaling(config, architecture, &mut writer)?;
    if let Some(tokenizer) = &model.tokenizer {
        let ends = model.end_tokens();
        let mut metadata = tokenizer.to_gguf(config.vocab_size)?;
        // The tokens that end a text are the model's, whatever the tokenizer calls them.
        metadata.retain(|(key, _)| ends.is_empty() || key != "tokenizer.ggml.eos_token_id");
        for (key, value) in metadata {
            writer.metadata(&key, value);
        }
        for (key, &id) in ["eos_token_id", "eot_token_id", "eom_token_id"].iter().zip(&ends) {
            writer.metadata(&format!("tokenizer.ggml.{key}"), GgufValue::U32(id));
        }
        if ends.len() > 3 {
            return refuse(
                "a GGUF file names three tokens that end a text, and the model has more",
            );
        }
    }
    for (name, factors) in factors {
        writer
            .add(name, &[factors.len()], ff_formats::GgmlType::F32, move || factors.clone().into());
    }
    let params = model.graph.params();
    let types = GgufModel {
        architecture,
        layers: config.layers.len(),
        heads: config.heads,
        kv_heads: config.kv_heads,
        tied: config.tied,
    };
    let quantised = kind.base().block() > 1;
    for tensor in base_tensors(config, params) {
        if let Some((stack, layer, bias)) = Stack::theirs(&tensor.name) {
            if quantised {
                return refuse("the experts of gpt-oss are written as f32, f16 or bf16");
            }
            let values = params.values::<f32>(ParamId::new(tensor.param))?;
            let Some(dims) = stack.parts_dims(&tensor.dims) else { continue };
            for (i, name) in stack.names(layer, bias).into_iter().enumerate() {
                let (tensor, dtype) = (tensor.clone(), kind.of_tensor(&name, &dims, &types));
                writer.add(&name, &dims, dtype, move || {
                    stack.part(&tensor.write(values), &tensor.dims, i).into()
                });
            }
            continue;
        }
        let Some(name) = name_of(&tensor.name, dialect) else {
            return refuse(&format!("tensor `{}` has no name in llama.cpp", tensor.name));
        };
        let heads = match dialect.pairs {
            true if tensor.name.contains(".q_proj.") => Some(config.heads),
            true if tensor.name.contains(".k_proj.") => Some(config.kv_heads),
            _ => None,
        };
        let gain = dialect.gain(&tensor.name);
        let values = params.values::<f32>(ParamId::new(tensor.param))?;
        let (dims, dtype) = (tensor.dims.clone(), kind.of_tensor(&name, &tensor.dims, &types));
        let rows = dims[0];
        writer.add(&name, &dims, dtype, move || -> Cow<'_, [f32]> {
            let mut values = tensor.write(values);
            if gain != 0.0 {
                values.to_mut().iter_mut().for_each(|value| *value += gain);
            }
            heads.map_or(values.clone(), |heads| pairs(&values, rows, heads).into())
        });
    }
    writer.write(path, model.graph.device().cpu().threads())?;
    Ok(Box::new(move |name, dims, values, threads| {
        let gain = dialect.gain(name);
        let form = kind.of_tensor(&name_of(name, dialect)?, dims, &types);
        if gain == 0.0 {
            return form.rounded(values, threads);
        }
        let more: Vec<f32> = values.iter().map(|value| value + gain).collect();
        let read = form.rounded(&more, threads)?;
        Some(read.iter().map(|value| value - gain).collect())
    }))
}

/// Factors of the frequencies of rotary positions, by the name of their tensor.
type Factors = Vec<(&'static str, Vec<f32>)>;

/// Writes the scaling of rotary positions; Llama 3's and LongRoPE's are factors of the frequencies.
fn scaling(
    config: &DecoderConfig,
    architecture: &str,
    writer: &mut GgufWriter<'_>,
) -> Result<Factors> {
    let usual = usual_scaling(config.family.name);
    let stated = |key: &str| config.field(key).filter(|value| !value.is_null());
    let found = stated("rope_scaling").or(stated("rope_parameters")).or(usual.as_ref());
    // Positions of layers that see near tokens are never scaled in llama.cpp.
    let by_layer = |key: &str| found.and_then(|map| map.get(key));
    let near = by_layer("sliding_attention").and_then(|map| map.get("rope_type"));
    if near.is_some_and(|kind| kind != "default") {
        return Err(Error::usage(
            "scaled positions of layers that see near tokens are not written as GGUF; export to a Hugging Face folder \
             instead",
        ));
    }
    let found = by_layer("full_attention").or(found);
    let Some(Value::Object(scaling)) = found else { return Ok(Vec::new()) };
    let kind = scaling.get("rope_type").or(scaling.get("type")).and_then(Value::as_str);
    let number = |key: &str| scaling.get(key).and_then(Value::as_f64).unwrap_or(1.0);
    let mut put =
        |key: &str, value| writer.metadata(&format!("{architecture}.rope.scaling.{key}"), value);
    let plain = |i: usize| {
        let rope = config.rope.as_ref();
        rope.map_or(1.0, |rope| rope.theta.powf(-2.0 * i as f64 / rope.rotary_dim as f64))
    };
    let factor = |(i, f): (usize, &f64)| (plain(i) / f) as f32;
    match (kind.unwrap_or("default"), &config.rope) {
        ("default" | "dynamic", _) => Ok(Vec::new()),
        (_, Some(Rope { long: Some(LongAngles::Table { above, inv_freq }), .. })) => {
            let Some(rope) = &config.rope else { return Ok(Vec::new()) };
            put("type", GgufValue::String("longrope".into()));
            let above = GgufValue::U32(u32::try_from(*above).unwrap_or(u32::MAX));
            put("original_context_length", above);
            put("attn_factor", GgufValue::F32(rope.scaling as f32));
            let factors = |inv_freq: &[f64]| inv_freq.iter().enumerate().map(factor).collect();
            let [short, long] = LONG;
            Ok(vec![(short, factors(&rope.inv_freq)), (long, factors(inv_freq))])
        }
        (kind @ ("linear" | "yarn"), _) => {
            const WRITTEN: [&str; 5] =
                ["type", "rope_type", "factor", "original_max_position_embeddings", "rope_theta"];
            let own = |key: &str| {
                let usual = yarn().into_iter().find(|(name, _)| *name == key);
                let usual = usual.filter(|_| config.family.name == "gpt_oss");
                usual.is_some_and(|(_, value)| {
                    let found = &scaling[key];
                    *found == value || found.as_f64().is_some_and(|x| Some(x) == value.as_f64())
                })
            };
            let written = |key: &&String| WRITTEN.contains(&key.as_str()) || own(key.as_str());
            if let Some(key) = scaling.keys().find(|key| !written(key)) {
                return Err(Error::usage(format!(
                    "positions scaled with `{key}` are not written as GGUF; export to a Hugging Face folder instead"
                )));
            }
            put("type", GgufValue::String(kind.into()));
            put("factor", GgufValue::F32(number("factor") as f32));
            if let Some(original) =
                scaling.get("original_max_position_embeddings").and_then(Value::as_u64)
            {
                put(
                    "original_context_length",
                    GgufValue::U32(u32::try_from(original).unwrap_or(u32::MAX)),
                );
            }
            Ok(Vec::new())
        }
        ("llama3", Some(rope)) => {
            let usual = [
                ("low_freq_factor", 1.0),
                ("high_freq_factor", 4.0),
                ("original_max_position_embeddings", 8192.0),
            ];
            if usual.iter().any(|(key, value)| number(key) != *value) {
                return Err(Error::usage(
                    "positions scaled like Llama 3's with other bounds than its own are not written as GGUF; export to a \
                     Hugging Face folder instead",
                ));
            }
            let factors = rope.inv_freq.iter().enumerate().map(factor).collect();
            Ok(vec![("rope_freqs.weight", factors)])
        }
        (other, _) => Err(Error::usage(format!(
            "positions scaled by `{other}` are not written as GGUF; export to a Hugging Face folder instead"
        ))),
    }
}
