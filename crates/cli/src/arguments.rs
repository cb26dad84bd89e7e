//! The command line: each command's options and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use feedforward::table::{Format, Quality, Task};
use feedforward::tensor::{Device, DeviceOptions, Isa};

#[cfg(any(feature = "language", feature = "onnx"))]
pub(crate) mod export;
#[cfg(feature = "onnx")]
mod import;
#[cfg(feature = "language")]
pub(crate) mod language;
mod recipe;

#[cfg(any(feature = "language", feature = "onnx"))]
pub(crate) use export::{Export, To};
#[cfg(feature = "onnx")]
pub(crate) use import::Import;
pub(crate) use recipe::{RecipeCommand, RecipeNew, RecipeShow, RecipeValidate};

const EXAMPLES: &str = "\
Examples:
  feedforward train titanic.csv --target survived
  feedforward train recipes/digits.toml --set model.hidden=[128,64]
  feedforward predict runs/titanic-1 --data new.csv --proba --out predicted.csv

Exit codes: 0 done, 1 failed, 2 wrong usage, recipe or name, 130 stopped with Ctrl-C.";

/// Build, train and fine-tune neural networks, from one feedforward layer up.
#[derive(Debug, Parser)]
#[command(name = "feedforward", version, about, after_help = EXAMPLES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Colours and progress bars; `NO_COLOR` is honoured
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Print results only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print more: every column, every epoch, every tensor
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    Auto,
    /// Even in a pipe
    Always,
    /// Not even on a terminal
    Never,
}

impl Color {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model from a table or a recipe of any task
    Train(Train),
    /// Search settings of a table's network: many short trials, the best ones trained on
    Tune(Tune),
    /// Evaluate a run's model on held-out or new rows, a language model on text or questions
    Evaluate(Evaluate),
    /// Predict new rows with a run's model, or with a model of ONNX or Keras
    Predict(Predict),
    #[cfg(feature = "language")]
    #[command(flatten)]
    Language(language::LanguageCommand),
    /// Write a model in a format that others read
    #[cfg(any(feature = "language", feature = "onnx"))]
    Export(Export),
    /// Take over another program's model: to predict with, to train on
    #[cfg(feature = "onnx")]
    Import(Import),
    /// Show the cost of a training run: parameters, memory, time
    Plan(Plan),
    /// Show the layers and tensors of a run, a model or a file
    Inspect(Inspect),
    /// Compare runs of any task: different settings, scores side by side
    Compare(Compare),
    /// Check every operation's gradient on this machine
    Check(Check),
    /// Write, check and show recipes
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Show version, CPU and memory for a bug report
    Env(Env),
    /// Print a shell completion script
    Completions(Completions),
    /// Print the manual page
    Man(Man),
}

impl Command {
    /// Whether standard output is one JSON object.
    pub(crate) fn json(&self) -> bool {
        match self {
            Command::Train(a) => a.json,
            Command::Tune(a) => a.json,
            Command::Evaluate(a) => a.json,
            Command::Predict(a) => a.json,
            #[cfg(any(feature = "language", feature = "onnx"))]
            Command::Export(a) => a.json,
            #[cfg(feature = "onnx")]
            Command::Import(a) => a.json,
            Command::Plan(a) => a.json,
            Command::Inspect(a) => a.json,
            Command::Compare(a) => a.json,
            Command::Check(a) => a.json,
            #[cfg(feature = "language")]
            Command::Language(command) => command.json(),
            Command::Recipe(RecipeCommand::Validate(a)) => a.json,
            Command::Recipe(RecipeCommand::Show(a)) => a.json,
            Command::Env(a) => a.json,
            Command::Recipe(_) | Command::Completions(_) | Command::Man(_) => false,
        }
    }

    /// Whether standard output is data, so that messages go to standard error.
    pub(crate) fn stdout_is_data(&self) -> bool {
        match self {
            Command::Predict(a) => a.out.is_none(),
            Command::Recipe(RecipeCommand::New(a)) => a.out.is_none(),
            #[cfg(feature = "language")]
            Command::Language(command) => command.stdout_is_data(),
            Command::Completions(_) | Command::Man(_) => true,
            _ => false,
        }
    }
}

/// What to train: a recipe, or a table and its target.
#[derive(Debug, Clone, Args)]
pub(crate) struct Source {
    #[arg(help = format!("A table ({}) or a recipe (.toml)", Format::listed("or")), value_name = "DATA|RECIPE", value_hint = ValueHint::FilePath, required_unless_present = "resume")]
    pub(crate) input: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) changes: Changes,
}

/// Changes to a recipe.
#[derive(Debug, Clone, Args)]
pub(crate) struct Changes {
    /// The column to predict
    #[arg(long, short, value_name = "COLUMN")]
    pub(crate) target: Option<String>,
    /// The kind of target; inferred by default
    #[arg(long, value_name = "TASK", value_parser = task)]
    pub(crate) task: Option<Task>,
    /// Set a key of the recipe (repeatable); `KEY=` resets it to its default
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// How much time the network of a table may take: fast is a small ensemble in a thousand steps,
    /// good one that is trained until it gets no better, best a larger one; good by default
    #[arg(long, value_name = "QUALITY", value_enum)]
    pub(crate) quality: Option<QualityName>,
    /// The name of the run
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The seed of all random numbers
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

/// The names of [`Quality`].
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum QualityName {
    Fast,
    Good,
    Best,
}

impl From<QualityName> for Quality {
    fn from(name: QualityName) -> Self {
        match name {
            QualityName::Fast => Self::Fast,
            QualityName::Good => Self::Good,
            QualityName::Best => Self::Best,
        }
    }
}

/// The number of threads.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Threads {
    /// The number of threads, all cores by default; results do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Threads {
    /// The CPU with this number of threads.
    pub(crate) fn device(self) -> Result<Device, feedforward::Error> {
        Ok(Device::open(self.options(None))?)
    }

    fn options(self, isa: Option<Isa>) -> DeviceOptions {
        DeviceOptions { threads: self.threads.map_or(0, usize::from), isa }
    }
}

/// The device of the computation.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Machine {
    #[command(flatten)]
    threads: Threads,
    /// The instruction set of the kernels: plain, avx2, avx512 or amx; the
    /// best one by default
    #[arg(long, value_name = "ISA", value_parser = isa)]
    isa: Option<Isa>,
    /// The device; this version computes on the CPU only
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device)]
    device: DeviceName,
}

/// A supported device.
#[derive(Debug, Clone, Copy)]
enum DeviceName {
    Cpu,
}

impl Machine {
    pub(crate) fn options(self) -> DeviceOptions {
        let DeviceName::Cpu = self.device;
        self.threads.options(self.isa)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Train {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The run's folder, new or empty; runs/NAME-N by default
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// Resume a stopped or killed run
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath,
          conflicts_with_all = ["input", "target", "task", "set", "name", "seed", "out", "dry_run", "folds"])]
    pub(crate) resume: Option<PathBuf>,
    /// Write report.html every few seconds while training; a browser reloads it
    #[arg(long, conflicts_with = "folds")]
    pub(crate) watch: bool,
    /// Show the data, the model and the plan, then stop
    #[arg(long, conflicts_with = "folds")]
    pub(crate) dry_run: bool,
    /// Choose the quality and the steps of a table's network for this time, such as 60s, 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with_all = ["quality", "folds", "resume"])]
    pub(crate) time_budget: Option<f64>,
    /// Cross-validate with K folds instead of training one model
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(2..), conflicts_with = "out")]
    pub(crate) folds: Option<u16>,
    /// Seeds of the cross-validation: 0,1,2
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        requires = "folds",
        conflicts_with = "seed"
    )]
    pub(crate) seeds: Vec<u64>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object at the end; progress goes to standard error
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tune {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The number of trials; the recipe's own, or 27, by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) trials: Option<u32>,
    /// Vary a setting (repeatable): KEY=LOW..HIGH, KEY=LOW..HIGH log, KEY=[A, B]; the recipe's own
    /// ranges, or rate, dropout, widths, activation, decay and bins, by default
    #[arg(long, value_name = "KEY=VALUES")]
    pub(crate) vary: Vec<String>,
    /// The folder of the search, new or empty; runs/NAME-tune-N by default
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// Resume a stopped or killed search
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath,
          conflicts_with_all = ["input", "target", "task", "set", "name", "seed", "out", "trials", "vary"])]
    pub(crate) resume: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object at the end; progress goes to standard error
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Evaluate {
    /// The run, or a language model's folder or GGUF file
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) run: PathBuf,
    /// Rows with their target, the run's test part by default; for a language model text, or JSONL
    /// with `prompt` and `answer` (exact match) or `prompt`, `choices` and `answer` (the likeliest
    /// choice), its validation part by default
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) data: Option<PathBuf>,
    /// Override a setting of reading (repeatable), such as data.header=false; the run's own
    /// settings by default
    #[arg(long, short, value_name = "KEY=VALUE", requires = "data")]
    pub(crate) set: Vec<String>,
    /// For a language model, the column or key that holds the text; the run's own by default
    #[arg(long, value_name = "NAME", requires = "data")]
    pub(crate) text_column: Option<String>,
    /// For a language model, what stands between documents in plain text (\n and \t are
    /// understood); the run's own by default
    #[arg(long, value_name = "TEXT", requires = "data")]
    pub(crate) separator: Option<String>,
    /// For a language model, an adapter (PEFT's folder, a run that trained one, or a GGUF file)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) adapter: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object of metrics; with --verbose the whole report
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Predict {
    /// The run, a model's folder, an .onnx, .tflite, .keras or .h5 file, an encoder with a
    /// classifier of texts, or an encoder with a decoder, which writes a text for each (Marian, T5)
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) run: PathBuf,
    /// The rows; `-` is standard input
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) data: PathBuf,
    /// The output file (.csv, .parquet or .jsonl); standard output by default
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath, required_if_eq("json", "true"))]
    pub(crate) out: Option<PathBuf>,
    /// Overwrite an existing output file
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
    /// Override a setting of reading (repeatable), such as data.header=false; the model's own
    /// settings by default
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// For an encoder (with or without a decoder), the column that holds the texts; by default the
    /// one it was trained on, or the only one
    #[cfg(feature = "language")]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) text: Option<String>,
    /// Add the probability of each class
    #[arg(long)]
    pub(crate) proba: bool,
    /// Add the disagreement of an ensemble's members (model.members): the standard deviation of the
    /// predicted class's probability, or of the number
    #[arg(long)]
    pub(crate) spread: bool,
    /// Add intervals of numbers (lower, upper) or sets of classes (set) that hold the truth of such
    /// a share of rows, as 0.9
    #[arg(long, value_name = "LEVEL")]
    pub(crate) interval: Option<f64>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object at the end; needs --out
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// A recipe (.toml) or a table
    #[arg(value_name = "RECIPE|DATA", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// Find a learning rate instead: one step at each of many rates, on a temporary network
    #[arg(long)]
    pub(crate) find_lr: bool,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A run, a model's folder, a .safetensors, .pt, .gguf, .onnx, .tflite, .keras or .h5
    /// file
    #[arg(value_name = "RUN|MODEL|FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Two or more runs
    #[arg(value_name = "RUN", num_args = 2.., required = true, value_hint = ValueHint::DirPath)]
    pub(crate) runs: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Only operations with this text in their name
    pub(crate) filter: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Env {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write a page per command into this folder instead
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
}

fn device(name: &str) -> Result<DeviceName, String> {
    match name {
        "cpu" => Ok(DeviceName::Cpu),
        _ => Err("this version of feedforward computes on the CPU only; use --device cpu".into()),
    }
}

/// A time in seconds: `90`, `90s`, `5m`, `1h`.
fn seconds(text: &str) -> Result<f64, String> {
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0)];
    let unit = units.into_iter().find(|(unit, _)| text.ends_with(*unit));
    let number = unit.map_or(text, |(unit, _)| text.trim_end_matches(unit));
    match number.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => {
            Ok(number * unit.map_or(1.0, |(_, seconds)| seconds))
        }
        _ => Err("write a time such as 60s, 5m or 1h".into()),
    }
}

fn isa(name: &str) -> Result<Isa, String> {
    name.parse().map_err(|e: feedforward::tensor::Error| e.to_string())
}

fn task(name: &str) -> Result<Task, String> {
    match name {
        "binary" => Ok(Task::Binary),
        "multiclass" => Ok(Task::Multiclass),
        "regression" => Ok(Task::Regression),
        _ => Err("the tasks are binary, multiclass and regression".into()),
    }
}
