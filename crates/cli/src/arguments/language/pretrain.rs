//! The options of `feedforward pretrain`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::arguments::Machine;

#[derive(Debug, Args)]
pub(crate) struct Pretrain {
    /// A recipe (.toml)
    #[arg(value_name = "RECIPE", value_hint = ValueHint::FilePath, required_unless_present = "resume")]
    pub(crate) recipe: Option<PathBuf>,
    /// Set a key of the recipe (repeatable); `KEY=` resets it to its default
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The name of the run
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The seed of all random numbers
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The run's folder, new or empty; runs/NAME-N by default
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// Resume a stopped or killed run
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath,
          conflicts_with_all = ["recipe", "set", "name", "seed", "out"])]
    pub(crate) resume: Option<PathBuf>,
    /// Write report.html every few seconds while training; a browser reloads it
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object at the end; progress goes to standard error
    #[arg(long)]
    pub(crate) json: bool,
}
