//! The files of sentence-transformers beside a model: pooling, normalisation, length.

use super::pooling::Pooling;
use super::task_file::TaskFile;
use crate::error::{Error, Result};
use crate::files::read_text;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What the files of sentence-transformers say; nothing where there are none.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Modules {
    /// The folder of the model itself.
    pub(crate) folder: PathBuf,
    pub(crate) pooling: Option<Pooling>,
    pub(crate) normalize: Option<bool>,
    /// The most tokens of a text.
    pub(crate) max_tokens: Option<usize>,
    /// Whether texts are made lower case before anything else.
    pub(super) lower_case: bool,
    /// The text before every text.
    pub(super) prompt: Option<String>,
    /// Whether the model is a table of vectors.
    pub(super) is_static: bool,
}

impl Modules {
    /// Reads `modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json` and
    /// `config_sentence_transformers.json` where they are there.
    ///
    /// # Errors
    /// A file is malformed, or names a module or a pooling that is not supported.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let path = root.join("modules.json");
        let mut modules = Self { folder: root.to_owned(), ..Self::default() };
        if !path.exists() {
            if let Some(task) = TaskFile::read(root)? {
                (modules.max_tokens, modules.pooling) = (Some(task.max_tokens), task.pooling);
                (modules.prompt, modules.lower_case) = (task.prompt, task.lower_case);
            }
            return Ok(modules);
        }
        let json: Value = serde_json::from_str(&read_text(&path)?)
            .map_err(|e| Error::run(&path, format!("is not valid JSON: {e}")))?;
        modules.normalize = Some(false);
        for module in json.as_array().into_iter().flatten() {
            let name = module["type"].as_str().unwrap_or_default();
            let folder = module["path"].as_str().unwrap_or_default();
            if !is_inside(folder) {
                return Err(Error::run(&path, format!("names `{folder}`, outside of its folder")));
            }
            let folder = root.join(folder);
            match name.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {
                    modules.length(&folder)?;
                    modules.folder = folder;
                }
                "StaticEmbedding" => {
                    (modules.folder, modules.is_static) = (folder, true);
                }
                "Pooling" => modules.pooling = Some(pooling(&folder.join("config.json"))?),
                "Normalize" => modules.normalize = Some(true),
                other => {
                    let message = format!(
                        "has a module `{other}`, which is not supported; supported are Transformer, \
                         StaticEmbedding, Pooling and Normalize"
                    );
                    return Err(Error::run(&path, message));
                }
            }
        }
        let path = root.join("config_sentence_transformers.json");
        let settings = object(&path)?;
        let name = settings.get("default_prompt_name").and_then(Value::as_str);
        let prompts = settings.get("prompts").and_then(Value::as_object);
        let prompt = name.and_then(|name| prompts?.get(name)?.as_str());
        modules.prompt = prompt.map(str::to_owned);
        Ok(modules)
    }

    /// `sentence_bert_config.json`.
    fn length(&mut self, folder: &Path) -> Result<()> {
        let settings = object(&folder.join("sentence_bert_config.json"))?;
        let length = settings.get("max_seq_length").and_then(Value::as_u64);
        self.max_tokens = length.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        self.lower_case = settings.get("do_lower_case") == Some(&Value::Bool(true));
        Ok(())
    }
}

/// Whether a path stays inside of its folder.
fn is_inside(path: &str) -> bool {
    use std::path::Component;
    Path::new(path).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
}

/// A JSON object; empty where there is no file.
pub(super) fn object(path: &Path) -> Result<Map<String, Value>> {
    if !path.exists() {
        return Ok(Map::new());
    }
    serde_json::from_str(&read_text(path)?)
        .map_err(|e| Error::run(path, format!("is not valid JSON: {e}")))
}

/// `1_Pooling/config.json`: a flag for each kind, or `pooling_mode`.
fn pooling(path: &Path) -> Result<Pooling> {
    let settings = object(path)?;
    let flags = settings.iter().filter(|(_, flag)| **flag == Value::Bool(true));
    let mut named: Vec<&str> =
        flags.filter_map(|(key, _)| key.strip_prefix("pooling_mode_")).collect();
    named.extend(settings.get("pooling_mode").and_then(Value::as_str));
    match named.as_slice() {
        [] | ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
        ["cls_token" | "cls"] => Ok(Pooling::Cls),
        ["lasttoken"] => Ok(Pooling::Last),
        other => {
            let message = format!(
                "asks for the pooling {}, which is not supported; choose --pooling mean, cls or last",
                other.join(" with ")
            );
            Err(Error::run(path, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_beside_a_model_decide_pooling_length_and_prompt() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let none = Modules::read(folder.path()).unwrap();
        assert_eq!((none.pooling, none.normalize, none.max_tokens), (None, None, None));
        let module = |kind: &str, path: &str| {
            format!(r#"{{"type": "sentence_transformers.models.{kind}", "path": "{path}"}}"#)
        };
        let all = |extra: &str| {
            format!("[{}, {}{extra}]", module("Transformer", ""), module("Pooling", "1_Pooling"))
        };
        write("modules.json", &all(&format!(", {}", module("Normalize", "2_Normalize"))));
        write(
            "1_Pooling/config.json",
            r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#,
        );
        write("sentence_bert_config.json", r#"{"max_seq_length": 256, "do_lower_case": true}"#);
        write(
            "config_sentence_transformers.json",
            r#"{"prompts": {"query": "query: "}, "default_prompt_name": "query"}"#,
        );
        let found = Modules::read(folder.path()).unwrap();
        assert_eq!((found.pooling, found.normalize), (Some(Pooling::Cls), Some(true)));
        assert_eq!((found.max_tokens, found.lower_case), (Some(256), true));
        assert_eq!(found.prompt.as_deref(), Some("query: "));
        write("modules.json", &all(""));
        assert_eq!(Modules::read(folder.path()).unwrap().normalize, Some(false));
        let error = |modules: &str| {
            write("modules.json", modules);
            Modules::read(folder.path()).unwrap_err().to_string()
        };
        let dense = error(&all(&format!(", {}", module("Dense", "2_Dense"))));
        assert!(dense.contains("module `Dense`, which is not supported"), "{dense}");
        let outside = error(&format!("[{}]", module("Transformer", "../other")));
        assert!(outside.contains("outside of its folder"), "{outside}");
        write("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#);
        let max = error(&all(""));
        assert!(max.contains("the pooling max_tokens, which is not supported"), "{max}");
    }
}
