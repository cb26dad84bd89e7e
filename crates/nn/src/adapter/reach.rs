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

    /// Marks the tokens of a row that the adapter acts on with 1, the others with 0; the documents
    /// of a row are sequences of their own.
    pub(crate) fn mark(&self, ids: &[i32], documents: Option<&[i32]>, marks: &mut [i32]) {
        let mut begin = 0;
        while begin < ids.len() {
            let end = documents.map_or(ids.len(), |documents| {
                let rest = &documents[begin..];
                begin + rest.iter().take_while(|&document| *document == rest[0]).count()
            });
            let start = begin.saturating_add(self.start(&ids[begin..end]));
            (begin..end).for_each(|t| marks[t] = (t >= start).into());
            begin = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_has_its_own_invocation() {
        let reach = Reach::From(vec![7, 8]);
        let marks = |ids: &[i32], documents| {
            let mut marks = vec![9; ids.len()];
            reach.mark(ids, documents, &mut marks);
            marks
        };
        let ids = [7, 8, 1, 7, 8, 2, 3, 7];
        assert_eq!(marks(&ids, None), [0, 0, 0, 1, 1, 1, 1, 1]);
        let documents = [0, 0, 0, 1, 1, 1, 2, 2];
        assert_eq!(marks(&ids, Some(&documents)), [1, 1, 1, 1, 1, 1, 0, 0]);
        // An invocation does not cross from one document into the next.
        assert_eq!(marks(&ids, Some(&[0, 1, 1, 1, 2, 2, 2, 2])), [0; 8]);
        assert!(marks(&[], None).is_empty());
    }
}
