//! Findings about the data, for the terminal and the report.

use serde::{Deserialize, Serialize};

/// The outcome of a check.
///
/// ```
/// assert!(ff_table::Level::Pass < ff_table::Level::Warn);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A check that found nothing.
    Pass,
    /// A decision that was made, or something worth knowing.
    Info,
    /// Something that may make the result worse or untrue.
    Warn,
}

/// One finding: what was found, in which column, and the setting that undoes what was done about
/// it.
///
/// ```
/// use ff_table::{Level, Note};
///
/// let note = Note::warn("77 % missing").column("cabin").undo("data.columns.cabin=drop");
/// assert_eq!(note.level, Level::Warn);
/// assert_eq!(note.to_string(), "cabin: 77 % missing (--set data.columns.cabin=drop)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Its severity.
    pub level: Level,
    /// The column it is about.
    pub column: Option<String>,
    /// A sentence.
    pub message: String,
    /// The setting that changes what was decided, as `key=value` for `--set`.
    pub undo: Option<String>,
}

impl Note {
    /// A check that passed.
    pub fn pass(message: impl Into<String>) -> Self {
        Self { level: Level::Pass, column: None, message: message.into(), undo: None }
    }

    /// Something worth knowing.
    pub fn info(message: impl Into<String>) -> Self {
        Self { level: Level::Info, ..Self::pass(message) }
    }

    /// Something to look at.
    pub fn warn(message: impl Into<String>) -> Self {
        Self { level: Level::Warn, ..Self::pass(message) }
    }

    /// The same note about a column.
    #[must_use]
    pub fn column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }

    /// The same note with the setting that undoes it.
    #[must_use]
    pub fn undo(mut self, undo: impl Into<String>) -> Self {
        self.undo = Some(undo.into());
        self
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(column) = &self.column {
            write!(f, "{column}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(undo) = &self.undo {
            write!(f, " (--set {undo})")?;
        }
        Ok(())
    }
}
