//! From what was typed to a recipe.

use std::fmt::Write;
use std::path::Path;

use feedforward::pretrain::PretrainRecipe;
use feedforward::table::{BlockReader, SourceOptions};
use feedforward::{Recipe, RunFolder};

use crate::arguments::Changes;
use crate::failure::Failure;

/// The recipe of a file, or one made for a table.
pub(crate) fn recipe(input: &Path, changes: &Changes) -> Result<Recipe, Failure> {
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
    if is_recipe(input) {
        sets.extend(changes.set.iter().cloned());
        if is_language_recipe(input) {
            let shown = input.display();
            return Err(Failure::usage(format!("{shown} is a recipe of a language model"))
                .help(format!("train it with feedforward pretrain {shown}")));
        }
        return Ok(Recipe::load(input, &sets)?);
    }
    if input.is_dir() {
        return Err(a_folder(input));
    }
    let path = input.to_str().ok_or_else(|| {
        Failure::usage(format!("{} is not UTF-8: rename the file", input.display()))
    })?;
    sets.insert(0, format!("data.path={}", quoted(path)));
    sets.extend(changes.set.iter().cloned());
    let recipe = Recipe::parse("", "the command line", &sets)?;
    if recipe.data.target.is_none() {
        return Err(no_target(input, &recipe));
    }
    Ok(recipe)
}

/// Whether a recipe is one of a language model.
pub(crate) fn is_language_recipe(input: &Path) -> bool {
    let text = if is_recipe(input) { std::fs::read_to_string(input) } else { return false };
    text.is_ok_and(|text| PretrainRecipe::is_one(&text))
}

/// The recipe of a language model.
pub(crate) fn language_recipe(input: &Path, changes: &Changes) -> Result<PretrainRecipe, Failure> {
    if changes.target.is_some() || changes.task.is_some() {
        return Err(Failure::usage(
            "a language model has no target column: leave --target and --task out",
        ));
    }
    let mut sets = Vec::new();
    if let Some(name) = &changes.name {
        sets.push(format!("name={}", quoted(name)));
    }
    if let Some(seed) = changes.seed {
        sets.push(format!("train.seed={seed}"));
    }
    sets.extend(changes.set.iter().cloned());
    Ok(PretrainRecipe::load(input, &sets)?)
}

pub(crate) fn is_recipe(input: &Path) -> bool {
    input.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

fn a_folder(input: &Path) -> Failure {
    let shown = input.display();
    let failure = Failure::usage(format!("{shown} is a folder, no table and no recipe"));
    match RunFolder::open(input) {
        Ok(folder) => failure.help(format!(
            "go on with the run: feedforward train --resume {shown}; or train its recipe anew: feedforward train {}",
            folder.recipe().display()
        )),
        Err(_) => failure.help("name a file in it"),
    }
}

/// A table without a target: its columns are what can be named.
fn no_target(input: &Path, recipe: &Recipe) -> Failure {
    let failure = Failure::usage("which column is to be predicted?");
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
        // What is wrong with the file matters more than the missing option.
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
