//! Problems of recipes, with their positions.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::ConfigError;

/// The text of a part of a recipe: a file, or one `--set`.
///
/// ```
/// let source = ff_settings::Source::new("recipe.toml", "[train]\nepochs = 0\n");
/// assert_eq!(source.line_column(8), (2, 1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file's path, or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A named text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// The line and column, in characters from 1, of a byte of the text.
    pub fn line_column(&self, byte: usize) -> (usize, usize) {
        let mut end = byte.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        (line, column)
    }
}

/// A problem of a recipe.
///
/// ```
/// use ff_settings::{Problem, Source};
/// let source = Source::new("recipe.toml", "[train]\nepohcs = 5").into();
/// let problem = Problem::new("unknown key `train.epohcs`").at(&source, Some(8..14));
/// assert_eq!(problem.to_string(), "recipe.toml:2:1: unknown key `train.epohcs`");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, from the root of the recipe, if any.
    pub key: Option<String>,
    /// The finding and the expectation.
    pub message: String,
    /// The remedy.
    pub help: Option<String>,
    /// The text at fault.
    pub source: Option<Arc<Source>>,
    /// The bytes of the text at fault; `None` if it is not in the text, such as a default value.
    pub span: Option<Range<usize>>,
}

impl Problem {
    /// A problem without a position.
    pub fn new(message: impl Into<String>) -> Self {
        Self { key: None, message: message.into(), help: None, source: None, span: None }
    }

    /// Adds the key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds the remedy.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the position.
    pub fn at(mut self, source: &Arc<Source>, span: Option<Range<usize>>) -> Self {
        let length = source.text.len();
        self.span = span.map(|span| span.start.min(length)..span.end.clamp(span.start, length));
        self.source = Some(Arc::clone(source));
        self
    }

    /// The line and column of the position, from 1.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        Some(self.source.as_ref()?.line_column(self.span.as_ref()?.start))
    }
}

impl From<ConfigError> for Problem {
    fn from(ConfigError { key, message }: ConfigError) -> Self {
        Self::new(format!("`{key}`: {message}")).key(key)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            match self.line_column() {
                // The name of a `--set` is followed by its text, since a column alone would say
                // little.
                Some(_) if source.name == crate::SET => write!(f, "--set {}: ", source.text)?,
                Some((line, column)) => write!(f, "{}:{line}:{column}: ", source.name)?,
                None => write!(f, "{}: ", source.name)?,
            }
        }
        f.write_str(&self.message)
    }
}

/// All problems of an invalid recipe.
///
/// ```
/// use ff_settings::{Problem, RecipeError};
/// let error =
///     RecipeError::new(Problem::new("unknown key `lr`").help("did you mean `optimizer.lr`?"));
/// assert_eq!(error.to_string(), "unknown key `lr`; did you mean `optimizer.lr`?");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeError {
    problems: Vec<Problem>,
}

impl RecipeError {
    /// A single problem.
    pub fn new(first: Problem) -> Self {
        Self { problems: vec![first] }
    }

    /// `Ok` without problems; otherwise all of them, in the order of the text.
    ///
    /// # Errors
    /// If there are problems.
    pub fn check(mut problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by_key(|p| p.span.as_ref().map_or(usize::MAX, |span| span.start));
        Err(Self { problems })
    }

    /// The problems; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
            if let Some(help) = &problem.help {
                write!(f, "; {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for RecipeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters_and_places_beyond_the_end_are_the_end() {
        let source = Source::new("a", "é = 1\nbb");
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(3), (1, 3));
        assert_eq!(source.line_column(1), (1, 1), "inside a character");
        assert_eq!(source.line_column(99), (2, 3));
    }
}
