use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use crate::document::{Document, Value};
use crate::{ConfigError, Problem, RecipeError, check, nearest, write};

/// Settings that can be read from a TOML file and written to one.
///
/// ```
/// use ff_settings::{ConfigError, Range, Settings, parse};
/// #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// struct Training { rate: f64 }
/// impl Settings for Training {
///     fn out_of_range(&self) -> Vec<ConfigError> {
///         Range::AtLeast(0.0).check("rate", self.rate).err().into_iter().collect()
///     }
/// }
/// let error = parse::<Training>("rate = -1", "a.toml", &[]).err().unwrap();
/// assert_eq!(error.to_string(), "a.toml:1:8: `rate`: must be at least 0, found -1");
/// ```
pub trait Settings: Serialize + DeserializeOwned + JsonSchema {
    /// The first line of a written file, without the comment sign.
    const TITLE: &str = "Settings";

    /// Names of keys in other programs, each with the dotted key here.
    const SYNONYMS: &[(&str, &str)] = &[];

    /// Defaults that follow from what a file states, as keys and TOML values; they hold where it
    /// states nothing itself.
    fn beneath(file: &toml::Value) -> Vec<(&'static str, &'static str)> {
        let _ = file;
        Vec::new()
    }

    /// The first value outside its range of each table, with keys from the root.
    fn out_of_range(&self) -> Vec<ConfigError>;
}

/// Reads settings from TOML, with the overrides of the command line (`key=value`) applied; `origin`
/// names the text in messages.
///
/// # Errors
/// All mistakes in the text and the overrides.
pub fn parse<S: Settings>(text: &str, origin: &str, sets: &[String]) -> Result<S, RecipeError> {
    let mut document = Document::parse(text, origin)?;
    sets.iter().try_for_each(|set| document.set(set))?;
    check::check(&mut document, &schema::<S>(), S::SYNONYMS)?;
    for (key, value) in S::beneath(&document.to_toml()) {
        if !document.find(key).1 {
            document.set(&format!("{key}={value}"))?;
        }
    }
    let settings = S::deserialize(document.to_toml()).map_err(|error| {
        let problem = Problem::new(error.to_string().trim().to_owned());
        RecipeError::new(problem.at(&document.source, None))
    })?;
    let errors = settings.out_of_range();
    RecipeError::check(errors.into_iter().map(|error| placed(&document, error)).collect())?;
    Ok(settings)
}

/// Settings as TOML with a comment on every key.
pub fn to_toml<S: Settings>(settings: &S) -> String {
    // Only numbers above 2⁶³ cannot be serialised, and no TOML file can contain them.
    let table = toml::Table::try_from(settings).unwrap_or_default();
    write::write(&table, &schema::<S>(), S::TITLE)
}

/// The JSON schema of settings, with descriptions in plain sentences.
pub fn schema<S: JsonSchema>() -> Json {
    let mut schema = schemars::schema_for!(S).to_value();
    plain_descriptions(&mut schema);
    schema
}

/// Strips Rust examples and line breaks from descriptions.
pub fn plain_descriptions(json: &mut Json) {
    match json {
        Json::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Json::String(text) if key == "description" => {
                        let words = text.split("\n\n```").next().unwrap_or_default();
                        *value = words.split('\n').collect::<Vec<_>>().join(" ").trim().into();
                    }
                    other => plain_descriptions(other),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(plain_descriptions),
        _ => {}
    }
}

/// Reads a recipe file.
///
/// # Errors
/// If the file cannot be read; the message suggests a file with a similar name.
pub fn read_text(path: &Path) -> Result<String, RecipeError> {
    std::fs::read_to_string(path).map_err(|error| {
        let problem = Problem::new(format!("cannot read the recipe `{}`: {error}", path.display()));
        RecipeError::new(match near_file(path) {
            Some(near) if error.kind() == ErrorKind::NotFound => {
                problem.help(format!("did you mean `{}`?", near.display()))
            }
            _ => problem,
        })
    })
}

/// Resolves a relative path against `folder` if it exists there and not in the current folder.
pub fn find_beside(path: &mut PathBuf, folder: &Path) {
    if path.is_relative() && path.as_os_str() != "-" && !path.exists() {
        let beside = folder.join(&path);
        if beside.exists() {
            *path = beside;
        }
    }
}

/// Checks the name of a folder.
///
/// # Errors
/// If the name is empty or a path.
pub fn check_folder_name(key: &str, name: &str) -> Result<(), ConfigError> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', '\0']) {
        let message = format!("\"{name}\" cannot name a folder: use letters, digits, - and _");
        return Err(ConfigError::new(key, message));
    }
    Ok(())
}

/// A value outside its range, at its position in the text.
fn placed(document: &Document, error: ConfigError) -> Problem {
    let key = error.key.clone();
    let problem = Problem::from(error);
    match document.find(&key) {
        (Some(node), true) => problem.at(&node.position.source, Some(node.position.span.clone())),
        (Some(node), false) if !matches!(node.value, Value::Table(_)) => {
            problem.at(&node.position.source, Some(node.position.span.clone()))
        }
        _ => {
            let (table, name) = key.rsplit_once('.').unwrap_or(("", &key));
            let place = if table.is_empty() { String::new() } else { format!(" in [{table}]") };
            problem
                .at(&document.source, None)
                .help(format!("`{name}` is missing{place}: add it there, or pass --set {key}=…"))
        }
    }
}

/// The recipe with the most similar name in the same folder.
fn near_file(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let names: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    nearest(path.file_name()?.to_str()?, &names).map(|name| path.with_file_name(name))
}
