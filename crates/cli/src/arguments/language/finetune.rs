//! The options of `feedforward finetune` and `feedforward merge`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::arguments::Machine;
use crate::inputs::quoted;

#[derive(Debug, Args)]
pub(crate) struct Finetune {
    /// The base model (a Hugging Face folder, a GGUF file, or a run), or a recipe (.toml)
    #[arg(value_name = "MODEL|RECIPE", value_hint = ValueHint::AnyPath, required_unless_present = "resume")]
    pub(crate) model: Option<PathBuf>,
    /// Conversations: JSON or JSON lines with messages, conversations (ShareGPT), instruction and
    /// output (Alpaca), prompt and completion, or pairs of chosen and rejected answers; for an
    /// encoder with a decoder (Marian, T5) a table with a column of sources and one of targets
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    data: Option<PathBuf>,
    /// Marian, T5: the column of the texts to read; found by default
    #[arg(long, value_name = "COLUMN", requires = "target")]
    source: Option<String>,
    /// Marian, T5: the column of the texts to write
    #[arg(long, value_name = "COLUMN", requires = "source")]
    target: Option<String>,
    /// T5: what stands before every source, such as 'translate English to German: '
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// The rank of the adapter (LoRA); 8 by default
    #[arg(long, value_name = "N", conflicts_with_all = ["full", "train"])]
    lora_rank: Option<usize>,
    /// Train all weights of the model instead of an adapter
    #[arg(long, conflicts_with = "train")]
    full: bool,
    /// Train the weights that a name or pattern means instead of an adapter (repeatable), such as
    /// 'layers.*.mlp.*'
    #[arg(long, value_name = "PATTERN")]
    train: Vec<String>,
    /// The loss of pairs of answers: dpo, ipo, orpo or simpo
    #[arg(long, value_name = "LOSS", value_parser = ["dpo", "ipo", "orpo", "simpo"])]
    preference: Option<String>,
    /// Set a key of the recipe (repeatable); `KEY=` resets it to its default
    #[arg(long, short, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Choose micro-batches, and blocks to recompute, for this much memory of the process, such as
    /// 4GiB or 800MB
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) memory: Option<usize>,
    /// The name of the run
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The seed of all random numbers
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The run's folder, new or empty; runs/NAME-N by default
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// Resume a stopped or killed run
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath,
          conflicts_with_all = ["model", "data", "source", "target", "prefix", "lora_rank", "full", "train", "preference", "set", "memory", "name", "seed", "out", "dry_run"])]
    pub(crate) resume: Option<PathBuf>,
    /// Write report.html every few seconds while training; a browser reloads it
    #[arg(long)]
    pub(crate) watch: bool,
    /// Show the conversations, the model and the plan, then stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object at the end; progress goes to standard error
    #[arg(long)]
    pub(crate) json: bool,
}

impl Finetune {
    /// The options that only encoders with decoders have, by name.
    pub(crate) fn pair_option(&self) -> Option<&'static str> {
        let source = self.source.as_ref().map(|_| "--source and --target");
        source.or(self.prefix.as_ref().map(|_| "--prefix"))
    }

    /// The options that only language models of one stack have, by name.
    pub(crate) fn conversation_option(&self) -> Option<&'static str> {
        let preference = self.preference.as_ref().map(|_| "--preference");
        preference.or(self.memory.map(|_| "--memory"))
    }

    /// The options as overrides of a recipe, those of `--set` last.
    pub(crate) fn sets(&self) -> Vec<String> {
        let text = |key: &str, value: String| format!("{key}={}", quoted(&value));
        let path = |path: &PathBuf| path.display().to_string();
        let weights: Vec<String> = if self.full {
            vec![quoted("*")]
        } else {
            self.train.iter().map(|pattern| quoted(pattern)).collect()
        };
        let sets = [
            self.data.as_ref().map(|data| text("data.path", path(data))),
            self.source.as_ref().map(|name| text("data.source", name.clone())),
            self.target.as_ref().map(|name| text("data.target", name.clone())),
            self.prefix.as_ref().map(|prefix| text("data.prefix", prefix.clone())),
            self.lora_rank.map(|rank| format!("adapter.rank={rank}")),
            self.lora_rank.map(|rank| format!("adapter.alpha={}", 2 * rank)),
            (!weights.is_empty()).then(|| format!("train.weights=[{}]", weights.join(", "))),
            self.preference.as_ref().map(|loss| text("preference.loss", loss.clone())),
            self.name.as_ref().map(|name| text("name", name.clone())),
            self.seed.map(|seed| format!("train.seed={seed}")),
        ];
        sets.into_iter().flatten().chain(self.set.iter().cloned()).collect()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Merge {
    /// The base model (a Hugging Face folder, a GGUF file, or a run), or a run that trained an
    /// adapter
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,
    /// The adapter (PEFT's folder, a run that trained one, or a GGUF file)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) adapter: Option<PathBuf>,
    /// The folder to write, new or empty
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) machine: Machine,
}

/// Bytes with a unit, such as `4GiB`, `800MB` or `4G`.
fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("`{text}` is no size; write 4GiB or 800MB");
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1u64 << 40,
        "kb" | "k" => 1000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "tb" | "t" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    let bytes = number * factor as f64;
    if bytes >= 1.0 { Ok(bytes as usize) } else { Err(wrong()) }
}
