//! GGUF files as folders of models: their metadata as a config, their tensors under the names of
//! `transformers`.

use super::architecture::{ALL, Architecture};
use super::metadata::Metadata;
use super::stacks::Stack;
use crate::error::{Error, Result};
use ff_formats::{GgufFile, GgufValue};
use ff_tensor::FileMatrix;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::path::Path;
use std::sync::Arc;

/// The stacks of experts' matrices.
const EXPERTS: [(&str, &str); 3] =
    [("ffn_gate_exps", "w1"), ("ffn_up_exps", "w3"), ("ffn_down_exps", "w2")];
const WHOLE: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];
/// The scores that no token has.
const SINKS: ((&str, &str), &str) = (("attn_sinks", "weight"), "self_attn.sinks");
/// Factors of the rotary frequencies, which the config expresses: Llama 3's, LongRoPE's.
const FREQUENCIES: &str = "rope_freqs.weight";
pub(super) const LONG: [&str; 2] = ["rope_factors_short.weight", "rope_factors_long.weight"];
/// Tokens that end an answer.
const ENDS: [&str; 3] = ["eos_token_id", "eot_token_id", "eom_token_id"];

/// The tensors of a GGUF file under the names of `transformers`.
#[derive(Debug)]
pub(super) struct GgufWeights {
    file: GgufFile,
    tensors: BTreeMap<String, Place>,
}

/// A tensor within the file.
#[derive(Debug)]
struct Place {
    /// Its name there.
    name: String,
    dims: Vec<usize>,
    /// The number of the expert, of a stack of several.
    expert: Option<usize>,
    /// The heads whose rows are in the order of llama.cpp's rotation.
    heads: Option<usize>,
    /// What the file's values have more than those of `transformers`.
    more: f32,
    /// The stack that this tensor is the first part of.
    stack: Option<(&'static Stack, Vec<String>)>,
}

impl GgufWeights {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = GgufFile::open(path)?;
        let mut weights = Self { file, tensors: BTreeMap::new() };
        let mut tensors = BTreeMap::new();
        for (name, tensor) in weights.file.tensors() {
            if name == FREQUENCIES || LONG.contains(&name.as_str()) {
                continue;
            }
            if let Some((theirs, place)) = weights.stacked(name, &tensor.dims)? {
                tensors.extend(place.map(|place| (theirs, place)));
                continue;
            }
            for (i, theirs) in weights.names(name, &tensor.dims)?.into_iter().enumerate() {
                let expert = (tensor.dims.len() == 3).then_some(i);
                let dims = tensor.dims[usize::from(expert.is_some())..].to_vec();
                let more = weights.dialect().map_or(0.0, |dialect| dialect.gain(&theirs));
                let heads = weights.heads_of(name);
                let place = Place { heads, name: name.clone(), dims, expert, more, stack: None };
                tensors.insert(theirs, place);
            }
        }
        weights.tensors = tensors;
        Ok(weights)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(super) fn dims(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.tensors.get(name)?.dims.clone())
    }

    /// The values of a tensor as f32, rows in the order of `transformers`.
    pub(super) fn values(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let Some(place) = self.tensors.get(name) else { return Ok(None) };
        if let Some((stack, names)) = &place.stack {
            let parts = names.iter().map(|name| self.file.floats(name));
            let parts = parts.collect::<std::result::Result<Vec<_>, _>>()?;
            return match stack.join(&parts, &place.dims) {
                None => self.fail(format!("the parts of `{name}` do not fit together")),
                values => Ok(values),
            };
        }
        let mut values = self.file.floats(&place.name)?;
        if let Some(expert) = place.expert {
            let len: usize = place.dims.iter().product();
            values = values[expert * len..(expert + 1) * len].to_vec();
        }
        if let Some(heads) = place.heads {
            values = halves(&values, place.dims[0], heads);
        }
        if place.more != 0.0 {
            for value in &mut values {
                *value -= place.more;
            }
        }
        Ok(Some(values))
    }

    /// A matrix, of an expert too, as the file has it; rows in another order are copied.
    pub(super) fn matrix(&self, name: &str) -> Option<FileMatrix> {
        let place = self.tensors.get(name).filter(|place| place.stack.is_none())?;
        let mut matrix = self.file.matrix(&place.name)?;
        if let (Some(expert), &[rows, _]) = (place.expert, place.dims.as_slice()) {
            matrix = matrix.part(expert * rows..(expert + 1) * rows).ok()?;
        }
        let Some(heads) = place.heads else { return Some(matrix) };
        let bytes = halves(matrix.bytes(), matrix.rows(), heads);
        let dims = [matrix.rows(), matrix.cols()];
        FileMatrix::new(matrix.form(), dims, Arc::new(bytes), 0).ok()
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::run(self.file.path(), message))
    }

    fn metadata(&self) -> Metadata<'_> {
        Metadata(&self.file)
    }

    fn dialect(&self) -> Option<&'static Architecture> {
        Architecture::named(self.metadata().architecture())
    }

    fn has(&self, name: &str) -> bool {
        self.file.tensors().contains_key(name)
    }

    /// The heads of a matrix whose rows llama.cpp keeps in another order.
    fn heads_of(&self, name: &str) -> Option<usize> {
        let part = name.strip_prefix("blk.")?.split('.').nth(1)?;
        let heads = self.metadata().size("attention.head_count");
        match part {
            _ if self.dialect().is_none_or(|dialect| !dialect.pairs) => None,
            "attn_q" => heads,
            "attn_k" => self.metadata().size("attention.head_count_kv").or(heads),
            _ => None,
        }
    }

    /// The stack that a tensor is a part of, where `transformers` has stacks too: its name, and its
    /// place with the first of its parts.
    fn stacked(&self, name: &str, dims: &[usize]) -> Result<Option<(String, Option<Place>)>> {
        let parts: Vec<&str> = name.split('.').collect();
        let &["blk", layer, part, end] = &parts[..] else { return Ok(None) };
        let Some((stack, at)) = Stack::ours(part).filter(|_| self.has_stacks()) else {
            return Ok(None);
        };
        let bias = end == "bias";
        let theirs = stack.name(layer, bias);
        if at > 0 {
            return Ok(Some((theirs, None)));
        }
        let Some(whole) = stack.dims(dims).filter(|_| dims.len() == 3 - usize::from(bias)) else {
            return self.fail(format!("tensor `{name}` is no stack of matrices"));
        };
        let stack = Some((stack, stack.names(layer, bias)));
        let name = name.to_owned();
        let place = Place { name, dims: whole, expert: None, heads: None, more: 0.0, stack };
        Ok(Some((theirs, Some(place))))
    }

    /// Whether `transformers` has stacks of experts for this architecture.
    fn has_stacks(&self) -> bool {
        self.dialect().is_some_and(|dialect| dialect.families == ["gpt_oss"])
    }

    /// The names in `transformers`, several for a stack of experts; an unknown name stays.
    fn names(&self, name: &str, dims: &[usize]) -> Result<Vec<String>> {
        if let Some((_, theirs)) = WHOLE.iter().find(|(ours, _)| *ours == name) {
            return Ok(vec![(*theirs).to_owned()]);
        }
        let parts: Vec<&str> = name.split('.').collect();
        let ["blk", layer, part, end] = parts[..] else { return Ok(vec![name.to_owned()]) };
        let layer = format!("model.layers.{layer}");
        if (part, end) == SINKS.0 {
            return Ok(vec![format!("{layer}.{}", SINKS.1)]);
        }
        if let Some((_, matrix)) = EXPERTS.iter().find(|(ours, _)| *ours == part) {
            let &[experts, ..] = dims else { return Ok(vec![name.to_owned()]) };
            if dims.len() != 3 {
                return self.fail(format!("tensor `{name}` is no stack of matrices"));
            }
            let of = |e| format!("{layer}.block_sparse_moe.experts.{e}.{matrix}.{end}");
            return Ok((0..experts).map(of).collect());
        }
        if let (Some(heads), Some(&rows)) = (self.heads_of(name), dims.first())
            && (heads == 0 || !rows.is_multiple_of(2 * heads))
        {
            return self.fail(format!("tensor `{name}`: {rows} rows are no {heads} heads"));
        }
        let theirs = self.dialect().and_then(|dialect| dialect.theirs(part));
        Ok(vec![theirs.map_or(name.to_owned(), |theirs| format!("{layer}.{theirs}.{end}"))])
    }

    /// The metadata as a `config.json`.
    pub(super) fn config(&self) -> Result<Map<String, Value>> {
        let architecture = self.metadata().architecture();
        let Some(dialect) = self.dialect() else {
            let known: Vec<&str> = ALL.iter().map(|dialect| dialect.name).collect();
            return self.fail(format!(
                "models of the architecture `{architecture}` are not read from GGUF; those of {} are",
                known.join(", ")
            ));
        };
        let (mut family, mut class) = (dialect.families[0], dialect.class);
        let experts = self.metadata().size("expert_count").filter(|&n| n > 0);
        if experts.is_some() {
            if family != "llama" && !self.has_stacks() {
                return self.fail(format!(
                    "experts of the architecture `{architecture}` are not read from GGUF"
                ));
            }
            if !self.has_stacks() {
                (family, class) = ("mixtral", "MixtralForCausalLM");
            }
        }
        let heads = self.metadata().needed("attention.head_count")?;
        let hidden = self.metadata().needed("embedding_length")?;
        let embedding = self.file.tensors().get(WHOLE[0].0);
        let vocab = embedding.and_then(|tensor| tensor.dims.first().copied());
        let Some(vocab) = vocab else { return self.fail("has no token_embd.weight") };
        let head_dim =
            self.metadata().size("attention.key_length").unwrap_or(hidden / heads.max(1));
        let rotated = self.metadata().size("rope.dimension_count").unwrap_or(head_dim);
        if rotated != head_dim && !dialect.partial
            || self.metadata().size("attention.value_length").unwrap_or(head_dim) != head_dim
        {
            return self.fail(format!(
                "heads of {head_dim} features of which {rotated} are rotated, or with other values, are not supported"
            ));
        }
        let mut config = json!({
            "architectures": [class],
            "model_type": family,
            "vocab_size": vocab,
            "hidden_size": hidden,
            "intermediate_size": self.metadata().needed("feed_forward_length")?,
            "num_hidden_layers": self.metadata().needed("block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": self.metadata().size("attention.head_count_kv").unwrap_or(heads),
            "head_dim": head_dim,
            "max_position_embeddings": self.metadata().needed("context_length")?,
            "rms_norm_eps": self.metadata().float("attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
            "rope_theta": self.metadata().float("rope.freq_base").unwrap_or(10_000.0),
            "hidden_act": "silu",
            "tie_word_embeddings": !self.has(WHOLE[2].0),
        });
        let mixtral = family == "mixtral";
        for (key, tensor) in dialect.biases.iter().filter(|_| !mixtral) {
            config[*key] = self.has(&format!("blk.0.{tensor}.bias")).into();
        }
        if let Some(experts) = experts {
            config["num_local_experts"] = experts.into();
            config["num_experts_per_tok"] = self.metadata().needed("expert_used_count")?.into();
        }
        if let Some(scaling) = self.rope_scaling(&config)? {
            config["rope_scaling"] = scaling;
        }
        (dialect.read)(self.metadata(), &mut config)?;
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            let theirs = if key == "pad_token_id" { "padding_token_id" } else { key };
            if let Some(id) = self.token(theirs) {
                config[key] = id.into();
            }
        }
        Ok(config.as_object().cloned().unwrap_or_default())
    }

    fn token(&self, key: &str) -> Option<u64> {
        self.file.metadata().get(&format!("tokenizer.ggml.{key}"))?.as_u64()
    }

    /// The scaling of rotary positions as `transformers` writes it.
    fn rope_scaling(&self, config: &Value) -> Result<Option<Value>> {
        let number = |key: &str| config[key].as_f64().unwrap_or(0.0);
        if self.has(FREQUENCIES) {
            let factors = self.file.floats(FREQUENCIES)?;
            return match llama3(&factors, number("rope_theta"), number("head_dim")) {
                Some(scaling) => Ok(scaling),
                None => self.fail("the factors of rope_freqs.weight are none of Llama 3's, and others are not supported"),
            };
        }
        if LONG.iter().all(|name| self.has(name)) {
            let [short, long] = LONG.map(|name| self.file.floats(name));
            let attention = self.metadata().float("rope.scaling.attn_factor");
            return Ok(Some(json!({
                "rope_type": "longrope", "short_factor": shortest(&short?), "long_factor": shortest(&long?),
                "attention_factor": attention,
            })));
        }
        let factor = self.metadata().float("rope.scaling.factor").unwrap_or(1.0);
        let original = self.metadata().size("rope.scaling.original_context_length");
        match self.metadata().get("rope.scaling.type").and_then(GgufValue::as_str) {
            None | Some("none") => Ok(None),
            Some("linear") => Ok(Some(json!({ "rope_type": "linear", "factor": factor }))),
            Some("yarn") => {
                let original =
                    original.map_or(config["max_position_embeddings"].clone(), Value::from);
                Ok(Some(
                    json!({ "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original }),
                ))
            }
            Some(other) => self.fail(format!("positions scaled by `{other}` are not supported")),
        }
    }

    /// The metadata as a `generation_config.json`: the tokens that end an answer.
    pub(super) fn generation(&self) -> Map<String, Value> {
        let ends: Vec<u64> = ENDS.iter().filter_map(|key| self.token(key)).collect();
        let mut generation = Map::new();
        if !ends.is_empty() {
            generation.insert("eos_token_id".into(), ends.into());
        }
        generation
    }
}

/// Floats with the digits that tell them from other 32-bit floats.
fn shortest(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| x.to_string().parse().unwrap_or(f64::from(*x))).collect()
}

/// The name in llama.cpp of a tensor of `transformers`.
pub(super) fn name_of(theirs: &str, dialect: &Architecture) -> Option<String> {
    if let Some((ours, _)) = WHOLE.iter().find(|(_, name)| *name == theirs) {
        return Some((*ours).to_owned());
    }
    if let Some((stack, layer, bias)) = Stack::theirs(theirs) {
        return stack.names(layer, bias).into_iter().next();
    }
    let (layer, rest) = theirs.strip_prefix("model.layers.")?.split_once('.')?;
    if rest == SINKS.1 {
        let (part, end) = SINKS.0;
        return Some(format!("blk.{layer}.{part}.{end}"));
    }
    let (part, end) = rest.rsplit_once('.')?;
    Some(format!("blk.{layer}.{}.{end}", dialect.ours(part)?))
}

/// The name in `transformers` of a tensor of llama.cpp.
pub(super) fn theirs_of(ours: &str, dialect: &Architecture) -> Option<String> {
    if let Some((_, theirs)) = WHOLE.iter().find(|(name, _)| *name == ours) {
        return Some((*theirs).to_owned());
    }
    let (layer, rest) = ours.strip_prefix("blk.")?.split_once('.')?;
    let (part, end) = rest.split_once('.')?;
    Some(format!("model.layers.{layer}.{}.{end}", dialect.theirs(part)?))
}

/// Llama 3's parameters of these factors of the frequencies; none for factors that are all 1.
#[allow(clippy::option_option)]
fn llama3(factors: &[f32], theta: f64, head_dim: f64) -> Option<Option<Value>> {
    const ORIGINAL: f64 = 8192.0;
    let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
    let (low, high) = (1.0, 4.0);
    for (i, &found) in factors.iter().enumerate() {
        let turns = ORIGINAL * theta.powf(-2.0 * i as f64 / head_dim) / (2.0 * PI);
        let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        let expected = 1.0 / ((1.0 - smooth) / factor + smooth);
        if (f64::from(found) - expected).abs() > 1e-4 * expected {
            return None;
        }
    }
    Some((factor > 1.0).then(|| {
        json!({ "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": ORIGINAL })
    }))
}

/// Rows of neighbouring pairs into rows of halves: `transformers` rotates feature i of a head with
/// i + d/2, llama.cpp 2i with 2i + 1.
pub(super) fn halves<T: Copy>(values: &[T], rows: usize, heads: usize) -> Vec<T> {
    reordered(values, rows, heads, |row, half| row % half * 2 + row / half)
}

/// The inverse of [`halves`].
pub(super) fn pairs<T: Copy>(values: &[T], rows: usize, heads: usize) -> Vec<T> {
    reordered(values, rows, heads, |row, half| row % 2 * half + row / 2)
}

/// Each head's rows from other ones of it.
fn reordered<T: Copy>(
    values: &[T],
    rows: usize,
    heads: usize,
    from: impl Fn(usize, usize) -> usize,
) -> Vec<T> {
    let (width, of_head) = (values.len() / rows.max(1), rows / heads);
    (0..rows)
        .flat_map(|row| {
            let source = row / of_head * of_head + from(row % of_head, of_head / 2);
            &values[source * width..(source + 1) * width]
        })
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_of_rows_are_inverse() {
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        // Two heads of six rows of two values.
        let ours = halves(&values, 12, 2);
        assert_eq!(ours[..12], [0.0, 1.0, 4.0, 5.0, 8.0, 9.0, 2.0, 3.0, 6.0, 7.0, 10.0, 11.0]);
        assert_eq!(pairs(&ours, 12, 2), values);
    }

    #[test]
    fn factors_of_llama_3_are_recognised() {
        let plain = [1.0f32; 4];
        assert_eq!(llama3(&plain, 1e4, 8.0), Some(None));
        assert_eq!(llama3(&[1.0, 7.0, 1.0, 1.0], 1e4, 8.0), None);
        let scaled = llama3(&[1.0, 1.0, 8.0, 8.0], 1e8, 8.0);
        assert_eq!(scaled.unwrap().unwrap()["factor"], 8.0);
    }
}
