//! From the command line to a recipe.

use std::fmt::Write;
use std::path::Path;

use feedforward::table::{BlockReader, Quality, SourceOptions};
use feedforward::tensor::DeviceOptions;
use feedforward::{Recipe, RunFolder, TrainRecipe, Watcher};

use crate::arguments::Changes;
use crate::failure::Failure;

/// The command of tables.
const TABLES: &str = "train";

/// The recipe in a file, of any task, or a recipe for a table.
pub(crate) fn recipe(input: &Path, changes: &Changes) -> Result<Box<dyn TrainRecipe>, Failure> {
    if !is_recipe(input) {
        return match encoder(input, changes)? {
            Some(recipe) => Ok(recipe),
            None => Ok(made_for(input, changes)?.into()),
        };
    }
    refuse_quality(input, changes)?;
    let sets = sets(changes);
    if stated(input) != TABLES && (changes.target.is_some() || changes.task.is_some()) {
        let message = format!("{} trains no table, so it has no target column", input.display());
        return Err(Failure::usage(message).help("leave --target and --task out"));
    }
    Ok(feedforward::open_recipe(input, &sets)?)
}

/// The recipe of a table, for an option of tables.
pub(crate) fn table_recipe(
    input: &Path,
    changes: &Changes,
    option: &str,
) -> Result<Recipe, Failure> {
    let text = std::fs::read_to_string(input).unwrap_or_default();
    if feedforward::names_encoder(if is_recipe(input) { &text } else { "" }, &sets(changes)) {
        let message = format!("{option} is for the networks of tables, not for model.encoder");
        return Err(Failure::usage(message));
    }
    if !is_recipe(input) {
        return made_for(input, changes);
    }
    refuse_quality(input, changes)?;
    if stated(input) != TABLES {
        let message = format!("{option} is for tables, and {} trains none", input.display());
        return Err(Failure::usage(message));
    }
    Ok(Recipe::load(input, &sets(changes))?)
}

/// The recipe of a table whose settings name a published encoder, if they do.
pub(crate) fn encoder(
    input: &Path,
    changes: &Changes,
) -> Result<Option<Box<dyn TrainRecipe>>, Failure> {
    let path = table_path(input)?;
    let Some(recipe) = feedforward::encoder_recipe(path, &sets(changes))? else { return Ok(None) };
    if changes.quality.is_some() {
        let message =
            "--quality is for the networks of tables, and model.encoder names another one";
        return Err(Failure::usage(message).help("leave one of them out"));
    }
    let json = recipe.to_json();
    if json["objective"].is_null() && json["data"]["target"].is_null() {
        return Err(no_target(input, &Recipe::for_table(path, Quality::default(), &[])?));
    }
    Ok(Some(recipe))
}

/// A quality chooses settings, which a recipe states.
fn refuse_quality(recipe: &Path, changes: &Changes) -> Result<(), Failure> {
    if changes.quality.is_none() {
        return Ok(());
    }
    let message =
        format!("--quality is for a table without a recipe, and {} is one", recipe.display());
    Err(Failure::usage(message).help("leave it out, or name the table and its --target"))
}

/// The command of the task that a recipe file states.
fn stated(input: &Path) -> &'static str {
    // Reading the recipe itself reports an unreadable file.
    feedforward::stated_command(&std::fs::read_to_string(input).unwrap_or_default())
}

/// The options of the command line as overrides of a recipe.
fn sets(changes: &Changes) -> Vec<String> {
    let mut sets = Vec::new();
    let mut text = |key: &str, value: &str| sets.push(format!("{key}={}", quoted(value)));
    if let Some(target) = &changes.target {
        text("data.target", target);
    }
    if let Some(name) = &changes.name {
        text("name", name);
    }
    if let Some(task) = changes.task {
        text("data.task", &task.to_string());
    }
    if let Some(seed) = changes.seed {
        sets.push(format!("train.seed={seed}"));
    }
    sets.extend(changes.set.iter().cloned());
    sets
}

/// A recipe for a table.
pub(crate) fn made_for(input: &Path, changes: &Changes) -> Result<Recipe, Failure> {
    let path = table_path(input)?;
    let quality = changes.quality.map(Into::into).unwrap_or_default();
    let recipe = Recipe::for_table(path, quality, &sets(changes))?;
    if recipe.data.target.is_none() {
        return Err(no_target(input, &recipe));
    }
    Ok(recipe)
}

/// A recipe for a table that trains in so many seconds.
pub(crate) fn within_seconds(
    input: &Path,
    changes: &Changes,
    seconds: f64,
    device: DeviceOptions,
    watcher: &mut dyn Watcher,
) -> Result<Recipe, Failure> {
    if is_recipe(input) {
        let message = format!(
            "--time-budget is for a table without a recipe, and {} is one, which states its length",
            input.display()
        );
        return Err(
            Failure::usage(message).help("leave it out, or name the table and its --target")
        );
    }
    if feedforward::names_encoder("", &sets(changes)) {
        let message = "--time-budget is for the networks of tables, not for model.encoder";
        return Err(Failure::usage(message).help("train.steps limits the length"));
    }
    made_for(input, changes)?;
    let path = table_path(input)?;
    Ok(Recipe::within_seconds(path, seconds, &sets(changes), device, watcher)?)
}

/// The path of a table as a recipe states it.
fn table_path(input: &Path) -> Result<&str, Failure> {
    if input.is_dir() {
        return Err(a_folder(input));
    }
    let not_utf8 = || Failure::usage(format!("{} is not UTF-8: rename the file", input.display()));
    input.to_str().ok_or_else(not_utf8)
}

pub(crate) fn is_recipe(input: &Path) -> bool {
    input.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

/// Whether a path names a graph of ONNX or of TensorFlow Lite.
#[cfg(feature = "onnx")]
pub(crate) fn is_graph(path: &Path) -> bool {
    is_file_of(path, &["onnx", "tflite"])
}

/// Whether a path names a model of Keras.
#[cfg(feature = "keras")]
pub(crate) fn is_keras(path: &Path) -> bool {
    is_file_of(path, &["keras", "h5", "hdf5"])
}

#[cfg(feature = "onnx")]
fn is_file_of(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|e| found.eq_ignore_ascii_case(e)))
        && !path.is_dir()
}

fn a_folder(input: &Path) -> Failure {
    let shown = input.display();
    let failure = Failure::usage(format!("{shown} is a folder, neither a table nor a recipe"));
    match RunFolder::open(input) {
        Ok(folder) => failure.help(format!(
            "resume the run: feedforward train --resume {shown}; or train its recipe anew: feedforward train {}",
            folder.recipe().display()
        )),
        Err(_) => failure.help("name a file in it"),
    }
}

/// The error for a table without a target, with its columns.
fn no_target(input: &Path, recipe: &Recipe) -> Failure {
    let failure = Failure::usage("which column should be predicted?");
    if input.as_os_str() == "-" {
        return failure.help("name it with --target");
    }
    let options = SourceOptions::from(&recipe.data);
    match BlockReader::open(input, &options, 16).and_then(|mut reader| reader.next_block()) {
        Ok(Some(block)) => {
            let names = block.names();
            let shown: Vec<&str> = names.iter().take(30).map(String::as_str).collect();
            let more = names.len() - shown.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            failure
                .help(format!("name it with --target; the columns are {}{more}", shown.join(", ")))
        }
        Ok(None) => failure.help("name it with --target; the file is empty"),
        // A damaged file matters more than the missing option.
        Err(error) => error.into(),
    }
}

/// A text as TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => drop(write!(quoted, "\\u{:04X}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
