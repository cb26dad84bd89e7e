//! The options of `feedforward embed` and `feedforward search`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use feedforward::embedding::{EmbedOptions, Pooling};
use feedforward::nn::Precision;

use crate::arguments::Machine;

/// How texts become vectors.
#[derive(Debug, Args)]
pub(crate) struct Embedding {
    /// How the vectors of tokens become one: mean, cls or last; as the model's folder says by
    /// default, else mean (last for a decoder)
    #[arg(long, value_name = "POOLING")]
    pooling: Option<Pooling>,
    /// Give vectors the length 1 (or not, =false); as the model's folder says by default
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    normalize: Option<bool>,
    /// The most tokens of a text; as the model's folder says by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// The text put before every text; as the model's folder says by default
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
}

impl Embedding {
    pub(crate) fn options(&self) -> EmbedOptions {
        EmbedOptions {
            pooling: self.pooling,
            normalize: self.normalize,
            max_tokens: self.max_tokens.map(|n| n as usize),
            prompt: self.prompt.clone(),
            ..EmbedOptions::default()
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Embed {
    /// An encoder (BERT, RoBERTa, DistilBERT, ModernBERT), static embeddings, or a decoder: its
    /// folder, a run, or a GGUF file
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,
    /// A table, or plain text (.txt) whose lines are texts; `-` is standard input
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) data: PathBuf,
    /// The column that holds the texts; the only one by default
    #[arg(long, short, value_name = "COLUMN")]
    pub(crate) text: Option<String>,
    /// The output: .npy for the vectors alone; .parquet, .csv or .jsonl for the rows and a column
    /// for each number
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
    /// Overwrite an existing output file
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    embedding: Embedding,
    /// Embed longer texts in windows, whose mean they become, instead of cutting them
    #[arg(long)]
    windows: bool,
    /// The texts of a batch; as many as are fast by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Multiply in bf16, with f32 sums: faster, and vectors differ in the third digit; f32 by
    /// default
    #[arg(long, value_name = "f32|bf16", value_parser = precision)]
    precision: Option<Precision>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object at the end
    #[arg(long)]
    pub(crate) json: bool,
}

impl Embed {
    pub(crate) fn options(&self) -> EmbedOptions {
        EmbedOptions {
            windows: self.windows,
            batch: self.batch.map(usize::from),
            precision: self.precision,
            ..self.embedding.options()
        }
    }
}

fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        _ => Err("the precision is f32 or bf16".into()),
    }
}

#[derive(Debug, Args)]
#[command(override_usage = "feedforward search [OPTIONS] MODEL INDEX QUERY...\n       \
                            feedforward search [OPTIONS] INDEX --pairs COSINE")]
pub(crate) struct Search {
    /// The model that embedded the index, the index (.npy, .parquet, .csv or .jsonl as `embed`
    /// writes them), and the texts to look for; with --pairs the index alone
    #[arg(value_name = "MODEL INDEX QUERY", required = true, num_args = 1.., value_hint = ValueHint::AnyPath)]
    pub(crate) inputs: Vec<String>,
    /// Show pairs of rows whose cosine is at least this
    #[arg(long, value_name = "COSINE", value_parser = cosine)]
    pub(crate) pairs: Option<f32>,
    /// The most rows of a query (10 by default), or pairs (100)
    #[arg(long, short = 'k', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: Option<u32>,
    /// The texts that were embedded, for an index without them
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) data: Option<PathBuf>,
    /// The column that holds the texts, of that file or of the index; the only one by default
    #[arg(long, short, value_name = "COLUMN")]
    pub(crate) text: Option<String>,
    #[command(flatten)]
    pub(crate) embedding: Embedding,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

fn cosine(text: &str) -> Result<f32, String> {
    let value: Option<f32> = text.parse().ok().filter(|x| (-1.0..=1.0).contains(x));
    value.ok_or_else(|| "a cosine lies between -1 and 1".into())
}
