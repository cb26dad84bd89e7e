//! The options of `feedforward tokenizer`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use feedforward::text::{BrokenText, Pretokenizer, TextFormat, TokenizerKind};

use crate::arguments::Threads;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenizerCommand {
    /// Learn a tokenizer from text
    Train(TokenizerTrain),
    /// Text to ids: a line of ids for each line
    Encode(TokenizerEncode),
    /// Ids to text: a line of text for each line
    Decode(TokenizerDecode),
    /// Show a tokenizer: its vocabulary, its special tokens, how it cuts a text
    Inspect(TokenizerInspect),
}

impl TokenizerCommand {
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Train(a) => a.json,
            Self::Encode(a) => a.json,
            Self::Decode(a) => a.json,
            Self::Inspect(a) => a.json,
        }
    }

    pub(super) fn stdout_is_data(&self) -> bool {
        matches!(self, Self::Encode(_) | Self::Decode(_))
    }
}

/// Which files are read, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct TextFiles {
    /// The files' format; by each file's name by default
    #[arg(long, value_parser = text_format(), value_name = "FORMAT")]
    pub(crate) format: Option<TextFormat>,
    #[arg(long, help = format!("The column or key that holds the text, in {}", TextFormat::tables("and")),
           value_name = "NAME", default_value = "text")]
    pub(crate) text_column: String,
    /// What stands between documents in plain text (\n and \t are understood); a file is one
    /// document by default
    #[arg(long, value_name = "TEXT")]
    pub(crate) separator: Option<String>,
    /// What to do with bytes that are no UTF-8
    #[arg(long, value_enum, value_name = "WHAT", default_value = "error")]
    pub(crate) utf8: Utf8,
}

/// The formats that text is read from.
fn text_format() -> impl TypedValueParser<Value = TextFormat> {
    let value = |format: TextFormat| {
        PossibleValue::new(format.name()).help(format.about().trim_end_matches('.'))
    };
    PossibleValuesParser::new(TextFormat::all().map(value))
        .map(|name| TextFormat::named(&name).unwrap_or(TextFormat::Text))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Utf8 {
    /// Stop and say where
    Error,
    /// Put U+FFFD in their place
    Replace,
    /// Leave the document out
    Drop,
}

impl From<Utf8> for BrokenText {
    fn from(what: Utf8) -> Self {
        match what {
            Utf8::Error => Self::Error,
            Utf8::Replace => Self::Replace,
            Utf8::Drop => Self::Drop,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct TokenizerTrain {
    #[arg(help = format!("Files of {}, also .gz and .zst; folders stand for all files in them", TextFormat::listed()),
          value_name = "FILES", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    /// The kind of tokenizer
    #[arg(long, value_enum, value_name = "KIND", default_value = "bpe")]
    pub(crate) kind: Kind,
    /// The number of tokens, special ones included; bytes and characters have as many as there are
    #[arg(long, value_name = "N", default_value_t = 32_768)]
    pub(crate) vocab_size: usize,
    /// A token that text is never cut into, as '<|endoftext|>'; may be given again
    #[arg(long, value_name = "TOKEN")]
    pub(crate) special: Vec<String>,
    /// How text is divided into words before byte pairs are merged
    #[arg(long, value_enum, value_name = "HOW", default_value = "gpt2")]
    pub(crate) split: Split,
    /// Pairs that occur less often are not merged
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) min_frequency: u64,
    #[command(flatten)]
    pub(crate) text: TextFiles,
    /// The folder for the tokenizer, new or without one
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) threads: Threads,
    /// Print one JSON object at the end, progress on standard error
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Byte pairs, as GPT-2 and Llama 3 have them
    Bpe,
    /// Pieces of words, as BERT has them
    Wordpiece,
    /// The likeliest pieces, as T5 has them
    Unigram,
    /// Each byte is a token
    Bytes,
    /// Each character is a token
    Characters,
}

impl From<Kind> for TokenizerKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bpe => Self::Bpe,
            Kind::Wordpiece => Self::Wordpiece,
            Kind::Unigram => Self::Unigram,
            Kind::Bytes => Self::Bytes,
            Kind::Characters => Self::Characters,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Split {
    /// Letters, digits and marks apart
    Gpt2,
    /// Digits in threes, line ends apart
    Llama3,
    /// As llama3, each digit by itself
    Qwen2,
}

impl From<Split> for Pretokenizer {
    fn from(split: Split) -> Self {
        match split {
            Split::Gpt2 => Self::Gpt2,
            Split::Llama3 => Self::Llama3,
            Split::Qwen2 => Self::Qwen2,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct TokenizerEncode {
    /// A tokenizer: its folder, its tokenizer.json, or vocab.json beside merges.txt
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) tokenizer: PathBuf,
    /// The text, line by line; standard input by default
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Put the tokens around each line that the tokenizer puts around a text
    #[arg(long)]
    pub(crate) add_special: bool,
    /// Print one JSON object for each line: its ids and its tokens
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenizerDecode {
    /// A tokenizer: its folder, its tokenizer.json, or vocab.json beside merges.txt
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) tokenizer: PathBuf,
    /// The ids, divided by blanks or commas, line by line; standard input by default
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Leave special tokens out
    #[arg(long)]
    pub(crate) skip_special: bool,
    /// Print one JSON object for each line: its text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenizerInspect {
    /// A tokenizer: its folder, its tokenizer.json, or vocab.json beside merges.txt
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) tokenizer: PathBuf,
    /// Text to measure on, and to show the beginning of, cut into its tokens
    #[arg(value_name = "FILES", value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) text: TextFiles,
    #[command(flatten)]
    pub(crate) threads: Threads,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
