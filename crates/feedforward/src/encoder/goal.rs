//! What is learned of a batch.

use super::corpus::Part;
use super::recipe::{EncoderRecipe, ObjectiveKind};
use crate::embedding::{Modules, Pooling, TextReader};
use ff_graph::Op;
use ff_nn::models::EncoderConfig;
use ff_nn::{ConfigError, Loss};
use ff_ops::InBatchRanking;
use ff_tensor::{Key, Rng};
use ff_text::Tokenizer;
use std::sync::Arc;

/// The loss of a batch, and what it needs.
#[derive(Debug)]
pub(super) enum Goal {
    /// Labels or numbers of a text.
    Values(Loss),
    /// A tag of each word.
    Tags,
    /// Masked tokens.
    Masked(Masking),
    /// Vectors of texts.
    Pairs(Ranking),
}

/// The choice of tokens that are to be found.
#[derive(Debug, Clone)]
pub(super) struct Masking {
    share: f64,
    /// The token in place of those that are masked.
    mask: u32,
    vocabulary: u64,
    /// Tokens that stay as they are: those around texts.
    special: Vec<bool>,
}

/// The loss of vectors.
#[derive(Debug)]
pub(super) struct Ranking {
    pub(super) op: Arc<dyn Op>,
    pub(super) columns: usize,
    pub(super) mean: bool,
}

impl Goal {
    /// The goal of a recipe.
    ///
    /// # Errors
    /// The loss does not suit it, or the tokenizer has no mask.
    pub(super) fn new(
        recipe: &EncoderRecipe,
        config: &EncoderConfig,
        (reader, modules): (&TextReader, &Modules),
        train: &Part,
    ) -> Result<Self, ConfigError> {
        let (objective, outputs) = (&recipe.objective, config.labels);
        Ok(match objective.kind {
            ObjectiveKind::Labels => Self::Values(Loss::of_many(&recipe.loss, outputs, true)?),
            ObjectiveKind::Numbers => Self::Values(Loss::of_many(&recipe.loss, outputs, false)?),
            ObjectiveKind::Tags => Self::Tags,
            ObjectiveKind::Masked => Self::Masked(Masking::new(objective.mask, &reader.tokenizer)?),
            ObjectiveKind::Pairs => {
                let columns = train.tokens.ids.len() / train.rows().max(1);
                let op = InBatchRanking { columns, scale: objective.scale }.op();
                let mean = recipe.pooling(modules.pooling) == Pooling::Mean;
                Self::Pairs(Ranking { op, columns, mean })
            }
        })
    }

    /// The name of the loss.
    pub(super) fn loss_name(&self) -> &'static str {
        match self {
            Self::Values(loss) => loss.name(),
            Self::Tags => "cross-entropy of words",
            Self::Masked(_) => "cross-entropy of masked tokens",
            Self::Pairs(_) => "ranking within batches",
        }
    }
}

impl Masking {
    fn new(share: f64, tokenizer: &Tokenizer) -> Result<Self, ConfigError> {
        let mask = ["[MASK]", "<mask>"].into_iter().find_map(|name| tokenizer.id(name));
        let mask = mask.ok_or_else(|| {
            let message = "masked needs a token [MASK] or <mask>, which this tokenizer lacks";
            ConfigError::new("objective.kind", message)
        })?;
        let vocabulary = tokenizer.vocab_size() as u32;
        let special = (0..vocabulary).map(|id| tokenizer.is_special(id)).collect();
        Ok(Self { share, mask, vocabulary: u64::from(vocabulary), special })
    }

    /// A sequence with its masks, and the token that is to be found at each place, or −100.
    ///
    /// Each token is chosen with the probability of the share; of those chosen 80 % become the
    /// mask, 10 % any token, 10 % stay (Devlin et al., 2019). A sequence without a chosen token has
    /// one chosen, so that it is not for nothing.
    pub(super) fn apply(&self, ids: &[u32], key: Key) -> (Vec<u32>, Vec<i32>) {
        let mut rng = Rng::new(key);
        let mut found = (ids.to_vec(), vec![-100; ids.len()]);
        let is_special = |id: u32| self.special.get(id as usize).copied().unwrap_or(false);
        let own: Vec<usize> = (0..ids.len()).filter(|&i| !is_special(ids[i])).collect();
        let mut chosen: Vec<usize> =
            own.iter().copied().filter(|_| rng.uniform() < self.share).collect();
        if chosen.is_empty() && !own.is_empty() {
            chosen.push(own[rng.below(own.len() as u64) as usize]);
        }
        for i in chosen {
            found.1[i] = ids[i] as i32;
            let way = rng.uniform();
            if way < 0.8 {
                found.0[i] = self.mask;
            } else if way < 0.9 {
                found.0[i] = rng.below(self.vocabulary) as u32;
            }
        }
        found
    }
}
