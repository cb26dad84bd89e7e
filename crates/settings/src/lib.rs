//! TOML settings files: strict reading, writing with comments.
//!
//! [`parse`] checks a file and the overrides of the command line against the JSON schema of a type,
//! then against the ranges of its values. It reports all mistakes at once, each with file, line,
//! column and the nearest valid name. The crate is independent of networks and data: types of
//! settings implement [`Settings`].
#![forbid(unsafe_code)]

mod check;
mod document;
mod error;
mod expect;
mod file;
mod near;
mod number;
mod problem;
mod range;
mod shell;
mod write;

pub use check::keys;
pub use error::ConfigError;
pub use file::{
    Settings, check_folder_name, find_beside, parse, plain_descriptions, read_text, schema, to_toml,
};
pub use near::{did_you_mean, nearest, similar};
pub use number::{number, significant};
pub use problem::{Problem, RecipeError, Source};
pub use range::Range;
pub use shell::shell_word;

/// The name of an override, in place of a file's path.
const SET: &str = "--set";
