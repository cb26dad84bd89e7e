//! `adapter_config.json`: which layers an adapter changes, and how.

use fancy_regex::Regex;
use ff_nn::{AdaptedBiases, LoraConfig};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Keys that say nothing about what the adapter computes.
const IRRELEVANT: [&str; 15] = [
    "auto_mapping",
    "base_model_name_or_path",
    "fan_in_fan_out",
    "inference_mode",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "loftq_config",
    "lora_dropout",
    "init_lora_weights",
    "use_qalora",
];
/// Keys whose values are read.
const KNOWN: [&str; 17] = [
    "r",
    "lora_alpha",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "use_dora",
    "lora_bias",
    "bias",
    "modules_to_save",
    "ensure_weight_tying",
    "target_parameters",
    "trainable_token_indices",
    INVOCATION,
];
/// The key with the tokens that an adapter acts behind.
pub(super) const INVOCATION: &str = "alora_invocation_tokens";
/// The tensor of the output layer.
pub(super) const OUTPUT: &str = "lm_head.weight";
/// The modules that `ensure_weight_tying` keeps alike.
pub(super) const TIED: [&str; 2] = ["embed_tokens", "lm_head"];
/// Initialisations that change the weights of the base model.
const CHANGE_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// What an `adapter_config.json` says.
#[derive(Debug)]
pub(super) struct Settings {
    /// The adapter, without its layers.
    pub(super) config: LoraConfig,
    modules: Modules,
    exclude: Option<Modules>,
    /// The numbers of layers, and the names of their lists; any list if empty.
    numbers: Option<(Vec<u64>, Vec<String>)>,
    /// `modules_to_save`.
    pub(super) saved: Vec<String>,
    /// `target_parameters`.
    pub(super) parameters: Vec<String>,
    /// `trainable_token_indices`, with the name of their table unless it is that of the model.
    pub(super) tokens: Option<Tokens>,
    ranks: Vec<(String, Regex, f64)>,
    alphas: Vec<(String, Regex, f64)>,
}

/// The ids of tokens, and the table of theirs if it is named.
type Tokens = (Option<String>, Vec<u32>);

/// A choice of modules.
#[derive(Debug)]
enum Modules {
    /// Those of these names, or with these ends of their names.
    Listed(Vec<String>),
    /// Those whose whole name is like this.
    Like(Regex),
    /// All linear layers but the output layer.
    AllLinear,
}

impl Modules {
    fn read(key: &str, value: &Value) -> Result<Option<Self>, String> {
        match value {
            Value::Null => Ok(None),
            Value::Array(list) if list.is_empty() => Ok(None),
            Value::Array(list) => {
                let names = list.iter().map(|v| v.as_str().map(str::to_owned));
                let names: Option<Vec<String>> = names.collect();
                Ok(Some(Self::Listed(names.ok_or_else(|| format!("{key} is no list of names"))?)))
            }
            Value::String(text) if text == "all-linear" => Ok(Some(Self::AllLinear)),
            Value::String(text) => Ok(Some(Self::Like(regex(key, &format!("^(?:{text})$"))?))),
            _ => Err(format!("{key} is neither a list of names nor a regular expression")),
        }
    }

    fn has(&self, module: &str) -> bool {
        match self {
            Self::Listed(names) => names.iter().any(|name| is_at_end(module, name)),
            Self::Like(regex) => regex.is_match(module).unwrap_or(false),
            Self::AllLinear => true,
        }
    }
}

fn regex(key: &str, text: &str) -> Result<Regex, String> {
    Regex::new(text)
        .map_err(|e| format!("{key}: {text} is no regular expression that is read: {e}"))
}

/// Whether a name of PEFT's lists means this module: by its whole name or its end.
pub(super) fn is_at_end(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

impl Settings {
    /// Reads the keys of an `adapter_config.json`.
    ///
    /// # Errors
    /// One is missing, is malformed, or asks for what is not supported.
    pub(super) fn read(json: &Map<String, Value>) -> Result<Self, String> {
        check_supported(json)?;
        let rank = json.get("r").and_then(Value::as_u64).filter(|&r| r > 0);
        let rank = rank.ok_or("r, the rank, is missing or no positive integer")? as usize;
        let alpha = json.get("lora_alpha").and_then(Value::as_f64);
        let alpha = alpha.ok_or("lora_alpha is missing or no number")?;
        let get = |key: &str| json.get(key).unwrap_or(&Value::Null);
        let flag = |key: &str| get(key).as_bool().unwrap_or(false);
        let modules = Modules::read("target_modules", get("target_modules"))?;
        let exclude = Modules::read("exclude_modules", get("exclude_modules"))?;
        let strings = |key: &str| strings(key, get(key));
        let biases = match get("bias").as_str().unwrap_or("none") {
            "none" => AdaptedBiases::None,
            "lora_only" => AdaptedBiases::Adapted,
            "all" => AdaptedBiases::All,
            other => return Err(format!("bias {other} is not one of none, lora_only and all")),
        };
        let numbers = match get("layers_to_transform") {
            Value::Null => None,
            Value::Array(list) if list.is_empty() => None,
            value => {
                let list = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                let list: Option<Vec<u64>> = list.iter().map(Value::as_u64).collect();
                let list = list.ok_or("layers_to_transform holds what is no number of a layer")?;
                Some((list, strings("layers_pattern")?))
            }
        };
        let saved = strings("modules_to_save")?;
        // PEFT ties modules of these names alone.
        let can_tie = |name: &String| TIED.iter().any(|tied| is_at_end(name, tied));
        let config = LoraConfig {
            rank,
            alpha,
            rank_stabilized: flag("use_rslora"),
            dora: flag("use_dora"),
            lora_bias: flag("lora_bias"),
            biases,
            keep_tied: flag("ensure_weight_tying") && saved.iter().any(can_tie),
            fixed: true,
            ..LoraConfig::default()
        };
        let parameters = strings("target_parameters")?;
        let invocation = ids(INVOCATION, get(INVOCATION))?;
        let tokens = tokens(get("trainable_token_indices"))?;
        for (key, set) in [
            ("use_dora", config.dora),
            ("lora_bias", config.lora_bias),
            ("bias", config.biases != AdaptedBiases::None),
            ("modules_to_save", !saved.is_empty()),
            ("target_parameters", !parameters.is_empty()),
            ("trainable_token_indices", tokens.is_some()),
        ] {
            if set && !invocation.is_empty() {
                return Err(format!("{INVOCATION} beside {key} is not supported"));
            }
        }
        let config = LoraConfig { invocation, ..config };
        let modules = match modules {
            None if !parameters.is_empty() => Some(Modules::Listed(Vec::new())),
            modules => modules,
        };
        Ok(Self {
            config,
            modules: modules.ok_or("target_modules is missing, or no list of names")?,
            exclude,
            numbers,
            saved,
            parameters,
            tokens,
            ranks: patterns("rank_pattern", get("rank_pattern"))?,
            alphas: patterns("alpha_pattern", get("alpha_pattern"))?,
        })
    }

    /// Whether a linear layer gets an adapter.
    pub(super) fn targets(&self, layer: &str) -> bool {
        let chosen = self.modules.has(layer)
            && self.exclude.as_ref().is_none_or(|exclude| !exclude.has(layer));
        chosen
            && self.numbers.as_ref().is_none_or(|(numbers, lists)| {
                number(layer, lists).is_some_and(|number| numbers.contains(&number))
            })
    }

    /// A name of `target_modules` that means none of these layers.
    pub(super) fn unused<'a>(&'a self, layers: &[String]) -> Option<&'a str> {
        let Modules::Listed(names) = &self.modules else { return None };
        let none = |name: &&String| !layers.iter().any(|layer| is_at_end(layer, name));
        // Layers that are left out may leave nothing of a name.
        let whole = self.exclude.is_none() && self.numbers.is_none();
        names.iter().find(none).map(String::as_str).filter(|_| whole)
    }

    /// Whether `modules_to_save` names a module or one around it.
    pub(super) fn saves(&self, module: &str) -> bool {
        self.saved.iter().any(|name| is_saved(module, name))
    }

    /// Whether a tensor is the output layer where it is the table of embeddings.
    pub(super) fn is_tied_output(&self, tensor: &str) -> bool {
        self.config.keep_tied && tensor == OUTPUT
    }

    /// The adapter of these layers and stacks of experts' matrices.
    pub(super) fn of_layers(
        &self,
        layers: Vec<String>,
        stacks: Vec<String>,
        saved: Vec<String>,
    ) -> LoraConfig {
        let of = |patterns: &[(String, Regex, f64)]| -> BTreeMap<String, f64> {
            let value = |layer: &String| {
                let like =
                    |(_, regex, _): &&(String, Regex, f64)| regex.is_match(layer).unwrap_or(false);
                patterns.iter().find(like).map(|(_, _, value)| (layer.clone(), *value))
            };
            layers.iter().chain(&stacks).filter_map(value).collect()
        };
        LoraConfig {
            ranks: of(&self.ranks).into_iter().map(|(k, v)| (k, v as usize)).collect(),
            alphas: of(&self.alphas),
            // Without a layer, a pattern that means none.
            targets: if layers.is_empty() { vec![String::new()] } else { layers },
            parameters: stacks,
            saved,
            ..self.config.clone()
        }
    }
}

fn check_supported(json: &Map<String, Value>) -> Result<(), String> {
    let kind = json.get("peft_type").and_then(Value::as_str).unwrap_or("none");
    if kind != "LORA" {
        return Err(format!("peft_type {kind} is not supported; the adapters read here are LORA"));
    }
    for (key, value) in json {
        let neutral = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        let known = KNOWN.contains(&key.as_str()) || IRRELEVANT.contains(&key.as_str());
        if !neutral && !known {
            return Err(format!("{key} is not supported (found {value})"));
        }
    }
    if json.get("use_qalora").and_then(Value::as_bool).unwrap_or(false) {
        return Err("use_qalora is not supported".into());
    }
    if let Some(init) = json.get("init_lora_weights").and_then(Value::as_str)
        && CHANGE_BASE.iter().any(|kind| init.starts_with(kind))
    {
        return Err(format!(
            "init_lora_weights {init} changes the weights of the base model, which is not supported; save the adapter in \
             PEFT with path_initial_model_for_weight_conversion"
        ));
    }
    Ok(())
}

/// Whether a name of `modules_to_save` means a module or one around it, as PEFT compares them: by
/// the end of its name, whatever is before.
pub(super) fn is_saved(module: &str, name: &str) -> bool {
    let ends = module.match_indices('.').map(|(at, _)| at).chain([module.len()]);
    ends.map(|end| &module[..end]).any(|module| module.ends_with(name))
}

fn strings(key: &str, value: &Value) -> Result<Vec<String>, String> {
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) => list.clone(),
        other => vec![other.clone()],
    };
    let names: Option<Vec<String>> = list.iter().map(|v| v.as_str().map(str::to_owned)).collect();
    names.ok_or_else(|| format!("{key} is no list of names"))
}

/// Numbers by the pattern of a layer's name, which PEFT compares from any dot to the end.
fn patterns(key: &str, value: &Value) -> Result<Vec<(String, Regex, f64)>, String> {
    let Value::Object(map) = value else { return Ok(Vec::new()) };
    map.iter()
        .map(|(pattern, value)| {
            let value = value.as_f64().filter(|v| *v > 0.0);
            let value = value.ok_or_else(|| format!("{key}: {pattern} has no positive number"))?;
            Ok((pattern.clone(), regex(key, &format!(r"^(?:.*\.)?(?:{pattern})$"))?, value))
        })
        .collect()
}

/// The tokens of `trainable_token_indices`, and the table that it names.
fn tokens(value: &Value) -> Result<Option<Tokens>, String> {
    let key = "trainable_token_indices";
    let (table, list) = match value {
        Value::Null => return Ok(None),
        Value::Object(map) if map.is_empty() => return Ok(None),
        Value::Object(map) => {
            let mut entries = map.iter();
            match (entries.next(), entries.next()) {
                (Some((name, list)), None) if !is_at_end(name, "lm_head") => {
                    (Some(name.clone()), list)
                }
                _ => {
                    return Err(format!(
                        "{key} of another layer than the table of embeddings is not supported"
                    ));
                }
            }
        }
        list => (None, list),
    };
    Ok(Some((table, ids(key, list)?)))
}

fn ids(key: &str, value: &Value) -> Result<Vec<u32>, String> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let ids = value.as_array().map(|list| list.iter().map(|id| u32::try_from(id.as_u64()?).ok()));
    let ids: Option<Vec<u32>> = ids.and_then(Iterator::collect);
    ids.ok_or_else(|| format!("{key} is no list of ids"))
}

/// The number of the layer that a module belongs to, in a list of one of these names, or of any.
fn number(module: &str, lists: &[String]) -> Option<u64> {
    let parts: Vec<&str> = module.split('.').collect();
    // The last number counts, as the greedy expressions of PEFT have it.
    (1..parts.len().saturating_sub(1)).rev().find_map(|i| {
        let named = lists.is_empty() || lists.iter().any(|list| list == parts[i - 1]);
        parts[i].parse().ok().filter(|_| named && i >= 2)
    })
}
