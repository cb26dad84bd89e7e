//! Patterns of names.

/// Whether a pattern names a part of a model, or a part around it: `*` stands for any characters,
/// and a pattern begins and ends where a part of the name does.
///
/// ```
/// use ff_nn::matches;
/// let name = "model.layers.11.mlp.up_proj.weight";
/// for pattern in ["up_proj", "mlp", "layers.*.mlp.*", "layers.1*.mlp", "model.layers.11", "*"] {
///     assert!(matches(pattern, name), "{pattern}");
/// }
/// for pattern in ["proj", "layers.1", "layers.2*", "attn.*", ""] {
///     assert!(!matches(pattern, name), "{pattern}");
/// }
/// ```
pub fn matches(pattern: &str, name: &str) -> bool {
    let bounds = |end: bool| {
        let dots = name.match_indices('.').map(move |(at, _)| if end { at } else { at + 1 });
        dots.chain([if end { name.len() } else { 0 }])
    };
    let pattern: Vec<&str> = pattern.split('*').collect();
    bounds(false)
        .any(|start| bounds(true).any(|end| start < end && is_like(&pattern, &name[start..end])))
}

/// Whether the parts of a pattern occur in a text in their order, the first and the last at its
/// ends.
fn is_like(pattern: &[&str], text: &str) -> bool {
    let (first, rest) = match pattern {
        [] => return false,
        [only] => return *only == text,
        [first, rest @ ..] => (first, rest),
    };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let Some((last, middle)) = rest.split_last() else { return false };
    for part in middle {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}
