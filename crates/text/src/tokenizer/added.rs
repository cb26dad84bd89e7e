use serde_json::Value;

/// Tokens that are found in text before anything else: the leftmost, and of several there the
/// longest.
pub(super) struct Added {
    /// Texts and ids, the longest first.
    tokens: Vec<(String, u32)>,
    /// Whether a token begins with a byte.
    begins: Box<[bool; 256]>,
}

impl Added {
    /// Those of a `tokenizer.json`; none of those that look at what is around them are understood.
    pub(super) fn of(json: &Value) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut normalized = None;
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            let odd = ["lstrip", "rstrip", "single_word"].iter().any(|key| token[key] == true);
            // Two kinds of them are looked for one after the other.
            let mixed = *normalized.get_or_insert(&token["normalized"]) != &token["normalized"];
            let content = token["content"].as_str().filter(|content| !content.is_empty())?;
            if odd || mixed {
                return None;
            }
            tokens.push((content.to_owned(), u32::try_from(token["id"].as_u64()?).ok()?));
        }
        tokens.sort_by_key(|(content, _)| std::cmp::Reverse(content.len()));
        let mut begins = Box::new([false; 256]);
        for (content, _) in &tokens {
            begins[usize::from(content.as_bytes()[0])] = true;
        }
        Some(Self { tokens, begins })
    }

    /// Calls `plain` with the text between added tokens, which go to `ids` themselves.
    pub(super) fn split<E>(
        &self,
        text: &str,
        ids: &mut Vec<u32>,
        mut plain: impl FnMut(&str, &mut Vec<u32>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut from, mut at) = (0, 0);
        let bytes = text.as_bytes();
        while at < bytes.len() {
            let found = self.begins[usize::from(bytes[at])].then(|| self.starts(&bytes[at..]));
            match found.flatten() {
                Some((content, id)) => {
                    plain(&text[from..at], ids)?;
                    ids.push(*id);
                    at += content.len();
                    from = at;
                }
                None => at += 1,
            }
        }
        plain(&text[from..], ids)
    }

    /// The longest token that these bytes start with.
    fn starts(&self, bytes: &[u8]) -> Option<&(String, u32)> {
        self.tokens.iter().find(|(content, _)| bytes.starts_with(content.as_bytes()))
    }
}
