//! Columns of texts.

use serde::{Deserialize, Serialize};

/// What a model reads from a column of texts, and where it errs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextColumn {
    /// The column.
    pub name: String,
    /// The split of the lengths and of the repeated texts.
    pub split: String,
    /// The words and phrases that speak for each class.
    pub groups: Vec<WordGroup>,
    /// What an error is: `share wrong`, `mean absolute error`.
    pub error: String,
    /// The error by the length of texts.
    pub lengths: Vec<TextLengths>,
    /// The texts of the split that nearly repeat one of the training part, and all of the split.
    pub repeated: [u64; 2],
    /// Some of these.
    pub pairs: Vec<TextPair>,
}

/// The words and phrases that speak for a class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WordGroup {
    /// The class, or a direction of the target.
    pub class: String,
    /// Each with its mean contribution to the class's output, the largest first.
    pub words: Vec<(String, f64)>,
}

/// Texts of some lengths.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextLengths {
    /// The shortest and the longest, in characters.
    pub characters: [u64; 2],
    /// The number of texts.
    pub rows: u64,
    /// The error on them.
    pub error: f64,
}

/// Two texts that are nearly the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextPair {
    /// The row numbers in the source, from 1: of the split, and of the training part.
    pub rows: [u64; 2],
    /// The cosine of their weighted n-grams.
    pub similarity: f64,
    /// The text of the first.
    pub text: String,
}
