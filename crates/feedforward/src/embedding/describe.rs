//! What a folder of a published model holds, in a line.

use super::model::is_encoder;
use super::modules::Modules;
use super::static_table;
use super::task_file::TaskFile;
use crate::language::folder_config;
use crate::words::{count, plural};
use ff_nn::models::{EncoderConfig, EncoderHead, EncoderProblem};
use ff_table::Transforms;
use ff_text::Tokenizer;
use std::path::Path;

/// The family, the sizes, the vocabulary and the purpose of a model's folder; `None` if it is of no
/// family that is supported.
pub(crate) fn describe(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap_or_default();
    let mut parts = Vec::new();
    if is_encoder(folder) {
        let config = EncoderConfig::parse(&text).ok()?;
        let purpose = match config.head {
            EncoderHead::None => "vectors".to_owned(),
            EncoderHead::MaskedLm => "masked tokens".into(),
            EncoderHead::Sequence => match (config.problem, config.labels) {
                (EncoderProblem::Numbers, 1) => "a number for each text".into(),
                (EncoderProblem::Numbers, n) => format!("{n} numbers for each text"),
                (EncoderProblem::Labels, n) => format!("{n} labels of texts"),
                (EncoderProblem::Class, n) => format!("{n} classes of texts"),
            },
            EncoderHead::Tokens => format!("{} classes of tokens", config.labels),
        };
        parts.push(format!("{} encoder for {purpose}", config.family.name));
        let (layers, width, heads) = (config.layers, config.hidden_size, config.heads);
        parts.push(format!("{layers} layers of {width}, {heads} heads"));
        parts.push(format!("{} positions", count(config.longest() as u64)));
        parts.push(format!("{} tokens", count(config.vocab_size as u64)));
    } else if let Some((rows, width)) = static_table::sizes(folder) {
        parts.push(format!("static embeddings of {width}"));
        parts.push(format!("{} tokens", count(rows as u64)));
    } else {
        let config = folder_config(folder).ok()?;
        parts.push(format!("{} decoder", config.family.name));
        let (layers, width, heads) = (config.layers.len(), config.hidden_size, config.heads);
        parts.push(format!("{layers} layers of {width}, {heads} heads"));
        parts.push(format!("{} positions", count(config.max_positions as u64)));
        parts.push(format!("{} tokens", count(config.vocab_size as u64)));
    }
    match Tokenizer::load(folder) {
        Ok(tokenizer) => parts.push(format!("{} tokenizer", tokenizer.kind())),
        Err(_) => parts.push("no tokenizer".into()),
    }
    if let Ok(Some(task)) = TaskFile::read(folder)
        && let Some(head) = &task.head
    {
        let transforms = std::fs::read_to_string(folder.join("transforms.json"));
        let transforms = transforms.ok().and_then(|text| Transforms::from_json(&text).ok());
        let beside = transforms.map_or(0, |transforms| transforms.columns.len());
        let outputs = plural(head.outputs, "output");
        let columns = plural(beside, "other column");
        parts.push(format!("head over {} and {columns}, {outputs}", task.texts.join(", ")));
    }
    let modules = Modules::read(folder).unwrap_or_default();
    if let Some(pooling) = modules.pooling {
        let normalized = if modules.normalize == Some(true) { ", normalised" } else { "" };
        parts.push(format!("pooling {pooling}{normalized}"));
    }
    Some(parts.join(" · "))
}
