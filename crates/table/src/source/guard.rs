//! Other people's parsers, kept from ending the program.

use std::path::Path;

use ff_formats::guarded_call;

use crate::error::{DataError, Result};

/// Runs a third-party parser; a panic inside becomes an error about the file.
pub(super) fn guarded<T>(path: &Path, what: &str, parse: impl FnOnce() -> Result<T>) -> Result<T> {
    guarded_call(parse).unwrap_or_else(|reason| {
        Err(DataError::format(
            path,
            format!("the {what} reader gave up: {reason}"),
            "The file is likely cut or damaged: copy or write it again.",
        ))
    })
}
