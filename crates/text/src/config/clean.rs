use ff_settings::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Cleaning: broken, repeated and unwanted text. By default, broken UTF-8 is an error and nothing
/// else is done.
///
/// Settings that judge documents need each one whole, so a file of plain text must have separators
/// or be small.
///
/// ```
/// use ff_text::{BrokenText, CleanConfig};
/// let clean: CleanConfig = toml::from_str("duplicates = 'near'\nmax_symbols = 0.3").unwrap();
/// assert_eq!((clean.utf8, clean.near_threshold), (BrokenText::Error, 0.8));
/// assert!(clean.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CleanConfig {
    /// The handling of bytes that are not UTF-8.
    pub utf8: BrokenText,
    /// Drop documents of fewer characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_chars: Option<u64>,
    /// Drop documents of more characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_chars: Option<u64>,
    /// Drop documents with a larger share of characters that are no letter, digit or blank, as 0.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_symbols: Option<f64>,
    /// Drop documents with a larger share of lines that repeat an earlier line of theirs, as 0.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_repeated_lines: Option<f64>,
    /// Drop documents whose most frequent sequence of words covers a larger share of their letters,
    /// as 0.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_top_ngram: Option<f64>,
    /// The words of such a sequence.
    pub ngram_words: usize,
    /// Which documents that repeat an earlier one are dropped.
    pub duplicates: Duplicates,
    /// From which share of common shingles on documents are near duplicates.
    pub near_threshold: f64,
    /// The words of a shingle.
    pub shingle_words: usize,
    /// Put `<email>` in the place of e-mail addresses.
    pub mask_emails: bool,
    /// Put `<phone>` in the place of phone numbers.
    pub mask_phones: bool,
    /// Put `<card>` in the place of card numbers: 13 to 19 digits whose check digit is right.
    pub mask_cards: bool,
}

impl Default for CleanConfig {
    fn default() -> Self {
        Self {
            utf8: BrokenText::Error,
            min_chars: None,
            max_chars: None,
            max_symbols: None,
            max_repeated_lines: None,
            max_top_ngram: None,
            ngram_words: 3,
            duplicates: Duplicates::Keep,
            near_threshold: 0.8,
            shingle_words: 5,
            mask_emails: false,
            mask_phones: false,
            mask_cards: false,
        }
    }
}

impl CleanConfig {
    /// Whether documents are judged, which needs them whole.
    pub fn judges(&self) -> bool {
        let shares = [self.max_symbols, self.max_repeated_lines, self.max_top_ngram];
        self.min_chars.is_some()
            || self.max_chars.is_some()
            || shares.iter().any(Option::is_some)
            || self.duplicates != Duplicates::Keep
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// The first key whose value is not allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let error = |key: &str, message: String| {
            Err(ConfigError::new(format!("data.clean.{key}"), message))
        };
        let shares = [
            ("max_symbols", self.max_symbols),
            ("max_repeated_lines", self.max_repeated_lines),
            ("max_top_ngram", self.max_top_ngram),
            ("near_threshold", Some(self.near_threshold)),
        ];
        for (key, share) in shares {
            if let Some(share) = share
                && !(0.0..=1.0).contains(&share)
            {
                return error(key, format!("{share} is no share: 0 to 1"));
            }
        }
        for (key, words) in
            [("ngram_words", self.ngram_words), ("shingle_words", self.shingle_words)]
        {
            if !(1..=100).contains(&words) {
                return error(key, format!("{words} is not between 1 and 100"));
            }
        }
        if let (Some(least), Some(most)) = (self.min_chars, self.max_chars)
            && least > most
        {
            return error("max_chars", format!("{most} is below min_chars, {least}"));
        }
        Ok(())
    }
}

/// The handling of bytes that are not UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BrokenText {
    /// Stop and name the file, the line and the byte.
    #[default]
    Error,
    /// Put U+FFFD in their place.
    Replace,
    /// Drop the document and count it.
    Drop,
}

/// Which documents that repeat an earlier one are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// None.
    #[default]
    Keep,
    /// Those of the same text, blanks at their ends aside; about 40 bytes of memory for each
    /// document kept.
    Exact,
    /// Those that share most of their words in order, by MinHash; about 900 bytes for each document
    /// kept.
    Near,
}
