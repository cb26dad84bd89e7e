//! The files beside a model that was trained here.

use super::pooling::Pooling;
use super::reader::TextReader;
use super::task_file::TaskFile;
use crate::error::Result;
use crate::files::write_text;
use ff_table::TargetTransform;
use serde_json::{Value, json};
use std::path::Path;

/// `feedforward.json` of a model that reads these columns with this reader.
pub(crate) fn task_file(
    texts: Vec<String>,
    target: Option<TargetTransform>,
    reader: &TextReader,
) -> TaskFile {
    let mut file = TaskFile::new(texts, target, reader.max_tokens);
    (file.prompt, file.lower_case) = (reader.prompt.clone(), reader.lower_case);
    file
}

/// Writes the files of sentence-transformers beside a model.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write_modules(
    model: &Path,
    width: usize,
    reader: &TextReader,
    pooling: Pooling,
    normalize: bool,
) -> Result<()> {
    let module = |index: usize, path: &str, name: &str| {
        json!({
            "idx": index,
            "name": index.to_string(),
            "path": path,
            "type": format!("sentence_transformers.models.{name}"),
        })
    };
    let mut modules = vec![module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")];
    if normalize {
        modules.push(module(2, "2_Normalize", "Normalize"));
    }
    let pooling = json!({
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": pooling == Pooling::Cls,
        "pooling_mode_mean_tokens": pooling == Pooling::Mean,
        "pooling_mode_max_tokens": false,
        "pooling_mode_mean_sqrt_len_tokens": false,
    });
    let length = json!({
        "max_seq_length": reader.max_tokens,
        "do_lower_case": reader.lower_case,
    });
    let mut settings = json!({ "similarity_fn_name": "cosine" });
    if let Some(prompt) = &reader.prompt {
        settings["prompts"] = json!({ "default": prompt });
        settings["default_prompt_name"] = "default".into();
    }
    let folder = model.join("1_Pooling");
    std::fs::create_dir_all(&folder).map_err(ff_formats::Error::io(&folder, "making"))?;
    for (path, value) in [
        (model.join("modules.json"), Value::Array(modules)),
        (folder.join("config.json"), pooling),
        (model.join("sentence_bert_config.json"), length),
        (model.join("config_sentence_transformers.json"), settings),
    ] {
        write_text(&path, &format!("{value:#}\n"))?;
    }
    Ok(())
}
