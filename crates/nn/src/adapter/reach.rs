//! The tokens that an adapter acts on.

/// The tokens of a sequence that an adapter acts on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reach {
    /// None: there is no adapter.
    #[default]
    None,
    /// All.
    All,
    /// Those from the last occurrence of these tokens on (activated LoRA, Greenewald et al., 2025).
    From(Vec<u32>),
}

impl Reach {
    /// The place of the first token that the adapter acts on; behind any sequence if there is none.
    ///
    /// ```
    /// use ff_nn::Reach;
    /// let reach = Reach::From(vec![7, 8]);
    /// assert_eq!(reach.start(&[7, 8, 1, 7, 8, 2, 7]), 3);
    /// assert_eq!(reach.start(&[8, 7]), usize::MAX);
    /// assert_eq!(Reach::All.start(&[1]), 0);
    /// ```
    pub fn start<T: Copy + TryInto<u32>>(&self, ids: &[T]) -> usize {
        match self {
            Self::None => usize::MAX,
            Self::All => 0,
            Self::From(tokens) => {
                let is_here = |part: &[T]| {
                    part.iter()
                        .zip(tokens)
                        .all(|(&id, token)| id.try_into().is_ok_and(|id| id == *token))
                };
                ids.windows(tokens.len().max(1)).rposition(is_here).unwrap_or(usize::MAX)
            }
        }
    }
}
