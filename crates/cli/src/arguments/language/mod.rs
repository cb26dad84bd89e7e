//! The commands of language models.

use clap::Subcommand;

mod chat;
mod embed;
mod finetune;
mod generate;
mod pretrain;
mod tokenizer;

pub(crate) use chat::ChatOptions;
pub(crate) use embed::{Embed, Search};
pub(crate) use finetune::{Finetune, Merge};
pub(crate) use generate::Generate;
pub(crate) use pretrain::Pretrain;
pub(crate) use tokenizer::{
    TextFiles, TokenizerCommand, TokenizerDecode, TokenizerEncode, TokenizerInspect, TokenizerTrain,
};

#[derive(Debug, Subcommand)]
pub(crate) enum LanguageCommand {
    /// Pretrain a language model on text from a recipe
    Pretrain(Pretrain),
    /// Teach a language model from conversations, by an adapter or in its own weights
    Finetune(Box<Finetune>),
    /// Write a language model and its adapter as one model
    Merge(Merge),
    /// Continue a prompt with a language model
    Generate(Generate),
    /// Talk with a language model by its chat template
    Chat(ChatOptions),
    /// Write the vectors of texts, by an encoder or another model
    Embed(Box<Embed>),
    /// Search embedded texts by meaning, or find near duplicates among them
    Search(Box<Search>),
    /// Train tokenizers on text, encode and decode with them
    #[command(subcommand)]
    Tokenizer(TokenizerCommand),
}

impl LanguageCommand {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Pretrain(a) => a.json,
            Self::Finetune(a) => a.json,
            Self::Generate(a) => a.json,
            Self::Chat(a) => a.json,
            Self::Embed(a) => a.json,
            Self::Search(a) => a.json,
            Self::Tokenizer(command) => command.json(),
            Self::Merge(_) => false,
        }
    }

    pub(super) fn stdout_is_data(&self) -> bool {
        match self {
            Self::Generate(_) | Self::Chat(_) => true,
            Self::Tokenizer(command) => command.stdout_is_data(),
            Self::Pretrain(_)
            | Self::Finetune(_)
            | Self::Merge(_)
            | Self::Embed(_)
            | Self::Search(_) => false,
        }
    }
}
