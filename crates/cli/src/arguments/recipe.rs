//! The options of `feedforward recipe`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::{Changes, Threads};

#[derive(Debug, Subcommand)]
pub(crate) enum RecipeCommand {
    /// Write an editable recipe for a table
    New(RecipeNew),
    /// Check recipes and show each mistake with its line
    Validate(RecipeValidate),
    /// Print the JSON schema of recipes, for editors
    Schema,
    /// Print a recipe with all its defaults
    Show(RecipeShow),
}

#[derive(Debug, Args)]
pub(crate) struct RecipeNew {
    /// The table
    #[arg(value_name = "DATA", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// The output file; standard output by default
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeValidate {
    /// The recipes
    #[arg(value_name = "RECIPE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) recipes: Vec<PathBuf>,
    /// Set a key of the recipe, as in `train --set`
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeShow {
    /// A recipe, a run or a table
    #[arg(value_name = "RECIPE|RUN|DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
