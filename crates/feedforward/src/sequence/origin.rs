//! What a run starts from: an encoder, or a table of static embeddings.

use super::data::Tokens;
use super::network::{Base, Network, add_group, add_groups};
use super::recipe::EncoderTable;
use crate::embedding::{StaticTable, TextReader, static_folder};
use crate::error::{Error, Result};
use crate::language::TASK_HEAD as HEAD;
use ff_graph::Params;
use ff_nn::Builder;
use ff_nn::models::EncoderOutputs;
use ff_settings::ConfigError;
use ff_table::{Encoded, Table, Texts};
use ff_text::Tokenizer;
use ff_train::optim::{OptimizerConfig, OptimizerKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The table of static embeddings in it.
pub(super) const ROWS: &str = "task_head.texts.0.weight";

/// The rate of a head that is one linear layer, and of one with hidden layers.
const HEAD_RATES: [f64; 2] = [1e-2, 1e-3];
/// The rate of static embeddings with what is over them.
const TABLE_RATE: f64 = 3e-3;
/// The factor of the rate of a head with hidden layers or other columns over that of its encoder.
const HEAD_FACTOR: f64 = 10.0;

/// The folder that a run starts from.
pub(super) enum Origin {
    Encoder(Box<Base>),
    Table(Box<StaticBase>),
}

/// A table of vectors, one for each token, whatever stands beside it.
pub(super) struct StaticBase {
    folder: PathBuf,
    table: StaticTable,
    reader: TextReader,
}

/// The texts of a part: sequences of an encoder, or rows of a table of vectors.
#[derive(Default)]
pub(super) struct PartTexts {
    pub(super) tokens: Tokens,
    /// The rows of the table, and what they are multiplied by.
    bags: Option<Arc<Texts>>,
}

impl Origin {
    /// Opens the table of vectors that a path holds, if it holds one.
    ///
    /// # Errors
    /// There is no model, its parts do not fit, or the recipe asks for what it cannot do.
    pub(super) fn table(model: &EncoderTable, path: &Path) -> Result<Option<Self>> {
        let Some(modules) = static_folder(path)? else { return Ok(None) };
        for (key, set) in [
            ("model.layer_decay", model.layer_decay != 1.0),
            ("model.pooling", model.pooling.is_some_and(|p| p != crate::embedding::Pooling::Mean)),
        ] {
            if set {
                let message = "is for encoders, and static embeddings are one layer, whose mean a \
                               text is; leave it out";
                return Err(ConfigError::new(key, message).into());
            }
        }
        let folder = modules.folder.clone();
        let tokenizer = Tokenizer::load(&folder)?;
        let table = StaticTable::open(&folder, &tokenizer)?;
        let most = usize::MAX;
        let reader = TextReader::new(tokenizer, &modules, model.max_tokens, most, true)?;
        Ok(Some(Self::Table(Box::new(StaticBase { folder, table, reader }))))
    }

    /// Opens an encoder for these outputs.
    ///
    /// # Errors
    /// As [`Base::open`].
    pub(super) fn encoder(
        model: &EncoderTable,
        path: &Path,
        outputs: EncoderOutputs<'_>,
    ) -> Result<Self> {
        Ok(Self::Encoder(Box::new(Base::open(model, path, outputs)?)))
    }

    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Encoder(base) => &base.folder,
            Self::Table(base) => &base.folder,
        }
    }

    pub(super) fn reader(&self) -> &TextReader {
        match self {
            Self::Encoder(base) => &base.reader,
            Self::Table(base) => &base.reader,
        }
    }

    /// The numbers of a text's vector, and the rows of a table of vectors.
    pub(super) fn sizes(&self) -> (usize, Option<usize>) {
        match self {
            Self::Encoder(base) => (base.config.hidden_size, None),
            Self::Table(base) => {
                let width = base.table.width;
                (width, Some(base.table.values.len() / width.max(1)))
            }
        }
    }

    /// In words: what texts become vectors by.
    pub(super) fn describe(&self, frozen: bool) -> String {
        let frozen = if frozen { "frozen" } else { "fine-tuned" };
        match self {
            Self::Encoder(base) => {
                let config = &base.config;
                let pooling = if base.mean { "mean" } else { "cls" };
                let (layers, width) = (config.layers, config.hidden_size);
                format!("{} {frozen}, {layers} layers × {width} → {pooling}", config.family.name)
            }
            Self::Table(base) => format!("static embeddings {frozen} → {}", base.table.width),
        }
    }

    /// Puts in the rates that the recipe does not name; `head` says whether the head is one of this
    /// program, and whether it has hidden layers.
    pub(super) fn add_rates(
        &self,
        model: &EncoderTable,
        optimizer: &mut OptimizerConfig,
        (own, hidden): (bool, bool),
    ) {
        let adamw = optimizer.kind == OptimizerKind::AdamW;
        let of_encoder = matches!(self, Self::Encoder(_)) && !model.frozen;
        let factor = if own && hidden && of_encoder { HEAD_FACTOR } else { 1.0 };
        if let Self::Encoder(base) = self {
            add_groups(&mut optimizer.groups, model, &base.config);
        }
        for part in ["embeddings", "layers", "output"] {
            let pattern = format!("{HEAD}.{part}.*");
            add_group(&mut optimizer.groups, pattern, model.head_rate.unwrap_or(factor));
        }
        match self {
            Self::Encoder(base) => {
                if own && model.frozen && adamw {
                    optimizer.lr.get_or_insert(HEAD_RATES[usize::from(hidden)]);
                }
                model.add_rate(optimizer, &base.config);
            }
            Self::Table(_) if adamw => {
                let frozen = HEAD_RATES[usize::from(hidden)];
                optimizer.lr.get_or_insert(if model.frozen { frozen } else { TABLE_RATE });
            }
            Self::Table(_) => {}
        }
    }

    /// Registers the parameters of an encoder.
    pub(super) fn register(&self, model: &EncoderTable, builder: &mut Builder) -> Option<Network> {
        match self {
            Self::Encoder(base) => Some(base.register(model, builder)),
            Self::Table(_) => None,
        }
    }

    /// Whether the vector of a text is the mean of its tokens'.
    pub(super) fn mean(&self) -> bool {
        match self {
            Self::Encoder(base) => base.mean,
            Self::Table(_) => true,
        }
    }

    /// Reads the weights, and those of the encoder's own head that go on.
    ///
    /// # Errors
    /// The files do not fit the config.
    pub(super) fn read_weights(&self, params: &mut Params) -> Result<()> {
        match self {
            Self::Encoder(base) => base.read_weights(params),
            Self::Table(base) => {
                if let Some(id) = params.id(ROWS) {
                    params.values_mut::<f32>(id)?.copy_from_slice(&base.table.values);
                }
                Ok(())
            }
        }
    }

    /// The texts of some rows of a table.
    ///
    /// # Errors
    /// A text has no tokens in the vocabulary, or there are too many.
    pub(super) fn read(
        &self,
        table: &Table,
        columns: &[String],
        rows: &[usize],
    ) -> Result<PartTexts> {
        let tokens = Tokens::read(self.reader(), table, columns, rows)?;
        let bags = match self {
            Self::Encoder(_) => None,
            Self::Table(base) => {
                let bags = base.table.bags(&tokens.ids).ok_or_else(|| {
                    Error::usage("the texts have too many tokens for static embeddings")
                })?;
                Some(Arc::new(bags))
            }
        };
        Ok(PartTexts { tokens, bags })
    }
}

impl PartTexts {
    /// Puts the texts of a table of vectors beside the other columns of the same rows.
    pub(super) fn beside(&self, mut data: Encoded) -> Encoded {
        let Some(bags) = &self.bags else { return data };
        let width = data.n_categorical;
        let mut ids = Vec::with_capacity(data.rows * (width + 1));
        for row in 0..data.rows {
            ids.extend_from_slice(&data.categorical[row * width..][..width]);
            ids.push(row as i32 + 1);
        }
        data.categorical = ids;
        data.n_categorical += 1;
        data.texts.push(bags.clone());
        data
    }
}
